//! What `scripts/bench fuzz` runs: the fuzzers' entries on stable Rust, by mutating seeds without looking at
//! coverage. The same seed gives the same inputs.
//!
//! `fuzz-driver http1|h2 EXECUTIONS SEED`; ends with a panic at the first input that breaks a rule.

#[path = "../../fuzz/answers.rs"]
mod answers;

use std::io::Write;
use std::time::Instant;

/// The longest input: several frames or heads, and quick to run.
const MAX_BYTES: usize = 4_096;

/// Inputs that mutations start from; new ones take the place of old ones.
const POOL: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, executions, seed] = arguments.as_slice() else {
        panic!("usage: fuzz-driver http1|h2 EXECUTIONS SEED")
    };
    let executions: u64 = executions.parse().expect("a number of executions");
    let mut random = Random(seed.parse().expect("a seed"));
    let (run, seeds) = match target.as_str() {
        "http1" => (answers::http1 as fn(&[u8]), http1_seeds()),
        "h2" => (answers::h2 as fn(&[u8]), h2_seeds()),
        _ => panic!("no such target: {target}"),
    };
    let mut pool: Vec<Vec<u8>> = seeds.iter().cycle().take(POOL).cloned().collect();
    let started = Instant::now();
    let mut bytes = 0;
    for number in 0..executions {
        let mut input = pool[random.below(POOL)].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, &pool, &mut random);
        }
        input.truncate(MAX_BYTES);
        bytes += input.len() as u64;
        run(&input);
        // Some drift away from the seeds, some come back.
        let place = random.below(POOL);
        match number % 64 {
            0 => pool[place] = seeds[random.below(seeds.len())].clone(),
            8 | 16 | 24 => pool[place] = input,
            _ => {}
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let line =
        format!("{target}: {executions} executions, {bytes} bytes, {seconds:.0} s, seed {seed}: clean");
    writeln!(std::io::stdout(), "{line}").expect("stdout is open");
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Changes an input in one way of several.
fn mutate(input: &mut Vec<u8>, pool: &[Vec<u8>], random: &mut Random) {
    const TOKENS: [&[u8]; 16] = [
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"0",
        b"ffffffffffffffff",
        b"Content-Length: 5\r\n",
        b",",
        b":",
        b"Transfer-Encoding: chunked\r\n",
        b"HTTP/1.1 100 C\r\n\r\n",
        b"\x01\x04\x01\x01\x88",
        b"\0\x01\x01\x02hi",
        b"\x09\x04\x01\x00",
        b"\x7f\xff\xff\xff",
        b"\x08\x00\x00\x04\x7f\xff\xff\xff",
        b"\x04\x00\x00\x06\x00\x04\x7f\xff\xff\xff",
    ];
    const BYTES: [u8; 10] = [0, 1, 0x20, 0x7f, 0x80, 0xff, b'\r', b'\n', b'0', 9];
    let at = random.below(input.len());
    let length = random.below(32).min(input.len() - at);
    match random.below(9) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 if !input.is_empty() => input[at] = BYTES[random.below(BYTES.len())],
        2 if !input.is_empty() => input[at] = random.next() as u8,
        3 => drop(input.drain(at..at + length)),
        4 => {
            let again = input[at..at + length].to_vec();
            input.splice(at..at, again);
        }
        5 => drop(input.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
        6 => {
            let other = &pool[random.below(pool.len())];
            let from = random.below(other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        7 => input.truncate(at),
        _ => input.insert(at, random.next() as u8),
    }
}

fn http1_seeds() -> Vec<Vec<u8>> {
    [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.0 302 Found\r\nlocation: /x\r\nconnection: keep-alive\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\ncontent-length: 3, 3\n\nabc",
        "HTTP/1.1 500 Oops\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    ]
    .iter()
    .flat_map(|text| [0u8, 7, 0x40, 0x80].map(|first| [&[first], text.as_bytes()].concat()))
    .collect()
}

/// In the form that `answers::h2` makes frames of.
fn h2_seeds() -> Vec<Vec<u8>> {
    [
        &b"\x01\x05\x01\x01\x88"[..],
        b"\x01\x04\x01\x01\x88\x00\x01\x01\x05hello",
        b"\x01\x04\x01\x04\x88\x5c\x015\x00\x09\x01\x08\x02hello\0\0",
        b"\x01\x00\x05\x01\x88\x09\x00\x05\x00\x09\x04\x05\x04\x00\x01a\x00\x00\x01\x05\x00",
        b"\x01\x04\x03\x05\x08\x03103\x01\x05\x03\x01\x88\x03\x00\x05\x04\x00\x00\x00\x07",
        b"\x04\x00\x00\x06\x00\x04\x00\x00\x00\x00\x06\x00\x00\x0812345678\x08\x00\x05\x04\x00\x00\x00\x09",
        b"\x07\x00\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x01\x05\x01\x0b\x88\x58\x85\xae\xc3\x77\x1a\x4b\x0f\x0d\x00",
    ]
    .iter()
    .flat_map(|bytes| [[0u8, 0], [7, 0], [0x40, 0], [2, 1]].map(|first| [&first[..], bytes].concat()))
    .collect()
}
