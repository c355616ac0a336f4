//! What a server really makes of the bytes on the wire.

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use world::{bearer, world};

async fn serve(app: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });
    address
}

/// Sends bytes as they are, and reads until the server closes.
async fn send(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    timeout(Duration::from_secs(20), exchange).await.expect("the server answers and closes")
}

#[tokio::test]
async fn a_host_that_is_not_one_is_answered_400() {
    let world = world().await;
    let address = serve(world.app.clone()).await;
    for (tenant, other) in world.both_sides() {
        let (mine, theirs) =
            (format!("{}.example.com", tenant.slug()), format!("{}.example.com", other.slug()));
        let rows = [
            ("I1", format!("GET /login HTTP/1.1\r\nHost: {mine}\r\nHost: {theirs}\r\n")),
            ("I1", format!("GET /login HTTP/1.1\r\nHost: {theirs}\r\nHost: {mine}\r\n")),
            ("I2", format!("GET /login HTTP/1.1\r\nHost: {mine}\r\nHost: {mine}\r\n")),
            ("none", "GET /login HTTP/1.1\r\n".to_owned()),
            ("none", "GET /login HTTP/1.0\r\n".to_owned()),
            ("I4", format!("GET http://{theirs}/login HTTP/1.1\r\nHost: {mine}\r\n")),
            ("I4", format!("GET http://{mine}/login HTTP/1.1\r\nHost: {theirs}\r\n")),
            ("I4", format!("GET http://{mine}/login HTTP/1.1\r\n")),
            ("I5", format!("GET http://{}@{theirs}/login HTTP/1.1\r\nHost: {mine}\r\n", tenant.slug())),
            ("I14", "GET /login HTTP/1.1\r\nHost:\r\n".to_owned()),
            ("I17", format!("GET /login HTTP/1.1\r\nHost: {mine}\0\r\n")),
            ("I20", format!("GET /login HTTP/1.1\r\nHost: {mine}, {theirs}\r\n")),
            ("I20", format!("GET /login HTTP/1.1\r\nHost: {theirs}@{mine}\r\n")),
            ("I20", format!("GET /login HTTP/1.1\r\nHost: {mine}:80:90\r\n")),
            ("folded", format!("GET /login HTTP/1.1\r\nHost: {mine}\r\n .evil.com\r\n")),
        ];
        for (row, head) in rows {
            let answer = send(address, format!("{head}Connection: close\r\n\r\n")).await;
            assert!(
                answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"),
                "{row}: {answer}"
            );
            assert!(!answer.contains(other.slug().as_str()), "{row}: {answer}");
        }
        let answer = send(
            address,
            format!("GET http://{mine}/login HTTP/1.1\r\nHost: {mine}\r\nConnection: close\r\n\r\n"),
        )
        .await;
        assert!(answer.ends_with(&format!("{} anonymous host", tenant.slug())), "{answer}");
        // This peer is known, and it is not a proxy of ours.
        let claimed = format!(
            "GET /login HTTP/1.1\r\nHost: {mine}\r\nX-Tenant-Id: {}\r\nX-Forwarded-Host: {theirs}\r\nConnection: close\r\n\r\n",
            other.slug()
        );
        let answer = send(address, claimed).await;
        assert!(answer.ends_with(&format!("{} anonymous host", tenant.slug())), "I21 I34: {answer}");
    }
    let raw = b"GET /login HTTP/1.1\r\nHost: acm\xc3\xa9.example.com\r\nConnection: close\r\n\r\n";
    assert!(send(address, raw).await.starts_with("HTTP/1.1 400"), "I16");
}

#[tokio::test]
async fn one_connection_carries_no_tenant_over() {
    let world = world().await;
    let address = serve(world.app.clone()).await;
    // I25, I90: three requests on one connection, and nothing of the first is left for the others.
    let token = bearer(&world.acme);
    let answer = send(
        address,
        format!(
            "GET /orders HTTP/1.1\r\nHost: acme.example.com\r\nAuthorization: {token}\r\n\r\n\
             GET /login HTTP/1.1\r\nHost: globex.example.com\r\n\r\n\
             GET /orders HTTP/1.1\r\nHost: acme.example.com\r\nConnection: close\r\n\r\n"
        ),
    )
    .await;
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "200", "401"], "{answer}");
    assert!(answer.contains("acme user:ada jwt") && answer.contains("globex anonymous host"), "{answer}");
}
