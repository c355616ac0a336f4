//! Invoices: drafts, finalization, and what the API does with them.

use serde_json::{Value, json};

use super::failure::{Failure, Reply};
use super::lists::{PAGING, page, whole};
use super::params::Params;
use super::state::{State, with_nulls};

impl State {
    /// Creates the draft of an invoice for a subscription, with the lines that wait for it.
    pub(super) fn draft(&mut self, subscription: &str, reason: &str, mut lines: Vec<Value>) -> String {
        let of = self.copy("subscription", subscription);
        if let Some(waiting) = self.pending_lines.remove(subscription) {
            lines.extend(waiting);
        }
        let parent = json!({
            "type": "subscription_details", "quote_details": null,
            "subscription_details": { "subscription": subscription, "metadata": of["metadata"] },
        });
        let id = self.new_invoice(&of["customer"], &of["currency"], reason, &parent, lines);
        let now = self.now_of(&of);
        let collected = of["pause_collection"].is_null() && of["status"] != "unpaid";
        self.edit("invoice", &id, |invoice| {
            invoice["default_payment_method"] = of["default_payment_method"].clone();
            invoice["auto_advance"] = collected.into();
            invoice["automatically_finalizes_at"] =
                if collected { Self::draft_end(now).into() } else { Value::Null };
        });
        self.emit_of("invoice.created", "invoice", &id);
        match of["pause_collection"]["behavior"].as_str() {
            Some("void") => self.close_invoice(&id, "void", "invoice.voided"),
            Some("mark_uncollectible") => {
                self.close_invoice(&id, "uncollectible", "invoice.marked_uncollectible");
            }
            _ => {}
        }
        id
    }

    pub(super) fn new_invoice(
        &mut self,
        customer: &Value,
        currency: &Value,
        reason: &str,
        parent: &Value,
        mut lines: Vec<Value>,
    ) -> String {
        let id = self.id("in");
        for line in &mut lines {
            line["invoice"] = id.as_str().into();
        }
        let payer = self.copy("customer", customer.as_str().unwrap_or_default());
        let now = self.now(payer["test_clock"].as_str());
        let amount = |line: &Value| line["amount"].as_i64().unwrap_or_default();
        let total: i64 = lines.iter().map(amount).sum();
        let period = |end: &str, times: &mut dyn Iterator<Item = i64>| {
            if end == "start" { times.min() } else { times.max() }.unwrap_or(now)
        };
        let mut starts = lines.iter().filter_map(|line| line["period"]["start"].as_i64());
        let start = period("start", &mut starts);
        let mut ends = lines.iter().filter_map(|line| line["period"]["end"].as_i64());
        let end = period("end", &mut ends);
        let mut invoice = json!({
            "id": id, "object": "invoice", "account_country": "US", "account_name": "Fake Stripe",
            "amount_due": total.max(0), "amount_overpaid": 0, "amount_paid": 0, "amount_remaining": total.max(0),
            "amount_shipping": 0, "attempt_count": 0, "attempted": false, "auto_advance": true,
            "billing_reason": reason, "collection_method": "charge_automatically", "created": now,
            "currency": currency, "customer": customer, "customer_tax_exempt": "none", "customer_tax_ids": [],
            "default_tax_rates": [], "discounts": [], "livemode": false, "metadata": {}, "parent": parent,
            "period_start": start, "period_end": end, "post_payment_credit_notes_amount": 0,
            "pre_payment_credit_notes_amount": 0, "starting_balance": 0, "status": "draft", "subtotal": total,
            "subtotal_excluding_tax": total, "total": total, "total_discount_amounts": [],
            "total_excluding_tax": total, "total_pretax_credit_amounts": [], "total_taxes": [],
        });
        let details = json!({
            "automatic_tax": with_nulls(json!({ "enabled": false }), "disabled_reason liability provider status"),
            "customer_email": payer["email"], "customer_name": payer["name"], "customer_phone": payer["phone"],
            "issuer": { "type": "self" }, "lines": whole(&lines, &format!("/v1/invoices/{id}/lines")),
            "payment_settings": with_nulls(
                json!({}), "default_mandate payment_method_options payment_method_types"),
            "payments": whole(&[], &format!("/v1/invoice_payments?invoice={id}")),
            "status_transitions": with_nulls(
                json!({}), "finalized_at marked_uncollectible_at paid_at voided_at"),
            "test_clock": payer["test_clock"],
        });
        for (key, value) in details.as_object().into_iter().flatten() {
            invoice[key] = value.clone();
        }
        self.insert(with_nulls(
            invoice,
            "account_tax_ids application automatically_finalizes_at custom_fields customer_account \
             customer_address customer_shipping default_payment_method default_source description due_date \
             effective_at ending_balance footer from_invoice hosted_invoice_url invoice_pdf last_finalization_error latest_revision \
             next_payment_attempt number on_behalf_of receipt_number rendering shipping_cost shipping_details \
             statement_descriptor webhooks_delivered_at",
        ))
    }

    /// Makes a draft final. A credit goes to the customer's balance, which also pays a part of what is due.
    pub(super) fn finalize(&mut self, id: &str) {
        let invoice = self.copy("invoice", id);
        if invoice["status"] != "draft" {
            return;
        }
        let customer = invoice["customer"].as_str().unwrap_or_default().to_owned();
        let payer = self.copy("customer", &customer);
        let balance = payer["balance"].as_i64().unwrap_or_default();
        let total = invoice["total"].as_i64().unwrap_or_default();
        let due = (total + balance).max(0);
        let left = if due > 0 { 0 } else { total + balance };
        let sequence = payer["next_invoice_sequence"].as_i64().unwrap_or(1);
        let number = format!("{}-{sequence:04}", payer["invoice_prefix"].as_str().unwrap_or("FAKE"));
        self.edit("customer", &customer, |one| {
            one["next_invoice_sequence"] = (sequence + 1).into();
            one["balance"] = left.into();
        });
        let now = self.now_of(&invoice);
        self.edit("invoice", id, |one| {
            one["status"] = "open".into();
            one["number"] = number.into();
            one["starting_balance"] = balance.into();
            one["ending_balance"] = left.into();
            one["amount_due"] = due.into();
            one["amount_remaining"] = due.into();
            one["effective_at"] = now.into();
            one["automatically_finalizes_at"] = Value::Null;
            one["status_transitions"]["finalized_at"] = now.into();
        });
        self.emit_of("invoice.finalized", "invoice", id);
    }

    pub(super) fn close_invoice(&mut self, id: &str, status: &str, event: &str) {
        let now = self.now_of(&self.copy("invoice", id));
        let field = if status == "void" { "voided_at" } else { "marked_uncollectible_at" };
        self.edit_and_emit(event, "invoice", id, |one| {
            one["status"] = status.into();
            one["auto_advance"] = false.into();
            one["automatically_finalizes_at"] = Value::Null;
            one["next_payment_attempt"] = Value::Null;
            one["status_transitions"][field] = now.into();
        });
    }

    pub(super) fn pay_by_api(&mut self, id: &str, params: &Params) -> Reply {
        params.allow(&["payment_method", "paid_out_of_band", "off_session", "forgive"])?;
        let invoice = self.find("invoice", id, "id")?.clone();
        match invoice["status"].as_str() {
            Some("paid") => {
                return Err(Failure::invalid("Invoice is already paid").code("invoice_already_paid"));
            }
            Some("void") => {
                return Err(
                    Failure::invalid("Invoice is void and cannot be paid.").code("invoice_not_editable")
                );
            }
            _ => {}
        }
        let customer = invoice["customer"].as_str().unwrap_or_default();
        let method = match params.some("payment_method")? {
            Some(name) => Some(self.attach(name, customer, "payment_method")?),
            None => None,
        };
        self.finalize(id);
        if params.flag("paid_out_of_band")? == Some(true) {
            self.mark_paid(id, None);
        } else {
            if method.is_none()
                && self.payer(&self.copy("invoice", id)).is_none()
                && invoice["amount_due"] != 0
            {
                let message = "There is no `default_payment_method` set on this Customer or Invoice.";
                return Err(Failure::invalid(message).code("invoice_no_payment_method_types"));
            }
            if !self.collect(id, method) {
                return Err(Failure::declined());
            }
        }
        self.reply("invoice", id)
    }

    pub(super) fn void_by_api(&mut self, id: &str, status: &str) -> Reply {
        if self.find("invoice", id, "id")?["status"] != "open" {
            return Err(
                Failure::invalid("You can only do this with an open invoice.").code("invoice_not_editable")
            );
        }
        let event = if status == "void" { "invoice.voided" } else { "invoice.marked_uncollectible" };
        self.close_invoice(id, status, event);
        self.reply("invoice", id)
    }

    pub(super) fn list_invoices(&self, params: &Params) -> Reply {
        let patterns: Vec<&str> = PAGING.into_iter().chain(["customer", "subscription", "status"]).collect();
        params.allow(&patterns)?;
        let (customer, subscription) = (params.some("customer")?, params.some("subscription")?);
        let status = params.some("status")?;
        page(self.all("invoice"), params, "/v1/invoices", |one| {
            customer.is_none_or(|customer| one["customer"] == customer)
                && subscription.is_none_or(|id| subscription_of(one) == Some(id))
                && status.is_none_or(|status| one["status"] == status)
        })
    }
}

/// The subscription that an invoice is for.
pub(super) fn subscription_of(invoice: &Value) -> Option<&str> {
    invoice["parent"]["subscription_details"]["subscription"].as_str()
}

/// A line of an invoice for an item of a subscription.
pub(super) fn line(id: &str, item: &Value, amount: i64, period: (i64, i64), proration: bool) -> Value {
    let (subscription, price) = (&item["subscription"], &item["price"]);
    let parent = if proration {
        json!({
            "type": "invoice_item_details", "subscription_item_details": null,
            "invoice_item_details": {
                "invoice_item": id.replace("il_", "ii_"), "proration": true,
                "proration_details": { "credited_items": null }, "subscription": subscription,
            },
        })
    } else {
        json!({
            "type": "subscription_item_details", "invoice_item_details": null,
            "subscription_item_details": {
                "invoice_item": null, "proration": false, "proration_details": { "credited_items": null },
                "subscription": subscription, "subscription_item": item["id"],
            },
        })
    };
    json!({
        "id": id, "object": "line_item", "amount": amount, "currency": price["currency"],
        "description": format!("{} x {}", item["quantity"].as_i64().unwrap_or(1), price["id"].as_str().unwrap_or("price")),
        "discount_amounts": [], "discountable": !proration, "discounts": [], "invoice": null, "livemode": false,
        "metadata": {}, "parent": parent, "period": { "start": period.0, "end": period.1 },
        "pretax_credit_amounts": [], "quantity": item.get("quantity").cloned().unwrap_or(1.into()),
        "quantity_decimal": item["quantity"].as_i64().unwrap_or(1).to_string(), "subscription": subscription,
        "subtotal": amount, "taxes": [],
        "pricing": {
            "type": "price_details", "unit_amount_decimal": price["unit_amount_decimal"],
            "price_details": { "price": price["id"], "product": price["product"] },
        },
    })
}
