//! Parts: together they are the whole, no series is in two of them, and all come from one rendering.

use std::collections::BTreeMap;

use super::*;

/// Accounts of different sizes, one without pipelines and one with a name that needs escaping.
fn accounts() -> Fleet {
    let at = Moment::now();
    let fleet = Fleet::default();
    for (name, pipelines) in [("prod", 300), ("staging \"1\"", 30), ("empty", 0)] {
        let mut account = account(&[], at);
        let listed: Vec<serde_json::Value> = (0..pipelines)
            .map(|number| {
                let mut listed: serde_json::Value = read(LISTED);
                listed["id"] = format!("pipe_{name}_{number}").into();
                listed
            })
            .collect();
        account.lists(&listed, at);
        account.takes_all_turns(at);
        for number in 0..pipelines {
            let id = format!("pipe_{name}_{number}");
            // They differ, so that some families are missing from some parts.
            let status = if number % 50 == 0 { failed(TIMEOUT) } else { status(STATUS) };
            account.probed(&id, status, Moment::now());
            if number % 3 == 0 {
                account.probed(&id, reading(Probe::DestinationHealth, read(UNHEALTHY)), Moment::now());
            }
        }
        fleet.insert(name, account);
    }
    fleet
}

/// Each series and its line. Checks that parsers accept the text.
fn series(text: &str, format: Format) -> BTreeMap<String, String> {
    let mut series = BTreeMap::new();
    let mut headings = Vec::new();
    let end = if format == Format::OpenMetrics { "# EOF\n" } else { "" };
    for line in text.strip_suffix(end).unwrap().lines() {
        if let Some(heading) = line.strip_prefix("# HELP ") {
            headings.push(heading.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with('#') {
            let family = headings.last().expect("a heading comes before the first sample");
            assert!(line.starts_with(family.as_str()), "{line} is below the heading of {family}");
            let (name, value) = line.rsplit_once(' ').unwrap();
            let is_volatile = name.starts_with("goldrush_exporter_") || name.starts_with("process_");
            let value = if is_volatile { "" } else { value };
            assert!(series.insert(name.to_owned(), value.to_owned()).is_none(), "{name} is there twice");
        }
    }
    let count = headings.len();
    headings.sort_unstable();
    headings.dedup();
    assert_eq!(headings.len(), count, "each family has one heading");
    series
}

fn part(query: &str) -> Part {
    Part::of_parameters(query.split('&').filter_map(|pair| pair.split_once('='))).unwrap()
}

async fn of(exposition: &Arc<Exposition>, format: Format, encoding: Encoding, part: &Part) -> BTreeMap<String, String> {
    series(&text(exposition.scrape(format, encoding, part).await.unwrap()), format)
}

/// Checks that the parts are disjoint and make up the whole.
async fn assert_divides(
    exposition: &Arc<Exposition>,
    format: Format,
    encoding: Encoding,
    whole: &Part,
    parts: &[Part],
) {
    let mut rest = of(exposition, format, encoding, whole).await;
    for part in parts {
        for (name, value) in of(exposition, format, encoding, part).await {
            assert_eq!(rest.remove(&name), Some(value), "{name} of {part:?} is not in the whole, or in two parts");
        }
    }
    assert!(rest.is_empty(), "in no part of {parts:?}: {rest:?}");
}

#[tokio::test(start_paused = true)]
async fn the_parts_together_are_the_whole_and_no_series_is_in_two() {
    for fleet in [Fleet::default(), small_fleet(Moment::now()).0, accounts()] {
        let names: Vec<String> = fleet.accounts().iter().map(|account| account.name().to_owned()).collect();
        let exposition = Arc::new(Exposition::new(fleet));
        for (format, encoding) in [
            (Format::OpenMetrics, Encoding::Gzip),
            (Format::Classic, Encoding::Gzip),
            (Format::OpenMetrics, Encoding::Identity),
        ] {
            // From coarse to fine, and back while the text is still finely cut.
            for shards in [1, 2, 32, 4] {
                assert_divides(&exposition, format, encoding, &Part::Whole, &Part::all(shards)).await;
            }
            let accounts = names.iter().map(|name| Part::of_parameters([("account", name.as_str())]).unwrap());
            let accounts: Vec<Part> = [Part::Exporter].into_iter().chain(accounts).collect();
            assert_divides(&exposition, format, encoding, &Part::Whole, &accounts).await;
            for account in &accounts[1..] {
                let name = account.accounts()[0].as_str();
                let shards =
                    ["0/2", "1/2"].map(|shard| Part::of_parameters([("account", name), ("shard", shard)]).unwrap());
                assert_divides(&exposition, format, encoding, account, &shards).await;
            }
        }
    }
    let exposition = Arc::new(Exposition::new(accounts()));
    let both = part("account=prod&account=empty");
    assert_divides(&exposition, Format::Classic, Encoding::Gzip, &both, &[part("account=prod"), part("account=empty")])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_series_changes_its_part_only_with_the_number_of_parts() {
    let (fleet, handle) = large_fleet();
    let exposition = Arc::new(Exposition::new(fleet));
    let names = async || {
        let shards = Part::all(4);
        let mut names = Vec::new();
        for part in &shards {
            names.push(of(&exposition, Format::Classic, Encoding::Gzip, part).await.into_keys().collect::<Vec<_>>());
        }
        names
    };
    let before = names().await;
    assert!(before.iter().skip(1).all(|part| part.len() > 5_000), "pipelines are in all shards");
    handle.change(|prod| {
        prod.probed(
            "pipe_7",
            status(r#"{"status": "RUNNING", "replicas": 5, "ready": 1, "start_time": "2023-11-07T05:31:56Z"}"#),
            Moment::now(),
        )
    });
    time::advance(2 * REST).await;
    of(&exposition, Format::Classic, Encoding::Gzip, &part("account=prod&shard=0/64")).await;
    assert!(names().await == before);
}

#[tokio::test(start_paused = true)]
async fn all_parts_are_taken_out_of_one_rendering() {
    let (fleet, handle) = large_fleet();
    let exposition = Arc::new(Exposition::new(fleet));
    let scrape = async |part: &Part| exposition.scrape(Format::OpenMetrics, Encoding::Gzip, part).await.unwrap();
    let first = scrape(&part("shard=0/8")).await;
    let parts = [Part::all(8), Part::all(2), vec![Part::Whole]].concat();
    let bodies = futures_util::future::join_all(parts.iter().map(scrape)).await;
    assert!(bodies.iter().all(|body| same(body, &first)), "coarser ones and the whole as well");
    assert!(bodies[1].part.as_ref().unwrap().len() < 2 * FAMILIES.len(), "few chunks");

    // A part that needs finer pieces renders again, once; and a change is rendered once for all parts.
    let finer = scrape(&part("shard=0/16")).await;
    assert!(!same(&finer, &first) && same(&finer, &scrape(&part("shard=0/8")).await));
    handle.change(|prod| prod.probed("pipe_1", failed(TIMEOUT), Moment::now()));
    time::advance(REST).await;
    let after = futures_util::future::join_all(parts.iter().map(scrape)).await;
    assert!(!same(&after[0], &finer) && after.iter().all(|body| same(body, &after[0])));

    // The text is only cut if parts are requested.
    let is_cut = || exposition.cut().grain.is_cut;
    assert!(is_cut());
    time::advance(KEEP_PACKED + Duration::from_secs(1)).await;
    exposition.forget_unused();
    assert!(!is_cut());
}

#[tokio::test(start_paused = true)]
async fn the_parts_that_are_listed_are_as_small_as_asked_for() {
    let (fleet, _handle) = large_fleet();
    let exposition = Arc::new(Exposition::new(fleet));
    let whole = scrape(&exposition, Format::OpenMetrics, Encoding::Identity).await.bytes();
    assert_eq!(exposition.parts(whole + 1_000).await.unwrap(), [Part::Whole]);
    for most in [whole / 2, whole / 3, whole / 20] {
        let parts = exposition.parts(most).await.unwrap();
        let mut sizes = Vec::new();
        for part in &parts {
            sizes.push(exposition.scrape(Format::OpenMetrics, Encoding::Identity, part).await.unwrap().bytes());
        }
        assert!(sizes.iter().all(|size| *size <= most), "{most}: {sizes:?}");
        let largest = *sizes.iter().max().unwrap();
        assert!(largest > most / 4, "not many more than needed: {most}: {sizes:?}");
    }
    let smallest = exposition.parts(whole / 20).await.unwrap().len();
    assert_eq!(exposition.parts(whole / 19).await.unwrap().len(), smallest, "the number does not fall at once");
    assert_eq!(exposition.parts(2 * whole).await.unwrap(), [Part::Whole]);
}

#[tokio::test(start_paused = true)]
async fn a_selection_of_metrics_takes_effect_at_once() {
    let (fleet, _handle) = large_fleet();
    let exposition = Arc::new(Exposition::new(fleet));
    let has_replicas = async || {
        let text = text(scrape(&exposition, Format::Classic, Encoding::Gzip).await);
        text.contains("\ngoldrush_pipeline_replicas{")
    };
    assert!(has_replicas().await);
    exposition.select(lean::of_profile(Profile::Lean));
    assert!(!has_replicas().await);
}
