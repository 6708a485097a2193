#!/usr/bin/env python3
"""How often alike runs are told apart, and how often a slower one is found.

Usage: scripts/bench compare

Simulates journals of a minute at 500/s: 200 pairs of alike systems, of which at most 5% may be flagged, and 100 whose
p99 is 10% higher, of which at least 95 must be found; then 20 pairs of three runs a side.
"""

import os
import subprocess


def main():
    """Builds the simulation and runs it."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    build = ["cargo", "build", "--release", "--quiet", "--features", "bench", "--bin", "compare-driver"]
    subprocess.run(build, cwd=root, check=True)
    subprocess.run([os.path.join(root, "target/release/compare-driver")], cwd=root, check=True)


if __name__ == "__main__":
    main()
