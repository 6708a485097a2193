//! The page in a real browser: it draws, reads values out, fits a telephone, and asks for nothing.
//!
//! Chromium runs in a network namespace without any network, so that neither it nor the page can reach
//! anything, and in a profile of its own.

use std::path::Path;
use std::process::Command;

use chaos::report::Ink;

use super::sample::Sample;
use super::{concluded, render, wild};

/// What a browser made of a page.
struct Seen {
    dom: String,
    /// Console messages.
    console: Vec<String>,
    /// Every address that was asked for.
    asked: String,
}

fn chromium(dir: &Path, args: &[&str], page: &Path) -> Seen {
    let net_log = dir.join("net.json");
    let output = Command::new("timeout")
        .args(["60", "unshare", "--net", "chromium", "--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-background-networking", "--disable-component-update", "--no-first-run"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=3000", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .arg(format!("--log-net-log={}", net_log.display()))
        .args(args)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("timeout(1) runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "this test needs root and Chromium (apt-get install -y chromium), {}:\n{stderr}",
        output.status
    );
    // Chromium's own pages talk on the console, too.
    let console =
        stderr.lines().filter(|line| line.contains(":CONSOLE") && !line.contains("source: chrome://"));
    Seen {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        console: console.map(str::to_owned).collect(),
        asked: std::fs::read_to_string(net_log).expect("Chromium writes its network log"),
    }
}

/// Runs inside the page after its own script: looks around, uses the plots as a reader would, and tells the
/// page around it.
const PROBE: &str = r#"<script>
  const chart = document.querySelector(".chart");
  chart.dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
  const byKey = chart.querySelector(".tip").textContent;
  const box = chart.querySelector(".frame").getBoundingClientRect();
  chart.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, clientY: box.top + 9 }));
  const byPointer = chart.querySelector(".tip").textContent;
  const drawn = [...document.querySelectorAll("path")].filter((path) => path.getBoundingClientRect().width > 50);
  parent.postMessage({
    byKey, byPointer, drawn: drawn.length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    foreign: document.querySelectorAll("img, iframe, object, embed, video, audio, form").length,
  }, "*");
</script>"#;

/// The page around it: a telephone's width.
const FRAME: &str = r#"<!doctype html><body><pre></pre><iframe src="probed.html" width="390" height="800"></iframe>
<script>onmessage = (event) => { document.querySelector("pre").textContent = "seen " + JSON.stringify(event.data) + " end"; }</script>"#;

/// What the probe saw of `sample`'s page.
fn probe(sample: &Sample) -> (serde_json::Value, Seen) {
    let dir = tempfile::tempdir().expect("a directory");
    let page = render(&concluded(sample), "html", Ink::Plain);
    let probed = page.replace("</body>", &format!("{PROBE}</body>"));
    std::fs::write(dir.path().join("probed.html"), probed).expect("written");
    let frame = dir.path().join("frame.html");
    std::fs::write(&frame, FRAME).expect("written");
    let seen = chromium(dir.path(), &["--dump-dom"], &frame);
    let told = seen.dom.split("seen ").nth(1).and_then(|rest| rest.split(" end").next());
    let told = told.unwrap_or_else(|| panic!("the probe told nothing; console: {:?}", seen.console));
    (
        serde_json::from_str(&told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
            .expect("JSON"),
        seen,
    )
}

#[test]
fn plots_draw_and_read_values_out() {
    let (told, seen) = probe(&Sample::default());
    assert_eq!(seen.console, Vec::<String>::new());
    // Four lines, a stack, what was not good, three curves.
    assert!(told["drawn"].as_u64() >= Some(9), "{told}");
    let last = told["byKey"].as_str().expect("text");
    assert!(last.starts_with("time69 s") && last.contains("phaserecover") && last.contains("p99"), "{last}");
    let middle = told["byPointer"].as_str().expect("text");
    assert!(middle.contains("phaseslow-api"), "{middle}");
    assert_eq!(told["overflow"], 0, "nothing sticks out of 390 pixels");
}

#[test]
fn a_hostile_page_asks_for_nothing() {
    let (told, seen) = probe(&wild());
    assert_eq!(seen.console, Vec::<String>::new(), "nothing ran, nothing was refused");
    assert_eq!((&told["foreign"], &told["overflow"]), (&0.into(), &0.into()));
    assert!(!seen.asked.contains("/leak"), "the page asked for a picture");
}

#[test]
fn light_and_dark_differ() {
    let dir = tempfile::tempdir().expect("a directory");
    let page = dir.path().join("report.html");
    std::fs::write(&page, render(&concluded(&Sample::default()), "html", Ink::Plain)).expect("written");
    let shot = |scheme: &str| {
        let picture = dir.path().join("page.png");
        let screenshot = format!("--screenshot={}", picture.display());
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        chromium(dir.path(), &["--window-size=1280,2000", &screenshot, &scheme], &page);
        std::fs::read(picture).expect("a picture")
    };
    let (dark, light) = (shot("0"), shot("1"));
    assert!(light.len() > 50_000 && dark.len() > 50_000, "{} {}", light.len(), dark.len());
    assert_ne!(light, dark);
}
