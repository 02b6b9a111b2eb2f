//! Numbers and times in the JSON form's format.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::moment::{Moment, unix_seconds};

/// A point in time as Unix seconds, with its age by the monotonic clock if that is known.
#[derive(Clone, Copy)]
pub(super) struct Time {
    pub(super) unix: f64,
    pub(super) age: Duration,
}

impl Time {
    pub(super) fn of(at: Moment, now: Moment) -> Self {
        Self { unix: unix_seconds(at.wall()), age: now.since(at) }
    }

    /// A time that only the wall clock knows; the future counts as now.
    pub(super) fn of_wall(unix: f64, now: Moment) -> Self {
        let age = Duration::try_from_secs_f64(unix_seconds(now.wall()) - unix).unwrap_or_default();
        Self { unix, age }
    }

    pub(super) fn of_system(at: SystemTime, now: Moment) -> Self {
        Self::of_wall(unix_seconds(at), now)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Number(self.unix).serialize(serializer)
    }
}

/// A number with at most three decimals; whole numbers have none.
#[derive(Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// 2^53: larger whole numbers may have been rounded.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let rounded = (self.0 * 1000.0).round() / 1000.0;
        if rounded.fract() == 0.0 && rounded.abs() <= EXACT {
            serializer.serialize_i64(rounded as i64)
        } else {
            serializer.serialize_f64(rounded)
        }
    }
}
