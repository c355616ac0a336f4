//! The server is killed during a hundred writes, and again and again during webhooks. Afterwards every row has its audit
//! event and is counted by its gauge, every acknowledged write is stored, and every event of Stripe was applied once. The
//! including test defines `PROGRAM`, the path of the program.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test reads the rows without a tenant scope"
)]

#[path = "../../../tests/fixture/common.rs"]
#[macro_use]
mod common;
mod http;

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::TestBackend;
use http::{form, get, post};
use saas::AppDb;
use serde_json::{Value, json};
use tenancy::billing::stripe::StripeClient;
use tenancy::testing::{FakeStripe, FakeStripeOptions};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// Starts the program on a free port, which it chooses.
async fn start(database_url: &str) -> (Child, SocketAddr) {
    start_with(database_url, &[("PORT", "0")]).await
}

async fn start_with(database_url: &str, variables: &[(&str, &str)]) -> (Child, SocketAddr) {
    let mut child = Command::new(super::PROGRAM)
        .env("DATABASE_URL", database_url)
        .envs(variables.iter().copied())
        .env("JWT_SECRET", SECRET)
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = timeout(Duration::from_mins(1), async {
        while let Some(line) = lines.next_line().await.expect("the output of the program is readable") {
            if let Some((_, port)) = line.split_once("http://127.0.0.1:") {
                return port.trim_end_matches('/').parse::<u16>().expect("a port");
            }
        }
        panic!("the program ended before it listened");
    });
    let port = port.await.expect("the program listens within a minute");
    (child, SocketAddr::from(([127, 0, 0, 1], port)))
}

async fn globex_token(at: SocketAddr) -> String {
    get("/demo/tenants").send(at).await.json()[1]["token"].as_str().unwrap().to_owned()
}

/// What the API returns about a tenant's orders.
struct Snapshot {
    orders: Vec<String>,
    created: Vec<String>,
    used: u64,
}

fn texts(page: &Value, field: fn(&Value) -> &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| field(item).as_str().unwrap().to_owned()).collect()
}

async fn snapshot(at: SocketAddr, token: &str) -> Snapshot {
    let orders = get("/api/orders?limit=1000").token(token).send(at).await.json();
    let mut events = get("/api/audit?limit=1000").token(token).send(at).await.json();
    events["items"].as_array_mut().unwrap().retain(|event| event["action"] == "order.create");
    let usage = get("/api/usage").token(token).send(at).await.json();
    Snapshot {
        orders: texts(&orders, |order| &order["id"]),
        created: texts(&events, |event| &event["target"]["id"]),
        used: usage["gauges"][1]["used"].as_u64().unwrap(),
    }
}

async fn writes_before_a_kill_are_complete<DB: AppDb + TestBackend>() {
    let (url, _cleanup) = DB::fresh_url().await;
    let (mut server, at) = start(&url).await;
    let token = globex_token(at).await;
    let seeded = snapshot(at, &token).await.orders;
    let project = get("/api/projects").token(&token).send(at).await.json()["items"][0]["id"].clone();

    let acknowledgements = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..10)
        .map(|writer| {
            let (token, project, acknowledgements) =
                (token.clone(), project.clone(), acknowledgements.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0..10 {
                    let title = format!("order {writer}.{n}");
                    let order = json!({ "project_id": project, "title": title, "amount_cents": n });
                    let Some(response) = post("/api/orders", order).token(&token).try_send(at).await else {
                        break;
                    };
                    assert_eq!(response.status, 201, "{response:?}");
                    acknowledged.push(response.json()["id"].as_str().unwrap().to_owned());
                    acknowledgements.fetch_add(1, Ordering::SeqCst);
                }
                acknowledged
            })
        })
        .collect();
    timeout(Duration::from_mins(1), async {
        while acknowledgements.load(Ordering::SeqCst) < 40 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("forty writes within a minute");
    server.kill().await.expect("SIGKILL");
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(
        (40..100).contains(&acknowledged.len()),
        "the server must be killed during the writes: {}",
        acknowledged.len()
    );

    let (_server, at) = start(&url).await;
    let token = globex_token(at).await;
    // The database may still commit what the server had sent; each snapshot must be consistent.
    let snapshot = timeout(Duration::from_mins(1), async {
        loop {
            let (first, second) = (snapshot(at, &token).await, snapshot(at, &token).await);
            if first.orders == second.orders {
                return first;
            }
        }
    })
    .await
    .expect("the orders stop changing within a minute");
    let mut written: Vec<&String> = snapshot.orders.iter().filter(|id| !seeded.contains(id)).collect();
    let mut created: Vec<&String> = snapshot.created.iter().collect();
    written.sort();
    created.sort();
    assert_eq!(written, created, "each order has one audit event");
    assert_eq!(snapshot.used, snapshot.orders.len() as u64, "the gauge counts each order");
    for id in &acknowledged {
        assert!(written.contains(&id), "an acknowledged order is lost");
    }
}

/// What the page shows of a tenant.
async fn shown(at: SocketAddr, slug: &str) -> Option<Value> {
    let tenants = get("/demo/tenants").try_send(at).await?.json();
    tenants.as_array()?.iter().find(|tenant| tenant["slug"] == slug).cloned()
}

/// Clicks on a page of the fake Stripe, and returns the page.
async fn click(url: &str, fields: &str) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let (host, path) = (host.parse().unwrap(), format!("/{path}"));
    let clicked = form(path.clone(), fields).send(host).await;
    assert!(matches!(clicked.status, 200 | 303), "{clicked:?}");
    if fields.ends_with("card") { String::new() } else { get(path).send(host).await.body }
}

async fn webhooks_across_kills_are_applied_once<DB: AppDb + TestBackend>() {
    let (url, _cleanup) = DB::fresh_url().await;
    let options = FakeStripeOptions::new().duplicates(1).attempts(1_000, Duration::from_millis(20));
    let stripe = FakeStripe::start(options).await.unwrap();
    saas::sell(&StripeClient::with_url("sk_test_crash", stripe.url()).unwrap()).await.unwrap();
    let (mut server, at) = start_with(
        &url,
        &[
            ("PORT", "0"),
            ("STRIPE_SECRET_KEY", "sk_test_crash"),
            ("STRIPE_API_URL", stripe.url()),
            ("STRIPE_WEBHOOK_SECRET", "whsec_crash"),
        ],
    )
    .await;
    let port = at.port().to_string();
    stripe.webhook(&format!("http://{at}/webhooks/stripe"), "whsec_crash");
    let bill = async |slug: &str, action: &str| {
        let body = json!({ "slug": slug, "action": action, "price": "pro_monthly" });
        post("/demo/billing", body).send(at).await.json()["url"].as_str().unwrap().to_owned()
    };
    let mut portals = Vec::new();
    for slug in ["acme", "globex"] {
        click(&bill(slug, "checkout").await, "action=card").await;
        portals.push(bill(slug, "portal").await);
    }
    // Each round changes the plan of both tenants, and kills the server at another moment of the deliveries.
    for round in 0..8_u32 {
        for portal in &portals {
            let page = click(portal, "action=keep").await;
            let price = page.split("<option value=\"").nth(1).unwrap().split('"').next().unwrap();
            click(portal, &format!("action=price&price={price}")).await;
        }
        let moment = std::time::Instant::now() + Duration::from_millis(u64::from(round) * 7);
        while std::time::Instant::now() < moment {
            tokio::task::yield_now().await;
        }
        server.kill().await.expect("SIGKILL");
        (server, _) = start_with(
            &url,
            &[
                ("PORT", &port),
                ("STRIPE_SECRET_KEY", "sk_test_crash"),
                ("STRIPE_API_URL", stripe.url()),
                ("STRIPE_WEBHOOK_SECRET", "whsec_crash"),
            ],
        )
        .await;
    }
    stripe.settle().await.unwrap();
    for (slug, portal) in [("acme", &portals[0]), ("globex", &portals[1])] {
        let page = click(portal, "action=keep").await;
        let other = page.split("<option value=").nth(1).unwrap();
        let plan = if other.contains("Enterprise") { "pro" } else { "enterprise" };
        stripe.settle().await.unwrap();
        let tenant = shown(at, slug).await.unwrap();
        assert_eq!((&tenant["plan"], &tenant["status"]), (&json!(plan), &json!("active")), "{slug}");
        let token = tenant["token"].as_str().unwrap();
        let events = get("/api/audit?limit=1000").token(token).send(at).await.json();
        // An event is in the log once, although each is delivered at least twice.
        let mut recorded: Vec<&str> = events["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|event| event["details"]["event"].as_str().filter(|id| id.starts_with("evt_")))
            .collect();
        let count = recorded.len();
        recorded.sort_unstable();
        recorded.dedup();
        assert_eq!(recorded.len(), count, "{slug}: an event was applied twice");
        // Each round makes an invoice.
        assert!(count > 8, "{slug}: {count} events");
    }
}

on_every_database!(writes_before_a_kill_are_complete, webhooks_across_kills_are_applied_once);
