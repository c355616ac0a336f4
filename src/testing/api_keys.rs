use std::sync::Arc;

use futures_util::future::join_all;

use super::{assert_refused, done};
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::tenant::{ApiKey, ApiKeyFormat, ApiKeyStore, TenantId};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const LATER: Timestamp = Timestamp::from_seconds(1_700_000_100);

/// Holds an [`ApiKeyStore`] to its promises, each on a store of its own from `fresh`.
///
/// # Panics
/// On the first promise that is broken, naming it.
pub async fn api_key_store<S, F>(fresh: F)
where
    S: ApiKeyStore,
    F: AsyncFn() -> S,
{
    finds_what_was_inserted(&fresh().await).await;
    refuses_an_id_that_is_taken(&fresh().await).await;
    revokes_for_good(&fresh().await).await;
    revokes_only_ones_own(&fresh().await).await;
    lists_a_tenants_keys(&fresh().await).await;
    revokes_once_in_a_race(&fresh().await).await;
}

async fn finds_what_was_inserted(store: &dyn ApiKeyStore) {
    let tenants = [
        done(TenantId::parse("42"), "the suite's ids are ids"),
        done(TenantId::parse("acme"), "the suite's ids are ids"),
        TenantId::random(),
    ];
    for tenant in tenants {
        let plain = issue(&tenant, "CI “ü”");
        let ending = issue(&tenant, "").expiring(LATER);
        for key in [plain, ending] {
            assert_absent(store, key.id(), "what was never inserted is `None`").await;
            done(store.insert_key(&key).await, "an insert of a new key succeeds");
            assert_holds(store, &key, "every field is read back as it was written").await;
            assert_absent(store, &key.id().to_lowercase(), "an id is told apart by its case").await;
            assert_absent(store, &key.id()[1..], "only the whole id is a match").await;
        }
    }
}

async fn refuses_an_id_that_is_taken(store: &dyn ApiKeyStore) {
    let (acme, globex) = (TenantId::random(), TenantId::random());
    let key = insert(store, &acme).await;
    let mut stored = parts(&issue(&globex, "thief"));
    key.id().clone_into(&mut stored.id);
    let again = store.insert_key(&ApiKey::from_stored(stored)).await;
    assert_refused(again, ErrorKind::Conflict, "a second key with an id is refused");
    assert_holds(store, &key, "a refused insert changes nothing").await;
}

async fn revokes_for_good(store: &dyn ApiKeyStore) {
    let acme = TenantId::random();
    let (key, other) = (insert(store, &acme).await, insert(store, &acme).await);
    assert_holds(store, &key, "a key is found after its insert").await;
    let revoked = done(store.revoke_key(&acme, key.id(), NOW).await, "a key can be revoked");
    assert_eq!(*revoked, key.revoked_at(NOW), "promise broken: a revocation answers with what is there now");
    assert_holds(store, &revoked, "a revocation is seen by the next read").await;
    let again = done(store.revoke_key(&acme, key.id(), LATER).await, "revoking again is no error");
    assert_eq!(again, revoked, "promise broken: the first revocation stays");
    assert_holds(store, &revoked, "the first revocation stays").await;
    assert_holds(store, &other, "a revocation leaves other keys alone").await;
}

async fn revokes_only_ones_own(store: &dyn ApiKeyStore) {
    let (acme, globex) = (TenantId::random(), TenantId::random());
    let key = insert(store, &acme).await;
    for id in [key.id(), "nobody", ""] {
        let foreign = store.revoke_key(&globex, id, NOW).await;
        assert_refused(foreign, ErrorKind::NotFound, "a key of another tenant looks like none");
    }
    assert_holds(store, &key, "a refused revocation changes nothing").await;
}

async fn lists_a_tenants_keys(store: &dyn ApiKeyStore) {
    let (acme, globex) = (TenantId::random(), TenantId::random());
    let none = done(store.keys(&acme).await, "a list of none is empty, not an error");
    assert!(none.is_empty(), "promise broken: a list of none is empty");
    let mut wanted = Vec::new();
    for _ in 0..5 {
        wanted.push(insert(store, &acme).await);
        insert(store, &globex).await;
    }
    wanted[2] = (*done(store.revoke_key(&acme, wanted[2].id(), NOW).await, "a key can be revoked")).clone();
    wanted.sort_by(|one, other| one.id().cmp(other.id()));
    let listed = done(store.keys(&acme).await, "a list succeeds");
    let listed: Vec<ApiKey> = listed.iter().map(|key| ApiKey::clone(key)).collect();
    assert_eq!(listed, wanted, "promise broken: a list shows every key of one tenant, sorted by id");
}

async fn revokes_once_in_a_race(store: &dyn ApiKeyStore) {
    let acme = TenantId::random();
    let key = insert(store, &acme).await;
    let times: Vec<_> = (0..16).map(|n| Timestamp::from_seconds(1_700_000_000 + n)).collect();
    let results = join_all(times.iter().map(|now| store.revoke_key(&acme, key.id(), *now))).await;
    let mut said: Vec<Arc<ApiKey>> = Vec::new();
    for result in results {
        match result {
            Ok(key) => said.push(key),
            Err(error) => assert!(error.is_transient(), "promise broken: a key can be revoked: {error}"),
        }
    }
    assert!(!said.is_empty(), "promise broken: a key can be revoked");
    for key in &said {
        assert_holds(store, key, "the first revocation stays").await;
    }
}

async fn insert(store: &dyn ApiKeyStore, tenant: &TenantId) -> ApiKey {
    let key = issue(tenant, "key");
    done(store.insert_key(&key).await, "an insert of a new key succeeds");
    key
}

fn issue(tenant: &TenantId, name: &str) -> ApiKey {
    let format = done(ApiKeyFormat::new("suite", "test"), "the suite's format is one");
    ApiKey::issue(&format, tenant.clone(), name, NOW).0
}

fn parts(key: &ApiKey) -> crate::tenant::ApiKeyParts {
    crate::tenant::ApiKeyParts {
        id: key.id().to_owned(),
        tenant: key.tenant().clone(),
        name: key.name().to_owned(),
        hash: *key.hash(),
        created: key.created(),
        expires: key.expires(),
        revoked: key.revoked(),
    }
}

async fn assert_holds(store: &dyn ApiKeyStore, key: &ApiKey, promise: &str) {
    // Twice, for caches: the first read may fill what the second one reads.
    for _ in 0..2 {
        let found = done(store.key(key.id()).await, "a read by id succeeds");
        assert_eq!(found.as_deref(), Some(key), "promise broken: {promise}");
    }
}

async fn assert_absent(store: &dyn ApiKeyStore, id: &str, promise: &str) {
    for _ in 0..2 {
        let found = done(store.key(id).await, "a read of an id that is not there is `None`, not an error");
        assert_eq!(found, None, "promise broken: {promise}");
    }
}
