//! The exporter's own HTTP: health, formats, reload, shutdown.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use crate::common::{self, Api, Exporter, KEY, Signal, make_pipe, request};
use goldrush_exporter::simulator::{Endpoint, Fault, FaultMatcher, Options, Scenario};

#[test]
fn health_and_readiness() {
    let api = Api::healthy(1);
    let list = || FaultMatcher { endpoint: Some(Endpoint::List), pipeline: None };
    api.simulator.set_fault(list(), Some(Fault::Hang));
    let exporter = Exporter::of(&api);
    assert_eq!(exporter.get("/-/healthy").status, 200);
    assert_eq!(exporter.get("/-/ready").status, 503);
    assert_eq!(exporter.get("/metrics").status, 200, "metrics tell of the outage");
    drop(exporter);
    api.simulator.set_fault(list(), None);
    let exporter = Exporter::of(&api);
    exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
    assert_eq!(exporter.get("/-/ready").status, 200);
}

#[test]
fn the_page_and_what_there_is_not() {
    let api = Api::healthy(1);
    let exporter = Exporter::start(&["--web.telemetry-path", "/goldrush/metrics"], &api.environment());
    let page = exporter.get("/");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("href=\"./goldrush/metrics\""));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    assert_eq!(exporter.get("/goldrush/metrics").status, 200);
    let unknown = exporter.get("/metrics");
    assert_eq!((unknown.status, unknown.header("content-type")), (404, Some("text/plain; charset=utf-8")));
    let text = unknown.text();
    let listed = text.strip_prefix("Not found. The paths are ").unwrap().strip_suffix(".\n").unwrap();
    let listed: Vec<&str> = listed.split(", ").collect();
    for path in ["/", "/goldrush/metrics", "/sd", "/-/ready", "/api/v1/pipelines"] {
        assert!(listed.contains(&path), "{path} is not in {listed:?}");
    }
    for path in listed {
        assert_ne!(exporter.get(path).status, 404, "{path}");
    }
    assert_eq!(request(&exporter.address, "HEAD", "/metrics", &[]).text(), "");
    assert_eq!(request(&exporter.address, "POST", "/goldrush/metrics", &[]).status, 405);
    assert_eq!(request(&exporter.address, "GET", "/-/reload", &[]).status, 405);
    assert_eq!(request(&exporter.address, "POST", "/-/reload", &[]).status, 403, "off by default");
}

#[test]
fn parts_of_the_metrics_and_their_service_discovery() {
    let api = Api::healthy(30);
    let exporter = Exporter::start(&["--web.sd-target-size", "64KiB"], &api.environment());
    exporter.until("all pipelines", |exposition| exposition.values("goldrush_pipeline_phase", &[]).len() == 7 * 30);
    let part = |query: &str| {
        let answer = exporter.get(&format!("/metrics?{query}"));
        (answer.status, answer.text())
    };
    for (query, status, text) in [
        ("account=default", 200, "goldrush_up{account=\"default\"} 1\n"),
        ("account=nobody", 404, "account: there is no account \"nobody\"\n"),
        (
            "shard=1/3",
            400,
            "shard: expected I/N, where N is a power of two up to 256 and I is below N, found \"1/3\"\n",
        ),
        ("only=pipelines", 400, "only: expected exporter, found \"pipelines\"\n"),
        ("shards=0/2", 400, "\"shards\": unknown parameter (expected account, shard or only)\n"),
        ("only=exporter", 200, "\ngoldrush_exporter_total_shards 1\n"),
    ] {
        let answer = part(query);
        assert!(answer.0 == status && answer.1.contains(text), "{query}: {answer:?}");
    }

    let answer = exporter.get("/sd");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let listed: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(
        listed[0],
        serde_json::json!({
            "targets": [&exporter.address],
            "labels": {"__metrics_path__": "/metrics", "__param_only": "exporter", "part": "exporter"},
        })
    );
    let shards = listed.len() - 1;
    assert!(shards.is_power_of_two() && shards >= 4, "{shards}");
    assert_eq!(listed[1]["labels"]["__param_shard"], format!("0/{shards}"));
    assert!((0..shards).all(|shard| part(&format!("shard={shard}/{shards}")).1.len() <= 64 * 1024));
    let ambiguous = request(&exporter.address, "GET", "/sd", &[("Host", "exporter.example.org:9877")]);
    assert_eq!(ambiguous.status, 400, "a second Host header");
}

#[test]
fn a_reload_changes_which_metrics_are_exposed() {
    let api = Api::healthy(2);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("goldrush.yml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("metrics: {profile: lean}");
    let arguments = ["--web.enable-lifecycle", "--config.file", file.to_str().unwrap()];
    let exporter = Exporter::start(&arguments, &api.environment());
    let exposition = exporter.until("a pipeline", |exposition| exposition.0.contains("\ngoldrush_pipeline_phase{"));
    assert!(!exposition.0.contains("goldrush_pipeline_replicas{"));
    let reload = || request(&exporter.address, "POST", "/-/reload", &[]);
    write("metrics: {exclude: [goldrush_pipeline_phases]}");
    let refused = reload();
    let expected = "goldrush.yml: metrics.exclude[0]: no metric is named \"goldrush_pipeline_phases\" (expected a regular expression that matches goldrush_pipeline_phase";
    assert!(refused.status == 500 && refused.text().contains(expected), "{}", refused.text());
    write("metrics: {exclude: [goldrush_pipeline_phase]}");
    assert_eq!(reload().status, 200);
    let text = exporter.scrape().0;
    assert!(text.contains("\ngoldrush_pipeline_replicas{") && !text.contains("\ngoldrush_pipeline_phase{"));
    assert!(exporter.stderr.text().contains("metrics.exclude leaves out metrics"));
}

#[test]
fn format_and_compression_are_negotiated() {
    let api = Api::healthy(3);
    let exporter = Exporter::of(&api);
    exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
    let classic = "text/plain; version=0.0.4; charset=utf-8";
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
    for (accept, content_type) in [
        ("*/*", classic),
        ("text/plain;version=0.0.4", classic),
        ("application/openmetrics-text;version=1.0.0", openmetrics),
        // Prometheus 3 also accepts names that it would have to quote; there are none here.
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1", openmetrics),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.9", classic),
    ] {
        let answer = request(&exporter.address, "GET", "/metrics", &[("Accept", accept)]);
        assert_eq!(answer.header("content-type"), Some(content_type), "{accept}");
        assert_eq!(answer.text().ends_with("# EOF\n"), content_type == openmetrics, "{accept}");
    }
    let gzip = request(&exporter.address, "GET", "/metrics", &[("Accept-Encoding", "gzip")]);
    assert_eq!((gzip.header("content-encoding"), gzip.header("vary")), (Some("gzip"), Some("Accept, Accept-Encoding")));
    let mut text = String::new();
    flate2::read::GzDecoder::new(gzip.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.contains("goldrush_up{account=\"default\"} 1\n"));
    assert_eq!(exporter.get("/metrics").header("content-encoding"), None);
    let head = request(&exporter.address, "HEAD", "/metrics", &[]);
    assert_eq!((head.status, head.header("content-type"), head.body.len()), (200, Some(classic), 0));
}

#[test]
fn metrics_about_the_exporter_can_be_left_out() {
    const SOME: [&str; 3] = [
        "process_start_time_seconds",
        "goldrush_exporter_render_duration_seconds",
        "goldrush_exporter_exposition_bytes",
    ];
    const ALWAYS: [&str; 3] = [
        "goldrush_exporter_config_last_reload_successful",
        "goldrush_exporter_total_shards",
        "goldrush_up{account=\"default\"}",
    ];
    let api = Api::healthy(1);
    for (flags, there) in [(&[][..], true), (&["--web.disable-exporter-metrics"], false)] {
        let exporter = Exporter::start(flags, &api.environment());
        let exposition = exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
        for name in SOME {
            assert_eq!(exposition.value(name).is_some(), there, "{name} {flags:?}");
        }
        let others = exposition.samples().filter(|(name, _)| name.starts_with("process_")).count();
        assert_eq!(others > 1, there);
        for name in ALWAYS {
            assert!(exposition.value(name).is_some(), "{name} {flags:?}");
        }
        assert_eq!(exposition.values("goldrush_exporter_build_info", &[]).len(), 1);
    }
}

#[test]
fn a_reload_takes_effect_whole_or_not_at_all() {
    const SUCCESSFUL: &str = "goldrush_exporter_config_last_reload_successful";
    let api = Api::start(Options { pipelines: 3, groups: 2, service_key: KEY.to_owned(), ..Options::default() });
    api.simulator.add_service_key("sk_of_the_second_group", 1);
    let mut environment = api.environment();
    environment.push(("SECOND_KEY".to_owned(), "sk_of_the_second_group".to_owned()));
    let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    let one = "accounts:\n  - {name: one, service_key_env: GOLDRUSH_SERVICE_KEY}\n";
    let two = format!("{one}  - {{name: two, service_key_env: SECOND_KEY}}\n");
    std::fs::write(file.path(), one).unwrap();
    let path = file.path().to_str().unwrap();
    let exporter = Exporter::start(&["--config.file", path, "--web.enable-lifecycle"], &environment);
    exporter.until_value("goldrush_pipelines{account=\"one\"}", 3.0);
    let reload = || request(&exporter.address, "POST", "/-/reload", &[]);

    std::fs::write(file.path(), two).unwrap();
    let shard = |exposition: &common::Exposition| {
        (exposition.value("goldrush_exporter_shard_index"), exposition.value("goldrush_exporter_total_shards"))
    };
    assert_eq!(reload().status, 200);
    assert_eq!(exporter.scrape().value("goldrush_pipelines{account=\"one\"}"), Some(3.0), "no gap");
    exporter.until_value("goldrush_pipelines{account=\"two\"}", 3.0);

    assert_eq!(shard(&exporter.scrape()), (Some(0.0), Some(1.0)));

    std::fs::write(file.path(), format!("{one}shard: {{index: 1, total: 2}}\npolll: {{}}\n")).unwrap();
    let refused = reload();
    assert_eq!(refused.status, 500);
    assert!(refused.text().contains("polll: unknown setting"), "{}", refused.text());
    let exposition = exporter.until_value(SUCCESSFUL, 0.0);
    assert_eq!(exposition.value("goldrush_pipelines{account=\"two\"}"), Some(3.0), "the old one stays");
    assert_eq!(shard(&exposition), (Some(0.0), Some(1.0)), "the old part is polled");

    std::fs::write(file.path(), one).unwrap();
    exporter.signal(Signal::HUP);
    let exposition = exporter.until_value(SUCCESSFUL, 1.0);
    assert!(!exposition.0.contains("account=\"two\""), "an account that is gone is withdrawn");
    assert_eq!(exposition.value("goldrush_pipelines{account=\"one\"}"), Some(3.0));

    std::fs::write(file.path(), format!("{one}shard: {{index: 1, total: 2}}\n")).unwrap();
    assert_eq!(reload().status, 200);
    assert_eq!(shard(&exporter.scrape()), (Some(1.0), Some(2.0)), "as soon as it is loaded");
}

#[test]
fn a_threshold_changes_at_a_reload_and_meanwhile_no_scrape_lacks_a_trouble() {
    let options =
        Options { pipelines: 10, scenario: Scenario::EndedEarly, service_key: KEY.to_owned(), ..Options::default() };
    let api = Api::start(options);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exporter.yml");
    let exporter = with_a_file(&api, &file);
    let reload = |policies: &str| {
        std::fs::write(&file, policies).unwrap();
        assert_eq!(request(&exporter.address, "POST", "/-/reload", &[]).status, 200);
    };
    reload("policies: [{team: data}]");
    let troubles = |exposition: &common::Exposition| {
        exposition.values("goldrush_pipeline_trouble", &["kind=\"ended_early\"", "team=\"data\""])
    };
    exporter.until("a backfill that ended early", |exposition| troubles(exposition) == [1.0]);
    std::thread::scope(|scope| {
        let reloads = scope.spawn(|| {
            for share in [0.01, 0.02, 0.03, 0.04, 0.05] {
                reload(&format!("policies: [{{team: data, unprocessed_share: {share}}}]"));
            }
        });
        while !reloads.is_finished() {
            assert_eq!(troubles(&exporter.scrape()), [1.0]);
        }
    });
    reload("policies: [{team: data, unprocessed_share: 1}]");
    assert_eq!(troubles(&exporter.scrape()), [0.0; 0], "as soon as it is loaded");
}

/// An exporter that reads its configuration from that file, and again when it is asked to.
fn with_a_file(api: &Api, file: &std::path::Path) -> Exporter {
    std::fs::write(file, "{}").unwrap();
    Exporter::start(&["--config.file", file.to_str().unwrap(), "--web.enable-lifecycle"], &api.environment())
}

/// Whoever opens the file waits for a writer, as for a server that does not answer.
fn make_it_hang(file: &std::path::Path) {
    let pipe = file.with_extension("pipe");
    make_pipe(&pipe);
    std::fs::rename(pipe, file).unwrap();
}

#[test]
fn a_configuration_file_that_hangs_holds_up_neither_scrapes_nor_a_stop() {
    let api = Api::healthy(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exporter.yml");
    let mut exporter = with_a_file(&api, &file);
    exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
    make_it_hang(&file);
    let refused = request(&exporter.address, "POST", "/-/reload", &[]);
    assert_eq!(refused.status, 500);
    let complaint = format!("{}: cannot be read: timed out after 2s waiting for the file system\n", file.display());
    assert!(refused.text().ends_with(&complaint), "{}", refused.text());
    exporter.until_value("goldrush_exporter_config_last_reload_successful", 0.0);

    exporter.signal(Signal::HUP);
    exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
    let begin = Instant::now();
    exporter.signal(Signal::TERM);
    assert_eq!(exporter.ended().code(), Some(0));
    assert!(begin.elapsed().as_secs() < 6);
}

#[test]
fn a_reload_that_waits_for_another_does_not_hold_up_a_stop() {
    let api = Api::healthy(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exporter.yml");
    let mut exporter = with_a_file(&api, &file);
    make_it_hang(&file);
    // The first waits for the file, the others for the first.
    let waiting = [(); 3].map(|()| {
        let mut client = std::net::TcpStream::connect(&exporter.address).unwrap();
        client.write_all(b"POST /-/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        client
    });
    assert_eq!(exporter.get("/-/healthy").status, 200);
    exporter.signal(Signal::TERM);
    for mut client in waiting {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        // Nothing at all where the stop came before the request.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
    assert_eq!(exporter.ended().code(), Some(0));
    assert!(!exporter.stderr.text().contains("a client is stuck"), "{}", exporter.stderr.text());
}

#[test]
fn sigterm_ends_the_process_even_with_a_stuck_client() {
    let api = Api::healthy(1);
    for signal in [Signal::TERM, Signal::INT] {
        let mut exporter = Exporter::of(&api);
        let mut stuck = std::net::TcpStream::connect(&exporter.address).unwrap();
        stuck.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").unwrap();
        exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
        let begin = Instant::now();
        exporter.signal(signal);
        assert_eq!(exporter.ended().code(), Some(0), "{signal:?}");
        assert!(begin.elapsed().as_secs() < 6, "{signal:?}");
    }
}

/// All Rust files of a module.
fn sources(module: &str) -> Vec<std::path::PathBuf> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(module);
    let mut found = vec![path.with_extension("rs")];
    let mut folders = vec![path];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

#[test]
fn the_web_server_names_nothing_of_this_exporter() {
    const SHARED: [&str; 4] = ["file_system", "http", "rate", "settings"];
    for file in SHARED.iter().flat_map(|module| sources(module)) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.to_lowercase().contains("goldrush"), "{}", file.display());
        for (at, _) in text.match_indices("crate::") {
            let module = text[at + "crate::".len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            assert!(SHARED.contains(&module), "{} uses {module}", file.display());
        }
    }
}
