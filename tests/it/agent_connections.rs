//! Connections broken off and refused by the agent, against a real kernel.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use chaos::agent::wire::{Admit, Command, Direction, Effect, Engine, Impairment, Outcome, Sever};

use super::agent_lab::{Agent, FAR, NEAR, PATIENCE, Pair, delay, may_make_namespaces, step, tcp_round_trip};

fn sever(share: f64, every: Option<Duration>) -> Effect {
    Effect::Sever(Sever { share, every_ns: every.map(|every| every.as_nanos() as u64), seed: 7 })
}

fn open(pair: &Pair, server: SocketAddr, count: usize) -> Vec<TcpStream> {
    let streams: Vec<_> = (0..count).map(|_| pair.connect(server, PATIENCE).unwrap()).collect();
    // Established on both ends.
    streams.iter().for_each(|stream| assert!(tcp_round_trip(stream).is_ok()));
    streams
}

/// True of one whose other end was told that it is over.
fn is_broken(stream: &TcpStream) -> bool {
    match tcp_round_trip(stream) {
        Ok(_) => false,
        Err(error) => {
            assert!(
                [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()),
                "{error}: it should have been reset"
            );
            true
        }
    }
}

fn counted(agent: &mut Agent, name: &str) -> u64 {
    agent.read(1).counted[name]
}

#[test]
fn breaks_off_the_share_asked_for_and_nothing_else() {
    if !may_make_namespaces("breaks_off_the_share_asked_for_and_nothing_else") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let mut agent = pair.agent();
    for family in [0, 1] {
        let (server, other) = (pair.echo_tcp(family), pair.echo_tcp(family));
        let (streams, others) = (open(&pair, server, 10), open(&pair, other, 2));
        let own = pair.near.run(|| TcpStream::connect(server).unwrap());
        let asked =
            |direction| Impairment { ports: vec![server.port()], ..step(1, direction, sever(0.45, None)) };
        // They came in: nothing that this end opened.
        let armed = agent.arm(&[asked(Direction::Egress)]);
        assert_eq!(armed, Outcome::Armed([(1, Engine::SockDiag)].into()));
        agent.ask(Command::Fire { steps: vec![1], at_ns: None });
        assert_eq!(counted(&mut agent, "reset_connections"), 0);
        agent.undo(&[1]);

        agent.impair(&[asked(Direction::Ingress)]);
        let undone = &agent.undo(&[1])[&1];
        let counted = &undone.counters.counted;
        assert!(undone.verified, "{undone:?}");
        assert_eq!((counted["found_connections"], counted["reset_connections"]), (10, 5));
        assert_eq!(streams.iter().filter(|stream| is_broken(stream)).count(), 5);
        assert!(!others.iter().any(is_broken), "another port");
        assert!(!is_broken(&own), "its own");
        assert_eq!(pair.near.state(), before);
    }
}

#[test]
fn breaks_off_again_and_again_until_it_is_undone() {
    if !may_make_namespaces("breaks_off_again_and_again_until_it_is_undone") {
        return;
    }
    let pair = Pair::new();
    // Seen from the end that opened them.
    let listener = pair.far.run(|| TcpListener::bind((FAR[1], 0)).unwrap());
    let target = listener.local_addr().unwrap();
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Egress, sever(1.0, Some(Duration::from_millis(20))))]);
    for _ in 0..3 {
        let mut near = pair.near.run(|| TcpStream::connect(target).unwrap());
        let (mut far, _) = listener.accept().unwrap();
        for stream in [&mut near, &mut far] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(near.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }
    let undone = &agent.undo(&[1])[&1];
    assert!(undone.verified && undone.counters.counted["reset_connections"] == 3, "{undone:?}");
    let near = pair.near.run(|| TcpStream::connect(target).unwrap());
    near.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!((&near).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn lets_in_as_many_as_there_may_be() {
    if !may_make_namespaces("lets_in_as_many_as_there_may_be") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let mut agent = pair.agent();
    for family in [0, 1] {
        let server = pair.echo_tcp(family);
        let mut streams = open(&pair, server, 2);
        let limit = Impairment {
            ports: vec![server.port()],
            ..step(1, Direction::Ingress, Effect::Admit(Admit { most: 3 }))
        };
        let armed = agent.arm(&[limit]);
        assert_eq!(armed, Outcome::Armed([(1, Engine::Nfqueue)].into()));
        assert_eq!(pair.near.state().matches("hook input").count(), 0, "arming changes nothing");
        agent.ask(Command::Fire { steps: vec![1], at_ns: None });
        streams.push(pair.connect(server, PATIENCE).unwrap());
        for _ in 0..3 {
            let refused = pair.connect(server, PATIENCE).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
        }
        assert!(!streams.iter().any(is_broken), "those that are there stay");
        drop(streams.pop());
        // The server learns of it in its own time.
        let began = Instant::now();
        let more = loop {
            match pair.connect(server, PATIENCE) {
                Ok(stream) => break stream,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}: there is room again"),
            }
        };
        assert!(!is_broken(&more));
        let other = pair.echo_tcp(family);
        assert_eq!(open(&pair, other, 4).len(), 4, "another port");
        let undone = &agent.undo(&[1])[&1];
        let counted = &undone.counters.counted;
        assert!(undone.verified && counted["refused_connections"] >= 3, "{undone:?}");
        assert_eq!(counted["admitted_connections"], 2, "{counted:?}");
        assert_eq!(open(&pair, server, 4).len(), 4, "undone");
        assert_eq!(pair.near.state(), before);
    }
}

#[test]
fn whoever_is_refused_hears_of_it_under_delay_too() {
    if !may_make_namespaces("whoever_is_refused_hears_of_it_under_delay_too") {
        return;
    }
    let pair = Pair::new();
    // With connection tracking, as Docker's resolver has it run in every container.
    pair.near.shell("nft add table ip nat; nft 'add chain ip nat c { type nat hook output priority -100; }'");
    let server = pair.echo_tcp(0);
    let mut agent = pair.agent();
    for refusal in [Effect::Admit(Admit { most: 0 }), Effect::Reset] {
        agent.impair(&[step(1, Direction::Egress, delay(30)), step(2, Direction::Ingress, refusal)]);
        let refused = pair.connect(server, PATIENCE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
        agent.undo(&[1, 2]);
    }
}

#[test]
fn refuses_what_the_target_itself_asks_for() {
    if !may_make_namespaces("refuses_what_the_target_itself_asks_for") {
        return;
    }
    let pair = Pair::new();
    let mut agent = pair.agent();
    let listener = pair.far.run(|| TcpListener::bind((FAR[0], 0)).unwrap());
    let target = listener.local_addr().unwrap();
    let inside = pair.near.run(|| TcpListener::bind((NEAR[0], 0)).unwrap());
    agent.impair(&[step(1, Direction::Both, Effect::Admit(Admit { most: 1 }))]);
    let first = pair.near.run(|| TcpStream::connect(target).unwrap());
    let second = pair.near.run(|| TcpStream::connect(target));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let own = inside.local_addr().unwrap();
    pair.near.run(|| TcpStream::connect(own).map(drop)).expect("the target's own are never counted");
    assert_eq!(counted(&mut agent, "refused_connections"), 1);
    drop(first);
    // An agent that dies leaves the way open.
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    pair.near.run(|| (0..3).for_each(|_| drop(TcpStream::connect(target).unwrap())));
}
