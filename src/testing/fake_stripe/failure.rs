//! [`Failure`]: an error response in the shape of Stripe's API.

use serde_json::{Value, json};

/// Why a call is rejected.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    param: Option<String>,
    decline_code: Option<&'static str>,
}

pub(super) type Reply = Result<Value, Failure>;

impl Failure {
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            kind: "invalid_request_error",
            code: None,
            message: message.into(),
            param: None,
            decline_code: None,
        }
    }

    pub(super) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub(super) fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// A required parameter is absent.
    pub(super) fn missing(param: &str) -> Self {
        Self::invalid(format!("Missing required param: {param}.")).code("parameter_missing").param(param)
    }

    /// No object with this id exists. The status is 404 if the path names it, and 400 if a parameter does.
    pub(super) fn no_such(what: &str, id: &str, param: &str) -> Self {
        let status = if param == "id" { 404 } else { 400 };
        let what = what.rsplit('.').next().unwrap_or(what).replace('_', "");
        let failure = Self::invalid(format!("No such {what}: '{id}'")).code("resource_missing").param(param);
        Self { status, ..failure }
    }

    pub(super) fn unauthorized() -> Self {
        let message = "You did not provide a test key. The fake accepts `Authorization: Bearer sk_test_...`, and \
                       the same key as the user name of basic authentication.";
        Self { status: 401, ..Self::invalid(message) }
    }

    pub(super) fn no_route(method: &str, path: &str) -> Self {
        let message = format!("Unrecognized request URL ({method}: {path}). The fake has no such route.");
        Self { status: 404, ..Self::invalid(message) }
    }

    pub(super) fn idempotency(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try \
             using a key other than '{key}' if you meant to execute a different request."
        );
        Self { kind: "idempotency_error", ..Self::invalid(message) }
    }

    pub(super) fn declined() -> Self {
        let declined = Self::invalid("Your card was declined.").code("card_declined");
        Self { status: 402, kind: "card_error", decline_code: Some("generic_decline"), ..declined }
    }

    /// The reply of a planned fault.
    pub(super) fn planned() -> Self {
        Self { status: 500, kind: "api_error", ..Self::invalid("A planned fault of the fake.") }
    }

    pub(super) fn body(&self) -> Value {
        let mut error = json!({ "type": self.kind, "message": self.message });
        for (name, value) in [("code", self.code), ("decline_code", self.decline_code)] {
            if let Some(value) = value {
                error[name] = value.into();
            }
        }
        if let Some(param) = &self.param {
            error["param"] = param.as_str().into();
        }
        json!({ "error": error })
    }
}
