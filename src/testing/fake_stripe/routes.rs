//! The routes of the API.

use super::failure::{Failure, Reply};
use super::params::Params;
use super::state::State;

/// Handles a call. `path` has the parts after the leading slash.
pub(super) fn route(state: &mut State, method: &str, path: &[&str], params: &Params) -> Reply {
    match (method, path) {
        ("POST", ["v1", rest @ ..]) => post(state, rest, params),
        ("DELETE", ["v1", rest @ ..]) => delete(state, rest, params),
        ("GET", ["v1", rest @ ..]) => list(state, rest, params).unwrap_or_else(|| get(state, rest, params)),
        ("GET", ["v2", "core", "events"]) => state.list_thin_events(params),
        ("GET", ["v2", "core", "events", id]) => state.reply("v2.core.event", id),
        _ => Err(unknown(method, path)),
    }
}

/// Rejects every parameter but `expand`.
fn none(params: &Params) -> Result<(), Failure> {
    params.allow(&[])
}

fn unknown(method: &str, path: &[&str]) -> Failure {
    Failure::no_route(method, &format!("/{}", path.join("/")))
}

fn post(state: &mut State, path: &[&str], params: &Params) -> Reply {
    match path {
        ["customers"] => state.create_customer(params),
        ["customers", id] => state.update_customer(id, params),
        ["products"] => state.create_product(params),
        ["products", id] => state.update_product(id, params),
        ["prices"] => state.create_price(params),
        ["prices", id] => state.update_price(id, params),
        ["payment_methods"] => state.create_payment_method(params),
        ["payment_methods", id, "attach"] => state.attach_payment_method(id, params),
        ["payment_methods", id, "detach"] => none(params).and_then(|()| state.detach_payment_method(id)),
        ["subscriptions"] => state.create_subscription(params),
        ["subscriptions", id] => state.update_subscription(id, params),
        ["subscriptions", id, "pause"] => state.pause_subscription(id, params),
        ["subscriptions", id, "resume"] => state.resume_subscription(id, params),
        ["subscription_items"] => state.create_item(params),
        ["subscription_items", id] => state.update_item(id, params),
        ["invoices", id, "pay"] => state.pay_by_api(id, params),
        ["invoices", id, "void"] => none(params).and_then(|()| state.void_by_api(id, "void")),
        ["invoices", id, "mark_uncollectible"] => {
            none(params).and_then(|()| state.void_by_api(id, "uncollectible"))
        }
        ["refunds"] => state.create_refund(params),
        ["checkout", "sessions"] => state.create_session(params),
        ["checkout", "sessions", id, "expire"] => none(params).and_then(|()| state.expire_by_api(id)),
        ["billing_portal", "sessions"] => state.create_portal_session(params),
        ["webhook_endpoints"] => state.create_endpoint(params),
        ["test_helpers", "test_clocks"] => state.create_test_clock(params),
        ["test_helpers", "test_clocks", id, "advance"] => state.advance_test_clock(id, params),
        ["billing", "meters"] => state.create_meter(params),
        ["billing", "meters", id, "deactivate"] => {
            none(params).and_then(|()| state.set_meter_status(id, "inactive"))
        }
        ["billing", "meters", id, "reactivate"] => {
            none(params).and_then(|()| state.set_meter_status(id, "active"))
        }
        ["billing", "meter_events"] => state.create_meter_event(params),
        _ => Err(unknown("POST", &[&["v1"], path].concat())),
    }
}

fn delete(state: &mut State, path: &[&str], params: &Params) -> Reply {
    match path {
        ["customers", id] => none(params).and_then(|()| state.delete_customer(id)),
        ["subscriptions", id] => state.cancel_subscription(id, params),
        ["subscription_items", id] => state.delete_item(id, params),
        ["webhook_endpoints", id] => none(params).and_then(|()| state.delete_endpoint(id)),
        ["test_helpers", "test_clocks", id] => none(params).and_then(|()| state.delete_test_clock(id)),
        _ => Err(unknown("DELETE", &[&["v1"], path].concat())),
    }
}

fn list(state: &State, path: &[&str], params: &Params) -> Option<Reply> {
    Some(match path {
        ["customers"] => state.list_customers(params),
        ["customers", id, "payment_methods"] => state.list_payment_methods(params, Some(id)),
        ["products"] => state.list_products(params),
        ["prices"] => state.list_prices(params),
        ["payment_methods"] => state.list_payment_methods(params, None),
        ["subscriptions"] => state.list_subscriptions(params),
        ["subscription_items"] => state.list_items(params),
        ["invoices"] => state.list_invoices(params),
        ["charges"] => state.list_payments("charge", "/v1/charges", params),
        ["payment_intents"] => state.list_payments("payment_intent", "/v1/payment_intents", params),
        ["refunds"] => state.list_payments("refund", "/v1/refunds", params),
        ["disputes"] => state.list_payments("dispute", "/v1/disputes", params),
        ["checkout", "sessions"] => state.list_sessions(params),
        ["checkout", "sessions", id, "line_items"] => {
            params.allow(&["limit"]).and_then(|()| state.list_line_items(id))
        }
        ["events"] => state.list_events(params),
        ["webhook_endpoints"] => state.list_endpoints(params),
        ["test_helpers", "test_clocks"] => state.list_test_clocks(params),
        ["billing", "meters"] => state.list_meters(params),
        ["billing", "meters", id, "event_summaries"] => state.usage_summaries(id, params),
        _ => return None,
    })
}

fn get(state: &State, path: &[&str], params: &Params) -> Reply {
    let kind = match path {
        ["subscription_items", id] => return none(params).and_then(|()| state.item(id)),
        ["customers", _] => "customer",
        ["customers", _, "payment_methods", _] | ["payment_methods", _] => "payment_method",
        ["products", _] => "product",
        ["prices", _] => "price",
        ["subscriptions", _] => "subscription",
        ["invoices", _] => "invoice",
        ["charges", _] => "charge",
        ["payment_intents", _] => "payment_intent",
        ["setup_intents", _] => "setup_intent",
        ["refunds", _] => "refund",
        ["disputes", _] => "dispute",
        ["checkout", "sessions", _] => "checkout.session",
        ["events", _] => "event",
        ["webhook_endpoints", _] => "webhook_endpoint",
        ["test_helpers", "test_clocks", _] => "test_helpers.test_clock",
        ["billing", "meters", _] => "billing.meter",
        _ => return Err(unknown("GET", &[&["v1"], path].concat())),
    };
    none(params)?;
    state.reply(kind, path.last().copied().unwrap_or_default())
}
