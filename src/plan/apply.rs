//! Changes a feature of one tenant: by an add-on, by seats, by an override.

use super::compile::feature_of;
use super::feature::Feature;
use super::file::{Declaration, Value};
use super::limit::Limit;
use super::terms::{Override, OverrideChange};
use crate::error::{Error, ErrorKind, Result};

pub(super) fn grant(feature: &mut Feature, value: &Value) {
    match (&mut *feature, value) {
        (Feature::Flag(on), Value::Flag(granted)) => *on |= granted,
        (_, Value::Number(number)) => add_to(feature, *number),
        (_, Value::Text(_)) => {
            if let Some(limit) = feature.limit_mut() {
                *limit = Limit::Unlimited;
            }
        }
        _ => {}
    }
}

pub(super) fn add_to(feature: &mut Feature, more: i64) {
    if let Some(limit) = feature.limit_mut() {
        *limit = limit.plus(more);
    }
}

pub(super) fn apply(feature: &mut Feature, declared: &Declaration, one: &Override) -> Result<()> {
    let wrong = |text: String| {
        Error::new(
            ErrorKind::Misconfigured,
            format!("an override does not fit the catalog: `{}` {text}; end the override", one.feature()),
        )
    };
    match one.change() {
        OverrideChange::Deny => feature.deny(),
        OverrideChange::Set(value) => {
            let mut next = feature_of(declared, &value.0).map_err(wrong)?;
            // A number alone replaces the limit, and nothing else that the plan says.
            if let (Feature::Gauge(old) | Feature::Quota(old), Feature::Gauge(new) | Feature::Quota(new)) =
                (&*feature, &mut next)
                && !matches!(value.0, Value::Table(_))
            {
                (new.overage, new.warn_percent) = (old.overage, old.warn_percent.clone());
            }
            *feature = next;
        }
        OverrideChange::Add(number) => match feature.limit_mut() {
            Some(limit) => *limit = limit.plus(*number),
            None => return Err(wrong(format!("is {}, to which nothing can be added", declared.kind))),
        },
    }
    Ok(())
}
