//! Compares the time to reject an API key with an unknown id and one with a wrong secret (`I76`). The two are
//! measured alternately. The result is the distance of the two distributions: a large one would reveal which ids
//! exist.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt;
use tenancy::clock::Timestamp;
use tenancy::resolve::{ApiKeySource, OwnedRequest, Source, SourceOutcome};
use tenancy::store::{CacheOptions, CachedStore, MemoryStore};
use tenancy::tenant::{ApiKey, ApiKeyFormat, ApiKeyParts, ApiKeyStore, TenantId};
use tenancy::{Error, ErrorKind, Result};

const ROUNDS: usize = 20_000;
/// The number of known and of unknown ids. Each is used once, so that an unknown id is never cached.
const KEYS: usize = 20_000;

/// A store whose keys cannot be read without waiting, as those of a database.
#[derive(Debug)]
struct DatabaseLike(MemoryStore);

#[async_trait]
impl ApiKeyStore for DatabaseLike {
    async fn insert_key(&self, key: &ApiKey) -> Result<()> {
        self.0.insert_key(key).await
    }

    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>> {
        self.0.key(id).await
    }

    async fn revoke_key(&self, _: &TenantId, _: &str, _: Timestamp) -> Result<Arc<ApiKey>> {
        Err(Error::new(ErrorKind::SqlRejected, "this store is read-only"))
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>> {
        self.0.keys(tenant).await
    }
}

fn request(id: &str) -> OwnedRequest {
    let body = format!("shop_live_{id}_{}", "s".repeat(43));
    let text = format!("{body}_{:08x}", crc32fast::hash(body.as_bytes()));
    OwnedRequest::get("/").with_header("authorization", format!("Bearer {text}"))
}

/// Measures one rejection.
fn time_rejection(source: &ApiKeySource, request: &OwnedRequest) -> Duration {
    let begin = Instant::now();
    let mut outcome = source.read(black_box(request));
    while let SourceOutcome::Pending(pending) = outcome {
        outcome = pending.now_or_never().expect("the store is in memory");
    }
    let time = begin.elapsed();
    assert!(matches!(black_box(outcome), SourceOutcome::Invalid(_)));
    time
}

fn known(n: usize) -> String {
    format!("known{n:0>11}")
}

fn unknown(n: usize) -> String {
    format!("unkno{n:0>11}")
}

fn source(store: Arc<dyn ApiKeyStore>) -> ApiKeySource {
    let tenant = TenantId::random();
    for n in 0..KEYS {
        let key = ApiKeyParts {
            id: known(n),
            tenant: tenant.clone(),
            name: "CI".to_owned(),
            hash: [7; 32],
            created: Timestamp::from_seconds(0),
            expires: None,
            revoked: None,
        };
        store.insert_key(&ApiKey::from_stored(key)).now_or_never().expect("the store is in memory").unwrap();
    }
    ApiKeySource::new(ApiKeyFormat::new("shop", "live").unwrap(), store)
}

#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
fn main() {
    let store = || DatabaseLike(MemoryStore::new());
    let options = CacheOptions::new().ttl(Duration::from_hours(1)).negative_ttl(Duration::from_hours(1));
    let cached = || CachedStore::new(store(), options.clone().capacity(100_000).negative_capacity(100_000));
    println!("medians of {ROUNDS} rejections each; D is the largest distance of the two distributions");
    for (name, store, repeat) in [
        ("a store without a cache", Arc::new(store()) as Arc<dyn ApiKeyStore>, false),
        ("a cache, first attempt", Arc::new(cached()), false),
        ("a cache, repeated attempt", Arc::new(cached()), true),
    ] {
        let source = source(store);
        let requests: Vec<_> = (0..KEYS).map(|n| (request(&known(n)), request(&unknown(n)))).collect();
        if repeat {
            for (wrong, unknown) in &requests {
                time_rejection(&source, wrong);
                time_rejection(&source, unknown);
            }
        }
        let (mut wrong, mut absent) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
        for n in 0..ROUNDS {
            let (known, unknown) = &requests[n % KEYS];
            // The order alternates, so that neither kind always runs first.
            if n % 2 == 0 {
                wrong.push(time_rejection(&source, known));
                absent.push(time_rejection(&source, unknown));
            } else {
                absent.push(time_rejection(&source, unknown));
                wrong.push(time_rejection(&source, known));
            }
        }
        let (secret, id) = (median(&mut wrong), median(&mut absent));
        let distance = distance(&wrong, &absent);
        println!("  {name:<40} wrong secret {secret:>6} ns, unknown id {id:>6} ns, D = {distance:.2}");
    }
}

/// Sorts the times and returns their median.
fn median(times: &mut [Duration]) -> u128 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos()
}

/// The Kolmogorov-Smirnov distance of two sorted samples: 0 if their distributions are equal, 1 if they do not
/// overlap.
#[expect(clippy::cast_precision_loss, reason = "the samples are small")]
fn distance(one: &[Duration], other: &[Duration]) -> f64 {
    let below = |times: &[Duration], time: Duration| {
        times.partition_point(|known| *known <= time) as f64 / times.len() as f64
    };
    let difference = |time: &Duration| (below(one, *time) - below(other, *time)).abs();
    one.iter().chain(other).map(difference).fold(0.0, f64::max)
}
