//! [`Pages`]: reads a list of Stripe, one page at a time.

use serde_json::{Value, json};

use super::api::{ApiRequest, StripeApi};
use crate::error::{Error, ErrorKind, Result};

/// The most objects in a page.
const PAGE: u8 = 100;

/// The pages of a list, from the first.
pub(super) struct Pages<'a> {
    api: &'a dyn StripeApi,
    /// The request of the next page; `None` after the last one.
    next: Option<ApiRequest>,
}

impl<'a> Pages<'a> {
    /// The list at `path`, with these parameters.
    pub(super) fn new(
        api: &'a dyn StripeApi,
        path: &str,
        mut parameters: Value,
        account: Option<&str>,
    ) -> Self {
        parameters["limit"] = PAGE.into();
        let request = ApiRequest::get(path, parameters).in_account(account.map(str::to_owned));
        Self { api, next: Some(request) }
    }

    /// The objects of the next page; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        let Some(mut request) = self.next.take() else { return Ok(None) };
        let mut list = self.api.send(&request).await?;
        let Some(Value::Array(objects)) = list.get_mut("data").map(Value::take) else {
            return Err(not_a_list());
        };
        if list["has_more"] == json!(true) {
            let end = objects.last().and_then(|object| object["id"].as_str()).ok_or_else(not_a_list)?;
            request.parameters["starting_after"] = end.into();
            self.next = Some(request);
        }
        Ok(Some(objects))
    }

    /// All remaining objects.
    pub(super) async fn all(mut self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page);
        }
        Ok(all)
    }
}

fn not_a_list() -> Error {
    Error::new(ErrorKind::BillingUnavailable, "Stripe's response is not a list")
}
