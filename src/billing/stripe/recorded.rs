//! Events about payments, disputes, entitlements and schedules, which are only recorded.

use serde_json::Value;

use super::fields::Malformed;
use super::subscription::customer;
use super::tenant_names::NamedFact;
use crate::billing::{Fact, RecordedFacts};

/// Why an event of an unknown tenant is ignored instead of kept in the quarantine.
pub(super) const ONLY_RECORDED: &str = "no tenant is known for the event, which would only be recorded";

/// How the events about one kind of object are recorded.
struct Rule {
    /// The action of the audit event.
    action: &'static str,
    /// The kind of the object.
    target: &'static str,
    /// The fields that become details.
    details: &'static [&'static str],
    /// Why the event is ignored if the object names no customer.
    nameless: &'static str,
}

/// The rule for events of this type; `None` if they are not recorded.
fn rule(kind: &str) -> Option<Rule> {
    let (action, target, details, nameless): (_, _, &[_], _) = match kind {
        "charge.refunded" => (
            "billing.charge_refunded",
            "charge",
            &["amount_refunded", "currency", "refunded"],
            "the charge names no customer; read it by its payment intent",
        ),
        "charge.dispute.created"
        | "charge.dispute.closed"
        | "charge.dispute.updated"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => (
            "billing.dispute",
            "dispute",
            &["amount", "currency", "status", "reason", "charge"],
            "the dispute names no customer; read it by its charge",
        ),
        "radar.early_fraud_warning.created" => (
            "billing.early_fraud_warning",
            "early_fraud_warning",
            &["charge", "fraud_type", "actionable"],
            "the early fraud warning names no customer; read it by its charge",
        ),
        "invoice_payment.paid" => (
            "billing.invoice_payment_paid",
            "invoice_payment",
            &["invoice", "amount_paid", "currency"],
            "the invoice payment names no customer; read it by its invoice",
        ),
        "entitlements.active_entitlement_summary.updated" => (
            "billing.entitlements",
            "customer",
            &[],
            "the entitlement summary names no customer; read the entitlements of each customer",
        ),
        "billing.alert.triggered" => {
            ("billing.alert", "alert", &["value"], "the alert names no customer; read it by its id")
        }
        _ if kind.starts_with("subscription_schedule.") => (
            "billing.subscription_schedule",
            "subscription_schedule",
            &["status"],
            "the schedule names no customer; read it by its subscription",
        ),
        _ => return None,
    };
    Some(Rule { action, target, details, nameless })
}

/// The field of an object that names its parent, which names the customer, and where such parents are read. `reason` is why
/// the event was ignored.
pub(super) fn parent(kind: &str, reason: &str) -> Option<(&'static str, &'static str)> {
    match rule(kind).filter(|rule| rule.nameless == reason)?.target {
        "dispute" | "early_fraud_warning" => Some(("charge", "/v1/charges")),
        "invoice_payment" => Some(("invoice", "/v1/invoices")),
        _ => None,
    }
}

/// Reads an object that is only recorded. `None` if events of this type are not recorded.
pub(super) fn recorded(kind: &str, object: &Value) -> Option<Result<NamedFact, Malformed>> {
    rule(kind).map(|rule| read(&rule, object))
}

fn read(rule: &Rule, object: &Value) -> Result<NamedFact, Malformed> {
    // The customer is in the object, or in the expanded object that it belongs to.
    let mut payer = customer(object)?;
    for parent in ["charge", "payment_intent", "invoice"] {
        if let (None, Some(parent)) = (&payer, object.get(parent).filter(|parent| parent.is_object())) {
            payer = customer(parent)?;
        }
    }
    let Some(payer) = payer else { return Ok(Fact::Ignored { reason: rule.nameless }.into()) };
    let mut facts = RecordedFacts::new(rule.action);
    // An alert is inside the object, and a summary of entitlements has no id but its customer's.
    let id = match rule.target {
        "customer" => Some(payer.clone()),
        "alert" => id!(object, "alert")?,
        _ => id!(object, "id")?,
    };
    facts.target = id.map(|id| (rule.target, id));
    facts.details = details(object, rule.details);
    if rule.target == "dispute" {
        facts.dispute = id!(object, "id")?.zip(text!(object, "status")?.map(str::to_owned));
    }
    let entitlements = list!(object, "entitlements")?;
    if rule.target == "customer" {
        let keys = entitlements.entries.iter().filter_map(|entry| entry.get("lookup_key")?.as_str());
        facts.details.push(("features", keys.collect::<Vec<_>>().join(",")));
        facts.details.push(("complete", (!entitlements.cut).to_string()));
    }
    facts.subscription = match id!(object, "subscription")? {
        Some(subscription) => Some(subscription),
        None => id!(object, "released_subscription")?,
    };
    facts.customer = Some(payer);
    Ok(NamedFact { fact: Fact::Recorded(facts), ignored_if_unknown: Some(ONLY_RECORDED) })
}

/// The values of these fields, if they are texts, numbers, truth values or expanded objects with an id.
pub(super) fn details(object: &Value, fields: &[&'static str]) -> Vec<(&'static str, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Object(expanded) => expanded.get("id")?.as_str().map(str::to_owned),
        Value::Null | Value::Array(_) => None,
    };
    fields.iter().filter_map(|field| Some((*field, text(object.get(field)?)?))).collect()
}
