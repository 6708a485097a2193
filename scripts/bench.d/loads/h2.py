"""HTTP/2 requests a second over one core, against h2load."""

import json
import shutil
import statistics
import subprocess
import tempfile
import time

from .process import CHAOS, SERVER_CORE, Used, bootstrap

PORT = 18090
CONNECTIONS, STREAMS, SECONDS = 64, 10, 2


def h2(rounds):
    """Interleaved rounds against nghttpd, which comes with h2load or beside it."""
    if not shutil.which("h2load") or not shutil.which("nghttpd"):
        print("h2: h2load or nghttpd not installed, skipped")
        return
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(suffix=".json") as saved:
        with open(f"{folder}/index.html", "w", encoding="ascii") as file:
            file.write("x" * 100)
        server = subprocess.Popen(["taskset", "-c", str(SERVER_CORE), "nghttpd", "--no-tls", "-d", folder, "-a", "127.0.0.1", str(PORT)], stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            url = f"http://127.0.0.1:{PORT}/index.html"
            ours = [CHAOS, "load", url, "--http2", "--users", str(CONNECTIONS * STREAMS), "--streams", str(STREAMS), "--connections", str(CONNECTIONS), "--duration", f"{SECONDS}s", "--threads", "1", "--quiet", "--json", saved.name]
            peer = ["h2load", "-t1", "-c", str(CONNECTIONS), "-m", str(STREAMS), "-D", str(SECONDS), url]
            ratios, rates = [], []
            for number in range(rounds):
                by_name = {}
                for name in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
                    used = Used(ours if name == "ours" else peer)
                    if name == "ours":
                        with open(saved.name, encoding="utf-8") as file:
                            by_name[name] = json.load(file)["load"]["good"] / SECONDS
                    else:
                        line = next(line for line in used.out.splitlines() if line.startswith("requests:"))
                        by_name[name] = int(line.split("done,")[0].split(",")[-1]) / SECONDS
                ratios.append(by_name["ours"] / by_name["peer"])
                rates.append((by_name["ours"], by_name["peer"]))
            low, high = bootstrap(ratios)
            mine, theirs = (statistics.median(column) for column in zip(*rates))
            print(f"h2, {CONNECTIONS} connections × {STREAMS} streams: {mine:.0f}/s, h2load {theirs:.0f}/s; ratio {statistics.median(ratios):.3f} ({low:.3f}–{high:.3f})")
        finally:
            server.terminate()
            server.wait()
