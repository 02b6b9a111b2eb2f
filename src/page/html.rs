//! The page as HTML. maud escapes every value.
//!
//! `page.js` updates the elements with an id and the class `live`. Rows have a `data-key`, so that a row that moves
//! stays the same element.

use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::query::{Query, TroubleFilter};
use super::report::{
    AccountReport, BackfillReport, KeyStanding, PipelineReport, ProbeReport, Report, SinceReport, TroubleReport,
    UsageReport,
};
use super::value::{Number, Time};
use super::words;
use crate::trouble::kinds::Scope;
use crate::trouble::{Kind, Severity};

const RUNBOOKS: &str = "https://github.com/covalenthq/goldrush-exporter/blob/main/alerts/runbooks/";

/// The whole page. Its links are relative, so that it also works below a path of a proxy.
pub(super) fn page(report: &Report, query: &Query, telemetry_path: &str) -> String {
    let summary = Summary::of(report);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { @if summary.wrong > 0 { "(" (summary.wrong) ") " } "GoldRush exporter" }
                link rel="icon" href=(ICON.link());
                link rel="stylesheet" href=(STYLE.link());
                script src=(SCRIPT.link()) defer {}
            }
            body {
                a.skip href="#list" { "Skip to the pipelines" }
                header {
                    h1 { "GoldRush exporter" }
                    nav {
                        a href={ "." (telemetry_path) } { "Metrics" }
                        a href="./api/v1/pipelines" { "JSON" }
                        a href="./-/healthy" { "Healthy" }
                        a href="./-/ready" { "Ready" }
                    }
                }
                main {
                    (verdict(report, &summary))
                    (accounts(report))
                    (filter(report, query))
                    (list(report, query))
                }
                footer {
                    p {
                        "Version " (report.version) ". A trouble shows here at once; its alert waits until it has lasted. Read-only. "
                        kbd { "/" } " searches."
                    }
                }
            }
        }
    };
    markup.into_string()
}

/// The worst severity, and how many accounts and pipelines are in trouble.
struct Summary {
    class: &'static str,
    /// Accounts and pipelines with trouble.
    wrong: usize,
    accounts: usize,
}

impl Summary {
    fn of(report: &Report) -> Self {
        let accounts = report.accounts.iter().filter(|account| !account.troubles.is_empty()).count();
        let critical = report.pipelines_critical > 0
            || report.accounts.iter().any(|account| worst(&account.troubles) == Some(Severity::Critical));
        let wrong = accounts + report.pipelines_in_trouble;
        let class = match (wrong, critical) {
            (0, _) => "well",
            (_, false) => "warning",
            (_, true) => "critical",
        };
        Self { class, wrong, accounts }
    }
}

fn worst(troubles: &[TroubleReport]) -> Option<Severity> {
    troubles.iter().map(|trouble| trouble.severity).min()
}

fn verdict(report: &Report, summary: &Summary) -> Markup {
    let unlisted =
        report.accounts.iter().filter(|account| account.listed.is_none() && account.troubles.is_empty()).count();
    html! {
        section #verdict.live.(summary.class) aria-label="Verdict" {
            p.big {
                (mark(summary.class))
                @if summary.wrong == 0 && unlisted > 0 {
                    "Waiting for the first list of " (plural(unlisted, "account"))
                } @else if summary.wrong == 0 {
                    "Nothing is wrong with " (plural(report.pipelines_total, "pipeline"))
                } @else {
                    @if report.pipelines_in_trouble > 0 {
                        a href="./?trouble=any#list" {
                            (words::separated(report.pipelines_in_trouble as f64)) " of "
                            (plural(report.pipelines_total, "pipeline")) " in trouble"
                            @if report.pipelines_critical > 0 {
                                ", " (words::separated(report.pipelines_critical as f64)) " critical"
                            }
                        }
                    }
                    @if report.pipelines_in_trouble > 0 && summary.accounts > 0 { " · " }
                    @if summary.accounts > 0 {
                        (summary.accounts) " of " (plural(report.accounts.len(), "account")) " in trouble"
                    }
                }
            }
            p.as-of {
                @let now = crate::moment::unix_seconds(report.now.wall());
                @if let Some(utc) = words::utc(now) {
                    "As of " time #as-of datetime=(utc) { (words::for_people(&utc)) }
                }
            }
        }
    }
}

fn plural(count: usize, what: &str) -> String {
    format!("{} {what}{}", words::separated(count as f64), if count == 1 { "" } else { "s" })
}

/// A symbol that is distinct from the others without colour.
fn mark(class: &str) -> Markup {
    let (sign, name) = match class {
        "critical" => ("✖", "critical"),
        "warning" => ("!", "warning"),
        "well" => ("✓", "well"),
        "off" => ("–", "off duty"),
        _ => ("?", "not known"),
    };
    html! { span.mark.(class) { span aria-hidden="true" { (sign) } span.hidden { (name) ": " } } }
}

/// How long ago a time is; the time itself is in the tooltip.
fn age(time: Time) -> Markup {
    let shown = words::duration(time.age);
    match words::utc(time.unix) {
        Some(utc) => html! { time datetime=(utc) title=(utc) { (shown) } },
        None => html! { (shown) },
    }
}

fn ago(time: Option<Time>) -> Markup {
    html! { @match time { Some(time) => { (age(time)) " ago" }, None => { (nothing()) } } }
}

/// As [`ago`], with the time itself as text: a touch screen shows no tooltip.
fn when(time: Option<Time>) -> Markup {
    let utc = time.and_then(|time| words::utc(time.unix));
    html! { (ago(time)) @if let Some(utc) = utc { span.at { (words::for_people(&utc)) } } }
}

fn lasting(since: Option<SinceReport>) -> Markup {
    html! {
        @if let Some(since) = since {
            span.since { "for " (age(since.time)) @if since.or_earlier { " or longer" } }
        }
    }
}

fn lasting_from(since: Option<SinceReport>) -> Markup {
    let utc = since.and_then(|since| words::utc(since.time.unix));
    html! {
        (lasting(since))
        @if let Some(utc) = utc { span.at { (words::for_people(&utc)) } }
    }
}

/// Stands for a value that is unknown or not fresh.
fn nothing() -> Markup {
    html! { span.nothing title="not known, or no fresh reading" { "—" } }
}

fn or_nothing(text: Option<impl AsRef<str>>) -> Markup {
    html! { @match text { Some(text) => bdi { (text.as_ref()) }, None => { (nothing()) } } }
}

/// A number in short form; all its digits are in the tooltip.
fn number(value: Option<Number>, short: fn(Number) -> String) -> Markup {
    match value {
        Some(value) => {
            let (short, long) = (short(value), words::separated(value.0));
            html! { span title=[(!short.starts_with(&long)).then_some(long)] { (short) } }
        }
        None => nothing(),
    }
}

fn accounts(report: &Report) -> Markup {
    html! {
        section #accounts.live aria-label="Accounts" {
            @for account in &report.accounts { (self::account(account)) }
            @if report.accounts.is_empty() { p { "No account is configured." } }
        }
    }
}

fn account(account: &AccountReport) -> Markup {
    let class = worst(&account.troubles).map_or("well", Severity::as_str);
    let (key_class, key) = match account.key.state {
        KeyStanding::Accepted => ("well", "key accepted"),
        KeyStanding::Unauthorized => ("critical", "key revoked or wrong (401)"),
        KeyStanding::NotServiceKey => ("critical", "not a ServiceKey (403)"),
        KeyStanding::Unknown => ("unknown", "key not tried yet"),
    };
    let budget = &account.budget;
    html! {
        article.(class) data-key=(account.account) {
            h2 { bdi { (account.account) } }
            p.key {
                (mark(key_class)) (key) " "
                // A trouble below already says it.
                @if key_class != "critical" { (lasting(account.key.since)) }
            }
            @for trouble in &account.troubles { (self::trouble(trouble, true)) }
            ul.facts {
                li {
                    (plural(account.pipelines, "pipeline"))
                    @if account.pipelines_in_trouble > 0 {
                        ", " (words::separated(account.pipelines_in_trouble as f64)) " in trouble"
                    }
                }
                li { "key loaded " (ago(Some(account.key.loaded))) }
                li { "listed " (ago(account.listed)) }
                li { "oldest reading " (number(account.oldest_reading_age_seconds, words::seconds)) }
                li {
                    (words::rate(budget.required_requests_per_second)) " requests needed, "
                    (words::rate(budget.allowed_requests_per_second)) " allowed, "
                    (words::seconds(budget.lag_seconds)) " late"
                }
                @if let Some(usage) = &account.usage { li { (self::usage(usage)) } }
                @if let Some(wait) = budget.paused_for {
                    li { "paused for another " (words::duration(wait)) }
                }
            }
        }
    }
}

fn usage(usage: &UsageReport) -> Markup {
    let is_shown = usage.credits_consumed.is_some() || usage.ceiling.is_some();
    html! {
        @if is_shown {
            (number(usage.credits_consumed, words::count))
            @if let Some(ceiling) = usage.ceiling { " of " (number(Some(ceiling), words::count)) }
            " credits used this month"
            @if let Some(plan) = usage.plan { " (" bdi { (plan) } ")" }
            @if let Some(lasts) = usage.credits_run_out_in_seconds { ", they last for " (words::seconds(lasts)) }
            ", read " (ago(usage.read))
        } @else if usage.offered == Some(false) {
            "usage of credits is not offered to this key"
        } @else if usage.failure.is_none() {
            "usage of credits not read yet"
        } @else {
            "no fresh reading of the usage of credits"
        }
        @if let Some(failure) = usage.failure {
            @if is_shown { ", now fails" }
            " (" (words::plain(failure)) ")"
        }
    }
}

/// One line about a trouble. HTML allows neither links nor paragraphs inside a `summary`, which is a button itself.
fn trouble(trouble: &TroubleReport, link: bool) -> Markup {
    html! {
        span.trouble.(trouble.severity.as_str()) {
            (mark(trouble.severity.as_str()))
            bdi { (trouble.message) } " "
            (lasting(trouble.since))
            @if link { " " (runbook(trouble, "Runbook")) }
        }
    }
}

fn runbook(trouble: &TroubleReport, text: &str) -> Markup {
    html! { a href={ (RUNBOOKS) (trouble.alert) ".md" } rel="noreferrer" { (text) } }
}

fn filter(report: &Report, query: &Query) -> Markup {
    let option = |filter: TroubleFilter, text: &str| {
        html! { option value=(filter.as_str()) selected[filter == query.trouble] { (text) } }
    };
    html! {
        form #filter method="get" action="./" role="search" {
            label.grow {
                span.quiet { "Search" }
                input #q type="search" name="q" value=(query.text) placeholder="name, id, project, topic, phase"
                    autocomplete="off" autocapitalize="off" spellcheck="false";
            }
            label {
                span.quiet { "Show" }
                select name="trouble" {
                    (option(TroubleFilter::All, "all pipelines"))
                    (option(TroubleFilter::Any, "in trouble"))
                    (option(TroubleFilter::Severity(Severity::Critical), "critical"))
                    (option(TroubleFilter::Severity(Severity::Warning), "warning"))
                    @for kind in Kind::ALL.iter().filter(|kind| kind.row().scope == Scope::Pipeline) {
                        (option(TroubleFilter::Kind(*kind), &words::plain(kind.row().name)))
                    }
                }
            }
            label {
                span.quiet { "Account" }
                select #account.live name="account" {
                    option value="" { "all accounts" }
                    @for account in &report.accounts {
                        option value=(account.account) selected[account.account == query.account] { (account.account) }
                    }
                }
            }
            button type="submit" { "Filter" }
            span #refresh hidden {
                button #pause type="button" { "Pause" }
                span #state role="status" {}
            }
        }
    }
}

fn list(report: &Report, query: &Query) -> Markup {
    let shown = report.pipelines.len();
    let limit = query.limit.max(1);
    html! {
        section #list.live aria-label="Pipelines" tabindex="-1" {
            p.count {
                @if report.pipelines_total == 0 {
                    "There are no pipelines."
                } @else if report.pipelines_matching == 0 {
                    "None of " (plural(report.pipelines_total, "pipeline")) " matches. "
                    a href="./" { "Show all" }
                } @else if shown == 0 {
                    "There are " (plural(report.pipelines_matching, "pipeline")) ", but none from here on. "
                    a href={ "./?" (query.from(0, limit)) } { "Show the first" }
                } @else if shown < report.pipelines_matching {
                    @let first = query.offset + 1;
                    "Showing " (words::separated(first as f64)) " to " (words::separated((query.offset + shown) as f64))
                    " of " (plural(report.pipelines_matching, "pipeline"))
                    @if query.is_filter() { " that match" }
                    ", the worst first"
                } @else {
                    (plural(shown, "pipeline")) @if query.is_filter() { " that match" } ", the worst first"
                }
            }
            @if shown > 0 {
                div.head aria-hidden="true" {
                    span {} span { "Pipeline" } span { "Phase" } span { "Destination" } span.num { "Delay" }
                    span.num { "Backlog" } span.num { "Throughput" } span.num { "Progress" } span.num { "Read" }
                }
                ul { @for pipeline in &report.pipelines { (self::pipeline(pipeline)) } }
            }
            @if query.offset > 0 || query.offset + shown < report.pipelines_matching {
                nav.pages aria-label="Pages" {
                    @if query.offset > 0 {
                        @let before = query.offset.saturating_sub(limit);
                        a rel="prev" href={ "./?" (query.from(before, limit)) } { "Previous" }
                    }
                    @if query.offset + shown < report.pipelines_matching && shown > 0 {
                        a rel="next" href={ "./?" (query.from(query.offset + shown, limit)) } { "Next" }
                    }
                }
            }
        }
    }
}

fn pipeline(pipeline: &PipelineReport) -> Markup {
    let class = match worst(&pipeline.troubles) {
        Some(severity) => severity.as_str(),
        None if pipeline.off_duty => "off",
        None if pipeline.phase.is_none() => "unknown",
        None => "well",
    };
    html! {
        li.(class) data-key={ (pipeline.account) "/" (pipeline.pipeline_id) } {
            details {
                summary {
                    (mark(class))
                    span.name {
                        bdi.title { (title(pipeline)) }
                        span.where {
                            bdi { (pipeline.account) }
                            @if let Some(project) = pipeline.project { " / " bdi { (project) } }
                            @if let Some(team) = pipeline.team { " · team " bdi { (team) } }
                        }
                    }
                    (cell("", "phase", phase(pipeline)))
                    (cell("Destination", "destination", destination(pipeline)))
                    (cell("Delay", "num", number(pipeline.processing_delay_seconds, words::seconds)))
                    (cell("Backlog", "num", number(pipeline.pending_records, words::count)))
                    (cell("Throughput", "num", number(pipeline.records_per_second, words::rate)))
                    (cell("Progress", "num", ago(pipeline.progress)))
                    (cell("Read", "num", read(pipeline)))
                    @for trouble in &pipeline.troubles { (self::trouble(trouble, false)) }
                }
                (details(pipeline))
            }
        }
    }
}

/// The name of a pipeline, or its id if it has none.
fn title<'a>(pipeline: &PipelineReport<'a>) -> &'a str {
    pipeline.pipeline.filter(|name| !name.trim().is_empty()).unwrap_or(pipeline.pipeline_id)
}

/// A value with its label, which the wide layout shows above the column instead.
fn cell(label: &str, class: &str, value: Markup) -> Markup {
    html! { span.cell.(class) { @if !label.is_empty() { span.label { (label) " " } } (value) } }
}

fn phase(pipeline: &PipelineReport) -> Markup {
    let as_wanted = |wanted: &&str| pipeline.phase.is_some_and(|phase| phase.eq_ignore_ascii_case(wanted));
    // Without a fresh list it is unknown whether it is paused.
    let ended = pipeline.off_duty && pipeline.desired_status.is_some_and(|wanted| wanted != "paused");
    html! {
        (or_nothing(pipeline.phase))
        @if ended {
            @match pipeline.backfill.and_then(|backfill| backfill.ratio).filter(|ratio| ratio.0 < 1.0) {
                Some(ratio) => span.wanted { "ended, " (percent(ratio)) },
                None => span.wanted { "at its end" },
            }
        } @else if let Some(wanted) = pipeline.desired_status.filter(|wanted| !as_wanted(wanted)) {
            span.wanted { "should be " (wanted) }
        } @else if let Some(backfill) = &pipeline.backfill {
            span.wanted { (progress(backfill)) }
        }
    }
}

/// The part that is done and the time that is left, if known.
fn progress(backfill: &BackfillReport) -> String {
    let done = backfill.ratio.map(percent);
    let left = backfill.ends_in.map(|left| format!("{} left", words::duration(left)));
    [done, left].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Rounded down: an incomplete backfill is not at 100 %. But 0.57 is, in binary, a little below 57 %.
fn percent(Number(ratio): Number) -> String {
    format!("{} %", words::separated((ratio * 1000.0 + 1e-9).floor() / 10.0))
}

/// The full description of a backfill, for the details.
fn backfill(backfill: Option<&BackfillReport>) -> Markup {
    let Some(backfill) = backfill else { return nothing() };
    let end = backfill.ends.and_then(|Number(unix)| words::utc(unix));
    html! {
        @match backfill.ratio { Some(ratio) => { (percent(ratio)) " done, " }, None => "start unknown, " }
        (words::separated(backfill.blocks_left.0)) " blocks left"
        @if let Some(pace) = backfill.blocks_per_second { ", " (words::rate(pace)) }
        @match (backfill.ends_in, end) {
            (Some(left), Some(end)) => { ", ends in about " (words::duration(left)) span.at { (words::for_people(&end)) } },
            _ if backfill.blocks_left.0 > 0.0 => ", end unknown",
            _ => {},
        }
        @if let (Some(fell_back), Some(block)) = (backfill.fell_back, backfill.fell_back_from_block) {
            ". It began again " (ago(Some(fell_back))) ", after block " (words::separated(block.0))
        }
    }
}

fn destination(pipeline: &PipelineReport) -> Markup {
    html! {
        @match pipeline.destination.healthy {
            Some(true) => span.ok { "healthy" },
            Some(false) => span.bad { (words::plain(pipeline.destination.error_reason.unwrap_or("unhealthy"))) },
            None => { (nothing()) },
        }
    }
}

/// The age of the oldest reading in the row.
fn read(pipeline: &PipelineReport) -> Markup {
    let times = pipeline.probes.named().filter_map(|(_, probe)| probe.read);
    ago(times.max_by_key(|time| time.age))
}

fn details(pipeline: &PipelineReport) -> Markup {
    let row = |label: &str, value: Markup| html! { div { dt { (label) } dd { (value) } } };
    let digits = |value: Option<Number>| number(value, |Number(value)| words::separated(value));
    html! {
        div.body {
            @if !pipeline.troubles.is_empty() {
                p.runbooks {
                    "Runbook: "
                    @for (index, trouble) in pipeline.troubles.iter().enumerate() {
                        @if index > 0 { " · " }
                        (runbook(trouble, &words::plain(trouble.kind.row().name)))
                    }
                }
            }
            dl {
                (row("Id", html! { code { (pipeline.pipeline_id) } }))
                (row("Topic", or_nothing(pipeline.topic)))
                (row("Destination type", or_nothing(pipeline.destination_type)))
                (row("Execution mode", html! { (pipeline.execution_mode) }))
                @if pipeline.execution_mode == "bounded" {
                    (row("Blocks", html! { (digits(pipeline.start_block)) " to " (digits(pipeline.stop_block)) }))
                    (row("Backfill", backfill(pipeline.backfill.as_ref())))
                }
                (row("Group", or_nothing(pipeline.group)))
                (row("Team", or_nothing(pipeline.team)))
                (row("Policy", html! {
                    @match pipeline.policy {
                        Some(index) => { code { "policies[" (index) "]" } },
                        None => "none matches: the defaults",
                    }
                }))
                (row("Desired status", or_nothing(pipeline.desired_status)))
                (row("Last progress", when(pipeline.progress)))
                (row("Phase", html! { (or_nothing(pipeline.phase)) " " (lasting_from(pipeline.phase_since)) }))
                (row("Replicas ready", html! { (digits(pipeline.replicas_ready)) " of " (digits(pipeline.replicas)) }))
                (row("Worker started", when(pipeline.started)))
                (row("Records consumed", digits(pipeline.records_consumed)))
                (row("Records dropped", digits(pipeline.normalization_errors)))
                (row("Records pending", digits(pipeline.pending_records)))
                (row("Last offset", digits(pipeline.last_offset)))
                (row("Last block height", digits(pipeline.last_block_height)))
                (row("Destination", html! { (destination(pipeline)) " " (lasting_from(pipeline.destination.since)) }))
                (row("Destination latency", number(pipeline.destination.latency_seconds, |Number(seconds)| {
                    format!("{} ms", words::separated((seconds * 1000.0).round()))
                })))
                (row("Destination checked", when(pipeline.destination.checked)))
                @for (name, probe) in pipeline.probes.named() {
                    (row(&format!("Read {}", words::plain(name.as_str())), reading(probe)))
                }
                (row("Created", when(pipeline.created)))
                (row("Changed", when(pipeline.updated)))
            }
        }
    }
}

fn reading(probe: &ProbeReport) -> Markup {
    html! {
        (when(probe.read))
        @if probe.stale { ", stale" }
        @if let Some(failure) = probe.failure { ", now fails: " (words::plain(failure)) }
    }
}
