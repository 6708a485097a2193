"""Shares and bursts: 20,000 numbered datagrams through an effect, and which of them came, and when."""

import math
import socket
import struct
import threading
import time

from . import Agent, FAR, hold, inside, row, udp, verdict, SO_SNDBUFFORCE

COUNT = 20_000
RATE_PER_S = 5_000
# Half of the 99% interval, in deviations.
DEVIATIONS = 2.576
# Exceeded by one sample of a hundred, with seven degrees of freedom.
CHI_SQUARE = 18.48


def through(effect):
    """Sends the datagrams; the numbers of those that came, in their order, the counters, and the engine."""
    sink = udp("far", FAR)
    agent = Agent()
    with inside("near"):
        source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    source.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 64 << 20)
    source.connect(sink.getsockname())
    engine = agent.impair(effect, ports=[source.getsockname()[1]])
    came, done = [], threading.Event()

    def receive():
        sink.settimeout(0.5)
        while True:
            try:
                came.append(struct.unpack_from("!I", sink.recv(128))[0])
            except TimeoutError:
                if done.is_set():
                    return

    receiving = threading.Thread(target=receive)
    receiving.start()
    began = time.monotonic()
    for number in range(COUNT):
        if (early := began + number / RATE_PER_S - time.monotonic()) > 0.0005:
            time.sleep(early)
        source.send(struct.pack("!I", number) + b"x" * 60)
    done.set()
    receiving.join()
    counters = agent.undo()
    agent.close()
    assert counters["matched_packets"] == COUNT, counters
    return came, counters, engine


def share(name, asked, effect, found_of):
    came, counters, engine = through(effect)
    found = found_of(came)
    margin = DEVIATIONS * math.sqrt(COUNT * asked * (1 - asked))
    let_through = counters["overflowed_packets"]
    row(f"{name} {asked:.0%} of {COUNT}",
        f"{found / COUNT:.3%}: {found}, {verdict(abs(found - COUNT * asked) <= margin)} {COUNT * asked:.0f} ± {margin:.0f}; "
        f"{let_through} let through unasked, {counters['lost_packets']} lost by the engine", engine)


def overtakers(came):
    overtook, smallest = 0, COUNT
    for number in reversed(came):
        overtook += number > smallest
        smallest = min(smallest, number)
    return overtook


def bursts(p, r):
    chain = {"good_to_bad": p, "bad_to_good": r, "bad_loss": 1.0, "good_loss": 0.0, "seed": 1}
    came, _, engine = through({"loss": {"bursts": chain}})
    lengths = [b - a - 1 for a, b in zip(came, came[1:]) if b - a > 1]
    classes = [0] * 8
    for length in lengths:
        classes[min(length, 8) - 1] += 1
    expected = [len(lengths) * (1 - r) ** index * (1 if index == 7 else r) for index in range(8)]
    chi_square = sum((found - wanted) ** 2 / wanted for found, wanted in zip(classes, expected))
    lost = (COUNT - len(came)) / COUNT
    row(f"loss in bursts, p {p:.0%}, r {r:.0%}",
        f"{len(lengths)} bursts of {sum(lengths) / len(lengths):.2f} on average, asked {1 / r:.2f}; lengths "
        f"{verdict(chi_square < CHI_SQUARE)} chi-square {chi_square:.1f} < {CHI_SQUARE}; {lost:.2%} lost, asked {p / (p + r):.2%}",
        engine)


def chance(share_asked, correlation=0.0):
    return {"share": share_asked, "correlation": correlation, "seed": 1}


def all_of_them():
    def missing(came):
        return COUNT - len(set(came))

    def twice(came):
        return len(came) - len(set(came))

    for asked in (0.01, 0.1, 0.5):
        share("loss", asked, {"loss": {"random": chance(asked)}}, missing)
    bursts(0.02, 0.25)
    share("duplicate", 0.1, {"duplicate": chance(0.1)}, twice)
    share("corrupt", 0.1, {"corrupt": chance(0.1)}, missing)
    reorder = {"chance": chance(0.25), "gap": 1, "delay": hold(20)}
    share("reorder (20 ms)", 0.25, {"reorder": reorder}, overtakers)
