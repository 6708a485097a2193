"""How long an hour's journal takes to be judged and rendered to every form, and how much memory.

The journal is made up: the plan of `reports/sample`, its events spread over an hour, and 3,600 intervals of one load
with ten request names, a hundred arrivals a second each. Goal: under 3 s and 300 MB for all of it, reading included.
"""

import base64
import json
import os
import pathlib
import random
import struct
import sys
import tempfile
import time
import zlib

SECONDS = 3_600
REQUESTS = 10
PER_REQUEST = 100
POOL = 240
GOAL_S, GOAL_MB = 3.0, 300

PROGRAM = "target/release/chaos"
SAMPLE = pathlib.Path("reports/sample/journal.jsonl")


def index(value):
    """The counter of a value, in a histogram from 1 of three significant digits."""
    bucket = max(value.bit_length() - 11, 0)
    return (bucket << 10) + (value >> bucket)


def packed(values):
    """Values as HdrHistogram's compressed V2 form, in base64."""
    counts = {}
    for value in values:
        at = index(value)
        counts[at] = counts.get(at, 0) + 1
    payload, last = bytearray(), -1
    for at in sorted(counts):
        for number in ([-(at - last - 1)] if at > last + 1 else []) + [counts[at]]:
            zigzag = (number << 1) ^ (number >> 63)
            zigzag &= (1 << 64) - 1
            while zigzag > 0x7F:
                payload.append(zigzag & 0x7F | 0x80)
                zigzag >>= 7
            payload.append(zigzag)
        last = at
    plain = struct.pack(">IIIIQQd", 0x1C849313, len(payload), 0, 3, 1, 1 << 42, 1.0) + bytes(payload)
    body = zlib.compress(plain)
    return base64.b64encode(struct.pack(">II", 0x1C849314, len(body)) + body).decode()


def second(rng, slo):
    """What a load measured in one second."""
    parts, latency, service, lag, first = {}, [], [], [], []
    bad = 0
    for request in range(REQUESTS):
        base = 1e6 * (1 + request)
        good = [int(base + rng.lognormvariate(14, 0.8)) for _ in range(PER_REQUEST)]
        outcomes = {"good": packed(good)}
        latency += good
        if rng.random() < 0.2:
            slow = [int(base + 3e8 * rng.random()) for _ in range(3)]
            outcomes["bad"] = packed(slow)
            latency += slow
            bad += len(slow)
        parts[f"GET /request/{request}"] = outcomes
    for value in latency:
        late = int(rng.expovariate(1 / 40_000)) + 5_000
        lag.append(late)
        service.append(max(value - late, 1))
        first.append(max(value - 50_000, 1))
    good = len(latency) - bad
    return {
        "boxes": {"good": good, "bad": bad, "timed_out": 0, "failed": 0, "dropped": 0, "cut_off": 0},
        "latency": packed(latency),
        "service": packed(service),
        "send_lag": packed(lag),
        "first_byte": packed(first),
        "parts": parts,
        "statuses": {"200": good, "503": bad} if bad else {"200": good},
        "errors": {"unexpected: status": bad} if bad else {},
        "slo_good": {name: good for name in slo},
        "bytes": 412 * len(latency),
        "retried": 0,
    }


def journal(path):
    """Writes the hour, and says how large it is."""
    rng = random.Random(5)
    events = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    started = events[0]
    load, slos = started["plan"]["loads"][0]["name"], list(started["plan"]["slos"])
    last_ns = events[-1]["t_ns"]
    stretch = SECONDS * 1e9 / last_ns

    def spread(value):
        if isinstance(value, dict):
            return {
                key: int(of * stretch) if key.endswith("_ns") and isinstance(of, int) else spread(of)
                for key, of in value.items()
            }
        return [spread(of) for of in value] if isinstance(value, list) else value

    told = [event if event["event"] == "started" else spread(event) for event in events]
    told = [event for event in told if event["event"] not in ("load", "tick", "verdict", "finished")]
    pool = [second(rng, slos) for _ in range(POOL)]
    told += [
        {"t_ns": at * 10**9 + 10**9, "event": "load", "load": load, "from_ns": at * 10**9, "to_ns": (at + 1) * 10**9}
        | rng.choice(pool)
        for at in range(SECONDS)
    ]
    told.sort(key=lambda event: (event["event"] != "started", event["t_ns"]))
    told.append({"t_ns": SECONDS * 10**9 + 10**9, "event": "finished"})
    with path.open("w") as out:
        for event in told:
            out.write(json.dumps(event, separators=(",", ":")) + "\n")
    return path.stat().st_size


def run(args):
    """Seconds of wall and CPU time, and the most memory in MB."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.execv(args[0], args)
    _, status, used = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) not in range(8):
        sys.exit(f"{args} ended with {status}")
    return time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    program = os.path.abspath(os.environ.get("CHAOS_PROGRAM", PROGRAM))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        size = journal(folder / "journal.jsonl")
        print(f"an hour of {REQUESTS} requests, {PER_REQUEST}/s each: {size / 1e6:.1f} MB, {SECONDS} intervals")
        print(f"{'form':<14}{'wall':>8}{'cpu':>8}{'memory':>10}{'file':>12}")
        listed = os.popen(f"'{program}' report --list").read().splitlines()
        names = [line.split()[0] for line in listed[1:] if line and not line.startswith(" ")]
        for name in ["json", *[name for name in names if name not in ("json", "Forms")], "all"]:
            out = folder / name
            best = min(run([program, "report", str(folder), "--format", name, "--out", str(out)]) for _ in range(3))
            made = sum(file.stat().st_size for file in out.glob("*")) if out.exists() else 0
            print(f"{name:<14}{best[0]:>6.2f} s{best[1]:>6.2f} s{best[2]:>7.0f} MB{made / 1e3:>9.0f} kB", flush=True)
        wall, _, memory = best
        met = wall < GOAL_S and memory < GOAL_MB
        print(f"goal: all of them in {GOAL_S} s and {GOAL_MB} MB: {'met' if met else 'NOT MET'}")
        sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
