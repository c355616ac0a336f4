//! A minimal HTTP client for the tests: one connection for each request.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::needless_pass_by_value,
    reason = "each test uses only a part"
)]

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Clone)]
pub struct Request {
    method: &'static str,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    body: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub status: u16,
    /// Sorted, without the date and what is left of a quota.
    pub headers: Vec<String>,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// The status and code of a problem document.
    pub fn problem(&self) -> (u16, String) {
        assert!(self.headers.contains(&"content-type: application/problem+json".to_owned()), "{self:?}");
        let code = self.json()["type"]
            .as_str()
            .expect("a problem has a type")
            .rsplit(':')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(self.json()["status"], self.status);
        (self.status, code)
    }
}

pub fn get(path: impl Into<String>) -> Request {
    Request::new("GET", path)
}

pub fn delete(path: impl Into<String>) -> Request {
    Request::new("DELETE", path)
}

pub fn post(path: impl Into<String>, body: impl ToString) -> Request {
    Request::new("POST", path).body(&body).header("content-type", "application/json")
}

pub fn form(path: impl Into<String>, body: impl ToString) -> Request {
    Request::new("POST", path).body(&body).header("content-type", "application/x-www-form-urlencoded")
}

pub fn put(path: impl Into<String>, body: impl ToString) -> Request {
    Request::new("PUT", path).body(&body).header("content-type", "application/json")
}

impl Request {
    fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            host: "127.0.0.1".to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    fn body(mut self, body: &impl ToString) -> Self {
        self.body = body.to_string();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sends the request. Returns `None` if the connection closes before the response is complete.
    pub async fn try_send(&self, to: SocketAddr) -> Option<Response> {
        let mut stream = TcpStream::connect(to).await.ok()?;
        let Self { method, path, host, headers, body } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.extend(["content-length: ", &body.len().to_string(), "\r\n\r\n", body]);
        stream.write_all(text.as_bytes()).await.ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await.ok()?;
        let (head, body) = response.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let lower = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            format!("{}:{value}", name.to_ascii_lowercase())
        };
        // What is left of a quota differs from request to request.
        let is_kept = |line: &String| !line.starts_with("date:") && !line.starts_with("ratelimit:");
        let mut headers: Vec<String> = lines.map(lower).filter(is_kept).collect();
        headers.sort();
        if headers.contains(&"transfer-encoding: chunked".to_owned()) {
            return Some(Response { status, headers, body: unchunked(body)? });
        }
        let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        (length.unwrap_or(0) == body.len()).then(|| Response { status, headers, body: body.to_owned() })
    }

    pub async fn send(&self, to: SocketAddr) -> Response {
        self.try_send(to).await.expect("the server responds")
    }
}

/// Decodes a chunked body. Returns `None` if the last chunk is missing.
fn unchunked(mut remaining: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, more) = remaining.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        body += more.get(..length)?;
        remaining = more[length..].strip_prefix("\r\n")?;
        if length == 0 {
            return Some(body);
        }
    }
}
