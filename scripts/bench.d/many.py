#!/usr/bin/env python3
"""Many containers at once: how far apart they are hit, how long arming and healing take, and whether who reaches whom
is what the plan says. Run by `scripts/bench many`, as root, against the local Docker; everything made is removed.

RUNS repeats each measurement (default 5). MOST is the size of the largest crowd (default 200).
"""

import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../torture.d"))
import engine  # noqa: E402
from target import PORT, free_port  # noqa: E402
from worker import image_of  # noqa: E402

PROGRAM = os.environ.get("CHAOS_PROGRAM", os.path.join(HERE, "../../target/release/chaos"))
RUNS = int(os.environ.get("RUNS", "5"))
MOST = int(os.environ.get("MOST", "200"))
EXPERIMENT = """experiment: many at once
targets: {{ all: {{ re: '{prefix}-.*' }} }}
load: {{ users: {{ rate: 5/s, timeout: 1s, requests: [{{ get: "http://127.0.0.1:{port}/health" }}] }} }}
phases:
  {first}
  broken: {{ for: 2s, faults: [{{ {fault} }}] }}
expect: {{ broken: [count(scheduled) > 0] }}
"""
PARTITION = "partition: { on: all, shape: majorities-ring }"
LATENCY = "latency: { on: all, delay: 50ms }"
# Nobody talks to most of them, so that a fault of packets need not be proven on each: exit 5.
QUIET = (0, 5)


def row(what, got, bar):
    print(f"{what:<58} {got:<44} {bar}", flush=True)


def ms(nanoseconds):
    return f"{nanoseconds / 1e6:.1f} ms"


class Crowd:
    """So many containers of our image in a network of their own; the first one's port is published."""

    def __init__(self, count, image):
        self.count, self.image, self.port = count, image, free_port()
        self.prefix = f"many-{os.getpid()}-{count}"

    def __enter__(self):
        engine.api("POST", "/networks/create", {"Name": self.prefix, "CheckDuplicate": True})
        try:
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(self.start, range(self.count)))
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, number):
        host = {"NetworkMode": self.prefix, "Memory": 64 << 20, "PidsLimit": 64}
        if number == 0:
            host["PortBindings"] = {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(self.port)}]}
        made = engine.api("POST", "/containers/create", {
            "Image": self.image, "Cmd": ["inside", "role", "store"], "HostConfig": host,
            "ExposedPorts": {f"{PORT}/tcp": {}}}, name=f"{self.prefix}-{number}")
        engine.api("POST", f"/containers/{made['Id']}/start")

    def __exit__(self, *_):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: engine.api("DELETE", f"/containers/{self.prefix}-{number}", force="true",
                                                    v="true"), range(self.count)))
        engine.api("DELETE", f"/networks/{self.prefix}")

    def run(self, fault, first="baseline: { for: 1s }", fine=(0,)):
        """One run; its events. `fine`: how it may end."""
        with tempfile.TemporaryDirectory(prefix="chaos-bench-") as folder:
            file, out = f"{folder}/many.yaml", f"{folder}/out"
            with open(file, "w") as text:
                text.write(EXPERIMENT.format(prefix=self.prefix, port=self.port, fault=fault, first=first))
            ran = subprocess.run([PROGRAM, "run", file, "--quiet", "--out", out], capture_output=True, text=True,
                                 check=False, env={**os.environ, "CHAOS_STATE_DIR": f"{folder}/state"})
            if ran.returncode not in fine:
                raise SystemExit(f"many: exit {ran.returncode}: {ran.stdout}{ran.stderr}")
            with open(f"{out}/journal.jsonl") as lines:
                return [json.loads(line) for line in lines]


def all_of(events, kind):
    return [event for event in events if event["event"] == kind]


def spread_ns(events):
    onsets = [event["at_ns"] for event in all_of(events, "applied")]
    return max(onsets) - min(onsets)


def arming_ns(events):
    """From the beginning of the run to the last agent that is ready."""
    return max(event["t_ns"] for event in all_of(events, "armed")) - all_of(events, "started")[0]["t_ns"]


def healing_ns(events):
    undone = all_of(events, "undone")
    return max(event["at_ns"] for event in undone) - min(event["asked_ns"] for event in undone)


def figures(values):
    return f"median {ms(statistics.median(values))}, worst {ms(max(values))}, {len(values)} runs"


def check_reach(events):
    """Who reached whom, against the plan: before, during and after. What is wrong, in words."""
    plan = all_of(events, "started")[0]["plan"]["faults"][0]["reach"]["rows"]
    seen = {event["when"]: event["reach"]["rows"] for event in all_of(events, "reach")}
    whole = ["".join("=" if a == b else "+" for b in range(len(plan))) for a in range(len(plan))]
    expected = {"before": whole, "during": plan, "after": whole}
    return [f"{when} differs" for when, rows in expected.items() if seen.get(when) != rows]


def partition(image):
    with Crowd(50, image) as crowd:
        # Without a phase before it, the fault comes as soon as its agents are there.
        cold = [crowd.run(PARTITION, first="") for _ in range(RUNS)]
        armed = [crowd.run(PARTITION) for _ in range(RUNS)]
        row("50 in majorities-ring from a cold start: onsets apart", figures([spread_ns(run) for run in cold]), "1 s")
        row("  armed a second before", figures([spread_ns(run) for run in armed]), "50 ms")
        wrong = [why for run in cold + armed for why in check_reach(run)]
        row("  who reaches whom, 2,450 pairs, before, during, after", "; ".join(wrong) or "as planned", "as planned")
        row("  healed", figures([healing_ns(run) for run in cold + armed]), "1 s")


def hundred(image):
    with Crowd(100, image) as crowd:
        runs = [crowd.run(LATENCY, fine=QUIET) for _ in range(RUNS)]
        row("100 with latency: armed", figures([arming_ns(events) for events in runs]), "20 s")
        row("  onsets apart", figures([spread_ns(events) for events in runs]), "50 ms")
        row("  healed", figures([healing_ns(events) for events in runs]), "1 s")


def most(image):
    with Crowd(MOST, image) as crowd:
        began = time.monotonic()
        events = crowd.run(LATENCY, fine=QUIET)
        applied, undone = len(all_of(events, "applied")), len(all_of(events, "undone"))
        row(f"{MOST} with latency", f"{applied} applied, {undone} undone, {time.monotonic() - began:.1f} s in all",
            f"{MOST} and {MOST}")
        row("  onsets apart", ms(spread_ns(events)), "")
        row("  healed", ms(healing_ns(events)), "")


def main():
    parts = {"partition": partition, "hundred": hundred, "most": most}
    only = sys.argv[1:] or list(parts)
    if unknown := [name for name in only if name not in parts]:
        raise SystemExit(f"many: no part {unknown[0]}; there are: {', '.join(parts)}")
    with tempfile.TemporaryDirectory(prefix="chaos-bench-") as folder:
        image = image_of(os.path.realpath(PROGRAM), folder)
    row("what", "got", "bar")
    for name in only:
        parts[name](image)


if __name__ == "__main__":
    main()
