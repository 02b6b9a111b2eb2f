//! One walk through the pages of the list, which may change meanwhile.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::api::{Error, Group, ListPage, ListedPipeline, PipelineId};

#[derive(Debug)]
pub(crate) struct Walk {
    /// The number of pages that were requested.
    pub(super) pages: u32,
    /// The groups of all listed pipelines, including those that the filters exclude.
    pub(super) seen: HashMap<PipelineId, Option<Group>>,
    /// The groups of listed pipelines without an id that a request can name: each may be a known pipeline.
    pub(super) without_id: Vec<Option<Group>>,
    /// Texts that many pipelines share.
    texts: HashSet<Arc<str>>,
    /// The walk stops after this many pipelines.
    pub(super) most: usize,
    /// The highest total that a page named.
    total: Option<f64>,
    /// Another list was requested meanwhile: this one may already be past the pipeline in question.
    pub(super) again: bool,
}

/// What to do after a page.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Request this page.
    NextPage(u32),
    /// Nothing: this was the last page.
    End(Extent),
}

/// The part of the list that a walk has seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Extent {
    /// All of it, as far as it can tell: pipelines that were not seen are gone.
    Whole,
    /// Less than the total that it names: pages may have skipped pipelines.
    Partial,
    /// As much as `max_pipelines` permits.
    Truncated,
}

impl Walk {
    /// A walk that stops after `most` pipelines.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            pages: 1,
            seen: HashMap::new(),
            without_id: Vec::new(),
            texts: HashSet::new(),
            most,
            total: None,
            again: false,
        }
    }

    /// Processes a page. Returns the pipelines that no earlier page contained, and what follows.
    ///
    /// # Errors
    /// [`Error::Decode`] if the page has no items but must have some.
    pub(crate) fn take(&mut self, page: ListPage) -> Result<(Vec<(PipelineId, ListedPipeline)>, Step), Error> {
        let (has_more, total) = page.position();
        let items = if self.pages > 1 { page.items.unwrap_or_default() } else { page.into_first_items()? };
        let (mut new, mut cut) = (Vec::new(), false);
        for mut item in items {
            item.share_texts(&mut self.texts);
            match item.id() {
                Some(id) if self.seen.len() >= self.most && !self.seen.contains_key(&id) => {
                    cut = true;
                    break;
                }
                Some(id) => {
                    if let Entry::Vacant(entry) = self.seen.entry(id.clone()) {
                        entry.insert(item.group.clone());
                        new.push((id, item));
                    }
                }
                None => self.without_id.push(item.group),
            }
        }
        let truncated = cut || (self.seen.len() >= self.most && has_more != Some(false));
        // Pipelines may be deleted between two pages: those listed before still count.
        self.total = self.total.into_iter().chain(total).reduce(f64::max);
        let listed = (self.seen.len() + self.without_id.len()) as f64;
        let over = match has_more {
            Some(more) => !more,
            // Without `has_more`, the total decides; without either, the first page with nothing new is the last.
            None => total.is_some_and(|total| listed >= total),
        };
        if over || truncated || new.is_empty() {
            let extent = match self.total {
                _ if truncated => Extent::Truncated,
                Some(total) if listed < total => Extent::Partial,
                _ => Extent::Whole,
            };
            return Ok((new, Step::End(extent)));
        }
        self.pages += 1;
        Ok((new, Step::NextPage(self.pages)))
    }

    /// Whether a pipeline that was not seen may exist all the same: beyond the limit, or among those without an id.
    pub(super) fn may_hide(&self, extent: Extent) -> bool {
        extent == Extent::Truncated || !self.without_id.is_empty()
    }

    /// The groups that the list names, once for each of their pipelines.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.seen.values().chain(&self.without_id).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(json: &str) -> ListPage {
        serde_json::from_str(json).unwrap()
    }

    fn take(walk: &mut Walk, json: &str) -> (Vec<String>, Step) {
        let (new, step) = walk.take(page(json)).unwrap();
        (new.into_iter().map(|(id, _)| id.to_string()).collect(), step)
    }

    fn walk(most: usize) -> Walk {
        Walk::new(most)
    }

    const WHOLE: Step = Step::End(Extent::Whole);
    const NOT_WHOLE: Step = Step::End(Extent::Partial);

    #[test]
    fn pages_follow_while_there_are_more() {
        let mut pages = walk(100);
        let first = r#"{"items":[{"id":"a"},{"id":"b"},{"id":"a"}],"pagination":{"has_more":true,"total_count":3}}"#;
        assert_eq!(take(&mut pages, first), (vec!["a".into(), "b".into()], Step::NextPage(2)));
        let second = r#"{"items":[{"id":"b"},{"id":"c"}],"pagination":{"has_more":false,"total_count":3}}"#;
        assert_eq!(take(&mut pages, second), (vec!["c".into()], WHOLE));
    }

    #[test]
    fn a_skipped_pipeline_makes_the_list_less_than_whole() {
        let json = r#"{"items":[{"id":"a"}],"pagination":{"has_more":false,"total_count":2}}"#;
        assert_eq!(take(&mut walk(100), json), (vec!["a".into()], NOT_WHOLE));
    }

    #[test]
    fn a_deletion_between_two_pages_makes_the_list_less_than_whole() {
        let mut pages = walk(100);
        take(&mut pages, r#"{"items":[{"id":"a"},{"id":"b"}],"pagination":{"has_more":true,"total_count":4}}"#);
        // `a` is gone, so `c` has moved to the previous page.
        let second = r#"{"items":[{"id":"d"}],"pagination":{"has_more":false,"total_count":3}}"#;
        assert_eq!(take(&mut pages, second), (vec!["d".into()], NOT_WHOLE));
    }

    #[test]
    fn paging_ends_at_the_first_empty_or_repeated_page_and_at_the_limit() {
        let more = r#"{"items":[{"id":"a"}],"pagination":{"has_more":true}}"#;
        let mut pages = walk(100);
        assert_eq!(take(&mut pages, more).1, Step::NextPage(2));
        assert_eq!(take(&mut pages, more), (vec![], WHOLE));
        let mut pages = walk(100);
        take(&mut pages, more);
        assert_eq!(take(&mut pages, r#"{"items":[],"pagination":{"has_more":true}}"#).1, WHOLE);
        let mut pages = walk(2);
        let long = r#"{"items":[{"id":"a"},{"id":"b"},{"id":"c"}],"pagination":{"has_more":true}}"#;
        assert_eq!(take(&mut pages, long), (vec!["a".into(), "b".into()], Step::End(Extent::Truncated)));
        let last = r#"{"items":[{"id":"a"},{"id":"b"},{"id":"a"}],"pagination":{"has_more":false}}"#;
        assert_eq!(take(&mut walk(2), last).1, WHOLE);
        let longer = r#"{"items":[{"id":"a"},{"id":"b"},{"id":"c"}],"pagination":{"has_more":false}}"#;
        assert_eq!(take(&mut walk(2), longer).1, Step::End(Extent::Truncated), "cut on its last page");
        let full = r#"{"items":[{"id":"a"},{"id":"b"}],"pagination":{"has_more":true}}"#;
        assert_eq!(take(&mut walk(2), full).1, Step::End(Extent::Truncated), "there are more");
    }

    #[test]
    fn pipelines_share_the_texts_that_they_have_in_common() {
        let json = r#"{"items":[{"id":"a","project":"x"},{"id":"b","project":"x"}],"pagination":{"has_more":false}}"#;
        let (new, _) = walk(100).take(page(json)).unwrap();
        let [one, other] = [0, 1].map(|index| new[index].1.project.clone().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn without_pagination_one_more_page_is_asked_for() {
        let mut pages = walk(100);
        assert_eq!(take(&mut pages, r#"{"items":[{"id":"a"}]}"#).1, Step::NextPage(2));
        assert_eq!(take(&mut pages, r#"{"items":null}"#).1, WHOLE);
        let counted = r#"{"items":[{"id":"a"}],"pagination":{"has_more":null,"total_count":1}}"#;
        assert_eq!(take(&mut walk(100), counted).1, WHOLE);
    }

    #[test]
    fn null_is_an_empty_list_only_where_the_pagination_says_so() {
        assert!(walk(9).take(page(r#"{"items":null}"#)).is_err());
        assert!(walk(9).take(page("{}")).is_err());
        assert_eq!(take(&mut walk(9), r#"{"items":null,"pagination":{"total_count":0}}"#).1, WHOLE);
        assert_eq!(take(&mut walk(9), r#"{"items":null,"pagination":{"has_more":false}}"#).1, WHOLE);
        assert!(walk(9).take(page(r#"{"items":null,"pagination":{"has_more":false,"total_count":3}}"#)).is_err());
        assert_eq!(take(&mut walk(9), r#"{"items":[]}"#).1, WHOLE);
    }
}
