"""The faults that go through a proxy of the agent's: what a delayed name or request really takes longer, and what
the proxy costs a request that it does nothing to."""

import socket
import statistics
import subprocess
import sys
import threading
import time

from . import Agent, FAR, NAMES, NEAR, inside, row, udp

PORT = 8080
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REQUEST = b"GET /cart HTTP/1.1\r\nHost: near\r\n\r\n"
# A query for the address of `a.lab`, and any answer to it: its number, then the flags of one.
QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x03lab\x00\x00\x01\x00\x01"
COUNT, CLIENTS, SECONDS = 500, 8, 4

HTTP = {"port": PORT, "methods": [], "paths": [], "headers": [], "share": 1.0, "seed": 1, "delay_ns": 0, "abort": None,
        "request": {"set": [], "remove": []}, "response": {"set": [], "remove": []}, "body": None,
        "truncate_bytes": None, "drip_bytes_per_s": None}
DNS = {"names": [], "answer": "truth", "delay_ns": 0, "share": 1.0, "seed": 1}

# In a process of its own, so that client and server do not share one interpreter's lock.
SERVER = """
import socket, threading
listener = socket.create_server(("0.0.0.0", %d), backlog=256)
def serve(stream):
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while stream.recv(4096):
        stream.sendall(%r)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
""" % (PORT, ANSWER)


def connected():
    with inside("far"):
        stream = socket.create_connection((NEAR, PORT))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def exchange(stream):
    stream.sendall(REQUEST)
    seen = b""
    while not seen.endswith(b"ok"):
        seen += stream.recv(4096)


def one_by_one(count=COUNT):
    """Median of `count` exchanges over one connection, in ms."""
    stream, took = connected(), []
    for _ in range(count):
        began = time.monotonic()
        exchange(stream)
        took.append((time.monotonic() - began) * 1e3)
    stream.close()
    return statistics.median(took)


def per_second():
    """Exchanges a second over several connections at once."""
    done = [0] * CLIENTS
    until = time.monotonic() + SECONDS

    def ask(number):
        stream = connected()
        while time.monotonic() < until:
            exchange(stream)
            done[number] += 1
        stream.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / SECONDS


def through(kind, task):
    agent = Agent()
    engine = agent.ask("arm", tag="bench", impairments=[], tasks={"0": {kind: task}}, engine=None,
                       deadline_ns=int(600e9))["0"]
    agent.ask("fire", steps=[0])
    return agent, engine


def http():
    server = subprocess.Popen(["nsenter", f"--net=/run/netns/{NAMES['near']}", sys.executable, "-c", SERVER],
                              stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    try:
        plain_ms, plain_per_s = one_by_one(), per_second()
        agent, engine = through("http", HTTP | {"paths": ["/no-such-path"], "delay_ns": 1})
        idle_ms, idle_per_s = one_by_one(), per_second()
        counted = agent.undo()["counted"]
        agent.close()
        row("http that matches nothing", f"+{idle_ms - plain_ms:.3f} ms p50; {idle_per_s:,.0f} requests/s of "
            f"{plain_per_s:,.0f} without, {CLIENTS} connections; {counted['requests']:,} went through", engine)
        agent, engine = through("http", HTTP | {"delay_ns": int(100e6)})
        late_ms = one_by_one(50)
        held = agent.undo()["delay_ms"]
        agent.close()
        row("http delay 100 ms", f"+{late_ms - plain_ms:.3f} ms p50; held {held['min']:.3f} min, {held['p50']:.3f} "
            f"median, {held['max']:.3f} max", engine)
    finally:
        server.kill()
        server.wait()


def resolver(server):
    while True:
        data, peer = server.recvfrom(512)
        server.sendto(data[:2] + b"\x81\x80" + data[4:], peer)


def lookups(count):
    client, took = udp("near", NEAR), []
    client.connect((FAR, 53))
    client.settimeout(3)
    for _ in range(count):
        began = time.monotonic()
        client.send(QUERY)
        client.recv(512)
        took.append((time.monotonic() - began) * 1e3)
    client.close()
    return statistics.median(took)


def dns():
    server = udp("far", FAR, 53)
    threading.Thread(target=resolver, args=(server,), daemon=True).start()
    plain_ms = lookups(COUNT)
    agent, engine = through("dns", DNS | {"names": ["other.lab"], "delay_ns": 1})
    idle_ms = lookups(COUNT)
    agent.undo()
    agent.close()
    row("dns that matches nothing", f"+{idle_ms - plain_ms:.3f} ms p50", engine)
    agent, engine = through("dns", DNS | {"delay_ns": int(100e6)})
    late_ms = lookups(50)
    held = agent.undo()["delay_ms"]
    agent.close()
    row("dns delay 100 ms", f"+{late_ms - plain_ms:.3f} ms p50; held {held['min']:.3f} min, {held['p50']:.3f} median, "
        f"{held['max']:.3f} max", engine)


def all_of_them():
    http()
    dns()
