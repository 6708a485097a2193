"""Memory: flat over time, and a bound for each connection."""

import subprocess
import time

from .process import CHAOS, CLIENT_CORE, Server, pinned


def resident_mb(pid):
    """What a process holds now."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096 / 2**20


def watch(command, seconds, every=1.0):
    """Runs a command and returns what it held each second."""
    process = pinned(command, CLIENT_CORE, subprocess.DEVNULL)
    began, held = time.monotonic(), []
    until = began + seconds
    while time.monotonic() < until and process.poll() is None:
        # By the clock, not by adding up: looking takes time, too.
        time.sleep(max(0, began + every * (len(held) + 1) - time.monotonic()))
        if process.poll() is None:
            held.append(resident_mb(process.pid))
    process.wait(timeout=30)
    return held


def flat(seconds):
    """Held after ten seconds against the most held later, at 20,000/s."""
    with Server() as server:
        load = [CHAOS, "load", server.url, "--rate", "20000/s", "--duration", f"{seconds}s", "--quiet", "--threads", "1"]
        held = watch(load, seconds + 5)
    early, late, judged = max(held[:10]), max(held[10:seconds], default=0), max(held[seconds:], default=0)
    minutes = " ".join(f"{level:.1f}" for level in held[10::60])
    print(f"memory, {seconds} s at 20,000/s: {early:.1f} MB in the first 10 s, at most {late:.1f} MB later ({late - early:+.1f})")
    print(f"  each minute: {minutes}; while it is judged: {judged:.1f}")


def many(connections):
    """Held with so many connections kept open."""
    with Server() as server:
        load = [CHAOS, "load", server.url, "--users", str(connections), "--duration", "5s", "--timeout", "30s", "--quiet", "--threads", "1"]
        held = watch(load, 12, 0.2)
    bound = 20 + connections * 2 / 1024
    print(f"memory, {connections} connections: at most {max(held):.1f} MB (bound {bound:.1f})")
