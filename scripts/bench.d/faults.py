#!/usr/bin/env python3
"""What the agent's packet engines really give: asked, engine, got. Run by `scripts/bench faults`, as root.

Names of parts as arguments measure those alone. Every delay is the difference that the fault makes against the
same exchange without it.
"""

import os
import socket
import statistics
import sys
import threading
import time

from cable import Agent, FAR, NEAR, blast, inside, namespaces, remove_namespaces, row, udp
from cable import chances, connections, delays, proxies, widths


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
            "shape": delays.shapes,
            "held": lambda: [held(5_000, 50), held(5_000, 300, jitter_ms=30), held(20_000, 300),
                             held(20_000, 300, jitter_ms=30)],
            "chances": chances.all_of_them,
            "proxies": proxies.all_of_them,
            "widths": widths.measure,
            "connections": connections.all_of_them,
            "bulk": lambda: [bulk(0), bulk(50), bulk(50, direction="ingress"), bulk(200)],
        }
        for name, part in parts.items():
            if not only or name in only:
                part()
    finally:
        remove_namespaces()


main()
