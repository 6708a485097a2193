#!/usr/bin/env python3
"""What faults inside a container's own limits really take: asked, got, by what. Run by `scripts/bench resources`.

A container of the built-in lab's image with half a core and 256 MiB; the release program does each fault to it as a
user would have it done. Figures of CPU and memory are the kernel's, read from the container's cgroup on this machine
while the fault is in effect; of disks `df`'s, inside; of clocks a process's own, beside the machine's.
"""

import os
import subprocess
import sys
import tempfile
import time

RELEASE = os.path.join(os.path.dirname(__file__), "../../target/release/chaos")
PROGRAM = os.path.abspath(os.environ.get("CHAOS_PROGRAM", RELEASE))
NAME = f"chaos-bench-resources-{os.getpid()}"
CORES, MEMORY = 0.5, 256 << 20
SECONDS = 10


def docker(*arguments):
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def experiment(folder, fault):
    path = os.path.join(folder, "experiment.yaml")
    address = docker("port", NAME, "8080").splitlines()[0]
    with open(path, "w", encoding="utf-8") as file:
        # Something must judge the phase; what it says does not matter here.
        file.write(f"experiment: what is taken\ntargets: {{ it: {{ name: {NAME} }} }}\n"
                   f"load: {{ idle: {{ rate: 1/s, requests: [ {{ get: 'http://{address}/health' }} ] }} }}\n"
                   "expect: { broken: [ count(scheduled) > 0 ] }\nphases:\n"
                   f"  before: {{ for: 1s }}\n  broken:\n    for: {SECONDS + 2}s\n    faults:\n      - {fault}\n")
    return path


def run(fault, look):
    """Does `fault` for a while; what `look` saw meanwhile, two seconds after it came into effect."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        command = [PROGRAM, "run", experiment(folder, fault), "--quiet", "--out", out]
        env = dict(os.environ, CHAOS_STATE_DIR=os.path.join(folder, "state"), NO_COLOR="1")
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        journal = os.path.join(out, "journal.jsonl")
        while process.poll() is None:
            if os.path.exists(journal):
                with open(journal, encoding="utf-8") as lines:
                    if '"applied"' in lines.read():
                        break
            time.sleep(0.05)
        time.sleep(1)
        seen = look() if process.poll() is None else None
        _, errors = process.communicate(timeout=60)
        if seen is None or process.returncode not in (0, 1):
            sys.exit(f"{fault}: exit {process.returncode}: {errors}")
        return seen


def cgroup(hierarchy, file):
    relative = docker("inspect", "-f", "{{.Id}}", NAME)
    unified = f"/sys/fs/cgroup/system.slice/docker-{relative}.scope/{file}"
    path = f"/sys/fs/cgroup/{hierarchy}/docker/{relative}/{file}"
    return path if os.path.exists(path) else unified


def number(path):
    with open(path, encoding="utf-8") as file:
        return int(file.read())


def cpu_share():
    usage = cgroup("cpuacct", "cpuacct.usage")
    before, began = number(usage), time.monotonic()
    time.sleep(SECONDS)
    return (number(usage) - before) / 1e9 / (time.monotonic() - began) / CORES


def memory_share():
    time.sleep(2)
    with open(cgroup("memory", "memory.stat"), encoding="utf-8") as file:
        stat = dict(line.split() for line in file)
    return (number(cgroup("memory", "memory.usage_in_bytes")) - int(stat["total_inactive_file"])) / MEMORY


def free_bytes():
    pid = docker("inspect", "-f", "{{.State.Pid}}", NAME)
    seen = os.statvfs(f"/proc/{pid}/root/dev/shm")
    return seen.f_bavail * seen.f_frsize


def writes(mib_per_s):
    """What a process that wants eight times as much can write under a limit, in bytes a second, by the cgroup's account."""
    def look():
        path = cgroup("blkio", "blkio.throttle.io_service_bytes")
        path = path if os.path.exists(path) else cgroup("", "io.stat")

        def written():
            with open(path, encoding="utf-8") as file:
                text = file.read()
            version_1 = [int(line.split()[2]) for line in text.splitlines() if " Write " in line]
            version_2 = [int(word[7:]) for word in text.split() if word.startswith("wbytes=")]
            return sum(version_1 or version_2)
        before, began = written(), time.monotonic()
        time.sleep(SECONDS - 2)
        return (written() - before) / (time.monotonic() - began)
    fault = (f"io: {{ on: it, path: /data, write: {8 * mib_per_s}MiB/s }}\n"
             f"      - io: {{ on: it, path: /data, limit_write: {mib_per_s}MiB/s }}")
    return run(fault, look)


def row(what, asked, got, by):
    print(f"{what:28} {asked:>14} {got:>14}   {by}", flush=True)


def main():
    state = tempfile.mkdtemp()
    env = dict(os.environ, CHAOS_STATE_DIR=state)
    subprocess.run([PROGRAM, "lab", "up", "replicas"], check=True, env=env, capture_output=True)
    try:
        image = docker("ps", "--filter", "label=io.chaos.service=store", "--format", "{{.Image}}").splitlines()[0]
        docker("run", "-d", "--name", NAME, "-p", "127.0.0.1::8080", f"--cpus={CORES}", f"--memory={MEMORY}", "--read-only",
               "--rm", "-v", "/data", image,
               "inside", "role", "store")
        row("what", "asked", "got", "by")
        for share in (50, 90):
            got = run(f"cpu: {{ on: it, burn: {share}% }}", cpu_share)
            row("cpu, of its quota", f"{share}%", f"{got * 100:.1f}%", "a process in its cgroup")
        for share in (50, 80, 95):
            got = run(f"memory: {{ on: it, fill: {share}% }}", memory_share)
            row("memory, of its limit", f"{share}%", f"{got * 100:.1f}%", "a process in its cgroup")
        got = run("disk: { on: it, path: /dev/shm, leave: 5MB }", free_bytes)
        row("disk, left free", "5.000 MB", f"{got / 1e6:.3f} MB", "a file without a name")
        for limit in (1, 4):
            row("io, written at most", f"{limit} MiB/s", f"{writes(limit) / (1 << 20):.3f} MiB/s", "the kernel's limit")
    finally:
        subprocess.run(["docker", "rm", "-f", NAME], check=False, capture_output=True)
        subprocess.run([PROGRAM, "lab", "down"], check=False, env=env, capture_output=True)


if __name__ == "__main__":
    main()
