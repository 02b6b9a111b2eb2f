//! Values from the API that cannot be used: counted by field.

use crate::labels::closed_set;

closed_set! {
    /// The fields that can hold a value that this version cannot use: the `field` label of
    /// `goldrush_api_unknown_values_total`. The names are the API's, except if two fields share one.
    pub enum UnknownField {
        /// A listed pipeline without an id that a request can name.
        Id = "id",
        /// `name` of a listed pipeline.
        Name = "name",
        /// `project` of a listed pipeline.
        Project = "project",
        /// `topic` of a listed pipeline.
        Topic = "topic",
        /// `destination_type` of a listed pipeline.
        DestinationType = "destination_type",
        /// `status` of a listed pipeline: an intent other than running and paused.
        DesiredStatus = "desired_status",
        /// An execution mode other than bounded and unbounded.
        ExecutionMode = "execution_mode",
        /// `execution_start_from` of a listed pipeline.
        ExecutionStartFrom = "execution_start_from",
        /// `execution_stop_from` of a listed pipeline.
        ExecutionStopFrom = "execution_stop_from",
        /// `created_at` of a listed pipeline.
        CreatedAt = "created_at",
        /// `updated_at` of a listed pipeline.
        UpdatedAt = "updated_at",
        /// `group` of a listed pipeline, or its `name`, `slug` or `id`.
        Group = "group",
        /// `group.is_paid` of a listed pipeline.
        IsPaid = "is_paid",
        /// `group.is_over_limit` of a listed pipeline.
        IsOverLimit = "is_over_limit",
        /// `group.is_free_trial_expired` of a listed pipeline.
        IsFreeTrialExpired = "is_free_trial_expired",
        /// `pagination` of the list, or its `has_more` or `total_count`.
        Pagination = "pagination",
        /// `status` of the status endpoint: a phase that is not documented.
        Phase = "phase",
        /// `replicas` of the status endpoint.
        Replicas = "replicas",
        /// `ready` of the status endpoint.
        Ready = "ready",
        /// `start_time` of the status endpoint.
        StartTime = "start_time",
        /// `records_consumed` of the metrics endpoint.
        RecordsConsumed = "records_consumed",
        /// `last_offset` of the metrics endpoint.
        LastOffset = "last_offset",
        /// `last_block_height` of the metrics endpoint.
        LastBlockHeight = "last_block_height",
        /// `pending_records` of the metrics endpoint.
        PendingRecords = "pending_records",
        /// `processing_delay_ms` of the metrics endpoint.
        ProcessingDelay = "processing_delay_ms",
        /// `records_per_second` of the metrics endpoint.
        RecordsPerSecond = "records_per_second",
        /// `normalization_errors` of the metrics endpoint.
        NormalizationErrors = "normalization_errors",
        /// `healthy` of the destination-health endpoint.
        Healthy = "healthy",
        /// `last_checked_at` of the destination-health endpoint.
        LastCheckedAt = "last_checked_at",
        /// `latency_ms` of the destination-health endpoint.
        Latency = "latency_ms",
        /// `last_error` of the destination-health endpoint.
        LastError = "last_error",
        /// `aggregate.credits_consumed` of the usage.
        CreditsConsumed = "credits_consumed",
        /// `aggregate.max_credits` of the usage.
        MaxCredits = "max_credits",
        /// `aggregate.flex_credits` of the usage, or its `limit`.
        FlexCredits = "flex_credits",
        /// `aggregate.premium_credits` of the usage.
        PremiumCredits = "premium_credits",
        /// `aggregate.free_credits` of the usage.
        FreeCredits = "free_credits",
        /// `aggregate.plan` of the usage.
        Plan = "plan",
    }
}

/// The unusable fields of one record. One word, because each of ten thousand pipelines has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnknownFields(u64);

const _: () = assert!(UnknownField::COUNT <= u64::BITS as usize);

impl UnknownFields {
    pub(super) fn insert(&mut self, field: UnknownField) {
        self.0 |= 1 << field as u64;
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Returns the value that was read; notes the field if it was unusable.
    pub(super) fn note<T>(&mut self, field: UnknownField, read: Result<Option<T>, Unusable>) -> Option<T> {
        read.unwrap_or_else(|Unusable| {
            self.insert(field);
            None
        })
    }

    pub(super) fn iter(self) -> impl Iterator<Item = UnknownField> {
        UnknownField::ALL.iter().copied().filter(move |field| self.0 & (1 << *field as u64) != 0)
    }
}

/// A value that has no meaning in its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unusable;
