//! Without the feature `stripe-api` the program cannot send requests to Stripe.

use std::sync::Arc;

use crate::billing::stripe::{Mode, StripeApi};

pub(crate) fn client() -> Result<(Arc<dyn StripeApi>, Mode), String> {
    Err("this program cannot send requests to Stripe; install it with `cargo install tenancy --features cli,stripe-api`"
        .to_owned())
}
