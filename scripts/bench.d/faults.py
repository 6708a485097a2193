#!/usr/bin/env python3
"""What the agent's delay engine really gives: asked, got, engine. Run by `scripts/bench faults`, as root.

Two network namespaces joined by a cable; the release program's agent in one of them, driven over its pipes as
the runner does. Every figure is the difference that the fault makes against the same exchange without it.
"""

import ctypes
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

RELEASE = os.path.join(os.path.dirname(__file__), "../../target/release/chaos")
PROGRAM = os.environ.get("CHAOS_PROGRAM", RELEASE)
# Python does not name these two.
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
NEAR, FAR = "10.78.0.1", "10.78.0.2"
NAMES = {"near": f"chaos-bench-near-{os.getpid()}", "far": f"chaos-bench-far-{os.getpid()}"}


def sh(line):
    subprocess.run(line, shell=True, check=True)


def namespaces():
    near, far = NAMES["near"], NAMES["far"]
    for name in (near, far):
        sh(f"ip netns add {name}")
    sh(f"ip -n {near} link add eth0 type veth peer name eth0 netns {far}")
    for name, address in ((near, NEAR), (far, FAR)):
        sh(f"ip -n {name} addr add {address}/24 dev eth0; ip -n {name} link set eth0 up; ip -n {name} link set lo up")


def remove_namespaces():
    for name in NAMES.values():
        subprocess.run(f"ip netns del {name}", shell=True, check=False)


def setns(descriptor):
    # os.setns came with Python 3.12 only.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def inside(name):
    """Sockets made in here belong to the namespace. For the calling thread alone."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{NAMES[name]}", os.O_RDONLY)
    try:
        setns(there)
        yield
    finally:
        setns(home)
        os.close(home)
        os.close(there)


def udp(name, address, port=0):
    with inside(name):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    made.bind((address, port))
    return made


class Agent:
    def __init__(self):
        command = ["nsenter", f"--net=/run/netns/{NAMES['near']}", PROGRAM, "inside", "agent"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hello = json.loads(self.process.stdout.readline())
        self.id = 0

    def ask(self, kind, **fields):
        self.id += 1
        self.process.stdin.write(json.dumps({"id": self.id, "command": {kind: fields}}) + "\n")
        self.process.stdin.flush()
        outcome = json.loads(self.process.stdout.readline())["outcome"]
        if "error" in outcome:
            raise SystemExit(f"the agent refused: {outcome['error']}")
        return next(iter(outcome.values()))

    def delay(self, ms, direction="egress", jitter_ms=0, protocol=None):
        effect = {"delay": {"delay_ns": int(ms * 1e6), "jitter_ns": int(jitter_ms * 1e6),
                            "distribution": "normal", "correlation": 0.0, "seed": 1}}
        step = {"step": 0, "direction": direction, "peers": [], "except": [], "ports": [],
                "protocol": protocol, "effect": effect}
        engine = self.ask("arm", tag="bench", impairments=[step], engine=None, deadline_ns=int(600e9))["0"]
        began = time.monotonic()
        self.ask("fire", steps=[0])
        self.fire_ms = (time.monotonic() - began) * 1e3
        return engine

    def undo(self):
        began = time.monotonic()
        undone = self.ask("undo", steps=[0])["0"]
        self.undo_ms = (time.monotonic() - began) * 1e3
        assert undone["verified"], undone
        return undone["counters"]

    def peak_rss_mib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) / 1024

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0


def echo(server, stop):
    server.settimeout(0.2)
    while not stop.is_set():
        try:
            data, peer = server.recvfrom(2048)
        except TimeoutError:
            continue
        server.sendto(data, peer)


def exchanges(count, gap_s=0.002):
    """Round trips in ms of `count` exchanges, begun `gap_s` apart so that hundreds are under way at once."""
    server, client = udp("near", NEAR), udp("far", FAR)
    client.connect(server.getsockname())
    stop = threading.Event()
    serving = threading.Thread(target=echo, args=(server, stop))
    serving.start()
    sent, trips = [0.0] * count, []

    def receive():
        client.settimeout(3)
        while len(trips) < count:
            try:
                number = int(client.recv(64))
            except TimeoutError:
                return
            trips.append((time.monotonic() - sent[number]) * 1e3)

    receiving = threading.Thread(target=receive)
    receiving.start()
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0, began + number * gap_s - time.monotonic()))
        sent[number] = time.monotonic()
        client.send(b"%d" % number)
    receiving.join()
    stop.set()
    serving.join()
    return trips


ROWS = []


def row(asked, got, engine):
    ROWS.append((asked, got, engine))
    print(f"{asked:<44} {engine:<9} {got}", flush=True)


def latency(ms, count):
    plain = statistics.median(exchanges(200))
    agent = Agent()
    engine = agent.delay(ms, protocol="udp")
    trips = exchanges(count)
    counters = agent.undo()
    added = sorted(trip - plain for trip in trips)
    given = counters["delay_ms"] or {}
    got = (f"round trip +{statistics.median(added):.3f} ms median, +{added[0]:.3f} min, +{added[-1]:.3f} max; "
           f"held {given.get('p50', float('nan')):.3f} median, {given.get('min', float('nan')):.3f} min; "
           f"{len(trips)}/{count} back; fire {agent.fire_ms:.1f} ms, undo {agent.undo_ms:.1f} ms")
    row(f"{ms} ms, {count} exchanges", got, engine)
    agent.close()


def blast(target, rate, seconds, sockets):
    """Sends numbered datagrams at a steady rate; how many."""
    with inside("near"):
        made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sockets)]
    for one in made:
        one.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 64 << 20)
        one.connect(target)
    sent, began = 0, time.monotonic()
    payload = b"x" * 64
    while (passed := time.monotonic() - began) < seconds:
        while sent < passed * rate:
            made[sent % sockets].send(payload)
            sent += 1
        time.sleep(0.0005)
    return sent, sent / (time.monotonic() - began)


def held(rate, ms, seconds=5, direction="egress", jitter_ms=0):
    sink = udp("far", FAR)
    agent = Agent()
    engine = agent.delay(ms, direction, jitter_ms=jitter_ms, protocol="udp")
    received = 0
    done = threading.Event()

    def receive():
        nonlocal received
        sink.settimeout(0.5)
        while True:
            try:
                sink.recv(128)
                received += 1
            except TimeoutError:
                if done.is_set():
                    return

    receiving = threading.Thread(target=receive)
    receiving.start()
    sent, achieved = blast(sink.getsockname(), rate, seconds, 1)
    time.sleep(ms / 1e3)
    done.set()
    receiving.join()
    with open(f"/proc/{agent.process.pid}/stat") as stat:
        fields = stat.read().split()
        cpu = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    rss = agent.peak_rss_mib()
    counters = agent.undo()
    given = counters["delay_ms"] or {}
    row(f"{ms} ms ± {jitter_ms}, {rate}/s for {seconds} s",
        f"{achieved:.0f}/s: {sent - received} of {sent} lost, {counters['overflowed_packets']} undelayed, "
        f"{counters['lost_packets']} lost by the engine; held {given.get('min', float('nan')):.3f} min, "
        f"{given.get('p50', float('nan')):.3f} median, {given.get('p99', float('nan')):.3f} p99; "
        f"agent's peak memory {rss:.1f} MiB, CPU {cpu:.2f} s", engine)
    agent.close()


def bulk(ms, seconds=4, direction="egress"):
    with inside("far"):
        listener = socket.create_server((FAR, 0))
    with inside("near"):
        sender = socket.socket()
    agent = engine = None
    if ms:
        agent = Agent()
        engine = agent.delay(ms, direction)
    sender.connect(listener.getsockname())
    receiver, _ = listener.accept()
    stop = time.monotonic() + seconds
    total, late = 0, 0

    def send():
        block = b"x" * (1 << 20)
        sender.settimeout(1)
        while time.monotonic() < stop:
            try:
                sender.send(block)
            except TimeoutError:
                pass
            except OSError:
                break
        sender.close()

    sending = threading.Thread(target=send)
    sending.start()
    half = stop - seconds / 2
    receiver.settimeout(2)
    while time.monotonic() < stop:
        try:
            got = len(receiver.recv(1 << 20))
        except TimeoutError:
            break
        total += got
        late += got if time.monotonic() > half else 0
    if agent:
        agent.undo()
        agent.close()
    receiver.close()
    sending.join()
    row(f"one bulk TCP flow, {ms} ms {direction if ms else ''}",
        f"{late / (seconds / 2) / 1e6:.2f} MB/s in its second half, {total / 1e6:.1f} MB in all", engine or "none")


def main():
    if os.geteuid() != 0:
        raise SystemExit("error: the fault bench makes network namespaces\nhint: run it as root")
    namespaces()
    try:
        only = sys.argv[1:]
        parts = {
            "latency": lambda: [latency(ms, count) for ms, count in ((200, 1000), (5, 500), (50, 500), (300, 500))],
            "held": lambda: [held(20_000, 300), held(20_000, 300, jitter_ms=30)],
            "bulk": lambda: [bulk(0), bulk(50), bulk(50, direction="ingress"), bulk(200)],
        }
        for name, part in parts.items():
            if not only or name in only:
                part()
    finally:
        remove_namespaces()


main()
