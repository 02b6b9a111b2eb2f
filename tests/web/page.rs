//! The page at `/` and its JSON form: over HTTP, and in a real Chromium.

use std::collections::BTreeSet;
use std::io::Read as _;

use crate::browser::Browser;
use crate::common::{Api, Exporter, KEY, eventually, request};
use goldrush_exporter::exposition::FAMILIES;
use goldrush_exporter::simulator::{
    DEMO_KEY_PROD, DEMO_KEY_REVOKED, DEMO_KEY_STAGING, Endpoint, Options, PRIVATE_STRINGS, Scenario,
};
use goldrush_exporter::trouble::Kind;
use serde_json::{Value, json};

const TAB: char = '\u{E004}';
const ENTER: char = '\u{E007}';
const ESCAPE: char = '\u{E00C}';

/// Texts that try to be more than text.
const HOSTILE: &[&str] = &[
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=document.title='owned'>",
    "</bdi></summary></details></ul><h1 id=owned>owned",
    "&lt;b&gt; {{7*7}} ${7*7}",
    "photo\u{202E}gpj.exe\u{2066}\u{0007}",
];

fn json(exporter: &Exporter, query: &str) -> Value {
    let answer = exporter.get(&format!("/api/v1/pipelines{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

/// The ids of the pipelines that a query shows.
fn ids(report: &Value) -> Vec<String> {
    let pipelines = report["pipelines"].as_array().unwrap();
    pipelines.iter().map(|pipeline| pipeline["pipeline_id"].as_str().unwrap().to_owned()).collect()
}

fn kinds(subject: &Value) -> Vec<&str> {
    subject["troubles"].as_array().unwrap().iter().map(|trouble| trouble["kind"].as_str().unwrap()).collect()
}

/// The demo's three accounts: two groups with many troubles, and a revoked key.
fn demo() -> (Api, Exporter) {
    let api = Api::start(Options { scenario: Scenario::Demo, ..Options::default() });
    let mut settings = vec![
        ("PROD".to_owned(), DEMO_KEY_PROD.to_owned()),
        ("STAGING".to_owned(), DEMO_KEY_STAGING.to_owned()),
        ("LEGACY".to_owned(), DEMO_KEY_REVOKED.to_owned()),
    ];
    for (index, (name, variable)) in [("prod", "PROD"), ("staging", "STAGING"), ("legacy", "LEGACY")].iter().enumerate()
    {
        let setting = |setting: &str| format!("GOLDRUSH_EXPORTER__ACCOUNTS__{index}__{setting}");
        settings.push((setting("NAME"), (*name).to_owned()));
        settings.push((setting("SERVICE_KEY_ENV"), (*variable).to_owned()));
    }
    let mut environment = api.environment();
    environment.retain(|(name, _)| name != "GOLDRUSH_SERVICE_KEY");
    environment.extend(settings);
    let exporter = Exporter::start(&[], &environment);
    eventually("every reading", || {
        let report = json(&exporter, "");
        let pipelines = report["pipelines"].as_array().unwrap();
        pipelines.len() == 13
            && pipelines.iter().all(|pipeline| {
                pipeline["forbidden"] == true || !pipeline["probes"]["metrics"]["age_seconds"].is_null()
            })
            && report["accounts"][2]["key"]["state"] == "unauthorized"
            && ["failed", "destination_unhealthy", "forbidden"]
                .iter()
                .all(|kind| report["pipelines"].to_string().contains(kind))
    });
    (api, exporter)
}

#[test]
fn headers_forbid_what_the_page_does_not_need() {
    let api = Api::healthy(1);
    let exporter = Exporter::of(&api);
    eventually("the exporter is ready", || exporter.get("/-/ready").status == 200);
    let page = exporter.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                  form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    assert_eq!(page.header("content-security-policy"), Some(policy));
    let json = exporter.get("/api/v1/pipelines");
    assert_eq!(json.header("content-type"), Some("application/json"));
    let twice = exporter.get("/?q=a&q=b");
    assert_eq!((twice.status, twice.text().as_str()), (400, "The parameter q expects one value.\n"));
    for answer in [&page, &json, &exporter.get("/?trouble=nonsense"), &twice] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
    // What the page loads is its own, and there.
    let text = page.text();
    let links = text.split(['"', ' ']).filter(|link| link.starts_with("./-/page."));
    let links: Vec<&str> = links.collect();
    assert_eq!(links.len(), 3, "{links:?}");
    for link in links {
        let asset = exporter.get(&link[1..]);
        assert_eq!(asset.status, 200, "{link}");
        assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(asset.header("x-content-type-options"), Some("nosniff"));
    }
    assert!(!text.contains("src=\"http") && !text.contains("style=") && !text.contains("<script>"));
    for link in ["./metrics", "./-/healthy", "./-/ready", "./api/v1/pipelines"] {
        assert!(text.contains(&format!("href=\"{link}\"")), "{link}");
        assert_eq!(exporter.get(&link[1..]).status, 200, "{link}");
    }
    assert!(text.contains(&format!("Version {}", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request(&exporter.address, "POST", "/api/v1/pipelines", &[]).status, 405, "read-only");
    let zipped = request(&exporter.address, "GET", "/", &[("Accept-Encoding", "gzip")]);
    assert_eq!((zipped.header("content-encoding"), zipped.header("vary")), (Some("gzip"), Some("Accept-Encoding")));
    let mut unzipped = String::new();
    flate2::read::GzDecoder::new(zipped.body.as_slice()).read_to_string(&mut unzipped).unwrap();
    assert!(unzipped.ends_with("</html>"));
}

#[test]
fn troubles_come_and_go_with_what_causes_them() {
    let api = Api::healthy(6);
    let exporter = Exporter::of(&api);
    let all = api.simulator.pipeline_ids(0);
    let until = |what: &str, holds: &dyn Fn(&Value) -> bool| {
        let seen = std::cell::RefCell::new(Value::Null);
        eventually(what, || {
            seen.replace(json(&exporter, ""));
            holds(&seen.borrow())
        });
        seen.into_inner()
    };
    let read =
        |report: &Value| ids(report).len() == 6 && !report["pipelines"].to_string().contains("\"age_seconds\":null");
    let report = until("six well pipelines", &|report| read(report) && report["pipelines_in_trouble"] == 0);
    assert_eq!(report["accounts"][0]["key"]["state"], "accepted");
    assert!(exporter.get("/").text().contains("Nothing is wrong with 6 pipelines"));

    api.simulator.set_scenario(Scenario::DestinationDown);
    let report = until("two destinations are down", &|report| report["pipelines_critical"] == 2);
    let (first, second) = (&report["pipelines"][0], &report["pipelines"][1]);
    assert_eq!(kinds(first)[0], "destination_unhealthy");
    assert_eq!(first["troubles"][0]["since"]["or_earlier"], false, "seen to begin");
    assert!(first["troubles"][0]["since"]["timestamp_seconds"].as_f64() <= report["time_seconds"].as_f64());
    let mut down = [first["pipeline_id"].as_str().unwrap(), second["pipeline_id"].as_str().unwrap()];
    let mut expected = [all[0].as_str(), all[1].as_str()];
    down.sort_unstable();
    expected.sort_unstable();
    assert_eq!(down, expected);
    let page = exporter.get("/?trouble=critical").text();
    assert!(page.contains("2 of 6 pipelines in trouble, 2 critical") && page.contains("2 pipelines that match"));
    assert!(page.contains("dial tcp [redacted] connect: connection refused"), "{page}");

    api.simulator.set_scenario(Scenario::FailedPipeline);
    let report = until("one has failed, and no destination is down any more", &|report| {
        kinds(&report["pipelines"][0]) == ["failed"] && report["pipelines_critical"] == 1
    });
    assert_eq!(ids(&report)[0], all[0]);

    api.simulator.set_scenario(Scenario::ForeignPipeline);
    until("one is forbidden", &|report| kinds(&report["pipelines"][0]).contains(&"forbidden"));

    api.simulator.set_scenario(Scenario::Healthy);
    until("all is well again", &|report| report["pipelines_in_trouble"] == 0);
    api.simulator.set_scenario(Scenario::ReadOnlyKey);
    let report = until("no ServiceKey", &|report| kinds(&report["accounts"][0]) == ["key_not_service_key"]);
    assert_eq!(report["accounts"][0]["key"]["state"], "not_a_service_key");
    assert!(exporter.get("/").text().contains("not a ServiceKey (403)"));

    api.simulator.set_scenario(Scenario::RevokedKey);
    let report = until("a revoked key", &|report| kinds(&report["accounts"][0]) == ["key_unauthorized"]);
    assert_eq!(report["pipelines_in_trouble"], 0, "one trouble, not one per pipeline");

    api.simulator.set_scenario(Scenario::Healthy);
    until("all is well again", &|report| {
        report["pipelines_in_trouble"] == 0 && report["accounts"][0]["troubles"] == json!([])
    });
}

#[test]
fn both_forms_filter_by_the_same_parameters() {
    let (_api, exporter) = demo();
    let count = |query: &str| json(&exporter, query)["pipelines_matching"].as_u64().unwrap();
    assert_eq!(count(""), 13);
    assert_eq!(count("?account=prod"), 9);
    assert_eq!(count("?account=nobody"), 0);
    assert_eq!(count("?q=TRANSFERS%20analytics"), 1);
    assert_eq!(count("?q=z%C3%BCrich"), 1);
    assert_eq!(count("?trouble=failed"), 1);
    assert_eq!(count("?trouble=failed&q=base"), 0);
    assert_eq!(count("?q=&trouble=&account=&limit=&offset="), 13, "as an empty form sends it");
    let all = ids(&json(&exporter, ""));
    let part = json(&exporter, "?limit=5&offset=10");
    assert_eq!((ids(&part), &part["pipelines_matching"]), (all[10..].to_vec(), &json!(13)));
    let page = exporter.get("/?q=kafka&limit=1").text();
    assert!(page.contains("Showing 1 to 1 of 2 pipelines that match"), "{page}");
    assert!(page.contains("href=\"./?q=kafka&amp;limit=1&amp;offset=1\""), "{page}");
    assert!(page.contains("name=\"q\" value=\"kafka\""));
    assert!(exporter.get("/?q=nothing").text().contains("None of 13 pipelines matches."));
    for (query, problem) in [
        ("?trouble=nonsense", "The parameter trouble expects any, critical, warning or one of key_unauthorized,"),
        ("?limit=-1", "The parameter limit expects a whole number, 0 or more."),
    ] {
        for path in ["/", "/api/v1/pipelines"] {
            let answer = exporter.get(&format!("{path}{query}"));
            assert_eq!(answer.status, 400);
            assert!(answer.text().starts_with(problem), "{}", answer.text());
        }
    }
}

/// All names of fields in there.
fn fields(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            names.insert(name.clone());
            fields(value, names);
        }),
        Value::Array(values) => values.iter().for_each(|value| fields(value, names)),
        _ => {}
    }
}

#[test]
fn the_documentation_knows_every_field_and_every_kind_of_trouble() {
    let documentation = concat!(include_str!("../../docs/http-api.md"), include_str!("../../docs/alerts.md"));
    let (_api, exporter) = demo();
    let mut names = BTreeSet::new();
    fields(&json(&exporter, ""), &mut names);
    let gauge = |name: &str| {
        let prefixes = ["goldrush_pipeline_", "goldrush_group_", "goldrush_poll_", "goldrush_usage_", "goldrush_"];
        FAMILIES.iter().any(|family| prefixes.iter().any(|prefix| family.name == format!("{prefix}{name}")))
            || FAMILIES.iter().any(|family| family.labels.contains(&name) || family.subject().labels().contains(&name))
    };
    for name in names {
        let told = ["`", ".", "["].iter().any(|before| documentation.contains(&format!("{before}{name}")));
        assert!(told || gauge(&name), "the field {name} is missing");
    }
    for kind in Kind::ALL {
        assert!(documentation.contains(&format!("`{kind}`")), "the kind {kind} is missing");
    }
}

/// A fleet whose texts are all hostile.
fn hostile() -> (Api, Exporter) {
    let api = Api::healthy(HOSTILE.len());
    api.simulator.set_scenario(Scenario::OverLimit);
    api.simulator.update_group(0, |group| group.name = HOSTILE[1].to_owned());
    for (id, text) in api.simulator.pipeline_ids(0).iter().zip(HOSTILE) {
        api.simulator.update_pipeline(id, |pipeline| {
            for field in ["name", "project", "topic", "destination_type", "execution_mode"] {
                pipeline.answer_with(Endpoint::List, field, json!(text));
            }
            pipeline.answer_with(Endpoint::Status, "status", json!(text));
            pipeline.answer_with(Endpoint::DestinationHealth, "healthy", json!(false));
            pipeline.answer_with(
                Endpoint::DestinationHealth,
                "last_error",
                json!(format!("timeout {text} {}", PRIVATE_STRINGS.join(" "))),
            );
        });
    }
    let exporter = Exporter::of(&api);
    eventually("unhealthy destinations", || json(&exporter, "")["pipelines_critical"] == HOSTILE.len());
    (api, exporter)
}

#[test]
fn hostile_texts_stay_text_and_private_ones_stay_away() {
    let (_api, exporter) = hostile();
    let (page, report) = (exporter.get("/").text(), exporter.get("/api/v1/pipelines").text());
    for tag in ["<script>", "<img", "<h1 id", "</bdi></summary>"] {
        assert!(!page.contains(tag), "{tag}");
    }
    assert!(page.contains("&lt;script&gt;document.title='owned'&lt;/script&gt;"));
    assert!(page.contains("The group &quot;&gt;&lt;img src=x"));
    assert!(page.contains("timeout [redacted]"), "{page}");
    for private in PRIVATE_STRINGS.iter().copied().chain([KEY]) {
        assert!(!page.contains(private) && !report.contains(private), "{private}");
    }
    let report: Value = serde_json::from_str(&report).unwrap();
    let mut names: Vec<&str> =
        report["pipelines"].as_array().unwrap().iter().map(|p| p["pipeline"].as_str().unwrap()).collect();
    names.sort_unstable();
    // A control character becomes a space.
    let mut expected: Vec<String> = HOSTILE.iter().map(|name| name.replace('\u{7}', " ")).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
#[ignore = "needs Chromium"]
fn a_browser_shows_hostile_texts_as_text() {
    let (_api, exporter) = hostile();
    let browser = Browser::start();
    browser.open(&format!("http://{}/", exporter.address));
    let own =
        "return document.scripts.length + ' ' + document.images.length + ' ' + document.querySelectorAll('h1').length";
    assert_eq!(browser.text(own), "1 0 1");
    // The same through the script that refreshes, and through the search.
    browser.run("window.first = document.getElementById('as-of').textContent");
    browser.press("/<script>");
    browser.until("return document.querySelectorAll('#list li').length === 1");
    browser.until("return new URLSearchParams(location.search).get('q') === '<script>'");
    browser.until("return document.getElementById('as-of').textContent !== window.first");
    assert_eq!(browser.text("return document.querySelector('#list .title').textContent"), HOSTILE[0]);
    assert_eq!(browser.text(own), "1 0 1");
    assert_eq!(browser.text("return document.querySelector('#q').value"), "<script>");
    // A name with an override of its direction turns nothing but itself.
    browser.open(&format!("http://{}/?q=photo", exporter.address));
    assert_eq!(browser.text("return getComputedStyle(document.querySelector('#list .title')).unicodeBidi"), "isolate");
    assert!(browser.text("return document.title").ends_with("GoldRush exporter"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The lowest contrast of texts with what is behind them (WCAG 2.2, 1.4.3 asks for 4.5).
const CONTRAST: &str = "
    const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const ground = (e) => {
        const own = rgb(getComputedStyle(e).backgroundColor);
        return own[3] === 0 && e.parentElement ? ground(e.parentElement) : own;
    };
    let worst = [21, ''];
    for (const e of document.querySelectorAll('body *')) {
        if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
        const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < worst[0]) worst = [contrast, e.outerHTML.slice(0, 200)];
    }
    return worst;";

#[test]
#[ignore = "needs Chromium"]
fn a_browser_shows_the_demos_trouble_in_light_and_dark_and_on_a_phone() {
    let (_api, exporter) = demo();
    let browser = Browser::start();
    let url = format!("http://{}/", exporter.address);
    for (name, width, height, scheme, phone) in [
        ("page-light.png", 1280, 900, "light", false),
        ("page-dark.png", 1280, 900, "dark", false),
        ("page-phone.png", 390, 844, "dark", true),
    ] {
        browser.resize(width, height, phone);
        browser.prefer(scheme);
        browser.open(&url);
        let text = browser.text("return document.body.innerText");
        for shown in [
            "key revoked or wrong (401)",
            "The worker has failed and does not recover by itself.",
            "The destination is unhealthy: connection refused (dial tcp [redacted] connect: connection refused",
            "The API returns 403: the pipeline belongs to another group and is not being watched.",
            "The group Simulated staging is over the limit of its plan.",
        ] {
            assert!(text.contains(shown), "{shown} in {text}");
        }
        assert_eq!(browser.run("return document.documentElement.scrollWidth <= innerWidth"), json!(true), "{name}");
        browser.run("document.querySelectorAll('details').forEach((row) => { row.open = true; })");
        let contrast = browser.run(CONTRAST);
        assert!(contrast[0].as_f64().unwrap() >= 4.5, "{name}: {contrast}");
        assert_eq!(
            browser.run("return document.documentElement.scrollWidth <= innerWidth"),
            json!(true),
            "{name} opened"
        );
        browser.run("document.querySelectorAll('details').forEach((row) => { row.open = false; })");
        browser.screenshot(name);
    }
    // It refreshes by itself, without anybody doing anything.
    let seen = browser.text("return document.getElementById('as-of').textContent");
    browser.until(&format!("return document.getElementById('as-of').textContent !== '{seen}'"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// What a person has to find again after a refresh.
const PLACE: &str = "
    const row = document.activeElement.closest('li');
    return [row.getBoundingClientRect().top, row.dataset.key, row.querySelector('details').open,
        document.querySelector('#q').value, getSelection().toString()];";

#[test]
#[ignore = "needs Chromium"]
fn a_browser_keeps_the_place_while_the_fleet_changes() {
    let api = Api::healthy(60);
    let exporter = Exporter::of(&api);
    eventually("sixty well pipelines", || {
        let report = json(&exporter, "");
        report["pipelines_in_trouble"] == 0
            && report["pipelines"].to_string().matches("\"phase\":\"RUNNING\"").count() == 60
    });
    let browser = Browser::start();
    browser.resize(1000, 700, false);
    browser.open(&format!("http://{}/?q=from", exporter.address));
    // Somebody has opened a row in the middle, scrolled to it and marked a word.
    browser.run("document.querySelectorAll('#list li')[20].scrollIntoView({block: 'center'})");
    browser.click("#list li:nth-child(21) .title");
    browser.run("getSelection().selectAllChildren(document.querySelectorAll('#list li')[20].querySelector('code'))");
    let place = browser.run(PLACE);
    assert_eq!(place[2], true);
    let key = place[1].as_str().unwrap();

    // Twenty destinations fail: their rows move above this one, and become higher.
    api.simulator.set_scenario(Scenario::DestinationDown);
    eventually("troubles", || json(&exporter, "")["pipelines_critical"] == 20);
    let order =
        format!("return [...document.querySelectorAll('#list li')].findIndex((row) => row.dataset.key === '{key}')");
    let before = browser.run(&order);
    // As if the window had been hidden and came back, which refreshes at once.
    browser.run("document.dispatchEvent(new Event('visibilitychange'))");
    browser.until("return document.querySelector('#verdict').innerText.includes('20 of 60 pipelines in trouble')");
    assert_ne!(browser.run(&order), before, "the row has moved");
    let after = browser.run(PLACE);
    // A browser scrolls by whole pixels.
    assert!((after[0].as_f64().unwrap() - place[0].as_f64().unwrap()).abs() <= 1.0, "{place} {after}");
    assert_eq!(after.as_array().unwrap()[1..], place.as_array().unwrap()[1..]);

    // A pause is one.
    browser.click("#pause");
    browser.until("return document.querySelector('#state').textContent === 'paused'");
    let seen = browser.text("return document.getElementById('as-of').textContent");
    api.simulator.set_scenario(Scenario::Healthy);
    eventually("no troubles", || json(&exporter, "")["pipelines_critical"] == 0);
    assert_eq!(browser.text("return document.getElementById('as-of').textContent"), seen);
    browser.click("#pause");
    browser.until("return document.querySelector('#verdict').innerText.includes('Nothing is wrong with 60 pipelines')");
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // An exporter that is gone must not look like one where all is well.
    drop(exporter);
    browser.run("document.dispatchEvent(new Event('visibilitychange'))");
    browser.until("return /^No answer since 2.* UTC: this is old$/.test(document.querySelector('#state').textContent)");
    assert_eq!(browser.run("return document.body.classList.contains('old')"), json!(true));
}

#[test]
#[ignore = "needs Chromium"]
fn a_browser_filters_as_one_types_and_needs_no_mouse() {
    let (_api, exporter) = demo();
    let browser = Browser::start();
    browser.resize(1280, 900, false);
    browser.open(&format!("http://{}/", exporter.address));
    let rows = |count: usize| format!("return document.querySelectorAll('#list li').length === {count}");
    browser.until(&rows(13));
    browser.press("/zuri");
    browser.until(&rows(0));
    assert!(browser.text("return document.querySelector('#list').innerText").contains("None of 13 pipelines matches."));
    browser.press(&ESCAPE.to_string());
    browser.until(&rows(13));
    browser.press("Zürich");
    browser.until(&rows(1));
    assert_eq!(browser.text("return decodeURIComponent(location.search)"), "?q=Zürich");
    // On to the choice, which takes a key too, and to the row, which opens.
    browser.run("document.querySelector('#q').select()");
    browser.press("\u{E003}");
    browser.until(&rows(13));
    browser.press(&TAB.to_string());
    assert_eq!(browser.text("return document.activeElement.name"), "trouble");
    browser.press("crit");
    browser.until(&rows(2));
    assert_eq!(browser.text("return location.search"), "?trouble=critical");
    // Account, pause, and then the first row.
    browser.press(&[TAB; 3].iter().collect::<String>());
    browser.until("return document.activeElement.matches('#list li:first-child summary')");
    assert_ne!(browser.text("return getComputedStyle(document.activeElement).outlineStyle"), "none");
    browser.press(&ENTER.to_string());
    browser.until("return document.activeElement.parentElement.open");
    browser.press(&TAB.to_string());
    assert!(browser.text("return document.activeElement.href").ends_with("/alerts/runbooks/GoldRushPipelineFailed.md"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium"]
fn a_browser_without_scripts_filters_by_the_form_and_turns_pages_by_links() {
    let (_api, exporter) = demo();
    let browser = Browser::start();
    browser.allow_scripts(false);
    browser.open(&format!("http://{}/?limit=5", exporter.address));
    let rows = |count: usize| format!("return document.querySelectorAll('#list li').length === {count}");
    browser.until(&rows(5));
    assert_eq!(browser.run("return document.querySelector('#refresh').checkVisibility()"), json!(false));
    browser.click("a[rel=next]");
    browser.until("return document.querySelector('.count').innerText.startsWith('Showing 6 to 10 of 13 pipelines')");
    browser.click("#q");
    browser.press("kafka");
    browser.click("#filter button");
    browser.until(&rows(2));
    assert_eq!(browser.text("return location.search"), "?q=kafka&trouble=&account=");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium"]
fn five_thousand_pipelines_are_paged_searched_and_refreshed_in_place() {
    let api = Api::healthy(5_000);
    // What is looked at is what the list says; the probes may take their time.
    let exporter = Exporter::with(&api, &[("GOLDRUSH_EXPORTER__POLL__REQUESTS_PER_SECOND", "200")]);
    eventually("the whole list", || json(&exporter, "?limit=0")["pipelines_total"] == 5_000);
    let sought = api.simulator.pipeline_ids(0)[4_321].clone();
    assert_eq!(ids(&json(&exporter, "?limit=1")).len(), 1);
    assert_eq!(ids(&json(&exporter, "?offset=4999")).len(), 1);
    assert_eq!(ids(&json(&exporter, "")).len(), 5_000);
    assert_eq!(ids(&json(&exporter, &format!("?q={sought}"))), std::slice::from_ref(&sought));

    let browser = Browser::start();
    browser.open(&format!("http://{}/", exporter.address));
    assert_eq!(browser.run("return document.querySelectorAll('#list li').length"), 100);
    let refreshed = browser.text("return document.getElementById('as-of').textContent");
    browser.run("document.querySelectorAll('#list li')[60].scrollIntoView({block: 'center'})");
    browser.click("#list li:nth-child(61) .title");
    let place = browser.run(PLACE);
    browser.until(&format!("return document.getElementById('as-of').textContent !== '{refreshed}'"));
    let after = browser.run(PLACE);
    assert!((after[0].as_f64().unwrap() - place[0].as_f64().unwrap()).abs() <= 1.0, "{place} {after}");
    assert_eq!(after[1], place[1]);
    browser.press("/");
    browser.press(&sought);
    browser.until("return document.querySelectorAll('#list li').length === 1");
    let key = browser.text("return document.querySelector('#list li').dataset.key");
    assert_eq!(key, format!("default/{sought}"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
