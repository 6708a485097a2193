"""The targets of one slot: three containers of our own image, and everything about them that a fault could change.

They carry no label of ours: to the program under test they are somebody else's system.
"""

import ctypes
import os
import random
import re
import socket
import struct
import subprocess
import threading

import engine

PORT = 8080
# One answer may have to wait for a name lookup.
REACH_LIMIT_S = 2.0
# Settings of a namespace that change by themselves.
VOLATILE = re.compile(r"nf_conntrack_count|/random/|dev-mac|base_reachable|_rmem_default")
# Statistics, and what the kernel refuses to show.
CGROUP_COUNTERS = re.compile(
    r"stat|usage|failcnt|_recursive|_serviced|_service_bytes|\.time|current|events|pressure|peak|tasks|procs|threads|"
    r"event_control|pressure_level|sched|memory_migrate_enable|numa|oom_control|cpu\.rt_|uclamp|throttle\.io_")
READ_LIMIT = 4096
# Docker's own account of a container, as far as a fault may change it.
KEPT = ("Memory", "MemorySwap", "NanoCpus", "CpuQuota", "CpuPeriod", "CpuShares", "PidsLimit", "BlkioWeight",
        "RestartPolicy", "CpusetCpus", "Ulimits")


def setns(descriptor):
    # os.setns came with Python 3.12 only.
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Slot:
    """Three containers in a network of their own."""

    def __init__(self, number, image):
        self.number, self.image = number, image
        self.prefix = f"torture-{os.getpid()}-{number}"
        self.port = free_port()
        self.names = {part: f"{self.prefix}-{part}" for part in ("gateway", "one", "store")}

    def up(self):
        engine.api("POST", "/networks/create", {"Name": self.prefix, "CheckDuplicate": True})
        roles = {
            "store": ["store"],
            "one": ["api", "--name", "one", "--store", f"{self.names['store']}:{PORT}"],
            "gateway": ["gateway", "--upstream", f"{self.names['one']}:{PORT}", "--retries", "1"],
        }
        for part, arguments in roles.items():
            host = {"NetworkMode": self.prefix, "Memory": 512 << 20, "NanoCpus": 1_000_000_000, "PidsLimit": 128,
                    "Tmpfs": {"/scratch": "rw,size=64m,mode=1777"}}
            # A name must not wait for resolvers that know nothing of it.
            host.update(DnsOptions=["ndots:1", "timeout:1", "attempts:1"], DnsSearch=["."])
            if part == "gateway":
                host["PortBindings"] = {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(self.port)}]}
            made = engine.api("POST", "/containers/create", {
                "Image": self.image, "Cmd": ["inside", "role", *arguments], "HostConfig": host,
                "ExposedPorts": {f"{PORT}/tcp": {}},
                "Labels": {"torture.part": part}}, name=self.names[part])
            engine.api("POST", f"/containers/{made['Id']}/start")

    def down(self):
        for name in self.names.values():
            engine.api("DELETE", f"/containers/{name}", force="true", v="true")
        engine.api("DELETE", f"/networks/{self.prefix}")

    def targets(self):
        """The targets of an experiment, in its language."""
        lines = [f"  {part}: {{ name: {name} }}" for part, name in self.names.items()]
        return "\n".join(["targets:", *lines, f"  all: {{ re: '{self.prefix}-.*' }}"])

    def snapshot(self):
        """Everything that must be again as it was, by what it is."""
        seen = {}
        found = {part: engine.api("GET", f"/containers/{name}/json") for part, name in self.names.items()}
        addresses = {}
        for part, container in found.items():
            if container is None:
                seen[f"{part}: container"] = "is gone"
                continue
            networks = container["NetworkSettings"]["Networks"]
            if self.prefix in networks:
                addresses[part] = networks[self.prefix]["IPAddress"]
        for part, container in found.items():
            if container is not None:
                seen.update({f"{part}: {key}": value for key, value in one(container, addresses, self.names).items()})
        seen["containers"] = sorted(
            entry["Names"][0] for entry in engine.api("GET", "/containers/json", all="true")
            if any(name.startswith(f"/{self.prefix}") for name in entry["Names"]))
        return seen


def free_port():
    """One below those that the kernel hands out, so that no client takes it while a container is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as trying:
            try:
                trying.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def shared():
    """What all slots share: nothing of a run may be left in it. Runs of other slots come and go in it."""
    kinds = {"networks": "/networks", "images": "/images/json"}
    seen = {kind: sorted(entry["Id"] for entry in engine.api("GET", path)
                         if not {"io.chaos.run", "io.chaos.role"} & set(entry.get("Labels") or {})
                         and not named_for_torture(entry))
            for kind, path in kinds.items()}
    volumes = engine.api("GET", "/volumes")["Volumes"] or []
    seen["volumes"] = sorted(volume["Name"] for volume in volumes
                             if "io.chaos.run" not in (volume.get("Labels") or {}))
    return seen


def named_for_torture(entry):
    return entry.get("Name", "").startswith("torture-")


def one(container, addresses, names):
    """One container, from Docker's side and the kernel's."""
    state, host = container["State"], container["HostConfig"]
    networks = {name: (at["IPAddress"], at["GlobalIPv6Address"], sorted(at["Aliases"] or []), sorted(at["Links"] or []))
                for name, at in container["NetworkSettings"]["Networks"].items()}
    seen = {
        "status": state["Status"], "limits": {key: host.get(key) for key in KEPT}, "networks": networks,
        "labels": container["Config"]["Labels"], "mounts": sorted(mount["Destination"] for mount in container["Mounts"]),
    }
    pid = state["Pid"]
    if not pid:
        return seen
    seen["kernel's rules"] = rules(pid)
    seen["sysctls"] = sysctls(pid)
    seen["cgroup"] = cgroup(pid)
    seen["processes"] = processes(pid)
    seen["files"] = files(pid)
    seen["reaches"] = reaches(pid, addresses, names)
    return seen


def inside(pid, *command):
    ran = subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", *command], capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


def rules(pid):
    # Counters differ for reasons of their own; so do the numbers of interfaces once a container started anew.
    text = inside(pid, "sh", "-c", """
        nft -s list ruleset; tc qdisc show; ip -o link; ip -o addr; ip route; ip -6 route; ip rule
        for link in $(ip -o link | sed 's/^[0-9]*: //; s/[:@].*//'); do
            echo "$link"; tc filter show dev "$link"; tc filter show dev "$link" parent ffff:; tc class show dev "$link"
        done""")
    text = re.sub(r"(?m)^\d+: ", "", text)
    text = re.sub(r"@if\d+|link-netnsid \d+|valid_lft.*|state \w+|qlen \d+|expires \w+", "", text)
    # Docker's resolver listens at another port after each start.
    text = re.sub(r"(127\.0\.0\.11)(:| (?:tcp|udp) sport )\d+", r"\1\2PORT", text)
    return sorted(line.strip() for line in text.splitlines())


def sysctls(pid):
    lines = inside(pid, "grep", "-rs", "", "/proc/sys/net/ipv4", "/proc/sys/net/ipv6", "/proc/sys/net/netfilter",
                   "/proc/sys/net/core").splitlines()
    return sorted(line for line in lines if not VOLATILE.search(line))


def cgroup(pid):
    """The limits of the container's cgroup and of every cgroup below it, in each hierarchy."""
    seen = {}
    with open(f"/proc/{pid}/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    for _, controllers, path in lines:
        hierarchy = controllers.removeprefix("name=")
        root = f"/sys/fs/cgroup/{hierarchy}{path}"
        for folder, _, names in os.walk(root):
            below = folder.removeprefix(root)
            seen[f"{hierarchy}{below}/"] = "is there"
            for name in names:
                if not CGROUP_COUNTERS.search(name):
                    seen[f"{hierarchy}{below}/{name}"] = read(os.path.join(folder, name))
    return seen


def read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read(READ_LIMIT)
    except OSError as error:
        return error.strerror


def processes(pid):
    """Every process that shares the container's pid namespace: what it is, and whether it is stopped."""
    namespace = os.readlink(f"/proc/{pid}/ns/pid")
    seen = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if os.readlink(f"/proc/{entry}/ns/pid") != namespace:
                continue
            with open(f"/proc/{entry}/cmdline") as file:
                command = file.read().replace("\0", " ").strip()
            with open(f"/proc/{entry}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            stopped = "stopped" if fields[0] in "Tt" else "goes on"
            time_namespace = os.readlink(f"/proc/{entry}/ns/time") == os.readlink("/proc/1/ns/time")
            seen.append((command, stopped, f"nice {fields[16]}", f"real time {time_namespace}",
                         read(f"/proc/{entry}/oom_score_adj").strip(), files_limit(entry)))
        except OSError:
            continue
    return sorted(seen)


def files_limit(pid):
    return next((line for line in read(f"/proc/{pid}/limits").splitlines() if line.startswith("Max open files")), "")


def files(pid):
    """Every file of the container by path, size and mode."""
    root, seen = f"/proc/{pid}/root", {}
    for folder, folders, names in os.walk(root):
        below = folder.removeprefix(root) or "/"
        folders[:] = [name for name in folders if os.path.join(below, name) not in ("/proc", "/sys")]
        for name in names:
            try:
                about = os.lstat(os.path.join(folder, name))
            except OSError:
                continue
            seen[os.path.join(below, name)] = (about.st_size, oct(about.st_mode))
        seen[below] = "folder"
    return seen


def reaches(pid, addresses, names):
    """Whom the container reaches, by address and by name."""
    seen = {}

    def look():
        # A thread has a network namespace of its own, and these sockets stay in it.
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            setns(descriptor)
        finally:
            os.close(descriptor)
        for part, address in addresses.items():
            seen[part] = connects(address)
            seen[f"{part} by name"] = resolves(names[part]) == address

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return seen


def connects(address):
    try:
        with socket.create_connection((address, PORT), timeout=REACH_LIMIT_S):
            return "connects"
    except OSError as error:
        return str(error)


def resolves(name):
    """What Docker's own resolver says: the system's would go by this machine's files."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(REACH_LIMIT_S)
        try:
            asking.sendto(question, ("127.0.0.11", 53))
            answer = asking.recv(4096)
        except OSError as error:
            return str(error)
    return socket.inet_ntoa(answer[-4:]) if struct.unpack(">H", answer[6:8])[0] else "no answer"


def difference(before, after):
    """What differs, a line each, short."""
    lines = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            lines += [f"{key}/{line}" for line in difference(was, now)]
        elif isinstance(was, list) and isinstance(now, list):
            gone, new = [x for x in was if x not in now], [x for x in now if x not in was]
            lines.append(f"{key}: gone {gone}, new {new}"[:1000])
        else:
            lines.append(f"{key}: was {was!r}, is {now!r}"[:400])
    return lines
