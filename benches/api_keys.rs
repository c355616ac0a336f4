//! Whether the time of a refusal tells why an API key was refused (`I76`): an id that nobody has, against a secret that is
//! wrong, by turns; and how far the two distributions are apart.

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
/// Of so many keys each, so that what is unknown is unknown each time.
const KEYS: usize = 20_000;

/// A table that is asked each time, and has nothing at hand.
#[derive(Debug)]
struct Table(MemoryStore);

#[async_trait]
impl ApiKeyStore for Table {
    async fn insert_key(&self, key: &ApiKey) -> Result<()> {
        self.0.insert_key(key).await
    }

    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>> {
        self.0.key(id).await
    }

    async fn revoke_key(&self, _: &TenantId, _: &str, _: Timestamp) -> Result<Arc<ApiKey>> {
        Err(Error::new(ErrorKind::SqlRejected, "this table is only read"))
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

/// The time of one refusal.
fn refused(source: &ApiKeySource, request: &OwnedRequest) -> Duration {
    let begin = Instant::now();
    let mut signal = source.read(black_box(request));
    while let SourceOutcome::Pending(later) = signal {
        signal = later.now_or_never().expect("nothing here is waited for");
    }
    let time = begin.elapsed();
    assert!(matches!(black_box(signal), SourceOutcome::Invalid(_)));
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
        store.insert_key(&ApiKey::from_stored(key)).now_or_never().expect("it is in memory").unwrap();
    }
    ApiKeySource::new(ApiKeyFormat::new("shop", "live").unwrap(), store)
}

#[expect(clippy::print_stdout, reason = "the table is what the bench is for")]
fn main() {
    let table = || Table(MemoryStore::new());
    let options = CacheOptions::new().ttl(Duration::from_hours(1)).negative_ttl(Duration::from_hours(1));
    let cached = || CachedStore::new(table(), options.clone().capacity(100_000).negative_capacity(100_000));
    println!("medians of {ROUNDS} refusals each; D is the largest distance of the two distributions");
    for (name, store, again) in [
        ("a table that is asked each time", Arc::new(table()) as Arc<dyn ApiKeyStore>, false),
        ("a cache, for the first time", Arc::new(cached()), false),
        ("a cache, of ids that were tried before", Arc::new(cached()), true),
    ] {
        let source = source(store);
        let asked: Vec<_> = (0..KEYS).map(|n| (request(&known(n)), request(&unknown(n)))).collect();
        if again {
            for (wrong, unknown) in &asked {
                refused(&source, wrong);
                refused(&source, unknown);
            }
        }
        let (mut wrong, mut absent) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
        for n in 0..ROUNDS {
            let (known, unknown) = &asked[n % KEYS];
            // Whichever comes first is not always the same.
            if n % 2 == 0 {
                wrong.push(refused(&source, known));
                absent.push(refused(&source, unknown));
            } else {
                absent.push(refused(&source, unknown));
                wrong.push(refused(&source, known));
            }
        }
        let (secret, id) = (median(&mut wrong), median(&mut absent));
        let apart = distance(&wrong, &absent);
        println!("  {name:<40} wrong secret {secret:>6} ns, unknown id {id:>6} ns, D = {apart:.2}");
    }
}

/// Sorts, too.
fn median(times: &mut [Duration]) -> u128 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos()
}

/// The largest distance of two distributions (Kolmogorov and Smirnov), each given in order: 0 if they are alike, 1 if no
/// time of one is a time of the other.
#[expect(clippy::cast_precision_loss, reason = "there are few of them")]
fn distance(one: &[Duration], other: &[Duration]) -> f64 {
    let below = |times: &[Duration], time: Duration| {
        times.partition_point(|known| *known <= time) as f64 / times.len() as f64
    };
    let apart = |time: &Duration| (below(one, *time) - below(other, *time)).abs();
    one.iter().chain(other).map(apart).fold(0.0, f64::max)
}
