"""The Docker engine: asked over its socket, and a second one of the campaign's own to be restarted.

The second one lives in network and mount namespaces of its own, with `live-restore`, so that it can be killed and
started again while the containers go on, and nobody else's engine is touched. A daemon that is killed again and again
loses containers, and what it lost outlives it: so everything it starts is known by those namespaces or by one cgroup,
and at the end both are emptied.
"""

import glob
import http.client
import json
import os
import signal
import socket
import subprocess
import time
import urllib.parse

SOCKET = "/var/run/docker.sock"
CONTAINERD = "/run/torture-containerd.sock"
# A daemon that adopts its containers again takes a second or two; on a busy machine longer.
START_LIMIT_S = 60
# What was killed may still have to get out of a system call.
END_LIMIT_S = 20


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(SOCKET)


def api(method, path, body=None, **query):
    """One call; its answer, or None where there is no such thing. OSError while the daemon is away."""
    asked = {key: value if isinstance(value, str) else json.dumps(value) for key, value in query.items()}
    connection = Connection("docker")
    headers = {"Content-Type": "application/json"} if body is not None else {}
    path = f"/v1.41{path}?{urllib.parse.urlencode(asked)}"
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"{path}: {error}") from error
    finally:
        connection.close()
    if answer.status == 404:
        return None
    if answer.status >= 400:
        raise OSError(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
    return json.loads(text) if text.strip() else None


def labelled(run):
    """Every container of a run, whatever its state."""
    return api("GET", "/containers/json", all="true", filters={"label": [f"io.chaos.run={run}"]})


def labelled_things(run):
    """Everything that a run left on the daemon, in words."""
    label = {"label": [f"io.chaos.run={run}"]}
    things = [f"container {one['Names'][0]} ({one['State']})" for one in labelled(run)]
    things += [f"network {one['Name']}" for one in api("GET", "/networks", filters=label)]
    return things + [f"volume {one['Name']}" for one in api("GET", "/volumes", filters=label)["Volumes"] or []]


def await_daemon(limit_s=START_LIMIT_S):
    until = time.monotonic() + limit_s
    while True:
        try:
            return api("GET", "/version")
        except OSError as error:
            if time.monotonic() > until:
                raise SystemExit(f"torture: the Docker daemon does not answer: {error}") from error
            time.sleep(0.02)


class Own:
    """A daemon of the campaign's own. Made from outside its namespaces, restarted from inside."""

    def __init__(self, folder):
        self.folder = folder
        # Every container's cgroup is below it, in each hierarchy.
        self.cgroup = "chaos-" + os.path.basename(folder)
        self.holder = None

    def start(self):
        """Starts it in new namespaces; raises if it does not come up."""
        driver = api("GET", "/info")["Driver"]
        with open(os.path.join(self.folder, "daemon.json"), "w") as config:
            # Not systemd: it could not be reached from here, and its scopes are in no folder of ours.
            json.dump({"storage-driver": driver, "live-restore": True, "data-root": f"{self.folder}/data",
                       "exec-root": "/run/docker", "pidfile": "/run/docker.pid", "cgroup-parent": f"/{self.cgroup}",
                       "exec-opts": ["native.cgroupdriver=cgroupfs"]}, config)
        holder = ("ip link set lo up && mount -t tmpfs tmpfs /run && mkdir -p /run/lock /run/netns && "
                  "echo ready && exec sleep infinity")
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", holder],
            stdout=subprocess.PIPE, text=True, start_new_session=True)
        if self.holder.stdout.readline().strip() != "ready":
            raise SystemExit("torture: could not make namespaces for a Docker daemon of its own; run it as root")

    def command(self, *words):
        """A command to be run inside."""
        return ["nsenter", "-t", str(self.holder.pid), "--net", "--mount", f"--wd={os.getcwd()}", *words]

    def stop(self):
        """Ends whatever it started and returns what does not go, in words; the folder is the caller's.

        First what is in its namespaces, so that nobody starts anything more; then containers, which have namespaces of
        their own. Its mounts go with the last process that sees them.
        """
        if self.holder is None or self.holder.poll() is not None:
            return []
        until = time.monotonic() + END_LIMIT_S
        while (left := self.mine() + self.contained()) and time.monotonic() < until:
            thaw(self.cgroups())
            for pid in left:
                kill(pid)
            time.sleep(0.02)
        # Last: by its namespaces the others are known.
        self.holder.kill()
        self.holder.wait()
        said = [f"process {pid} of the campaign's daemon lives: {words(pid)}" for pid in left]
        return said + remove_cgroups(self.cgroups()) + mounts_below(self.folder)

    def mine(self):
        """The living processes in its namespaces, without the one that holds them."""
        held = {kind: os.readlink(f"/proc/{self.holder.pid}/ns/{kind}") for kind in ("mnt", "net")}
        found = []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                if any(os.readlink(f"/proc/{pid}/ns/{kind}") == name for kind, name in held.items()):
                    found.append(pid)
            except OSError:
                continue  # It ended meanwhile.
        return [pid for pid in found if pid != self.holder.pid and alive(pid)]

    def contained(self):
        """The living processes in the cgroups of its containers."""
        pids = set()
        for folder in self.cgroups():
            for below, _, _ in os.walk(folder):
                pids.update(map(int, read(f"{below}/cgroup.procs").split()))
        return [pid for pid in pids if alive(pid)]

    def cgroups(self):
        """Its folder in each hierarchy of version 1, or in the one of version 2."""
        return glob.glob(f"/sys/fs/cgroup/{self.cgroup}") + glob.glob(f"/sys/fs/cgroup/*/{self.cgroup}")


def thaw(cgroups):
    """What is frozen does not die, by version 1."""
    for folder in cgroups:
        for below, _, names in os.walk(folder):
            if "freezer.state" in names:
                with open(f"{below}/freezer.state", "w") as state:
                    state.write("THAWED")


def remove_cgroups(cgroups):
    """Removes cgroups that nothing runs in, innermost first; what does not go, in words."""
    left = []
    for folder in cgroups:
        for below, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(below)
            except OSError as error:
                left.append(f"cgroup {below}: {error.strerror}")
    return left


def mounts_below(folder):
    """What is mounted there for all to see, in words."""
    points = [line.split()[4] for line in read("/proc/self/mountinfo").splitlines()]
    return [f"mounted: {point}" for point in points if point.startswith(f"{folder}/")]


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # It ended by itself meanwhile.


def words(pid):
    return read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or "gone meanwhile"


def read(path):
    """A file of the kernel's; nothing of what is gone meanwhile."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def launch(folder):
    """Starts the daemon of the namespaces this process is in, and first what it runs containers by, which is a service
    of its own on most machines and is not restarted; returns when it answers."""
    log = open(os.path.join(folder, "log"), "a")
    if not os.path.exists(CONTAINERD):
        subprocess.Popen(["containerd", "--address", CONTAINERD, "--root", f"{folder}/containerd",
                          "--state", "/run/torture"], stdout=log, stderr=log, start_new_session=True)
        while not os.path.exists(CONTAINERD):
            time.sleep(0.02)
    subprocess.Popen(["dockerd", "--config-file", f"{folder}/daemon.json", "--containerd", CONTAINERD],
                     stdout=log, stderr=log, start_new_session=True)
    await_daemon()


def restart(folder, how):
    """Ends the daemon by signal `how` and starts it again; returns when it answers. When that was."""
    with open("/run/docker.pid") as file:
        pid = int(file.read())
    os.kill(pid, how)
    while alive(pid):
        time.sleep(0.005)
    if how == signal.SIGKILL:
        os.remove("/run/docker.pid")
    launch(folder)
    return time.monotonic()


def alive(pid):
    """True while the process runs; one that ended and waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
