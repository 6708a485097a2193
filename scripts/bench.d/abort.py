#!/usr/bin/env python3
"""How long after a guard fires everything is healed: from the guard to the last measured undo, by fault. Run by
`scripts/bench abort`, as root, against the local Docker. The bar is 500 ms for faults of the network."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../torture.d"))
from target import Slot  # noqa: E402
from worker import image_of  # noqa: E402

PROGRAM = os.environ.get("CHAOS_PROGRAM", os.path.join(HERE, "../../target/release/chaos"))
RUNS = int(os.environ.get("RUNS", "10"))
BAR_MS = 500
FAULTS = {
    "latency": "latency: { on: one, delay: 1500ms }",
    "loss": "loss: { on: one, share: 100% }",
    "partition": "partition: { groups: { a: [gateway], b: [one] } }",
    "pause": "pause: { on: one }",
}
EXPERIMENT = """experiment: how fast it is healed
{targets}
load: {{ users: {{ rate: 50/s, timeout: 1s, requests: [{{ get: "http://127.0.0.1:{port}/cart" }}] }} }}
phases: {{ baseline: {{ for: 3s }}, broken: {{ for: 30s, faults: [{{ {fault} }}] }} }}
abort: [ rate(good) < 50% over 2s ]
expect: {{ broken: [count(scheduled) > 0] }}
"""


def healed_ms(folder, number, text):
    file, out = f"{folder}/{number}.yaml", f"{folder}/{number}"
    with open(file, "w") as written:
        written.write(text)
    ran = subprocess.run([PROGRAM, "run", file, "--quiet", "--out", out], capture_output=True, text=True, check=False,
                         env={**os.environ, "CHAOS_STATE_DIR": f"{folder}/state"})
    if ran.returncode != 6:
        raise SystemExit(f"abort: exit {ran.returncode}: {ran.stdout}{ran.stderr}")
    with open(f"{out}/journal.jsonl") as lines:
        events = [json.loads(line) for line in lines]
    fired = min(event["t_ns"] for event in events if event["event"] == "guard")
    return (max(event["at_ns"] for event in events if event["event"] == "undone") - fired) / 1e6


def await_answers(slot):
    """The first requests would be slow, and a guard would fire before anything is broken."""
    until = time.monotonic() + 30
    while not all(how in ("connects", True) for part in slot.names
                  for how in slot.snapshot().get(f"{part}: reaches", {}).values()):
        if time.monotonic() > until:
            raise SystemExit("abort: the targets do not answer")
        time.sleep(0.2)


def main():
    with tempfile.TemporaryDirectory(prefix="chaos-bench-") as folder:
        slot = Slot(0, image_of(os.path.realpath(PROGRAM), folder))
        slot.up()
        try:
            await_answers(slot)
            print(f"{'fault':<12} {'runs':>5} {'median':>9} {'worst':>9}   guard to healed")
            for fault, text in FAULTS.items():
                full = EXPERIMENT.format(targets=slot.targets(), port=slot.port, fault=text)
                took = [healed_ms(folder, f"{fault}-{number}", full) for number in range(RUNS)]
                verdict = "ok" if max(took) < BAR_MS else f"over {BAR_MS} ms"
                print(f"{fault:<12} {len(took):>5} {statistics.median(took):>6.1f} ms {max(took):>6.1f} ms   {verdict}")
        finally:
            slot.down()


if __name__ == "__main__":
    main()
