#!/usr/bin/env python3
"""CPU a request of the load engine against wrk's, and how well it keeps its pace.

Usage: scripts/bench.d/load.py [--rounds N] [--connections N] [--driver PATH]

Starts a small static server pinned to one core and runs the engine and wrk in turns on the other, in
alternating order. CPU is what wait4 says of the whole client process, over the requests that the *server*
counted. Absolute figures mean nothing on a shared machine; the ratio of each round does, and a wrk/wrk pair
beside it says how much of it is noise: outside 0.93 to 1.07 the run is void.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import urllib.request

SECONDS = 1
HERE = os.path.dirname(os.path.abspath(__file__))
DRIVER = os.path.join(HERE, "../../target/release/examples/load-driver")
CORES = sorted(os.sched_getaffinity(0))


def pinned(command, core):
    """Starts a command on one core."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )


def counted(base):
    """Requests that the server has counted."""
    with urllib.request.urlopen(f"{base}/count", timeout=5) as answer:
        return int(answer.read())


def client(command, base):
    """Runs a client: its output, requests, and CPU microseconds a request."""
    before = counted(base)
    process = pinned(command, CORES[0])
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    requests = counted(base) - before
    if status != 0 or requests == 0:
        sys.exit(f"{command[0]} failed (status {status}) or sent nothing: {out}")
    return out, requests, (usage.ru_utime + usage.ru_stime) * 1e6 / requests, usage.ru_maxrss / 1024


def main():
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--driver", default=DRIVER)
    arguments = parser.parse_args()
    if not os.path.exists(arguments.driver):
        sys.exit("build it first: cargo build --release --features bench --example load-driver")
    server = pinned([arguments.driver, "serve"], CORES[-1])
    base = f"http://{server.stdout.readline().strip()}"
    try:
        if shutil.which("wrk"):
            saturation(arguments, base)
        else:
            print("wrk: not installed, skipped (apt-get install wrk)")
        for rate in (1_000, 5_000, 20_000):
            pace(arguments, base, rate)
    finally:
        server.terminate()
        server.wait()


def saturation(arguments, base):
    """CPU a request with every connection busy."""
    connections = arguments.connections
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", f"{base}/"]
    _, requests, _, _ = client(wrk, base)
    # A little more than the server can answer: the cap keeps exactly this many under way.
    # An open model has no "as fast as you can": a rate slightly above what wrk reached, the cap holding it
    # to as many under way. Unlike wrk it still wakes for each arrival, which this figure includes.
    rate = requests / SECONDS * 1.1
    ours = [arguments.driver, f"{base}/", str(rate), str(SECONDS), str(connections)]
    ratios, noise, ours_us, wrk_us, rss = [], [], [], [], []
    for number in range(arguments.rounds):
        order = [("ours", ours), ("wrk", wrk), ("again", wrk)]
        if number % 2:
            order.reverse()
        us = {}
        for name, command in order:
            _, _, us[name], megabytes = client(command, base)
            if name == "ours":
                rss.append(megabytes)
        ratios.append(us["ours"] / us["wrk"])
        noise.append(us["again"] / us["wrk"])
        ours_us.append(us["ours"])
        wrk_us.append(us["wrk"])
    same = statistics.median(noise)
    print(
        f"{connections} connections: {statistics.median(ours_us):.2f} µs a request, wrk "
        f"{statistics.median(wrk_us):.2f}; ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), wrk/wrk {same:.3f}"
        f"{'' if 0.93 <= same <= 1.07 else ' VOID'}; {max(rss):.0f} MB at most"
    )


def pace(arguments, base, rate):
    """Send lag and CPU a request at a rate that is easy to hold."""
    out, requests, us, _ = client([arguments.driver, f"{base}/", str(rate), "3", "10000"], base)
    found = json.loads(out)
    lag = ", ".join(f"{name} {value:.0f}" for name, value in zip(("p50", "p99", "p99.9", "max"), found["lag_us"]))
    print(
        f"{rate}/s: send lag in µs {lag}; {us:.1f} µs CPU a request; server saw {requests} of {rate * 3};"
        f" slowest look at a 10 s window {found['slowest_window_us']} µs {found['why']}"
    )


if __name__ == "__main__":
    main()
