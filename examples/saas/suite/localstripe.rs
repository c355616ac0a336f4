//! localstripe, which others wrote, delivers a purchase and its cancellation.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use saas::AppDb;
use serde_json::{Value, json};

use super::common::TestBackend;
use super::http::{Request, delete, form};
use super::{WEBHOOK_SECRET, sdk, start};

/// A running localstripe, ended by its process id.
struct LocalStripe {
    process: Child,
    at: SocketAddr,
}

impl Drop for LocalStripe {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl LocalStripe {
    fn start() -> Self {
        let mut process = sdk::python(include_str!("localstripe.py"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("localstripe prints its port");
        Self { process, at: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    async fn send(&self, request: Request) -> Value {
        // The key `sk_test_x` and no password.
        let response = request.header("authorization", "Basic c2tfdGVzdF94Og==").send(self.at).await;
        assert_eq!(response.status, 200, "{response:?}");
        if response.body.is_empty() { json!(null) } else { response.json() }
    }

    async fn create(&self, path: &str, fields: &str) -> String {
        let created = self.send(form(path, fields)).await;
        created["id"].as_str().unwrap_or_else(|| panic!("{path}: {created}")).to_owned()
    }
}

async fn localstripe_delivers_a_purchase_and_its_end<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let globex = app.tenant("globex").await;
    let stripe = LocalStripe::start();
    let hook = format!("url=http://{}/webhooks/stripe&secret={WEBHOOK_SECRET}", app.at);
    let configured = form("/_config/webhooks/app", hook).send(stripe.at).await;
    assert_eq!(configured.status, 200, "{configured:?}");
    let product = stripe.create("/v1/products", "name=Pro&type=service").await;
    // Its API is of 2017: a subscription has a plan, whose id is in the catalog.
    let plan = format!("id=price_pro_monthly&product={product}&amount=2900&currency=eur&interval=month");
    stripe.create("/v1/plans", &plan).await;
    let customer = stripe.create("/v1/customers", "email=buyer@example.com").await;
    let card = "type=card&card[number]=4242424242424242&card[exp_month]=12&card[exp_year]=2040&card[cvc]=123";
    let method = stripe.create("/v1/payment_methods", card).await;
    stripe.create(&format!("/v1/payment_methods/{method}/attach"), &format!("customer={customer}")).await;
    let default = format!("invoice_settings[default_payment_method]={method}");
    stripe.create(&format!("/v1/customers/{customer}"), &default).await;

    let subscription =
        format!("customer={customer}&items[0][plan]=price_pro_monthly&metadata[tenant_id]={}", app.acme.id);
    let subscription = stripe.create("/v1/subscriptions", &subscription).await;
    app.becomes("acme", "pro", "active").await;
    stripe.send(delete(format!("/v1/subscriptions/{subscription}"))).await;
    app.becomes("acme", "free", "active").await;
    assert_eq!(app.tenant("globex").await, globex);
}

on_every_database!(localstripe_delivers_a_purchase_and_its_end);
