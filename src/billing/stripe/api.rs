//! [`StripeApi`]: sends requests to Stripe.

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

use crate::error::Result;

/// Sends requests to Stripe's API.
///
/// `StripeClient` implements it (feature `stripe-api`). Implement it yourself to use an HTTP client of your own.
#[async_trait]
pub trait StripeApi: Send + Sync + fmt::Debug {
    /// Sends a request and returns the object in the response.
    ///
    /// Repeat a request that failed in transit, or that Stripe could not serve for now, with the same idempotency key.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if Stripe does not know an object of the request
    /// (`resource_missing`); [`ErrorKind::BillingRejected`](crate::ErrorKind::BillingRejected) if Stripe rejects the
    /// request, with Stripe's code and message; [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if Stripe does
    /// not accept the key for the request; [`ErrorKind::BillingUnavailable`](crate::ErrorKind::BillingUnavailable)
    /// if a later retry may succeed.
    async fn send(&self, request: &ApiRequest) -> Result<Value>;
}

/// One request to Stripe's API.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ApiRequest {
    /// The method.
    pub method: ApiMethod,
    /// The path, such as `/v1/customers`.
    pub path: String,
    /// The parameters, an object: the form of a `POST`, otherwise the query. A list or an object inside becomes names
    /// with brackets, such as `items[0][price]`.
    pub parameters: Value,
    /// The value of the header `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The connected account, as the value of the header `Stripe-Account`; `None` for your own.
    pub account: Option<String>,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiMethod {
    /// Reads an object or a list.
    Get,
    /// Creates or changes an object.
    Post,
    /// Ends or deletes an object.
    Delete,
}

impl ApiRequest {
    /// A request that reads.
    pub fn get(path: impl Into<String>, parameters: Value) -> Self {
        let path = path.into();
        Self { method: ApiMethod::Get, path, parameters, idempotency_key: None, account: None }
    }

    /// A request that writes. Two requests with the same key take effect once.
    pub fn post(path: impl Into<String>, parameters: Value, idempotency_key: impl Into<String>) -> Self {
        let idempotency_key = Some(idempotency_key.into());
        Self { method: ApiMethod::Post, path: path.into(), parameters, idempotency_key, account: None }
    }

    /// A request that ends or deletes an object.
    pub fn delete(path: impl Into<String>, parameters: Value) -> Self {
        let path = path.into();
        Self { method: ApiMethod::Delete, path, parameters, idempotency_key: None, account: None }
    }

    /// The request in a connected account.
    #[must_use]
    pub fn in_account(self, account: Option<String>) -> Self {
        Self { account, ..self }
    }
}
