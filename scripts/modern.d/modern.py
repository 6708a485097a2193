#!/usr/bin/env python3
"""Makes the machine of `scripts/modern` out of this one's packages, boots it, and judges what came of each group.

The root is a folder of programs copied from this machine with the objects they load, and a kernel from Debian's
archive; the kernel has NVMe and ext4 built in, so that it needs no initramfs. What the guest found comes back in the
image's /out. A group passes if its run held, every fault in it was proven and undone, the packets' faults by netem,
and the state of the machine and of every container was the same before and after.
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
KERNEL = "linux-image-cloud-amd64"
PROGRAMS = """sh mount ip tc nft iptables ip6tables modprobe containerd containerd-shim-runc-v2 runc dockerd docker-proxy
    cat cut date sleep sync mkdir head grep sed sort awk ps nsenter uname kmod""".split()
FOLDERS = ("proc sys dev run tmp var/lib/docker etc root out groups usr/bin usr/sbin usr/lib usr/lib64 "
           "usr/lib/modules usr/lib/x86_64-linux-gnu").split()
# Plugins that this machine does not need, and that take seconds to start there.
CONTAINERD = """version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.tracing"]
"""
FILES = {"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/hosts": "127.0.0.1 localhost\n",
         "etc/resolv.conf": "", "etc/containerd.toml": CONTAINERD}
LAB = """experiment: the lab
lab: { replicas: { apis: 1, timeout: 3s, retries: 1, store_disk: true } }
load: { users: { rate: 1/s, requests: [ { get: http://gateway.lab/cart } ] } }
phases: { all: { for: 1s } }
expect: { all: [ count(scheduled) > 0 ] }
"""
# What it proves is the faults and their undoing: answers are hardly judged, on a machine this slow.
EXPERIMENT = """experiment: {name} on a modern host
targets: {{ api: {{ service: api }}, store: {{ service: store }}, gateway: {{ service: gateway }} }}
load:
  shoppers: {{ rate: 5/s, arrivals: constant, timeout: 5s, requests: [ {{ {request} }} ] }}
slos: {{ some: {{ load: shoppers, good: status <= 599, objective: 1% }} }}
limits: {{ targets: 100% }}
phases:
  baseline: {{ for: 1s }}
  broken: {{ for: {lasts}, faults: [ {faults} ] }}
  after: {{ for: 1s }}
expect: {{ broken: [ count(scheduled) > 0 ] }}
"""
NETEM = {"latency", "loss", "duplicate", "corrupt", "reorder", "flaky"}
# The group under which the wall clock jumps: its phase is as long as it is to be, but for what undoing takes there.
JUMPS = "wall-clock-jumps"
PHASE_TOLERANCE_S = 3.0
LIMIT_S = 1_800


def sh(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout


def groups(only):
    with open(f"{HERE}/groups.txt", encoding="utf-8") as file:
        lines = [line.strip().split(" ", 2) for line in file if line.strip() and not line.startswith("#")]
    chosen = [line for line in lines if not only or line[0] in only]
    if len(chosen) < len(only):
        raise SystemExit(f"modern: no such group; there are: {', '.join(line[0] for line in lines)}")
    return [(name, lasts, faults.split(" | ")) for name, lasts, faults in chosen]


def kernel(cache):
    """The kernel's folder, fetched once; installing the package would make it this machine's own."""
    package = next(word for word in sh("apt-cache", "depends", KERNEL).split() if word.startswith("linux-image-"
                   ) and word != KERNEL)
    folder = os.path.join(cache, package)
    if not os.path.isdir(folder):
        # As whoever it is: apt's own user may not write here.
        sh("apt-get", "download", "-o", "APT::Sandbox::User=root", package, cwd=cache)
        sh("dpkg", "-x", *glob.glob(f"{cache}/{package}_*.deb"), folder)
    return folder


def copy(path, root):
    """A program or an object, with all that it loads, at the place it has here; `/usr` is one with the root."""
    place = f"{root}/usr{path}" if path.startswith(("/lib", "/bin/", "/sbin/")) else f"{root}{path}"
    if os.path.exists(place):
        return
    os.makedirs(os.path.dirname(place), exist_ok=True)
    shutil.copy(os.path.realpath(path), place)
    loaded = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    for needed in re.findall(r"(/\S+) \(0x", loaded):
        copy(needed, root)


def make_root(root, program, of_kernel, chosen):
    for folder in FOLDERS:
        os.makedirs(f"{root}/{folder}")
    for folder in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{folder}", f"{root}/{folder}")
    for name in PROGRAMS:
        found = shutil.which(name)
        if not found:
            raise SystemExit(f"modern: {name} is not on this machine")
        copy(found, root)
    shutil.copytree("/usr/lib/x86_64-linux-gnu/xtables", f"{root}/usr/lib/x86_64-linux-gnu/xtables")
    copy(program, root)
    sh("strip", "-o", f"{root}/usr/bin/chaos", program)
    for release in os.listdir(f"{of_kernel}/lib/modules"):
        shutil.copytree(f"{of_kernel}/lib/modules/{release}", f"{root}/usr/lib/modules/{release}", symlinks=True)
        sh("depmod", "-b", root, release)
    for path, text in {**FILES, "groups/lab.yaml": LAB,
                       "groups/order": "\n".join(name for name, *_ in chosen) + "\n"}.items():
        with open(f"{root}/{path}", "w", encoding="utf-8") as file:
            file.write(text)
    for name, lasts, faults in chosen:
        # Only orders reach the store's disk.
        order = 'post: "http://ADDRESS/checkout", json: { item: lamp }'
        request = order if name == "io" else 'get: "http://ADDRESS/cart"'
        inline = ", ".join(f"{{ {fault} }}" for fault in faults)
        with open(f"{root}/groups/{name}.yaml", "w", encoding="utf-8") as file:
            file.write(EXPERIMENT.format(name=name, lasts=lasts, faults=inline, request=request))
        # A mistake is better known here than after a minute of booting.
        checked = subprocess.run([program, "validate", file.name], capture_output=True, text=True, check=False)
        if checked.returncode:
            raise SystemExit(f"modern: {name}: {checked.stderr}")
    shutil.copy(f"{HERE}/guest.sh", f"{root}/guest")
    os.chmod(f"{root}/guest", 0o755)


def boot(folder, of_kernel):
    """Runs the machine until it turns itself off; what it says is passed on."""
    image = f"{folder}/disk"
    with open(image, "wb") as file:
        file.truncate(3 << 30)
    sh("mkfs.ext4", "-q", "-d", f"{folder}/root", "-O", "^has_journal", image)
    line = ("console=ttyS0 panic=-1 root=/dev/nvme0n1 rw init=/guest quiet mitigations=off tsc=reliable clocksource=tsc "
            "audit=0 apparmor=0")
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem,+invtsc", "-smp", "2", "-m", "2048",
               "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot",
               "-kernel", glob.glob(f"{of_kernel}/boot/vmlinuz*")[0],
               "-drive", f"file={image},format=raw,if=none,id=d,cache=unsafe", "-device", "nvme,drive=d,serial=d",
               "-append", line]
    machine = subprocess.Popen(["timeout", str(LIMIT_S), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               text=True, errors="replace")
    for said in machine.stdout:
        # The machine's firmware leaves no end of line.
        if "guest: " in said:
            print(said[said.index("guest: "):].rstrip(), flush=True)
    machine.wait()
    sh("debugfs", "-R", f"rdump /out {folder}", image)
    return f"{folder}/out"


def seconds(text):
    return float(text.removesuffix("s"))


def judge(out, name, lasts, faults):
    """What keeps a group from having passed, and what its faults were carried out by."""
    def read(end):
        try:
            with open(f"{out}/{name}{end}", encoding="utf-8") as file:
                return file.read()
        except OSError:
            return ""
    said, exit_code = read(".said"), read(".exit").strip()
    # The machine is too slow for the load now and then, which is nothing that this is about.
    saturated = exit_code == "5" and "the generator was saturated" in said and "NOT PROVEN" not in said
    bad = [] if exit_code == "0" or saturated else [f"exit {exit_code or 'none'}: {said[:1500]}"]
    try:
        events = [json.loads(line) for line in read("/journal.jsonl").splitlines()]
    except ValueError:
        return [*bad, "its journal is cut short"], set()
    engines = {event["engine"] for event in events if event["event"] == "armed"}
    applied = [event for event in events if event["event"] == "applied"]
    undone = [event for event in events if event["event"] == "undone"]
    kinds = {fault.split(":")[0] for fault in faults}
    if not applied:
        bad.append("nothing was applied")
    bad += [f"not undone as it should be: {event}" for event in undone if event.get("verified") is False]
    bad += [f"{event['event']}: {event}" for event in events if event["event"] in ("unhealed", "lost", "not_applied")]
    if kinds <= NETEM and engines != {"netem"}:
        bad.append(f"by {engines}, not by netem")
    began = {event["name"]: event["at_ns"] for event in events if event["event"] == "phase"}
    order = sorted(began.items(), key=lambda phase: phase[1])
    for (phase, start_ns), (_, end_ns) in zip(order, order[1:]):
        lasted = (end_ns - start_ns) / 1e9
        if name == JUMPS and phase == "broken" and not seconds(lasts) - 0.1 <= lasted <= seconds(lasts) + PHASE_TOLERANCE_S:
            bad.append(f"its faults lasted {lasted:.1f} s, not {lasts}")
    # What `remove` takes away for good is not there afterwards.
    if "remove" not in kinds and read(".before") != read(".after"):
        before, after = read(".before").splitlines(), read(".after").splitlines()
        bad.append(f"gone {[x for x in before if x not in after]}, new {[x for x in after if x not in before]}")
    return bad, engines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help="only these")
    parser.add_argument("--program", required=True)
    parser.add_argument("--keep", help="leave what the guest found in this folder")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("modern: it makes a root file system, and needs root")
    chosen = groups(options.groups)
    cache = os.path.join(HERE, "../../target/modern")
    os.makedirs(cache, exist_ok=True)
    of_kernel = kernel(os.path.abspath(cache))
    failed = []
    with tempfile.TemporaryDirectory(prefix="chaos-modern-", dir="/var/tmp") as folder:
        make_root(f"{folder}/root", os.path.realpath(options.program), of_kernel, chosen)
        out = boot(folder, of_kernel)
        for name, lasts, faults in chosen:
            bad, engines = judge(out, name, lasts, faults)
            print(f"{name:<18} {'passed' if not bad else 'FAILED':<7} by {', '.join(sorted(engines)) or '-':<14} "
                  f"{', '.join(fault.split(':')[0] for fault in faults)}", flush=True)
            failed += [f"{name}: {line}" for line in bad]
        if options.keep:
            shutil.copytree(out, options.keep)
    if failed:
        print("\n".join(["", *failed]), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
