//! Turns the values of the file into [`Feature`]s, each checked against its declaration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::feature::{ConfigValue, Feature, FeatureKind};
use super::file::{Declaration, Keyword, LimitValue, Value, ValueTable};
use super::limit::{Limit, MAX_NUMBER};
use super::locate::Fault;
use super::period::Period;
use super::rule::{ConcurrencyRule, CountPer, Failure, FailurePolicy, Overage, RateRule, Rule};

/// The features of one plan, in the order of the declarations, and how the limits rise with each bought seat.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub(super) features: Vec<Feature>,
    pub(super) per_seat: Vec<(usize, u32)>,
}

/// Checks the declarations on their own.
pub(super) fn check_declarations(declared: &BTreeMap<String, Declaration>) -> Result<(), Fault> {
    for (key, declaration) in declared {
        check_declaration(declaration)
            .map_err(|text| Fault::new(&["features", key], format!("`{key}` {text}")))?;
    }
    Ok(())
}

fn check_declaration(declared: &Declaration) -> Result<(), String> {
    let kind = declared.kind;
    let (is_counted, is_quota) =
        (matches!(kind, FeatureKind::Gauge | FeatureKind::Quota), kind == FeatureKind::Quota);
    let uses_store = matches!(kind, FeatureKind::Quota | FeatureKind::Rate | FeatureKind::Concurrency);
    for (name, is_set, is_allowed) in [
        ("period", declared.period.is_some(), is_quota),
        ("overage", declared.overage.is_some(), is_counted),
        ("warn", declared.warn.is_some(), is_counted),
        ("per", declared.per.is_some(), uses_store),
        ("on_failure", declared.on_failure.is_some(), uses_store),
        ("timeout_ms", declared.timeout_ms.is_some(), uses_store),
        ("lease_seconds", declared.lease_seconds.is_some(), kind == FeatureKind::Concurrency),
        ("unit", declared.unit.is_some(), is_counted || uses_store),
    ] {
        if is_set && !is_allowed {
            return Err(format!("is {kind}, which has no `{name}`; remove it"));
        }
    }
    if declared.on_failure == Some(FailurePolicy::LastLease) && !is_quota {
        return Err(format!("is {kind}, which has no lease; write `on_failure = \"closed\"` or `\"open\"`"));
    }
    if declared.disabled && kind == FeatureKind::Config {
        return Err("is a config value, which cannot be disabled; set another value in each plan".to_owned());
    }
    match declared.period {
        None if is_quota => {
            Err("is a quota without a `period`; add one, such as `period = \"month\"`".to_owned())
        }
        Some(period) if period.is_empty() => {
            Err("has a period without a length; give it 1 or more".to_owned())
        }
        _ if declared.timeout_ms == Some(0) => Err("has a `timeout_ms` of 0; give it 1 or more".to_owned()),
        _ if declared.lease_seconds == Some(0) => {
            Err("has a `lease_seconds` of 0; give it 1 or more".to_owned())
        }
        _ => check_levels(kind, declared.overage, declared.warn.as_deref()),
    }
}

fn check_levels(kind: FeatureKind, overage: Option<Overage>, warn: Option<&[u16]>) -> Result<(), String> {
    match overage {
        Some(Overage::Grace { percent: 0, .. }) => {
            return Err("has a grace of 0 percent; write \"block\" instead".to_owned());
        }
        Some(Overage::Grace { seconds: Some(_), .. }) if kind == FeatureKind::Gauge => {
            return Err("is a gauge, whose grace has no `seconds`; remove them".to_owned());
        }
        _ => {}
    }
    let warn = warn.unwrap_or_default();
    if warn.contains(&0) || warn.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(
            "has warning levels that do not rise from 1; write them as in `warn = [80, 100]`".to_owned()
        );
    }
    Ok(())
}

/// The features of a plan. `path` is where its `features` stand in the file.
pub(super) fn compile(
    plan: &str,
    path: &[&str],
    declared: &BTreeMap<String, Declaration>,
    values: &BTreeMap<String, Value>,
) -> Result<Compiled, Fault> {
    let at = |key: &str| Fault::new(&[path, &["features", key]].concat(), String::new());
    let mut compiled = Compiled { features: Vec::with_capacity(declared.len()), per_seat: Vec::new() };
    for (index, (key, declaration)) in declared.iter().enumerate() {
        let Some(value) = values.get(key) else {
            let text = format!(
                "the plan `{plan}` has no value for `{key}`; give every plan a value for every feature"
            );
            return Err(Fault::new(path, text));
        };
        let feature = feature_of(declaration, value)
            .map_err(|text| Fault { text: format!("the plan `{plan}`: `{key}` {text}"), ..at(key) })?;
        compiled.features.push(feature);
        if let Value::Table(ValueTable { per_seat: Some(per_seat), .. }) = value {
            compiled.per_seat.push((index, *per_seat));
        }
    }
    if let Some(key) = values.keys().find(|key| !declared.contains_key(*key)) {
        let text = format!(
            "the plan `{plan}` names `{key}`, which [features] does not declare; declare it, or fix the key"
        );
        return Err(Fault { text, ..at(key) });
    }
    Ok(compiled)
}

/// The feature of one value. The error continues a sentence that begins with the feature's key.
pub(super) fn feature_of(declared: &Declaration, value: &Value) -> Result<Feature, String> {
    let mut feature = match (declared.kind, value) {
        (FeatureKind::Flag, Value::Flag(on)) => Feature::Flag(*on),
        (FeatureKind::Flag, _) => return Err("is a flag: write true or false".to_owned()),
        (FeatureKind::Config, Value::Number(number)) => Feature::Config(ConfigValue::Integer(*number)),
        (FeatureKind::Config, Value::Text(text)) => Feature::Config(ConfigValue::Text(text.as_str().into())),
        (FeatureKind::Config, _) => {
            return Err("is a config value: write a text or a whole number".to_owned());
        }
        (FeatureKind::Rate, value) => Feature::Rate(rate(declared, value)?),
        (kind, value) => {
            let table = table_of(kind, value)?;
            if table.seconds.is_some() || table.burst.is_some() {
                return Err(format!("is {kind}, which has no `seconds` and no `burst`; remove them"));
            }
            counted(declared, &table)?
        }
    };
    if declared.disabled {
        feature.deny();
    }
    Ok(feature)
}

fn counted(declared: &Declaration, table: &ValueTable) -> Result<Feature, String> {
    let limit = limit_of(&table.limit)?;
    if declared.kind == FeatureKind::Concurrency {
        if table.overage.is_some() || table.warn.is_some() {
            return Err(
                "is a concurrency limit, which has no `overage` and no `warn`; remove them".to_owned()
            );
        }
        return Ok(Feature::Concurrency(ConcurrencyRule {
            limit,
            lease_seconds: declared.lease_seconds.unwrap_or(60),
            per: declared.per.unwrap_or_default(),
            failure: failure(declared, FailurePolicy::Closed),
        }));
    }
    check_levels(declared.kind, table.overage, table.warn.as_deref())?;
    let warn = table.warn.as_ref().or(declared.warn.as_ref());
    let rule = Rule {
        limit,
        period: declared.period.unwrap_or(Period::Lifetime),
        overage: table.overage.or(declared.overage).unwrap_or_default(),
        warn_percent: warn.map_or_else(|| Arc::from([]), |levels| Arc::from(levels.as_slice())),
        unit: declared.unit.as_deref().map(Into::into),
        per: declared.per.unwrap_or(CountPer::Tenant),
        failure: failure(declared, FailurePolicy::Closed),
    };
    Ok(if declared.kind == FeatureKind::Gauge { Feature::Gauge(rule) } else { Feature::Quota(rule) })
}

fn rate(declared: &Declaration, value: &Value) -> Result<RateRule, String> {
    const EXAMPLE: &str = "write `{ limit = 100, seconds = 60 }`, or \"unlimited\"";
    let table = match value {
        Value::Table(table) => table.clone(),
        value => table_of(FeatureKind::Rate, value).map_err(|_| format!("is a rate: {EXAMPLE}"))?,
    };
    if table.overage.is_some() || table.warn.is_some() {
        return Err("is a rate, which has no `overage` and no `warn`; remove them".to_owned());
    }
    let limit = limit_of(&table.limit)?;
    let (seconds, burst) = match (limit, table.seconds) {
        (_, Some(0)) | (Limit::AtMost(_), None) => {
            return Err(format!("is a rate without `seconds`: {EXAMPLE}"));
        }
        (Limit::AtMost(max), Some(seconds)) => {
            (seconds, table.burst.unwrap_or_else(|| u32::try_from(max).unwrap_or(u32::MAX)))
        }
        (Limit::Unlimited, seconds) => (seconds.unwrap_or(1), table.burst.unwrap_or(u32::MAX)),
    };
    if burst == 0 && limit != Limit::AtMost(0) {
        return Err("is a rate with a burst of 0; give it 1 or more".to_owned());
    }
    let failure = failure(declared, FailurePolicy::Open);
    Ok(RateRule { limit, seconds, burst, per: declared.per.unwrap_or_default(), failure })
}

fn failure(declared: &Declaration, default: FailurePolicy) -> Failure {
    Failure {
        policy: declared.on_failure.unwrap_or(default),
        timeout: Duration::from_millis(declared.timeout_ms.unwrap_or(1_000).into()),
    }
}

/// A number and "unlimited" are short for a table with this limit.
fn table_of(kind: FeatureKind, value: &Value) -> Result<ValueTable, String> {
    let limit = match value {
        Value::Table(table) => return Ok(table.clone()),
        Value::Number(number) if *number >= 0 => LimitValue::Number(number.unsigned_abs()),
        Value::Text(text) if text == "unlimited" => LimitValue::Keyword(Keyword::Unlimited),
        _ => {
            return Err(format!(
                "is {kind}: write a whole number from 0, \"unlimited\", or a table with `limit`"
            ));
        }
    };
    Ok(ValueTable { limit, per_seat: None, overage: None, warn: None, seconds: None, burst: None })
}

fn limit_of(value: &LimitValue) -> Result<Limit, String> {
    match value {
        LimitValue::Keyword(Keyword::Unlimited) => Ok(Limit::Unlimited),
        LimitValue::Number(max) if *max > MAX_NUMBER => {
            Err(format!("has the value {max}; write \"unlimited\" instead"))
        }
        LimitValue::Number(max) => Ok(Limit::AtMost(*max)),
    }
}
