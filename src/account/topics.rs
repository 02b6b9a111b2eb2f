//! How far each topic has been read: whether there was something to read for a pipeline that stands still.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Pipeline;
use crate::api::PipelineId;
use crate::moment::Moment;

/// The greatest height at which an unbounded pipeline of each topic was seen.
///
/// Heights only grow here, since a worker that restarts may report lower ones for a while. After a chain has begun anew,
/// its old height does not count, because it was seen before the pipelines moved. A pipeline that is edited may report
/// heights of its new topic before a list shows that: what it said of the old one is dropped then.
#[derive(Debug, Default)]
pub(super) struct Topics(HashMap<Arc<str>, Reached>);

#[derive(Debug)]
struct Reached {
    height: f64,
    by: PipelineId,
    /// `None` if it was there at first sight: no pipeline was seen to read on.
    at: Option<Moment>,
}

impl Topics {
    /// Adds a reading of a pipeline's metrics. A bounded pipeline moves through history, however quiet the topic is.
    pub(super) fn observe(&mut self, pipeline: &Pipeline) {
        let known = pipeline.block_height();
        let began = known.began().filter(|began| !began.or_earlier);
        let Some(height) = known.value().filter(|_| !pipeline.is_bounded()) else { return };
        let Some(topic) = &pipeline.listed().topic else { return };
        if self.0.get(topic).is_none_or(|reached| height > reached.height) {
            let by = pipeline.id().clone();
            self.0.insert(topic.clone(), Reached { height, by, at: began.map(|began| began.at) });
        }
    }

    /// Whether a topic has been read further than `height` after that moment. What was read before a pipeline was
    /// resumed may not be its work.
    pub(super) fn is_read_beyond(&self, topic: Option<&str>, height: Option<f64>, after: Moment) -> bool {
        let reached = topic.and_then(|topic| self.0.get(topic)).zip(height);
        let further = reached.filter(|(reached, height)| reached.height > *height);
        further.and_then(|(reached, _)| reached.at).is_some_and(|at| at.monotonic() > after.monotonic())
    }

    /// A pipeline has another topic now.
    pub(super) fn forget(&mut self, topic: &str, by: &PipelineId) {
        if self.0.get(topic).is_some_and(|reached| reached.by == *by) {
            self.0.remove(topic);
        }
    }

    /// Drops topics that no pipeline has any more.
    pub(super) fn keep<'a>(&mut self, pipelines: impl Iterator<Item = &'a Pipeline>) {
        let topics: HashSet<_> = pipelines.filter_map(|pipeline| pipeline.listed().topic.as_deref()).collect();
        self.0.retain(|topic, _| topics.contains(&**topic));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::account::testing::reading;
    use crate::api::Probe;

    fn that_reads_on(topic: &str, at: Moment) -> Pipeline {
        let listed = serde_json::json!({"id": "pipe_1", "topic": topic});
        let id = PipelineId::new("pipe_1").unwrap();
        let mut pipeline = Pipeline::new(id, serde_json::from_value(listed).unwrap(), None, at);
        for height in [6, 7] {
            let response = reading(Probe::Metrics, serde_json::json!({ "last_block_height": height }));
            pipeline.observe(response, at, None, &Topics::default());
        }
        pipeline
    }

    #[test]
    fn what_is_known_of_a_topic_is_dropped_with_its_last_pipeline() {
        let before = Moment::now();
        let at = before.after(Duration::from_secs(1));
        let mut topics = Topics::default();
        let [swaps, logs] = ["base.mainnet.swaps", "base.mainnet.logs"].map(|topic| that_reads_on(topic, at));
        [&swaps, &logs].into_iter().for_each(|pipeline| topics.observe(pipeline));
        let is_known = |topics: &Topics| {
            ["base.mainnet.swaps", "base.mainnet.logs"]
                .map(|topic| topics.is_read_beyond(Some(topic), Some(6.0), before))
        };
        assert_eq!(is_known(&topics), [true, true]);
        topics.keep([&logs].into_iter());
        assert_eq!(is_known(&topics), [false, true]);
        topics.keep([].into_iter());
        assert_eq!(is_known(&topics), [false, false]);
    }
}
