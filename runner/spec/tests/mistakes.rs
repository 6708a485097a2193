//! Every mistake that a file can hold, with what is said about it: the saved answers stand beside this file.

use super::*;

/// Parses each text, which must be refused, and compares all that is said with the saved answers.
fn check_refused(group: &str, texts: &[String]) {
    let answers: Vec<_> = texts.iter().map(|text| refused(&input(text))).collect();
    insta::assert_snapshot!(group, answers.join("\n\n------\n\n"));
}

fn refused(input: &Input) -> String {
    match parse(input) {
        Ok(_) => panic!("this was accepted:\n{}", input.all_text()),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn says_what_is_not_yaml() {
    let nested = format!("experiment: {}x", "[".repeat(yaml::MAX_DEPTH + 1));
    let nodes = format!("\n{}", "- a\n".repeat(yaml::MAX_NODES));
    let laughs = (b'b'..=b'f').fold("a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, name| {
        let (name, last) = (char::from(name), char::from(name - 1));
        let aliases = vec![format!("*{last}"); 10].join(", ");
        format!("{text}{name}: &{name} [{aliases}]\n")
    });
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 20].join(", "));
    let large = format!("\n{}", "#".repeat(yaml::MAX_TEXT_BYTES));
    let texts = [
        "",
        "# only a comment\n",
        "experiment: a\u{7}b\n",
        "experiment: one\n---\nexperiment: two\n",
        "experiment: &a [*a]\n",
        "experiment: *nowhere\n",
        "? [a, b]\n: c\n",
        "defaults: &d { a: 1 }\nexperiment: { <<: *d }\n",
        "experiment: !!str 7\n",
        "experiment: one\nexperiment: two\nseed: 1\nseed: 2\n",
        "experiment: it holds: always\n",
        "experiment:\n\tseed: 1\n",
        "experiment: \"unfinished\n",
        "experiment: \"a\\qb\"\n",
        "experiment: > folded\n",
        "experiment: [a, b\n",
        "experiment: { a: 1\nseed: 2\n",
        "experiment: %a\n",
        "experiment: @a\n",
        "experiment: `a`\n",
        "experiment: a\n seed: 1\nlab: x\n",
        "experiment: [a] b\n",
        "- a\nb: c\n",
        &nested,
        &nodes,
        &laughs,
        &long,
        &large,
    ];
    check_refused("not_yaml", &texts.map(str::to_owned));
}

#[test]
fn says_what_a_field_takes() {
    let texts = [
        "just text\n".to_owned(),
        "- a list\n".to_owned(),
        "seed: 1\n".to_owned(),
        changed(&[("why:", "whyy:"), ("seed:", "zzz:")]),
        changed(&[("seed: 42", "seed: -1"), ("weight: 4", "weight: 4.5")]),
        changed(&[("seed: 42", "seed: lots"), ("weight: 4", "weight: [4]")]),
        changed(&[("why: the", "why: [the]\nlimits2: the")]),
        changed(&[("rate: 2000/s", "rate: 2000"), ("for: 20s", "for: 20"), ("95%", "0.95")]),
        changed(&[("rate: 2000/s", "rate: { per_second: 2000 }"), ("for: 20s", "for:")]),
        changed(&[("pick: 1", "pick: 101%"), ("targets: 50%", "targets: half")]),
        changed(&[("lab: replicas", "lab: replica")]),
        changed(&[("lab: replicas", "lab: compose")]),
        changed(&[("lab: replicas", "lab: { replicas: {}, compose: x }")]),
        changed(&[("lab: replicas", "lab: {}")]),
        changed(&[("lab: replicas", "lab: [replicas]")]),
        changed(&[("until: steady", "until: stable")]),
        changed(&[("- latency: { on: one-api, delay: 200ms, jitter: 20ms }", "- latency:")]),
        changed(&[("delay: 200ms, jitter: 20ms", "delay: 200ms, direction: out, ports: [http, 99999]")]),
        changed(&[("latency: { on: one-api, delay: 200ms, jitter: 20ms }", "delay: { on: one-api }")]),
        changed(&[("latency: { on: one-api, delay: 200ms, jitter: 20ms }", "latency")]),
        changed(&[(
            "latency: { on: one-api, delay: 200ms, jitter: 20ms }",
            "kill: { on: one-api, restart: yes }",
        )]),
        changed(&[("  one-api: {", "  one-api: [ {"), ("pick: 1 }", "pick: 1 } ]")]),
        changed(&[("targets:\n  one-api: { service: api, pick: 1 }", "targets: one-api")]),
        changed(&[("abort: [ rate(good) < 80% over 3s ]", "abort: rate(good) < 80% over 3s")]),
        changed(&[("  baseline: { for: 20s }", "  baseline: 20s")]),
        changed(&[("expect: { status: 200 }", "expect: { status: ok }")]),
        changed(&[("expect: { status: 200 }", "expect: { status: [200, 2x, 600] }")]),
        changed(&[("expect: { status: 200 }", "expect: { status: [] }")]),
        changed(&[("expect: { status: 200 }", "expect: { status: { is: 200 } }")]),
        changed(&[("probe: { http:", "probes: { http:")]),
        changed(&[("probe: { http:", "probe: { tcp:")]),
    ];
    check_refused("fields", &texts);
}

#[test]
fn says_what_is_wrong_with_a_probe() {
    let named = |probe: &str| changed(&[("phases:\n", &format!("probes:\n  it: {{ {probe} }}\nphases:\n"))]);
    let http = |more: &str| named(&format!("http: {{ get: http://127.0.0.1:8080/, {more} }}"));
    let steady = |more: &str| {
        let probe = "probe: { http: { get: http://127.0.0.1:8080/health, expect: { status: 200 } } }";
        let asked = probe.replace("status: 200 }", &format!("status: 200 }}, {more}"));
        changed(&[(probe, &asked)])
    };
    let texts = [
        http("when: sometimes, no_data: maybe"),
        http("when: edge, during: slow-api"),
        http("during: slow-ap"),
        http("every: 10ms, timeout: 0s, allowed_failures: lots"),
        http("when: before, every: 5s, allowed_failures: 10%"),
        http("retry_after: 1s"),
        http("retries: 1000, delay: 1m"),
        http("within: 5s"),
        http("tls: { insecure: true }"),
        http("expect: { json: { oops: 1 }, regex: '(' }"),
        steady("when: after, allowed_failures: 2, no_data: ignore"),
        steady("during: slow-api"),
        changed(&[(
            "abort: [",
            "abort: [ { probe: { http: { get: http://127.0.0.1:8080/health, every: 3s } } }, ",
        )]),
        named("tcp: { connect: 127.0.0.1, bytes: '' }"),
        named("tcp: { connect: 'gateway.lab:x' }"),
        named("exec: { run: [], output: '/(/' }"),
        named("exec: { run: [pg_isready], user: postgres }"),
        named("exec: { run: [pg_isready], on: one-ap, output: '< many' }"),
        named("docker: { on: nobody, restarts: few }"),
        named("docker: { on: one-api, state: exited, health: healthy }"),
        named("logs: { on: one-api, pattern: '[', count: 5 }"),
        named("ping: { host: a }"),
        named("prometheus: { url: 'localhost:9090', query: ' ', value: many }"),
        named(
            "prometheus: { url: 'http://127.0.0.1:9090?x', query: up, value: == 1, tls: { insecure: true } }",
        ),
        named("prometheus: { url: 'http://127.0.0.1:9090', query: up, value: == 1, auth: { bearer: '' } }"),
    ];
    check_refused("probes", &texts);
}

#[test]
fn says_where_an_expression_is_wrong() {
    let checks = [
        "p99x(latency) < 300ms",
        "percentile(latency) < 300ms",
        "xyz(latency) < 300ms",
        "< 300ms",
        "p99 < 300ms",
        "p99() < 300ms",
        "p99(, a) < 300ms",
        "p99(latency, ) < 300ms",
        "p99(latency, shoppers, more) < 300ms",
        "p99(latency < 300ms",
        "latency) < 300ms",
        "p101(latency) < 300ms",
        "p100.1(latency) < 300ms",
        "p9.9.9(latency) < 300ms",
        "p99(latncy) < 300ms",
        "p99(good) < 300ms",
        "p99(latency)",
        "p99(latency) = 300ms",
        "p99(latency) is 300ms",
        "p99(latency) < 300",
        "p99(send_lag) < 1%",
        "p99(latency) <",
        "p99(latency) < 300ms for 10s",
        "p99(latency) < 300ms over",
        "p99(latency) < 300ms over 10",
        "p99(latency) < 300ms over 0s",
        "p99(latency) < 300ms over 10s over 20s",
        "mean(latency) < fast",
        "max() < 1s",
        "rate(good) >= 99.9",
        "rate(good) >= 5ms",
        "rate(god) >= 99.9%",
        "rate(latency) >= 99.9%",
        "count(dropped) == none",
        "count(dropped) == 1.5",
        "count(dropped) > 1%",
        "slo()",
        "slo(availability, shoppers)",
        "slo(availability) > 99%",
        "slo(availability) always",
        "time_to_steady",
        "time_to_steady < 10",
        "time_to_steady < 10s over 5s",
        "'p99(latncy) < 300ms'",
        "\"p99(latency)\\t< 300\"",
        "é(latency) < 300ms",
        "p99(latency) < é300ms",
        // Arithmetic.
        "p99(latency) + rate(good) < 300ms",
        "p99(latency) - 5 < 300ms",
        "p99(latency) * p50(latency) < 300ms",
        "p99(latency) < 2 * rate(good)",
        "2 * p99(latency) < 5%",
        "rate(good) > 0.9 * rate(good)",
        "rate(good) + 0.5 > 99%",
        "share(good) > 500/s",
        "throughput(good) > 99%",
        "1s < 2s",
        "p99(latency) / 0 < 2s",
        "(p99(latency) < 300ms",
        "p99(latency) < 2 * (p50(latency) + 1ms",
        "p99(latency) < 2 *",
        "2 * slo(availability) > 1",
        "p99(latency) < 3x",
        "1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 < count(good)",
        "((((((((((((count(good)))))))))))) > 1",
        "time_to_steady(fast) < 1s",
        "harmed(availability, fast) < 1",
    ];
    let lines: String = checks.iter().map(|check| format!("  - {check}\n")).collect();
    let goods = [
        "status < 500 or latency < 1s",
        "status < 500 && latency < 1s",
        "stats < 500",
        "code < 500",
        "status",
        "status < 5xx",
        "status < 99",
        "status < 500 and",
        "latency < 300",
        "latency < 300ms and colour == blue",
    ];
    let slos: String = goods
        .iter()
        .enumerate()
        .map(|(index, good)| format!("  slo{index}: {{ load: shoppers, good: {good}, objective: 99% }}\n"))
        .collect();
    let texts = [
        changed(&[("steady_state:\n", &format!("steady_state:\n{lines}"))]),
        changed(&[("slos:\n", &format!("slos:\n{slos}"))]),
        changed(&[("[ rate(good) < 80% over 3s ]", "[ p99(latency, shoppers) > 1s ]")]),
        changed(&[
            ("rate(good) < 80% over 3s", "*guard"),
            ("seed: 42", "seed: 42\nwhy2: &guard rate(god) > 1%"),
        ]),
        changed(&[("- rate(good) >= 99.9% over 10s", "- |\n    rate(god) >= 99.9%")]),
    ];
    check_refused("expressions", &texts);
}

#[test]
fn says_which_check_decides_nothing_and_which_figure_is_not_there() {
    let expected = |check: &str| changed(&[("p99(latency) < 400ms", check)]);
    let steady = |check: &str| changed(&[("p99(latency) < 300ms over 10s", check)]);
    let guard = |check: &str| changed(&[("rate(good) < 80% over 3s", check)]);
    let slo =
        |fields: &str| changed(&[("objective: 95% }", &format!("objective: 95%, slices: {fields} }}"))]);
    let texts = [
        expected("rate(good) >= 0%"),
        expected("rate(good) < 101%"),
        expected("rate(good) > 100%"),
        expected("p99(latency) >= 0s"),
        expected("count(dropped) < 0"),
        expected("rate(good) - rate(bad) > 200%"),
        expected("2 * rate(good) <= 200%"),
        expected("capacity_lost <= 100%"),
        steady("rate(good) <= 100% over 5s"),
        guard("rate(good) <= 100%"),
        guard("rate(errors) > 100%"),
        expected("'p99(latency, baselin) < 400ms'"),
        expected("'p99(latency, request=GET /basket) < 400ms'"),
        expected("'p99(latency, outcome=slow) < 400ms'"),
        expected("'p99(latency, baseline, recover) < 400ms'"),
        expected("'p99(service, GET /cart) < 400ms'"),
        expected("'count(dropped, GET /cart) < 4'"),
        expected("'rate(good, outcome=bad) < 4%'"),
        expected("'p99(latency, baseline) < 400ms over 5s'"),
        expected("p99(tls) < 400ms"),
        expected("time_to_abort(fast) < 1s"),
        expected("budget_spent_by_time < 1%"),
        expected("capacity_lost < 50%"),
        steady("'p99(latency, baseline) < 300ms'"),
        guard("'p99(latency, GET /cart) > 300ms'"),
        guard("harmed > 5"),
        changed(&[
            ("  baseline:", "  shoppers:"),
            ("p99(latency) < 400ms", "'p99(latency, shoppers) < 400ms'"),
        ]),
        slo("{ of: 500ms }"),
        slo("{ of: 10s, at_least: 90%, when: p99(latency) < 1s }"),
        slo("{ of: 10s, at_least: 0% }"),
        slo("{ of: 10s, when: 'p99(latency, shoppers) < 1s' }"),
        slo("{ of: 10s, when: rate(good) >= 0% }"),
        slo("{ of: 10s }").replace("rate(good) < 80% over 3s", "slo(fast)"),
        changed(&[("limits:", "thresholds: { http_req_duration: [p(95)<2s], vus: [count<1] }\nlimits:")]),
        changed(&[("limits:", "thresholds: { http_req_failed: [rate<1.01] }\nlimits:")]),
        changed(&[("limits:", "thresholds: { 'http_req_duration{name:x}': [p(95)<2] }\nlimits:")]),
        changed(&[
            ("limits:", "thresholds: { http_req_failed: [rate<0.01] }\nlimits:"),
            ("  baseline:", "  run:"),
        ]),
    ];
    check_refused("figures", &texts);
}

#[test]
fn says_what_is_wrong_with_a_fault_of_packets() {
    let fault = "latency: { on: one-api, delay: 200ms, jitter: 20ms }";
    let texts = [
        "loss: { on: one-api }",
        "loss: { on: one-api, share: 0% }",
        "loss: { on: one-api, share: 10%, burst: { p: 1% } }",
        "loss: { on: one-api, correlation: 10%, burst: { p: 0%, k: 1% } }",
        "loss: { on: one-api, correlation: 10%, burst: { p: 0% } }",
        "loss: { on: one-api, share: 10%, correlation: 100% }",
        "duplicate: { on: one-api, share: 0%, peers: ['service:'] }",
        "corrupt: { on: one-api, share: 110%, direction: sideways }",
        "reorder: { on: one-api, share: 25% }",
        "reorder: { on: one-api, share: 25%, delay: 0s, gap: 0 }",
        "flaky: { on_for: 1ms, off_for: 1s, jitter: 1s, fault: { loss: { on: one-api, share: 0% } } }",
        "flaky: { on_for: 1s, off_for: 1s, fault: { pause: { on: one-api } } }",
        "flaky: { on_for: 1s, off_for: 1s, fault: { flaky: { on_for: 1s, off_for: 1s, fault: { loss: { on: one-api, share: 1% } } } } }",
    ]
    .map(|wrong| changed(&[(fault, wrong)]));
    check_refused("impairments", &texts);
}

#[test]
fn says_what_does_not_fit_together() {
    let fault = "latency: { on: one-api, delay: 200ms, jitter: 20ms }";
    let get = "get: http://127.0.0.1:8080/cart";
    let phases = "  baseline: { for: 20s }\n";
    let json = "json: { item: \"{{ uuid }}\" }";
    let texts = [
        changed(&[("on: one-api", "on: one-apy")]),
        changed(&[("on: one-api", "on: everything")]),
        changed(&[("targets:\n  one-api: { service: api, pick: 1 }\n", "")]),
        changed(&[("jitter: 20ms", "peers: [one-api, store.lab, 10.0.0.0/8, '10.0.0.0/33', '::1/129', 10.0.0, a b, x/8]")]),
        changed(&[(fault, "latency: { on: one-api, delay: 0s }"), ("for: 40s", "for: 40s # positive")]),
        changed(&[(fault, "kill: { on: one-api, signal: kill }")]),
        changed(&[(fault, "kill: { on: one-api, signal: 9 }")]),
        changed(&[(fault, "kill: { on: one-api, signal: SIGHUPP }")]),
        changed(&[(fault, "partition: { groups: { left: [one-api], right: [stor] } }")]),
        changed(&[(fault, "partition: { groups: { left: [one-api] } }")]),
        changed(&[(fault, "partition: { groups: { left: [one-api], right: [one-api] } }")]),
        changed(&[(fault, "partition: { groups: { left: [one-api], right: [] } }")]),
        changed(&[(fault, "partition: { groups: { left: [one-api] }, on: one-api, shape: halves }")]),
        changed(&[(fault, "partition: { on: one-api }")]),
        changed(&[(fault, "partition: { shape: ring }")]),
        changed(&[(fault, "partition: { shape: one }")]),
        changed(&[(fault, "partition: { on: one-api, shape: majorities-ring, direction: one-way }")]),
        changed(&[(fault, "partition: {}")]),
        changed(&[(fault, "blackhole: { on: one-apy, peers: [10.0.0.0/33], direction: out }")]),
        changed(&[(fault, "dns: { on: one-api, names: ['re:('], addresses: [store] }")]),
        changed(&[(fault, "dns: { on: one-api, share: 0% }")]),
        changed(&[(fault, "dns: { on: one-api, answer: timeout, delay: 1s }")]),
        changed(&[(fault, "dns: { on: one-api, answer: nxdomain, addresses: [10.0.0.1] }")]),
        changed(&[(fault, "http: { on: one-api, port: 0, share: 0%, methods: ['GET /'], drip: 0 }")]),
        changed(&[(fault, "http: { on: one-api, port: 80 }")]),
        changed(&[(fault, "http: { on: one-api, port: 80, abort: { status: 99 }, truncate: 5 }")]),
        changed(&[(fault, "http: { on: one-api, port: 80, headers: { 'a b': '*' }, request: { set: { content-length: '5', 'x y': a } } }")]),
        changed(&[("load: shoppers, good: status", "load: shopers, good: status")]),
        changed(&[("objective: 99.9%, window: 30d", "objective: 100%, window: 0s"), ("95%", "0%")]),
        changed(&[("window: 30d", "window: fortnight, alerts: [{ burn: -1, over: 1h }, { burn: 2, over: 0s }]")]),
        changed(&[("window: 30d", "window: month, alerts: [{ burn: 1001, over: 1h, and: 2h }], needs: { db: 0% }")]),
        changed(&[("slo(availability)", "slo(availibility)"), ("p99(latency) < 400ms", "\"p99(latency, visitors) < 400ms\"")]),
        changed(&[("  slow-api: [", "  slow-apy: [")]),
        changed(&[("[ time_to_steady < 10s ]", "[]")]),
        changed(&[("rate(good) < 80% over 3s", "time_to_steady > 1s, time_to_detect > 1s")]),
        changed(&[("rate(good) < 80% over 3s", "rate(good) < 80% over 1h")]),
        changed(&[("for: 20s", "for: 5s")]),
        changed(&[("p99(latency) < 400ms", "p99(latency) < 400ms over 50s")]),
        changed(&[(&format!("    faults:\n      - {fault}\n"), "")]),
        changed(&[("{ service: api, pick: 1 }", "{ pick: 0% }")]),
        changed(&[("{ service: api, pick: 1 }", "{ service: '', label: =x, re: 'api-[' }")]),
        changed(&[("  one-api: {", "  'one/api': {"), ("on: one-api", "on: one/api")]),
        changed(&[("  one-api: {", &format!("  {}: {{", "x".repeat(65))), ("on: one-api", &format!("on: {}", "x".repeat(65)))]),
        changed(&[("  one-api: {", "  ' one-api': {"), ("on: one-api", "on: ' one-api'")]),
        changed(&[(get, "weight: 2")]).replacen("        weight: 4\n", "", 1),
        changed(&[(get, "get: http://127.0.0.1/\n        put: http://127.0.0.1/")]),
        changed(&[(get, "get: ftp://127.0.0.1/")]),
        changed(&[(get, "get: http://gatewey.lab/")]),
        changed(&[(get, "get: http://gateway.lab/"), ("lab: replicas\n", "")]),
        changed(&[("weight: 4", "weight: 0"), ("rate: 2000/s", "rate: 0/s\n    timeout: 0s\n    max_in_flight: 0")]),
        changed(&[("rate: 2000/s", "rate: 1e9/s")]),
        changed(&[(json, "json: { item: \"{{ uid }} {{ int(5, 1) }} {{ int }} {{ uuid(4) }} {{ unclosed\" }")]),
        changed(&[(json, "json: 1\n        body: '{{ nothing }}'")]),
        changed(&[("weight: 4", "headers: { 'a b': x, Content-Length: 7, x-y: \"a\\nb\" }")]),
        changed(&[("    requests:", "    headers: { 'x:': 1 }\n    requests: []\n    unused:")]),
        changed(&[("http: { get: http://127.0.0.1:8080/health,", "http: { get: nowhere, timeout: 0s, every: 1ms,")]),
        changed(&[(phases, "")]),
        changed(&[(phases, "  baseline: {}\n")]),
        changed(&[(phases, "  baseline: { for: 20s, at_most: 30s }\n")]),
        changed(&[(phases, "  baseline: { for: 20s, until: steady }\n")]),
        changed(&[(phases, "  baseline: { at_most: 20s }\n")]),
        changed(&[(phases, "  baseline: { for: 0s }\n"), ("at_most: 30s", "at_most: 0s")]),
        changed(&[("fault: 5m", "fault: 10s")]),
        changed(&[("targets: 50%, fault: 5m", "targets: 0%, fault: 0s")]),
        changed(&[("lab: replicas", "lab: { replicas: { apis: 21, timeout: 0s, hedge: 0s, eject_after: 0, eject_for: 0s } }")]),
        changed(&[("lab: replicas", "lab: { compose: '' }")]),
        changed(&[("experiment: checkout survives one slow replica", "experiment: ''")]),
        "experiment: nothing happens\n".to_owned(),
        "experiment: nothing judges\ntargets: { a: { name: a } }\nphases: { bad: { for: 1s, faults: [ { pause: { on: a } } ] } }\n".to_owned(),
        "experiment: no steady state\nphases: { a: { at_most: 1s, until: steady } }\nexpect: { a: [ time_to_detect < 1s, rate(good) > 1% ] }\n".to_owned(),
        format!("experiment: many\nphases:\n{}", (0..=check::MAX_PHASES).map(|n| format!("  p{n}: {{ for: 1s }}\n")).collect::<String>()),
        format!("experiment: many\nphases: {{ a: {{ for: 1s }} }}\nload:\n{}", (0..=check::MAX_LOADS).map(|n| format!("  l{n}: {{ rate: 1/s, requests: [ {{ get: http://a }} ] }}\n")).collect::<String>()),
        format!("experiment: many\ntargets: {{ a: {{ name: a }} }}\nslos: {{}}\nexpect: {{ a: [ time_to_detect < 1s ] }}\nphases:\n  a:\n    for: 1s\n    faults:\n{}", "      - pause: { on: a }\n".repeat(check::MAX_FAULTS + 1)),
    ];
    check_refused("cross_field", &texts);
}

#[test]
fn says_what_is_wrong_with_requests_and_answers() {
    let get = "get: http://127.0.0.1:8080/cart\n        weight: 4\n        expect: { status: 200 }";
    let one = |request: &str| changed(&[(get, request)]);
    let step = |step: &str| {
        one(&format!(
            "flow: visit\n        steps: [ {{ get: 'http://a/', extract: {{ token: {{ json: $.t }} }} }}, {{ {step} }} ]"
        ))
    };
    let load = |fields: &str| changed(&[("rate: 2000/s", &format!("rate: 2000/s\n    {fields}"))]);
    let many = |count: usize, text: &str| vec![text; count].join(", ");
    let texts = [
        // Flows.
        one("flow: visit"),
        one("flow: ''\n        steps: [ { get: 'http://a/' } ]"),
        one("flow: visit\n        get: http://a/\n        steps: [ { get: 'http://a/' } ]"),
        one("get: http://a/\n        steps: [ { get: 'http://a/' } ]"),
        one("get: http://a/\n        think: 1s\n        extract: { token: { json: $.t } }"),
        step("flow: inner, steps: [ { get: 'http://a/' } ]"),
        step("post: 'http://a/', weight: 2"),
        step("name: no method"),
        step("get: 'http://a/{{ tokn }}'"),
        one(
            "flow: visit\n        steps: [ { get: 'http://a/{{ token }}' }, { get: 'http://a/', extract: { token: { json: $.t } } } ]",
        ),
        one(&format!("flow: visit\n        steps: [ {} ]", many(101, "{ get: 'http://a/' }"))),
        // Extraction.
        step(
            "get: 'http://a/', extract: { uuid: { json: $.t }, 'a b': { header: x }, c: { header: 'x y' } }",
        ),
        step(
            "get: 'http://a/', extract: { a: { json: t }, b: { regex: '(' }, c: { cookie: 'a=b' }, d: { xpath: / } }",
        ),
        // Templates.
        one("get: 'http://{{ uuid }}/'"),
        one(
            "get: 'http://a/{{ uid }}?x={{ int(2) }}'\n        headers: { x: '{{ choice() }}', y: '{{ users.email }}' }\n        auth: { bearer: '{{ token }}' }",
        ),
        // Data.
        load("data: { users: { csv: '' }, uuid: { csv: u.csv }, '1': { jsonl: u.jsonl } }"),
        load("data: { users: { xml: u.xml } }"),
        load("data: { users: { csv: u.csv } }\n    headers: { x: '{{ user.email }} {{ users }}' }"),
        // Credentials.
        load("auth: { basic: { user: 'a:b', password: c } }\n    headers: { Authorization: x }"),
        load("auth: { bearer: '' }"),
        load("auth: { digest: { user: a, password: b } }"),
        load("auth: { basic: { user: a } }"),
        load("auth: { basic: { user: a, password: \"b\\nc\" } }"),
        load("compression: gzip"),
        // Answers.
        one(
            "get: http://a/\n        expect: { header: { 'a b': x, c: '/(/' }, body: '', regex: '[', json: { a.b: 1, '$.c[': 2 } }",
        ),
        one("get: http://a/\n        expect: { size: 10KB }"),
        one("get: http://a/\n        expect: { size: < 10 parsecs, header: text/html, json: [1] }"),
        one("head: http://a/\n        expect: { body: x }"),
        changed(&[("8080/health, expect: { status: 200 }", "8080/health, expect: { regex: '(' }")]),
        changed(&[("8080/health", "8080/health?{{ uuid }}")]),
    ];
    check_refused("exchanges", &texts);
}

#[test]
fn says_what_contradicts_itself_in_how_a_load_travels() {
    let with = |fields: &str, url: &str| {
        changed(&[
            ("rate: 2000/s", &format!("rate: 2000/s\n    {}", fields.replace("; ", "\n    "))),
            ("http://127.0.0.1:8080/cart", url),
        ])
    };
    let tcp = |request: &str| {
        let get = "get: http://127.0.0.1:8080/cart\n        weight: 4\n        expect: { status: 200 }";
        let post = "\n      - post: http://127.0.0.1:8080/checkout\n        json: { item: \"{{ uuid }}\" }";
        changed(&[(get, request), (post, ""), ("lab: replicas\n", "")])
    };
    let secure = "https://shop.test/cart";
    let texts = [
        with("http: h3", secure),
        with("http: 2", secure),
        with("tls: { insecure: true }", "http://shop.test/cart"),
        with("tls: { cert: a.pem }", secure),
        with("tls: { key: a.key }", secure),
        with("tls: { ca: ca.pem, insecure: true }", secure),
        with("tls: { sni: 'not a name' }", secure),
        with("streams: 10", secure),
        with("http: h2; streams: 0", secure),
        with("http: h2; streams: 10001", secure),
        with("redirects: 21", secure),
        with("redirects: -1", secure),
        with("connections: { max: 0, requests: 0 }", secure),
        with("connections: { fresh: true }", secure),
        with(&format!("unix_socket: /{}", "x".repeat(107)), secure),
        with("unix_socket: /run/a; resolve: { 'shop.test:443': '127.0.0.1:1' }", secure),
        with("resolve: { 'shop.test:443': '127.0.0.1' }", secure),
        with("resolve: { 'shop.test': '127.0.0.1:1' }", secure),
        with("resolve: { 'other.test:443': '[::1]:1' }", secure),
        tcp("tcp: localhost"),
        tcp("tcp: 'http://localhost:1'"),
        tcp("tcp: localhost:1/x"),
        tcp("tcp: cache.lab:1\n        get: http://a/"),
        tcp("tcp: localhost:1\n        body: x"),
        tcp("tcp: localhost:1\n        headers: { a: b }\n        send: '{{ uid }}'"),
        tcp("get: http://a/\n        send: x\n        expect: { bytes: y }"),
        changed(&[
            ("rate: 2000/s", "rate: 2000/s\n    http: h2"),
            (
                "get: http://127.0.0.1:8080/cart\n        weight: 4\n        expect: { status: 200 }",
                "tcp: localhost:1",
            ),
        ]),
        changed(&[
            ("rate: 2000/s", "rate: 2000/s\n    redirects: 1"),
            (
                "get: http://127.0.0.1:8080/cart\n        weight: 4\n        expect: { status: 200 }",
                "tcp: localhost:1",
            ),
        ]),
    ];
    check_refused("transport", &texts);
    parse(&input(&with(
        "http: h2; streams: 7; redirects: 20; connections: { max: 3, requests: 9 }; tls: { sni: a.test }; \
         resolve: { 'shop.test:443': '[::1]:1' }",
        secure,
    )))
    .unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn says_what_is_wrong_with_arrivals() {
    let points = |count: usize| {
        let points: Vec<_> = (0..count).map(|n| format!("{{ at: {n}s, rate: {n}/s }}")).collect();
        format!("{{ ramp: [ {} ] }}", points.join(", "))
    };
    let rates = [
        "[2000/s]",
        "ramp",
        "{ ramp: 5/s }",
        "{ ramp: [] }",
        "{ ramp: [ { at: 0s, rate: 5/s } ] }",
        "{ ramp: [ { at: 0s }, { at: 1s, rate: 2 } ] }",
        "{ ramp: [ { at: 1s, rate: 1/s }, { at: 1s, rate: 2/s }, { at: 0s, rate: 2e6/s } ] }",
        "{ ramp: [ { at: 0s, rate: 0/s }, { at: 9s, rate: 0/s } ] }",
        &points(check_arrivals::MAX_POINTS + 1),
        "{ steps: { from: 1/s } }",
        "{ steps: { from: 0/s, to: 0/s, by: 0/s, every: 0s } }",
        "{ steps: { from: 2e6/s, to: 3e6/s, by: 1/s, every: 1s } }",
        "{ spikes: { base: 1/s, peak: 2e6/s, every: 1s, for: 1s } }",
        "{ spikes: { base: 0/s, peak: 0/s, every: 0s, for: 0s } }",
        "{ sine: { mean: 5/s, amplitude: 6/s, period: 0s } }",
        "{ sine: { mean: 600000/s, amplitude: 600000/s, period: 1m } }",
        "{ replay: '' }",
        "{ replay: offsets.txt }\n    burst: 2",
        "5/s\n    burst: 0",
        "5/s\n    think: 1s",
        "5/s\n    users: 2",
    ];
    let loads = ["users: 0", "users: 2\n    burst: 2", "timeout: 1s"];
    let texts: Vec<_> = (rates.iter().map(|rate| format!("rate: {rate}")))
        .chain(loads.iter().map(|load| (*load).to_owned()))
        .map(|load| changed(&[("rate: 2000/s", &load)]))
        .collect();
    check_refused("arrivals", &texts);
}

#[test]
fn says_what_is_wrong_with_a_search_for_a_rate() {
    const SEARCH: &str = "load: shoppers, from: 100/s, to: 5000/s, holds: [ p99(latency) < 50ms ]";
    let searches = [
        "find_rate: shoppers",
        "find_rate: {}",
        "find_rate: { load: shopers, from: 100/s, to: 5000/s, holds: [ p99(latency) < 50ms ] }",
        "find_rate: { load: shoppers, from: 0/s, to: 0/s, holds: [], hold_for: 1ms, within: 0% }",
        "find_rate: { load: shoppers, from: 1/s, to: 2e6/s, holds: [ p99(latncy) < 50ms ] }",
        "find_rate: { load: shoppers, from: 1/s, to: 9/s, holds: [ p99(latency) < 50ms over 5s, time_to_steady < 1s, 'p99(latency, others) < 1s', slo(others) ] }",
        &format!("for: 10s\n    find_rate: {{ {SEARCH} }}"),
        &format!("at_most: 5m\n    until: steady\n    find_rate: {{ {SEARCH} }}"),
        &format!("find_rate: {{ {SEARCH} }}"),
        &format!("at_most: 30s\n    find_rate: {{ {SEARCH} }}"),
        "at_most: 5m\n    find_rate: { load: waiting, from: 1/s, to: 9/s, holds: [ rate(good) > 1% ] }",
        "at_most: 5m\n    find_rate: { load: moving, from: 1/s, to: 9/s, holds: [ rate(good) > 1% ] }",
    ];
    let loads = "slos:\n  others: { load: waiting, good: status < 500, objective: 99% }";
    let more = "load:\n  waiting: { users: 1, requests: [ { get: 'http://127.0.0.1/' } ] }\n  moving: { rate: { sine: { mean: 5/s, amplitude: 1/s, period: 1m } }, requests: [ { get: 'http://127.0.0.1/' } ] }";
    let texts: Vec<_> = searches
        .iter()
        .map(|search| {
            changed(&[
                (
                    "  recover: { at_most: 30s, until: steady }",
                    &format!("  capacity:\n    {search}\n  recover: {{ at_most: 30s, until: steady }}"),
                ),
                ("slos:", loads),
                ("load:", more),
            ])
        })
        .collect();
    check_refused("find_rate", &texts);
}

#[test]
fn all_mistakes_of_a_file_come_at_once() {
    let text = changed(&[
        ("experiment: checkout survives one slow replica", "experiment: []"),
        ("seed: 42", "sed: 42"),
        ("rate: 2000/s", "rate: 2000"),
        ("status < 500", "stats < 500"),
        ("on: one-api", "on: one-apy"),
        ("slow-api: [ p99", "slow-apy: [ p99"),
        ("fault: 5m", "fault: 5"),
    ]);
    let problems = parse(&input(&text)).unwrap_err();
    let lines: Vec<_> = problems
        .list
        .iter()
        .map(|problem| crate::error::line_and_column(&text, problem.span.start).0)
        .collect();
    assert_eq!(problems.list.len(), 7, "{problems}");
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn says_which_variable_is_missing() {
    let variables = [("CHECKOUT_RATE", "lots"), ("LONG", &"x".repeat(1 << 20))];
    let variables: BTreeMap<_, _> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let answers = [
        changed(&[("rate: 2000/s", "rate: ${CHECKOUT_RAT}"), ("seed: 42", "seed: '${SEED}'")]),
        changed(&[("rate: 2000/s", "rate: ${CHECKOUT_RATE}"), ("seed: 42", "seed: ${SEED:-x}")]),
        changed(&[("why: the", "why: ${1X} ${} the"), ("seed: 42", "seed: ${SEED")]),
        changed(&[("pick: 1", "pick: ${PICK}")]),
        changed(&[("why: the", "why: |\n  first\n  ${MISSING}\nlimits2: the")]),
        changed(&[("rate(good) >= 99.9% over 10s", "rate(${WHAT:-god}) >= 99.9%")]),
        changed(&[("why: the", "why: ${LONG}${LONG}${LONG}${LONG}${LONG} the")]),
    ]
    .map(|text| refused(&Input { variables: variables.clone(), ..input(&text) }));
    insta::assert_snapshot!("variables", answers.join("\n\n------\n\n"));
}

#[test]
fn says_which_override_is_wrong() {
    let answers = [
        &["load.shoppers.rat=100/s", "seed=x"][..],
        &["load.shopers.rate=100/s"],
        &["phases.slow-api.faults.1.latency.delay=1s", "phases.slow-api.faults.first.latency.delay=1s"],
        &["load.shoppers.rate.per_second=100"],
        &["load..rate=100/s"],
        &["lod.shoppers.rate=100/s"],
        &["slos.fast.good=latncy < 1s", "steady_state.0=rate(god) > 1%"],
        &["steady_state=[rate(god) > 1%, ': ']"],
        &["why=[unclosed"],
        &["why=!tag x"],
        &["abort.5=rate(good) < 1%"],
        &["limits={targets: 0%}"],
        &["steady_state.0.probe.http.get=x"],
    ]
    .map(|sets| refused(&overridden(sets)));
    insta::assert_snapshot!("overrides", answers.join("\n\n------\n\n"));
}

#[test]
fn says_what_an_objective_beside_the_load_needs() {
    let slo =
        |text: &str| changed(&[("slos:\n", &format!("slos:\n  beside: {{ objective: 99%, {text} }}\n"))]);
    let prometheus = |text: &str| slo(&format!("prometheus: {{ url: 'http://localhost:9090', {text} }}"));
    let events = "good: 'hits_total{code!~\"5..\"}', total: hits_total";
    let texts = [
        slo("window: 30d"),
        slo("load: shoppers"),
        slo("load: shoppers, good: status < 500, containers: { on: one-api }"),
        slo("prometeus: { url: 'http://localhost:9090' }"),
        slo("containers: { on: two-api }"),
        slo("containers: { on: one-api, every: 100ms, no_data: never }"),
        slo("containers: { on: one-api, every: 10s }, slices: { of: 5s }"),
        slo("containers: { on: one-api }, slices: { of: 5s, when: p99(latency) < 1s }"),
        prometheus("every: 5s"),
        prometheus("good: up"),
        prometheus(&format!("{events}, query: up, value: == 1")),
        prometheus("query: up, value: '1'"),
        prometheus("query: ' ', value: == 1"),
        prometheus("query: up, value: == 1").replace("9090", "9090/?a=b"),
        prometheus("query: up, value: == 1, tls: { insecure: true }, timeout: 0s, every: 1h"),
        prometheus("query: up, value: == 1").replace("99%, p", "99%, slices: { of: 10s }, p"),
        prometheus("good: hits_total, total: hits_total"),
        prometheus("good: 'sum(rate(hits_total{code=\"200\"}[30s]))', total: 'sum(rate(hits_total[30s]))'"),
        prometheus(&format!("{events}, kind: rates")),
        prometheus(&format!("{events}, kind: gauges")),
        prometheus(&format!("{events}, every: 15s")).replace("rate(good) >= 99.9% over 10s", "slo(beside)"),
        slo("containers: { on: one-api }").replace("rate(good) < 80% over 3s", "slo(beside) over 3s"),
        slo("containers: { on: one-api }").replace("slo(availability)", "'slo(beside) over 5s'"),
        slo("containers: { on: one-api }").replace("slo(availability)", "harmed(beside) < 5"),
    ];
    check_refused("beside_the_load", &texts);
}
