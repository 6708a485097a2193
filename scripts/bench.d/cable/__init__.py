"""Two network namespaces joined by a cable, and the release program's agent in one of them, driven over its pipes
as the runner does. What the parts of `scripts/bench faults` measure with.
"""

import ctypes
import json
import os
import re
import socket
import subprocess
import time
from contextlib import contextmanager

RELEASE = os.path.join(os.path.dirname(__file__), "../../../target/release/chaos")
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


def hold(ms, jitter_ms=0, distribution="normal"):
    return {"delay_ns": int(ms * 1e6), "jitter_ns": int(jitter_ms * 1e6), "distribution": distribution,
            "correlation": 0.0, "seed": 1}


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

    def impair(self, effect, direction="egress", protocol="udp", ports=()):
        """Arms and fires one step; the engine that carries it out."""
        step = {"step": 0, "direction": direction, "peers": [], "except": [], "ports": list(ports),
                "protocol": protocol, "effect": effect}
        engine = self.ask("arm", tag="bench", impairments=[step], engine=None, deadline_ns=int(600e9))["0"]
        began = time.monotonic()
        self.ask("fire", steps=[0])
        self.fire_ms = (time.monotonic() - began) * 1e3
        return engine

    def delay(self, ms, direction="egress", jitter_ms=0, protocol=None, distribution="normal"):
        return self.impair({"delay": hold(ms, jitter_ms, distribution)}, direction, protocol)

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


ROWS = []


def row(asked, got, engine):
    ROWS.append((asked, got, engine))
    print(f"{asked:<44} {engine:<9} {got}", flush=True)


def verdict(within):
    return "within" if within else "OUTSIDE"
