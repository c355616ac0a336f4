//! The operator's page in Chromium, at the width of a phone: it is used with its own form and buttons.
//!
//! Chromium reaches the application through a proxy of this test, which adds a script to the page. The script uses the
//! page as a person does, and posts what it found to the proxy.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use saas::AppDb;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::common::TestBackend;
use super::http::get;
use super::moves::own_kind;
use super::third_tenant::third;
use super::{OPERATOR_TOKEN, start_as};

const SCRIPT: &str = include_str!("browser.js");
/// CSS pixels: the narrowest phones in use.
const WIDTH: u32 = 360;

const NO_CHROMIUM: &str = "this test needs Chromium. Run `scripts/test`, which installs it; or install it (`apt-get install \
    chromium-headless-shell`), and set TEST_CHROMIUM=/usr/bin/chromium-headless-shell";

fn chromium(url: &str, profile: &std::path::Path) -> Child {
    let program = std::env::var("TEST_CHROMIUM").unwrap_or_else(|_| panic!("{NO_CHROMIUM}"));
    Command::new(program)
        // The page comes from this test. Chromium's sandbox does not start as root.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        // It reaches this machine only.
        .args(["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={WIDTH},800"))
        // Keeps it running after the page is loaded.
        .args(["--remote-debugging-port=0", url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|e| panic!("{NO_CHROMIUM}\n({e})"))
}

/// A proxy in front of the application. It adds the script to each page, and sends on what the script posts.
async fn proxy(to: SocketAddr, script: String) -> (SocketAddr, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (sender, results) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(relay(client, to, script.clone(), sender.clone()));
        }
    });
    (at, results)
}

async fn relay(
    mut client: TcpStream,
    to: SocketAddr,
    script: String,
    results: mpsc::UnboundedSender<Value>,
) -> std::io::Result<()> {
    let Some((head, body)) = read_request(&mut client).await? else { return Ok(()) };
    if head.starts_with("POST /test/result ") {
        // The test may have ended.
        let _ = results.send(serde_json::from_slice(&body).unwrap());
        return client.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    }
    let mut server = TcpStream::connect(to).await?;
    let head = without(&head, "connection:");
    server.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    server.write_all(&body).await?;
    let mut response = Vec::new();
    server.read_to_end(&mut response).await?;
    let text = String::from_utf8(response).expect("the application sends text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a response has a head");
    if !head.to_ascii_lowercase().contains("content-type: text/html") {
        return client.write_all(text.as_bytes()).await;
    }
    let body = body.replacen("</body>", &format!("<script>{script}</script></body>"), 1);
    let head = without(head, "content-length:");
    client.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await
}

/// The head of a request or a response without a header.
fn without(head: &str, header: &str) -> String {
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with(header));
    kept.collect::<Vec<_>>().join("\r\n")
}

/// Reads a request: its head without the empty line, and its body. `None` if the client sends none.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length.unwrap_or(0) {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, body)))
}

async fn an_operator_suspends_and_moves_tenants_on_a_phone<DB: AppDb + TestBackend>() {
    let app = start_as::<DB>(true).await;
    third(app.at).await;
    let own_place = json!({ "kind": own_kind(&app), "name": "t_0198a00000007000800000000000000b" });
    app.leave_a_move(&app.globex.id, &json!({ "kind": "shared" }), &own_place).await;
    let script =
        SCRIPT.replace("TOKEN", &json!(OPERATOR_TOKEN).to_string()).replace("WIDTH", &WIDTH.to_string());
    let (at, mut results) = proxy(app.at, script).await;
    let profile = tempfile::tempdir().unwrap();
    let mut browser = chromium(&format!("http://{at}/operator"), profile.path());
    let mut seen = Vec::new();
    let found = timeout(Duration::from_mins(1), async {
        while let Some(result) = results.recv().await {
            seen.push(result.clone());
            assert_eq!(result["errors"], json!([]), "{result}");
            if result["phase"] == "end" {
                return result;
            }
        }
        panic!("the proxy ended");
    });
    let found = found.await.unwrap_or_else(|_| panic!("the page did not come to its end: {seen:?}"));
    browser.kill().await.unwrap();
    let phases: Vec<_> = seen.iter().map(|result| result["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["sign-in", "wrong", "page", "end"], "{seen:?}");
    assert!(found["targets"].as_u64().unwrap() >= 15, "{found}");
    assert_eq!(found["tenants"], json!({ "acme": "suspended", "globex": "active", "umbrella": "active" }));
    assert_eq!(found["doctor"], json!(if app.settings.is_postgres() { "examined" } else { "PostgreSQL" }));

    assert_eq!(app.operated("umbrella").await["placement"], "shared tables");
    let refused = get("/api/projects").token(&app.acme.token).send(app.at).await;
    assert_eq!(refused.problem(), (403, "tenant-suspended".to_owned()));
    assert!(refused.json()["detail"].as_str().unwrap().contains("<b>Back</b> at 14:00."), "{refused:?}");
    let served = get("/api/projects").token(&app.globex.token).send(app.at).await;
    assert_eq!(served.status, 200, "{served:?}");
}

on_every_database!(an_operator_suspends_and_moves_tenants_on_a_phone);
