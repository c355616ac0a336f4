//! The server is killed during a hundred writes. Afterwards every row has its audit event and is counted by its
//! gauge, and every acknowledged write is stored. The including test defines `PROGRAM`, the path of the program.
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
use http::{get, post};
use saas::AppDb;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// Starts the program on a free port, which it chooses.
async fn start(database_url: &str) -> (Child, SocketAddr) {
    let mut child = Command::new(super::PROGRAM)
        .env("DATABASE_URL", database_url)
        .env("PORT", "0")
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

on_every_database!(writes_before_a_kill_are_complete);
