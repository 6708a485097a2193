"""Servers and clients as processes on cores of their own, and what they used."""

import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
BUILT = os.path.normpath(os.path.join(HERE, "../../../target/release"))
CHAOS = os.path.join(BUILT, "chaos")
DRIVER = os.path.join(BUILT, "load-driver")
CORES = sorted(os.sched_getaffinity(0))
CLIENT_CORE, SERVER_CORE = CORES[0], CORES[-1]


def pinned(command, core, stderr=subprocess.DEVNULL):
    """Starts a command on one core."""
    return subprocess.Popen(["taskset", "-c", str(core)] + command, stdout=subprocess.PIPE, stderr=stderr, text=True)


class Server:
    """The bench's own server, on its own core; a context manager."""

    def __init__(self, manner=None):
        self.process = pinned([DRIVER, "serve"] + ([manner] if manner else []), SERVER_CORE)
        self.address = self.process.stdout.readline().strip()
        self.url = f"http://{self.address}/"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def count(self):
        """Requests that the server has counted."""
        with urllib.request.urlopen(self.url + "count", timeout=5) as answer:
            return int(answer.read())

    def log(self):
        """When each request came and was answered, in nanoseconds, in order of coming; forgotten there."""
        with urllib.request.urlopen(self.url + "log", timeout=60) as answer:
            return sorted(tuple(map(int, line.split())) for line in answer.read().splitlines())


class Used:
    """What a finished client used: seconds of CPU, megabytes at most, and what it printed."""

    def __init__(self, command, core=CLIENT_CORE):
        started = time.monotonic()
        process = pinned(command, core, subprocess.PIPE)
        # VmHWM of the client itself: wait4's figure is at least this interpreter's own.
        peak_kb = 0
        while True:
            try:
                with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                    found = re.search(r"VmHWM:\s+(\d+)", status.read())
                peak_kb = max(peak_kb, int(found[1]) if found else 0)
                pid, code, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    process.returncode = code
                    break
            except (FileNotFoundError, ChildProcessError, ProcessLookupError):
                break
            time.sleep(0.02)
        self.seconds = time.monotonic() - started
        self.out, self.err = process.stdout.read(), process.stderr.read()
        self.code = os.waitstatus_to_exitcode(code)
        self.cpu_s = usage.ru_utime + usage.ru_stime
        self.peak_mb = peak_kb / 1024
        self.failed = None if self.code in (0, 1, 5) else f"{command[0]} failed with {self.code}: {self.err or self.out}"
        if self.failed and command[0] in (CHAOS, DRIVER):
            sys.exit(self.failed)


def bootstrap(ratios, rounds=2_000):
    """The 95% interval of the median, by resampling with a fixed seed."""
    import random

    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(rounds))
    return medians[int(0.025 * rounds)], medians[int(0.975 * rounds)]


def percentile(values, share):
    """The value that `share` of the sorted values do not exceed."""
    return values[min(len(values) - 1, max(0, int(len(values) * share + 0.999999) - 1))]
