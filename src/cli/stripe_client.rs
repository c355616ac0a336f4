//! Stripe's API, with the secret key of the environment.

use std::env::{VarError, var};
use std::sync::Arc;

use super::output::text;
use crate::billing::stripe::{Mode, StripeApi, StripeClient};

/// The variable with the secret key. There is no option for it: arguments are visible to every user of the machine.
const KEY: &str = "STRIPE_SECRET_KEY";
/// The variable with the URL of another server.
const URL: &str = "STRIPE_API_URL";

/// The client, and the mode of its key.
pub(crate) fn client() -> Result<(Arc<dyn StripeApi>, Mode), String> {
    // The error for a value that is no text would contain the value.
    let key = var(KEY).map_err(|_| format!("set {KEY} to the secret key of your Stripe account"))?;
    let mode = if key.contains("_live_") { Mode::Live } else { Mode::Test };
    let client = match var(URL) {
        Ok(url) => StripeClient::with_url(key, url),
        Err(VarError::NotPresent) => StripeClient::new(key),
        Err(VarError::NotUnicode(_)) => return Err(format!("{URL} is not a text")),
    };
    Ok((Arc::new(client.map_err(|e| format!("{KEY}: {}", text(&e)))?), mode))
}
