//! Which renderings are kept, for how long, and which of them the division into parts looks at.

use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Without the exporter's own metrics, whose length varies.
fn exposition() -> (Arc<Exposition>, AccountHandle) {
    let (fleet, handle) = small_fleet(Moment::now());
    (Arc::new(Exposition::new(fleet).without_exporter_metrics()), handle)
}

/// How long the whole is, as the division counts it.
async fn length(exposition: &Arc<Exposition>) -> usize {
    text(scrape(exposition, Format::OpenMetrics, Encoding::Identity).await).len()
}

fn grow(handle: &AccountHandle) {
    let pipelines: Vec<_> = (0..50).map(|number| serde_json::json!({"id": format!("pipe_{number}")})).collect();
    handle.change(|prod| prod.lists(&pipelines, Moment::now()));
}

/// The end of a pause is an instant, and is shown by the wall clock.
#[tokio::test(start_paused = true)]
async fn what_was_rendered_before_the_wall_clock_stepped_is_not_served_after_it() {
    let (exposition, handle) = exposition();
    let pause = Error::RateLimited { retry_after: Some(seconds(200)) };
    handle.change(|prod| prod.probed("pipe_2", failed(pause), Moment::now()));
    scrape(&exposition, Format::Classic, Encoding::Identity).await;
    let current = || exposition.current(Format::Classic, Encoding::Identity, Grain::default(), Moment::now());
    // No probe is late: a lag would grow all the time.
    time::advance(Duration::from_millis(500)).await;
    assert!(current().is_some(), "nothing has changed");
    let mut kept = exposition.kept();
    let rendering = kept[index(Format::Classic, Encoding::Identity)].rendering.as_mut().and_then(Arc::get_mut);
    let made = &mut rendering.unwrap().made;
    made.at = made.at.with_wall(made.at.wall() - seconds(158));
    drop(kept);
    assert!(current().is_none());
}

async fn is_divided(exposition: &Arc<Exposition>, most_bytes: usize) -> bool {
    exposition.parts(most_bytes).await.unwrap() != [Part::Whole]
}

#[tokio::test(start_paused = true)]
async fn the_whole_is_divided_when_it_is_too_large_and_joined_when_it_is_much_smaller() {
    let (exposition, _handle) = exposition();
    let length = length(&exposition).await;
    let mut divided = Vec::new();
    for most in [length, length - 1, length, 2 * length] {
        divided.push(is_divided(&exposition, most).await);
    }
    assert_eq!(divided, [false, true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn sizes_are_those_of_the_newest_rendering_of_the_last_minute() {
    let (exposition, handle) = exposition();
    let before = length(&exposition).await;
    grow(&handle);
    assert!(!is_divided(&exposition, before).await, "it is good enough");
    time::advance(seconds(1)).await;
    scrape(&exposition, Format::Classic, Encoding::Identity).await;
    assert!(is_divided(&exposition, before).await, "a newer one");

    let (exposition, handle) = self::exposition();
    let before = length(&exposition).await;
    grow(&handle);
    time::advance(seconds(60)).await;
    assert!(is_divided(&exposition, before).await, "it is a minute old");
}

#[tokio::test(start_paused = true)]
async fn sizes_are_those_of_the_metrics_that_are_selected() {
    let mut lean = Config::load(None, &[]).unwrap().metrics;
    lean.profile = Profile::Lean;
    let lean = Selection::of(&lean).unwrap();
    let (small, _handle) = exposition();
    small.select(lean.clone());
    let most = length(&small).await + 200;
    let (exposition, _handle) = exposition();
    assert!(length(&exposition).await > most);
    exposition.select(lean);
    assert!(!is_divided(&exposition, most).await);
}

#[tokio::test(start_paused = true)]
async fn texts_are_cut_until_no_part_was_requested_for_five_minutes() {
    let (exposition, _handle) = exposition();
    let part = Part::of_parameters([("shard", "0/2")]).unwrap();
    exposition.scrape(Format::Classic, Encoding::Identity, &part).await.unwrap();
    let is_cut = || {
        exposition.forget_unused();
        exposition.cut().grain.is_cut
    };
    time::advance(seconds(200)).await;
    scrape(&exposition, Format::Classic, Encoding::Identity).await;
    assert!(is_cut());
    time::advance(seconds(100)).await;
    assert!(is_cut());
    time::advance(seconds(1)).await;
    assert!(!is_cut(), "the whole needs no cuts");
}

#[tokio::test(start_paused = true)]
async fn a_compressed_rendering_is_kept_for_five_minutes_and_another_one_for_ten_seconds() {
    let (exposition, _handle) = exposition();
    for encoding in [Encoding::Identity, Encoding::Gzip] {
        scrape(&exposition, Format::Classic, encoding).await;
    }
    let kept = || {
        exposition.forget_unused();
        [Encoding::Identity, Encoding::Gzip]
            .map(|encoding| exposition.kept()[index(Format::Classic, encoding)].rendering.is_some())
    };
    for (passed, expected) in [(10, [true, true]), (1, [false, true]), (289, [false, true]), (1, [false, false])] {
        time::advance(seconds(passed)).await;
        assert_eq!(kept(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_fleet_is_rendered_once() {
    let exposition = Arc::new(Exposition::new(Fleet::default()));
    let first = scrape(&exposition, Format::Classic, Encoding::Identity).await;
    time::advance(seconds(9)).await;
    assert!(same(&first, &scrape(&exposition, Format::Classic, Encoding::Identity).await));
}
