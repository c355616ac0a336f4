//! Cache keys, paths, channels and locks of two tenants never collide, and no tenant reads another's values.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use proptest::prelude::*;
use tenancy::audit::MemorySink;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::namespace::moka::TenantCache;
use tenancy::namespace::redis::TenantRedis;
use tenancy::plan::Catalog;
use tenancy::scope::Reason;
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::{Error, ErrorKind, TenantContext};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::common::{self, Fixture};

const MINUTE: Duration = Duration::from_mins(1);

/// Contexts of tenants with these ids.
async fn open_contexts<const N: usize>(ids: [&str; N]) -> [TenantContext; N] {
    let store = Arc::new(MemoryStore::new());
    let directory =
        TenantDirectory::new(store.clone(), Arc::new(Catalog::from_toml(common::CATALOG).unwrap()));
    let mut contexts = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        let slug = Slug::parse(&format!("tenant-{at}")).unwrap();
        let new = NewTenant::new(slug, *id, "free").id(TenantId::parse(id).unwrap());
        let tenant = store.insert(new.status(TenantStatus::Active)).await.unwrap();
        contexts.push(directory.context(tenant.id(), Actor::system("test")).await.unwrap());
    }
    contexts.try_into().expect("as many contexts as ids")
}

/// Each tenant, paired with the other one.
fn both_sides(one: &TenantContext, other: &TenantContext) -> [(TenantContext, TenantContext); 2] {
    [(one.clone(), other.clone()), (other.clone(), one.clone())]
}

/// The names of every kind that these parts produce.
fn names(ctx: &TenantContext, parts: &[String]) -> Vec<String> {
    let mut names = vec![
        ctx.key(parts).unwrap().to_string(),
        ctx.object_path(parts).unwrap().to_string(),
        ctx.channel(parts).unwrap().to_string(),
        ctx.channel(parts).unwrap().notify_name(),
        ctx.lock_key(parts).unwrap().to_string(),
        ctx.lock_key(parts).unwrap().advisory().to_string(),
    ];
    if let [method, route, key] = parts
        && !key.is_empty()
    {
        names.push(ctx.idempotency(method, route, key).unwrap().to_string());
    }
    names
}

/// `I49`: a separator inside a part never produces the name of another part, tenant or purpose.
#[tokio::test]
async fn names_that_naive_joins_confuse_are_distinct() {
    let [acme, acme2, four, forty] = open_contexts(["acme", "acme2", "4", "40"]).await;
    let lists: [&[&str]; 16] = [
        &["a", "b"],
        &["a:b"],
        &["ab"],
        &["a", "", "b"],
        &["a", "b", ""],
        &["", "a", "b"],
        &["", "", "x"],
        &["a.b"],
        &["a/b"],
        &["a_3ab"],
        &["1-a:1-b"],
        &["1-a", "1-b"],
        &["2:a", "b"],
        &["key", "a", "b"],
        &["a", "B"],
        &["a", "0"],
    ];
    let mut seen = HashSet::new();
    let mut made = 0;
    for ctx in [&acme, &acme2, &four, &forty] {
        for parts in lists {
            let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            for name in names(ctx, &parts) {
                made += 1;
                assert!(seen.insert(name.clone()), "{name} was made twice, now of {parts:?}");
            }
        }
    }
    assert!(made > 380, "only {made} names");
    // The end of a tenant id and the start of a part are not interchangeable.
    assert_ne!(acme.key("2order").unwrap(), acme2.key("order").unwrap());
    assert_ne!(four.key("0").unwrap(), forty.key("").unwrap());
    // Equal parts produce equal keys, as a tuple, a slice or a text.
    assert_eq!(acme.key(("order", 42)).unwrap(), acme.key(["order", "42"].as_slice()).unwrap());
    assert_eq!(acme.key("order").unwrap(), acme.key(("order",)).unwrap());
}

#[tokio::test]
async fn a_path_leads_nowhere_else() {
    let [acme, globex] = open_contexts(["acme", "globex"]).await;
    for (ctx, other) in both_sides(&acme, &globex) {
        let root = ctx.prefix().unwrap().objects().to_owned();
        for hostile in [
            "../globex/secret",
            "..",
            ".",
            "/etc/passwd",
            "..\\..\\x",
            "%2e%2e%2f",
            "%252e",
            "a\0b",
            "a\r\nb",
            "\u{202e}",
            "",
            "~root",
            "C:\\x",
            "a//b",
            "x/../../..",
            "．．／",
            "trailing.",
        ] {
            for path in [ctx.object_path(hostile).unwrap(), ctx.object_path(("up", hostile, "x")).unwrap()] {
                let path = path.as_str();
                assert!(path.starts_with(&root), "X12: {path}");
                assert!(!path.starts_with(other.prefix().unwrap().objects()), "{path}");
                assert!(path.split('/').all(|part| !["", ".", ".."].contains(&part)), "{path}");
                assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b)), "{path}");
                assert!(!path.contains("..") && !path.ends_with('.'), "{path}");
            }
        }
        assert!(ctx.object_path("jan.pdf").unwrap().as_str().ends_with("/7-jan.pdf"));
    }
    // The longest path that S3 accepts, and one byte more.
    let half = "x".repeat(500);
    let room = 1024 - acme.object_path((&half, "")).unwrap().as_str().len() - "00".len();
    assert_eq!(acme.object_path((&half, "x".repeat(room))).unwrap().as_str().len(), 1024);
    let error = acme.object_path((&half, "x".repeat(room + 1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("1024") && !error.to_string().contains("xxx"), "{error}");
}

#[tokio::test]
async fn a_prefix_is_of_one_tenant() {
    let uuid = Uuid::now_v7().to_string();
    let contexts = open_contexts(["acme", "acme2", "acme-2", "4", "44", uuid.as_str()]).await;
    for (at, ctx) in contexts.iter().enumerate() {
        let prefix = ctx.prefix().unwrap();
        for (other_at, other) in contexts.iter().enumerate() {
            let own = at == other_at;
            let key = other.key("x").unwrap();
            assert_eq!(key.as_str().starts_with(prefix.all()), own);
            assert_eq!(key.as_str().starts_with(prefix.keys()), own);
            assert_eq!(other.lock_key("x").unwrap().as_str().starts_with(prefix.all()), own);
            assert!(!other.lock_key("x").unwrap().as_str().starts_with(prefix.keys()));
            let kept = other.idempotency("POST", "/", "x").unwrap();
            assert_eq!(kept.as_str().starts_with(prefix.all()), own);
            assert_eq!(other.object_path("x").unwrap().as_str().starts_with(prefix.objects()), own);
            assert_eq!(other.channel("x").unwrap().as_str().starts_with(prefix.channels()), own);
        }
    }
}

#[tokio::test]
async fn the_answer_to_a_request_is_kept_for_its_tenant_and_route() {
    let [acme, globex] = open_contexts(["acme", "globex"]).await;
    let key = "8e03978e-40d5-43e8-bc93-6894a57f9324";
    for (ctx, other) in both_sides(&acme, &globex) {
        let kept = ctx.idempotency("POST", "/orders", key).unwrap();
        assert_eq!(kept, ctx.idempotency("POST", "/orders", key).unwrap());
        assert_ne!(kept, other.idempotency("POST", "/orders", key).unwrap(), "X14");
        assert_ne!(kept, ctx.idempotency("PUT", "/orders", key).unwrap());
        assert_ne!(kept, ctx.idempotency("POST", "/orders/x", key).unwrap());
    }
    for refused in [String::new(), "x".repeat(256)] {
        let error = acme.idempotency("POST", "/orders", &refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert!(acme.idempotency("POST", "/orders", &"x".repeat(255)).is_ok());
    assert_eq!(acme.key(Vec::<String>::new()).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_channel_and_a_lock_have_names_that_postgres_takes() {
    let [acme, globex] = open_contexts(["acme", "globex"]).await;
    let long = "x".repeat(500);
    for (ctx, other) in both_sides(&acme, &globex) {
        let channel = ctx.channel(("orders", &long)).unwrap();
        let name = channel.notify_name();
        assert!(name.len() <= 63 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{name}");
        assert!(name.starts_with('t'), "an identifier begins with a letter: {name}");
        assert_ne!(name, other.channel(("orders", &long)).unwrap().notify_name());
        // NATS: no token is empty, and none contains a wildcard.
        let hostile = ctx.channel((">", "*", "a b", "", "a.b")).unwrap();
        let tokens: Vec<&str> = hostile.as_str().split('.').collect();
        assert_eq!(tokens.len(), 8, "{hostile}");
        assert!(
            tokens.iter().all(|token| !token.is_empty() && !token.contains(['*', '>', ' '])),
            "{hostile}"
        );
        assert_ne!(ctx.lock_key("x").unwrap().advisory(), other.lock_key("x").unwrap().advisory());
    }
    // Names are stable across versions, so that locks and channels still match after an upgrade.
    assert_eq!(acme.lock_key("import").unwrap().as_str(), "t1:4-acme:4-lock:6-import");
    assert_eq!(acme.lock_key("import").unwrap().advisory(), ADVISORY);
    assert_eq!(acme.channel("orders").unwrap().notify_name(), NOTIFY);
}

const ADVISORY: i64 = 2_255_260_106_114_910_266;
const NOTIFY: &str = "t1_1b003e8f2bc7f482621c334a3090b5dd7b55773aee9a1d180cc901a8";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cross_tenant_context_makes_no_names() {
    let fixture = Fixture::<sqlx::Sqlite>::new().await;
    let sink = MemorySink::new();
    let reason = Reason::new("monthly report FIN-12").unwrap();
    let across = fixture.db.cross_tenant(&fixture.directory, &sink, reason, Actor::user("ada")).unwrap();
    let cache = TenantCache::<u8>::new(10, MINUTE);
    cache.insert(fixture.acme.key("x").unwrap(), 1).await;
    let refused = across
        .read(async |tenant| {
            let ctx = tenant.context();
            let kinds = [
                ctx.key("x").map(|_| ()),
                ctx.object_path("x").map(|_| ()),
                ctx.channel("x").map(|_| ()),
                ctx.lock_key("x").map(|_| ()),
                ctx.idempotency("POST", "/", "x").map(|_| ()),
                ctx.prefix().map(|_| ()),
                cache.flush(ctx),
            ]
            .map(|name| name.map_err(|error| error.kind()));
            Ok(kinds.iter().filter(|kind| **kind == Err(ErrorKind::CrossTenantContext)).count())
        })
        .await
        .unwrap();
    assert_eq!(refused.iter().map(|tenant| tenant.value).collect::<Vec<_>>(), [7, 7]);
    assert_eq!(cache.get(&fixture.acme.key("x").unwrap()).await, Some(1));
}

proptest! {
    #[test]
    fn other_parts_make_other_names(
        one in prop::collection::vec("[:/._a1-]{0,4}|\\PC{0,3}", 1..4),
        other in prop::collection::vec("[:/._a1-]{0,4}|\\PC{0,3}", 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let [acme, globex] = runtime.block_on(open_contexts(["acme", "globex"]));
        let mut seen: HashSet<String> = names(&acme, &one).into_iter().chain(names(&globex, &one)).collect();
        let made = seen.len();
        prop_assert_eq!(made, 2 * names(&acme, &one).len());
        if one != other {
            seen.extend(names(&acme, &other).into_iter().chain(names(&globex, &other)));
            prop_assert_eq!(seen.len(), made + 2 * names(&acme, &other).len());
        }
    }
}

// --- the cache in memory ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_same_key_of_two_tenants_holds_two_values() {
    let [acme, globex] = open_contexts(["acme", "globex"]).await;
    let cache = TenantCache::new(100, MINUTE);
    for (ctx, other) in both_sides(&acme, &globex) {
        cache.insert(ctx.key("open").unwrap(), ctx.tenant_id().to_string()).await;
        assert_eq!(cache.get(&ctx.key("open").unwrap()).await, Some(ctx.tenant_id().to_string()), "X01");
        cache.invalidate(&other.key("open").unwrap()).await;
        assert_eq!(cache.get(&other.key("open").unwrap()).await, None);
        assert!(
            cache.get(&ctx.key("open").unwrap()).await.is_some(),
            "it was the other's that was forgotten"
        );
    }
}

/// A counter of loads that blocks them until they are released.
struct Loads {
    count: AtomicUsize,
    gate: Semaphore,
}

impl Loads {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), gate: Semaphore::new(permits) })
    }

    async fn load(&self, value: &str) -> Result<String, Error> {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.expect("the gate is open").forget();
        Ok(value.to_owned())
    }

    async fn begun(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.count.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < end, "no load has begun");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn concurrent_requests_for_a_key_wait_for_one_load_of_their_tenant() {
    let [acme, globex] = open_contexts(["acme", "globex"]).await;
    let cache = Arc::new(TenantCache::new(100, MINUTE));
    let loads = Loads::new(0);
    let tasks: Vec<_> = [&acme, &globex]
        .into_iter()
        .cycle()
        .take(20)
        .map(|ctx| {
            let (cache, loads, ctx) = (cache.clone(), loads.clone(), ctx.clone());
            tokio::spawn(async move {
                let id = ctx.tenant_id().to_string();
                (cache.get_with(&ctx.key("report").unwrap(), loads.load(&id)).await.unwrap(), id)
            })
        })
        .collect();
    loads.begun(2).await;
    loads.gate.add_permits(2);
    for task in tasks {
        let (answer, id) = task.await.unwrap();
        assert_eq!(answer, id, "I86: another tenant's load answered");
    }
    assert_eq!(loads.count.load(Ordering::SeqCst), 2, "one load for each tenant");
}

#[tokio::test]
async fn an_error_is_not_kept() {
    let [acme, globex] = open_contexts(["acme", "globex"]).await;
    let cache = TenantCache::<u8>::new(100, MINUTE);
    for ctx in [&acme, &globex] {
        let key = ctx.key("x").unwrap();
        assert_eq!(cache.get_with(&key, async { Err("down") }).await, Err("down"));
        assert_eq!(cache.get_with(&key, async { Ok::<_, &str>(1) }).await, Ok(1));
        assert_eq!(cache.get_with(&key, async { Err("down") }).await, Ok(1));
    }
}

#[tokio::test]
async fn a_flush_takes_one_tenants_values_and_no_others() {
    for flushed in 0..3 {
        let contexts = open_contexts(["acme", "acme2", "globex"]).await;
        let cache = TenantCache::new(1_000, MINUTE);
        for ctx in &contexts {
            for n in 0..20 {
                cache.insert(ctx.key(("order", n)).unwrap(), n).await;
            }
        }
        cache.flush(&contexts[flushed]).unwrap();
        for (at, ctx) in contexts.iter().enumerate() {
            for n in 0..20 {
                let kept = cache.get(&ctx.key(("order", n)).unwrap()).await;
                assert_eq!(kept, (at != flushed).then_some(n), "X02: {n} of tenant {at}");
            }
        }
        // The cache still works.
        let key = contexts[flushed].key(("order", 0)).unwrap();
        let again = cache.get_with(&key, async { Ok::<_, Error>(7) });
        assert_eq!(again.await.unwrap(), 7);
        assert_eq!(cache.get(&key).await, Some(7));
    }
}

#[tokio::test]
async fn what_was_read_before_a_flush_or_invalidation_is_not_kept_after_it() {
    let [acme, globex] = open_contexts(["acme", "globex"]).await;
    for (ctx, other) in both_sides(&acme, &globex) {
        for flush in [true, false] {
            let cache = Arc::new(TenantCache::new(100, MINUTE));
            cache.insert(other.key("x").unwrap(), "other".to_owned()).await;
            let loads = Loads::new(0);
            let key = ctx.key("x").unwrap();
            let loading = tokio::spawn({
                let (cache, loads, key) = (cache.clone(), loads.clone(), key.clone());
                async move { cache.get_with(&key, loads.load("before")).await }
            });
            loads.begun(1).await;
            if flush {
                cache.flush(&ctx).unwrap();
                loads.gate.add_permits(1);
            } else {
                // The invalidation waits until the load ends.
                let invalidated = cache.invalidate(&key);
                let mut invalidated = std::pin::pin!(invalidated);
                assert!(futures_util::poll!(&mut invalidated).is_pending());
                loads.gate.add_permits(1);
                invalidated.await;
            }
            assert_eq!(loading.await.unwrap().unwrap(), "before");
            assert_eq!(cache.get(&key).await, None, "flush: {flush}");
            assert_eq!(cache.get(&other.key("x").unwrap()).await.as_deref(), Some("other"));
        }
    }
}

// --- Redis -----------------------------------------------------------------------------------------------------------

async fn redis() -> TenantRedis {
    let client = redis::Client::open(common::redis_url()).expect("TEST_REDIS_URL reads");
    TenantRedis::connect(client).await.unwrap_or_else(|e| panic!("{}\n({e})", common::NO_REDIS))
}

/// Two tenants that no other test uses; the second id starts with the first one.
async fn fresh() -> [TenantContext; 2] {
    let id = format!("acme-{}", Uuid::now_v7().simple());
    open_contexts([id.as_str(), format!("{id}2").as_str()]).await
}

#[tokio::test]
async fn the_same_key_of_two_tenants_holds_two_values_in_redis() {
    let redis = redis().await;
    let [acme, acme2] = fresh().await;
    for (ctx, other) in both_sides(&acme, &acme2) {
        let (own, foreign) = (ctx.key(("order", 42)).unwrap(), other.key(("order", 42)).unwrap());
        redis.set(&own, b"own\0\xff", MINUTE).await.unwrap();
        assert_eq!(redis.get(&own).await.unwrap().as_deref(), Some(&b"own\0\xff"[..]));
        assert_eq!(redis.get(&foreign).await.unwrap(), None, "X01");
        assert!(!redis.delete(&foreign).await.unwrap());
        assert!(redis.delete(&own).await.unwrap());
        assert_eq!(redis.get(&own).await.unwrap(), None);

        let (own, foreign) = (ctx.key("hits").unwrap(), other.key("hits").unwrap());
        assert_eq!(redis.increment(&own, 2, MINUTE).await.unwrap(), 2);
        assert_eq!(redis.increment(&own, 3, MINUTE).await.unwrap(), 5);
        assert_eq!(redis.increment(&foreign, 1, MINUTE).await.unwrap(), 1);
        redis.delete(&foreign).await.unwrap();
        redis.delete(&own).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_kept_in_redis_ends() {
    let redis = redis().await;
    let [acme, acme2] = fresh().await;
    for ctx in [&acme, &acme2] {
        let (value, sum) = (ctx.key("value").unwrap(), ctx.key("sum").unwrap());
        redis.set(&value, "x", Duration::from_millis(20)).await.unwrap();
        redis.increment(&sum, 1, Duration::from_millis(20)).await.unwrap();
        for key in [&value, &sum] {
            let end = Instant::now() + Duration::from_secs(30);
            while redis.get(key).await.unwrap().is_some() {
                assert!(Instant::now() < end, "{key} is there for ever");
            }
        }
        let error = redis.set(&value, "x", Duration::from_micros(9)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        // A value that is no number is not incremented.
        redis.set(&value, "x", MINUTE).await.unwrap();
        let error = redis.increment(&value, 1, MINUTE).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("tenant")), (ErrorKind::Database, false));
        redis.flush(ctx).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_reaches_only_its_own_tenant() {
    let redis = redis().await;
    let [acme, acme2] = fresh().await;
    for (ctx, other) in both_sides(&acme, &acme2) {
        let (own, foreign) = (ctx.channel("orders").unwrap(), other.channel("orders").unwrap());
        let mut listening = redis.subscribe(&own).await.unwrap();
        assert_eq!(redis.publish(&foreign, "not for you").await.unwrap(), 0, "X16");
        assert_eq!(redis.publish(&own, "for you").await.unwrap(), 1);
        let message = tokio::time::timeout(Duration::from_secs(30), listening.next()).await;
        assert_eq!(message.expect("a message came").as_deref(), Some(&b"for you"[..]));
    }
}

#[tokio::test]
async fn a_lock_has_one_holder_who_alone_releases_it() {
    let redis = redis().await;
    let [acme, acme2] = fresh().await;
    for (ctx, other) in both_sides(&acme, &acme2) {
        let (own, foreign) = (ctx.lock_key("import").unwrap(), other.lock_key("import").unwrap());
        let lock = redis.lock(&own, MINUTE).await.unwrap().expect("nobody has it");
        assert!(redis.lock(&own, MINUTE).await.unwrap().is_none(), "two have it");
        let others = redis.lock(&foreign, MINUTE).await.unwrap().expect("it is another tenant's");
        // A flush of values keeps the lock.
        redis.flush(&ctx).await.unwrap();
        assert!(redis.lock(&own, MINUTE).await.unwrap().is_none(), "the flush opened it");
        assert!(lock.release().await.unwrap());
        assert!(others.release().await.unwrap());

        let late = redis.lock(&own, Duration::from_millis(1)).await.unwrap().expect("nobody has it");
        let end = Instant::now() + Duration::from_secs(30);
        let next = loop {
            if let Some(lock) = redis.lock(&own, MINUTE).await.unwrap() {
                break lock;
            }
            assert!(Instant::now() < end, "the lock does not end");
        };
        assert!(!late.release().await.unwrap(), "its time was over");
        assert!(redis.lock(&own, MINUTE).await.unwrap().is_none(), "the late one opened the next one's lock");
        assert!(next.release().await.unwrap());
    }
}

#[tokio::test]
async fn a_flush_of_redis_takes_one_tenants_values_and_no_others() {
    let redis = redis().await;
    let [acme, acme2] = fresh().await;
    for (ctx, other) in both_sides(&acme, &acme2) {
        // More keys than one step of SCAN returns.
        for n in 0..1_500 {
            redis.set(&ctx.key(("order", n)).unwrap(), "x", MINUTE).await.unwrap();
        }
        for hostile in ["*", "[a-z]", "?", "\\"] {
            redis.set(&other.key(hostile).unwrap(), "x", MINUTE).await.unwrap();
            redis.set(&ctx.key(hostile).unwrap(), "x", MINUTE).await.unwrap();
        }
        assert_eq!(redis.flush(&ctx).await.unwrap(), 1_504, "X02");
        assert_eq!(redis.get(&ctx.key(("order", 7)).unwrap()).await.unwrap(), None);
        for hostile in ["*", "[a-z]", "?", "\\"] {
            assert!(redis.get(&other.key(hostile).unwrap()).await.unwrap().is_some());
        }
        assert_eq!(redis.flush(&other).await.unwrap(), 4);
        assert_eq!(redis.flush(&ctx).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_unreachable_redis_is_unavailable() {
    // A port on which no server listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let error = TenantRedis::connect(client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert!(error.is_transient());
}
