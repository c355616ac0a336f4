//! A tenant buys a plan on the pages of the fake Stripe, fails to pay, is suspended, pays, and cancels.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use saas::AppDb;
use serde_json::{Value, json};

use super::common::TestBackend;
use super::http::{Response, form, get, post};
use super::{Running, start};

/// The host and the path of a URL.
fn split(url: &str) -> (SocketAddr, String) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    (host.parse().unwrap(), format!("/{path}"))
}

/// Opens a page of the fake Stripe.
async fn open(url: &str) -> String {
    let (host, path) = split(url);
    let page = get(path).send(host).await;
    assert_eq!(page.status, 200, "{page:?}");
    page.body
}

/// Clicks a button of a page, and returns where the browser goes.
async fn click(url: &str, fields: &str) -> Response {
    let (host, path) = split(url);
    assert!(open(url).await.contains("<form"), "{url}");
    form(path, fields).send(host).await
}

impl Running {
    async fn bill(&self, slug: &str, action: &str, price: Option<&str>) -> Response {
        post("/demo/billing", json!({ "slug": slug, "action": action, "price": price })).send(self.at).await
    }

    async fn url(&self, slug: &str, action: &str, price: Option<&str>) -> String {
        let response = self.bill(slug, action, price).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["url"].as_str().unwrap().to_owned()
    }

    /// Waits until the webhook has brought this plan and status.
    pub(super) async fn becomes(&self, slug: &str, plan: &str, status: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let now = self.tenant(slug).await;
            if now == (plan.to_owned(), status.to_owned()) {
                return;
            }
            assert!(Instant::now() < deadline, "{slug} is {now:?}, not {plan} and {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn location(response: &Response) -> &str {
    assert_eq!(response.status, 303, "{response:?}");
    response.headers.iter().find_map(|header| header.strip_prefix("location: ")).unwrap()
}

async fn a_tenant_buys_fails_recovers_and_cancels_over_the_pages<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let others = app.shown("globex").await;
    assert_eq!(app.bill("acme", "portal", None).await.problem(), (404, "not-found".to_owned()));
    assert_eq!(app.bill("nobody", "portal", None).await.problem(), (404, "not-found".to_owned()));
    assert_eq!(app.bill("acme", "checkout", None).await.problem(), (400, "invalid-input".to_owned()));
    assert_eq!(app.bill("acme", "checkout", Some("no_such_price")).await.status, 404);

    // Upgrade. The page that the customer comes back to does not wait for the webhook.
    let checkout = app.url("acme", "checkout", Some("pro_monthly")).await;
    let newer = app.url("acme", "checkout", Some("pro_monthly")).await;
    let expired = click(&newer, "action=card").await;
    let back = format!("http://{}/?tenant=acme&from=checkout", app.at);
    assert_eq!(location(&expired), back);
    let synced = app.bill("acme", "sync", None).await;
    assert_eq!(synced.json(), json!({ "plan": "pro", "status": "active" }));
    assert_eq!(get("/api/orders/export").token(&app.acme.token).send(app.at).await.status, 200);
    // Only the newer checkout could be paid, and now there is no second one.
    let (host, path) = split(&checkout);
    let late = form(path, "action=card").send(host).await;
    assert_ne!(late.status, 303, "an expired checkout cannot be paid");
    let second = app.bill("acme", "checkout", Some("pro_monthly")).await;
    assert_eq!(second.problem(), (409, "conflict".to_owned()));
    assert_eq!(app.shown("acme").await["subscription"]["status"], "active");

    // The renewal fails: past due, still served. After the last attempt: suspended.
    let portal = app.url("acme", "portal", None).await;
    assert!(open(&portal).await.contains("Advance one month"));
    click(&portal, "action=card_fails").await;
    click(&portal, "action=advance_month").await;
    app.becomes("acme", "pro", "past_due").await;
    assert_eq!(get("/api/projects").token(&app.acme.token).send(app.at).await.status, 200);
    for _ in 0..3 {
        click(&portal, "action=advance_week").await;
    }
    app.becomes("acme", "pro", "suspended").await;
    let rejected = get("/api/projects").token(&app.acme.token).send(app.at).await;
    assert_eq!(rejected.problem(), (403, "tenant-suspended".to_owned()));

    // A suspended tenant opens the portal and pays.
    let portal = app.url("acme", "portal", None).await;
    click(&portal, "action=card_good").await;
    app.becomes("acme", "pro", "active").await;
    assert_eq!(get("/api/projects").token(&app.acme.token).send(app.at).await.status, 200);

    // It changes the plan, cancels, and is on the free plan after the period.
    let page = open(&portal).await;
    let price = page.split("<option value=\"").nth(1).unwrap().split('"').next().unwrap();
    click(&portal, &format!("action=price&price={price}")).await;
    app.becomes("acme", "enterprise", "active").await;
    click(&portal, "action=cancel").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while app.shown("acme").await["subscription"]["ends"] == Value::Null {
        assert!(Instant::now() < deadline, "the cancellation did not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..13 {
        click(&portal, "action=advance_month").await;
    }
    app.becomes("acme", "free", "active").await;
    assert_eq!(app.shown("acme").await["subscription"], Value::Null);
    let now = app.shown("globex").await;
    assert_eq!(now, with_token(&others, &now));
}

/// The tenant with the token of `now`: tokens differ by their time.
fn with_token(tenant: &Value, now: &Value) -> Value {
    let mut tenant = tenant.clone();
    tenant["token"] = now["token"].clone();
    tenant
}

async fn a_purchase_of_an_earlier_run_has_ended<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let checkout = app.url("acme", "checkout", Some("pro_monthly")).await;
    click(&checkout, "action=card").await;
    assert_eq!(app.bill("acme", "sync", None).await.json()["plan"], "pro");
    // The fake Stripe of the second run is empty.
    let second = Running { at: super::super::serve::<DB>(&app.settings).await, ..app };
    second.becomes("acme", "free", "active").await;
    let checkout = second.url("acme", "checkout", Some("enterprise_yearly")).await;
    click(&checkout, "action=card").await;
    assert_eq!(second.bill("acme", "sync", None).await.json()["plan"], "enterprise");
}

on_every_database!(
    a_tenant_buys_fails_recovers_and_cancels_over_the_pages,
    a_purchase_of_an_earlier_run_has_ended,
);
