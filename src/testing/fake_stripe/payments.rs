//! Payments of invoices: payment intents, charges, and what a success or a failure does to the subscription.

use serde_json::{Value, json};

use super::calendar::DAY;
use super::failure::{Failure, Reply};
use super::invoices::subscription_of;
use super::lists::{PAGING, page, whole};
use super::options::FinalFailure;
use super::params::Params;
use super::state::{Card, State, with_nulls};

/// The days from a failed payment to the next attempt.
const RETRIES: [i64; 3] = [3, 5, 7];

impl State {
    /// Tries to collect an open invoice. Returns whether it is paid.
    pub(super) fn collect(&mut self, id: &str, method: Option<String>) -> bool {
        let invoice = self.copy("invoice", id);
        let due = invoice["amount_remaining"].as_i64().unwrap_or_default();
        if due == 0 {
            self.mark_paid(id, None);
            return true;
        }
        let method = method.or_else(|| {
            let own = subscription_of(&invoice).and_then(|of| self.payer(&self.copy("subscription", of)));
            own.or_else(|| self.payer(&invoice))
        });
        let card = method.as_ref().and_then(|method| self.cards.get(method)).copied();
        let now = self.now_of(&invoice);
        let intent = self.intent(&invoice, due);
        let charge = method.as_ref().map(|method| {
            self.charge(
                &invoice["customer"],
                &invoice["currency"],
                due,
                method,
                card == Some(Card::Pays),
                Some(&intent),
            )
        });
        if card == Some(Card::Pays) {
            self.succeed(&intent, charge.as_deref(), method.as_deref());
            self.edit("invoice", id, |one| {
                one["attempt_count"] = (one["attempt_count"].as_i64().unwrap_or(0) + 1).into();
            });
            self.mark_paid(id, Some(&intent));
            return true;
        }
        let needs_action = card == Some(Card::NeedsAction);
        let status = if needs_action { "requires_action" } else { "requires_payment_method" };
        self.edit("payment_intent", &intent, |one| {
            one["status"] = status.into();
            one["latest_charge"] = charge.clone().into();
            one["last_payment_error"] = json!({
                "type": "card_error", "code": "card_declined", "decline_code": "generic_decline",
                "message": "Your card was declined.",
            });
        });
        let event =
            if needs_action { "payment_intent.requires_action" } else { "payment_intent.payment_failed" };
        self.emit_of(event, "payment_intent", &intent);
        let attempts = invoice["attempt_count"].as_i64().unwrap_or_default() + 1;
        let dunned = invoice["billing_reason"] != "subscription_create" && invoice["auto_advance"] == true;
        let wait =
            usize::try_from(attempts - 1).ok().and_then(|attempt| RETRIES.get(attempt)).filter(|_| dunned);
        self.edit("invoice", id, |one| {
            one["attempted"] = true.into();
            one["attempt_count"] = attempts.into();
            one["next_payment_attempt"] = wait.map(|days| now + days * DAY).into();
        });
        self.emit_of("invoice.payment_failed", "invoice", id);
        if needs_action {
            self.emit_of("invoice.payment_action_required", "invoice", id);
        }
        self.emit_of("invoice.updated", "invoice", id);
        if let Some(subscription) = subscription_of(&invoice)
            && invoice["billing_reason"] != "subscription_create"
            && invoice["auto_advance"] == true
        {
            self.failed(subscription, wait.is_none());
        }
        false
    }

    /// The effect of a failed payment on the subscription.
    fn failed(&mut self, subscription: &str, last: bool) {
        self.edit_subscription(subscription, |one| {
            if one["status"] == "active" || one["status"] == "trialing" {
                one["status"] = "past_due".into();
            }
        });
        if !last || self.copy("subscription", subscription)["status"] != "past_due" {
            return;
        }
        match self.options.final_failure {
            FinalFailure::Cancel => self.end_subscription(subscription, "payment_failed"),
            FinalFailure::Unpaid => {
                self.edit_subscription(subscription, |one| one["status"] = "unpaid".into());
            }
            FinalFailure::PastDue => {}
        }
    }

    /// Records that an invoice is paid. A subscription without other open invoices becomes active.
    pub(super) fn mark_paid(&mut self, id: &str, intent: Option<&str>) {
        let invoice = self.copy("invoice", id);
        let now = self.now_of(&invoice);
        let due = invoice["amount_remaining"].as_i64().unwrap_or_default();
        let payment = intent.map(|intent| {
            let payment = json!({
                "id": self.id("inpay"), "object": "invoice_payment", "amount_paid": due, "amount_requested": due,
                "created": now, "currency": invoice["currency"], "invoice": id, "is_default": true,
                "livemode": false, "payment": { "type": "payment_intent", "payment_intent": intent },
                "status": "paid", "status_transitions": { "canceled_at": null, "paid_at": now },
            });
            self.insert(payment.clone());
            payment
        });
        self.edit("invoice", id, |one| {
            one["status"] = "paid".into();
            one["attempted"] = true.into();
            one["amount_paid"] = due.into();
            one["amount_remaining"] = 0.into();
            one["next_payment_attempt"] = Value::Null;
            one["status_transitions"]["paid_at"] = now.into();
            let payments: Vec<Value> = payment.iter().cloned().collect();
            one["payments"] = whole(&payments, &format!("/v1/invoice_payments?invoice={id}"));
        });
        for event in ["invoice.updated", "invoice.paid", "invoice.payment_succeeded"] {
            self.emit_of(event, "invoice", id);
        }
        if let Some(payment) = payment {
            self.emit("invoice_payment.paid", &payment, None);
        }
        let Some(subscription) = subscription_of(&invoice).map(str::to_owned) else { return };
        let open = |other: &Value| {
            other["status"] == "open"
                && subscription_of(other) == Some(&subscription)
                && other["auto_advance"] == true
        };
        let owes = self.all("invoice").iter().any(open);
        let is_latest = self.copy("subscription", &subscription)["latest_invoice"] == id;
        self.edit_subscription(&subscription, |one| match one["status"].as_str() {
            Some("incomplete") => one["status"] = "active".into(),
            Some("past_due" | "unpaid") if is_latest || !owes => one["status"] = "active".into(),
            _ => {}
        });
    }

    /// The payment intent of an invoice; a new one if it has none.
    fn intent(&mut self, invoice: &Value, amount: i64) -> String {
        let of = invoice["id"].as_str().unwrap_or_default().to_owned();
        if let Some(id) = self.intents.get(&of) {
            return id.clone();
        }
        let id = self.new_intent(&invoice["customer"], &invoice["currency"], amount, &json!({}));
        self.intents.insert(of, id.clone());
        id
    }

    pub(super) fn new_intent(
        &mut self,
        customer: &Value,
        currency: &Value,
        amount: i64,
        metadata: &Value,
    ) -> String {
        let id = self.id("pi");
        let customer_id = customer.as_str().unwrap_or_default();
        let clock = self.copy("customer", customer_id)["test_clock"].as_str().map(str::to_owned);
        let intent = with_nulls(
            json!({
                "id": id, "object": "payment_intent", "amount": amount, "amount_capturable": 0, "amount_received": 0,
                "capture_method": "automatic", "client_secret": format!("{id}_secret_fake"),
                "confirmation_method": "automatic", "created": self.now(clock.as_deref()), "currency": currency,
                "customer": customer, "livemode": false, "metadata": metadata, "payment_method_types": ["card"],
                "status": "requires_payment_method",
            }),
            "allowed_payment_method_types amount_details application application_fee_amount \
             automatic_payment_methods canceled_at cancellation_reason customer_account description \
             excluded_payment_method_types last_payment_error latest_charge managed_payments next_action \
             on_behalf_of payment_method payment_method_configuration_details payment_method_options \
             payment_record processing receipt_email review setup_future_usage shipping source \
             statement_descriptor statement_descriptor_suffix transfer_data transfer_group",
        );
        self.insert(intent);
        self.emit_of("payment_intent.created", "payment_intent", &id);
        id
    }

    pub(super) fn succeed(&mut self, intent: &str, charge: Option<&str>, method: Option<&str>) {
        self.edit("payment_intent", intent, |one| {
            one["status"] = "succeeded".into();
            one["amount_received"] = one["amount"].clone();
            one["latest_charge"] = charge.into();
            one["payment_method"] = method.into();
            one["last_payment_error"] = Value::Null;
        });
        self.emit_of("payment_intent.succeeded", "payment_intent", intent);
    }

    pub(super) fn charge(
        &mut self,
        customer: &Value,
        currency: &Value,
        amount: i64,
        method: &str,
        paid: bool,
        intent: Option<&str>,
    ) -> String {
        let id = self.id("ch");
        let card = self.copy("payment_method", method);
        let clock = self.copy("customer", customer.as_str().unwrap_or_default())["test_clock"].clone();
        let (outcome, message) = if paid {
            ("authorized", "Payment complete.")
        } else {
            ("issuer_declined", "The bank declined the payment.")
        };
        let charge = json!({
            "id": id, "object": "charge", "amount": amount, "amount_captured": if paid { amount } else { 0 },
            "amount_refunded": 0, "billing_details": card["billing_details"], "captured": paid,
            "created": self.now(clock.as_str()), "currency": currency, "customer": customer, "disputed": false,
            "failure_code": (!paid).then_some("card_declined"),
            "failure_message": (!paid).then_some("Your card was declined."), "fraud_details": {},
            "livemode": false, "metadata": {}, "paid": paid, "payment_intent": intent, "payment_method": method,
            "payment_method_details": { "type": "card", "card": card["card"] }, "refunded": false,
            "status": if paid { "succeeded" } else { "failed" },
            "outcome": with_nulls(
                json!({ "network_status": if paid { "approved_by_network" } else { "declined_by_network" },
                    "risk_level": "normal", "seller_message": message, "type": outcome }),
                "advice_code network_advice_code network_decline_code reason"),
        });
        self.insert(with_nulls(
            charge,
            "application application_fee application_fee_amount balance_transaction \
             calculated_statement_descriptor description failure_balance_transaction on_behalf_of receipt_email \
             receipt_number receipt_url review shipping source source_transfer statement_descriptor \
             statement_descriptor_suffix transfer_data transfer_group",
        ));
        self.emit_of(if paid { "charge.succeeded" } else { "charge.failed" }, "charge", &id);
        id
    }

    pub(super) fn create_refund(&mut self, params: &Params) -> Reply {
        params.allow(&["charge", "payment_intent", "amount", "reason", "metadata.**"])?;
        let charge = match params.some("payment_intent")? {
            Some(intent) => self.find("payment_intent", intent, "payment_intent")?["latest_charge"]
                .as_str()
                .ok_or_else(|| Failure::invalid("This PaymentIntent has no successful charge to refund."))?
                .to_owned(),
            None => params.required("charge")?.to_owned(),
        };
        let of = self.find("charge", &charge, "charge")?.clone();
        let left = of["amount_captured"].as_i64().unwrap_or(0) - of["amount_refunded"].as_i64().unwrap_or(0);
        let amount = params.integer("amount")?.unwrap_or(left);
        if left == 0 || !(1..=left).contains(&amount) {
            return Err(Failure::invalid(format!("Charge {charge} has {left} left to refund."))
                .code("charge_already_refunded"));
        }
        let id = self.id("re");
        let mut refund = with_nulls(
            json!({
                "id": id, "object": "refund", "amount": amount, "charge": charge, "created": self.now_of(&of),
                "currency": of["currency"], "customer": of["customer"], "metadata": {},
                "payment_intent": of["payment_intent"], "payment_method": of["payment_method"],
                "reason": params.some("reason")?, "status": "succeeded",
            }),
            "balance_transaction customer_account receipt_number source_transfer_reversal transfer_reversal",
        );
        params.write_metadata(&mut refund)?;
        self.insert(refund);
        self.emit_of("refund.created", "refund", &id);
        self.edit_and_emit("charge.refunded", "charge", &charge, |one| {
            one["amount_refunded"] = (one["amount_refunded"].as_i64().unwrap_or(0) + amount).into();
            one["refunded"] = (amount == left).into();
        });
        self.reply("refund", &id)
    }

    /// Opens a dispute about a charge.
    pub(super) fn dispute(&mut self, charge: &str) -> Reply {
        let of = self.find("charge", charge, "charge")?.clone();
        let now = self.now_of(&of);
        let id = self.id("du");
        self.edit("charge", charge, |one| one["disputed"] = true.into());
        self.insert(with_nulls(
            json!({
                "id": id, "object": "dispute", "amount": of["amount"], "balance_transactions": [], "charge": charge,
                "created": now, "currency": of["currency"], "enhanced_eligibility_types": [], "evidence": {},
                "evidence_details": {
                    "due_by": now + 7 * DAY, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
                    "submission_count": 0,
                },
                "is_charge_refundable": true, "livemode": false, "metadata": {},
                "payment_intent": of["payment_intent"], "reason": "fraudulent", "status": "needs_response",
            }),
            "intended_submission_method",
        ));
        self.emit_of("charge.dispute.created", "dispute", &id);
        self.reply("dispute", &id)
    }

    /// A list of charges, payment intents or refunds.
    pub(super) fn list_payments(&self, kind: &str, url: &str, params: &Params) -> Reply {
        let patterns: Vec<&str> =
            PAGING.into_iter().chain(["customer", "payment_intent", "charge"]).collect();
        params.allow(&patterns)?;
        let mut filters = Vec::new();
        for key in ["customer", "payment_intent", "charge"] {
            filters.extend(params.some(key)?.map(|value| (key, value)));
        }
        page(self.all(kind), params, url, |one| filters.iter().all(|(key, value)| one[*key] == *value))
    }
}
