//! A real Chromium, driven as a person would: pointer, keys, themes, paper.
//!
//! It runs in a network namespace without any network and in a profile of its own, and is spoken to over a pipe in its
//! own protocol (`--remote-debugging-pipe`), so that whatever is waited for is an answer or an event, never a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser that hangs is ended after this long, and the test with it.
const LONGEST_S: &str = "300";

/// A browser with one page open.
pub struct Chrome {
    browser: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    events: Vec<Value>,
    dir: TempDir,
}

impl Chrome {
    /// Opens `html` in a window of this size.
    pub fn open(html: &str, (width, height): (u32, u32)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let page = dir.path().join("report.html");
        std::fs::write(&page, html).expect("written");
        let log = File::create(dir.path().join("log")).expect("a log");
        let mut browser = Command::new("timeout")
            .args([LONGEST_S, "unshare", "--net", "sh", "-c", "exec chromium \"$@\" 3<&0 4>&1 >&2", "sh"])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("timeout(1) runs");
        let to = browser.stdin.take().expect("piped");
        let from = BufReader::new(browser.stdout.take().expect("piped"));
        let mut chrome = Self { browser, to, from, session: None, calls: 0, events: Vec::new(), dir };
        let target = chrome.call("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = chrome.call("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        chrome.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            chrome.call(&format!("{domain}.enable"), &json!({}));
        }
        chrome.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
        chrome.scheme("light");
        chrome.call("Page.navigate", &json!({ "url": format!("file://{}", page.display()) }));
        while !chrome.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let message = chrome.receive();
            chrome.events.push(message);
        }
        chrome
    }

    fn receive(&mut self) -> Value {
        let mut message = Vec::new();
        self.from.read_until(0, &mut message).expect("a pipe");
        if message.pop().is_none() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            panic!("this test needs root and Chromium (apt-get install -y chromium):\n{log}");
        }
        serde_json::from_slice(&message).expect("JSON")
    }

    /// Calls a method and gives its result; events that come meanwhile are kept.
    pub fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&call).expect("JSON");
        bytes.push(0);
        self.to.write_all(&bytes).expect("Chromium reads");
        loop {
            let mut message = self.receive();
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// What an expression comes to in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut told = self.call("Runtime.evaluate", &params);
        assert!(told["exceptionDetails"].is_null(), "{expression:.80}: {}", told["exceptionDetails"]);
        told["result"]["value"].take()
    }

    /// The same, as text.
    pub fn text(&mut self, expression: &str) -> String {
        let told = self.eval(expression);
        told.as_str().unwrap_or_else(|| panic!("{expression}: {told} is no text")).to_owned()
    }

    fn mouse(&mut self, kind: &str, (x, y): (f64, f64), buttons: u32) {
        let button = if kind == "mouseMoved" && buttons == 0 { "none" } else { "left" };
        let params =
            json!({ "type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1 });
        self.call("Input.dispatchMouseEvent", &params);
    }

    /// Moves the pointer.
    pub fn hover(&mut self, at: (f64, f64)) {
        self.mouse("mouseMoved", at, 0);
    }

    /// Clicks the middle of the first element that matches.
    pub fn click(&mut self, selector: &str) {
        let at = self.point(selector, 0.5, 0.5);
        self.mouse("mousePressed", at, 1);
        self.mouse("mouseReleased", at, 0);
    }

    /// Drags from one place to another.
    pub fn drag(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.hover(from);
        self.mouse("mousePressed", from, 1);
        self.mouse("mouseMoved", (f64::midpoint(from.0, to.0), from.1), 1);
        self.mouse("mouseMoved", to, 1);
        self.mouse("mouseReleased", to, 0);
    }

    /// Presses a key, by its name and its code.
    pub fn key(&mut self, key: &str, code: u32, shift: Shift) {
        let modifiers = if shift == Shift::Down { 8 } else { 0 };
        for kind in ["rawKeyDown", "keyUp"] {
            let params = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers,
            });
            self.call("Input.dispatchKeyEvent", &params);
        }
    }

    /// A place in the window: so far across and down the first element that matches, which is scrolled to first.
    pub fn point(&mut self, selector: &str, across: f64, down: f64) -> (f64, f64) {
        let selector = serde_json::to_string(selector).expect("text");
        let told = self.eval(&format!(
            "(() => {{ const found = document.querySelector({selector}); found.scrollIntoView({{ block: 'center', behavior: 'instant' }}); \
             const box = found.getBoundingClientRect(); \
             return [box.left + box.width * {across}, box.top + box.height * {down}]; }})()"
        ));
        let at = |index: usize| told[index].as_f64().unwrap_or_else(|| panic!("{selector} is nowhere"));
        (at(0), at(1))
    }

    /// The system's theme: `light` or `dark`.
    pub fn scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", &json!({ "media": "screen", "features": features }));
    }

    /// As on paper.
    pub fn paper(&mut self) {
        self.call("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    }

    /// A picture of the whole page, saved among the build's files under this name, for people to look at.
    pub fn picture(&mut self, name: &str) -> Vec<u8> {
        let params = json!({ "captureBeyondViewport": true, "format": "png" });
        let data = self.call("Page.captureScreenshot", &params);
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data["data"].as_str().expect("a picture"))
            .expect("base64");
        std::fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name), &bytes).expect("written");
        bytes
    }

    /// What the page said on the console, threw, or was refused by its policy.
    pub fn complaints(&mut self) -> Vec<String> {
        // What happened before the answer comes before it.
        self.eval("0");
        let says = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        let said = self.events.iter().filter(|event| says.iter().any(|method| event["method"] == *method));
        said.map(|event| event["params"].to_string()).collect()
    }

    /// Every address that the page asked for.
    pub fn asked(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str()).map(str::to_owned).collect()
    }
}

/// Whether Shift is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// It is.
    Down,
    /// It is not.
    Up,
}

impl Drop for Chrome {
    fn drop(&mut self) {
        // Ends timeout(1), which hands the signal on; a browser left over would hold the profile's files.
        let pid = self.browser.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.browser.wait();
    }
}
