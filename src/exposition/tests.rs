//! A small fleet in, literal text out, in both formats.

mod interleavings;
mod kept;
mod lean;
mod own;
mod parts;

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use super::*;
use crate::account::Account;
use crate::account::testing::{account, reading};
use crate::api::{Error, Probe, ProbeResponse, Response, Waiting};
use crate::config::{Config, ConfigFile, Profile};
use crate::fleet::AccountHandle;

const LISTED: &str = r#"{"id": "pipe_1", "name": "From Base \"Swap\" to C:\\pg\n🚀", "project": "analytics-prod",
    "topic": "base.mainnet.ref.block.swaps", "destination_type": "postgres", "execution_mode": "unbounded",
    "status": "running", "created_by": {"email": "someone@example.org"},
    "group": {"id": "group_1", "name": "Data", "is_paid": true, "is_over_limit": false, "is_free_trial_expired": null},
    "created_at": "2023-11-07T05:31:56Z", "updated_at": "2023-11-07T07:31:56.5+02:00"}"#;
const STATUS: &str =
    r#"{"uid": "x", "status": "RUNNING", "replicas": 2, "ready": 1, "start_time": "2023-11-07T05:31:56Z"}"#;
const METRICS: &str = r#"{"uid": "x", "records_consumed": 9007199254740993, "last_offset": 0, "last_block_height": null,
    "pending_records": 12.5, "processing_delay_ms": 1500, "records_per_second": 0.25, "normalization_errors": 3}"#;
const UNHEALTHY: &str = r#"{"healthy": false, "last_checked_at": "2023-11-07T05:31:56Z", "latency_ms": 12,
    "last_error": "dial tcp 10.0.0.5:5432: connection refused"}"#;

/// The current monotonic time, and a fixed wall-clock time.
fn moment() -> Moment {
    Moment::now().with_wall(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250))
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

const TIMEOUT: Error = Error::Timeout { after: Duration::from_secs(10), waiting: Waiting::Headers };

fn status(json: &str) -> ProbeResponse {
    reading(Probe::Status, read(json))
}

fn failed(error: Error) -> ProbeResponse {
    ProbeResponse::failed(Probe::Status, error)
}

/// One pipeline in trouble, one of which only the list entry is known, and a missing expected pipeline.
fn small_fleet(at: Moment) -> (Fleet, AccountHandle) {
    let mut prod = account(&["pipe_1", "pipe_3"], at);
    let page = serde_json::json!({
        "items": [read::<serde_json::Value>(LISTED), {"id": "pipe_2", "name": null, "status": "paused",
            "execution_mode": "BOUNDED", "execution_start_from": "44745000", "execution_stop_from": "44745001"}],
        "pagination": {"has_more": false},
    });
    let page = Response::Page(1, Ok(serde_json::from_value(page).unwrap()));
    prod.hears_after(Duration::from_millis(30), page, at);
    prod.takes_all_turns(at);
    for (probe, data) in [(Probe::Status, STATUS), (Probe::Metrics, METRICS), (Probe::DestinationHealth, UNHEALTHY)] {
        prod.probed("pipe_1", reading(probe, read(data)), at);
    }
    let id = crate::api::PipelineId::new("pipe_2").unwrap();
    prod.hears_after(Duration::from_secs(11), Response::Probe(id, failed(Error::of_status(403).unwrap())), at);
    let fleet = Fleet::default();
    let handle = fleet.insert("prod", prod);
    (fleet, handle)
}

async fn scrape(exposition: &Arc<Exposition>, format: Format, encoding: Encoding) -> Body {
    exposition.scrape(format, encoding, &Part::Whole).await.unwrap()
}

fn bytes(body: Body) -> Vec<u8> {
    let promised = body.bytes();
    let bytes: Vec<u8> = body.flatten().collect();
    assert_eq!(bytes.len(), promised);
    bytes
}

/// The text, in any encoding. Reads exactly one gzip member, like scrapers.
fn text(body: Body) -> String {
    let bytes = bytes(body);
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = String::new();
    let mut member = flate2::bufread::GzDecoder::new(bytes.as_slice());
    member.read_to_string(&mut text).unwrap();
    assert!(member.into_inner().is_empty(), "more than one member");
    text
}

/// The part of the text that is about the fleet.
fn about_the_fleet(text: &str) -> &str {
    text.split("# HELP goldrush_exporter_").next().unwrap()
}

/// Compares with a file next to this one; `UPDATE_EXPECTED=1` writes it. Read the diff before committing it.
fn assert_expected(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exposition/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    let write = "`UPDATE_EXPECTED=1 cargo test --lib exposition` writes it";
    for (line, (text, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(text, expected, "line {} of {}; {write}", line + 1, path.display());
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "lines of {}; {write}", path.display());
}

#[tokio::test(start_paused = true)]
async fn both_formats_are_as_expected_to_the_letter() {
    let at = moment();
    let (fleet, _) = small_fleet(at);
    assert_expected("small_fleet.classic.txt", &fleet_text(&fleet, &Selection::full(), at, Format::Classic));
    assert_expected("small_fleet.openmetrics.txt", &fleet_text(&fleet, &Selection::full(), at, Format::OpenMetrics));
}

#[tokio::test(start_paused = true)]
async fn usage_is_shown_if_it_is_polled_and_withdrawn_when_it_is_stale() {
    let at = moment();
    let mut settings = crate::account::testing::settings(&[]);
    settings.poll.usage = Some(Duration::from_secs(900));
    let mut prod = Account::new(settings, at.wall(), fastrand::Rng::with_seed(1), at);
    prod.lists(&[], at);
    let fleet = Fleet::default();
    let handle = fleet.insert("prod", prod);
    let shown = |seconds| {
        let text = fleet_text(&fleet, &Selection::full(), at.after(Duration::from_secs(seconds)), Format::Classic);
        let lines = text.lines().filter(|line| line.starts_with("goldrush_usage_"));
        lines.map(|line| line["goldrush_usage_".len()..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(0), ["probe_success{account=\"prod\"} 0"]);
    let aggregate = serde_json::json!({"credits_consumed": 120.5, "max_credits": 300, "premium_credits": 100,
        "free_credits": 0, "plan": "Pro", "flex_credits": {"limit": 50}});
    handle.change(|prod| prod.reads_usage(aggregate, at));
    let readings = [
        "credits_consumed{account=\"prod\"} 120.5",
        "credits_limit{account=\"prod\"} 300",
        "flex_credits_limit{account=\"prod\"} 50",
        "premium_credits{account=\"prod\"} 100",
        "free_credits{account=\"prod\"} 0",
        "plan_info{account=\"prod\",plan=\"Pro\"} 1",
    ];
    let of_probe = |success: u8| {
        let last = "probe_last_success_timestamp_seconds{account=\"prod\"} 1700000000.25";
        [format!("probe_success{{account=\"prod\"}} {success}"), last.to_owned()]
    };
    assert_eq!(shown(0), [readings.map(str::to_owned).as_slice(), &of_probe(1)].concat());
    handle.change(|prod| prod.hears(Response::Usage(Err(Error::of_status(403).unwrap())), at));
    assert_eq!(shown(2700), [readings.map(str::to_owned).as_slice(), &of_probe(0)].concat());
    assert_eq!(shown(2701), of_probe(0));
    let text = fleet_text(&fleet, &Selection::full(), at, Format::Classic);
    let counted = "goldrush_api_request_failures_total{account=\"prod\",operation=\"usage\",reason=\"forbidden\"} 1";
    assert!(text.contains(counted), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_count_is_never_negative_a_start_block_is_for_backfills_and_each_flag_of_a_group_is_shown() {
    let at = moment();
    let mut prod = account(&[], at);
    let group =
        serde_json::json!({"name": "g", "is_paid": false, "is_over_limit": false, "is_free_trial_expired": true});
    prod.lists(&[serde_json::json!({"id": "a", "group": group, "execution_start_from": "7"})], at);
    let metrics = serde_json::json!({"records_consumed": 0, "normalization_errors": -1});
    prod.probed("a", reading(Probe::Metrics, metrics), at);
    let fleet = Fleet::default();
    let _handle = fleet.insert("prod", prod);
    let text = fleet_text(&fleet, &Selection::full(), at, Format::Classic);
    let labels = r#"{account="prod",project="",pipeline_id="a",pipeline=""}"#;
    assert!(text.contains(&format!("goldrush_pipeline_source_records_total{labels} 0\n")), "{text}");
    assert!(text.contains("goldrush_group_free_trial_expired{account=\"prod\",group=\"g\"} 1\n"), "{text}");
    for absent in ["goldrush_pipeline_dropped_records_total", "goldrush_pipeline_start_block"] {
        assert!(!text.contains(absent), "{absent}");
    }
}

#[tokio::test(start_paused = true)]
async fn both_formats_hold_the_same_samples() {
    let (fleet, _) = small_fleet(moment());
    let exposition = Arc::new(Exposition::new(fleet));
    let samples = async |format| {
        let text = text(scrape(&exposition, format, Encoding::Identity).await);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(samples(Format::Classic).await, samples(Format::OpenMetrics).await);
}

#[tokio::test(start_paused = true)]
async fn gzip_is_one_member_that_holds_the_text() {
    let (fleet, handle) = small_fleet(Moment::now());
    let exposition = Arc::new(Exposition::new(fleet));
    for name in ["x".to_owned(), "\u{1F680}\u{7FF}".repeat(100), "\0".repeat(200)] {
        let listed = serde_json::json!({"id": "pipe_2", "name": name});
        handle.change(|prod| prod.lists(&[listed], Moment::now()));
        for format in [Format::Classic, Format::OpenMetrics] {
            let plain = text(scrape(&exposition, format, Encoding::Identity).await);
            let packed = text(scrape(&exposition, format, Encoding::Gzip).await);
            assert_eq!(about_the_fleet(&packed), about_the_fleet(&plain));
            assert_eq!(packed.ends_with("\n# EOF\n"), format == Format::OpenMetrics);
        }
    }
}

/// A fleet whose exposition is larger than [`LARGE`].
fn large_fleet() -> (Fleet, AccountHandle) {
    let mut prod = account(&[], Moment::now());
    let at = Moment::now();
    let pipelines: Vec<serde_json::Value> = (0..1_500)
        .map(|number| {
            let mut listed: serde_json::Value = read(LISTED);
            listed["id"] = format!("pipe_{number}").into();
            listed
        })
        .collect();
    prod.lists(&pipelines, at);
    prod.takes_all_turns(at);
    (0..1_500).for_each(|number| _ = prod.probed(&format!("pipe_{number}"), status(STATUS), Moment::now()));
    let fleet = Fleet::default();
    let handle = fleet.insert("prod", prod);
    (fleet, handle)
}

fn same(one: &Body, other: &Body) -> bool {
    Arc::ptr_eq(&one.fleet, &other.fleet)
}

#[tokio::test(start_paused = true)]
async fn what_has_not_changed_is_not_written_again_and_what_has_changed_is() {
    for (fleet, handle) in [small_fleet(Moment::now()), large_fleet()] {
        let exposition = Arc::new(Exposition::new(fleet));
        let scrape = async || scrape(&exposition, Format::Classic, Encoding::Gzip).await;
        let first = scrape().await;
        let is_large = first.fleet.text_bytes > LARGE;
        // No probe is late: a lag would grow all the time.
        time::advance(Duration::from_millis(500)).await;
        assert!(same(&first, &scrape().await), "nothing has changed");
        assert!(handle.view(Moment::now()).pipelines.len() > 1);
        assert!(same(&first, &scrape().await), "looking changes nothing");

        let fail = |error| {
            handle.change(|prod| prod.probed("pipe_1", failed(error), Moment::now()));
        };
        fail(TIMEOUT);
        time::advance(Duration::from_millis(500)).await;
        let second = scrape().await;
        assert!(!same(&first, &second), "it has changed");
        fail(Error::of_status(403).unwrap());
        assert_eq!(same(&second, &scrape().await), is_large, "a large one is not written twice within a second");
        time::advance(Duration::from_secs(1)).await;
        let third = scrape().await;
        assert!(!same(&second, &third), "after a second it is");
        let forbidden = r#"goldrush_pipeline_forbidden{account="prod",project="analytics-prod",pipeline_id="pipe_1""#;
        assert!(text(third).contains(forbidden));
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_scrapes_share_one_rendering() {
    let (fleet, _handle) = large_fleet();
    let exposition = Arc::new(Exposition::new(fleet));
    let scrapers = (0..20).map(|_| scrape(&exposition, Format::Classic, Encoding::Gzip));
    let bodies = futures_util::future::join_all(scrapers).await;
    assert!(bodies.iter().all(|body| same(body, &bodies[0])));
}

#[tokio::test(start_paused = true)]
async fn a_scrape_uses_the_rendering_that_it_waited_for_however_long_that_took() {
    let (fleet, handle) = large_fleet();
    let exposition = Exposition::new(fleet);
    let mut renderer = Renderer::default();
    let asked = Moment::now();
    time::advance(Duration::from_millis(1)).await;
    let mut render = |asked| exposition.render(Format::Classic, Encoding::Gzip, Grain::default(), &mut renderer, asked);
    let first = render(asked);
    handle.change(|prod| prod.probed("pipe_1", failed(TIMEOUT), Moment::now()));
    time::advance(2 * REST).await;
    assert!(Arc::ptr_eq(&first, &render(asked)), "it was begun after this one asked, too");
    assert!(!Arc::ptr_eq(&first, &render(Moment::now())), "who asks now gets what is so now");
}

#[tokio::test(start_paused = true)]
async fn chunks_that_have_not_changed_are_shared() {
    let (fleet, handle) = large_fleet();
    let exposition = Arc::new(Exposition::new(fleet));
    for encoding in [Encoding::Gzip, Encoding::Identity] {
        let before = scrape(&exposition, Format::OpenMetrics, encoding).await;
        time::advance(Duration::from_secs(2)).await;
        let changed = r#"{"status": "RUNNING", "replicas": 5}"#;
        handle.change(|prod| prod.probed("pipe_350", self::status(changed), Moment::now()));
        handle.change(|prod| prod.probed("pipe_350", self::status(STATUS), Moment::now()));
        let after = scrape(&exposition, Format::OpenMetrics, encoding).await;
        let (old, new) = (&before.fleet.chunks, &after.fleet.chunks);
        let shared = new.iter().filter(|new| old.iter().any(|old| old.as_ptr() == new.as_ptr())).count();
        // Only the request counters and the time of the probe's success differ.
        assert_eq!((old.len(), new.len(), shared), (old.len(), old.len(), old.len() - 2), "{encoding:?}");
        assert!(old.len() >= if encoding == Encoding::Gzip { 3 } else { 20 });
        assert!(
            text(after).contains("\ngoldrush_pipeline_probe_last_success_timestamp_seconds{"),
            "and sums and length fit"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_both_formats_have_in_common_is_in_memory_once() {
    let (fleet, _handle) = large_fleet();
    let exposition = Arc::new(Exposition::new(fleet));
    let classic = scrape(&exposition, Format::Classic, Encoding::Identity).await;
    let openmetrics = scrape(&exposition, Format::OpenMetrics, Encoding::Identity).await;
    let (one, other) = (&classic.fleet.chunks, &openmetrics.fleet.chunks);
    let own = other.iter().filter(|chunk| one.iter().all(|one| one.as_ptr() != chunk.as_ptr())).count();
    // Only the headings of counters and units differ, each in the first piece of its family.
    assert!(own <= FAMILIES.len(), "{own} of {}", other.len());
    assert!(other.len() > 2 * own);
}

#[tokio::test(start_paused = true)]
async fn a_kept_body_never_shows_a_reading_beyond_its_time() {
    let at = Moment::now();
    let (fleet, handle) = small_fleet(at);
    let exposition = Arc::new(Exposition::new(fleet));
    let scrape = async || text(scrape(&exposition, Format::Classic, Encoding::Gzip).await);
    let has = |text: &str, family: &str| text.contains(&format!("\n{family}{{"));
    let pause = |prod: &mut Account| {
        let pause = Error::RateLimited { retry_after: Some(Duration::from_secs(30)) };
        prod.probed("pipe_2", failed(pause), Moment::now());
    };
    handle.change(pause);
    time::advance(Duration::from_secs(100)).await;
    handle.change(|prod| prod.probed("pipe_1", status(STATUS), Moment::now()));
    time::advance(Duration::from_secs(200)).await;
    assert!(has(&scrape().await, "goldrush_pipeline_pending_records"), "300 s old");
    time::advance(Duration::from_millis(1)).await;
    let shown = scrape().await;
    assert!(!has(&shown, "goldrush_pipeline_pending_records") && has(&shown, "goldrush_pipeline_phase"), "{shown}");
    time::advance(Duration::from_millis(99_999)).await;
    assert!(has(&scrape().await, "goldrush_pipeline_phase"), "300 s old");
    time::advance(Duration::from_millis(1)).await;
    assert!(!has(&scrape().await, "goldrush_pipeline_phase"), "older");

    let value = async |family: &str| {
        let text = scrape().await;
        let line = text.lines().find(|line| line.starts_with(&format!("{family}{{"))).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    handle.change(pause);
    assert!(value("goldrush_poll_paused_until_timestamp_seconds").await > 0.0);
    time::advance(Duration::from_secs(30)).await;
    assert_eq!(value("goldrush_poll_paused_until_timestamp_seconds").await, 0.0, "the pause is over");
    let lag = value("goldrush_poll_lag_seconds").await;
    for seconds in [1.0, 2.0] {
        time::advance(Duration::from_secs(1)).await;
        assert_eq!(value("goldrush_poll_lag_seconds").await, lag + seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn renderings_that_are_not_requested_any_more_are_dropped() {
    let (fleet, _handle) = small_fleet(Moment::now());
    let exposition = Arc::new(Exposition::new(fleet));
    let kept = || exposition.kept().iter().filter(|kept| kept.rendering.is_some()).count();
    scrape(&exposition, Format::Classic, Encoding::Identity).await;
    scrape(&exposition, Format::OpenMetrics, Encoding::Gzip).await;
    exposition.forget_unused();
    assert_eq!(kept(), 2);
    time::advance(Duration::from_secs(11)).await;
    exposition.forget_unused();
    assert_eq!(kept(), 1, "the plain one");
    time::advance(Duration::from_secs(290)).await;
    exposition.forget_unused();
    assert_eq!(kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stale_reading_is_withdrawn_when_it_is_older_than_stale_after_and_not_before() {
    let at = moment();
    let (fleet, handle) = small_fleet(at);
    // A wall clock that steps back does not make anything fresh.
    let later = |seconds| at.after(Duration::from_secs(seconds)).with_wall(SystemTime::UNIX_EPOCH);
    // Only the status is requested again.
    handle.change(|prod| prod.probed("pipe_1", status(STATUS), later(200)));
    let has = |text: &str, family: &str| text.lines().any(|line| line.starts_with(&format!("{family}{{")));
    let readings = [
        "goldrush_pipeline_info",
        "goldrush_pipelines",
        "goldrush_expected_pipeline_missing",
        "goldrush_group_paid",
        "goldrush_pipeline_pending_records",
        "goldrush_pipeline_last_progress_timestamp_seconds",
        "goldrush_pipeline_destination_healthy",
        "goldrush_pipeline_destination_error",
    ];
    let text = fleet_text(&fleet, &Selection::full(), later(300), Format::Classic);
    assert!(readings.iter().all(|family| has(&text, family)), "{text}");
    let text = fleet_text(&fleet, &Selection::full(), later(301), Format::Classic);
    assert!(!readings.iter().any(|family| has(&text, family)), "{text}");
    assert!(has(&text, "goldrush_pipeline_phase"), "{text}");
    assert!(has(&text, "goldrush_pipeline_probe_last_success_timestamp_seconds"), "{text}");
    assert!(!has(&fleet_text(&fleet, &Selection::full(), later(501), Format::Classic), "goldrush_pipeline_phase"));
}

#[tokio::test(start_paused = true)]
async fn progress_is_any_move_and_the_first_sight() {
    let at = moment();
    let (fleet, handle) = small_fleet(at);
    let progress = || {
        let text = fleet_text(&fleet, &Selection::full(), at, Format::Classic);
        let line = text.lines().find(|line| line.starts_with("goldrush_pipeline_last_progress")).unwrap();
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    let observe = |seconds, json| {
        let wall = at.wall() + Duration::from_secs(seconds);
        let metrics = reading(Probe::Metrics, read(json));
        handle.change(|prod| prod.probed("pipe_1", metrics, at.with_wall(wall)));
    };
    assert_eq!(progress(), "1700000000.25");
    observe(10, METRICS);
    assert_eq!(progress(), "1700000000.25", "nothing moved");
    observe(20, r#"{"last_offset": 1}"#);
    assert_eq!(progress(), "1700000020.25", "the offset moved");
    observe(30, r#"{"last_offset": 1, "records_consumed": 5}"#);
    observe(40, r#"{"last_offset": 1, "records_consumed": 0}"#);
    assert_eq!(progress(), "1700000040.25", "the worker started again");
}

/// Families about pipelines that do not repeat a field of the API.
const OF_THE_EXPORTER: &[&str] = &[
    "goldrush_pipeline_trouble",
    "goldrush_pipeline_off_duty",
    "goldrush_pipeline_last_progress_timestamp_seconds",
    "goldrush_pipeline_forbidden",
    "goldrush_pipeline_probe_success",
    "goldrush_pipeline_probe_last_success_timestamp_seconds",
];

/// The samples of one family, without its name.
fn samples_of(fleet: &Fleet, now: Moment, family: &str) -> Vec<String> {
    let text = fleet_text(fleet, &Selection::full(), now, Format::Classic);
    text.lines().filter_map(|line| line.strip_prefix(family)).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn the_highest_block_of_a_chain_is_that_of_its_unbounded_pipelines_with_a_fresh_reading() {
    let at = moment();
    let later = |seconds| at.after(Duration::from_secs(seconds));
    let mut prod = account(&[], at);
    let listed =
        |id: &str, topic: &str, mode: &str| serde_json::json!({"id": id, "topic": topic, "execution_mode": mode});
    prod.lists(
        &[
            listed("a", "base.mainnet.ref.block.logs", ""),
            listed("b", "base.mainnet.ref.block.swaps", "unbounded"),
            listed("c", "base.mainnet.ref.block.logs", "bounded"),
            listed("d", "eth.mainnet", "unbounded"),
            listed("e", "solana.mainnet", "unbounded"),
            listed("f", "", "unbounded"),
        ],
        at,
    );
    for (id, seconds, height) in
        [("a", 200, "7"), ("b", 0, "9"), ("c", 200, "99"), ("d", 200, "3"), ("e", 200, "null"), ("f", 200, "8")]
    {
        let metrics = read(&format!(r#"{{"last_block_height": {height}}}"#));
        prod.probed(id, reading(Probe::Metrics, metrics), later(seconds));
    }
    let fleet = Fleet::default();
    fleet.insert("prod", prod);
    let highest = |seconds| samples_of(&fleet, later(seconds), "goldrush_chain_highest_block");
    let of = |chain: &str, block: u32| format!("{{account=\"prod\",chain=\"{chain}\"}} {block}");
    assert_eq!(highest(300), [of("base.mainnet", 9), of("eth.mainnet", 3)]);
    assert_eq!(highest(301), [of("base.mainnet", 7), of("eth.mainnet", 3)], "the other reading is stale");
}

#[tokio::test(start_paused = true)]
async fn pipelines_without_a_team_are_counted_where_there_are_teams() {
    let at = moment();
    for (team, expected) in [(None, &[][..]), (Some("data"), &["{account=\"prod\"} 1"])] {
        let mut settings = crate::account::testing::settings(&[]);
        let policy = crate::config::Policy {
            team: team.map(str::to_owned),
            pipelines: serde_json::from_value(serde_json::json!(["owned.*"])).unwrap(),
            ..crate::config::Policy::default()
        };
        settings.policies = vec![policy.into(), crate::config::Policy::default().into()];
        let mut prod = Account::new(settings, at.wall(), fastrand::Rng::with_seed(1), at);
        prod.lists(
            &["owned 1", "owned 2", "other"]
                .map(|name| serde_json::json!({"id": name.replace(' ', "_"), "name": name})),
            at,
        );
        let fleet = Fleet::default();
        fleet.insert("prod", prod);
        assert_eq!(samples_of(&fleet, at, "goldrush_pipelines_unowned"), expected);
    }
}

#[test]
fn the_table_keeps_to_the_conventions() {
    let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FAMILIES.len(), "every name once");
    for family in FAMILIES {
        assert!(!family.help.contains(['\n', '\\', '"']), "{}: HELP is not escaped", family.name);
        assert!(family.help.ends_with('.'), "{}", family.name);
        let is_judged_here = OF_THE_EXPORTER.contains(&family.name);
        let names_field = family.help.ends_with(").") && family.help.contains(" (");
        assert!(
            family.subject() != Subject::Pipeline || names_field || is_judged_here,
            "{}: HELP names the field of the API in parentheses at its end",
            family.name
        );
        assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
    }
}
