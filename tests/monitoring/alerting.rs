//! From the platform to the pager: the simulator, the exporter, a real Prometheus with the shipped rules, a real Alertmanager
//! with the shipped routes and receivers, and what arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::alertmanager::{Alertmanager, Message, Receiver};
use crate::common::prometheus::Prometheus;
use crate::common::{self, Api, Exporter, KEY, Output, Signal, eventually, of};
use goldrush_exporter::simulator::{Condition, Endpoint, Scenario};
use regex::{Captures, Regex};
use serde_json::{Value, json};

const RUNBOOKS: &str = "https://github.com/covalenthq/goldrush-exporter/blob/main/alerts/runbooks";

fn shipped(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts").join(name)).unwrap()
}

/// The one change to what the shipped files say: everything happens sixty times as fast, at most twice a second. What has to come
/// before something else still does. Expressions, texts, routes and inhibitions stay as they are.
fn hastened(yaml: &str) -> String {
    let waits = "for|keep_firing_for|interval|(?:scrape|evaluation)_interval|scrape_timeout|group_wait|group_interval";
    let waits = Regex::new(&format!(r"(?m)^( *(?:{waits}): )(\d+)([smh])$")).unwrap();
    let hasten = |found: &Captures| {
        let unit = match &found[3] {
            "s" => 1000,
            "m" => 60_000,
            _ => 3_600_000,
        };
        let milliseconds = found[2].parse::<u64>().unwrap() * unit / 60;
        format!("{}{}ms", &found[1], milliseconds.max(500))
    };
    assert!(waits.is_match(yaml));
    waits.replace_all(yaml, hasten).into_owned()
}

#[track_caller]
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not there");
    text.replace(from, to)
}

/// Of an exporter that polls this API with the key in the file. The teams own the first pipelines, one each.
fn environment(api: &Api, secrets: &tempfile::TempDir, teams: &[&str]) -> Vec<(String, String)> {
    let mut environment = api.environment();
    environment.retain(|(name, _)| name != "GOLDRUSH_SERVICE_KEY");
    let key = secrets.path().join("service-key").to_str().unwrap().to_owned();
    environment.push(("GOLDRUSH_EXPORTER__ACCOUNTS__0__NAME".to_owned(), "prod".to_owned()));
    environment.push(("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_FILE".to_owned(), key));
    let ids = api.simulator.pipeline_ids(0);
    for (index, (team, id)) in teams.iter().zip(ids).enumerate() {
        environment.push((format!("GOLDRUSH_EXPORTER__POLICIES__{index}__PIPELINE_IDS__0"), id));
        environment.push((format!("GOLDRUSH_EXPORTER__POLICIES__{index}__TEAM"), (*team).to_owned()));
    }
    // Sixty times as fast as the default, as the rules are.
    environment.push((format!("GOLDRUSH_EXPORTER__POLICIES__{}__DEPLOYMENT", teams.len()), "15s".to_owned()));
    environment
}

/// Everything between the platform and the pager.
struct Watch {
    api: Api,
    exporter: Exporter,
    prometheus: Prometheus,
    prometheus_config: String,
    alertmanager: Alertmanager,
    receiver: Receiver,
    secrets: tempfile::TempDir,
}

impl Watch {
    /// Of a fleet of three well pipelines. Returns when Prometheus has seen them.
    fn begin() -> Self {
        Self::of(3, &[])
    }

    /// Of so many well pipelines, the first of which belong to these teams, one each.
    fn of(pipelines: usize, teams: &[&str]) -> Self {
        let api = Api::healthy(pipelines);
        let receiver = Receiver::start();
        let secrets = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("service-key", KEY.to_owned()),
            ("slack-webhook-url", format!("http://{}/chat", receiver.address)),
            ("pagerduty-routing-key", "the routing key".to_owned()),
            ("pagerduty-routing-key-data", "the routing key of data".to_owned()),
            ("goldrush-webhook-token", "the webhook token".to_owned()),
        ] {
            std::fs::write(secrets.path().join(name), content).unwrap();
        }
        let exporter = Exporter::start(&[], &environment(&api, &secrets, teams));
        let config = replaced(&shipped("alertmanager.yml"), "/run/secrets", secrets.path().to_str().unwrap());
        let config =
            replaced(&config, "http://localhost:9095/goldrush", &format!("http://{}/webhook", receiver.address));
        let switch = format!("http://{}/switch", receiver.address);
        let config = replaced(&config, "http://localhost:9096/goldrush-watchdog", &switch);
        let config = replaced(&config, "repeat_interval: 50s", "repeat_interval: 1s");
        let pager = format!("global:\n  pagerduty_url: http://{}/pager\n", receiver.address);
        let alertmanager = Alertmanager::start(&hastened(&replaced(&config, "global:\n", &pager)));

        let config = replaced(&shipped("prometheus.yml"), "localhost:9877", &exporter.address);
        let config = hastened(&replaced(&config, "localhost:9093", alertmanager.address()));
        let rules = hastened(&shipped("goldrush.rules.yml"));
        // Prometheus takes seconds to begin to scrape, which is minutes in these rules: they come after that.
        let prometheus = Prometheus::configured(&config, &[("goldrush.rules.yml", "groups: []")]);
        prometheus.until(&format!("count(goldrush_pipeline_destination_healthy == 1) == {pipelines}"));
        prometheus.reload("goldrush.rules.yml", &rules);
        eventually("Prometheus finds Alertmanager again", || {
            prometheus.api("alertmanagers", &[])["activeAlertmanagers"]
                .as_array()
                .is_some_and(|active| active.len() == 1)
        });
        Self { api, exporter, prometheus, prometheus_config: config, alertmanager, receiver, secrets }
    }

    /// The id and the name of the first pipeline.
    fn first_pipeline(&self) -> (String, String) {
        let id = self.api.simulator.pipeline_ids(0)[0].clone();
        let mut name = String::new();
        self.api.simulator.update_pipeline(&id, |pipeline| name = pipeline.name.clone());
        (id, name)
    }

    fn condition(&self, id: &str, condition: Condition) {
        self.api.simulator.update_pipeline(id, |pipeline| pipeline.condition = condition);
    }

    /// Waits for a message to the pager.
    #[track_caller]
    fn paged(&self, action: &str, summary: &str) -> Value {
        let what = format!("{action} {summary}");
        self.receiver.until(&what, |message| page(message) == Some((action.to_owned(), summary.to_owned()))).body
    }

    /// Waits for a message that holds an alert of that name and status, and answers the alert.
    #[track_caller]
    fn told(&self, name: &str, status: &str) -> Value {
        self.told_of(name, status, |_| true)
    }

    #[track_caller]
    fn told_of(&self, name: &str, status: &str, it: impl Fn(&Value) -> bool) -> Value {
        let alert = |message: &Message| {
            let mut alerts = message.body["alerts"].as_array().cloned().unwrap_or_default().into_iter();
            alerts.find(|alert| alert["labels"]["alertname"] == name && alert["status"] == status && it(alert))
        };
        let fits = |message: &Message| message.path == "/webhook" && alert(message).is_some();
        alert(&self.receiver.until(&format!("{name} {status}"), fits)).unwrap()
    }

    /// Waits until every alert of that name, of which there are so many, is inhibited by the alert `by` and by nothing else.
    #[track_caller]
    fn inhibited(&self, name: &str, count: usize, by: &str) {
        eventually(&format!("{name} is inhibited by {by}"), || {
            let sources: Vec<Value> =
                self.alertmanager.alerts(by).into_iter().map(|source| source["fingerprint"].clone()).collect();
            let alerts = self.alertmanager.alerts(name);
            alerts.len() == count
                && alerts.iter().all(|alert| {
                    alert["status"]["state"] == "suppressed" && alert["status"]["inhibitedBy"] == json!(sources)
                })
        });
    }

    /// Waits until whatever Alertmanager had to say by now has been said: an alert of our own comes and goes after it, through
    /// the same waits.
    #[track_caller]
    fn nothing_more_comes(&self) {
        // The one name that is never inhibited, even while there is no exporter at all.
        let name = "GoldRushExporterDown";
        let ours = |alert: &Value| alert["annotations"]["summary"] == "from the test";
        let labels = json!({"alertname": name, "severity": "critical", "job": "sentinel"});
        self.alertmanager.take(labels.clone(), None);
        self.paged("trigger", "from the test");
        self.told_of(name, "firing", ours);
        self.alertmanager.take(labels, Some(jiff::Timestamp::now()));
        self.told_of(name, "resolved", ours);
        self.paged("resolve", "from the test");
    }

    /// Waits until the dead man's switch has got another message.
    #[track_caller]
    fn hears_the_watchdog(&self) {
        let heard = || self.receiver.messages().into_iter().filter(|message| message.path == "/switch");
        let before = heard().count();
        eventually("the dead man's switch hears the watchdog", || heard().count() > before);
        for message in heard() {
            let alerts = message.body["alerts"].as_array().unwrap();
            let names: Vec<&Value> = alerts.iter().map(|alert| &alert["labels"]["alertname"]).collect();
            assert_eq!((names, &message.body["status"]), (vec![&json!("GoldRushWatchdog")], &json!("firing")));
        }
    }

    /// What the pager has got, without our own: action and summary.
    fn pages(&self) -> Vec<(String, String)> {
        self.receiver.messages().iter().filter_map(page).filter(|(_, summary)| summary != "from the test").collect()
    }

    /// How often each alert was told of as firing, by its name, without our own.
    fn firing(&self) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for message in self.receiver.messages().iter().filter(|message| message.path == "/webhook") {
            for alert in message.body["alerts"].as_array().unwrap().iter().filter(|alert| alert["status"] == "firing") {
                let name = alert["labels"]["alertname"].as_str().unwrap();
                if alert["annotations"]["summary"] != "from the test" {
                    *names.entry(name.to_owned()).or_default() += 1;
                }
            }
        }
        names
    }
}

/// Action and summary of a message to the pager.
fn page(message: &Message) -> Option<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let body = &message.body;
    (message.path == "/pager").then(|| (text(&body["event_action"]), text(&body["payload"]["summary"])))
}

fn pages(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(action, summary)| ((*action).to_owned(), (*summary).to_owned())).collect()
}

const NEW_KEY: &str = "sk_test_canary_5d20ea7c91b3f648";

const REFUSED: &str = "dial tcp 10.0.0.5:5432: connect: connection refused";

#[test]
#[ignore = "needs Prometheus and Alertmanager"]
fn a_dead_destination_pages_with_pipeline_and_reason_until_it_is_mended() {
    let watch = Watch::begin();
    let (id, name) = watch.first_pipeline();
    watch.condition(&id, Condition::DestinationDown(REFUSED));
    let summary = format!("The destination of pipeline \"{name}\" is unhealthy");
    let trigger = watch.paged("trigger", &summary);
    let description = format!(
        "GoldRush cannot reach the destination of pipeline \"{name}\" ({id}, account prod). Reason: connection_refused. \
         Records are buffered and written later, as long as the buffer lasts; a webhook loses what it does not accept."
    );
    assert_eq!(trigger["routing_key"], "the routing key");
    assert_eq!(trigger["payload"]["severity"], "critical");
    let details = &trigger["payload"]["custom_details"];
    let dashboard = format!("/d/goldrush-pipeline?var-account=prod&var-pipeline_id={id}");
    let links = format!("{RUNBOOKS}/GoldRushDestinationUnhealthy.md https://grafana.example.com{dashboard}");
    assert_eq!(details["firing"], format!("{description} {links} "));
    assert_eq!((&details["account"], &details["pipeline_id"]), (&json!("prod"), &json!(id)));

    let alert = watch.told("GoldRushDestinationUnhealthy", "firing");
    assert_eq!(alert["annotations"]["description"], description);
    assert_eq!(alert["annotations"]["dashboard_url"], dashboard);
    let chat = watch.receiver.until("chat", |message| message.path == "/chat").body;
    let said = &chat["attachments"][0];
    assert_eq!(said["title"], format!("CRITICAL: account prod {id}"));
    assert!(said["text"].as_str().unwrap().starts_with(&format!("*{summary}*\n{description}\n<{RUNBOOKS}")), "{said}");

    watch.condition(&id, Condition::Well);
    let resolve = watch.paged("resolve", &summary);
    assert_eq!(resolve["dedup_key"], trigger["dedup_key"], "it ends this page");
    watch.told("GoldRushDestinationUnhealthy", "resolved");
    watch.nothing_more_comes();
    assert_eq!(watch.pages(), pages(&[("trigger", &summary), ("resolve", &summary)]));
    let messages = watch.receiver.messages();
    assert!(!format!("{messages:?}").contains("10.0.0.5"), "what the destination said stays with us");
    let webhooks = messages.iter().filter(|message| message.path == "/webhook");
    assert!(webhooks.map(|message| message.authorization.as_deref()).all(|it| it == Some("Bearer the webhook token")));
}

#[test]
#[ignore = "needs Prometheus and Alertmanager"]
fn a_revoked_key_is_one_page_and_what_is_still_wrong_pages_after_it() {
    let watch = Watch::begin();
    let (id, name) = watch.first_pipeline();
    watch.condition(&id, Condition::DestinationDown(REFUSED));
    let unhealthy = format!("The destination of pipeline \"{name}\" is unhealthy");
    watch.paged("trigger", &unhealthy);

    // This would page, but the key is revoked before it is sure.
    watch.api.simulator.update_group(0, |group| group.is_over_limit = true);
    watch.prometheus.until("ALERTS{alertname='GoldRushGroupOverLimit',alertstate='pending'}");
    watch.api.simulator.revoke_key(KEY);
    let refused = "The ServiceKey of account prod is refused (401)";
    let trigger = watch.paged("trigger", refused);
    let details = trigger["payload"]["custom_details"]["firing"].as_str().unwrap();
    assert!(details.contains("the ServiceKey is missing, malformed or revoked."), "{details}");

    watch.prometheus.until("ALERTS{alertname='GoldRushGroupOverLimit',alertstate='firing'}");
    watch.inhibited("GoldRushGroupOverLimit", 1, "GoldRushServiceKeyUnauthorized");
    watch.inhibited("GoldRushDestinationUnhealthy", 1, "GoldRushServiceKeyUnauthorized");
    watch.nothing_more_comes();
    assert_eq!(watch.pages(), pages(&[("trigger", &unhealthy), ("trigger", refused)]));
    let told = [("GoldRushDestinationUnhealthy".to_owned(), 1), ("GoldRushServiceKeyUnauthorized".to_owned(), 1)];
    assert_eq!(watch.firing(), BTreeMap::from(told));

    watch.api.simulator.add_service_key(NEW_KEY, 0);
    std::fs::write(watch.secrets.path().join("service-key"), NEW_KEY).unwrap();
    watch.told("GoldRushServiceKeyUnauthorized", "resolved");
    let mut group = String::new();
    watch.api.simulator.update_group(0, |it| group = it.name.clone());
    let over = format!("GoldRush group {group} is over its limit");
    watch.paged("trigger", &over);
    watch.api.simulator.update_group(0, |group| group.is_over_limit = false);
    watch.paged("resolve", &over);
    watch.condition(&id, Condition::Well);
    watch.paged("resolve", &unhealthy);
    watch.paged("resolve", refused);
    let mut paged = watch.pages();
    // Another notification than that about the group, so it comes before or after it.
    paged.retain(|page| *page != ("resolve".to_owned(), refused.to_owned()));
    assert_eq!(
        paged,
        pages(&[
            ("trigger", &unhealthy),
            ("trigger", refused),
            ("trigger", &over),
            ("resolve", &over),
            ("resolve", &unhealthy)
        ])
    );
}

#[test]
#[ignore = "needs Prometheus and Alertmanager"]
fn a_read_only_key_is_one_page_although_every_pipeline_answers_403() {
    let watch = Watch::begin();
    watch.api.simulator.set_scenario(Scenario::ReadOnlyKey);
    let summary = "The credential of account prod is not a ServiceKey (403)";
    watch.paged("trigger", summary);
    // Every pipeline is forbidden, and that is no trouble of theirs.
    watch.prometheus.until(
        "count(goldrush_pipeline_forbidden == 1) == 3 and on () (count(ALERTS{severity!='none'}) == 1) unless on () goldrush_pipeline_trouble",
    );
    watch.nothing_more_comes();
    watch.api.simulator.set_scenario(Scenario::Healthy);
    watch.paged("resolve", summary);
    watch.told("GoldRushCredentialNotServiceKey", "resolved");
    assert_eq!(watch.pages(), pages(&[("trigger", summary), ("resolve", summary)]));
    assert_eq!(watch.firing(), BTreeMap::from([("GoldRushCredentialNotServiceKey".to_owned(), 1)]));
}

#[test]
#[ignore = "needs Prometheus and Alertmanager"]
fn a_pipeline_of_another_group_is_a_ticket() {
    let watch = Watch::begin();
    let (id, name) = watch.first_pipeline();
    watch.condition(&id, Condition::Foreign);
    let alert = watch.told("GoldRushPipelineForbidden", "firing");
    assert_eq!(alert["labels"]["pipeline_id"], json!(id));
    let summary = format!("GoldRush refuses to show pipeline \"{name}\" (403)");
    let says = |begin: String| {
        move |message: &Message| {
            message.path == "/chat" && message.body["attachments"][0]["text"].as_str().unwrap().starts_with(&begin)
        }
    };
    watch.receiver.until("the ticket", says(format!("*{summary}*\n")));
    watch.condition(&id, Condition::Well);
    watch.told("GoldRushPipelineForbidden", "resolved");
    watch.receiver.until("the ticket's end", says(format!("Resolved: *{summary}*\n")));
    watch.nothing_more_comes();
    assert_eq!(watch.pages(), [], "nobody is woken");
}

#[test]
#[ignore = "needs Prometheus and Alertmanager"]
fn a_stopped_exporter_pages_and_ends_no_other_page() {
    let mut watch = Watch::begin();
    let (id, name) = watch.first_pipeline();
    watch.condition(&id, Condition::DestinationDown(REFUSED));
    let unhealthy = format!("The destination of pipeline \"{name}\" is unhealthy");
    watch.paged("trigger", &unhealthy);

    watch.exporter.signal(Signal::TERM);
    watch.exporter.ended();
    let down = "No instance of the GoldRush exporter (goldrush) responds";
    watch.paged("trigger", down);
    // Its series are gone, and so the alert ends. That must not look like a mended destination.
    watch.prometheus.until("absent(ALERTS{alertname='GoldRushDestinationUnhealthy'})");
    eventually("Alertmanager knows, too", || watch.alertmanager.alerts("GoldRushDestinationUnhealthy").is_empty());
    watch.prometheus.until("count_over_time(ALERTS{alertname='GoldRushExporterDown',alertstate='firing'}[1m]) > 12");
    watch.inhibited("GoldRushExporterAbsent", 1, "GoldRushExporterDown");
    watch.nothing_more_comes();
    assert_eq!(watch.pages(), pages(&[("trigger", &unhealthy), ("trigger", down)]));

    let address = watch.exporter.address.clone();
    watch.exporter =
        Exporter::start(&["--web.listen-address", &address], &environment(&watch.api, &watch.secrets, &[]));
    watch.paged("resolve", down);
    let still = format!("ALERTS{{alertname='GoldRushDestinationUnhealthy',alertstate='firing',{}}}", of(&id));
    watch.prometheus.until(&still);
    watch.condition(&id, Condition::Well);
    watch.paged("resolve", &unhealthy);
    assert_eq!(
        watch.pages(),
        pages(&[("trigger", &unhealthy), ("trigger", down), ("resolve", down), ("resolve", &unhealthy)])
    );
}

#[test]
#[ignore = "needs Prometheus and Alertmanager"]
fn an_exporter_that_vanishes_from_service_discovery_pages_and_ends_no_other_page() {
    let watch = Watch::begin();
    let (id, name) = watch.first_pipeline();
    watch.condition(&id, Condition::DestinationDown(REFUSED));
    let unhealthy = format!("The destination of pipeline \"{name}\" is unhealthy");
    watch.paged("trigger", &unhealthy);

    let target = format!("['{}']", watch.exporter.address);
    watch.prometheus.reload("prometheus.yml", &replaced(&watch.prometheus_config, &target, "[]"));
    let absent = "Prometheus sees no GoldRush exporter at all";
    watch.paged("trigger", absent);
    watch.prometheus.until("absent(ALERTS{alertname='GoldRushDestinationUnhealthy'})");
    eventually("Alertmanager knows, too", || watch.alertmanager.alerts("GoldRushDestinationUnhealthy").is_empty());
    watch.nothing_more_comes();
    assert_eq!(watch.pages(), pages(&[("trigger", &unhealthy), ("trigger", absent)]));
    watch.hears_the_watchdog();

    watch.prometheus.reload("prometheus.yml", &watch.prometheus_config);
    watch.paged("resolve", absent);
    let still = format!("ALERTS{{alertname='GoldRushDestinationUnhealthy',alertstate='firing',{}}}", of(&id));
    watch.prometheus.until(&still);
    watch.condition(&id, Condition::Well);
    watch.paged("resolve", &unhealthy);
}

/// Pipeline, or what it is about, or nothing; and the alert.
type Wrong = BTreeSet<(String, String)>;

#[test]
#[ignore = "needs Prometheus and Alertmanager"]
fn the_page_and_the_alerts_name_the_same_troubles() {
    let watch = Watch::of(9, &[]);
    let ids = watch.api.simulator.pipeline_ids(0);
    let set = |index: usize, endpoint, field: &str, value| {
        watch.api.simulator.update_pipeline(&ids[index], |pipeline| pipeline.answer_with(endpoint, field, value));
    };
    // What follows from a dead destination is on the page, and silenced: there shall be nothing of it here.
    (0..ids.len()).for_each(|index| set(index, Endpoint::Metrics, "pending_records", json!(0)));
    watch.condition(&ids[0], Condition::Failed);
    watch.condition(&ids[1], Condition::DestinationDown(REFUSED));
    watch.condition(&ids[2], Condition::Foreign);
    watch.condition(&ids[3], Condition::DroppingRecords);
    set(4, Endpoint::Metrics, "processing_delay_ms", json!(400_000));
    set(5, Endpoint::Metrics, "processing_delay_ms", json!(4_000_000));
    set(6, Endpoint::Status, "ready", json!(0));
    set(7, Endpoint::Status, "status", json!("STOPPED"));
    watch.api.simulator.update_group(0, |group| group.is_over_limit = true);
    let mut group = String::new();
    watch.api.simulator.update_group(0, |it| group = it.name.clone());
    let expected: Wrong = [
        (&ids[0], "GoldRushPipelineFailed"),
        (&ids[1], "GoldRushDestinationUnhealthy"),
        (&ids[2], "GoldRushPipelineForbidden"),
        (&ids[3], "GoldRushRecordsDropped"),
        (&ids[4], "GoldRushProcessingDelayHigh"),
        (&ids[5], "GoldRushProcessingDelayCritical"),
        (&ids[6], "GoldRushReplicasNotReady"),
        (&ids[7], "GoldRushPipelineNotRunning"),
        (&group, "GoldRushGroupOverLimit"),
    ]
    .into_iter()
    .map(|(about, alert)| (about.clone(), alert.to_owned()))
    .collect();

    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let page = || -> Wrong {
        let report: Value = serde_json::from_str(&watch.exporter.get("/api/v1/pipelines").text()).unwrap();
        let of = |subjects: &Value, about: &dyn Fn(&Value, &Value) -> String| -> Wrong {
            let subjects = subjects.as_array().unwrap().iter();
            let troubles = |subject: &Value| {
                let troubles = subject["troubles"].as_array().unwrap().clone();
                troubles.into_iter().map(|it| (about(subject, &it), text(&it["alert"]))).collect::<Vec<_>>()
            };
            subjects.flat_map(troubles).collect()
        };
        let accounts = of(&report["accounts"], &|_, trouble| text(&trouble["about"]));
        let pipelines = of(&report["pipelines"], &|pipeline, _| text(&pipeline["pipeline_id"]));
        accounts.into_iter().chain(pipelines).collect()
    };
    // Those that are not silenced by a worse one of the same cause.
    let active = || -> Wrong {
        let alerts = watch
            .alertmanager
            .all_alerts()
            .into_iter()
            .filter(|it| it["status"]["state"] == "active" && it["labels"]["alertname"] != "GoldRushWatchdog");
        let about = |labels: &Value| text(&labels["pipeline_id"]) + &text(&labels["about"]);
        alerts.map(|alert| (about(&alert["labels"]), text(&alert["labels"]["alertname"]))).collect()
    };
    eventually("the page names all", || page() == expected);
    eventually("the alerts name all", || active() == expected);
    assert_eq!(page(), expected);
}

#[test]
#[ignore = "needs Prometheus and Alertmanager"]
fn a_page_reaches_the_owner_and_without_a_route_the_on_call() {
    let watch = Watch::of(3, &["data", "platform"]);
    let ids = watch.api.simulator.pipeline_ids(0);
    let mut expected = BTreeMap::new();
    for (id, key) in ids.iter().zip(["the routing key of data", "the routing key", "the routing key"]) {
        watch.condition(id, Condition::DestinationDown(REFUSED));
        expected.insert(id.clone(), key.to_owned());
    }
    let channels = || -> BTreeMap<String, BTreeSet<String>> {
        let mut channels = BTreeMap::<String, BTreeSet<String>>::new();
        for message in watch.receiver.messages().iter().filter(|message| message.path == "/chat") {
            let title = message.body["attachments"][0]["title"].as_str().unwrap();
            let channel = message.body["channel"].as_str().unwrap().to_owned();
            channels.entry(channel).or_default().extend(ids.iter().filter(|id| title.contains(*id)).cloned());
        }
        channels
    };
    let told = BTreeMap::from([
        ("#data-alerts".to_owned(), BTreeSet::from([ids[0].clone()])),
        ("#goldrush-alerts".to_owned(), BTreeSet::from([ids[1].clone(), ids[2].clone()])),
    ]);
    eventually("each chat tells of its own", || channels() == told);
    eventually("three pages", || watch.pages().len() == 3);
    watch.nothing_more_comes();
    let messages = watch.receiver.messages();
    let triggers = messages.iter().filter_map(|message| Some((&message.body, page(message)?)));
    let keys = triggers.filter(|(_, (_, summary))| summary != "from the test").map(|(body, _)| {
        let details = &body["payload"]["custom_details"];
        (details["pipeline_id"].as_str().unwrap().to_owned(), body["routing_key"].as_str().unwrap().to_owned())
    });
    assert_eq!(keys.collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(channels(), told);
    let data = watch.told_of("GoldRushDestinationUnhealthy", "firing", |it| it["labels"]["pipeline_id"] == ids[0]);
    assert_eq!(data["labels"]["team"], "data");
    watch.hears_the_watchdog();
}

/// The blocks of a page of the documentation in that language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    page.split(&begin).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

/// A command of the documentation in a shell that finds this exporter. Further arguments go to the end of the command.
fn shell(command: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_goldrush-exporter"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    // It must be the exporter's process that the test ends.
    let command = replaced(command.trim_end(), "goldrush-exporter", "exec goldrush-exporter") + " \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", &command, "sh"]).env_clear().env("PATH", path).stdin(Stdio::null());
    shell
}

#[test]
#[ignore = "needs Prometheus and Alertmanager"]
fn the_drill_of_the_documentation_pages_the_owner() {
    let page = include_str!("../../docs/drill.md");
    let commands = blocks(page, "sh");
    let [simulate, export, heal] = commands[..] else { panic!("{commands:?}") };
    let mut simulation = shell(simulate);
    simulation.args(["--simulator.listen-address", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut simulation = Killed(simulation.spawn().unwrap());
    let introduction = Output::follow(simulation.0.stdout.take().unwrap()).line("serves http://");
    let api = introduction.split("http://").nth(1).unwrap().split('/').next().unwrap();

    // On ports that are free, and as fast as the rules here.
    let export = replaced(&replaced(export, "127.0.0.1:9878", api), " --web.listen-address :9879", "");
    let mut exporter = shell(&export);
    exporter.envs(common::FAST.iter().copied());
    let exporter = Exporter::spawn(exporter);
    let watch = Watch::begin();
    let job = blocks(page, "yaml")[0];
    let config = watch.prometheus_config.clone() + &replaced(job, "localhost:9879", &exporter.address);
    watch.prometheus.reload("prometheus.yml", &config);

    let summary = "The destination of pipeline \"DRILL\" is unhealthy";
    assert!(page.contains(&format!("`{summary}`")));
    let trigger = watch.paged("trigger", summary);
    let details = &trigger["payload"]["custom_details"];
    let told = (&trigger["routing_key"], &details["account"], &details["team"]);
    assert_eq!(told, (&json!("the routing key of data"), &json!("drill"), &json!("data")));
    assert!(details["firing"].as_str().unwrap().contains("account drill"), "{details}");

    let heal = replaced(heal, "127.0.0.1:9878", api);
    let healed = Command::new("sh").args(["-c", &heal]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(healed.success());
    watch.paged("resolve", summary);
    drop((exporter, simulation));
    watch.prometheus.until("absent(goldrush_up{account='drill'}) and on () up{job='drill'} == 0");
    watch.prometheus.reload("prometheus.yml", &watch.prometheus_config);
    // Nor does an alert take the end of the drill for an exporter that is gone.
    watch.nothing_more_comes();
    assert_eq!(watch.pages(), pages(&[("trigger", summary), ("resolve", summary)]));
}

/// A process that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
