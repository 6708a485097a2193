//! `chaos load`: load at a URL, without an experiment around it.
//!
//! The flags are put into the words of the experiment language and read by it, so that they mean here what
//! they mean there, and are refused for the same reasons. Start at [`run`].

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::print;
use crate::error::{Error, Exit, Problems, Result};
use crate::load::Endpoints;
use crate::output;
use crate::plan::inventory::Inventory;
use crate::plan::{Plan, build};
use crate::report::load::{self, Answered};
use crate::report::{Case, Format, Ink};
use crate::run::adhoc::{Adhoc, started};
use crate::spec::yaml::MAX_TEXT_BYTES;
use crate::spec::{Input, parse};
use crate::verdict::{Judgement, judge_load};
use crate::view::{Mode, View, ink_for};

/// What the load and its only phase are called in checks and reports.
const NAME: &str = "load";
/// What is sent where nothing is said: an open model, gentle enough for any server.
const DEFAULT_RATE: &str = "50/s";
/// How long it is sent where nothing is said.
const DEFAULT_DURATION: &str = "10s";
/// The longest that a load lasts that ends by its number of requests.
const LONGEST: &str = "24h";

/// Arguments of `chaos load`.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// What to ask for: `http://HOST[:PORT]/PATH` or `https://…`.
    url: String,
    /// Arrivals a second, as `500/s`, which do not wait for answers [default: 50/s].
    #[arg(long, conflicts_with = "users")]
    rate: Option<String>,
    /// Space arrivals as independent users would, at random, instead of evenly. (An experiment's loads do
    /// so unless told otherwise.)
    #[arg(long, conflicts_with = "users")]
    poisson: bool,
    /// Instead of a rate: so many users, each of whom waits for an answer before asking again. Blind to
    /// coordinated omission: while the server stalls, they do not ask, and nobody counts what they would
    /// have asked.
    #[arg(long, value_name = "N")]
    users: Option<u32>,
    /// How long to send [default: 10s; with --requests: until they are sent, at most 24h].
    #[arg(long)]
    duration: Option<String>,
    /// End after this many requests.
    #[arg(long, value_name = "N")]
    requests: Option<NonZeroU64>,
    /// A header to send, as `name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// A body to send, by POST unless --method says otherwise; `@FILE` for a file's text. `{{ uuid }}` and
    /// the language's other templates are filled in.
    #[arg(short = 'd', long = "data", value_name = "BODY")]
    data: Option<String>,
    /// The method.
    #[arg(long, ignore_case = true, value_parser = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])]
    method: Option<String>,
    /// Find a host elsewhere than its name says, as `HOST:PORT:ADDRESS`; may be repeated.
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    resolve: Vec<String>,
    /// Connect to this unix socket, wherever the URL points.
    #[arg(long, value_name = "PATH")]
    unix_socket: Option<String>,
    /// Connections open at once, at most; what finds none waits for one, and its wait is in its latency.
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// Speak HTTP/2: agreed upon within TLS, or at once to `http://`.
    #[arg(long)]
    http2: bool,
    /// With --http2: requests under way at once on one connection [default: 100].
    #[arg(long, value_name = "N", requires = "http2")]
    streams: Option<u32>,
    /// Follow up to so many redirects of each request, on the URL's own host [default: 0].
    #[arg(long, value_name = "N")]
    redirects: Option<u32>,
    /// Accept any certificate of an `https://` server.
    #[arg(long)]
    insecure: bool,
    /// Which answers are good: `200`, `2xx`, `< 500`, or several with commas [default: `< 400`].
    #[arg(long, value_name = "STATUS")]
    expect_status: Option<String>,
    /// What must hold, as `p99 < 200ms`, `good >= 99.9%`, or any check of the experiment language; may be
    /// repeated.
    #[arg(long = "slo", value_name = "CHECK")]
    slos: Vec<String>,
    /// Give a request up after this long, counted from when it was due.
    #[arg(long, default_value = "10s")]
    timeout: String,
    /// Requests under way at once, at most; what is due beyond it is dropped, and counted.
    #[arg(long, value_name = "N", default_value_t = 10_000, conflicts_with = "users")]
    max_in_flight: u32,
    /// Print nothing but the summary and errors.
    #[arg(long, short)]
    quiet: bool,
    /// Save what was measured as JSON; `-` prints it instead of the summary.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Save latencies as an HdrHistogram log, which `chaos hist` and HdrHistogram's own tools read.
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Save a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    setup: super::setup::Args,
}

const AFTER_HELP: &str = "Latency is counted from the instant at which a request was due, so a stalled server \
    is seen as its users would see it.\n\n\
    Exits with 0 if every --slo held (or none was given), 1 if one was broken, 2 for a mistake on the command \
    line, 3 if this machine can't do it, 5 if the figures say nothing (the generator was saturated, no data), \
    6 if stopped by Ctrl-C; the summary is printed all the same.";

/// Runs the verb.
pub fn run(args: &Args) -> Result<Exit> {
    let plan = plan(args)?;
    let endpoints = endpoints(&args.resolve)?;
    let printed = |file: &&PathBuf| file.as_path() == Path::new("-");
    let files = [&args.json, &args.hlog, &args.html].into_iter().flatten();
    files.filter(|file| !printed(file)).try_for_each(|file| writable(file))?;
    let mode = if args.quiet { Mode::Quiet } else { Mode::Auto };
    let adhoc = Adhoc {
        started: started(plan.clone(), super::run::command_line()),
        endpoints,
        setup: args.setup.setup(),
        requests: args.requests,
        view: View::for_terminal(mode),
    };
    let entries = super::runtime()?.block_on(adhoc.run())?;
    let judgement = judge_load(&plan, &entries);
    let answered = load::of(&judgement);
    for (name, file) in [("hlog", &args.hlog), ("html", &args.html)] {
        if let Some(file) = file {
            output::replace(file, report(name, &judgement, &entries).as_bytes())?;
        }
    }
    say(&answered, args.json.as_deref())?;
    Exit::from_code(judgement.exit_code)
        .ok_or_else(|| Error::mistake("the judgement has an exit code that does not exist"))
}

/// Saves the JSON, if it is asked for, and prints what is for stdout.
fn say(answered: &Answered, json: Option<&Path>) -> Result<()> {
    match json {
        Some(file) if file == Path::new("-") => return print(&load::json(answered)),
        Some(file) => output::replace(file, load::json(answered).as_bytes())?,
        None => {}
    }
    print(&load::terminal(answered, ink_for(&std::io::stdout())))
}

/// The form of report called `name`, as of any run.
fn report(name: &str, judgement: &Judgement, entries: &[crate::event::Entry]) -> String {
    let started = entries.iter().find_map(|entry| match &entry.event {
        crate::event::Event::Started(started) => Some(started),
        _ => None,
    });
    let started = started.expect("the first event is `started`");
    let format = Format::named(name).expect("it is one of the formats");
    (format.render)(&Case { started, entries, skipped: &[], judgement, cut_short: None, dir: "" }, Ink::Plain)
}

/// Fails now rather than after an hour of load, where a file can't be written.
pub(super) fn writable(file: &Path) -> Result<()> {
    if file.is_dir() {
        return Err(Error::mistake(format!("{} is a folder", file.display())).hint("name a file in it"));
    }
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| {
        Error::environment(format!("could not make the folder of {}", file.display()))
            .because(error)
            .hint("name a file in a folder you can write to")
    })
}

/// The plan of an experiment with one load, one phase, and nothing broken.
fn plan(args: &Args) -> Result<Plan> {
    let input = Input { file: "the command line".into(), text: experiment(args)?, ..Input::default() };
    let experiment = parse(&input).map_err(|problems| mistake(&problems))?;
    let inventory = Inventory { containers: Vec::new(), kernel: None };
    build(&experiment, &inventory).map_err(|refusals| {
        let list = refusals.into_iter().map(|refusal| refusal.problem).collect();
        mistake(&input.problems(list))
    })
}

/// Mistakes without their places, which are in a text that nobody wrote.
fn mistake(problems: &Problems) -> Error {
    // The one field that goes by another name here.
    let named = |text: &str| text.replace("`for`", "`--duration`");
    let messages: Vec<_> = problems.list.iter().map(|problem| named(&problem.message)).collect();
    let hints: Vec<_> = problems.list.iter().filter_map(|problem| problem.hint.as_deref()).collect();
    let error = Error::mistake(messages.join("; "));
    if hints.is_empty() { error } else { error.hint(hints.join("; ")) }
}

/// The same as an experiment, in JSON, which is YAML.
fn experiment(args: &Args) -> Result<String> {
    let body = args.data.as_deref().map(body).transpose()?;
    let default = if body.is_some() { "POST" } else { "GET" };
    let method = args.method.as_deref().unwrap_or(default).to_lowercase();
    let mut request = Map::from_iter([(method, args.url.as_str().into())]);
    request.extend(body.map(|body| ("body".into(), body.into())));
    if let Some(status) = &args.expect_status {
        request.insert("expect".into(), json!({ "status": status }));
    }
    let mut load = Map::from_iter([
        ("timeout".into(), args.timeout.as_str().into()),
        ("max_in_flight".into(), args.max_in_flight.into()),
        ("headers".into(), Value::Object(headers(&args.headers)?)),
        ("requests".into(), json!([request])),
    ]);
    load.extend(transport(args));
    let rate = args.rate.as_deref().unwrap_or(DEFAULT_RATE);
    let arrivals = if args.poisson { "poisson" } else { "constant" };
    let model = match args.users {
        Some(users) => {
            load.insert("users".into(), users.into());
            format!("{users} users who wait for answers (blind to coordinated omission)")
        }
        None => {
            load.insert("rate".into(), rate.into());
            load.insert("arrivals".into(), arrivals.into());
            format!("{rate}, {arrivals}")
        }
    };
    let duration = match (&args.duration, args.requests) {
        (Some(duration), _) => duration,
        (None, Some(_)) => LONGEST,
        (None, None) => DEFAULT_DURATION,
    };
    let end = match (args.requests, &args.duration) {
        (Some(requests), None) => format!("{requests} requests"),
        (Some(requests), Some(duration)) => format!("{requests} requests, at most {duration}"),
        (None, _) => format!("for {duration}"),
    };
    let mut experiment = json!({
        "experiment": args.url,
        "why": format!("{model}, {end}"),
        "load": { NAME: load },
        "phases": { NAME: { "for": duration } },
    });
    if !args.slos.is_empty() {
        let checks: Vec<_> = args.slos.iter().map(|slo| check(slo)).collect();
        experiment["expect"] = json!({ NAME: checks });
    }
    // The shell has filled in its variables already.
    let text = experiment.to_string().replace("${", "$${");
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the command line and the body come to more than {MAX_TEXT_BYTES} bytes");
        return Err(Error::mistake(message).hint("send a smaller body"));
    }
    Ok(text)
}

/// How the load travels, as far as flags say.
fn transport(args: &Args) -> impl Iterator<Item = (String, Value)> {
    let fields = [
        ("http", args.http2.then(|| "h2".into())),
        ("streams", args.streams.map(Value::from)),
        ("connections", args.connections.map(|max| json!({ "max": max }))),
        ("redirects", args.redirects.map(Value::from)),
        ("unix_socket", args.unix_socket.as_deref().map(Value::from)),
        ("tls", args.insecure.then(|| json!({ "insecure": true }))),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))
}

/// A body as given, or a file's text.
fn body(data: &str) -> Result<String> {
    let Some(file) = data.strip_prefix('@') else { return Ok(data.to_owned()) };
    std::fs::read_to_string(file).map_err(|error| {
        Error::mistake(format!("could not read the body from `{file}`"))
            .because(error)
            .hint("name a file of UTF-8 text; a body that begins with `@` can be sent from one")
    })
}

fn headers(given: &[String]) -> Result<Map<String, Value>> {
    let mut headers = Map::new();
    for header in given {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Error::mistake(format!("`{header}` is not a header")).hint("write `-H 'name: value'`")
        })?;
        let twice = headers.keys().any(|other| other.eq_ignore_ascii_case(name.trim()));
        if twice {
            return Err(Error::mistake(format!("the header `{}` is given twice", name.trim()))
                .hint("join its values with commas"));
        }
        headers.insert(name.trim().to_owned(), value.trim().into());
    }
    Ok(headers)
}

/// A check in full: `p99 < 200ms` stands for `p99(latency) < 200ms`, `good >= 99%` for `rate(good) >= 99%`,
/// `dropped == 0` for `count(dropped) == 0`.
fn check(text: &str) -> String {
    const OUTCOMES: [&str; 8] =
        ["scheduled", "good", "bad", "timed_out", "failed", "dropped", "cut_off", "errors"];
    let text = text.trim();
    let (metric, rest) = text.split_at(text.find(['<', '>', '=', '!']).unwrap_or(text.len()));
    let metric = metric.trim_end();
    let quantile = metric.strip_prefix('p').is_some_and(|rest| rest.parse::<f64>().is_ok());
    let bound = rest.trim_start_matches(['<', '>', '=', '!']).trim_start();
    let bound = bound.split_whitespace().next().unwrap_or_default();
    if quantile || ["mean", "max"].contains(&metric) {
        format!("{metric}(latency) {rest}")
    } else if OUTCOMES.contains(&metric) {
        let what = if bound.parse::<f64>().is_ok() { "count" } else { "rate" };
        format!("{what}({metric}) {rest}")
    } else {
        text.to_owned()
    }
}

/// Reads each `HOST:PORT:ADDRESS`.
fn endpoints(given: &[String]) -> Result<Endpoints> {
    let read = |text: &String| {
        let (host, rest) = text.split_once(':')?;
        let (port, address) = rest.split_once(':')?;
        let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
        let port: u16 = port.parse().ok()?;
        (!host.is_empty()).then(|| (format!("{host}:{port}"), SocketAddr::new(address, port)))
    };
    let one = |text| {
        read(text).ok_or_else(|| {
            Error::mistake(format!("`{text}` is not `HOST:PORT:ADDRESS`"))
                .hint("write `--resolve shop.test:8080:127.0.0.1`")
        })
    };
    given.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn short_checks_stand_for_long_ones() {
        for (short, long) in [
            ("p99 < 200ms", "p99(latency) < 200ms"),
            ("p99.9<=1s over 5s", "p99.9(latency) <=1s over 5s"),
            ("max < 1s", "max(latency) < 1s"),
            ("good >= 99.9%", "rate(good) >= 99.9%"),
            ("good > 400/s", "rate(good) > 400/s"),
            ("dropped == 0", "count(dropped) == 0"),
            ("p99(service) < 20ms", "p99(service) < 20ms"),
            ("rate(good) > 99%", "rate(good) > 99%"),
            ("nonsense", "nonsense"),
            ("", ""),
        ] {
            assert_eq!(check(short), long);
        }
    }
}
