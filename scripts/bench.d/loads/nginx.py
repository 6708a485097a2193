"""CPU a request against nginx, a server as people run it."""

import os
import shutil
import subprocess
import tempfile
import time
import urllib.request

from .process import CHAOS, SERVER_CORE
from .saturation import SECONDS, compare

PORT = 18089
CONFIG = """
worker_processes 1; daemon off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} location = /stub {{ stub_status; }} }}
}}
"""


def requests():
    """Requests that nginx has counted, by its stub_status, which counts itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/stub", timeout=5) as answer:
        return int(answer.read().split()[9])


def nginx(connections, rounds):
    """Interleaved rounds of this program and wrk."""
    if not shutil.which("nginx") or not shutil.which("wrk"):
        print("nginx: nginx or wrk not installed, skipped")
        return
    with tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "nginx.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(CONFIG.format(dir=folder, port=PORT, body="x" * 100))
        server = subprocess.Popen(["taskset", "-c", str(SERVER_CORE), "nginx", "-c", config, "-p", folder], stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    requests()
                    break
                except OSError:
                    time.sleep(0.05)
            url = f"http://127.0.0.1:{PORT}/"
            wrk = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", url]
            chaos = [CHAOS, "load", url, "--users", str(connections), "--duration", f"{SECONDS}s", "--threads", "1", "--quiet"]
            print(f"against nginx, {connections} connections, {rounds} rounds:")
            compare({"wrk": wrk, "wrk again": wrk, "chaos": chaos}, requests, rounds)
        finally:
            server.terminate()
            server.wait()
