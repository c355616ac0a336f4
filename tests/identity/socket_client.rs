//! Fixture: a client that sends malformed requests: any bytes over HTTP/1.1, and any pseudo-header over HTTP/2.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Headers in their order; names that start with a colon are pseudo-headers of HTTP/2.
pub(crate) type Headers = Vec<(String, Vec<u8>)>;

/// The result of one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Answer(Answer),
    /// The server closed the stream or the connection without a response.
    Broken,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of the problem document, or the empty text.
    pub(crate) fn code(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let code = problem["type"].as_str().and_then(|kind| kind.strip_prefix("urn:problem-type:tenancy:"));
        code.unwrap_or_default().to_owned()
    }
}

async fn soon<T>(exchange: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), exchange).await.expect("the server answers or closes")
}

/// Sends bytes unchanged, and reads until the server closes.
pub(crate) async fn send(at: SocketAddr, bytes: &[u8]) -> String {
    soon(async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A server that rejects the head may reset the connection after its response.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
}

/// Sends one request, and parses the response.
pub(crate) async fn http1(at: SocketAddr, bytes: &[u8]) -> Outcome {
    let text = send(at, bytes).await;
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Outcome::Broken };
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").or_else(|| line.split_once(':')).expect("a header");
        (name.parse().unwrap(), value.parse().unwrap())
    });
    Outcome::Answer(Answer { status, headers: headers.collect(), body: body.to_owned() })
}

/// Sends requests over one HTTP/2 connection, one after the other, each with these headers and this body.
///
/// The frames come from the `h2` client, with their headers replaced: it would not send most of these.
pub(crate) async fn http2(
    at: SocketAddr,
    requests: Vec<Headers>,
    body: Option<&'static [u8]>,
) -> Vec<Outcome> {
    soon(async {
        let (near, far) = tokio::io::duplex(1 << 16);
        let server = TcpStream::connect(at).await.unwrap();
        let methods: Vec<Method> = requests.iter().map(method).collect();
        tokio::spawn(replace_headers(far, server, requests));
        let Ok((mut client, connection)) = h2::client::handshake(near).await else {
            return vec![Outcome::Broken; methods.len()];
        };
        tokio::spawn(connection);
        let mut outcomes = Vec::new();
        for method in methods {
            outcomes.push(ask(&mut client, method, body).await.map_or(Outcome::Broken, Outcome::Answer));
        }
        outcomes
    })
    .await
}

/// The method, which the client must know: a response to HEAD has a length and no body.
fn method(fields: &Headers) -> Method {
    let method = fields.iter().find(|(name, _)| name == ":method").expect("a request has a method");
    Method::from_bytes(&method.1).unwrap()
}

async fn ask(
    client: &mut h2::client::SendRequest<Bytes>,
    method: Method,
    body: Option<&'static [u8]>,
) -> Result<Answer, h2::Error> {
    let request = Request::builder().method(method).uri("http://replaced/").body(()).unwrap();
    std::future::poll_fn(|context| client.poll_ready(context)).await?;
    let (response, mut stream) = client.send_request(request, body.is_none())?;
    if let Some(body) = body {
        // A stream that the server rejects early does not take the body.
        let _ = stream.send_data(Bytes::from_static(body), true);
    }
    let (parts, mut incoming) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = incoming.data().await {
        let chunk = chunk?;
        let _ = incoming.flow_control().release_capacity(chunk.len());
        body.extend_from_slice(&chunk);
    }
    let mut headers = parts.headers;
    headers.extend(incoming.trailers().await?.unwrap_or_default());
    Ok(Answer { status: parts.status.as_u16(), headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Forwards all frames, and replaces the block of each HEADERS frame with the next of these.
async fn replace_headers(client: DuplexStream, server: TcpStream, requests: Vec<Headers>) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = server.into_split();
    tokio::spawn(copy(from_server, to_client));
    // Some rows make the server close the connection.
    let _ = frames(from_client, to_server, requests).await;
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

async fn frames(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    requests: Vec<Headers>,
) -> std::io::Result<()> {
    const HEADERS: u8 = 1;
    let mut preface = [0; 24];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    let mut requests = requests.iter();
    loop {
        let mut head = [0; 9];
        from.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        from.read_exact(&mut payload).await?;
        if head[3] == HEADERS {
            payload = block(requests.next().expect("as many requests as were announced"));
            head[..3].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
        }
        to.write_all(&head).await?;
        to.write_all(&payload).await?;
    }
}

/// Headers as HPACK literals without indexing (RFC 7541, section 6.2.2), which allow any byte in a name.
fn block(headers: &Headers) -> Vec<u8> {
    let mut block = Vec::new();
    let mut text = |bytes: &[u8]| {
        let mut rest = bytes.len();
        if rest < 127 {
            block.push(u8::try_from(rest).unwrap());
        } else {
            block.push(127);
            rest -= 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
        block.extend_from_slice(bytes);
    };
    for (name, value) in headers {
        // The empty text encodes "no index": its length is the byte 0.
        text(b"");
        text(name.as_bytes());
        text(value);
    }
    block
}
