//! The HTML pages of checkout and portal. Every value is escaped, and nothing is loaded from elsewhere.

use std::fmt::Write as _;

use serde_json::Value;

use super::calendar::rfc3339;
use super::failure::Failure;
use super::state::State;
use super::subscriptions::items;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8888}\
*{box-sizing:border-box}\
body{font:1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:34rem;padding:1rem}\
.note{background:#fc03;border-radius:.5rem;padding:.5rem .75rem}\
section{border:1px solid var(--line);border-radius:.5rem;margin:1rem 0;padding:0 1rem 1rem}\
section.fake{border-style:dashed}\
h1{font-size:1.4rem}h2{font-size:1.1rem}\
table{border-collapse:collapse;width:100%}td,th{overflow-wrap:anywhere;padding:.25rem 0;text-align:left;vertical-align:top}\
td:last-child{text-align:right}\
button,select{font:inherit;margin:.25rem 0;min-height:2.75rem;padding:.5rem .75rem;width:100%}\
button{background:none;border:1px solid var(--line);border-radius:.5rem;color:inherit;cursor:pointer}\
button.main{background:#2557d6;border-color:#2557d6;color:#fff}\
button:focus-visible,a:focus-visible,select:focus-visible{outline:3px solid #f90}";

impl State {
    /// The page where a visitor pays.
    pub(super) fn checkout_page(&self, id: &str) -> Result<String, Failure> {
        let session = self.find("checkout.session", id, "id")?;
        let mut body = String::from("<h1>Checkout</h1>");
        rows(
            &mut body,
            self.line_items.get(id).into_iter().flatten().map(|item| {
                let name = item["description"].as_str().unwrap_or("Item");
                let quantity = item["quantity"].as_i64().unwrap_or(1);
                (format!("{name} × {quantity}"), money(&item["amount_total"], &item["currency"]))
            }),
        );
        let due = money(&session["amount_total"], &session["currency"]);
        if !session["amount_total"].is_null() {
            rows(&mut body, [("Due now".to_owned(), due)]);
        }
        if session["status"] == "open" {
            body.push_str("<form method=\"post\">");
            button(&mut body, "card", "Pay", true);
            button(&mut body, "later", "Pay with a card that will fail later", false);
            button(&mut body, "debit", "Pay by bank debit, which settles after three days", false);
            button(&mut body, "debit_fails", "Pay by bank debit, which fails after three days", false);
            button(&mut body, "cancel", "Cancel", false);
            body.push_str("</form>");
        } else {
            let status = session["status"].as_str().unwrap_or_default();
            let _ = write!(body, "<p>This checkout session is {}.</p>", escape(status));
        }
        Ok(html("Checkout", &body))
    }

    /// The page where a customer manages the subscription.
    pub(super) fn portal_page(&self, id: &str) -> Result<String, Failure> {
        let session = self.find("billing_portal.session", id, "id")?;
        let customer = session["customer"].as_str().unwrap_or_default();
        let mut body = String::from("<h1>Your subscription</h1>");
        if let Some(url) = session["return_url"].as_str() {
            let _ = write!(body, "<p><a href=\"{}\">Return to the application</a></p>", escape(url));
        }
        match self.live_subscription(customer) {
            Some(subscription) => self.subscription_box(&mut body, &self.copy("subscription", &subscription)),
            None => body.push_str("<p>There is no subscription.</p>"),
        }
        body.push_str("<section><h2>Card</h2><form method=\"post\">");
        button(&mut body, "card_good", "Use a card that pays", false);
        button(&mut body, "card_fails", "Use a card that fails", false);
        body.push_str("</form></section><section class=\"fake\"><h2>Clock</h2>");
        let now = rfc3339(self.now_of(session));
        let _ = write!(body, "<p>This box exists only in the fake. Its clock shows {}.</p>", escape(&now));
        body.push_str("<form method=\"post\">");
        button(&mut body, "advance_day", "Advance one day", false);
        button(&mut body, "advance_week", "Advance one week", false);
        button(&mut body, "advance_month", "Advance one month", false);
        body.push_str("</form></section>");
        Ok(html("Customer portal", &body))
    }

    fn subscription_box(&self, body: &mut String, subscription: &Value) {
        body.push_str("<section><h2>Plan</h2>");
        let time = |value: &Value| {
            value.as_i64().map_or_else(|| "none".to_owned(), |time| rfc3339(time)[..10].to_owned())
        };
        let item = items(subscription).first().cloned().unwrap_or_default();
        rows(
            body,
            [
                ("Price".to_owned(), self.price_name(&item["price"])),
                (
                    "Quantity".to_owned(),
                    item["quantity"].as_i64().map_or_else(|| "metered".to_owned(), |one| one.to_string()),
                ),
                ("Status".to_owned(), subscription["status"].as_str().unwrap_or_default().to_owned()),
                ("Period ends".to_owned(), time(&item["current_period_end"])),
                ("Ends".to_owned(), time(&subscription["cancel_at"])),
            ],
        );
        body.push_str("<form method=\"post\"><label>Another price <select name=\"price\">");
        for price in self.all("price") {
            if price["active"] == true && !price["recurring"].is_null() && price["id"] != item["price"]["id"]
            {
                let id = escape(price["id"].as_str().unwrap_or_default());
                let _ = write!(body, "<option value=\"{id}\">{}</option>", escape(&self.price_name(price)));
            }
        }
        body.push_str("</select></label>");
        button(body, "price", "Change to this price", false);
        body.push_str("</form><form method=\"post\">");
        if subscription["cancel_at"].is_null() {
            button(body, "cancel", "Cancel at the end of the period", false);
        } else {
            button(body, "keep", "Keep the subscription", true);
        }
        body.push_str("</form></section>");
    }

    fn price_name(&self, price: &Value) -> String {
        let product = self.copy("product", price["product"].as_str().unwrap_or_default());
        let name = price["nickname"].as_str().or(product["name"].as_str()).unwrap_or("Price");
        let interval = price["recurring"]["interval"].as_str().unwrap_or("once");
        format!("{name}, {} each {interval}", money(&price["unit_amount"], &price["currency"]))
    }
}

/// A page with this text only.
pub(super) fn message(text: &str) -> String {
    html("Fake Stripe", &format!("<h1>Fake Stripe</h1><p>{}</p>", escape(text)))
}

fn html(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><link rel=\"icon\" href=\"data:,\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><p class=\"note\">Fake Stripe for tests. No money moves.</p>\
         <main>{body}</main></body></html>"
    )
}

fn rows(body: &mut String, rows: impl IntoIterator<Item = (String, String)>) {
    body.push_str("<table>");
    for (name, value) in rows {
        let _ = write!(body, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(&name), escape(&value));
    }
    body.push_str("</table>");
}

fn button(body: &mut String, action: &str, label: &str, main: bool) {
    let class = if main { " class=\"main\"" } else { "" };
    let _ = write!(
        body,
        "<button{class} type=\"submit\" name=\"action\" value=\"{action}\">{}</button>",
        escape(label)
    );
}

fn money(amount: &Value, currency: &Value) -> String {
    let amount = amount.as_i64().unwrap_or_default();
    let currency = currency.as_str().unwrap_or_default().to_uppercase();
    format!("{}.{:02} {currency}", amount / 100, (amount % 100).abs())
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
