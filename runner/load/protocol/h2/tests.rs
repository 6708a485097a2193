//! A connection against scripted bytes of a server.

use proptest::prelude::*;

use super::*;

/// Frames as a server would write them.
#[derive(Default)]
struct Script(Vec<u8>);

impl Script {
    /// SETTINGS first, as always.
    fn new() -> Self {
        Self::default().frame(kind::SETTINGS, 0, 0, &[])
    }

    fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        let length = (payload.len() as u32).to_be_bytes();
        self.0.extend_from_slice(&length[1..]);
        self.0.extend_from_slice(&[kind, flags]);
        self.0.extend_from_slice(&stream.to_be_bytes());
        self.0.extend_from_slice(payload);
        self
    }

    fn settings(self, entries: &[(u16, u32)]) -> Self {
        let payload: Vec<u8> = entries
            .iter()
            .flat_map(|(name, value)| name.to_be_bytes().into_iter().chain(value.to_be_bytes()))
            .collect();
        self.frame(kind::SETTINGS, 0, 0, &payload)
    }

    /// A whole head with status 200.
    fn head(self, stream: u32, flags: u8) -> Self {
        self.frame(kind::HEADERS, flags | flag::END_HEADERS, stream, &[0x88])
    }

    fn data(self, stream: u32, flags: u8, bytes: &[u8]) -> Self {
        self.frame(kind::DATA, flags, stream, bytes)
    }
}

fn laid(body: &str) -> Vec<u8> {
    let mut laid = Vec::new();
    let text = format!("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    lay_out(text.as_bytes(), "http", &mut laid);
    laid
}

/// A connection with two requests under way, tagged 10 and 11, whose opening was written.
fn two() -> H2 {
    let mut h2 = H2::new();
    h2.open(10, Laid::Made(&laid("")), false, None);
    h2.open(11, Laid::Made(&laid("")), false, None);
    h2.written(h2.output().len());
    h2
}

fn feed(h2: &mut H2, bytes: &[u8]) -> Result<Vec<Event>, &'static str> {
    let mut events = Vec::new();
    h2.feed(bytes, &mut events).map(|()| events).map_err(|malformed| malformed.0)
}

/// The frames of what is to be written, each as kind, flags, stream and payload.
fn output(h2: &mut H2) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut rest = h2.output().to_vec();
    h2.written(rest.len());
    if let Some(after) = rest.strip_prefix(PREFACE) {
        rest = after.to_vec();
    }
    let mut frames = Vec::new();
    while let Some(head) = rest.first_chunk::<HEAD_BYTES>() {
        let head = Head::read(*head);
        frames.push((
            head.kind,
            head.flags,
            head.stream,
            rest[HEAD_BYTES..HEAD_BYTES + head.length].to_vec(),
        ));
        rest.drain(..HEAD_BYTES + head.length);
    }
    assert!(rest.is_empty(), "only whole frames are written");
    frames
}

const fn answered(tag: u32, status: u16, bytes: u64) -> Event {
    Event::Answered { tag, answer: Answer { status, bytes, reusable: true }, kept: None }
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "scripts are written where they are checked")]
fn check(script: Script, expected: Result<&[Event], &'static str>) {
    let whole = feed(&mut two(), &script.0);
    assert_eq!(whole, expected.map(<[Event]>::to_vec));
    // Byte by byte it is the same, up to where an error is noticed.
    let mut h2 = two();
    let mut events = Vec::new();
    let dripped = script.0.iter().try_for_each(|byte| h2.feed(&[*byte], &mut events));
    assert_eq!(dripped.map(|()| events).map_err(|malformed| malformed.0), whole, "in pieces");
}

#[test]
fn what_is_asked_for_is_kept_without_padding() {
    use flag::{END_HEADERS, END_STREAM, PADDED};
    // Status 200 and `x: y` as it is, then five bytes in two padded frames.
    let head = [0x88, 0x00, 1, b'x', 1, b'y'];
    let script = Script::new()
        .frame(kind::HEADERS, END_HEADERS, 1, &head)
        .data(1, PADDED, b"\x03hel...")
        .data(1, PADDED | END_STREAM, b"\x01lo.");
    for size in [1, 4, 100] {
        let mut h2 = H2::new();
        h2.open(10, Laid::Made(&laid("")), false, Some(Keep::Body));
        let mut events = Vec::new();
        script.0.chunks(size).for_each(|piece| h2.feed(piece, &mut events).unwrap());
        let [Event::Answered { kept: Some(kept), .. }] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(kept.body().as_deref(), Ok(&b"hello"[..]), "in pieces of {size}");
        assert!(kept.values("x").eq([b"y"]));
    }
}

#[test]
fn answers_begin_with_their_heads() {
    use flag::END_STREAM;
    let mut h2 = two();
    feed(&mut h2, &Script::new().head(3, 0).head(1, END_STREAM).0).unwrap();
    assert_eq!(h2.take_begun().collect::<Vec<_>>(), [11], "one that comes whole ends as it begins");
    feed(&mut h2, &Script::new().data(3, END_STREAM, b"hello").0).unwrap();
    assert_eq!(h2.take_begun().count(), 0, "each once");
}

#[test]
fn answers_are_read() {
    use flag::{END_HEADERS, END_STREAM, PADDED, PRIORITY};
    check(Script::new(), Ok(&[]));
    check(Script::new().head(1, END_STREAM), Ok(&[answered(10, 200, 10)]));
    check(
        Script::new().head(3, 0).head(1, END_STREAM).data(3, END_STREAM, b"hello"),
        Ok(&[answered(10, 200, 10), answered(11, 200, 24)]),
    );
    // In several frames, one of them empty; padding is no body, whatever the length says.
    check(
        Script::new()
            .frame(kind::HEADERS, END_HEADERS, 1, b"\x88\x5c\x015")
            .data(1, 0, b"")
            .data(1, PADDED, b"\x03hel\0\0\0")
            .data(1, PADDED, b"\x00")
            .data(1, END_STREAM | PADDED, b"\x01lo\0"),
        Ok(&[answered(10, 200, 13 + 9 + 16 + 10 + 13)]),
    );
    // Padded, with a priority, in three frames.
    check(
        Script::new()
            .frame(kind::HEADERS, END_STREAM | PADDED | PRIORITY, 1, b"\x02\0\0\0\0\x10\x00\x01\0\0")
            .frame(kind::CONTINUATION, 0, 1, b"")
            .frame(kind::CONTINUATION, END_HEADERS, 1, b"a\x01b\x8d"),
        Ok(&[answered(10, 404, 19 + 9 + 13)]),
    );
    // Interim answers and trailers.
    check(
        Script::new().frame(kind::HEADERS, END_HEADERS, 1, b"\x08\x03103").head(1, 0).data(1, 0, b"x").frame(
            kind::HEADERS,
            END_HEADERS | END_STREAM,
            1,
            b"\x00\x01a\x01b",
        ),
        Ok(&[answered(10, 200, 14 + 10 + 10 + 14)]),
    );
    // Hints and unknown kinds are passed over.
    check(
        Script::new()
            .frame(kind::PRIORITY, 0, 1, b"\0\0\0\0\x10")
            .frame(0xaa, 0xff, 77, b"whatever")
            .head(1, END_STREAM),
        Ok(&[answered(10, 200, 10)]),
    );
}

#[test]
fn streams_end_without_an_answer() {
    let reset = |tag, unseen, answering| Event::Reset { tag, unseen, answering };
    let rst = |code: u32| code.to_be_bytes();
    check(Script::new().frame(kind::RST_STREAM, 0, 1, &rst(7)), Ok(&[reset(10, true, false)]));
    check(Script::new().frame(kind::RST_STREAM, 0, 1, &rst(2)), Ok(&[reset(10, false, false)]));
    check(Script::new().head(1, 0).frame(kind::RST_STREAM, 0, 1, &rst(7)), Ok(&[reset(10, false, true)]));
    // What comes for a stream that has ended is passed over.
    check(
        Script::new().frame(kind::RST_STREAM, 0, 1, &rst(2)).head(1, 0).data(1, flag::END_STREAM, b"x"),
        Ok(&[reset(10, false, false)]),
    );
    let goaway = |last: u32| [last.to_be_bytes(), rst(0)].concat();
    check(
        Script::new().frame(kind::GOAWAY, 0, 0, &goaway(0)),
        Ok(&[reset(11, true, false), reset(10, true, false)]),
    );
    check(
        Script::new().frame(kind::GOAWAY, 0, 0, &goaway(1)).head(1, flag::END_STREAM),
        Ok(&[reset(11, true, false), answered(10, 200, 10)]),
    );
    let mut h2 = two();
    feed(&mut h2, &Script::new().frame(kind::GOAWAY, 0, 0, &goaway(3)).0).unwrap();
    assert_eq!((h2.room(100), h2.is_closing(), h2.under_way()), (0, true, 2));
}

#[test]
fn what_no_server_may_send_is_refused() {
    use flag::{END_HEADERS, END_STREAM, PADDED, PRIORITY};
    let new = Script::new;
    check(Script::default().head(1, 0), Err("no HTTP/2 SETTINGS where the connection should begin"));
    check(
        Script(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        Err("a frame longer than 16 KiB, which nobody agreed to"),
    );
    check(new().frame(kind::HEADERS, END_HEADERS, 5, &[0x88]), Err("a frame of a stream that nobody opened"));
    check(new().frame(kind::HEADERS, END_HEADERS, 2, &[0x88]), Err("a frame of a stream that nobody opened"));
    check(new().data(0, 0, b"x"), Err("a frame of a stream that nobody opened"));
    check(new().data(1, 0, b"x"), Err("data before the head of an answer"));
    check(new().head(1, 0).data(1, PADDED, b""), Err("a padded frame without room for its padding"));
    check(new().head(1, 0).data(1, PADDED, b"\x02ab"), Ok(&[]));
    check(new().head(1, 0).data(1, PADDED, b"\x03ab"), Err("padding longer than its frame"));
    check(new().frame(kind::HEADERS, PADDED, 1, b""), Err("a padded frame without room for its padding"));
    check(new().frame(kind::HEADERS, PADDED, 1, b"\x02x"), Err("padding longer than its frame"));
    check(new().frame(kind::HEADERS, PRIORITY, 1, b"\0\0"), Err("a frame too short for its priority"));
    check(new().frame(kind::HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b"), Err("an answer without a status"));
    check(
        new().frame(kind::HEADERS, END_HEADERS, 1, b"\x08\x03101"),
        Err("a switch of protocols, which HTTP/2 has not"),
    );
    check(
        new().frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, b"\x08\x03100"),
        Err("an interim answer that ends the stream"),
    );
    check(new().head(1, 0).head(1, 0), Err("a second head in one answer"));
    check(
        new().head(1, 0).frame(kind::HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b"),
        Err("trailers that are not the end"),
    );
    check(
        new().frame(kind::HEADERS, END_HEADERS, 1, &[0xbe]),
        Err("a header that refers to an entry no table has"),
    );
    let lengths = |length: &[u8], body: &[u8]| {
        let block = [b"\x88\x5c\x01", length].concat();
        new().frame(kind::HEADERS, END_HEADERS, 1, &block).data(1, END_STREAM, body)
    };
    check(lengths(b"5", b"hell"), Err("a body shorter than its announced length"));
    check(lengths(b"5", b"hello!"), Err("a body longer than its announced length"));
    check(
        new().frame(kind::HEADERS, 0, 1, &[0x88]).frame(kind::PING, 0, 0, &[0; 8]),
        Err("a header block with another frame inside"),
    );
    check(
        new().frame(kind::HEADERS, 0, 1, &[0x88]).frame(kind::CONTINUATION, 0, 3, &[]),
        Err("a header block with another frame inside"),
    );
    check(new().frame(kind::CONTINUATION, 0, 1, &[]), Err("a CONTINUATION without a header block"));
    check(new().frame(kind::PUSH_PROMISE, 0, 1, &[0; 8]), Err("a push that we said we don't take"));
    check(new().frame(kind::RST_STREAM, 0, 1, &[0; 3]), Err("a frame whose payload should be one number"));
    check(new().frame(kind::PING, 0, 0, &[0; 7]), Err("a PING that is none"));
    check(new().frame(kind::PING, 0, 1, &[0; 8]), Err("a PING that is none"));
    check(new().frame(kind::GOAWAY, 0, 0, &[0; 7]), Err("a GOAWAY that is none"));
    check(new().frame(kind::SETTINGS, 0, 0, &[0; 5]), Err("SETTINGS that are none"));
    check(new().frame(kind::SETTINGS, 0, 1, &[]), Err("SETTINGS that are none"));
    check(
        new().frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]),
        Err("an acknowledgement of SETTINGS that are none"),
    );
    check(new().settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)]), Err("an initial window beyond 2^31"));
    check(new().frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), Err("a window that grows by nothing"));
    check(new().frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), Err("a window beyond 2^31"));
    check(new().frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]), Err("a window beyond 2^31"));
}

#[test]
fn nothing_endless_is_followed() {
    let mut block = Script::new().frame(kind::HEADERS, 0, 1, &[0x88]);
    for _ in 0..10_000 {
        block = block.frame(kind::CONTINUATION, 0, 1, b"");
    }
    check(block, Err("the head is longer than 64 KiB"));
    let mut interim = Script::new();
    for _ in 0..5_000 {
        interim = interim.frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x08\x03103");
    }
    check(interim, Err("more than 64 KiB of interim answers"));
    let mut pings = Script::new();
    for _ in 0..5_000 {
        pings = pings.frame(kind::PING, 0, 0, &[0; 8]);
    }
    check(pings, Err("a flood of questions whose answers are not read"));
    // More than the stream's window, which a client whose requests go nowhere can't have opened again.
    let mut data = Script::new().head(1, 0);
    for _ in 0..40 {
        data = data.data(1, 0, &[0; 16_000]);
    }
    check(data, Ok(&[]));
}

#[test]
fn windows_are_opened_again_as_bodies_are_read() {
    let mut h2 = two();
    feed(&mut h2, &Script::new().head(1, 0).0).unwrap();
    output(&mut h2);
    let mut opened = (0u64, 0u64);
    let body = Script::default().data(1, 0, &[0; 16_384]).0;
    for _ in 0..2_048 {
        feed(&mut h2, &body).expect("a server that keeps to the windows is never refused");
        for (kind, _, stream, payload) in output(&mut h2) {
            assert_eq!(kind, kind::WINDOW_UPDATE);
            let more = u64::from(number(&payload).unwrap());
            *if stream == 0 { &mut opened.0 } else { &mut opened.1 } += more;
        }
    }
    let read = 2_048 * 16_384u64;
    assert!(read - opened.0 <= u64::from(CONNECTION_WINDOW) && opened.0 > 0, "{opened:?}");
    assert!(read - opened.1 <= u64::from(STREAM_WINDOW), "{opened:?}");
}

#[test]
fn bodies_wait_for_windows() {
    let body = "b".repeat(100_000);
    let mut h2 = H2::new();
    feed(&mut h2, &Script::new().settings(&[(setting::INITIAL_WINDOW_SIZE, 10)]).0).unwrap();
    output(&mut h2);
    h2.open(1, Laid::Made(&laid(&body)), false, None);
    h2.open(2, Laid::Fixed(&laid("12345678901234").into()), false, None);
    let sent = |h2: &mut H2, stream: u32| -> (usize, bool) {
        let frames = output(h2);
        let data = frames.iter().filter(|(kind, _, id, _)| *kind == kind::DATA && *id == stream);
        data.fold((0, false), |(bytes, _), (_, flags, _, payload)| {
            (bytes + payload.len(), flags & flag::END_STREAM != 0)
        })
    };
    let frames = output(&mut h2);
    let lengths: Vec<_> =
        frames.iter().map(|(kind, flags, id, payload)| (*kind, *flags, *id, payload.len())).collect();
    assert_eq!(lengths[1], (kind::DATA, 0, 1, 10));
    assert_eq!(lengths[3], (kind::DATA, 0, 3, 10));
    let more =
        |stream: u32, by: u32| Script::default().frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes()).0;
    feed(&mut h2, &more(3, 100)).unwrap();
    assert_eq!(sent(&mut h2, 3), (4, true));
    feed(&mut h2, &more(1, 1 << 20)).unwrap();
    // All of the connection's window but what was sent already.
    assert_eq!(sent(&mut h2, 1), (65_535 - 24, false));
    feed(&mut h2, &more(0, 1 << 20)).unwrap();
    assert_eq!(sent(&mut h2, 1), (100_000 - 10 - (65_535 - 24), true));
    // A window made negative is waited for.
    h2.open(3, Laid::Made(&laid("abcdefghij")), false, None);
    assert_eq!(sent(&mut h2, 5), (10, true));
    h2.open(4, Laid::Made(&laid("abcdefghijk")), false, None);
    assert_eq!(sent(&mut h2, 7), (10, false));
    feed(&mut h2, &Script::default().settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]).0).unwrap();
    feed(&mut h2, &more(7, 10)).unwrap();
    assert_eq!(sent(&mut h2, 7), (0, false));
    feed(&mut h2, &more(7, 1)).unwrap();
    assert_eq!(sent(&mut h2, 7), (1, true));
}

#[test]
fn what_is_asked_is_answered() {
    let mut h2 = two();
    feed(&mut h2, &Script::new().frame(kind::PING, 0, 0, b"12345678").0).unwrap();
    assert_eq!(
        output(&mut h2),
        [(kind::SETTINGS, flag::ACK, 0, vec![]), (kind::PING, flag::ACK, 0, b"12345678".to_vec())]
    );
}

#[test]
fn room_is_what_both_sides_allow() {
    let mut h2 = two();
    assert_eq!((h2.room(1_000), h2.room(3), h2.room(2)), (98, 1, 0));
    feed(&mut h2, &Script::new().settings(&[(setting::MAX_CONCURRENT_STREAMS, 3)]).0).unwrap();
    assert_eq!(h2.room(1_000), 1);
    feed(&mut h2, &Script::default().settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)]).0).unwrap();
    assert_eq!(h2.room(1_000), 0);
    h2.cancel(10);
    assert_eq!(output(&mut h2).last(), Some(&(kind::RST_STREAM, 0, 1, CANCEL.to_be_bytes().to_vec())));
    h2.cancel(10);
    assert_eq!((h2.under_way(), output(&mut h2)), (1, vec![]));
}

proptest! {
    /// However the bytes are cut, the same comes of them; and nothing panics, whatever they are.
    #[test]
    fn pieces_do_not_matter(
        frames in prop::collection::vec((0u8..11, any::<u8>(), 0u32..6, prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        cuts in prop::collection::vec(1usize..30, 1..20),
    ) {
        let mut script = Script::new();
        for (kind, flags, stream, mut payload) in frames {
            if kind == kind::HEADERS && flags & 0x40 != 0 {
                payload = vec![0x88];
            }
            script = script.frame(kind, flags, stream, &payload);
        }
        let (mut whole, mut events) = (two(), Vec::new());
        let result = whole.feed(&script.0, &mut events);
        let (mut cut, mut cut_events) = (two(), Vec::new());
        let mut rest = &script.0[..];
        let mut cut_result = Ok(());
        for size in cuts.iter().cycle() {
            if rest.is_empty() || cut_result.is_err() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*size));
            rest = after;
            cut_result = cut.feed(piece, &mut cut_events);
        }
        prop_assert_eq!(result, cut_result);
        prop_assert_eq!(events, cut_events);
        if result.is_ok() {
            prop_assert_eq!(whole.output(), cut.output());
        }
    }
}
