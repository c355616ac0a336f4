//! The server is killed in the middle of a hundred writes: every row that is there has its audit event and its
//! place in the plan, and every answer that was given is true. Whoever takes this in says, as `PROGRAM`, which program it is.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test looks at the rows from outside of every wall"
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

/// Starts the program itself, on a port of its own choice.
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
        while let Some(line) = lines.next_line().await.expect("the program speaks") {
            if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                return rest.trim_end_matches('/').parse::<u16>().expect("a port");
            }
        }
        panic!("the program ended before it listened");
    });
    let port = port.await.expect("the program listens within a minute");
    (child, SocketAddr::from(([127, 0, 0, 1], port)))
}

async fn globex(at: SocketAddr) -> String {
    get("/demo/tenants").send(at).await.json()[1]["token"].as_str().unwrap().to_owned()
}

struct Stand {
    orders: Vec<String>,
    created: Vec<String>,
    used: u64,
}

fn texts(items: &Value, of: fn(&Value) -> &Value) -> Vec<String> {
    items["items"].as_array().unwrap().iter().map(|item| of(item).as_str().unwrap().to_owned()).collect()
}

async fn stand(at: SocketAddr, token: &str) -> Stand {
    let orders = get("/api/orders?limit=1000").token(token).send(at).await.json();
    let mut trail = get("/api/audit?limit=1000").token(token).send(at).await.json();
    trail["items"].as_array_mut().unwrap().retain(|event| event["action"] == "order.create");
    let usage = get("/api/usage").token(token).send(at).await.json();
    Stand {
        orders: texts(&orders, |order| &order["id"]),
        created: texts(&trail, |event| &event["target"]["id"]),
        used: usage["gauges"][1]["used"].as_u64().unwrap(),
    }
}

async fn what_was_written_before_the_kill_is_whole<DB: AppDb + TestBackend>() {
    let (url, _cleanup) = DB::fresh_url().await;
    let (mut server, at) = start(&url).await;
    let token = globex(at).await;
    let seeded = stand(at, &token).await.orders;
    let project = get("/api/projects").token(&token).send(at).await.json()["items"][0]["id"].clone();

    let answered = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..10)
        .map(|writer| {
            let (token, project, answered) = (token.clone(), project.clone(), answered.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0..10 {
                    let title = format!("order {writer}.{n}");
                    let order = json!({ "project_id": project, "title": title, "amount_cents": n });
                    let Some(answer) = post("/api/orders", order).token(&token).try_send(at).await else {
                        break;
                    };
                    assert_eq!(answer.status, 201, "{answer:?}");
                    acknowledged.push(answer.json()["id"].as_str().unwrap().to_owned());
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                acknowledged
            })
        })
        .collect();
    timeout(Duration::from_mins(1), async {
        while answered.load(Ordering::SeqCst) < 40 {
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
    assert!((40..100).contains(&acknowledged.len()), "the kill came in the middle: {}", acknowledged.len());

    let (_server, at) = start(&url).await;
    let token = globex(at).await;
    // The database may still be finishing what the server had sent; what it shows must be whole at any moment.
    let stand = timeout(Duration::from_mins(1), async {
        loop {
            let (first, second) = (stand(at, &token).await, stand(at, &token).await);
            if first.orders == second.orders {
                return first;
            }
        }
    })
    .await
    .expect("the database comes to rest within a minute");
    let mut written: Vec<&String> = stand.orders.iter().filter(|id| !seeded.contains(id)).collect();
    let mut created: Vec<&String> = stand.created.iter().collect();
    written.sort();
    created.sort();
    assert_eq!(written, created, "as many audit events as rows, each about one of them");
    assert_eq!(stand.used, stand.orders.len() as u64, "as many places taken as rows");
    for id in &acknowledged {
        assert!(written.contains(&id), "an order that was answered with 201 is lost");
    }
}

on_every_database!(what_was_written_before_the_kill_is_whole);
