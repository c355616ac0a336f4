//! Measures what a request pays for its plan, alternately in one run: first in memory, beside the plain code that it
//! is made of and beside governor; then in each store, beside one conditional statement.
//!
//! SQLite is always there. PostgreSQL and Redis are measured if `TEST_POSTGRES_URL` and `TEST_REDIS_URL` name them, as
//! for the tests: `scripts/servers cargo bench --bench quota`.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times and counts of a bench are far below 2^52"
)]

#[path = "../tests/fixture/common.rs"]
mod common;
#[path = "quota/memory.rs"]
mod memory;
#[path = "quota/stores.rs"]
mod stores;

use std::sync::Arc;

use tenancy::TenantContext;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::{Catalog, Flag};
use tenancy::quota::{Quota, Rate};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, TenantStore};

const EXPORT: Flag = Flag::new("export");
const CALLS: Quota = Quota::new("calls");
const REQUESTS: Rate = Rate::new("requests");
const PER_USER: Rate = Rate::new("requests_per_user");

/// Nothing is denied, and each state is in use.
const CATALOG: &str = "
    version = 1
    [features]
    export            = { kind = \"flag\" }
    calls             = { kind = \"quota\", period = \"month\", timeout_ms = 60000 }
    requests          = { kind = \"rate\" }
    requests_per_user = { kind = \"rate\", per = \"user\" }
    [plans.free]
    features = { export = true, calls = 1000000000000, requests = { limit = 1000, seconds = 1, burst = 500000000 }, requests_per_user = { limit = 1000, seconds = 1, burst = 500000000 } }
";

const TENANTS: usize = 1_000;

async fn contexts() -> Vec<TenantContext> {
    let store = Arc::new(MemoryStore::new());
    let directory = TenantDirectory::new(store.clone(), Catalog::from_toml(CATALOG).unwrap());
    let mut all = Vec::new();
    for n in 0..TENANTS {
        let tenant = store.insert(NewTenant::active(&format!("tenant-{n}"), "free").unwrap()).await.unwrap();
        all.push(directory.context(tenant.id(), Actor::user("ada")).await.unwrap());
    }
    all
}

/// The value that this part of the values is below.
fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() as f64 * part) as usize]
}

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let contexts = runtime.block_on(contexts());
    memory::compare(&runtime, &contexts);
    runtime.block_on(stores::compare(&contexts));
}
