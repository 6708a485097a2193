//! The circumstances at the end of the page: what the generator saw of itself, where it ran, and how to do it again.

use super::Case;
use super::markup::Page;
use super::tables::NO_DATA;
use super::text::{self, NAME_MAX_CHARS};

/// What the generator saw of itself: whether its figures can be believed.
pub(super) fn self_watch(page: &mut Page, case: &Case<'_>) {
    let Some(generator) = &case.judgement.generator else { return };
    let watch = &generator.watch;
    page.raw("<section id=\"generator\" aria-labelledby=\"generator-title\"><h2 id=\"generator-title\">The generator about itself</h2>");
    if !watch.warnings.is_empty() {
        page.raw("<ul class=\"notes\">");
        for warning in &watch.warnings {
            page.raw("<li>").prose(warning).raw("</li>");
        }
        page.raw("</ul>");
    }
    page.raw("<dl class=\"environment\">");
    let mut row = |name: &str, value: String| {
        page.element("<div><dt>", &text::clean(name, NAME_MAX_CHARS), "</dt><dd>")
            .text(&value)
            .raw("</dd></div>");
    };
    let or_none = |value: Option<String>| value.unwrap_or_else(|| NO_DATA.into());
    let lag = generator.send_lag_ms;
    row("own delay", or_none(lag.map(|lag| format!("p99 {}, max {}", text::ms(lag.p99), text::ms(lag.max)))));
    row("CPU", or_none(generator.cpu_ratio.map(|ratio| format!("{:.0}% of its cores", ratio * 100.0))));
    let saturated = if generator.saturated { "yes: the figures mean little" } else { "no" };
    row("saturated", saturated.into());
    if !watch.threads.is_empty() {
        let shares: Vec<_> = watch.threads.iter().map(|share| format!("{:.0}%", share * 100.0)).collect();
        row("sending threads", format!("{}, using {} of a core each", shares.len(), shares.join(", ")));
    }
    if let Some(realtime) = watch.realtime {
        row("real-time priority", if realtime { "yes" } else { "no" }.into());
    }
    if let Some(stall) = watch.longest_stall_ms {
        row("longest stall", text::ms(stall));
    }
    if let Some(steal) = watch.steal_ratio {
        row("CPU taken by the host (steal)", format!("{:.1}%", steal * 100.0));
    }
    for (name, room) in [("open files", watch.open_files), ("local ports", watch.ports)] {
        if let Some(room) = room {
            row(name, format!("{} of {}", text::count(room.most), text::count(room.limit)));
        }
    }
    for (load, check) in &watch.arrivals {
        let found = if check.poisson { "poisson as sent" } else { "not poisson as sent" };
        let value =
            format!("{found}: A² {:.2} of {} gaps, critical {:.2}", check.misfit, check.gaps, check.critical);
        row(&format!("arrivals of {load}"), value);
    }
    for (load, check) in &watch.succession {
        let value = if check.independent {
            format!("independent of one another (rank correlation {:.2})", check.correlation)
        } else {
            format!(
                "not independent (rank correlation {:.2}): each is worth {:.2} of one, and confidence intervals \
                 are {:.1} times too narrow",
                check.correlation,
                check.worth,
                1.0 / check.worth.max(1e-3).sqrt()
            )
        };
        row(&format!("latencies of {load}"), value);
    }
    page.raw("</dl></section>");
}

/// Where it ran, and the commands to do it again.
pub(super) fn environment(page: &mut Page, case: &Case<'_>) {
    let started = case.started;
    page.raw("<section id=\"again\" aria-labelledby=\"again-title\"><h2 id=\"again-title\">Do it again</h2><pre tabindex=\"0\" role=\"region\" aria-label=\"Command\"><code>")
        .copied(&started.command)
        .raw("</code></pre>");
    // A load by itself is no run: it has neither a file nor a journal.
    let is_run = !started.run.is_empty();
    if is_run {
        page.raw("<p class=\"sub\">The same seed, the same containers and the same file give the same plan. <code>chaos report ");
        page.text(&started.run).raw("</code> makes this page again from the journal.</p>");
    }
    page.raw("</section><section id=\"environment\" aria-labelledby=\"environment-title\"><h2 id=\"environment-title\">Environment</h2><dl class=\"environment\">");
    let mut row = |name: &str, value: &str| {
        page.element("<div><dt>", name, "</dt><dd>").text(value).raw("</dd></div>");
    };
    if is_run {
        row("experiment file", &started.file);
    }
    row("seed", &started.plan.seed.to_string());
    row("chaos", &started.version);
    for (name, value) in &started.environment {
        row(&text::clean(name, NAME_MAX_CHARS), value);
    }
    page.raw("</dl>");
    if !started.plan.notes.is_empty() {
        page.raw("<ul class=\"notes\">");
        for note in &started.plan.notes {
            page.raw("<li>").prose(note).raw("</li>");
        }
        page.raw("</ul>");
    }
    page.raw("</section>");
}
