//! Reads the account's use of credits.
//!
//! Only the sums in `aggregate` are read. `by_api_key` may contain API keys, so it is skipped unparsed, and so are
//! `by_day` and `period`, which nothing needs.

use std::sync::Arc;

use super::error::Error;
use super::lenient::{Kind, Mismatch, Raw, Record, deserialize_record};
use super::unknown::{UnknownField, UnknownFields};

/// Credits of the account since the start of the month.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Credits used (`aggregate.credits_consumed`).
    pub credits_consumed: Option<f64>,
    /// Credits that the plan includes (`aggregate.max_credits`).
    pub credits_limit: Option<f64>,
    /// Credits that may be bought beyond the plan's (`aggregate.flex_credits.limit`).
    pub flex_credits_limit: Option<f64>,
    /// Part of the used credits: those of premium requests.
    pub premium_credits: Option<f64>,
    /// Part of the used credits: those of free requests.
    pub free_credits: Option<f64>,
    /// The name of the plan.
    pub plan: Option<Arc<str>>,
    /// A documented field was present, whatever its value.
    is_documented: bool,
    unknown: UnknownFields,
}

deserialize_record!(Usage);

impl Usage {
    /// As far as this response alone says it.
    pub fn ceiling(&self) -> Option<f64> {
        Self::ceiling_of(self.credits_limit, self.flex_credits_limit)
    }

    /// All credits that are available before GoldRush stops serving the account: the plan's and the flex credits.
    /// `None` for a plan whose limit is missing or zero.
    pub fn ceiling_of(plan: Option<f64>, flex: Option<f64>) -> Option<f64> {
        let plan = plan.filter(|limit| *limit > 0.0)?;
        Some(plan + flex.unwrap_or_default())
    }

    pub fn unknown_fields(&self) -> impl Iterator<Item = UnknownField> {
        self.unknown.iter()
    }

    /// Fails if the response is not about usage, for example because another service responds in the API's envelope.
    pub(super) fn documented(usage: Option<Self>) -> Result<Self, Error> {
        let usage = usage.filter(|usage| usage.is_documented);
        usage.ok_or_else(|| Error::Decode("data.aggregate: none of the documented fields of the usage".to_owned()))
    }
}

impl Record for Usage {
    fn field(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch> {
        if name == "aggregate" {
            value.each_field(|name, value| self.sum(name, value)).map_err(|mismatch| mismatch.below("aggregate"))?;
        }
        Ok(())
    }
}

impl Usage {
    fn sum(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch> {
        use UnknownField as F;
        let unknown = &mut self.unknown;
        match name {
            "credits_consumed" => self.credits_consumed = unknown.note(F::CreditsConsumed, value.height()),
            "max_credits" => self.credits_limit = unknown.note(F::MaxCredits, value.height()),
            "premium_credits" => self.premium_credits = unknown.note(F::PremiumCredits, value.height()),
            "free_credits" => self.free_credits = unknown.note(F::FreeCredits, value.height()),
            "plan" => self.plan = unknown.note(F::Plan, value.label()),
            "flex_credits" => match value.kind() {
                Kind::Null => self.flex_credits_limit = None,
                Kind::Object => value.each_field(|name, value| {
                    if name == "limit" {
                        self.flex_credits_limit = unknown.note(F::FlexCredits, value.height());
                    }
                    Ok(())
                })?,
                _ => {
                    self.flex_credits_limit = None;
                    unknown.insert(F::FlexCredits);
                }
            },
            _ => return Ok(()),
        }
        self.is_documented = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn usage(data: Value) -> Result<Usage, Error> {
        Usage::documented(serde_json::from_value(data).unwrap())
    }

    #[test]
    fn sums_are_read_and_api_keys_are_not() {
        let read = usage(json!({
            "period": {"from": "2026-11-01"},
            "aggregate": {"credits_consumed": 1200.5, "max_credits": "300000", "premium_credits": 1000,
                "free_credits": 200.5, "plan": "Professional", "flex_credits": {"limit": 50_000, "used": 0}},
            "by_day": [{"premium_credits": 7, "free_credits": 7}],
            "by_api_key": [{"apikey": "canary", "credits": 7}],
        }));
        let read = read.unwrap();
        assert_eq!((read.credits_consumed, read.credits_limit), (Some(1200.5), Some(300_000.0)));
        assert_eq!((read.premium_credits, read.free_credits), (Some(1000.0), Some(200.5)));
        assert_eq!((read.plan.as_deref(), read.ceiling()), (Some("Professional"), Some(350_000.0)));
        assert_eq!(read.unknown_fields().count(), 0);
        assert!(!format!("{read:?}").contains("canary"));
    }

    #[test]
    fn a_field_of_another_type_costs_that_field_only() {
        let read =
            usage(json!({"aggregate": {"credits_consumed": 5, "max_credits": -1, "plan": 7, "flex_credits": true}}));
        let read = read.unwrap();
        assert_eq!((read.credits_consumed, read.credits_limit, read.plan.clone()), (Some(5.0), None, None));
        let unknown: Vec<&str> = read.unknown_fields().map(UnknownField::as_str).collect();
        assert_eq!(unknown, ["max_credits", "flex_credits", "plan"]);
        assert_eq!(read.ceiling(), None);
        for (last, unknown) in [("null", vec![]), ("7", vec![UnknownField::FlexCredits])] {
            let json = format!(r#"{{"aggregate":{{"flex_credits":{{"limit":5}},"flex_credits":{last}}}}}"#);
            let read: Usage = serde_json::from_str(&json).unwrap();
            assert_eq!((read.flex_credits_limit, read.unknown_fields().collect::<Vec<_>>()), (None, unknown));
        }
    }

    #[test]
    fn a_response_that_is_not_about_usage_is_not_a_reading() {
        for data in [json!({}), json!({"aggregate": {}}), json!({"aggregate": {"total": 7}}), json!({"items": []})] {
            assert!(matches!(usage(data.clone()), Err(Error::Decode(_))), "{data}");
        }
        assert!(matches!(Usage::documented(None), Err(Error::Decode(_))));
        assert!(serde_json::from_value::<Usage>(json!({"aggregate": [7]})).is_err());
    }

    #[test]
    fn without_a_limit_there_is_no_end() {
        for (aggregate, ceiling) in [
            (json!({"credits_consumed": 5}), None),
            (json!({"max_credits": 0, "flex_credits": {"limit": 100}}), None),
            (json!({"max_credits": 100, "flex_credits": null}), Some(100.0)),
            (json!({"max_credits": 100, "flex_credits": {"limit": null}}), Some(100.0)),
        ] {
            assert_eq!(usage(json!({ "aggregate": aggregate })).unwrap().ceiling(), ceiling, "{aggregate}");
        }
    }
}
