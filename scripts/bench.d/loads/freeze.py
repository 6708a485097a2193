"""The freeze test: a server that stops for one second in ten, under 1,000 arrivals a second."""

import json
import tempfile

from .process import CHAOS, Server, Used, percentile

RATE = 1_000
SERVICE_MS = 1.0
# What users see: nine seconds of the service time, and one whose arrivals wait for its end.
TRUTH_MS = {"p95": 502, "p99": 902, "p999": 992, "max": 1001}
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}


def freeze(seconds=20):
    """Runs it for whole periods of ten seconds and compares with the analysis and with the server's own log."""
    print(f"freeze test, {seconds} s:")
    with Server("freeze") as server, tempfile.NamedTemporaryFile(suffix=".json") as saved:
        Used([CHAOS, "load", server.url, "--rate", f"{RATE}/s", "--duration", f"{seconds}s", "--timeout", "5s", "--quiet", "--json", saved.name])
        with open(saved.name, encoding="utf-8") as file:
            told = json.load(file)["load"]["latency_ms"]
        log = server.log()
    period = 1e9 / RATE
    begin = min(came - number * period for number, (came, _) in enumerate(log))
    seen = sorted((answered - begin - number * period) / 1e6 for number, (_, answered) in enumerate(log))
    for name, share in SHARES.items():
        by_log = percentile(seen, share)
        line = f"  {name:5} told {told[name]:8.2f} ms; by the server's log {by_log:8.2f} ({(told[name] / by_log - 1) * 100:+.2f}%)"
        if name in TRUTH_MS:
            line += f"; by analysis {TRUTH_MS[name]} ({(told[name] / TRUTH_MS[name] - 1) * 100:+.2f}%)"
        else:
            line += f"; service time {SERVICE_MS} ({told[name] - SERVICE_MS:+.2f} ms)"
        print(line)
