//! A change by one process reaches the caches of the others, although their time to live is an hour.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sqlx::{AssertSqlSafe, PgPool};
use tenancy::ErrorKind;
use tenancy::store::{Invalidation, SqlStore};
use tenancy::tenant::{Domain, DomainStore, Slug, TenantId, TenantStatus, TenantStore};

use crate::common::{TestBackend, postgres_url, redis_url};
use crate::log::Log;
use crate::node::{Deployment, Node, Transport, until};
use crate::proxy::Proxy;

async fn tenants_and_their_slugs_are_read_again(transport: Transport) {
    let world = Deployment::new(transport).await;
    let (writer, reader) = (world.node().await, world.node().await);
    let (acme, globex) = (writer.insert("acme").await, writer.insert("globex").await);
    assert_eq!(reader.tenant("acme").await, Some(acme.clone()));
    assert_eq!(reader.tenant("globex").await, Some(globex.clone()));
    assert_eq!(reader.tenant("acme-corp").await, None);

    let suspended = writer.cache.update(&acme.with_status(TenantStatus::Suspended).unwrap()).await.unwrap();
    until("the suspension is seen", async || {
        reader.cache.by_id(acme.id()).await.unwrap() == Some(suspended.clone())
    })
    .await;
    assert_eq!(reader.tenant("globex").await, Some(globex.clone()));

    let upgraded = writer.cache.update(&globex.with_plan("pro")).await.unwrap();
    until("the plan is seen", async || reader.tenant("globex").await == Some(upgraded.clone())).await;
    assert_eq!(reader.tenant("acme").await, Some(suspended.clone()));

    let renamed = writer.cache.update(&suspended.with_slug(Slug::parse("acme-corp").unwrap())).await.unwrap();
    until("the new slug is seen", async || reader.tenant("acme-corp").await == Some(renamed.clone())).await;
    assert_eq!(reader.tenant("acme").await, None);
    assert_eq!(reader.tenant("globex").await, Some(upgraded));

    // A tenant that was looked up before it existed.
    assert_eq!(reader.tenant("initech").await, None);
    let initech = writer.insert("initech").await;
    until("the insert is seen", async || reader.tenant("initech").await == Some(initech.clone())).await;
}

async fn keys_domains_and_members_are_read_again(transport: Transport) {
    let world = Deployment::new(transport).await;
    let (writer, reader) = (world.node().await, world.node().await);
    let (acme, globex) = (writer.insert("acme").await, writer.insert("globex").await);

    let (acme_key, globex_key) = (writer.key(&acme).await, writer.key(&globex).await);
    assert!(!reader.is_revoked(&acme_key).await && !reader.is_revoked(&globex_key).await);
    writer.revoke(&acme_key).await;
    until("the revocation is seen", async || reader.is_revoked(&acme_key).await).await;
    assert!(!reader.is_revoked(&globex_key).await);

    let [acme_com, globex_com] = ["acme.com", "globex.com"].map(|name| Domain::parse(name).unwrap());
    assert_eq!(reader.owner(&acme_com).await, None);
    writer.verify(&acme, &acme_com).await;
    writer.verify(&globex, &globex_com).await;
    until("the domain is seen", async || reader.owner(&acme_com).await.as_ref() == Some(acme.id())).await;
    assert_eq!(reader.owner(&globex_com).await.as_ref(), Some(globex.id()));
    writer.cache.remove_domain(acme.id(), &acme_com).await.unwrap();
    until("the removal is seen", async || reader.owner(&acme_com).await.is_none()).await;
    assert_eq!(reader.owner(&globex_com).await.as_ref(), Some(globex.id()));

    let [ada, bob] = [(acme.id().clone(), "user:ada"), (globex.id().clone(), "user:bob")]
        .map(|(tenant, name)| (tenant, name.to_owned()));
    world.members.0.lock().unwrap().extend([ada.clone(), bob]);
    assert!(reader.is_member(&acme, "ada").await && reader.is_member(&globex, "bob").await);
    world.members.0.lock().unwrap().remove(&ada);
    assert!(reader.is_member(&acme, "ada").await, "the member is cached");
    world.publish(&Invalidation::Members(acme.id().clone())).await;
    until("the removal is seen", async || !reader.is_member(&acme, "ada").await).await;
    assert!(reader.is_member(&globex, "bob").await && !reader.is_member(&acme, "bob").await);
}

/// The changes of which a node is notified until a marker arrives.
async fn seen_until_now(world: &Deployment, node: &Node) -> Vec<Invalidation> {
    let marker = Invalidation::Members(TenantId::random());
    world.publish(&marker).await;
    let seen = || node.seen.lock().unwrap().clone();
    until("the marker arrives", async || seen().contains(&marker)).await;
    let mut seen = seen();
    seen.retain(|change| !matches!(change, Invalidation::Members(_)));
    seen
}

/// On PostgreSQL the notification is part of the transaction. A change that is rolled back notifies nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rolled_back_notifies_nobody() {
    use tenancy::billing::BillingStore;

    let world = Deployment::new(Transport::Postgres).await;
    let reader = world.node().await;
    let store = SqlStore::new(world.pool.clone());
    let new = |slug| tenancy::tenant::NewTenant::active(slug, "free").unwrap();
    let (acme, globex) =
        (store.insert(new("acme")).await.unwrap(), store.insert(new("globex")).await.unwrap());
    let changed = |tenant: &Arc<tenancy::tenant::Tenant>| Invalidation::Tenant(tenant.id().clone());
    let inserts = [Invalidation::All, changed(&acme), changed(&globex)];
    assert_eq!(seen_until_now(&world, &reader).await, inserts);

    let mut tx = store.begin().await.unwrap();
    let locked = tx.lock_tenant(acme.id()).await.unwrap().unwrap();
    tx.save_tenant(&locked.with_plan("pro")).await.unwrap();
    assert_eq!(seen_until_now(&world, &reader).await, inserts, "it is not committed");
    drop(tx);
    let stale = store.update(&globex.with_plan("pro")).await.unwrap();
    assert_eq!(store.update(&globex).await.unwrap_err().kind(), ErrorKind::StaleVersion);
    assert_eq!(store.insert(new("acme")).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(seen_until_now(&world, &reader).await[3..], [changed(&stale)]);

    let mut tx = store.begin().await.unwrap();
    let locked = tx.lock_tenant(acme.id()).await.unwrap().unwrap();
    tx.save_tenant(&locked.with_plan("pro")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(seen_until_now(&world, &reader).await[4..], [changed(&acme)]);
}

/// Two deployments can share a database, each with a schema of its own, and one Redis.
async fn another_deployment_is_not_notified(transport: Transport) {
    let world = Deployment::new(transport).await;
    let reader = world.node().await;
    let other = if transport == Transport::Postgres {
        sqlx::raw_sql("CREATE SCHEMA other").execute(&world.pool).await.unwrap();
        let options = world.options().options([("search_path", "other")]);
        SqlStore::new(PgPool::connect_lazy_with(options.clone())).migrate().await.unwrap();
        Deployment::at(transport, &world.url()).await.with_options(options)
    } else {
        Deployment::new(transport).await
    };
    let neighbour = other.node().await;
    let acme = neighbour.insert("acme").await;
    assert_eq!(seen_until_now(&other, &neighbour).await[1..], [Invalidation::Tenant(acme.id().clone())]);
    assert_eq!(seen_until_now(&world, &reader).await, [Invalidation::All]);
    assert_eq!(reader.tenant("acme").await, None);
}

/// The value of a metric. Each snapshot resets the counters.
fn metric(snapshotter: &Snapshotter, name: &str) -> Vec<DebugValue> {
    let all = snapshotter.snapshot().into_vec();
    all.into_iter().filter(|(key, ..)| key.key().name() == name).map(|(.., value)| value).collect()
}

fn logged(log: &Log) -> impl Drop {
    let log = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone());
    tracing::subscriber::set_default(subscriber.finish())
}

const LOST: &str = "is not connected: until it is";
const BACK: &str = "is connected again";

/// Without its connection a node falls back to the time to live, and says so once. It connects again, and is right.
async fn a_lost_connection_falls_back_and_says_so(
    world: Deployment,
    disconnect: impl AsyncFnOnce(&Deployment),
    restore: impl AsyncFnOnce(&Deployment),
) {
    let (log, recorder) = (Log::default(), DebuggingRecorder::new());
    let snapshotter = recorder.snapshotter();
    let (_log, _metrics) = (logged(&log), metrics::set_default_local_recorder(&recorder));
    let direct = Deployment::at(world.transport, &world.url()).await;
    let writer = direct.start();
    let reader = world.node().await;
    until("the listener is connected", async || writer.listener.status().is_connected()).await;
    let (acme, globex) = (writer.insert("acme").await, writer.insert("globex").await);
    assert_eq!(seen_until_now(&direct, &reader).await.len(), 3);
    for tenant in [&acme, &globex] {
        assert_eq!(reader.tenant(tenant.slug().as_str()).await.as_ref(), Some(tenant));
    }
    assert!(!log.text().contains(LOST), "{}", log.text());

    disconnect(&world).await;
    until("the outage is noticed", async || !reader.listener.status().is_connected()).await;
    let suspended = writer.cache.update(&acme.with_status(TenantStatus::Suspended).unwrap()).await.unwrap();
    // Several attempts to connect fail meanwhile.
    let attempts = Instant::now() + Duration::from_millis(500);
    while Instant::now() < attempts {
        assert_eq!(reader.tenant("acme").await.as_ref(), Some(&acme), "it is cached for an hour");
        tokio::task::yield_now().await;
    }
    assert!(!reader.listener.status().is_connected());
    let lost = log.text().matches(LOST).count();
    assert!((1..=2).contains(&lost), "once for each listener: {}", log.text());

    restore(&world).await;
    until("it is connected again", async || reader.listener.status().is_connected()).await;
    assert_eq!(reader.tenant("acme").await, Some(suspended.clone()));
    assert_eq!(reader.tenant("globex").await, Some(globex.clone()));
    until("the writer is connected", async || writer.listener.status().is_connected()).await;
    let active = writer.cache.update(&suspended.with_status(TenantStatus::Active).unwrap()).await.unwrap();
    until("the change is seen", async || reader.tenant("acme").await == Some(active.clone())).await;
    let text = log.text();
    assert_eq!((text.matches(LOST).count(), text.matches(BACK).count()), (lost, lost), "{text}");
    assert!(!text.contains("acme"), "{text}");
    assert_eq!(
        metric(&snapshotter, "tenancy_cache_listener_outages_total"),
        [DebugValue::Counter(lost as u64)]
    );
    drop((reader, writer));
    until("the listeners ended", async || {
        metric(&snapshotter, "tenancy_cache_listener_connected") == [DebugValue::Gauge(0.0.into())]
    })
    .await;
}

/// Runs a statement in another database of the server.
async fn on_the_server(sql: String) {
    let server = PgPool::connect(&postgres_url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&server).await.unwrap();
    server.close().await;
}

#[tokio::test]
async fn a_terminated_backend_of_postgres_falls_back_and_says_so() {
    let world = Deployment::new(Transport::Postgres).await;
    let name = world.options().get_database().unwrap().to_owned();
    let allow = |allowed| format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}");
    let disconnect = async |world: &Deployment| {
        on_the_server(allow(false)).await;
        assert!(terminate_listeners(&world.pool).await >= 1);
    };
    a_lost_connection_falls_back_and_says_so(world, disconnect, async |_| on_the_server(allow(true)).await)
        .await;
}

/// Terminates the connections that listen in a database, and returns their number.
pub(crate) async fn terminate_listeners(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND query ~ '^(LISTEN|SELECT 1$)'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Kills the subscribers that connected to the same number of a database of Redis, and returns their number. Messages go
/// to the subscribers of every number.
pub(crate) async fn kill_subscribers(url: &str) -> usize {
    let mut connection = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut list = redis::cmd("CLIENT");
    list.arg("LIST").arg("TYPE").arg("pubsub");
    let clients: String = list.query_async(&mut connection).await.unwrap();
    let number = format!("db={}", url.rsplit('/').next().unwrap());
    let ours = clients.lines().filter(|client| client.split(' ').any(|field| field == number));
    let ids: Vec<_> =
        ours.filter_map(|client| client.split(' ').find_map(|f| f.strip_prefix("id="))).collect();
    for id in &ids {
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(id);
        kill.query_async::<()>(&mut connection).await.unwrap();
    }
    ids.len()
}

#[tokio::test]
async fn a_lost_connection_to_redis_falls_back_and_says_so() {
    let proxy = Proxy::start(&redis_url()).await;
    let world = Deployment::new(Transport::Redis).await.redis_at(&proxy.url("redis"));
    a_lost_connection_falls_back_and_says_so(world, async |_| proxy.close(), async |_| proxy.open()).await;
}

/// Redis ends the connections of its subscribers, as it does to those that read too slowly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_clients_of_redis_subscribe_again() {
    let url = format!("{}1", redis_url());
    let world = Deployment::new(Transport::Redis).await.redis_at(&url);
    let (writer, reader) = (world.node().await, world.node().await);
    let acme = writer.insert("acme").await;
    let globex = writer.insert("globex").await;
    assert_eq!(reader.tenant("acme").await, Some(acme.clone()));
    let connections =
        |node: &Node| node.seen.lock().unwrap().iter().filter(|change| **change == Invalidation::All).count();
    let before = connections(&reader);
    assert_eq!(kill_subscribers(&url).await, 2);
    until("it subscribes again", async || connections(&reader) > before).await;
    until("it is connected", async || reader.listener.status().is_connected()).await;
    let suspended = writer.cache.update(&acme.with_status(TenantStatus::Suspended).unwrap()).await.unwrap();
    until("the suspension is seen", async || reader.tenant("acme").await == Some(suspended.clone())).await;
    assert_eq!(reader.tenant("globex").await, Some(globex));
}

/// A connection that fails without a message, as when a firewall forgets it.
async fn a_silent_connection_is_noticed(transport: Transport) {
    let server = if transport == Transport::Postgres { postgres_url() } else { redis_url() };
    let proxy = Proxy::start(&server).await;
    let world = Deployment::new(transport).await;
    let node = match transport {
        Transport::Postgres => {
            let options = world.options().host("127.0.0.1").port(proxy.port());
            let through = Deployment::at(transport, &world.url()).await.with_options(options);
            through.node().await
        }
        Transport::Redis => world.redis_at(&proxy.url("redis")).node().await,
    };
    proxy.silence();
    until("the silence is noticed", async || !node.listener.status().is_connected()).await;
    proxy.open();
    until("it is connected again", async || node.listener.status().is_connected()).await;
}

/// If Redis is down, the change is made all the same, and the writer says that the others are not notified.
#[tokio::test]
async fn a_change_is_made_while_redis_is_down() {
    let proxy = Proxy::start(&redis_url()).await;
    proxy.close();
    let world = Deployment::new(Transport::Redis).await.redis_at(&proxy.url("redis"));
    let (log, recorder) = (Log::default(), DebuggingRecorder::new());
    let snapshotter = recorder.snapshotter();
    let (_log, _metrics) = (logged(&log), metrics::set_default_local_recorder(&recorder));
    let writer = world.start();
    let acme = writer.insert("acme").await;
    let globex = writer.insert("globex").await;
    for tenant in [acme, globex] {
        assert_eq!(SqlStore::new(world.pool.clone()).by_id(tenant.id()).await.unwrap(), Some(tenant));
    }
    assert_eq!(metric(&snapshotter, "tenancy_cache_unpublished_total"), [DebugValue::Counter(2)]);
    assert!(log.text().contains("only after their time to live"), "{}", log.text());
    let error = world.channel().publish(&Invalidation::All).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
}

/// A listener of a database without the library's tables says what to do, and begins as soon as they are there.
#[tokio::test]
async fn a_listener_waits_for_the_tables() {
    let (pool, _cleanup) = sqlx::Postgres::fresh(2).await;
    let log = Log::default();
    let _log = logged(&log);
    let listener = tenancy::store::InvalidationListener::postgres((*pool.connect_options()).clone());
    let status = listener.status();
    let task = listener.spawn();
    until("it says what is missing", async || log.text().contains("run `SqlStore::migrate` first")).await;
    assert!(!status.is_connected());
    SqlStore::new(pool).migrate().await.unwrap();
    until("it is connected", async || status.is_connected()).await;
    drop(task);
    until("it ended", async || !status.is_connected()).await;
}

macro_rules! on_every_transport {
    ($($test:ident),+ $(,)?) => {
        mod over_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Transport::Postgres).await;
            })+
        }
        mod over_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Transport::Redis).await;
            })+
        }
    };
}

on_every_transport!(
    tenants_and_their_slugs_are_read_again,
    keys_domains_and_members_are_read_again,
    another_deployment_is_not_notified,
    a_silent_connection_is_noticed,
);
