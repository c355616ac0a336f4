//! The servers that `scripts/test` starts are there and are what they should be.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sqlx::Executor;

const HOW: &str = "run `scripts/test`, which starts one; or install it (`apt-get install redis-server`), start it, \
    and set TEST_REDIS_URL=redis://127.0.0.1:6379/";

#[test]
fn redis_answers() {
    let url = std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| panic!("this test needs Redis: {HOW}"));
    let address = url.trim_start_matches("redis://").trim_end_matches('/');
    let mut stream =
        TcpStream::connect(address).unwrap_or_else(|e| panic!("no Redis at {address} ({e}): {HOW}"));
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n", "what answers at {address} is no Redis");
}

#[tokio::test]
async fn mariadb_answers() {
    let (mut connection, _cleanup) = common::fresh_mysql().await;
    let row = connection.fetch_one("SELECT version()").await.unwrap();
    let version: String = sqlx::Row::get(&row, 0);
    assert!(version.contains("MariaDB"), "what answers is {version}, whose own faults are not known");
}
