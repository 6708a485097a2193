#!/bin/sh
# The emulated machine's first process: mounts, Docker, a lab, every group, and off.
export PATH=/usr/sbin:/usr/bin HOME=/root NO_COLOR=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devtmpfs dev /dev; mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
ip link set lo up
up() { cut -d' ' -f1 /proc/uptime; }
containerd --config /etc/containerd.toml >/out/containerd.log 2>&1 &
dockerd --userland-proxy=false --containerd /run/containerd/containerd.sock >/out/dockerd.log 2>&1 &
n=0; while [ ! -S /var/run/docker.sock ] && [ $n -lt 1200 ]; do sleep 0.1; n=$((n+1)); done
echo "guest: Linux $(uname -r), Docker answers after $(up) s"
chaos doctor >/out/doctor 2>&1
chaos lab up /groups/lab.yaml >/out/lab 2>/out/lab.err </dev/null || cat /out/lab.err
echo "guest: the lab is up after $(up) s"
gateway=$(sed -n 's,.*gateway  *http://,,p' /out/lab | head -1)

# What a fault could have changed: limits, and the rules of the machine and of every container, counters left out, and
# the numbers that a container or a network gets anew when it comes back.
state() {
  for cgroup in /sys/fs/cgroup/docker/*/; do
    for file in cpu.max memory.max memory.high pids.max io.max cgroup.freeze; do
      echo "$file $(cat "$cgroup$file" 2>/dev/null)"
    done
  done | sort
  for pid in 1 $(ps ax -o pid=,args= | awk '/\/chaos inside role/ { print $1 }'); do
    nsenter -t "$pid" -n sh -c 'nft -s list ruleset; tc qdisc show; tc filter show'
  done 2>/dev/null | sed 's/127.0.0.11:[0-9]*/RESOLVER/; s/sport [0-9]*/sport PORT/; s/veth[0-9a-f]*/VETH/; s/@if[0-9]*//; s/eth[0-9]/ethN/' | sort
}

for name in $(cat /groups/order); do
  sed "s,ADDRESS,$gateway," "/groups/$name.yaml" >/tmp/experiment.yaml
  state >"/out/$name.before"
  chaos run /tmp/experiment.yaml --out "/out/$name" --quiet >"/out/$name.said" 2>&1 </dev/null &
  run=$!
  if [ "$name" = wall-clock-jumps ]; then
    # An hour ahead once the fault is in effect, and back while it still is.
    n=0; while ! grep -q '"applied"' "/out/$name/journal.jsonl" 2>/dev/null && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done
    date -s "@$(($(date +%s) + 3600))" >/dev/null; sleep 2; date -s "@$(($(date +%s) - 3600))" >/dev/null
  fi
  wait $run
  echo "$?" >"/out/$name.exit"
  state >"/out/$name.after"
  echo "guest: $name ended with exit $(cat "/out/$name.exit") after $(up) s"
  sync
done
chaos lab down >/dev/null 2>&1 </dev/null
sync
echo o >/proc/sysrq-trigger
sleep 60
