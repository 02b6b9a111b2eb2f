//! The page and its JSON form show the pipelines, the troubles and the readings of the exposition at the same moment.

use std::collections::{BTreeMap, BTreeSet};

use goldrush_exporter::exposition::{FAMILIES, Subject};
use serde_json::Value;

use super::super::picture::{Picture, PipelinePicture};
use super::super::served::Served;
use super::{Invariant, Scene, Step};

/// Compared at every 256th scrape.
const EVERY: u64 = 256;
/// The first of them.
const FIRST: u64 = 20;

/// How many pipelines a page shows.
const ON_A_PAGE: usize = 100;

/// Fields of a pipeline that are gauges without further labels, with their series.
type Gauges = BTreeMap<&'static str, &'static str>;

pub struct Page {
    scrapes: u64,
    served: Served,
    gauges: Gauges,
}

impl Default for Page {
    fn default() -> Self {
        let gauges = FAMILIES.iter().filter(|family| family.subject() == Subject::Pipeline && family.labels.is_empty());
        let gauges = gauges.filter_map(|family| Some((family.name.strip_prefix("goldrush_pipeline_")?, family.name)));
        Self { scrapes: 0, served: Served::default(), gauges: gauges.collect() }
    }
}

impl Invariant for Page {
    fn name(&self) -> &'static str {
        "page"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        match step {
            Step::Restarted => self.served.restart(),
            Step::Scraped { picture, .. } => {
                self.scrapes += 1;
                // Sleep is not known to the clock that the page is rendered by.
                if self.scrapes % EVERY == FIRST && scene.clock.asleep.is_zero() {
                    self.compare(picture, scene)?;
                    scene.coverage.note("the page agrees with the exposition");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Page {
    fn compare(&mut self, picture: &Picture, scene: &Scene) -> Result<(), String> {
        let Self { served, gauges, .. } = self;
        let get = served.at(scene);
        let json = get("/api/v1/pipelines", "application/json")?;
        let json: Value = serde_json::from_str(&json).map_err(|error| error.to_string())?;
        compare_troubles(&json, picture)?;
        compare_counts(&json, picture)?;
        let pipelines = array(&json["pipelines"]);
        for shown in pipelines {
            let pipeline = picture.accounts.get(text(&shown["account"]));
            let id = text(&shown["pipeline_id"]);
            let Some(pipeline) = pipeline.and_then(|account| account.pipelines.get(id)) else {
                return Err(format!("{id} is shown, and not exposed"));
            };
            compare_pipeline(shown, pipeline, gauges).map_err(|what| format!("{id}: {what}"))?;
        }
        let html = get("/", "text/html")?;
        let id = |pipeline: &Value| text(&pipeline["pipeline_id"]).to_owned();
        let absent = pipelines.iter().take(ON_A_PAGE).map(id).find(|id| !html.contains(id.as_str()));
        absent.map_or(Ok(()), |id| Err(format!("{id} is in the JSON form, and not on the page")))
    }
}

fn compare_pipeline(shown: &Value, exposed: &PipelinePicture, gauges: &Gauges) -> Result<(), String> {
    for (field, value) in shown.as_object().into_iter().flatten() {
        let Some(series) = gauges.get(field.as_str()) else { continue };
        let flag = value.as_bool().map(f64::from);
        let found = exposed.samples.get(*series).copied();
        // Flags that are false may have no series.
        if flag.or(value.as_f64()) != found && !(flag == Some(0.0) && found.is_none()) {
            return Err(format!("{field} is {value}, and {series} is {found:?}"));
        }
    }
    for (probe, reported) in shown["probes"].as_object().into_iter().flatten() {
        let series = format!("goldrush_pipeline_probe_success{{probe=\"{probe}\"}}");
        let found = exposed.samples.get(&*series).copied();
        if reported["success"].as_bool().map(f64::from) != found {
            return Err(format!("success of {probe} is {}, and {series} is {found:?}", reported["success"]));
        }
    }
    Ok(())
}

/// Account, pipeline, kind, severity and what it is about.
type Trouble = [String; 5];

fn compare_troubles(json: &Value, picture: &Picture) -> Result<(), String> {
    let mut shown = BTreeSet::new();
    for subject in array(&json["accounts"]).iter().chain(array(&json["pipelines"])) {
        for trouble in array(&subject["troubles"]) {
            let is_of_account = subject["pipeline_id"].is_null();
            let about = if is_of_account { text(&trouble["about"]) } else { "" };
            let of = [&subject["account"], &subject["pipeline_id"], &trouble["kind"], &trouble["severity"]].map(text);
            let [account, id, kind, severity] = of.map(str::to_owned);
            shown.insert([account, id, kind, severity, about.to_owned()]);
        }
    }
    let exposed: BTreeSet<Trouble> = picture
        .troubles
        .iter()
        .map(|series| {
            let labels: BTreeMap<&str, &str> = series.labels().collect();
            let of = ["account", "pipeline_id", "kind", "severity", "about"];
            of.map(|label| labels.get(label).copied().unwrap_or_default().to_owned())
        })
        .collect();
    match shown.symmetric_difference(&exposed).next() {
        Some(trouble) => Err(format!("{trouble:?} is on one of the page and the exposition only")),
        None => Ok(()),
    }
}

fn compare_counts(json: &Value, picture: &Picture) -> Result<(), String> {
    let mut critical = BTreeSet::new();
    for series in &picture.troubles {
        let labels: BTreeMap<&str, &str> = series.labels().collect();
        if let (Some("critical"), Some(id)) = (labels.get("severity").copied(), labels.get("pipeline_id")) {
            critical.insert((labels.get("account").copied().unwrap_or_default(), *id));
        }
    }
    let mut all = [0; 3];
    for shown in array(&json["accounts"]) {
        let account = text(&shown["account"]);
        let pipelines = picture.accounts.get(account).map(|account| &account.pipelines);
        let pipelines = pipelines.into_iter().flat_map(|pipelines| pipelines.values());
        let counts = [
            pipelines.clone().count(),
            pipelines.filter(|pipeline| !pipeline.kinds.is_empty()).count(),
            critical.iter().filter(|(of, _)| *of == account).count(),
        ];
        expect(account, ["pipelines", "pipelines_in_trouble", "pipelines_critical"], shown, counts)?;
        all = [all[0] + counts[0], all[1] + counts[1], all[2] + counts[2]];
    }
    expect("all", ["pipelines_total", "pipelines_in_trouble", "pipelines_critical"], json, all)?;
    let listed = array(&json["pipelines"]).len();
    expect("all", ["pipelines_matching"], json, [listed])?;
    if listed == all[0] { Ok(()) } else { Err(format!("{listed} pipelines are shown, and {} exposed", all[0])) }
}

fn expect<const N: usize>(of: &str, fields: [&str; N], json: &Value, counts: [usize; N]) -> Result<(), String> {
    let wrong = fields.iter().zip(counts).find(|(field, count)| json[**field].as_u64() != Some(*count as u64));
    let report = |(field, count): (&&str, usize)| format!("{of}: {field} is {}, and not {count}", json[*field]);
    wrong.map_or(Ok(()), |wrong| Err(report(wrong)))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
