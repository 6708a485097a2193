"""CPU a request with every connection busy: this program, the floor, and whichever peers are installed."""

import shutil
import statistics

from .process import CHAOS, DRIVER, Server, Used, bootstrap

SECONDS = 1


def tools(server, connections):
    """The command of each client by name; a peer that is not installed is left out and named."""
    url = server.url
    clients = {
        "wrk": ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", url],
        "wrk again": ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", url],
        "chaos": [CHAOS, "load", url, "--users", str(connections), "--duration", f"{SECONDS}s", "--threads", "1", "--quiet"],
        "floor": [DRIVER, "floor", server.address, str(connections), str(SECONDS)],
        "ab": ["ab", "-q", "-k", "-c", str(connections), "-t", str(SECONDS), "-n", "400000", url],
        "h2load": ["h2load", "--h1", "-t1", "-c", str(connections), "-D", str(SECONDS), url],
        "oha": ["oha", "--no-tui", "-c", str(connections), "-z", f"{SECONDS}s", url],
        "hey": ["hey", "-cpus", "1", "-c", str(connections), "-z", f"{SECONDS}s", url],
    }
    missing = [name for name, command in clients.items() if not shutil.which(command[0])]
    for name in missing:
        print(f"  {name}: not installed, skipped")
        del clients[name]
    return clients


def saturation(connections, rounds, only=None):
    """Interleaved rounds in alternating order; prints a line per tool and returns the ratios to wrk."""
    print(f"saturation, {connections} connections, {rounds} rounds of {SECONDS} s in turns:")
    with Server() as server:
        return compare(tools(server, connections), server.count, rounds, only)


def compare(clients, count, rounds, only=None):
    """Runs clients in turns against whatever `count` counts; prints and returns the ratios to wrk."""
    clients = {name: command for name, command in clients.items() if not only or name in only}
    found = {name: [] for name in clients}
    for number in range(rounds):
        order = list(clients) if number % 2 == 0 else list(clients)[::-1]
        for name in order:
            before = count()
            used = Used(clients[name])
            requests = count() - before
            if used.failed:
                print(f"  {used.failed.strip()}")
                continue
            found[name].append((used.cpu_s * 1e6 / max(requests, 1), requests / SECONDS, used.peak_mb))
    ratios = {}
    for name, rows in found.items():
        if len(rows) < rounds:
            continue
        us, rate, peak = (statistics.median(column) for column in zip(*rows))
        line = f"  {name:10} {rate:9.0f}/s {us:7.2f} µs a request, {peak:6.1f} MB"
        for base in ("wrk", "floor", "oha"):
            if len(found.get(base, ())) == rounds and base != name and (base == "wrk" or name == "chaos"):
                by_round = [mine[0] / other[0] for mine, other in zip(rows, found[base])]
                low, high = bootstrap(by_round)
                line += f"; {statistics.median(by_round):.3f} of {base} ({low:.3f}–{high:.3f})"
                ratios[name, base] = statistics.median(by_round)
        print(line)
    same = ratios.get(("wrk again", "wrk"), 1)
    if not 0.93 <= same <= 1.07:
        print(f"  VOID: wrk against itself came to {same:.3f}")
    return ratios
