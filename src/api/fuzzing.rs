//! Access for fuzzers and their seeds to private parts of this module.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;

pub(crate) use super::damage::damage;
use super::head::Head;
use super::lenient::Record;
use super::{DestinationHealth, Error, ListPage, PipelineMetrics, Status, Usage};

/// A response body that this module reads.
pub(crate) trait Readable: Sized {
    fn open(body: &[u8]) -> Result<Option<Self>, Error>;
}

macro_rules! readable {
    ($($body:ty),+) => {
        $(impl Readable for $body {
            fn open(body: &[u8]) -> Result<Option<Self>, Error> {
                read(body)
            }
        })+
    };
}

readable!(ListPage, Status, PipelineMetrics, DestinationHealth, Usage);

fn read<T: Record>(body: &[u8]) -> Result<Option<T>, Error> {
    super::envelope::open(&Head::of(200, &HeaderMap::new()), body)
}

pub(crate) fn open<T: Readable>(body: &[u8]) -> Result<Option<T>, Error> {
    T::open(body)
}

pub(crate) fn retry_after(text: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    super::retry_after::parse(text, date, now)
}

pub(crate) fn label(text: &str) -> String {
    super::text::label(text).to_string()
}
