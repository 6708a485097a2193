#!/usr/bin/env python3
"""Feeds the readers of answers mutated bytes, at least ten million times in all: none may panic or hoard.

Run by `scripts/bench fuzz`. EXECUTIONS (a reader) and SEED change how many and which. With nightly Rust,
`cargo +nightly fuzz run http1` (or `h2`) does the same guided by coverage.
"""

import os
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
EXECUTIONS = os.environ.get("EXECUTIONS", "10000000")
SEED = os.environ.get("SEED", "1")

subprocess.run(
    ["cargo", "build", "--release", "--quiet", "--features", "bench", "--bin", "fuzz-driver"],
    cwd=ROOT,
    check=True,
)
driver = os.path.join(ROOT, "target/release/fuzz-driver")
failed = [target for target in ("http1", "h2") if subprocess.run([driver, target, EXECUTIONS, SEED]).returncode]
if failed:
    sys.exit(f"not clean: {', '.join(failed)}")
