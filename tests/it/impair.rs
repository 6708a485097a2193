//! Loss, duplication, damage and disorder against a real kernel, packet by packet, and nothing of it left.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaos::agent::wire::{
    Bursts, Chance, Counters, Direction, Effect, Impairment, Loss, Protocol, Reorder, Turns,
};

use super::agent_lab::{
    Agent, FAR, NEAR, PATIENCE, Pair, delay, make_room, may_make_namespaces, step, tcp_round_trip,
};

/// How long nothing may come before it is taken for the end.
const SILENCE: Duration = Duration::from_millis(300);
/// Datagrams of one trial.
const COUNT: u32 = 5_000;
/// What each is filled up with behind its number.
const FILLING: [u8; 60] = [0xa5; 60];

pub fn chance(share: f64, seed: u64) -> Chance {
    Chance { share, correlation: 0.0, seed }
}

pub fn loss(share: f64, seed: u64) -> Effect {
    Effect::Loss(Loss::Random(chance(share, seed)))
}

/// True if `found` of `count` lies within the 99% interval of `share`.
pub fn is_likely(found: u64, count: u64, share: f64) -> bool {
    let (found, count) = (found as f64, count as f64);
    (found - share * count).abs() <= 2.576 * (share * (1.0 - share) * count).sqrt()
}

/// Two sockets, joined: from the target outwards for packets that leave, the other way for those that enter.
pub fn ends(pair: &Pair, direction: Direction, family: usize) -> (UdpSocket, UdpSocket) {
    let near = pair.near.run(|| UdpSocket::bind((NEAR[family], 0)).unwrap());
    let far = pair.far.run(|| UdpSocket::bind((FAR[family], 0)).unwrap());
    make_room(&near);
    make_room(&far);
    let (from, to) = if direction == Direction::Egress { (near, far) } else { (far, near) };
    from.connect(to.local_addr().unwrap()).unwrap();
    to.set_read_timeout(Some(SILENCE)).unwrap();
    (from, to)
}

/// Sends numbered datagrams, `pause` apart; those that come, in order and whole.
pub fn datagrams(from: &UdpSocket, to: &UdpSocket, count: u32, pause: Duration) -> Vec<Vec<u8>> {
    datagrams_once(from, to, (count, pause), || {})
}

/// The same; when `settle` has returned, what is still to come takes less than [`SILENCE`].
pub fn datagrams_once(
    from: &UdpSocket,
    to: &UdpSocket,
    (count, pause): (u32, Duration),
    settle: impl FnOnce(),
) -> Vec<Vec<u8>> {
    let settled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let (mut came, mut buffer) = (Vec::new(), [0; 2048]);
            loop {
                let over = settled.load(Ordering::Acquire);
                match to.recv(&mut buffer) {
                    Ok(len) => came.push(buffer[..len].to_vec()),
                    Err(_) if over => return came,
                    Err(_) => {}
                }
            }
        });
        let began = Instant::now();
        for number in 0..count {
            while began.elapsed() < pause * number {
                std::thread::yield_now();
            }
            from.send(&[&number.to_be_bytes()[..], &FILLING].concat()).unwrap();
        }
        settle();
        settled.store(true, Ordering::Release);
        receiving.join().unwrap()
    })
}

pub fn numbers(came: &[Vec<u8>]) -> Vec<u32> {
    came.iter().map(|datagram| u32::from_be_bytes(datagram[..4].try_into().unwrap())).collect()
}

/// As fast as a queue in userspace takes them without letting any through.
const SWIFT: Duration = Duration::from_micros(60);

/// One effect on all datagrams of a trial: what came, and what was counted.
fn trial(pair: &Pair, direction: Direction, family: usize, effect: Effect) -> (Vec<Vec<u8>>, Counters) {
    let (from, to) = ends(pair, direction, family);
    let mut agent = pair.agent();
    let port = from.local_addr().unwrap().port();
    agent.impair(&[Impairment { ports: vec![port], ..step(1, direction, effect) }]);
    // A report comes when everything that came in before was decided upon, however late this machine is with that.
    let came = datagrams_once(&from, &to, (COUNT, SWIFT), || drop(agent.read(1)));
    let undone = &agent.undo(&[1])[&1];
    assert!(undone.verified, "{undone:?}");
    let counters = undone.counters.clone();
    assert_eq!(counters.matched_packets, u64::from(COUNT), "{counters:?}");
    assert_eq!((counters.overflowed_packets, counters.lost_packets), (Some(0), Some(0)), "{counters:?}");
    (came, counters)
}

/// Every way that a packet can go.
pub const WAYS: [(Direction, usize); 4] =
    [(Direction::Egress, 0), (Direction::Ingress, 0), (Direction::Egress, 1), (Direction::Ingress, 1)];

#[test]
fn loses_the_share_asked_and_counts_each() {
    if !may_make_namespaces("loses_the_share_asked_and_counts_each") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    for ((direction, family), share) in WAYS.into_iter().zip([0.01, 0.1, 0.5, 1.0]) {
        let (came, counters) = trial(&pair, direction, family, loss(share, 3));
        let lost = u64::from(COUNT) - came.len() as u64;
        assert_eq!(counters.dropped_packets, Some(lost));
        assert!(is_likely(lost, u64::from(COUNT), share), "{lost} of {COUNT} lost, asked {share}");
        assert_eq!(pair.near.state(), before);
    }
}

#[test]
fn loses_the_same_packets_by_the_same_seed() {
    if !may_make_namespaces("loses_the_same_packets_by_the_same_seed") {
        return;
    }
    let pair = Pair::new();
    let lost = |seed| numbers(&trial(&pair, Direction::Egress, 0, loss(0.3, seed)).0);
    assert_eq!(lost(7), lost(7));
    assert_ne!(lost(7), lost(8));
}

#[test]
fn loses_in_bursts_as_the_chain_says() {
    if !may_make_namespaces("loses_in_bursts_as_the_chain_says") {
        return;
    }
    let pair = Pair::new();
    let chain = Bursts { good_to_bad: 0.02, bad_to_good: 0.25, bad_loss: 1.0, good_loss: 0.0, seed: 5 };
    let (came, counters) = trial(&pair, Direction::Egress, 0, Effect::Loss(Loss::Bursts(Box::new(chain))));
    let came = numbers(&came);
    assert_eq!(counters.dropped_packets, Some(u64::from(COUNT) - came.len() as u64));
    let bursts: Vec<u32> = came.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|gap| *gap > 0).collect();
    let (count, mean) = (bursts.len() as f64, f64::from(bursts.iter().sum::<u32>()) / bursts.len() as f64);
    // A burst's length has mean 1/r = 4 and deviation sqrt(1-r)/r = 3.46.
    assert!((mean - 4.0).abs() < 2.576 * 3.46 / count.sqrt(), "{count} bursts of {mean} on average");
    assert!((50.0..150.0).contains(&count), "{count} bursts, 93 expected");
}

#[test]
fn sends_the_share_asked_twice() {
    if !may_make_namespaces("sends_the_share_asked_twice") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    for (direction, family) in WAYS {
        let (came, counters) = trial(&pair, direction, family, Effect::Duplicate(chance(0.1, 9)));
        let came = numbers(&came);
        let different: BTreeSet<_> = came.iter().collect();
        assert_eq!(different.len(), COUNT as usize, "some never came: {direction:?} {family} {counters:?}");
        let twice = (came.len() - different.len()) as u64;
        assert_eq!(counters.duplicated_packets, Some(twice), "{direction:?} {family}");
        assert!(is_likely(twice, u64::from(COUNT), 0.1), "{twice} of {COUNT} came twice");
        assert_eq!(pair.near.state(), before);
    }
}

#[test]
fn copies_pass_later_steps_and_skip_earlier_ones() {
    if !may_make_namespaces("copies_pass_later_steps_and_skip_earlier_ones") {
        return;
    }
    let pair = Pair::new();
    let (from, to) = ends(&pair, Direction::Egress, 0);
    let mut agent = pair.agent();
    let twice = |number| step(number, Direction::Egress, Effect::Duplicate(chance(1.0, 1)));
    agent.impair(
        &[step(1, Direction::Egress, delay(300)), twice(2), twice(3), step(4, Direction::Egress, delay(500))]
            .map(|step| Impairment { protocol: Some(Protocol::Udp), ..step }),
    );
    let began = Instant::now();
    let settle = || {
        while agent.read(4).delayed_packets != Some(40) {
            assert!(began.elapsed() < PATIENCE, "not all came out: {:?}", agent.read(4));
        }
    };
    let came = datagrams_once(&from, &to, (10, Duration::ZERO), settle);
    let took = began.elapsed();
    assert_eq!(came.len(), 40, "each is doubled twice");
    assert!(took >= Duration::from_millis(800), "{took:?}");
    let undone = agent.undo(&[1, 2, 3, 4]);
    let matched: Vec<_> = undone.values().map(|undone| undone.counters.matched_packets).collect();
    // Copies were not held once more by the first step.
    assert_eq!(matched, [10, 10, 20, 40]);
    assert!(undone.values().all(|undone| undone.verified));
}

#[test]
fn copies_reach_whom_address_translation_means() {
    if !may_make_namespaces("copies_reach_whom_address_translation_means") {
        return;
    }
    let pair = Pair::new();
    let listener = pair.echo_tcp(0);
    pair.near.shell(&format!(
        "nft add table ip mesh
         nft 'add chain ip mesh in {{ type nat hook prerouting priority -100; }}'
         nft 'add chain ip mesh guard {{ type filter hook input priority 0; policy drop; }}'
         nft add rule ip mesh in tcp dport 80 redirect to :{}
         nft add rule ip mesh guard ct state established,related accept
         nft add rule ip mesh guard tcp dport {} accept
         nft add rule ip mesh guard iif lo accept",
        listener.port(),
        listener.port()
    ));
    let mut agent = pair.agent();
    agent.impair(&[step(1, Direction::Both, Effect::Duplicate(chance(1.0, 1)))]);
    let target = (NEAR[0], 80).to_socket_addrs().unwrap().next().unwrap();
    for _ in 0..20 {
        // A copy of a connection's first packet that missed the translation would be answered with a reset.
        let stream = pair.connect(target, PATIENCE).unwrap();
        tcp_round_trip(&stream).unwrap();
    }
    let counters = &agent.undo(&[1])[&1].counters;
    assert!(counters.duplicated_packets > Some(100), "{counters:?}");
}

#[test]
fn damages_one_bit_that_checksums_find() {
    if !may_make_namespaces("damages_one_bit_that_checksums_find") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    for (direction, family) in WAYS {
        let (came, counters) = trial(&pair, direction, family, Effect::Corrupt(chance(0.1, 2)));
        let damaged = u64::from(COUNT) - came.len() as u64;
        assert_eq!(counters.corrupted_packets, Some(damaged), "{direction:?} {family}");
        assert!(is_likely(damaged, u64::from(COUNT), 0.1), "{damaged} of {COUNT} damaged");
        assert_eq!(pair.near.state(), before);
    }
    // IPv4 may leave the checksum out. Then what is damaged arrives, unless its header was hit.
    for direction in [Direction::Egress, Direction::Ingress] {
        let (from, to) = ends(&pair, direction, 0);
        let yes: libc::c_int = 1;
        // SAFETY: the option value is an int that outlives the call.
        let failed = unsafe {
            let (value, len) = ((&raw const yes).cast(), size_of_val(&yes) as u32);
            libc::setsockopt(from.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, value, len)
        };
        assert_eq!(failed, 0);
        let mut agent = pair.agent();
        agent.impair(&[Impairment {
            ports: vec![from.local_addr().unwrap().port()],
            ..step(1, direction, Effect::Corrupt(chance(1.0, 6)))
        }]);
        let came = datagrams(&from, &to, 500, SWIFT);
        // Eight of 72 bytes are the header.
        assert!(came.len() > 380, "only {} of 500 came", came.len());
        let mut places = BTreeSet::new();
        // Damage to its length in the header cuts a datagram short.
        for datagram in came.iter().filter(|datagram| datagram.len() == 64) {
            let bits: u32 =
                datagram[4..].iter().zip(FILLING).map(|(byte, filling)| (byte ^ filling).count_ones()).sum();
            assert!(bits <= 1, "{datagram:?}");
            places.extend(datagram[4..].iter().zip(FILLING).position(|(byte, filling)| *byte != filling));
        }
        assert!(places.len() > 50, "the bit is always in the same places: {places:?}");
        assert_eq!(agent.undo(&[1])[&1].counters.corrupted_packets, Some(500));
    }
}

/// How many came before one that was sent earlier.
pub fn overtakers(came: &[u32]) -> u64 {
    let mut smallest_after = u32::MAX;
    let mut overtook = 0;
    for number in came.iter().rev() {
        overtook += u64::from(*number > smallest_after);
        smallest_after = smallest_after.min(*number);
    }
    overtook
}

#[test]
fn lets_the_share_asked_overtake_the_others() {
    if !may_make_namespaces("lets_the_share_asked_overtake_the_others") {
        return;
    }
    let pair = Pair::new();
    for (direction, family) in WAYS {
        let Effect::Delay(held) = delay(20) else { unreachable!("it was made as a delay") };
        let effect = Effect::Reorder(Box::new(Reorder { chance: chance(0.25, 4), gap: 1, delay: held }));
        let (came, counters) = trial(&pair, direction, family, effect);
        let came = numbers(&came);
        assert_eq!(came.len(), COUNT as usize, "some were lost");
        let overtook = overtakers(&came);
        let counted = counters.reordered_packets.unwrap();
        assert!(overtook <= counted && counted - overtook < 20, "{overtook} overtook, {counted} counted");
        assert!(is_likely(counted, u64::from(COUNT), 0.25), "{counted} of {COUNT} went at once");
        let given = counters.delay_ms.unwrap();
        assert!(given["min"] >= 20.0 && given["p50"] < 40.0, "{given:?}");
    }
}

/// Sends bytes over TCP through whatever is in effect; how many packets came to it at least.
fn bulk(pair: &Pair, family: usize, direction: Direction, len: usize) {
    let (server, client, address) = match direction {
        Direction::Ingress => (&pair.near, &pair.far, NEAR[family]),
        _ => (&pair.far, &pair.near, FAR[family]),
    };
    let listener = server.run(|| TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    let data: Vec<u8> = (0..len).map(|index| (index * 31 % 251) as u8).collect();
    let mut sender = client.run(|| TcpStream::connect_timeout(&target, PATIENCE).unwrap());
    let (mut receiver, _) = listener.accept().unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        let sent = &data;
        scope.spawn(move || {
            sender.write_all(sent).unwrap();
            drop(sender);
        });
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).unwrap();
        assert!(received == data, "what came is not what was sent");
    });
}

#[test]
fn tcp_gets_through_all_of_it_at_once_and_each_packet_counts() {
    if !may_make_namespaces("tcp_gets_through_all_of_it_at_once_and_each_packet_counts") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let Effect::Delay(held) = delay(2) else { unreachable!("it was made as a delay") };
    for (direction, family) in WAYS {
        let mut agent = pair.agent();
        agent.impair(&[
            step(1, direction, loss(0.01, 1)),
            step(2, direction, Effect::Duplicate(chance(0.02, 2))),
            step(3, direction, Effect::Corrupt(chance(0.01, 3))),
            step(
                4,
                direction,
                Effect::Reorder(Box::new(Reorder { chance: chance(0.1, 4), gap: 1, delay: held.clone() })),
            ),
        ]);
        bulk(&pair, family, direction, 2 << 20);
        let undone = agent.undo(&[1, 2, 3, 4]);
        assert!(undone.values().all(|undone| undone.verified));
        let counters = |number| undone[&number].counters.clone();
        // Two megabytes are 1,450 segments at least, whatever the kernel puts together for the network card.
        assert!(counters(1).matched_packets > 1_400, "{:?}", counters(1));
        assert!(counters(1).dropped_packets > Some(0) && counters(2).duplicated_packets > Some(0));
        assert!(counters(3).corrupted_packets > Some(0) && counters(4).reordered_packets > Some(0));
        assert_eq!(pair.near.state(), before, "{direction:?} {family}");
    }
}

/// Datagrams that come through, in a second of them, and how often the step was switched on.
fn through(pair: &Pair, agent: &mut Agent, turns: Turns, effect: Effect) -> (usize, u64) {
    let (from, to) = ends(pair, Direction::Egress, 0);
    let effect = Effect::Flaky(Box::new(turns), Box::new(effect));
    let port = from.local_addr().unwrap().port();
    agent.impair(&[Impairment { ports: vec![port], ..step(1, Direction::Egress, effect) }]);
    let came = datagrams(&from, &to, 1_000, Duration::from_millis(1));
    let undone = &agent.undo(&[1])[&1];
    assert!(undone.verified, "{undone:?}");
    (came.len(), undone.counters.switched_on.unwrap())
}

#[test]
fn is_on_and_off_in_turns() {
    if !may_make_namespaces("is_on_and_off_in_turns") {
        return;
    }
    let pair = Pair::new();
    let before = pair.near.state();
    let mut agent = pair.agent();
    let turns = |on_ms: u64, off_ms: u64, jitter_ms: u64| Turns {
        on_ns: on_ms * 1_000_000,
        off_ns: off_ms * 1_000_000,
        jitter_ns: jitter_ms * 1_000_000,
        seed: 1,
    };
    for effect in [Effect::Drop, loss(1.0, 1)] {
        // On for 75 of every 300 ms, beginning at once: 250 of 1,000 at most, or 325 if it is on at the end too.
        let (came, switched) = through(&pair, &mut agent, turns(75, 225, 0), effect.clone());
        assert!((690..=760).contains(&came), "{came} came through with {effect:?}");
        assert!((4..=6).contains(&switched), "switched on {switched} times");
        assert_eq!(pair.near.state(), before);
    }
    let (came, switched) = through(&pair, &mut agent, turns(30, 30, 20), Effect::Drop);
    assert!((350..=650).contains(&came) && switched > 10, "{came} came, switched on {switched} times");
    // Undone while it is off, and while it is on.
    for on_ms in [20, 60_000] {
        let effect = Effect::Flaky(Box::new(turns(on_ms, 60_000, 0)), Box::new(delay(60_000)));
        agent.impair(&[step(1, Direction::Both, effect)]);
        let (from, to) = ends(&pair, Direction::Egress, 0);
        if on_ms == 20 {
            let began = Instant::now();
            while datagrams(&from, &to, 1, Duration::ZERO).is_empty() {
                assert!(began.elapsed() < PATIENCE, "never switched off");
            }
        }
        assert!(agent.undo(&[1])[&1].verified);
        // Of their own, as those before get what was held for them.
        let (from, to) = ends(&pair, Direction::Egress, 0);
        assert_eq!(datagrams(&from, &to, 1, Duration::ZERO).len(), 1);
        assert_eq!(pair.near.state(), before);
    }
}
