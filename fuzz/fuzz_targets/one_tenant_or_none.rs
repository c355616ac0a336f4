//! Fuzz target: each request resolves to one tenant or to none.
#![no_main]

#[path = "../request.rs"]
mod request;

use std::sync::OnceLock;

use tenancy::resolve::Resolver;
use tokio::runtime::{Builder, Runtime};

static FIXTURE: OnceLock<(Runtime, Resolver)> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (runtime, resolver) = FIXTURE.get_or_init(|| {
        let runtime = Builder::new_current_thread().build().unwrap();
        let resolver = runtime.block_on(request::resolver());
        (runtime, resolver)
    });
    runtime.block_on(request::one_tenant_or_none(resolver, data));
});
