//! Two network namespaces joined by a cable, an agent in one of them, and exchanges between the two.
//!
//! `near` is the target: the agent runs there, and so do the servers. `far` is its peer. Nothing has a name
//! outside this process, so nothing is left when a test dies.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use chaos::agent::reach::{Aim, Ask, Heard};
use chaos::agent::task::Task;
use chaos::agent::wire::{
    self, Delay, Direction, Distribution, Effect, Hello, Impairment, Net, Outcome, Protocol, Reply, Request,
};

/// Long enough for any answer on a busy machine; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The addresses of the two ends, IPv4 and IPv6.
pub const NEAR: [&str; 2] = ["10.77.0.1", "fd77::1"];
pub const FAR: [&str; 2] = ["10.77.0.2", "fd77::2"];

/// True if this process may make network namespaces. Otherwise says loudly that `test` was skipped, and fails
/// where nothing may be skipped (CHAOS_NO_SKIP, set by scripts/check).
pub fn may_make_namespaces(test: &str) -> bool {
    // SAFETY: no pointers.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    eprintln!("SKIPPED {test}: needs root, to make network namespaces");
    assert!(std::env::var_os("CHAOS_NO_SKIP").is_none(), "{test} was skipped: needs root");
    false
}

/// A network namespace that lives as long as this value.
pub struct Namespace(OwnedFd);

impl Namespace {
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            // SAFETY: no pointers; concerns this thread alone.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "root may make a network namespace");
            std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()
        });
        let namespace = Self(made.join().unwrap());
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `body` in this namespace; sockets and processes made there stay there.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // SAFETY: the descriptor is a network namespace; concerns this thread alone.
                assert_eq!(unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
                body()
            });
            inside.join().unwrap()
        })
    }

    /// A path that `ip` takes for this namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The output of a command line in this namespace.
    pub fn shell(&self, line: &str) -> String {
        let output = self.run(|| Command::new("sh").args(["-c", line]).output().unwrap());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{line}` failed: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn ip(&self, line: &str) {
        self.shell(&format!("ip {line}"));
    }

    /// Everything an agent could have left here.
    pub fn state(&self) -> String {
        let filters =
            "for i in eth0 lo; do for h in root ingress egress; do tc filter show dev $i $h; done; done";
        self.shell(&format!("nft list ruleset; tc qdisc show; {filters}; ip -o link | cut -d' ' -f2-"))
    }
}

/// The two ends.
pub struct Pair {
    pub near: Namespace,
    pub far: Namespace,
}

impl Pair {
    pub fn new() -> Self {
        let (near, far) = (Namespace::new(), Namespace::new());
        near.ip(&format!("link add eth0 type veth peer name eth0 netns {}", far.path()));
        for (end, addresses) in [(&near, NEAR), (&far, FAR)] {
            end.ip(&format!("addr add {}/24 dev eth0", addresses[0]));
            end.ip(&format!("addr add {}/64 dev eth0 nodad", addresses[1]));
            end.ip("link set eth0 up");
        }
        // The first packet of all would otherwise wait for the address of the cable's other end.
        let pair = Self { near, far };
        for addresses in [NEAR, FAR] {
            let end = if addresses == NEAR { &pair.far } else { &pair.near };
            let other = if addresses == NEAR { &pair.near } else { &pair.far };
            let mac = other.shell("ip -o link show eth0 | grep -o 'link/ether [^ ]*' | cut -d' ' -f2");
            for address in addresses {
                end.ip(&format!("neigh replace {address} lladdr {} dev eth0", mac.trim()));
            }
        }
        pair
    }

    pub fn agent(&self) -> Agent {
        Agent::start(&self.near)
    }

    /// A server in `near` that sends every datagram back where it came from, until the test ends.
    pub fn echo_udp(&self, family: usize) -> SocketAddr {
        let socket = self.near.run(|| UdpSocket::bind((NEAR[family], 0)).unwrap());
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                // A dropped answer is the test's business.
                let _ = socket.send_to(&buffer[..len], from);
            }
        });
        address
    }

    /// A server in `near` that sends every byte back, until the test ends.
    pub fn echo_tcp(&self, family: usize) -> SocketAddr {
        let listener = self.near.run(|| TcpListener::bind((NEAR[family], 0)).unwrap());
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    let mut buffer = [0; 65536];
                    let mut stream = &stream;
                    while let Ok(len @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..len]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    /// Round trips of `count` datagrams sent to `server` a little apart from each other; what is not back
    /// after `patience` is left out.
    pub fn udp_round_trips(&self, server: SocketAddr, count: u32, patience: Duration) -> Vec<Duration> {
        let family = usize::from(server.is_ipv6());
        let socket = self.far.run(|| UdpSocket::bind((FAR[family], 0)).unwrap());
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        let sent: Vec<_> = (0..count)
            .map(|number| {
                let at = Instant::now();
                socket.send(&number.to_ne_bytes()).unwrap();
                at
            })
            .collect();
        let mut trips = Vec::new();
        let mut buffer = [0; 64];
        while trips.len() < count as usize
            && let Ok(4) = socket.recv(&mut buffer)
        {
            let number = u32::from_ne_bytes(buffer[..4].try_into().unwrap());
            trips.push(sent[number as usize].elapsed());
        }
        trips
    }

    /// Connects from `far`.
    pub fn connect(&self, server: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
        let stream = self.far.run(|| TcpStream::connect_timeout(&server, patience))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(stream)
    }
}

/// One exchange over an open connection.
pub fn tcp_round_trip(mut stream: &TcpStream) -> std::io::Result<Duration> {
    let began = Instant::now();
    stream.write_all(b"ping")?;
    stream.read_exact(&mut [0; 4])?;
    Ok(began.elapsed())
}

/// From now on this process gets no netlink socket of netfilter's, as on a kernel that was built without.
fn refuse_nfnetlink() -> std::io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    // struct seccomp_data: the call's number, then from byte 16 its arguments of eight bytes each.
    let program = [
        line(LOAD, 0, 0, 0),
        line(EQUAL, libc::SYS_socket as u32, 0, 5),
        line(LOAD, 16, 0, 0),
        line(EQUAL, libc::AF_NETLINK as u32, 0, 3),
        line(LOAD, 32, 0, 0),
        line(EQUAL, libc::NETLINK_NETFILTER as u32, 0, 1),
        line(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT as u32, 0, 0),
        line(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the filter describes `program`, which outlives the call; it is read only.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// An agent under test.
pub struct Agent {
    pub child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What it said first.
    pub hello: Hello,
    next_id: u64,
}

impl Agent {
    pub fn start(namespace: &Namespace) -> Self {
        Self::keeping(namespace, &[])
    }

    /// One with these privileges instead of those over the network.
    pub fn keeping(namespace: &Namespace, capabilities: &[&str]) -> Self {
        Self::spawn(namespace, capabilities, || Ok(()))
    }

    /// The same on a kernel without nfnetlink, as far as the agent can tell.
    pub fn without_nfnetlink(namespace: &Namespace, capabilities: &[&str]) -> Self {
        Self::spawn(namespace, capabilities, refuse_nfnetlink)
    }

    /// `prepare` runs in the new process, before it becomes the agent.
    fn spawn(
        namespace: &Namespace,
        capabilities: &[&str],
        prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let keep = (!capabilities.is_empty()).then(|| format!("--keep={}", capabilities.join(",")));
        let mut child = namespace.run(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
            command.args(["inside", "agent"]).args(&keep).stdin(Stdio::piped()).stdout(Stdio::piped());
            // SAFETY: what is to be prepared makes system calls and nothing else.
            unsafe { command.pre_exec(prepare) }.spawn().unwrap()
        });
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let first = lines.recv_timeout(PATIENCE).expect("an agent says hello");
        let hello = serde_json::from_str(&first).unwrap();
        Self { input: child.stdin.take(), child, lines, hello, next_id: 0 }
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The next reply, asked for or not.
    pub fn hear(&self) -> Reply {
        serde_json::from_str(&self.lines.recv_timeout(PATIENCE).expect("the agent answers")).unwrap()
    }

    /// Writes a request and waits for nothing; its number.
    pub fn tell(&mut self, command: wire::Command) -> u64 {
        self.next_id += 1;
        let request = Request { id: self.next_id, command };
        let mut line = serde_json::to_vec(&request).unwrap();
        line.push(b'\n');
        self.write(&line);
        self.next_id
    }

    pub fn ask(&mut self, command: wire::Command) -> Outcome {
        let id = self.tell(command);
        let reply = self.hear();
        assert_eq!(reply.id, Some(id), "{reply:?}");
        reply.outcome
    }

    /// Arms one task as step 0, with a deadline that no test reaches.
    pub fn arm_task(&mut self, task: &Task) -> Outcome {
        self.ask(wire::Command::Arm {
            tag: "test".into(),
            impairments: Vec::new(),
            tasks: BTreeMap::from([(0, task.clone())]),
            engine: None,
            deadline_ns: 600_000_000_000,
        })
    }

    /// Arms, with a deadline that no test reaches.
    pub fn arm(&mut self, impairments: &[Impairment]) -> Outcome {
        self.ask(wire::Command::Arm {
            tag: "test".into(),
            impairments: impairments.to_vec(),
            tasks: BTreeMap::new(),
            engine: None,
            deadline_ns: 600_000_000_000,
        })
    }

    /// Arms and fires.
    pub fn impair(&mut self, impairments: &[Impairment]) {
        let armed = self.arm(impairments);
        assert!(matches!(armed, Outcome::Armed(_)), "{armed:?}");
        let steps: Vec<_> = impairments.iter().map(|impairment| impairment.step).collect();
        self.fire(&steps);
    }

    pub fn fire(&mut self, steps: &[u32]) {
        let fired = self.ask(wire::Command::Fire { steps: steps.to_vec(), at_ns: None });
        assert!(matches!(fired, Outcome::Fired(_)), "{fired:?}");
    }

    pub fn undo(&mut self, steps: &[u32]) -> BTreeMap<u32, wire::Undone> {
        match self.ask(wire::Command::Undo { steps: steps.to_vec() }) {
            Outcome::Undone(undone) => undone,
            other => panic!("{other:?}"),
        }
    }

    pub fn read(&mut self, step: u32) -> wire::Counters {
        match self.ask(wire::Command::Read { steps: vec![step] }) {
            Outcome::Counters(mut counters) => counters.remove(&step).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Closes its input and waits for its end.
    pub fn close(mut self) -> std::process::ExitStatus {
        self.input = None;
        self.child.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets a socket receive thousands of packets before they are read.
pub fn make_room(socket: &UdpSocket) {
    let bytes: libc::c_int = 32 << 20;
    let (value, len) = ((&raw const bytes).cast(), size_of_val(&bytes) as u32);
    // SAFETY: the option value is an i32 that outlives the call.
    let failed =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value, len) };
    assert_eq!(failed, 0, "root may have large buffers");
}

pub fn step(number: u32, direction: Direction, effect: Effect) -> Impairment {
    Impairment {
        step: number,
        direction,
        peers: vec![],
        except: vec![],
        ports: vec![],
        protocol: None,
        effect,
    }
}

pub fn delay(ms: u64) -> Effect {
    jittered(ms, 0, Distribution::Normal)
}

pub fn jittered(ms: u64, jitter_ms: u64, distribution: Distribution) -> Effect {
    Effect::Delay(Delay {
        delay_ns: ms * 1_000_000,
        jitter_ns: jitter_ms * 1_000_000,
        distribution,
        correlation: 0.0,
        seed: 1,
    })
}

/// A filter, as a change to an impairment of UDP echoes by their servers' ports, and whether it hits the
/// echoes over IPv4 and IPv6.
pub struct Case {
    pub what: &'static str,
    pub filter: fn(&mut Impairment),
    pub hit: [bool; 2],
}

/// The cases that every engine must agree on.
pub fn filter_cases() -> Vec<Case> {
    let case = |what, hit, filter| Case { what, filter, hit };
    vec![
        case("both servers' ports", [true, true], |_| ()),
        case("another port", [false, false], |f| f.ports = vec![9]),
        case("every port", [true, true], |f| f.ports.clear()),
        case("UDP", [true, true], |f| f.protocol = Some(Protocol::Udp)),
        case("TCP", [false, false], |f| f.protocol = Some(Protocol::Tcp)),
        case("UDP on every port", [true, true], |f| {
            f.ports.clear();
            f.protocol = Some(Protocol::Udp);
        }),
        case("an IPv4 peer", [true, false], |f| f.peers = vec![net(FAR[0], 32)]),
        case("an IPv6 peer", [false, true], |f| f.peers = vec![net(FAR[1], 128)]),
        case("networks of both", [true, true], |f| {
            f.peers = vec![net("10.77.0.9", 20), net("fd77:0:0:0:9::", 60)];
        }),
        case("other peers", [false, false], |f| f.peers = vec![net("10.77.0.3", 32), net("fd77::3", 128)]),
        case("all but an IPv4 peer", [false, true], |f| f.except = vec![net(FAR[0], 32)]),
        case("all but an IPv6 network", [true, false], |f| f.except = vec![net("fd77::", 16)]),
    ]
}

pub fn net(address: &str, prefix: u8) -> Net {
    Net { addr: address.parse::<IpAddr>().unwrap(), prefix }
}

/// Has two agents look whom packets reach: the families in which far's got to near, and near's to far. Sent
/// three times; in a namespace of one cable what was let through has arrived when the next is sent.
pub fn look(near: &mut Agent, far: &mut Agent) -> [Vec<u32>; 2] {
    let mut ask = |which: usize, ask: Ask| -> Heard {
        let agent = if which == 0 { &mut *near } else { &mut *far };
        match agent.ask(wire::Command::Reach(ask)) {
            Outcome::Heard(heard) => heard,
            other => panic!("{other:?}"),
        }
    };
    let ports = [0, 1].map(|which| ask(which, Ask::Open { number: 77 }).ports.map(Option::unwrap));
    for _ in 0..3 {
        for (which, addresses) in [(0, FAR), (1, NEAR)] {
            let aim = |slot: usize| Aim {
                address: SocketAddr::new(addresses[slot].parse().unwrap(), ports[1 - which][slot]),
                slot: slot as u32,
            };
            ask(which, Ask::Send { from: which as u32, to: vec![aim(0), aim(1)] });
        }
    }
    let heard = [0, 1].map(|which| ask(which, Ask::Listen).from.into_iter().map(|(_, slot)| slot).collect());
    for which in [0, 1] {
        assert_eq!(ask(which, Ask::Close), Heard::default());
    }
    heard
}
