#!/usr/bin/env python3
"""Whole runs on a real daemon: the quickstart, many containers at once, and healing after the runner is killed.

Run by `scripts/bench runs`, as root. Prints asked, got and bar; everything made is removed.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

PROGRAM = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../target/release/chaos"))
QUICKSTART = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../experiments/quickstart.yaml"))
KILLS = int(os.environ.get("KILLS", "5"))


def row(what, got, bar):
    print(f"{what:<52} {got:<34} {bar}", flush=True)


def events(directory):
    path = os.path.join(directory, "journal.jsonl")
    if not os.path.exists(path):
        return []
    with open(path) as file:
        lines = [line for line in file if line.endswith("\n")]
    return [json.loads(line) for line in lines]


def chaos(*args, **options):
    environment = {**os.environ, "CHAOS_STATE_DIR": options.pop("state"), "NO_COLOR": "1"}
    return subprocess.Popen([PROGRAM, *args], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


def docker(*args):
    return subprocess.run(["docker", *args], capture_output=True, text=True, check=True).stdout.strip()


def quickstart(work):
    out, began = os.path.join(work, "quick"), time.monotonic()
    code = chaos("run", QUICKSTART, "--quiet", "--out", out, state=os.path.join(work, "state")).wait()
    took = time.monotonic() - began
    left = docker("ps", "-aq", "--filter", "label=io.chaos.run") + docker("network", "ls", "-q", "--filter", "label=io.chaos.run")
    row("quickstart, to the verdict", f"{took:.1f} s, exit {code}, left: {left or 'nothing'}", "under 60 s, exit 0, nothing")


def many(work):
    file, out = os.path.join(work, "many.yaml"), os.path.join(work, "many")
    with open(file, "w") as text:
        text.write("""
experiment: twenty replicas slow at once
lab: { replicas: { apis: 20 } }
targets: { apis: { service: api } }
load: { shoppers: { rate: 50/s, requests: [{ get: "http://gateway.lab/cart" }] } }
phases:
  baseline: { for: 2s }
  slow: { for: 5s, faults: [{ latency: { on: apis, delay: 200ms } }] }
expect: { slow: [count(scheduled) > 0] }
""")
    code = chaos("run", file, "--quiet", "--out", out, state=os.path.join(work, "state")).wait()
    happened = events(out)
    applied = [event for event in happened if event["event"] == "applied"]
    undone = [event for event in happened if event["event"] == "undone"]
    if len(applied) != 20 or len(undone) != 20:
        return row("20 containers fired together", f"exit {code}, {len(applied)} applied, {len(undone)} undone", "20 and 20")
    onsets = [event["at_ns"] / 1e6 for event in applied]
    row("20 containers fired together: spread of onset", f"{max(onsets) - min(onsets):.1f} ms", "under 20 ms")
    asked = min(event["asked_ns"] for event in applied) / 1e6
    row("  from asking to the last onset", f"{max(onsets) - asked:.1f} ms", "")
    gone = [event["at_ns"] / 1e6 for event in undone]
    row("undo of all, from asking to the last", f"{max(gone) - min(e['asked_ns'] for e in undone) / 1e6:.1f} ms", "under 100 ms")


FAULTS = {
    "latency": "latency: { on: one, delay: 100ms }",
    "partition": "partition: { groups: { apis: [one], store: [store] } }",
    "kill": "kill: { on: one, restart: true }",
    "pause": "pause: { on: one }",
}


def whole(pid_of, name, fault, before):
    """True if nothing of the fault is left in the target."""
    status = docker("inspect", "-f", "{{.State.Status}}", name)
    if status != "running":
        return False
    if fault in ("kill", "pause"):
        return True
    return rules(pid_of(name)) == before


def rules(pid):
    return subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "nft", "-s", "list", "ruleset"],
                          capture_output=True, text=True, check=False).stdout


def killed(work):
    state = os.path.join(work, "state")
    subprocess.run([PROGRAM, "lab", "up"], env={**os.environ, "CHAOS_STATE_DIR": state}, check=True, capture_output=True)
    try:
        names = docker("ps", "--filter", "label=io.chaos.service", "--format", "{{.Names}}").split()
        target = next(name for name in names if name.endswith("api-1"))
        run = docker("inspect", "-f", '{{index .Config.Labels "io.chaos.run"}}', target)
        port = docker("port", next(name for name in names if "gateway" in name)).split(":")[-1]
        pid_of = lambda name: docker("inspect", "-f", "{{.State.Pid}}", name)
        for fault, text in FAULTS.items():
            took = []
            for attempt in range(KILLS):
                file, out = os.path.join(work, "kill.yaml"), os.path.join(work, f"{fault}-{attempt}")
                with open(file, "w") as out_file:
                    out_file.write(f"""
experiment: the runner dies
targets: {{ one: {{ name: api-1 }}, store: {{ name: store-1 }} }}
load: {{ shoppers: {{ rate: 20/s, requests: [{{ get: "http://127.0.0.1:{port}/cart" }}] }} }}
phases:
  baseline: {{ for: 1s }}
  broken: {{ for: 60s, faults: [{{ {text} }}] }}
expect: {{ broken: [count(scheduled) > 0] }}
""")
                before = rules(pid_of(target))
                child = chaos("run", file, "--quiet", "--out", out, state=state)
                deadline = time.monotonic() + 60
                while not any(event["event"] == "applied" for event in events(out)):
                    if child.poll() is not None or time.monotonic() > deadline:
                        sys.exit(f"{fault} was never applied (exit {child.poll()})")
                    time.sleep(0.02)
                child.send_signal(signal.SIGKILL)
                died = time.monotonic()
                child.wait()
                while not whole(pid_of, target, fault, before):
                    if time.monotonic() > died + 30:
                        sys.exit(f"{fault} was not healed")
                    time.sleep(0.01)
                took.append(time.monotonic() - died)
                # The next run must not meet the warden of this one.
                while os.listdir(os.path.join(state, "runs")):
                    time.sleep(0.02)
            row(f"runner killed during {fault}, {KILLS} times: healed in",
                f"median {statistics.median(took) * 1e3:.0f} ms, worst {max(took) * 1e3:.0f} ms", "under 2 s")
        del run
    finally:
        subprocess.run([PROGRAM, "lab", "down", "--all"], env={**os.environ, "CHAOS_STATE_DIR": state}, check=False, capture_output=True)


def main():
    work = tempfile.mkdtemp(prefix="chaos-bench-")
    try:
        row("what", "got", "bar")
        quickstart(work)
        many(work)
        killed(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


main()
