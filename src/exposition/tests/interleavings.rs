//! Concurrent scrapes in every order: each sees what had happened before it came, and none renders what another one has just
//! rendered for it.
//!
//! A scrape consists of two steps that others can come between: it looks for a rendering that is fresh enough, and if there
//! is none, it renders when it has the lock. The steps are the real ones, taken one at a time on one thread.

use tokio::time::advance;

use super::*;

const SCRAPES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// The scrape of this number comes, or renders if it has come.
    Scrape(usize),
    Change,
}

/// All orders of what is left.
fn orders(left: &[Step], done: &mut Vec<Step>, all: &mut Vec<Vec<Step>>) {
    if left.is_empty() {
        all.push(done.clone());
    }
    for (index, step) in left.iter().enumerate() {
        if left[..index].contains(step) {
            continue;
        }
        let mut rest = left.to_vec();
        rest.remove(index);
        done.push(*step);
        orders(&rest, done, all);
        done.pop();
    }
}

struct Waiting {
    asked: Moment,
    version: u64,
}

async fn take(order: &[Step], handle: &AccountHandle, exposition: &Exposition) {
    let how = (Format::Classic, Encoding::Identity, Grain::default());
    let mut waiting: [Option<Waiting>; SCRAPES] = Default::default();
    let mut renderer = Renderer::default();
    let mut newest: Option<Arc<Rendering>> = None;
    for step in order {
        advance(Duration::from_millis(1)).await;
        let number = match step {
            Step::Change => {
                handle.change(|_| {});
                continue;
            }
            Step::Scrape(number) => *number,
        };
        let (shown, known) = match waiting[number].take() {
            None => {
                let came = Waiting { asked: Moment::now(), version: exposition.fleet.version() };
                match exposition.current(how.0, how.1, how.2, came.asked) {
                    Some(rendering) => (rendering, came.version),
                    None => {
                        waiting[number] = Some(came);
                        continue;
                    }
                }
            }
            Some(came) => {
                let rendering = exposition.render(how.0, how.1, how.2, &mut renderer, came.asked);
                let is_another = newest.as_ref().is_none_or(|newest| !Arc::ptr_eq(newest, &rendering));
                let would_do =
                    newest.as_ref().is_some_and(|newest| newest.made.at.monotonic() > came.asked.monotonic());
                assert!(!(is_another && would_do), "rendered again in {order:?}");
                newest = Some(rendering.clone());
                (rendering, came.version)
            }
        };
        assert!(shown.made.version >= known, "shows what was before it came: {order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn scrapes_in_any_order_see_what_was_before_them_and_share_renderings() {
    let steps: Vec<Step> = (0..SCRAPES).flat_map(|number| [Step::Scrape(number); 2]).chain([Step::Change]).collect();
    let mut all = Vec::new();
    orders(&steps, &mut Vec::new(), &mut all);
    assert_eq!(all.len(), 630);
    for order in all {
        let fleet = Fleet::default();
        let handle = fleet.insert("prod", account(&[], Moment::now()));
        take(&order, &handle, &Exposition::new(fleet)).await;
    }
}
