//! The exporter's metrics about itself.

use super::*;
use crate::moment::unix_seconds;

struct Scene(Arc<Exposition>);

impl Scene {
    fn new() -> Self {
        Self(Arc::new(Exposition::new(small_fleet(Moment::now()).0)))
    }

    async fn text(&self) -> String {
        text(scrape(&self.0, Format::Classic, Encoding::Identity).await)
    }

    /// The value of a metric without labels.
    async fn shows(&self, name: &str) -> Option<f64> {
        let text = self.text().await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }
}

const RELOADED: &str = "goldrush_exporter_config_last_reload_successful";
const RELOADED_AT: &str = "goldrush_exporter_config_last_reload_success_timestamp_seconds";

#[tokio::test]
async fn a_reload_succeeds_if_all_files_are_in_use() {
    let Scene(exposition) = &Scene::new();
    let scene = Scene(exposition.clone());
    assert_eq!((scene.shows(RELOADED).await, scene.shows(RELOADED_AT).await), (Some(0.0), Some(0.0)));
    exposition.own.note_web_config(true);
    assert_eq!(scene.shows(RELOADED).await, Some(0.0), "nothing has been loaded yet");
    exposition.own.note_reload(false);
    assert_eq!((scene.shows(RELOADED).await, scene.shows(RELOADED_AT).await), (Some(0.0), Some(0.0)));
    exposition.own.note_reload(true);
    assert_eq!(scene.shows(RELOADED).await, Some(1.0));
    let age = unix_seconds(SystemTime::now()) - scene.shows(RELOADED_AT).await.unwrap();
    assert!((0.0..600.0).contains(&age), "{age}");
    exposition.own.note_web_config(false);
    assert_eq!(scene.shows(RELOADED).await, Some(0.0));
    exposition.own.note_reload(true);
    assert_eq!(scene.shows(RELOADED).await, Some(0.0), "the web configuration is still not in use");
    exposition.own.note_web_config(true);
    assert_eq!(scene.shows(RELOADED).await, Some(1.0));
}

#[tokio::test]
async fn build_shard_and_log_are_shown() {
    let scene = Scene::new();
    scene.0.own.note_shard(1, 4);
    assert_eq!(scene.shows("goldrush_exporter_shard_index").await, Some(1.0));
    assert_eq!(scene.shows("goldrush_exporter_total_shards").await, Some(4.0));
    assert!(scene.shows("goldrush_exporter_log_lines_dropped_total").await.is_some());
    let text = scene.text().await;
    let build = concat!("goldrush_exporter_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",");
    assert!(text.contains(build) && !text.contains("cannot be encoded"), "{text}");
}

#[tokio::test]
async fn the_size_is_that_of_the_previous_whole_and_the_duration_that_of_a_rendering() {
    const BYTES: &str = "goldrush_exporter_exposition_bytes";
    let scene = Scene::new();
    let before = scene.text().await;
    let size = before.len() as f64;
    assert_eq!(scene.shows(BYTES).await, Some(size));
    let size = scene.text().await.len() as f64;
    let part = Part::of_parameters([("account", "prod")]).unwrap();
    scene.0.scrape(Format::Classic, Encoding::Identity, &part).await.unwrap();
    assert_eq!(scene.shows(BYTES).await, Some(size), "a part says nothing about the whole");
    assert!(scene.shows("goldrush_exporter_render_duration_seconds").await.is_some_and(|duration| duration > 0.0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_process_is_shown_in_base_units_and_can_be_left_out() {
    let scene = Scene::new();
    let shows = async |name: &str| scene.shows(name).await.unwrap();
    let age = unix_seconds(SystemTime::now()) - shows("process_start_time_seconds").await;
    // The kernel counts in hundredths of a second, and from a boot that it knows to the second.
    assert!((-2.0..7_200.0).contains(&age), "{age}");
    let cpu = shows("process_cpu_seconds_total").await;
    let most = (age + 5.0) * std::thread::available_parallelism().unwrap().get() as f64;
    assert!((0.0..most).contains(&cpu), "{cpu} of {most}");
    let resident = shows("process_resident_memory_bytes").await;
    assert!((1e6..1e11).contains(&resident), "{resident}");
    assert!(shows("process_virtual_memory_bytes").await > resident);
    assert!(shows("process_open_fds").await >= 3.0);
    let without = Exposition::new(Fleet::default()).without_exporter_metrics();
    let text = Scene(Arc::new(without)).text().await;
    assert!(!text.contains("process_") && !text.contains("render_duration"), "{text}");
    assert!(text.contains("goldrush_exporter_build_info"));
}
