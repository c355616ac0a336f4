//! The servers that `scripts/test` starts run, and are of the expected kind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sqlx::Executor;

use crate::{common, mysql};

#[test]
fn redis_answers() {
    let url = common::redis_url();
    let address = url.trim_start_matches("redis://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address)
        .unwrap_or_else(|e| panic!("no Redis at {address} ({e}): {}", common::NO_REDIS));
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n", "what answers at {address} is no Redis");
}

#[tokio::test]
async fn mariadb_answers() {
    let (mut connection, _cleanup) = mysql::fresh_mysql().await;
    let row = connection.fetch_one("SELECT version()").await.unwrap();
    let version: String = sqlx::Row::get(&row, 0);
    assert!(version.contains("MariaDB"), "what answers is {version}, whose own faults are not known");
}
