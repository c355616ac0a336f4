//! What the suites of `tenancy::testing` say.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// What a suite says of a store that breaks a promise.
pub(crate) async fn panic_of(run: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(run).catch_unwind().await.expect_err("the suite accepts a broken store");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}
