//! The page as text: whole, inert, small, and the same every time.

use chaos::report::Ink;

use super::sample::Sample;
use super::showcase::showcase;
use super::{concluded, render, wild};

/// An hour must fit a mail.
pub const HOUR_MAX_BYTES: usize = 2 << 20;

/// Elements that have no end.
const VOID: [&str; 3] = ["meta", "link", "line"];

fn page(sample: &Sample) -> String {
    render(&concluded(sample), "html", Ink::Plain)
}

/// Reads `html` tag by tag and gives every element opened, as written between `<` and `>`. Panics where a
/// tag is not closed in order, or an attribute is not quoted.
pub fn elements(html: &str) -> Vec<String> {
    let mut opened = Vec::new();
    let mut stack: Vec<String> = Vec::new();
    let mut rest = html.strip_prefix("<!doctype html>").expect("a document type");
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = tag_end(rest);
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(stack.pop().as_deref(), Some(name), "closed out of order, before {:.60}", rest);
            continue;
        }
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(!name.is_empty(), "a bare `<` before {tag:.60}");
        opened.push(tag.to_owned());
        if matches!(name.as_str(), "style" | "script") {
            rest = &rest[rest.find("</").expect("style and script end")..];
        }
        if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            stack.push(name);
        }
    }
    assert_eq!(stack, Vec::<String>::new(), "left open");
    opened
}

/// Where a tag ends: at the first `>` outside of quotes.
fn tag_end(text: &str) -> usize {
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '>' if !quoted => return at,
            '<' => panic!("`<` inside a tag: {text:.60}"),
            _ => {}
        }
    }
    panic!("a tag without an end: {text:.60}")
}

#[test]
fn pages_are_well_formed() {
    for (name, sample) in [
        ("held", Sample::default()),
        ("failed", Sample { held: false, ..Sample::default() }),
        ("wild", wild()),
        ("nothing happened", Sample { phases_s: [0, 0, 0], ..Sample::default() }),
    ] {
        let opened = elements(&page(&sample));
        let count =
            |element: &str| opened.iter().filter(|tag| tag.split(' ').next() == Some(element)).count();
        assert_eq!((count("h1"), count("script"), count("style")), (1, 1, 1), "{name}");
        assert_eq!(count("img") + count("iframe") + count("object"), 0, "{name}");
    }
}

#[test]
fn every_plot_has_words_and_a_table() {
    let opened = elements(&page(&Sample::default()));
    let of = |start: &str| opened.iter().filter(|tag| tag.starts_with(start)).collect::<Vec<_>>();
    // Latency twice, throughput, errors, send lag; and percentiles.
    let charts = of("div class=\"chart\" tabindex");
    assert_eq!((charts.len(), of("div class=\"chart alone\"").len()), (5, 1));
    for chart in charts {
        assert!(chart.contains("aria-label=\"") && chart.contains("data-first=\""), "{chart}");
    }
    assert!(
        opened.contains(&"table id=\"values\"".into())
            && opened.contains(&"table id=\"percentile-values\"".into())
    );
    let spoken = of("svg class=\"stretched\" role=\"img\"");
    assert_eq!(spoken.len(), 6);
    let says = |tag: &&&String| tag.contains("slow-api") || tag.contains("timeout") || tag.contains("reset");
    assert_eq!(spoken.iter().filter(says).count(), 6, "{spoken:?}");
    let lanes = of("svg class=\"lane\"");
    assert!(
        lanes.iter().all(|lane| lane.contains("role=\"img\"") && lane.contains("aria-label=\"")),
        "{lanes:?}"
    );
}

#[test]
fn a_lane_says_when_it_was_asked_got_and_healed() {
    let page = render(&showcase(), "html", Ink::Plain);
    for words in [
        "latency api-1: asked at 20.000 s, in effect 4.20 ms later, at 20.004 s; told to end at 60.000 s, gone 2.90 ms later, at 60.003 s, verified",
        "probe http GET http://127.0.0.1:8080/health, from 24.000 s: failed, 8 times in a row, within 3.20 ms; 503 instead of 200",
        "docker, at 31.200 s: api-2 die",
        "guard fired at 27.500 s: rate(good) &lt; 90% over 3s (was 88.2%)",
        "alert of availability: burn rate 14.4 over 1h and 5m fired at 25.000 s (was 24.9), until 52.000 s",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains("Who reaches whom"), "and who reached whom");
}

#[test]
fn names_on_the_page_do_nothing() {
    let page = page(&wild());
    let opened = elements(&page);
    // What the browser would load or run, if a name had become markup.
    let acts = |tag: &&String| {
        [" src=", " href=", " on", " srcset=", " action="].iter().any(|attribute| {
            let unquoted: String = tag.split('"').step_by(2).collect();
            unquoted.contains(attribute)
        })
    };
    let within = |tag: &&String| tag.starts_with("a ") && tag.contains("href=\"#");
    let acting: Vec<_> = opened.iter().filter(acts).filter(|tag| !within(tag)).collect();
    assert_eq!(acting, ["link rel=\"icon\" href=\"data:,\""]);
    assert!(!opened.iter().any(|tag| tag.contains(" style=")), "the policy forbids them");
    assert!(page.contains("&lt;script&gt;alert(1)"), "the name is shown");
    let harmful =
        |character: &char| (character.is_control() && *character != '\n') || *character == '\u{202e}';
    assert_eq!(page.chars().find(harmful), None);
    assert!(page.len() < 400_000, "{} bytes", page.len());
}

#[test]
fn a_page_is_the_same_every_time() {
    let sample = Sample { phases_s: [4, 6, 3], rate: 300, ..Sample::default() };
    assert_eq!(page(&sample), page(&sample));
}

#[test]
fn a_run_without_load_says_so() {
    let silent = Sample { loads: Vec::new(), ..Sample::default() };
    let page = page(&silent);
    elements(&page);
    assert!(page.contains("No data: no request ended."));
    assert!(!page.contains("NaN") && !page.contains("inf"), "no figure out of nothing");
}
