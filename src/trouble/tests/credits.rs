//! Credits that run out, over days of readings.

use crate::account::Account;
use crate::account::testing::settings;

use super::*;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;
const PLAN: f64 = 300_000.0;

impl Scene {
    /// An account that polls its usage, from 2023-11-02, 00:00 UTC.
    fn with_usage() -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_698_883_200);
        let start = Moment::now().with_wall(wall);
        let mut settings = settings(&[]);
        settings.poll.usage = Some(Duration::from_secs(15 * 60));
        let account = Account::new(settings, wall, fastrand::Rng::with_seed(1), start);
        let mut scene = Self { account, start, listed: BTreeMap::new() };
        scene.lists_again(0);
        scene
    }

    fn used(&mut self, seconds: u64, consumed: f64) {
        let aggregate = json!({"credits_consumed": consumed, "max_credits": PLAN, "flex_credits": {"limit": 0}});
        self.account.reads_usage(aggregate, self.at(seconds));
    }

    fn usage_fails(&mut self, seconds: u64, status: u16) {
        self.account.hears(Response::Usage(Err(Error::of_status(status).unwrap())), self.at(seconds));
    }
}

#[test]
fn running_out_within_the_threshold_after_a_day_of_readings() {
    // 1,000 credits per hour: after five days, 180,000 of 300,000 are left, which last for another 7.5 days.
    let mut scene = Scene::with_usage();
    for hour in 0..=5 * 24 {
        scene.used(hour * HOUR, 1_000.0 * hour as f64);
        assert_eq!(scene.account(hour * HOUR), [], "{hour}");
    }
    for hour in 5 * 24..5 * 24 + 12 {
        scene.used(hour * HOUR, 1_000.0 * hour as f64);
        assert_eq!(scene.account(hour * HOUR), [], "{hour}");
    }
    let hour = 5 * 24 + 12;
    scene.used(hour * HOUR, 1_000.0 * hour as f64);
    assert_eq!(scene.account(hour * HOUR), [("credits_running_out", None)]);
    // An unreadable value has not healed, and a usage that is no longer offered says nothing.
    scene.usage_fails((hour + 1) * HOUR, 500);
    scene.usage_fails((hour + 2) * HOUR, 403);
    assert_eq!(scene.account((hour + 48) * HOUR), [("credits_running_out", None)]);
    // A larger plan.
    let larger = json!({"credits_consumed": 180_000, "max_credits": 3.0 * PLAN});
    scene.account.reads_usage(larger, scene.at((hour + 49) * HOUR));
    assert_eq!(scene.account((hour + 49) * HOUR), []);
}

#[test]
fn a_shorter_threshold_warns_later() {
    let mut scene = Scene::with_usage();
    let mut shorter = settings(&[]);
    shorter.poll.usage = Some(Duration::from_secs(15 * 60));
    shorter.account.credits_run_out = Duration::from_secs(DAY);
    let again = crate::account::ReadAgain { loaded_at: scene.start.wall(), is_another: false };
    scene.account.reconfigure(shorter, again, scene.start);
    let warned = (0..400).find(|hour| {
        scene.used(hour * HOUR, 1_000.0 * *hour as f64);
        !scene.account(hour * HOUR).is_empty()
    });
    assert_eq!(warned, Some(300 - 24));
}

#[test]
fn used_up_since_a_reading_said_so_until_one_says_otherwise() {
    let mut scene = Scene::with_usage();
    scene.used(0, PLAN - 1.0);
    assert_eq!(scene.account(0), []);
    scene.used(900, PLAN);
    scene.used(1_800, PLAN + 7.0);
    assert_eq!(scene.account(1_800), [("credits_used_up", Some(900))]);
    scene.usage_fails(2_700, 404);
    assert_eq!(scene.account(90_000), [("credits_used_up", Some(900))]);
    scene.list_fails(90_001, Error::of_status(402).unwrap());
    assert_eq!(scene.account(90_001), [("payment_required", Some(90_001))], "one cause, one trouble");
    scene.lists_again(90_002);
    scene.used(90_003, 12.0);
    assert_eq!(scene.account(90_003), [], "the next month");
}

#[test]
fn used_up_at_first_sight_and_without_a_limit_never() {
    let mut scene = Scene::with_usage();
    scene.account.reads_usage(json!({"credits_consumed": PLAN}), scene.at(1));
    assert_eq!(scene.account(1), [], "no limit has been said yet");
    scene.used(5, PLAN);
    assert_eq!(scene.account(5), [("credits_used_up", Some(-5))]);
    scene.account.reads_usage(json!({"credits_consumed": PLAN}), scene.at(10));
    assert_eq!(scene.account(10), [("credits_used_up", Some(-5))], "what is not read has not healed");
    scene.account.reads_usage(json!({"credits_consumed": PLAN, "max_credits": 0}), scene.at(15));
    assert_eq!(scene.account(15), []);
}

#[test]
fn a_key_that_may_not_read_usage_is_no_trouble() {
    let mut scene = Scene::with_usage();
    for (seconds, status) in [401, 402, 403, 404, 500].into_iter().enumerate() {
        scene.usage_fails(seconds as u64, status);
    }
    for seconds in [10, 100_000] {
        assert_eq!(scene.account(seconds), []);
    }
}

#[test]
fn used_up_comes_after_a_group_that_is_over_its_limit() {
    let mut scene = Scene::with_usage();
    scene.lists(0, "a", json!({"status": "paused", "group": {"name": "g", "is_over_limit": true}}));
    scene.used(10, PLAN);
    let kinds: Vec<_> = scene.account(10).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["group_over_limit", "credits_used_up"]);
}
