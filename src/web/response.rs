//! Responses to rejected requests, for HTTP and for gRPC.

use std::fmt::Write;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};

use super::problem::Problem;
use crate::error::Error;

const GRPC: &str = "application/grpc";

/// The HTTP response to a rejected request.
pub(super) fn problem_response<R: From<Vec<u8>>>(error: &Error) -> Response<R> {
    let problem = Problem::logged(error);
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers: HeaderMap = problem
        .headers()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::try_from(&*value).ok()?))
        })
        .collect();
    let mut response = Response::new(R::from(problem.into_json()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Whether a request is a gRPC call. A client of gRPC-Web is not: it reads the HTTP status.
pub(super) fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    let suffix = kind.and_then(|kind| kind.as_bytes().strip_prefix(GRPC.as_bytes()));
    matches!(request.version(), Version::HTTP_2 | Version::HTTP_3)
        && request.method() == Method::POST
        && suffix.is_some_and(|suffix| matches!(suffix.first(), None | Some(b'+' | b';')))
}

/// The response to a rejected gRPC call: the status is in the headers, and the body is empty.
pub(super) fn grpc_response<R: From<Vec<u8>>>(error: &Error) -> Response<R> {
    let problem = Problem::logged(error);
    let mut response = Response::new(R::from(Vec::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(problem.grpc_code()));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(problem.detail())) {
        headers.insert(HeaderName::from_static("grpc-message"), message);
    }
    response
}

/// Encodes a message for the header `grpc-message`.
fn percent_encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn only_a_grpc_call_is_recognised() {
        let over = |version, method, kind| {
            let request = Request::builder().version(version).method(method).header(CONTENT_TYPE, kind);
            is_grpc(&request.body(()).unwrap())
        };
        for grpc in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(over(Version::HTTP_2, "POST", grpc), "{grpc}");
            assert!(!over(Version::HTTP_11, "POST", grpc), "{grpc}: gRPC is HTTP/2 or later");
            assert!(!over(Version::HTTP_2, "GET", grpc), "{grpc}: gRPC is POST");
        }
        for other in ["application/grpc-web", "application/grpc-web+proto", "application/json", ""] {
            assert!(!over(Version::HTTP_2, "POST", other), "{other}");
        }
    }

    #[test]
    fn a_grpc_message_is_percent_encoded() {
        assert_eq!(percent_encoded("100 % caf\u{e9}\r\n"), "100 %25 caf%C3%A9%0D%0A");
        let response: Response<Vec<u8>> = grpc_response(&Error::new(ErrorKind::NotFound, "no\nsuch row"));
        assert_eq!(
            (response.status(), &response.headers()["grpc-status"]),
            (StatusCode::OK, &HeaderValue::from(5))
        );
        assert_eq!(response.headers()["grpc-message"], "no%0Asuch row");
    }
}
