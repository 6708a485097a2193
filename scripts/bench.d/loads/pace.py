"""How exactly arrivals are released, as the server sees it."""

import json
import shutil
import subprocess
import tempfile

from .process import CHAOS, DRIVER, Server, Used, percentile

SECONDS = 10


def report(name, rate, arrivals, used, offsets=None, extra=""):
    """Prints how far arrivals (ns) lie behind their intended instants, which begin where they fit best."""
    count = len(arrivals)
    if count < 2:
        print(f"  {name}: {count} requests came")
        return
    offsets = offsets or [number * 1e9 / rate for number in range(count)]
    behind = [came - intended for came, intended in zip(arrivals, offsets)]
    # Nothing is sent early, so the least is where the schedule begins.
    least = min(behind)
    behind = sorted(late - least for late in behind)
    span_ns = offsets[count - 1] - offsets[0]
    off = (arrivals[-1] - arrivals[0]) / span_ns - 1 if span_ns else 0
    at = "  ".join(f"p{share * 100:g} {percentile(behind, share) / 1e3:8.1f}" for share in (0.5, 0.99, 0.999))
    cpu = used.cpu_s * 1e6 / count
    print(f"  {name:28} {count:7} came, rate off by {abs(off) * 100:.4f}%; late in µs: {at}; {cpu:5.1f} µs CPU a request{extra}")


def lag(path):
    """The client's own account of its send lag, in µs."""
    with open(path, encoding="utf-8") as file:
        found = json.load(file)["load"]["send_lag_ms"]
    return f"; send lag by its own account: p50 {found['p50'] * 1e3:.1f} p99 {found['p99'] * 1e3:.1f} p99.9 {found['p999'] * 1e3:.1f}"


def pace(rate):
    """Compares at a rate that is easy to hold."""
    print(f"arrivals at {rate}/s for {SECONDS} s, as the server sees them:")
    with Server("log") as server, tempfile.NamedTemporaryFile(suffix=".json") as saved:
        common = [CHAOS, "load", server.url, "--rate", f"{rate}/s", "--duration", f"{SECONDS}s", "--quiet", "--threads", "1", "--json", saved.name]
        for name, flags in (("chaos", []), ("chaos --realtime", ["--realtime"]), ("chaos --batched", ["--batched"])):
            used = Used(common + flags)
            report(name, rate, [came for came, _ in server.log()], used, extra=lag(saved.name))
        used = Used([DRIVER, "paced", server.address, "64", str(rate), str(SECONDS)])
        report("floor, a wake-up a request", rate, [came for came, _ in server.log()], used)
        poisson = f"{{ rate: {rate}/s, arrivals: poisson, requests: [ get: '{server.url}' ] }}"
        for name, flags in (("chaos poisson", []), ("chaos poisson --realtime", ["realtime"])):
            used = Used([DRIVER, "drive", poisson, str(SECONDS)] + flags)
            came = [came for came, _ in server.log()]
            listed = subprocess.run([DRIVER, "schedule", poisson, str(len(came))], capture_output=True, text=True, check=True)
            offsets = [int(line) for line in listed.stdout.split()]
            report(name, rate, came, used, offsets)
        if shutil.which("oha"):
            oha = ["oha", "--no-tui", "-c", "64", "-q", str(rate), "--latency-correction", "-z", f"{SECONDS}s", server.url]
            used = Used(oha)
            report("oha -q --latency-correction", rate, [came for came, _ in server.log()], used)
        else:
            print("  oha: not installed, skipped")
