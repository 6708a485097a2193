//! Answers as servers send them, whole, in pieces and broken.

use super::*;
use proptest::prelude::*;

/// Reads one answer given in pieces, the stream ending after them.
fn read<'b>(
    head_only: bool,
    pieces: impl IntoIterator<Item = &'b [u8]>,
    last: &mut LastHead,
) -> Result<Option<Answer>, Malformed> {
    let mut reader = Http1::default();
    reader.begin(head_only);
    for piece in pieces {
        if let Progress::Complete(answer) = reader.feed(piece, last)? {
            return Ok(Some(answer));
        }
    }
    Ok(reader.end())
}

/// The status, how many bytes from the end are surplus, and whether the connection can go on; nothing:
/// not an answer yet.
type Expected = Result<Option<(u16, usize, bool)>, &'static str>;

fn check(text: &str, expected: Expected) {
    let mut last = LastHead::default();
    let whole = read(false, [text.as_bytes()], &mut last);
    let again = read(false, [text.as_bytes()], &mut last);
    assert_eq!(whole, again, "a head read before means the same");
    let expected = match expected {
        Ok(found) => Ok(found.map(|(status, surplus, reusable)| Answer {
            status,
            bytes: (text.len() - surplus) as u64,
            reusable,
        })),
        Err(why) => Err(Malformed(why)),
    };
    let shown: String = text.chars().take(200).collect();
    assert_eq!(whole, expected, "{shown:?}");
    // Byte by byte a surplus is not seen, nor held against the connection yet.
    let dripped = read(false, text.as_bytes().chunks(1), &mut last);
    let dripped = dripped.map(|found| found.map(|answer| (answer.status, answer.bytes)));
    let expected = expected.map(|found| found.map(|answer| (answer.status, answer.bytes)));
    assert_eq!(dripped, expected, "{shown:?}");
}

#[test]
fn answers_end_where_rfc_9112_says() {
    for (text, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Ok(Some((200, 0, true)))),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok!", Ok(Some((200, 1, false)))),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", Ok(Some((200, 0, true)))),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", Ok(None)),
        ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", Ok(Some((200, 0, true)))),
        ("\r\nHTTP/1.1 404 \r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n", Ok(Some((404, 0, false)))),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", Ok(Some((200, 0, false)))),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n", Ok(Some((200, 0, true)))),
        ("HTTP/1.1 204 No\r\ncontent-length: 9\r\n\r\n", Ok(Some((204, 0, true)))),
        ("HTTP/1.1 304 No\r\ntransfer-encoding: chunked\r\n\r\n", Ok(Some((304, 0, true)))),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", Ok(Some((200, 0, false)))),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nto the end", Ok(Some((200, 0, false)))),
        (
            "HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 1\r\n\r\n!",
            Ok(Some((500, 0, true))),
        ),
        ("HTTP/1.1 100 Go on\r\n\r\n", Ok(None)),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Ok(Some((200, 0, true)))),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=\"y\"\r\na\r\n0A \r\n0123456789\r\n0\r\nt: u\r\n\r\n",
            Ok(Some((200, 0, true))),
        ),
        // Two framings: the chunks count, the connection does not go on.
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            Ok(Some((200, 0, false))),
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", Ok(None)),
        ("HTTP/1.1 200 OK\r\ncontent-le", Ok(None)),
        ("", Ok(None)),
    ] {
        check(text, expected);
    }
}

#[test]
fn what_is_asked_for_is_kept_however_it_comes() {
    let head = "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n";
    for (framed, body) in [
        ("content-length: 5\r\n\r\nhello", "hello"),
        ("content-length: 0\r\n\r\n", ""),
        ("\r\nhello to the end", "hello to the end"),
        ("transfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n3\r\n yo\r\n0\r\nt: u\r\n\r\n", "hello yo"),
    ] {
        let text = format!("HTTP/1.1 103 Hints\r\nx: y\r\n\r\n{head}{framed}");
        // The last two are of one head that is known by then.
        let mut last = LastHead::default();
        for size in [1, 3, text.len(), text.len()] {
            let mut reader = Http1::default();
            reader.begin(false);
            reader.keep(Keep::Body);
            let mut complete = false;
            for piece in text.as_bytes().chunks(size) {
                complete = matches!(reader.feed(piece, &mut last), Ok(Progress::Complete(_)));
            }
            assert!(complete || reader.end().is_some(), "{text}");
            let kept = reader.take_kept().expect("it was asked for");
            assert_eq!(kept.body().as_deref(), Ok(body.as_bytes()), "{text} in pieces of {size}");
            assert!(kept.values("set-cookie").eq([b"a=b"]) && kept.values("x").next().is_none());
            reader.begin(false);
            assert_eq!(reader.take_kept(), None, "the next answer is not asked for");
        }
    }
}

#[test]
fn what_is_no_answer_is_malformed() {
    let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    let length = |value: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {value}\r\n\r\n");
    for (text, why) in [
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "no HTTP/1 version where the answer should begin"),
        ("HTTP/2 200 OK\r\n\r\n".to_owned(), "no HTTP/1 version where the answer should begin"),
        ("HTTP/1.1 2x0 OK\r\n\r\n".to_owned(), "a reason phrase or status code that is none"),
        ("HTTP/1.1 101 Switching\r\n\r\n".to_owned(), "a switch of protocols that nobody asked for"),
        ("HTTP/1.1 200 OK\r\na b: c\r\n\r\n".to_owned(), "a header name that is none"),
        (format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(300)), "more than 256 header fields"),
        (length("5, 6"), "two different content lengths"),
        (length("-5"), "a content length that is no number"),
        (length("+5"), "a content length that is no number"),
        (length(""), "a content length that is no number"),
        (length("99999999999999999999"), "a content length that is no number"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n".to_owned(),
            "a transfer coding after `chunked`",
        ),
        (chunked("x\r\n"), "a chunk size that is no number"),
        (chunked("\r\n"), "a chunk size that is no number"),
        (chunked("5\nhello"), "a chunk size that is no number"),
        (chunked("5\r\nhello!"), "a chunk that does not end in CR LF"),
        (chunked("fffffffffffffffff\r\n"), "a chunk size that is too large"),
        (chunked(&format!("1;{}", "x".repeat(5_000))), "a chunk extension over 4 KiB"),
        (chunked(&format!("0\r\n{}", "t: u\r\n".repeat(11_000))), "more than 64 KiB of trailers"),
        ("HTTP/1.1 100 Go on\r\n\r\n".repeat(3_000), "more than 64 KiB of interim answers"),
    ] {
        check(&text, Err(why));
    }
    // Heads without end: in lines, or in one.
    for line in ["a: b\r\n".to_owned(), "x".repeat(999)] {
        let endless = std::iter::once("HTTP/1.1 200 OK\r\n".as_bytes())
            .chain(std::iter::repeat_n(line.as_bytes(), 20_000));
        assert_eq!(
            read(false, endless, &mut LastHead::default()),
            Err(Malformed("the head is longer than 64 KiB"))
        );
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    for text in ["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
        let answer = read(true, [text.as_bytes()], &mut LastHead::default());
        let expected = Answer { status: 200, bytes: text.len() as u64, reusable: true };
        assert_eq!(answer, Ok(Some(expected)), "{text:?}");
    }
}

#[test]
fn bytes_between_answers_are_malformed() {
    assert!(Http1::default().feed(b"HTTP/1.1 200 OK\r\n\r\n", &mut LastHead::default()).is_err());
}

#[derive(Clone, Debug)]
enum Body {
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
    UntilClose(Vec<u8>),
}

prop_compose! {
    /// A valid answer, and what a slow and obvious reader makes of it: its status and whether the
    /// connection can go on. Its length is the text's.
    fn valid()(
        interim in 0usize..3,
        status in prop_oneof![Just(200u16), 201..=203u16, 400..=599u16],
        fields in prop::collection::vec(("x-[a-z]{1,12}", "[ -~]{0,40}"), 0..20),
        close: bool,
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Body::Length),
            prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 0..6).prop_map(Body::Chunked),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(Body::UntilClose),
        ],
    ) -> (Vec<u8>, u16, bool) {
        let mut text = "HTTP/1.1 103 Early\r\nlink: <x>\r\n\r\n".repeat(interim);
        text.push_str(&format!("HTTP/1.1 {status} Reason\r\n"));
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if close {
            text.push_str("Connection: close\r\n");
        }
        let mut bytes = text.into_bytes();
        let until_close = matches!(body, Body::UntilClose(_));
        match body {
            Body::Length(body) => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
                bytes.extend(body);
            }
            Body::Chunked(chunks) => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in chunks {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
            }
            Body::UntilClose(body) => {
                bytes.extend(b"\r\n");
                bytes.extend(body);
            }
        }
        (bytes, status, !close && !until_close)
    }
}

proptest! {
    #[test]
    fn answers_read_the_same_however_they_arrive(
        (bytes, status, reusable) in valid(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|two| &bytes[two[0]..two[1]]).filter(|piece| !piece.is_empty());
        let expected = Answer { status, bytes: bytes.len() as u64, reusable };
        prop_assert_eq!(read(false, pieces, &mut LastHead::default()), Ok(Some(expected)));
        // One byte short, it is not there yet; or it was already, where closing is what ends it.
        let short = read(false, [&bytes[..bytes.len() - 1]], &mut LastHead::default());
        prop_assert!(short.is_err() || !matches!(short, Ok(Some(answer)) if answer.reusable));
    }

    /// Whatever comes: no panic, no memory beyond the limit, and the same end however it is cut.
    #[test]
    fn garbage_ends_somewhere(
        start in prop::sample::select(vec!["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
        rest in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\r\n:;0123456789abcf ".to_vec())], 0..400),
    ) {
        let bytes = [start.as_bytes(), &rest].concat();
        let whole = read(false, [bytes.as_slice()], &mut LastHead::default());
        let dripped = read(false, bytes.chunks(1), &mut LastHead::default());
        match (whole, dripped) {
            (Ok(Some(whole)), Ok(Some(dripped))) => prop_assert_eq!(whole.status, dripped.status),
            // A mistake in a head that arrives in pieces is found at its end, which may never come.
            (whole, dripped) => prop_assert!(!matches!((whole, dripped), (Ok(Some(_)), _) | (_, Ok(Some(_))))),
        }
    }
}
