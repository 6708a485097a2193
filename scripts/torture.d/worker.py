"""One worker of the crash campaign: a slot of targets, and jobs read from stdin, a JSON object a line.

Each job is one run of the program that is interrupted by kills; what came of it goes to stdout, a line each. A
worker for restarts of the daemon runs inside the namespaces of that daemon.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import engine
from target import Slot, difference, shared

# How long what lives on may take; the bar is on what is measured, this only ends the wait.
HEAL_LIMIT_S = 40
# A run that was not interrupted, and the last of one that was.
RUN_LIMIT_S = 90
# What was just started answers a moment later; everything else is there at once. A daemon that comes back takes
# its time to answer for names again.
SETTLE_S = 6
SETTLE_AFTER_RESTART_S = 15
# A run on a busy machine may be over before the instant that was drawn: then again, and so much earlier.
TRIES = 4
EARLIER = 0.7
POLL_S = 0.003
# How a run ends that could not heal what it did.
UNHEALED = 7
# Events that say nothing of what was left.
NOISE = ("started", "load", "tick", "generator", "probe")
EXPERIMENT = """experiment: whatever dies, nothing is left
{targets}
load: {{ shoppers: {{ rate: 20/s, timeout: 500ms, requests: [{{ get: "http://127.0.0.1:{port}/cart" }}] }} }}
phases:
  baseline: {{ for: 100ms }}
  broken: {{ for: {phase_ms}ms, faults: [{{ {fault} }}] }}
expect: {{ broken: [count(scheduled) > 0] }}
"""


class Worker:
    def __init__(self, number, program, folder, image):
        self.program, self.folder = program, os.path.join(folder, f"slot-{number}")
        os.makedirs(self.folder)
        self.slot = Slot(number, image)

    def fresh(self):
        """Targets as new."""
        self.slot.down()
        self.slot.up()
        self.before = None
        until = time.monotonic() + 15
        while time.monotonic() < until:
            seen = self.slot.snapshot()
            reached = [how for part in self.slot.names for how in seen.get(f"{part}: reaches", {"": ""}).values()]
            if all(how in ("connects", True) for how in reached):
                self.before = (seen, shared())
                return
            time.sleep(0.1)
        raise SystemExit(f"torture: the targets did not come up: {reached}")

    def difference(self, settle_s, same):
        """What is not as it was, after what was just started had a moment; `same` makes alike what may differ."""
        until = time.monotonic() + settle_s
        while True:
            seen = (self.slot.snapshot(), shared())
            lines = [line for was, now in zip(self.before, seen)
                     for line in difference(same(was), same(now))]
            if not lines or time.monotonic() > until:
                return lines
            time.sleep(0.05)

    def do(self, job):
        for _ in range(TRIES):
            result = self.once(job)
            if not result.get("missed") or result["leftovers"]:
                break
            job["after_s"] *= EARLIER
        return result

    def once(self, job):
        trial = Trial(self, job)
        try:
            return trial.conduct()
        except (OSError, subprocess.TimeoutExpired) as error:
            return {**job, "killed": [], "leftovers": [f"the trial itself: {error!r}"], "heal_s": None}
        finally:
            trial.end()


class Trial:
    """One run and what is done to it."""

    def __init__(self, worker, job):
        self.worker, self.job = worker, job
        self.folder = os.path.join(worker.folder, "trial")
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.env = {**os.environ, "CHAOS_STATE_DIR": f"{self.folder}/state", "NO_COLOR": "1"}
        file = os.path.join(self.folder, "experiment.yaml")
        fault = job["fault"].replace("NETWORK", worker.slot.prefix)
        with open(file, "w") as out:
            out.write(EXPERIMENT.format(targets=worker.slot.targets(), port=worker.slot.port, fault=fault,
                                        phase_ms=job["phase_ms"]))
        self.said = open(os.path.join(self.folder, "said"), "w+")
        self.child = subprocess.Popen(
            [worker.program, "run", file, "--quiet", "--out", f"{self.folder}/out"], env=self.env,
            stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said, start_new_session=True)
        self.run = None

    def conduct(self):
        begun = self.await_start()
        if begun is None:
            return self.came_to([], [f"it did not start: {self.words()}"])
        if self.job["who"] == []:
            return self.uninterrupted(begun)
        time.sleep(max(0, begun + self.job["after_s"] - time.monotonic()))
        at = time.monotonic()
        runner, wardens, agents = self.child.poll() is None, self.wardens(), self.agents()
        if not runner:
            # It was done already: nothing was interrupted.
            return {**self.came_to([], self.failed_alone() + self.leftovers()), "missed": True}
        victims = {"runner": [self.child.pid], "warden": wardens, "agent": agents, "daemon": []}
        killed = [who for who in self.job["who"] if victims[who] or who == "daemon"]
        for who in killed:
            for pid in victims[who]:
                engine.kill(pid)
        # What a process held is let go of when it has ended, a moment after the signal.
        for pid in [pid for who in killed for pid in victims[who]]:
            while self.child.poll() is None if pid == self.child.pid else engine.alive(pid):
                time.sleep(POLL_S / 10)
        if "daemon" in killed:
            at = engine.restart(self.job["engine"], getattr(signal, self.job["how"]))
        # A runner that died as it began may have left a warden that was not to be seen yet.
        keeper = "runner" not in killed or self.wardens()
        heal_s = self.await_healed(at) if keeper else None
        notes = []
        if keeper and heal_s is None:
            notes.append(f"what lived on did not heal within {HEAL_LIMIT_S} s")
        if not keeper:
            notes += self.recover()
        return self.came_to(killed, notes + self.leftovers(), heal_s if "runner" in killed or "daemon" in killed
                            or "agent" in killed else None)

    def uninterrupted(self, begun):
        """A whole run: how long it takes from arming to healed, and that it did apply what it says."""
        self.child.wait(RUN_LIMIT_S)
        events = self.journal()
        applied = sum(event["event"] == "applied" for event in events)
        undone = [event["t_ns"] for event in events if event["event"] in ("undone", "evidence", "applied")]
        started = next(event["t_ns"] for event in events if event["event"] == "started")
        notes = [f"{event['event']}: {event.get('why')}" for event in events
                 if event["event"] in ("not_applied", "unhealed", "broke", "lost")]
        if not applied:
            notes.append(f"nothing was applied: {self.words()}")
        result = self.came_to([], notes + self.leftovers())
        agents = any(event["event"] == "armed" and event["engine"] != "docker" for event in events)
        return {**result, "agents": agents, "lasts_s": (max(undone, default=started) - started) / 1e9}

    def failed_alone(self):
        """A run that nobody interrupted has no reason to end as broken."""
        return [f"it broke by itself: {event['why']}" for event in self.journal() if event["event"] == "broke"]

    def await_start(self):
        """When the run began, which is just before it arms; None if it never did."""
        until = time.monotonic() + RUN_LIMIT_S
        path = f"{self.folder}/out/journal.jsonl"
        while time.monotonic() < until:
            if os.path.exists(path):
                for event in self.journal():
                    self.run = event["run"]
                    return time.monotonic()
            if self.child.poll() is not None:
                return None
            time.sleep(POLL_S)
        return None

    def journal(self):
        events = []
        try:
            with open(f"{self.folder}/out/journal.jsonl") as lines:
                for line in lines:
                    events.append(json.loads(line))
        except (OSError, ValueError):
            pass  # Not there yet, or its last line was cut short.
        return events

    def wardens(self):
        return [pid for pid, words in commands() if words[1:] == ["inside", "warden", self.run or ""]]

    def agents(self):
        pids = []
        for agent in engine.labelled(self.run):
            about = engine.api("GET", f"/containers/{agent['Id']}/json")
            if about and about["State"]["Pid"]:
                pids.append(about["State"]["Pid"])
        return pids

    def await_healed(self, since):
        """How long until nothing is owed any more and nothing of the run lives; None: never."""
        until = time.monotonic() + HEAL_LIMIT_S
        healed = None
        while time.monotonic() < until:
            if healed is None and not self.owes():
                healed = time.monotonic() - since
            if healed is not None and self.child.poll() is not None and not os.path.exists(self.ledger()):
                return healed
            time.sleep(POLL_S)
        return None

    def ledger(self):
        return f"{self.folder}/state/runs/{self.run}"

    def owes(self):
        """True while a step's undo is written down and not struck out."""
        owed = set()
        try:
            with open(f"{self.ledger()}/ledger.jsonl") as lines:
                for line in lines:
                    entry = json.loads(line)
                    if "undo" in entry.get("owed", {}).get("debt", {}):
                        owed.add(entry["owed"]["key"])
                    owed.discard(entry.get("settled", {}).get("key"))
        except OSError:
            return False
        except ValueError:
            return True
        return bool(owed)

    def recover(self):
        ended = subprocess.run([self.worker.program, "recover"], env=self.env, capture_output=True, text=True,
                               timeout=RUN_LIMIT_S, check=False)
        return [] if ended.returncode == 0 else [f"recover: exit {ended.returncode}: {ended.stderr.strip()}"]

    def leftovers(self):
        renamed = self.job["kind"] == "disconnect"
        settle_s = SETTLE_AFTER_RESTART_S if self.job["who"] == ["daemon"] else SETTLE_S
        lines = self.worker.difference(settle_s, nameless if renamed else lambda seen: seen)
        until = time.monotonic() + settle_s
        while self.wardens() and time.monotonic() < until:
            time.sleep(POLL_S)
        if renamed:
            self.worker.fresh()
        if "irreversible: true" in self.job["fault"]:
            # What it is meant to be is not compared; nor who reaches it.
            lines = [line for line in lines if not line.startswith(("one: ", "containers")) and "reaches" not in line]
            self.worker.fresh()
        runs = f"{self.folder}/state/runs"
        if os.path.isdir(runs) and os.listdir(runs):
            lines.append(f"ledgers: {os.listdir(runs)}")
        if self.run:
            lines += engine.labelled_things(self.run)
            lines += [f"warden {pid} lives" for pid in self.wardens()]
        return lines

    def came_to(self, killed, leftovers, heal_s=None):
        result = {**self.job, "killed": killed, "leftovers": leftovers, "heal_s": heal_s, "exit": self.child.poll()}
        if leftovers or result["exit"] == UNHEALED:
            result["said"] = self.words()
            result["events"] = [event for event in self.journal() if event["event"] not in NOISE][-12:]
        if leftovers:
            self.worker.fresh()
        return result

    def words(self):
        self.said.flush()
        with open(self.said.name) as text:
            return text.read()[-2000:].strip()

    def end(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self.said.close()


def nameless(seen):
    """A snapshot without the numbers of interfaces: Docker gives a network that is attached again the next one."""
    return json.loads(re.sub(r"\beth\d+", "ethN", json.dumps(seen)))


def commands():
    """Every process with its command line."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline") as file:
                    yield int(entry), file.read().rstrip("\0").split("\0")
            except OSError:
                continue


def image_of(program, folder):
    """The image of the program, loaded by bringing up its lab."""
    env = {**os.environ, "CHAOS_STATE_DIR": f"{folder}/lab-state"}
    subprocess.run([program, "lab", "up"], env=env, check=True, capture_output=True)
    try:
        lab = engine.api("GET", "/containers/json", filters={"label": ["io.chaos.service=store"]})
        return lab[0]["Image"]
    finally:
        subprocess.run([program, "lab", "down"], env=env, check=True, capture_output=True)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    number, program, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    if len(sys.argv) > 4:
        engine.launch(sys.argv[4])
        image = image_of(program, folder)
    else:
        image = os.environ["TORTURE_IMAGE"]
    worker = Worker(number, program, folder, image)
    try:
        worker.fresh()
        print(json.dumps({"ready": number}), flush=True)
        for line in sys.stdin:
            print(json.dumps(worker.do(json.loads(line))), flush=True)
    finally:
        worker.slot.down()


if __name__ == "__main__":
    main()
