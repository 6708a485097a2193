#!/usr/bin/env python3
"""The crash campaign: whatever dies, nothing is left. Run by `scripts/torture`, as root.

For every fault kind, the runner, its warden, its agents, each pair and all three are killed, and the daemon is
restarted, at instants uniform from arming to healed. Then the targets are compared with what they were. Which
fault, who, and when are drawn by the seed; only the machine's timing differs from one campaign to the next.
"""

import argparse
import itertools
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import engine
import worker as working

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = ("runner", "warden", "agent")
VICTIMS = [list(some) for count in (1, 2, 3) for some in itertools.combinations(PARTS, count)]
# Long enough for instants in the middle of it, short enough for hundreds of runs.
PHASE_MS = 700
HEAL_BAR_S = 2.0
# The bar is judged by a campaign that can tell: with fewer, the 99th percentile is the slowest of all, and with more
# runs at once than cores it is the machine's.
HEALS_TO_JUDGE = 100


def faults(only, known=None):
    with open(os.path.join(HERE, "faults.txt")) as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    chosen = [line for line in lines if line.split(":")[0] in (only or known or [line.split(":")[0]])]
    if not chosen:
        raise SystemExit("torture: no such fault; see scripts/torture.d/faults.txt")
    return chosen


def check_complete(program):
    """The kinds of the catalogue. One without a line in faults.txt would never be tortured."""
    schema = json.loads(subprocess.run([program, "schema"], check=True, capture_output=True, text=True).stdout)
    there = {line.split(":")[0] for line in faults(None)}
    catalogue = kinds(schema)
    missing = sorted(catalogue - there)
    if missing:
        raise SystemExit(f"torture: faults.txt has no line for {', '.join(missing)}")
    return catalogue


def kinds(schema):
    choices = schema["$defs"]["Fault"]["oneOf"]
    return {word for choice in choices for word in choice.get("required", [])}


def jobs(options, chosen, agents):
    """What is done, drawn by the seed: every fault and every set of victims as often as every other. Faults that
    Docker carries out by itself have no agent to kill."""
    rng = random.Random(options.seed)
    pairs = [(fault, who) for fault in chosen for who in VICTIMS if fault in agents or "agent" not in who]
    restarts = [(fault, ["daemon"]) for fault in chosen] if options.restarts else []
    if options.only_restarts:
        pairs = []
    drawn = []
    while len(drawn) < options.kills:
        some = pairs + restarts
        rng.shuffle(some)
        drawn += some
    made = []
    for number, (fault, who) in enumerate(drawn[: options.kills]):
        made.append({"number": number, "kind": fault.split(":")[0], "fault": fault, "who": who, "at": rng.random(),
                     "how": rng.choice(["SIGTERM", "SIGKILL"]), "phase_ms": PHASE_MS})
    return made


class Crew:
    """Workers side by side, each a process with targets of its own."""

    def __init__(self, options, folder, program):
        self.options, self.folder, self.program = options, folder, program
        self.plain, self.restarting = queue.Queue(), queue.Queue()
        self.results, self.processes, self.threads = queue.Queue(), [], []
        self.own = None

    def assemble(self):
        """Has all of them come up. Whatever comes of it, `dismiss` takes it down."""
        options, folder, program = self.options, self.folder, self.program
        env = {**os.environ, "TORTURE_IMAGE": working.image_of(program, folder)}
        for number in range(options.workers):
            self.hire([sys.executable, f"{HERE}/worker.py", str(number), program, folder], env, self.plain)
        if options.restarts:
            self.own = engine.Own(tempfile.mkdtemp(prefix="engine-", dir=folder))
            self.own.start()
            command = [sys.executable, f"{HERE}/worker.py", str(options.workers), program, folder, self.own.folder]
            self.hire(self.own.command(*command), os.environ, self.restarting)

    def hire(self, command, env, work):
        process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        thread = threading.Thread(target=self.attend, args=(process, work), daemon=True)
        self.threads.append(thread)
        thread.start()

    def attend(self, process, work):
        """Hands one worker its jobs until there are none."""
        try:
            if not process.stdout.readline():
                raise OSError("a worker did not come up")
            while (job := work.get()) is not None:
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise OSError(f"a worker died at {job}")
                self.results.put(json.loads(line))
        except OSError as error:
            self.results.put({"error": str(error)})

    def do(self, work):
        """Has all of it done; results as they come."""
        for job in work:
            (self.restarting if job["who"] == ["daemon"] else self.plain).put(job)
        for _ in work:
            result = self.results.get()
            if "error" in result:
                raise SystemExit(f"torture: {result['error']}")
            yield result

    def dismiss(self):
        """Takes everything down and returns what of it is left on this machine, in words."""
        for process in self.processes:
            # One in the middle of a job drops it, and takes its targets down.
            process.terminate()
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        left = self.own.stop() if self.own else []
        shutil.rmtree(self.folder, ignore_errors=True)
        return left + ([f"folder {self.folder}"] if os.path.exists(self.folder) else [])


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def table(results):
    rows = {}
    for result in results:
        who = "+".join(result["who"])
        for key in ((result["kind"], who), ("all", who), (result["kind"], "all"), ("all", "all")):
            rows.setdefault(key, []).append(result)
    print(f"{'fault':<14} {'killed':<22} {'kills':>5} {'left':>5} {'heal p50':>9} {'p99':>8}")
    for (kind, who), some in sorted(rows.items(), key=lambda row: (row[0][0] == "all", row[0][0], row[0][1])):
        heals = [result["heal_s"] for result in some if result["heal_s"] is not None]
        figures = [f"{value * 1e3:.0f} ms" if value is not None else "-"
                   for value in (quantile(heals, 0.5), quantile(heals, 0.99))]
        kills = sum(bool(result["killed"]) for result in some)
        left = sum(bool(result["leftovers"]) for result in some)
        print(f"{kind:<14} {who:<22} {kills:>5} {left:>5} {figures[0]:>9} {figures[1]:>8}")


def slow(results, workers):
    """What is to be said about how long healing took, and whether that fails the campaign."""
    heals = [result["heal_s"] for result in results if result["heal_s"] is not None]
    if not heals:
        return None, False
    p99 = quantile(heals, 0.99)
    said = f"p99 of healing is {p99:.2f} s; the bar is {HEAL_BAR_S} s"
    if len(heals) < HEALS_TO_JUDGE:
        return f"{said}, judged from {HEALS_TO_JUDGE} on: these are {len(heals)}", False
    if workers > (os.cpu_count() or 1):
        return f"{said}, judged with no more runs at once than cores: these were {workers}", False
    return said, p99 >= HEAL_BAR_S


def judge(results, least):
    """What keeps the campaign from having been passed."""
    bad = []
    left = [result for result in results if result["leftovers"]]
    for result in left:
        bad.append(f"{result['fault']} killed {'+'.join(result['who'])} at {result['at']:.3f} (job {result['number']})")
        bad += [f"    {line}" for line in result["leftovers"]]
        bad += [f"    said: {result.get('said')}"] + [f"    {event}" for event in result.get("events", [])]
    for result in results:
        if not result["leftovers"] and "events" in result:
            bad.append(f"{result['fault']} with {'+'.join(result['who'])} ended as not healed, and was later (job {result['number']})")
            bad += [f"    {event}" for event in result["events"]]
    kills = sum(bool(result["killed"]) for result in results)
    if kills < least:
        bad.append(f"only {kills} of {len(results)} runs were interrupted: the instants are not what they should be")
    return bad


def calibrate(crew, chosen):
    """How long each fault lasts uninterrupted, from arming to healed; which have agents; what they left even so."""
    work = [{"number": -1, "kind": fault.split(":")[0], "fault": fault, "who": [], "phase_ms": PHASE_MS, "at": 1.0}
            for fault in chosen]
    lasts, agents, bad = {}, set(), []
    for result in crew.do(work):
        lasts[result["fault"]] = result.get("lasts_s", 1.0)
        if result.get("agents"):
            agents.add(result["fault"])
        if result["leftovers"]:
            bad.append(result)
    return lasts, agents, bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="draws which fault, who and when [1]")
    parser.add_argument("--kills", type=int, default=500, help="runs to interrupt [500]")
    parser.add_argument("--fault", action="append", help="only this kind; may be repeated")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1,
                        help="targets at once; with more than one a core, how long healing took is not judged")
    parser.add_argument("--no-restarts", dest="restarts", action="store_false", help="leave out restarts of a daemon")
    parser.add_argument("--only-restarts", action="store_true", help="kill nothing: restart the daemon every time")
    parser.add_argument("--program", default=os.path.join(HERE, "../../target/debug/chaos"))
    parser.add_argument("--json", help="write every result to this file, a line each")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("torture: it looks into the kernel and needs root")
    program = os.path.realpath(options.program)
    # An interrupted campaign takes down what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    chosen = faults(options.fault, check_complete(program))
    folder = tempfile.mkdtemp(prefix="chaos-torture-", dir="/var/tmp")
    begun = time.monotonic()
    crew = Crew(options, folder, program)
    results, left = [], []
    try:
        crew.assemble()
        lasts, agents, bad = calibrate(crew, chosen)
        print(f"{len(chosen)} faults uninterrupted in {time.monotonic() - begun:.0f} s: {len(bad)} left something", flush=True)
        work = jobs(options, chosen, agents)
        for job in work:
            job["after_s"] = job["at"] * lasts[job["fault"]]
            job["engine"] = crew.own.folder if crew.own else None
        for result in crew.do(work):
            results.append(result)
            if result["leftovers"]:
                print(f"  {result['kind']}, {'+'.join(result['who'])}: {result['leftovers']}", flush=True)
    finally:
        left = crew.dismiss()
        if options.json:
            with open(options.json, "w") as out:
                out.writelines(json.dumps(result) + "\n" for result in results)
    table(results)
    missed = sum(bool(result.get("missed")) for result in results)
    print(f"seed {options.seed}, {len(results)} runs, {missed} over before the kill, {time.monotonic() - begun:.0f} s")
    said, too_slow = slow(results, options.workers)
    if said:
        print(said)
    failed = judge(bad, 0) + judge(results, options.kills // 2) + [f"the campaign itself left: {line}" for line in left]
    failed += [said] if too_slow else []
    if failed:
        print("\n".join(["", *failed]), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
