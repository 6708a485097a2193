//! `http://HOST[:PORT]/PATH`, in the parts that a request needs.
//!
//! Pure, so that validation can use it: [`Url::read`] says what is wrong with a URL before anything runs.

/// A plain HTTP URL in the parts that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `HOST` or `HOST:PORT` as written: the Host header.
    pub authority: String,
    /// The host alone, without an IPv6 address's brackets.
    pub host: String,
    /// The port; 80 where none is written.
    pub port: u16,
    /// Path and query, beginning with `/`; may hold templates. What follows `#` is not sent.
    pub path: String,
}

impl Url {
    /// Reads `http://HOST[:PORT][/PATH]`; the error says what to write instead.
    pub fn read(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(format!("`{text}` is not a plain HTTP URL; write `http://HOST[:PORT]/PATH`"));
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(format!("`{text}` holds a user name; send an `authorization` header instead"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let port = port.parse().map_err(|_| format!("`{port}` in `{text}` is not a port"))?;
                (host, port)
            }
            _ => (authority, 80),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '{') {
            return Err(format!("`{text}` names no host; write `http://HOST[:PORT]/PATH`"));
        }
        // Spaces may stand inside a template only; a raw one would break the request line.
        let outside = path.split("{{").enumerate().map(|(index, part)| match part.split_once("}}") {
            Some((_, after)) if index > 0 => after,
            _ => part,
        });
        if outside.into_iter().any(|part| part.contains(|c: char| !c.is_ascii_graphic())) {
            return Err(format!(
                "the path of `{text}` holds a space or a non-ASCII letter; percent-encode it"
            ));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { authority: authority.into(), host: host.into(), port, path: format!("{slash}{path}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, authority, host, port, path) in [
            ("http://gateway.lab", "gateway.lab", "gateway.lab", 80, "/"),
            ("http://a:81?q=1", "a:81", "a", 81, "/?q=1"),
            ("http://[::1]:8080/x/{{ int(1, 5) }}?y#z", "[::1]:8080", "::1", 8080, "/x/{{ int(1, 5) }}?y"),
            ("http://[::1]/", "[::1]", "::1", 80, "/"),
        ] {
            let expected = Url { authority: authority.into(), host: host.into(), port, path: path.into() };
            assert_eq!(Url::read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_urls_are_refused() {
        for (text, why) in [
            ("https://a/", "not a plain HTTP URL"),
            ("a/b", "not a plain HTTP URL"),
            ("http:///x", "names no host"),
            ("http://{{ uuid }}/", "names no host"),
            ("http://me:pw@a/", "holds a user name"),
            ("http://a:http/", "not a port"),
            ("http://a/b c", "holds a space"),
            ("http://a/b\r\nx: y", "holds a space"),
        ] {
            let error = Url::read(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
