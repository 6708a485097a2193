//! The page as text: whole, inert, small, and the same every time.

use chaos::report::Ink;

use super::sample::Sample;
use super::{concluded, render, wild};

/// An hour must fit a mail.
const HOUR_MAX_BYTES: usize = 2 << 20;

/// Elements that have no end.
const VOID: [&str; 3] = ["meta", "link", "line"];

fn page(sample: &Sample) -> String {
    render(&concluded(sample), "html", Ink::Plain)
}

/// Reads `html` tag by tag and gives every element opened, as written between `<` and `>`. Panics where a
/// tag is not closed in order, or an attribute is not quoted.
fn elements(html: &str) -> Vec<String> {
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
    let charts: Vec<_> = opened.iter().filter(|tag| tag.starts_with("div class=\"chart\"")).collect();
    assert_eq!(charts.len(), 3);
    for chart in charts {
        let table =
            chart.split("data-table=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a table");
        assert!(opened.contains(&format!("table id=\"{table}\"")), "{table}");
        assert!(chart.contains("tabindex=\"0\"") && chart.contains("aria-label=\""), "{chart}");
    }
    let spoken: Vec<_> = opened.iter().filter(|tag| tag.contains("role=\"img\"")).collect();
    assert_eq!(spoken.len(), 3);
    assert!(spoken.iter().all(|tag| tag.contains("slow-api")), "{spoken:?}");
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
    assert_eq!(opened.iter().filter(acts).collect::<Vec<_>>(), ["link rel=\"icon\" href=\"data:,\""]);
    assert!(page.contains("&lt;script&gt;alert(1)"), "the name is shown");
    let harmful =
        |character: &char| (character.is_control() && *character != '\n') || *character == '\u{202e}';
    assert_eq!(page.chars().find(harmful), None);
    assert!(page.len() < 200_000, "{} bytes", page.len());
}

#[test]
fn an_hour_stays_small() {
    let hour = Sample { phases_s: [600, 2_400, 600], rate: 40, ..Sample::default() };
    let page = page(&hour);
    assert!(page.len() < HOUR_MAX_BYTES, "{} bytes", page.len());
    elements(&page);
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
