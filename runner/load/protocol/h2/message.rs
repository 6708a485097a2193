//! A request as HTTP/2 sends it: its header block and body, from the text that HTTP/1.1 would send.
//!
//! One text for both protocols keeps templates, cookies and all else that makes requests out of here.
//! The layout is four bytes with the block's length, the block, the body. Start at [`lay_out`].

use super::hpack;

/// Room for the length of a block.
const LENGTH_BYTES: usize = 4;

/// The scheme that a request is of.
pub const fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// Lays out, in `out`, what `text` says: a whole HTTP/1.1 request of our own making. `scheme` is `http` or
/// `https`.
///
/// # Panics
///
/// If `text` is no request: our own bug.
pub fn lay_out(text: &[u8], scheme: &str, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let (head, body) = split(text);
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut first = lines.next().unwrap_or_default().splitn(3, |byte| *byte == b' ');
    let (Some(method), Some(path)) = (first.next(), first.next()) else {
        panic!("a request of our own begins with a request line");
    };
    // Those that begin with `:` come first (RFC 9113, 8.3).
    hpack::put(":method", method, out);
    hpack::put(":scheme", scheme.as_bytes(), out);
    hpack::put(":path", path, out);
    let fields = || {
        lines.clone().filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            Some((name, line[colon + 1..].trim_ascii()))
        })
    };
    for (_, host) in fields().filter(|(name, _)| *name == "host") {
        hpack::put(":authority", host, out);
    }
    for (name, value) in fields() {
        // What speaks of the connection is the protocol's own here (RFC 9113, 8.2.2).
        if !matches!(name, "host" | "connection" | "keep-alive" | "transfer-encoding" | "upgrade") {
            hpack::put(name, value, out);
        }
    }
    let length = (out.len() - LENGTH_BYTES) as u32;
    out[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    out.extend_from_slice(body);
}

/// Head and body, the empty line left out.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.windows(4).position(|four| four == b"\r\n\r\n").expect("a request's head has an end");
    (&text[..end], &text[end + 4..])
}

/// The header block of what [`lay_out`] laid out, and where the body begins.
pub(super) fn block(laid: &[u8]) -> (&[u8], usize) {
    let length = laid.first_chunk::<LENGTH_BYTES>().expect("a request is laid out");
    let body_at = LENGTH_BYTES + u32::from_le_bytes(*length) as usize;
    (&laid[LENGTH_BYTES..body_at], body_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, fields: &[(&str, &str)], body: &str) {
        let mut laid = vec![7];
        lay_out(text.as_bytes(), "http", &mut laid);
        let (block, body_at) = block(&laid);
        let read: Vec<(String, String)> = hpack::fields(block)
            .map(|field| {
                let (name, value) = field.unwrap();
                let text =
                    |text: hpack::Text<'_>| String::from_utf8(text.read().unwrap().into_owned()).unwrap();
                (text(name), text(value))
            })
            .collect();
        let fields: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(read, fields, "{text}");
        assert_eq!(&laid[body_at..], body.as_bytes(), "{text}");
    }

    #[test]
    fn a_request_says_the_same_in_both_protocols() {
        check(
            "GET /a?b=c HTTP/1.1\r\nhost: a:81\r\naccept: */*\r\nconnection: close\r\nx-y: a: b\r\n\r\n",
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/a?b=c"),
                (":authority", "a:81"),
                ("accept", "*/*"),
                ("x-y", "a: b"),
            ],
            "",
        );
        check(
            "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length:         13\r\n\r\nbody\r\n\r\nmore",
            &[
                (":method", "PUT"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "a"),
                ("content-length", "13"),
            ],
            "body\r\n\r\nmore",
        );
    }
}
