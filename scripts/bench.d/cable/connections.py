"""Connections: how many are broken off of those there are, and how many are let in of those that ask."""

import select
import socket
import threading
import time

from . import Agent, NEAR, inside, row, verdict

COUNT = 500


class Server:
    """Accepts and holds whatever comes."""

    def __init__(self):
        with inside("near"):
            self.listener = socket.create_server((NEAR, 0), backlog=4096)
        self.held = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                self.held.append(self.listener.accept()[0])
            except OSError:
                return

    def close(self):
        self.listener.close()
        for held in self.held:
            held.close()


def connect(server, count):
    """Those that were made, how many were refused, and the median time of each try in ms."""
    made, refused, took = [], 0, []
    for _ in range(count):
        began = time.monotonic()
        try:
            with inside("far"):
                client = socket.create_connection(server.listener.getsockname(), timeout=5)
            made.append(client)
        except ConnectionRefusedError:
            refused += 1
        took.append((time.monotonic() - began) * 1e3)
    return made, refused, sorted(took)[count // 2]


def share(of):
    server = Server()
    made, _, _ = connect(server, COUNT)
    agent = Agent()
    engine = agent.impair({"sever": {"share": of, "every_ns": None, "seed": 1}}, "ingress", "tcp")
    time.sleep(0.2)
    broken = sum(1 for client in made if select.select([client], [], [], 0)[0])
    counted = agent.undo()["counted"]
    row(f"{of:.0%} of {COUNT} connections broken off",
        f"{broken} at the other end, {counted['reset_connections']} by the kernel's account, in {agent.fire_ms:.1f} ms: "
        f"{verdict(broken == round(of * COUNT))}", engine)
    agent.close()
    server.close()


def limit(most):
    server = Server()
    _, _, plain_ms = connect(server, 100)
    server.close()
    server = Server()
    there, _, _ = connect(server, most // 2)
    agent = Agent()
    engine = agent.impair({"admit": {"most": most}}, "ingress", "tcp", [server.listener.getsockname()[1]])
    made, refused, took_ms = connect(server, COUNT)
    counted = agent.undo()["counted"]
    got = len(there) + len(made)
    row(f"{most} connections at most, {COUNT} asked",
        f"{got} there, {refused} refused, {counted['refused_connections']} by our account; median try {took_ms:.2f} ms "
        f"({plain_ms:.2f} without): {verdict(got == most and refused == COUNT - len(made))}", engine)
    agent.close()
    server.close()


def all_of_them():
    for of in (0.01, 0.5, 1.0):
        share(of)
    for most in (10, 100):
        limit(most)
