"""How delays are spread: one way, by the kernel's own stamp of arrival, against the asked distribution."""

import math
import socket
import statistics
import struct
import threading
import time

from . import Agent, FAR, inside, row, udp, verdict

# Python does not name it.
SO_TIMESTAMPNS = 35
COUNT = 1_000
GAP_S = 0.002
# The distance of Kolmogorov and Smirnov that one sample of a hundred exceeds.
DISTANCE = 1.63 / math.sqrt(COUNT)
# How far the median of a sample strays by chance alone, 99 times of 100, in units of the jitter over the sample's root:
# 2.576 / (2 × the density in the middle).
MEDIAN_SPREAD = {"normal": 2.576 * math.sqrt(math.pi / 2), "uniform": 2.576}


def trips_ms(count=COUNT):
    """How long each datagram takes from `near` to `far`, in the order of arrival."""
    sink = udp("far", FAR)
    sink.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    with inside("near"):
        source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    source.connect(sink.getsockname())
    trips = []

    def receive():
        sink.settimeout(3)
        while len(trips) < count:
            try:
                data, extra, _, _ = sink.recvmsg(64, 64)
            except TimeoutError:
                return
            seconds, ns = struct.unpack("qq", extra[0][2][:16])
            trips.append((seconds * 10**9 + ns - struct.unpack("!Q", data)[0]) / 1e6)

    receiving = threading.Thread(target=receive)
    receiving.start()
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0, began + number * GAP_S - time.monotonic()))
        source.send(struct.pack("!Q", time.time_ns()))
    receiving.join()
    return trips


def normal(mean, deviation):
    # Never less than nothing, as the engine has it.
    return lambda x: 0 if x < 0 else 0.5 * (1 + math.erf((x - mean) / deviation / math.sqrt(2)))


def uniform(mean, deviation):
    return lambda x: min(1, max(0, (x - mean + deviation) / (2 * deviation)))


def distance(values, share_below):
    values = sorted(values)
    count = len(values)
    return max(max(share_below(value) - index / count, (index + 1) / count - share_below(value))
               for index, value in enumerate(values))


def shape(ms, jitter_ms, name, share_below):
    plain = statistics.median(trips_ms(200))
    agent = Agent()
    engine = agent.delay(ms, jitter_ms=jitter_ms, protocol="udp", distribution=name)
    trips = trips_ms()
    counters = agent.undo()
    agent.close()
    added = [trip - plain for trip in trips]
    lost = f"{COUNT - len(trips)} of {COUNT} lost, {counters['lost_packets']} by the engine"
    if jitter_ms == 0:
        early = sum(trip < ms for trip in trips)
        row(f"{ms} ms one way", f"{statistics.median(added) - ms:+.3f} ms median error, {early} early, "
            f"{max(added) - ms:+.3f} at most; {lost}", engine)
        return
    found = distance(added, share_below(ms, jitter_ms))
    chance_ms = MEDIAN_SPREAD[name] * jitter_ms / math.sqrt(len(added))
    row(f"{ms} ± {jitter_ms} ms one way, {name}",
        f"{statistics.median(added) - ms:+.3f} ms median error (of chance ±{chance_ms:.3f}); Kolmogorov–Smirnov {found:.4f}, "
        f"{verdict(found < DISTANCE)} {DISTANCE:.4f}; {lost}", engine)


def shapes():
    for ms, jitter_ms in ((5, 1), (50, 10), (300, 50)):
        shape(ms, 0, "normal", normal)
        shape(ms, jitter_ms, "normal", normal)
        shape(ms, jitter_ms, "uniform", uniform)
