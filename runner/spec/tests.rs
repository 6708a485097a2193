//! The language as people meet it: what is read, and what is said about mistakes.

mod mistakes;

use super::expr::{Check, Expr, Metric, Op, Outcome, Quantity, Series, Term};
use super::*;
use crate::units::{Duration, Rate};

/// The example of the language reference, with everything that version 1 has.
const EXAMPLE: &str = r#"
experiment: checkout survives one slow replica
why: the gateway hedges around a slow backend; prove it before the spring release
seed: 42

lab: replicas

targets:
  one-api: { service: api, pick: 1 }

load:
  shoppers:
    rate: 2000/s
    requests:
      - get: http://127.0.0.1:8080/cart
        weight: 4
        expect: { status: 200 }
      - post: http://127.0.0.1:8080/checkout
        json: { item: "{{ uuid }}" }

slos:
  availability: { load: shoppers, good: status < 500, objective: 99.9%, window: 30d }
  fast:         { load: shoppers, good: latency < 300ms, objective: 95% }

steady_state:
  - rate(good) >= 99.9% over 10s
  - p99(latency) < 300ms over 10s
  - probe: { http: { get: http://127.0.0.1:8080/health, expect: { status: 200 } } }

phases:
  baseline: { for: 20s }
  slow-api:
    for: 40s
    faults:
      - latency: { on: one-api, delay: 200ms, jitter: 20ms }
  recover: { at_most: 30s, until: steady }

abort: [ rate(good) < 80% over 3s ]
expect:
  slow-api: [ p99(latency) < 400ms, slo(availability) ]
  recover:  [ time_to_steady < 10s ]
limits: { targets: 50%, fault: 5m }
"#;

fn input(text: &str) -> Input {
    Input { file: "test.yaml".into(), text: text.into(), ..Input::default() }
}

fn read(text: &str) -> Experiment {
    parse(&input(text)).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_example_of_the_reference_reads_as_written() {
    let experiment = read(EXAMPLE);
    assert_eq!(experiment.seed, 42);
    assert_eq!(experiment.lab.as_deref().map(Lab::word), Some("replicas"));
    assert_eq!(experiment.targets.get("one-api").unwrap().pick.value, Pick::Count(1));
    let shoppers = experiment.load.get("shoppers").unwrap();
    assert_eq!(shoppers.rate.as_ref().unwrap().value, Shape::Held(Rate::per_s(2000.0)));
    assert_eq!(shoppers.requests[0].method_and_url().unwrap().0, "GET");
    assert!(shoppers.requests[0].expect.status.contains(200));
    assert!(!shoppers.requests[0].expect.status.contains(201));
    let good = |slo: &str| experiment.slos.get(slo).unwrap().sli.load().unwrap().good.terms.clone();
    assert_eq!(good("availability"), [Term::Status(Op::Lt, 500)]);
    assert_eq!(good("fast"), [Term::Latency(Op::Lt, 300_000_000)]);
    let Steady::Check(first) = &experiment.steady_state[0] else { panic!("a check") };
    assert_eq!(lone(first), &Metric::Share(Outcome::Good));
    assert_eq!(first.right, Expr::Amount(Quantity::Share(0.999)));
    assert_eq!(first.over, Some(Duration::from_s(10)));
    assert_eq!(experiment.phases.names().collect::<Vec<_>>(), ["baseline", "slow-api", "recover"]);
    assert_eq!(experiment.phases.get("recover").unwrap().longest(), Duration::from_s(30));
    let expected = experiment.expect.get("slow-api").unwrap();
    assert_eq!(lone(&expected[0]), &Metric::Quantile(0.99, Series::Latency));
    assert_eq!(expected[1].slo(), Some("availability"));
}

/// What a check with one figure measures.
fn lone(check: &Check) -> &Metric {
    &check.lone().expect("one figure").metric
}

/// The example with pieces of it replaced.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(EXAMPLE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the example has `{from}`");
        text.replacen(from, to, 1)
    })
}

#[test]
fn variables_become_scalars_and_nothing_else() {
    let text = changed(&[
        ("seed: 42", "seed: ${SEED}"),
        ("rate: 2000/s", "rate: ${RATE:-500/s}"),
        ("why: the gateway", "why: ${LIST} $${kept} ${EMPTY}${EMPTY:-x}${FOO_1:-} the gateway"),
        ("service: api", "service: '${SEED}'"),
        ("pick: 1", "pick: '${PICK}'"),
        ("objective: 95% }", "objective: '${OBJ:-95%}' }"),
        ("weight: 4", "weight: \"${SEED}\""),
        ("item: \"{{ uuid }}\"", "item: '${SEED}'"),
    ]);
    let variables = [("SEED", "7"), ("LIST", "[a, b]: &c"), ("EMPTY", ""), ("PICK", "all")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let experiment =
        parse(&Input { variables, ..input(&text) }).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(experiment.seed, 7);
    assert_eq!(
        experiment.load.get("shoppers").unwrap().rate.as_ref().unwrap().value,
        Shape::Held(Rate::per_s(500.0))
    );
    let why = experiment.why.unwrap();
    assert!(why.starts_with("[a, b]: &c ${kept} x the gateway"), "{why}");
    let requests = &experiment.load.get("shoppers").unwrap().requests;
    assert_eq!(requests[0].weight.value, 7);
    assert_eq!(requests[1].json.as_ref().unwrap().value, serde_json::json!({ "item": "7" }));
    let target = experiment.targets.get("one-api").unwrap();
    assert_eq!((target.service.as_deref(), target.pick.value), (Some("7"), Pick::All));
}

fn overridden(sets: &[&str]) -> Input {
    let split = |set: &&str| set.split_once('=').map(|(path, value)| (path.to_owned(), value.to_owned()));
    Input { overrides: sets.iter().filter_map(split).collect(), ..input(EXAMPLE) }
}

#[test]
fn overrides_replace_and_add_what_the_file_could_have_said() {
    let sets = [
        "seed=43",
        "load.shoppers.rate=100/s",
        "phases.slow-api.faults.0.latency.delay=1s",
        "phases.slow-api.faults.0.latency.peers=[one-api, 10.0.0.0/8]",
        "lab.replicas.hedge=20ms",
        "lab.replicas.apis=5",
        "load.shoppers.requests.0.headers.x-version=1.10",
        "load.shoppers.requests.0.expect.status=2xx",
        "why=${WHY:-because}",
        "slos.fast.window=null",
        "limits.fault=1m",
        "slos.quick={ load: shoppers, good: latency < 100ms, objective: 50% }",
    ];
    let mut input = overridden(&sets);
    input.text = input.text.replace("seed: 42", "seed: ${NOT_NEEDED}");
    let experiment = parse(&input).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(experiment.seed, 43);
    assert_eq!(experiment.why.as_deref(), Some("because"));
    let shoppers = experiment.load.get("shoppers").unwrap();
    assert_eq!(shoppers.rate.as_ref().unwrap().value, Shape::Held(Rate::per_s(100.0)));
    assert_eq!(shoppers.requests[0].headers["x-version"], "1.10");
    assert!(shoppers.requests[0].expect.status.contains(204));
    let crate::fault::Fault::Latency(latency) = &experiment.phases.get("slow-api").unwrap().faults[0].value
    else {
        panic!("a latency fault")
    };
    assert_eq!(latency.delay.value, Duration::from_s(1));
    assert_eq!(latency.filter.peers.len(), 2);
    let Some(Lab::Replicas(replicas)) = experiment.lab.as_deref() else { panic!("the built-in lab") };
    assert_eq!((replicas.apis, replicas.hedge), (5, Some(Duration::from_ms(20))));
    assert_eq!(experiment.slos.len(), 3);
}

#[test]
fn places_count_bytes_and_columns_count_characters() {
    let text = changed(&[("why: the gateway", "why: “ünïcödé” 𝄞 the gateway"), ("seed: 42", "séed: 42")]);
    let problems = parse(&input(&text)).unwrap_err();
    assert_eq!(&text[problems.list[0].span.start..problems.list[0].span.end], "séed");
    let text = changed(&[
        ("good: status < 500", "good: /* 𝄞𝄞 */ stäts < 500"),
        ("\nexperiment", "\u{feff}\nexperiment"),
    ]);
    let problems = parse(&input(text.trim_start_matches('\u{feff}'))).unwrap_err();
    let span = problems.list[0].span;
    assert_eq!(&text.trim_start_matches('\u{feff}')[span.start..span.end], "/*");
}

#[test]
fn values_keep_the_text_they_were_written_as() {
    let text = changed(&[
        ("service: api", "image: 1.10, label: True, name: 007, network: 0x1F"),
        ("    requests:", "    headers: { a: 1.0, b: yes, c: 1e3, d: '' }\n    requests:"),
        ("seed: 42", "seed: 18446744073709551615"),
    ]);
    let experiment = read(&text);
    let target = experiment.targets.get("one-api").unwrap();
    let texts = [&target.image, &target.label, &target.name, &target.network];
    assert_eq!(texts.map(|text| text.as_deref().unwrap()), ["1.10", "True", "007", "0x1F"]);
    let headers = &experiment.load.get("shoppers").unwrap().headers;
    assert_eq!(headers.values().collect::<Vec<_>>(), ["1.0", "yes", "1e3", ""]);
    assert_eq!(experiment.seed, u64::MAX);
}

#[test]
fn figures_of_phases_and_requests_are_put_together() {
    let text = changed(&[
        (
            "[ p99(latency) < 400ms, slo(availability) ]",
            "\n    - p99(latency) < 2 * p99(latency, baseline)\n    - rate(good, baseline) - rate(good) < 1%\n    \
             - p99.95(latency, request=\"GET /cart\") / p50(latency, shoppers, baseline) < 10\n    \
             - throughput(good) > 90% * throughput(good, phase=baseline) over 5s\n    \
             - (max(latency) - min(latency)) / 2 < 1s\n    - time_in_violation(fast) < 5s\n    \
             - budget_spent_by_time(availability) < 10%\n    - harmed <= 100\n",
        ),
        (
            "limits:",
            "thresholds: { http_req_duration: ['p(95)<200', { threshold: p(99)<900, abortOnFail: true }] }\nlimits:",
        ),
    ]);
    let experiment = read(&text);
    let checks = experiment.expect.get("slow-api").unwrap();
    let units: Vec<_> = checks.iter().map(|check| check.unit.words()).collect();
    assert_eq!(checks.len(), 8);
    assert_eq!(units[0], "a duration");
    assert_eq!(units[1], "a percentage");
    assert_eq!(units[2], "a plain number");
    assert_eq!(units[3], "a rate (so many a second)");
    assert_eq!(experiment.thresholds.get("http_req_duration").unwrap().len(), 2);
    let saved = serde_json::to_string(&experiment).unwrap();
    assert_eq!(serde_json::from_str::<Experiment>(&saved).unwrap(), experiment);
}

#[test]
fn fields_with_nothing_behind_them_are_left_out() {
    let text = changed(&[
        ("abort: [ rate(good) < 80% over 3s ]", "abort:\n#  - rate(good) < 80%"),
        ("limits: { targets: 50%, fault: 5m }", "limits:"),
        ("lab: replicas", "lab: { replicas: }"),
        ("weight: 4", "weight: ~"),
    ]);
    let experiment = read(&text);
    assert!(experiment.abort.is_empty());
    assert_eq!(experiment.limits, Limits::default());
    assert_eq!(experiment.load.get("shoppers").unwrap().requests[0].weight.value, 1);
    assert_eq!(experiment.lab, read(EXAMPLE).lab);
}

#[test]
fn an_experiment_is_the_same_after_saving_and_reading() {
    for text in [
        EXAMPLE.to_owned(),
        changed(&[("lab: replicas", "lab: { compose: docker/compose.yaml }")]),
        changed(&[
            ("pick: 1", "pick: 50%"),
            ("expect: { status: 200 }", "expect: { status: [2xx, 304, < 200, '>= 500', 401-403] }"),
        ]),
        changed(&[("jitter: 20ms", "peers: [one-api], ports: [80], protocol: tcp, correlation: 25%")]),
    ] {
        let experiment = read(&text);
        let saved = serde_json::to_string(&experiment).unwrap();
        let again: Experiment =
            serde_json::from_str(&saved).unwrap_or_else(|error| panic!("{error}: {saved}"));
        assert_eq!(again, experiment);
        assert_eq!(serde_json::to_string(&again).unwrap(), saved);
    }
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Whatever the text, reading ends, and every message can be shown.
        #[test]
        fn no_text_breaks_the_reader(text in "[-a-zé:{}\\[\\],&*!|>'\"%@`#? \t\n.$0-9]{0,200}") {
            let _ = parse(&input(&text)).map_err(|problems| problems.to_string());
        }

        /// Nor does a piece of noise inside an experiment.
        #[test]
        fn no_noise_breaks_the_reader(at in 0..EXAMPLE.len(), noise in "[-a-zé:{}\\[\\],&*!|>'\"%#? \t\n.$<=()0-9]{1,8}", cut in 0usize..20) {
            let tail = &EXAMPLE[(at + cut).min(EXAMPLE.len())..];
            let text = format!("{}{noise}{tail}", &EXAMPLE[..at]);
            let _ = parse(&input(&text)).map_err(|problems| problems.to_string());
        }

        /// Checks print what they parse, and their thresholds are what was written.
        #[test]
        fn checks_print_what_they_parse(share in 1u32..1000, ms in 1u64..100_000, over in 1u64..100) {
            let text = format!("p{}(latency, my load) <= {ms}ms over {over}s", f64::from(share) / 10.0);
            let check: expr::Check = text.parse().unwrap();
            prop_assert_eq!(check.to_string(), text);
            prop_assert_eq!(check.over, Some(Duration::from_s(over)));
            prop_assert_eq!(check.figures()[0].names[0].text.as_str(), "my load");
            prop_assert_eq!(&check.right, &Expr::Amount(Quantity::Seconds(Duration::from_ms(ms).as_s())));
            let Metric::Quantile(q, Series::Latency) = lone(&check) else { panic!("a quantile") };
            prop_assert_eq!(*q, f64::from(share) / 1000.0);
        }

        /// A set of status codes holds the same codes after printing and reading.
        #[test]
        fn status_sets_print_what_they_parse(low in 100u16..=599, len in 0u16..500, status in 100u16..=599) {
            let set = expr::StatusSet { ranges: vec![(low, (low + len).min(599))] };
            let again: expr::StatusSet = set.to_string().parse().unwrap();
            prop_assert_eq!(set.contains(status), again.contains(status));
        }
    }
}
