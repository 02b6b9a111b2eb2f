//! Reads the responses to the probes of one pipeline.

use super::destination_error::{DestinationError, DestinationErrorReason};
use super::lenient::{Mismatch, Raw, Record, deserialize_record};
use super::unknown::{UnknownField, UnknownFields};
use super::vocabulary::Phase;

/// The worker's state (status endpoint).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// [`Phase::Unknown`] if it is not documented.
    pub phase: Option<Phase>,
    /// Desired replicas.
    pub replicas: Option<f64>,
    pub ready: Option<f64>,
    start_time: Option<f64>,
    unknown: UnknownFields,
}

/// Throughput and lag at the time of the response (metrics endpoint).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PipelineMetrics {
    /// Source records read since the worker started.
    pub records_consumed: Option<f64>,
    /// Last source offset that was committed.
    pub last_offset: Option<f64>,
    /// Newest block processed.
    pub last_block_height: Option<f64>,
    /// Records buffered and not yet written.
    pub pending_records: Option<f64>,
    /// End-to-end delay, from source to destination.
    pub processing_delay_seconds: Option<f64>,
    /// Rolling throughput.
    pub records_per_second: Option<f64>,
    /// Records dropped because they could not be normalized or decoded.
    pub normalization_errors: Option<f64>,
    /// See [`unknown_fields`](Self::unknown_fields).
    pub unknown: UnknownFields,
}

/// The platform's last connectivity check of the destination (destination-health endpoint).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DestinationHealth {
    pub healthy: Option<bool>,
    last_checked_at: Option<f64>,
    /// Duration of the check.
    pub latency_seconds: Option<f64>,
    /// Why it is unhealthy, redacted.
    pub last_error: Option<DestinationError>,
    unknown: UnknownFields,
}

deserialize_record!(Status, PipelineMetrics, DestinationHealth);

impl Status {
    /// In Unix seconds.
    pub fn start_time(&self) -> Option<f64> {
        self.start_time
    }

    pub fn unknown_fields(&self) -> impl Iterator<Item = UnknownField> {
        self.unknown.iter()
    }
}

impl Record for Status {
    fn field(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch> {
        use UnknownField as F;
        let unknown = &mut self.unknown;
        match name {
            "status" => {
                self.phase = unknown.note(F::Phase, value.text()).map(|text| Phase::of(&text));
                if self.phase == Some(Phase::Unknown) {
                    unknown.insert(F::Phase);
                }
            }
            "replicas" => self.replicas = unknown.note(F::Replicas, value.number()),
            "ready" => self.ready = unknown.note(F::Ready, value.number()),
            "start_time" => self.start_time = unknown.note(F::StartTime, value.time()),
            _ => {}
        }
        Ok(())
    }
}

impl PipelineMetrics {
    pub fn unknown_fields(&self) -> impl Iterator<Item = UnknownField> {
        self.unknown.iter()
    }
}

impl Record for PipelineMetrics {
    fn field(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch> {
        use UnknownField as F;
        let unknown = &mut self.unknown;
        match name {
            "records_consumed" => self.records_consumed = unknown.note(F::RecordsConsumed, value.number()),
            "last_offset" => self.last_offset = unknown.note(F::LastOffset, value.number()),
            "last_block_height" => self.last_block_height = unknown.note(F::LastBlockHeight, value.number()),
            "pending_records" => self.pending_records = unknown.note(F::PendingRecords, value.number()),
            "processing_delay_ms" => {
                self.processing_delay_seconds = unknown.note(F::ProcessingDelay, value.seconds_of_ms());
            }
            "records_per_second" => self.records_per_second = unknown.note(F::RecordsPerSecond, value.number()),
            "normalization_errors" => self.normalization_errors = unknown.note(F::NormalizationErrors, value.number()),
            _ => {}
        }
        Ok(())
    }
}

impl DestinationHealth {
    /// In Unix seconds.
    pub fn last_checked_at(&self) -> Option<f64> {
        self.last_checked_at
    }

    /// `None` unless the destination is unhealthy.
    pub fn error_reason(&self) -> Option<DestinationErrorReason> {
        let reason = self.last_error.as_ref().map_or(DestinationErrorReason::Other, |error| error.reason);
        (self.healthy == Some(false)).then_some(reason)
    }

    pub fn unknown_fields(&self) -> impl Iterator<Item = UnknownField> {
        self.unknown.iter()
    }
}

impl Record for DestinationHealth {
    fn field(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch> {
        use UnknownField as F;
        let unknown = &mut self.unknown;
        match name {
            "healthy" => self.healthy = unknown.note(F::Healthy, value.flag()),
            "last_checked_at" => self.last_checked_at = unknown.note(F::LastCheckedAt, value.time()),
            "latency_ms" => self.latency_seconds = unknown.note(F::Latency, value.seconds_of_ms()),
            "last_error" => {
                let text = unknown.note(F::LastError, value.text());
                self.last_error = text.map(|text| DestinationError::of(&text));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_phase_is_unknown_and_an_empty_one_is_none() {
        let read = |text: &str| {
            let json = format!(r#"{{"status":{text},"ready":1,"start_time":"yesterday"}}"#);
            let status: Status = serde_json::from_str(&json).unwrap();
            assert_eq!((status.ready, status.start_time()), (Some(1.0), None));
            let unknown: Vec<&str> = status.unknown_fields().map(UnknownField::as_str).collect();
            (status.phase, unknown)
        };
        assert_eq!(read("\"RUNNING\""), (Some(Phase::Running), vec!["start_time"]));
        assert_eq!(read("\" running \""), (Some(Phase::Running), vec!["start_time"]));
        assert_eq!(read("\"CRASHED\""), (Some(Phase::Unknown), vec!["phase", "start_time"]));
        assert_eq!(read("7"), (None, vec!["phase", "start_time"]));
        assert_eq!(read("\"\""), (None, vec!["start_time"]));
        assert_eq!(read("null"), (None, vec!["start_time"]));
    }

    #[test]
    fn nothing_private_of_an_error_is_kept() {
        let text = format!("{}postgres://alice:secret@db.example/x: connection refused", "word ".repeat(100));
        let json = serde_json::json!({ "healthy": false, "last_error": text });
        let kept = format!("{:?}", serde_json::from_value::<DestinationHealth>(json).unwrap());
        assert!(!["word", "alice", "secret", "db.example"].iter().any(|private| kept.contains(private)), "{kept}");
        assert!(kept.contains("connection refused"), "{kept}");
    }

    #[test]
    fn the_cause_at_the_end_of_a_long_error_is_kept() {
        let json = serde_json::json!({ "last_error": format!("{}: connection refused", "word ".repeat(100)) });
        let health = serde_json::from_value::<DestinationHealth>(json).unwrap();
        assert_eq!(health.last_error.unwrap().reason, DestinationErrorReason::ConnectionRefused);
    }

    #[test]
    fn only_an_unhealthy_destination_has_a_reason_and_one_without_a_text_has_another() {
        let reason = |json| serde_json::from_value::<DestinationHealth>(json).unwrap().error_reason();
        let refused = "connection refused";
        for (healthy, expected) in
            [(Some(false), Some(DestinationErrorReason::ConnectionRefused)), (Some(true), None), (None, None)]
        {
            assert_eq!(reason(serde_json::json!({ "healthy": healthy, "last_error": refused })), expected);
        }
        let other = Some(DestinationErrorReason::Other);
        assert_eq!(reason(serde_json::json!({ "healthy": false })), other);
        assert_eq!(reason(serde_json::json!({ "healthy": false, "last_error": "" })), other);
    }
}
