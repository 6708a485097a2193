#!/usr/bin/env python3
"""The load generator against its peers, its schedule, the truth, and memory.

Usage: scripts/bench load [saturation|nginx|pace|freeze|memory|h2 …] [--rounds N] [--minutes N]

Each part starts its own server pinned to one core and runs clients on the other. CPU is what wait4 says of
the whole client process, over the requests that the *server* counted. Absolute figures mean nothing on a
shared machine; ratios within a round do. wrk runs twice a round: where it differs from itself, the part is
void. Run by root, all of it happens in a network namespace of its own: the rules that Docker puts in every packet's
way would cost all clients the same and hide what sets them apart. Peers that are not installed (wrk, ab, h2load, hey, oha) are skipped by name.
"""

import argparse
import os
import subprocess
import sys

from loads import process
from loads.freeze import freeze
from loads.h2 import h2
from loads.memory import flat, many
from loads.nginx import nginx
from loads.pace import pace
from loads.saturation import saturation

# Set for the process that is in the namespace already.
INSIDE = "CHAOS_BENCH_NAMESPACE"
PARTS = ("saturation", "nginx", "pace", "freeze", "memory", "h2")


def main():
    """Runs the parts asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=PARTS + ((),), default=PARTS)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--minutes", type=float, default=1, help="length of the run whose memory is watched")
    arguments = parser.parse_args()
    root = os.path.join(process.HERE, "../../..")
    build = ["cargo", "build", "--release", "--quiet", "--features", "bench", "--bin", "chaos", "--bin", "load-driver"]
    subprocess.run(build, cwd=root, check=True)
    if os.geteuid() == 0 and INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        up = 'ip link set lo up && exec "$0" "$@"'
        os.execvp("unshare", ["unshare", "--net", "sh", "-c", up, sys.executable] + sys.argv)
    if len(process.CORES) < 2:
        sys.exit("client and server need a core each")
    for part in arguments.parts:
        if part == "saturation":
            saturation(64, arguments.rounds)
            saturation(512, arguments.rounds, ("wrk", "wrk again", "chaos", "floor", "oha"))
        elif part == "nginx":
            nginx(64, arguments.rounds)
        elif part == "pace":
            pace(20_000)
            pace(50_000)
        elif part == "freeze":
            freeze()
        elif part == "memory":
            flat(int(arguments.minutes * 60))
            many(10_000)
        else:
            h2(arguments.rounds)


if __name__ == "__main__":
    main()
