//! Which way requests go on, against what browsers do.

use proptest::prelude::*;

use super::*;
use crate::load::kept::Keep;
use crate::load::template::Scope;
use crate::load::visit::Visit;

/// A load that goes to three origins: 0 posts and 1 heads `a.test`, 2 is on another port, 3 on the same
/// over TLS, 4 deletes on `a.test`.
const LOAD: &str = "{ rate: 1/s, redirects: 2, auth: { bearer: me }, requests: [\
    { post: 'http://a.test/shop/cart?x=1', headers: { cookie: c=1 }, json: { n: '{{ counter }}' } },\
    { head: 'http://A.test:80/' }, { get: 'http://a.test:81/' }, { get: 'https://a.test/' },\
    { delete: 'http://a.test/item', headers: { host: front.test } } ] }";

fn redirects(load: &str, step: Option<usize>) -> Redirects {
    let load: Load = crate::spec::fragment(load).unwrap_or_else(|problems| panic!("{problems}"));
    let mut redirects = Redirects::of(&load).expect("it follows them");
    for (place, request) in (0..).zip(load.sent()) {
        let (method, url) = request.method_and_url().expect("it has a method");
        let url: Url = url.value.parse().expect("it is a URL");
        let mut scope = Scope { feeds: Vec::new(), extracted: Vec::new() };
        let wire = Wire::new(&load, request, (method, &url), step, &mut scope).expect("it compiles");
        redirects.add(method, &url, place, wire);
    }
    redirects
}

fn answered(status: u16, headers: &[(&str, &[u8])]) -> (Answer, Kept) {
    let mut kept = Kept::new(Keep::Head);
    headers.iter().for_each(|(name, value)| kept.header(name, value));
    (Answer { status, bytes: 100, reusable: true }, kept)
}

fn next(
    redirects: &Redirects,
    request: u32,
    trail: Option<Trail>,
    (status, location): (u16, Option<&[u8]>),
    visit: Option<&mut Visit>,
) -> Result<(Trail, u32), String> {
    let mut headers: Vec<(&str, &[u8])> = location.into_iter().map(|to| ("location", to)).collect();
    headers.push(("set-cookie", b"hop=1; Path=/"));
    let (answer, kept) = answered(status, &headers);
    let occasion = Occasion { number: 7, unix_ms: 0, visit };
    redirects.next(request, trail, (answer, Some(&kept), 0), 5, occasion)
}

fn text(redirects: &Redirects, request: u32, trail: &Trail, visit: Option<&mut Visit>) -> String {
    let text = redirects.text(request, trail, 5, Occasion { number: 7, unix_ms: 0, visit });
    let text = String::from_utf8(text).expect("it is text").replace('\r', "");
    text.replace(concat!("chaos/", env!("CARGO_PKG_VERSION")), "chaos")
}

/// What is sent in the end to request `request`, answered by these one after the other, and how often it
/// was redirected to which place; or why it is not.
fn led(request: u32, answers: &[(u16, &str)]) -> String {
    let redirects = redirects(LOAD, None);
    let mut end = None;
    for (status, location) in answers {
        let trail = end.map(|(trail, _)| trail);
        match next(&redirects, request, trail, (*status, Some(location.as_bytes())), None) {
            Ok(there) => end = Some(there),
            Err(why) => return why,
        }
    }
    let (trail, place) = end.expect("it was redirected");
    assert_eq!((trail.hops as usize, trail.bytes), (answers.len(), 100 * answers.len() as u64));
    format!("place {place}\n{}", text(&redirects, request, &trail, None))
}

#[test]
fn requests_go_on_as_browsers_would_have_them() {
    let ways: &[(u32, &[(u16, &str)])] = &[
        (0, &[(301, "/new")]),
        (0, &[(302, "http://a.test/new?y#top")]),
        (0, &[(303, "../new")]),
        (0, &[(307, "item?z")]),
        (0, &[(308, "http://a.test:80/new")]),
        (0, &[(303, "/once"), (307, "twice")]),
        (0, &[(307, "http://a.test:81/there")]),
        (0, &[(307, "https://a.test/there"), (307, "http://a.test/and/back")]),
        (1, &[(303, "/new")]),
        (1, &[(302, "//A.TEST:81/x y")]),
        (4, &[(302, "/new")]),
        (4, &[(303, "/new")]),
        (4, &[(307, "http://a.test:81/")]),
    ];
    let told = ways.iter().map(|(request, answers)| format!("{answers:?}\n{}", led(*request, answers)));
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n------\n"));
}

#[test]
fn says_why_a_redirect_is_not_followed() {
    let ways: &[&[(u16, &str)]] = &[
        &[(302, "http://b.test/")],
        &[(302, "https://a.test:81/x")],
        &[(302, "http://me:secret@b.test/")],
        &[(302, "ftp://a.test/")],
        &[(302, "mailto:a@a.test")],
        &[(302, "http://")],
        &[(302, "http://a.test:99999/")],
        &[(302, "/1"), (307, "/2"), (302, "/3")],
    ];
    let mut told: Vec<_> = ways.iter().map(|answers| led(0, answers)).collect();
    let redirects = redirects(LOAD, None);
    let why = |location| next(&redirects, 0, None, (302, location), None).expect_err("it leads nowhere");
    told.push(why(None));
    told.push(why(Some(b"/\xff")));
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_flow_keeps_cookies_of_the_way() {
    let load = "{ rate: 1/s, redirects: 2, requests: [ { get: 'http://a.test/login' }, { get: 'http://b.test/' } ] }";
    let redirects = redirects(load, Some(0));
    let mut visit = Visit { path: "/login".into(), ..Visit::default() };
    let there = next(&redirects, 0, None, (302, Some(b"/in/side")), Some(&mut visit));
    let (trail, _) = there.expect("it goes on");
    let sent = text(&redirects, 0, &trail, Some(&mut visit));
    assert!(sent.ends_with("user-agent: chaos\ncookie: hop=1\n\n"), "{sent}");
    assert_eq!(visit.path, "/in/side");
    assert_eq!(text(&redirects, 0, &trail, Some(&mut visit)), sent, "asked again, it is the same");
    // What one host sets is not told another.
    let there = next(&redirects, 0, Some(trail), (302, Some(b"http://b.test/")), None);
    let (trail, place) = there.expect("it goes on");
    let sent = text(&redirects, 0, &trail, Some(&mut visit));
    assert!(place == 1 && sent.contains("host: b.test\n") && !sent.contains("cookie"), "{sent}");
}

proptest! {
    /// Whatever a server says, what is sent is one request of the same headers.
    #[test]
    fn locations_can_not_break_out_of_the_request_line(location in prop::collection::vec(any::<u8>(), 0..40)) {
        let redirects = redirects(LOAD, None);
        for location in [location.clone(), [b"/".as_slice(), &location].concat()] {
            if let Ok((trail, _)) = next(&redirects, 2, None, (302, Some(&location)), None) {
                let sent = text(&redirects, 2, &trail, None);
                let line = sent.lines().next().unwrap_or_default();
                prop_assert_eq!(line.split(' ').count(), 3, "{}", line);
                prop_assert!(line.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{}", line);
                prop_assert_eq!(sent.lines().count(), 6, "{}", sent);
            }
        }
    }
}
