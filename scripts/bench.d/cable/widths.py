"""How wide a narrow path really is: bits of whole packets that arrive, against the bandwidth asked for."""

import socket
import threading
import time

from . import Agent, FAR, NEAR, row, udp, verdict

PAYLOAD_BYTES = 1400
# IPv4, UDP and Ethernet headers.
HEADERS_BYTES = 28 + 14
SETTLE_S, MEASURE_S = 1, 5
WITHIN = 0.02
# Python does not name them.
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
# Seconds of the widest path: two threads that share an interpreter keep each other waiting for longer than the usual
# buffers last, and what is lost or not offered for that is not the path's.
BUFFER_BYTES = 32 << 20


def width(mbit, direction):
    """Offers half as much again as fits, and measures what arrives once the queue is full."""
    ends = {"near": udp("near", NEAR), "far": udp("far", FAR)}
    source, sink = (ends["near"], ends["far"]) if direction == "egress" else (ends["far"], ends["near"])
    source.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES)
    sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    agent = Agent()
    engine = agent.impair({"bandwidth": {"bits_per_s": int(mbit * 1e6), "burst_bytes": None,
                                         "queue": {"time": int(100e6)}}}, direction)
    stop, offered = threading.Event(), mbit * 1.5e6 / 8 / (PAYLOAD_BYTES + HEADERS_BYTES)

    def send():
        began, sent, payload = time.monotonic(), 0, b"x" * PAYLOAD_BYTES
        while not stop.is_set():
            while sent < (time.monotonic() - began) * offered:
                source.sendto(payload, sink.getsockname())
                sent += 1
            time.sleep(0.001)

    sending = threading.Thread(target=send)
    sending.start()
    sink.settimeout(5)
    settled, packets, first, last = time.monotonic() + SETTLE_S, 0, None, None
    while last is None or last - first < MEASURE_S:
        sink.recv(2048)
        now = time.monotonic()
        if now >= settled:
            if first is None:
                first = now
            else:
                packets += 1
            last = now
    stop.set()
    sending.join()
    got = packets * (PAYLOAD_BYTES + HEADERS_BYTES) * 8 / (last - first) / 1e6
    agent.undo()
    agent.close()
    off = got / mbit - 1
    row(f"{mbit} Mbit/s, {direction}", f"{got:.3f} Mbit/s, {off:+.2%} {verdict(abs(off) <= WITHIN)}", engine)


def measure():
    for mbit in (1, 10, 100):
        for direction in ("egress", "ingress"):
            width(mbit, direction)
