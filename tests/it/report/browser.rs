//! The page in a real browser, used as a reader would: it draws, zooms, reads values out, wears both themes, fits a
//! telephone and paper, and asks for nothing.
//!
//! Pictures of it are left in the build's directory (`target/tmp/report-*.png`) for people to look at.

use chaos::report::Ink;

use super::chrome::{Chrome, Shift};
use super::page::{HOUR_MAX_BYTES, elements};
use super::sample::Sample;
use super::showcase::showcase;
use super::{concluded, render, wild};

/// A desk, and a telephone.
const DESK: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 800);

const TAB: u32 = 9;
const ENTER: u32 = 13;
const ESCAPE: u32 = 27;
const END: u32 = 35;
const LEFT: u32 = 37;

fn page(sample: &Sample) -> String {
    render(&concluded(sample), "html", Ink::Plain)
}

fn rich() -> String {
    render(&showcase(), "html", Ink::Plain)
}

/// The first plot of the board.
const LATENCY: &str = ".chart[data-first]";

#[test]
fn one_zoom_moves_everything_by_pointer_and_by_keys() {
    let mut chrome = Chrome::open(&rich(), DESK);
    let zoom = |chrome: &mut Chrome| {
        let told = chrome.eval("[...new Set([...document.querySelectorAll('.time')].map((time) => Math.round(time.offsetWidth / time.parentElement.clientWidth * 100)))]");
        let widths = told.as_array().expect("widths").clone();
        assert_eq!(widths.len(), 1, "all are as wide: {widths:?}");
        widths[0].as_f64().expect("a number") / 100.0
    };
    assert!(zoom(&mut chrome) < 1.01);

    // The pointer reads what the table has.
    let middle = chrome.point(&format!("{LATENCY} .view"), 0.5, 0.5);
    chrome.hover(middle);
    let tip = chrome.text("document.querySelector('.board > .tip').innerText");
    let row = chrome.text(
        "(() => { const rows = [...document.querySelectorAll('#values tbody tr')]; \
         return rows.reduce((one, other) => Math.abs(other.dataset.x - 500) < Math.abs(one.dataset.x - 500) ? other : one).cells[4].textContent; })()",
    );
    assert!(tip.contains("slow-api") && tip.contains(&row) && tip.contains("latency"), "{tip} without {row}");

    // Dragging zooms; the axis has marks of its own then; Escape goes back.
    let (left, right) = (
        chrome.point(&format!("{LATENCY} .view"), 0.25, 0.5),
        chrome.point(&format!("{LATENCY} .view"), 0.5, 0.5),
    );
    let marks = "document.querySelector('.ticks').textContent";
    let whole = chrome.text(marks);
    chrome.drag(left, right);
    assert!((3.8..4.2).contains(&zoom(&mut chrome)), "{}", zoom(&mut chrome));
    assert_ne!(chrome.text(marks), whole);
    assert!(chrome.text("document.getElementById('shown').textContent").contains(" to "));
    chrome.eval(&format!("document.querySelector('{LATENCY}').focus()"));
    chrome.key("Escape", ESCAPE, Shift::Up);
    assert!(zoom(&mut chrome) < 1.01);
    assert_eq!(chrome.text(marks), whole);

    // The same with keys alone.
    chrome.key("End", END, Shift::Up);
    let last = chrome.text("document.querySelector('.board > .tip').innerText");
    assert!(last.contains("69 s") && last.contains("recover"), "{last}");
    assert!(
        chrome.text("document.querySelector('.heard').textContent").contains("recover"),
        "it is said aloud"
    );
    for _ in 0..6 {
        chrome.key("ArrowLeft", LEFT, Shift::Down);
    }
    chrome.key("Enter", ENTER, Shift::Up);
    assert!(zoom(&mut chrome) > 8.0, "{}", zoom(&mut chrome));

    // A phase's button shows that phase.
    chrome.click("#tools button[data-a]:nth-of-type(3)");
    assert!((1.7..1.8).contains(&zoom(&mut chrome)), "{}", zoom(&mut chrome));
    assert_eq!(chrome.text("document.querySelector('#tools [aria-pressed=true]').textContent"), "slow-api");
    chrome.click("#tools [data-do=whole]");
    assert_eq!(chrome.complaints(), Vec::<String>::new());
}

/// Runs in the page: everything whose contrast is too low, by its computed colours.
const CONTRAST: &str = r##"(() => {
  const parse = (text) => {
    const found = text.match(/[\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [found[0] * scale, found[1] * scale, found[2] * scale, found[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const light = (color) => {
    const [r, g, b] = color.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at instanceof Element; at = at.parentElement) {
      const style = getComputedStyle(at);
      layers.push(parse(style.backgroundColor));
      // A mark's label stands on the mark.
      const mark = at.matches("svg.mark") && at.querySelector("rect");
      if (mark && getComputedStyle(mark).fill !== "none") layers.push(parse(getComputedStyle(mark).fill));
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const poor = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || element.closest("script, style, title") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const below = behind(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
    const found = contrast(over(ink, below), below);
    if (found < (large ? 3 : 4.5)) poor.push([texts.currentNode.textContent.slice(0, 30), element.className.baseVal ?? element.className, found.toFixed(2)]);
  }
  for (const shape of document.querySelectorAll(".line, .area:not(.h0):not(.h1):not(.h2), .used, .over, .allowed, .mark.well rect, .mark.ill rect, .mark.unclear rect, .mark.fault rect")) {
    const style = getComputedStyle(shape);
    const ink = parse(style.stroke !== "none" ? style.stroke : style.fill);
    const below = behind(shape.closest(".mark")?.parentElement ?? shape);
    const found = contrast(over(ink, below), below);
    if (found < 3) poor.push([shape.getAttribute("class"), "graphic", found.toFixed(2)]);
  }
  return poor;
})()"##;

#[test]
fn both_themes_can_be_read_and_chosen() {
    let mut chrome = Chrome::open(&rich(), DESK);
    let ground = "getComputedStyle(document.body).backgroundColor";
    let mut seen = Vec::new();
    for scheme in ["light", "dark"] {
        chrome.scheme(scheme);
        assert_eq!(chrome.eval(CONTRAST), serde_json::json!([]), "{scheme}");
        seen.push((chrome.text(ground), chrome.picture(&format!("report-{scheme}.png"))));
    }
    // The measure itself sees what can't be read.
    chrome.eval("document.querySelector('p.lead').style.color = 'rgb(90, 90, 90)'");
    assert_ne!(chrome.eval(CONTRAST), serde_json::json!([]), "grey on black");
    chrome.eval("document.querySelector('p.lead').style.color = ''");
    assert_ne!(seen[0].0, seen[1].0);
    assert!(seen.iter().all(|(_, picture)| picture.len() > 50_000));
    // The reader's choice outranks the system's.
    chrome.click("#theme");
    assert_eq!(chrome.text(ground), seen[0].0, "light in a dark system");
    chrome.scheme("light");
    chrome.click("#theme");
    assert_eq!(chrome.text(ground), seen[1].0, "dark in a light system");
    // Paper is always light, and has nothing to press.
    chrome.paper();
    assert_eq!(chrome.text(ground), "rgb(255, 255, 255)");
    assert_eq!(
        chrome.eval(
            "[...document.querySelectorAll('button, nav')].filter((one) => one.checkVisibility()).length"
        ),
        0
    );
    assert_eq!(chrome.eval(CONTRAST), serde_json::json!([]), "paper");
    chrome.picture("report-print.png");
    let pages = chrome.call("Page.printToPDF", &serde_json::json!({ "printBackground": true }));
    assert!(pages["data"].as_str().is_some_and(|data| data.len() > 20_000), "it prints");
    assert_eq!(chrome.complaints(), Vec::<String>::new());
}

#[test]
fn keys_reach_everything_and_show_where_they_are() {
    let mut chrome = Chrome::open(&rich(), DESK);
    let stops = chrome.eval(
        "[...document.querySelectorAll('a[href], button, summary, [tabindex=\"0\"]')].filter((one) => one.checkVisibility()).length",
    );
    let stops = stops.as_u64().expect("a count");
    let mut reached = std::collections::BTreeSet::new();
    for _ in 0..stops {
        chrome.key("Tab", TAB, Shift::Up);
        let told = chrome.eval(
            "(() => { const at = document.activeElement, style = getComputedStyle(at); \
             return [[...document.querySelectorAll('*')].indexOf(at), style.outlineStyle, parseFloat(style.outlineWidth), \
             at.getAttribute('aria-label') || at.textContent.trim()]; })()",
        );
        assert!(told[1] != "none" && told[2].as_f64() >= Some(2.0), "focus does not show: {told}");
        assert!(told[3].as_str().is_some_and(|name| !name.is_empty()), "without a name: {told}");
        reached.insert(told[0].as_u64().expect("an index"));
    }
    assert_eq!(reached.len() as u64, stops, "every stop is reached once");
    // Landmarks, one main heading, no level left out, and words for every drawing.
    let outline = chrome.eval(
        "({ landmarks: ['header', 'nav', 'main', 'footer'].map((name) => document.querySelectorAll('body > ' + name).length), \
         levels: [...document.querySelectorAll('h1, h2, h3')].map((head) => Number(head.tagName[1])), \
         mute: [...document.querySelectorAll('svg')].filter((svg) => !svg.closest('[aria-hidden]') && !svg.closest('[role=img][aria-label]')).length, \
         twins: (() => { const names = [...document.querySelectorAll('section, [role=region], [role=group]')].map((one) => one.getAttribute('aria-label') ?? document.getElementById(one.getAttribute('aria-labelledby')).textContent); return names.filter((name, at) => names.indexOf(name) !== at); })(), \
         ids: [...document.querySelectorAll('[aria-labelledby], [aria-describedby]')].filter((one) => !document.getElementById(one.getAttribute('aria-labelledby') ?? one.getAttribute('aria-describedby'))).length, \
         dead: [...document.querySelectorAll('a[href^=\"#\"]')].filter((link) => !document.getElementById(link.hash.slice(1))).length })",
    );
    assert_eq!(outline["twins"], serde_json::json!([]), "parts that are named alike can't be told apart");
    assert_eq!(outline["landmarks"], serde_json::json!([1, 1, 1, 1]));
    let levels: Vec<u64> =
        outline["levels"].as_array().expect("levels").iter().filter_map(serde_json::Value::as_u64).collect();
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    assert_eq!((&outline["mute"], &outline["ids"], &outline["dead"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!(chrome.complaints(), Vec::<String>::new());
}

/// Runs in the page: what sticks out, what is drawn, what could load something.
const LOOK: &str = "({ overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth, \
    drawn: [...document.querySelectorAll('path')].filter((path) => path.getBoundingClientRect().width > 50).length, \
    foreign: document.querySelectorAll('img, iframe, object, embed, video, audio, form').length, \
    nodes: document.querySelectorAll('*').length })";

#[test]
fn a_hostile_page_fits_a_telephone_and_asks_for_nothing() {
    let mut chrome = Chrome::open(&page(&wild()), PHONE);
    let told = chrome.eval(LOOK);
    assert_eq!((&told["foreign"], &told["overflow"]), (&0.into(), &0.into()), "{told}");
    assert_eq!(chrome.complaints(), Vec::<String>::new(), "nothing ran, nothing was refused");
    let foreign: Vec<_> = chrome
        .asked()
        .into_iter()
        .filter(|url| !url.starts_with("file:") && !url.starts_with("data:"))
        .collect();
    assert_eq!(foreign, Vec::<String>::new());
    // Names stay text when they are read out, too.
    chrome.eval(&format!("document.querySelector('{LATENCY}').focus()"));
    chrome.key("End", END, Shift::Up);
    assert_eq!(chrome.eval("document.querySelectorAll('.tip *:not(dl):not(dt):not(dd):not(p)').length"), 0);
    assert_eq!(chrome.complaints(), Vec::<String>::new());
}

#[test]
fn an_hour_stays_small_and_is_drawn_without_the_script_too() {
    let hour = Sample { phases_s: [600, 2_400, 600], rate: 40, ..Sample::default() };
    let page = page(&hour);
    assert!(page.len() < HOUR_MAX_BYTES, "{} bytes", page.len());
    elements(&page);
    let (before, rest) = page.split_once("<script>").expect("a script");
    let (_, after) = rest.split_once("</script>").expect("its end");
    for (html, buttons) in [(page.as_str(), true), (&format!("{before}{after}"), false)] {
        let mut chrome = Chrome::open(html, DESK);
        let told = chrome.eval(LOOK);
        // Bands and lines of latency, of throughput, of errors, of send lag, and curves.
        assert!(told["drawn"].as_u64() >= Some(14), "{told}");
        // What makes a page slow is how much is in it, however fast the machine.
        assert!(told["nodes"].as_u64() < Some(30_000), "{told}");
        let shown =
            chrome.eval("[...document.querySelectorAll('button')].some((one) => one.checkVisibility())");
        assert_eq!(shown, buttons, "what does nothing is not shown");
        assert_eq!(chrome.complaints(), Vec::<String>::new());
    }
}
