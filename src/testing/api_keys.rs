//! The contract of [`ApiKeyStore`].

use std::sync::Arc;

use futures_util::future::join_all;

use super::expect::{assert_rejected, expect_ok};
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::tenant::{ApiKey, ApiKeyFormat, ApiKeyStore, TenantId};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const LATER: Timestamp = Timestamp::from_seconds(1_700_000_100);

/// Tests an [`ApiKeyStore`] against the contract of the trait. `fresh` creates a new, empty store for each rule.
///
/// # Panics
/// If the store violates a rule, with that rule.
pub async fn api_key_store<S, F>(fresh: F)
where
    S: ApiKeyStore,
    F: AsyncFn() -> S,
{
    finds_what_was_inserted(&fresh().await).await;
    rejects_a_taken_id(&fresh().await).await;
    revokes_permanently(&fresh().await).await;
    revokes_only_keys_of_the_tenant(&fresh().await).await;
    lists_a_tenants_keys(&fresh().await).await;
    revokes_once_in_a_race(&fresh().await).await;
}

async fn finds_what_was_inserted(store: &dyn ApiKeyStore) {
    let tenants = [
        expect_ok(TenantId::parse("42"), "the ids of the suite are valid"),
        expect_ok(TenantId::parse("acme"), "the ids of the suite are valid"),
        TenantId::random(),
    ];
    for tenant in tenants {
        let plain = issue(&tenant, "CI “ü”");
        let ending = issue(&tenant, "").expiring(LATER);
        for key in [plain, ending] {
            assert_absent(store, key.id(), "a key that was never inserted is `None`").await;
            expect_ok(store.insert_key(&key).await, "an insert of a new key succeeds");
            assert_holds(store, &key, "every field is read back as it was written").await;
            assert_absent(store, &key.id().to_lowercase(), "ids are case-sensitive").await;
            assert_absent(store, &key.id()[1..], "only the whole id is a match").await;
        }
    }
}

async fn rejects_a_taken_id(store: &dyn ApiKeyStore) {
    let (acme, globex) = (TenantId::random(), TenantId::random());
    let key = insert(store, &acme).await;
    let mut stored = parts(&issue(&globex, "thief"));
    key.id().clone_into(&mut stored.id);
    let again = store.insert_key(&ApiKey::from_stored(stored)).await;
    assert_rejected(again, ErrorKind::Conflict, "a second key with the same id is rejected");
    assert_holds(store, &key, "a rejected insert changes nothing").await;
}

async fn revokes_permanently(store: &dyn ApiKeyStore) {
    let acme = TenantId::random();
    let (key, other) = (insert(store, &acme).await, insert(store, &acme).await);
    assert_holds(store, &key, "a key is found after its insert").await;
    let revoked = expect_ok(store.revoke_key(&acme, key.id(), NOW).await, "a key can be revoked");
    assert_eq!(*revoked, key.revoked_at(NOW), "promise broken: a revocation returns the revoked key");
    assert_holds(store, &revoked, "the next read returns the revocation").await;
    let again = expect_ok(store.revoke_key(&acme, key.id(), LATER).await, "revoking again is no error");
    assert_eq!(again, revoked, "promise broken: the first revocation stays");
    assert_holds(store, &revoked, "the first revocation stays").await;
    assert_holds(store, &other, "a revocation does not change other keys").await;
}

async fn revokes_only_keys_of_the_tenant(store: &dyn ApiKeyStore) {
    let (acme, globex) = (TenantId::random(), TenantId::random());
    let key = insert(store, &acme).await;
    for id in [key.id(), "absent", ""] {
        let foreign = store.revoke_key(&globex, id, NOW).await;
        assert_rejected(foreign, ErrorKind::NotFound, "a key of another tenant looks like an absent key");
    }
    assert_holds(store, &key, "a rejected revocation changes nothing").await;
}

async fn lists_a_tenants_keys(store: &dyn ApiKeyStore) {
    let (acme, globex) = (TenantId::random(), TenantId::random());
    let none = expect_ok(store.keys(&acme).await, "a list without keys is empty, not an error");
    assert!(none.is_empty(), "promise broken: a list without keys is empty");
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(insert(store, &acme).await);
        insert(store, &globex).await;
    }
    expected[2] =
        (*expect_ok(store.revoke_key(&acme, expected[2].id(), NOW).await, "a key can be revoked")).clone();
    expected.sort_by(|one, other| one.id().cmp(other.id()));
    let listed = expect_ok(store.keys(&acme).await, "a list succeeds");
    let listed: Vec<ApiKey> = listed.iter().map(|key| ApiKey::clone(key)).collect();
    assert_eq!(listed, expected, "promise broken: a list contains all keys of one tenant, sorted by id");
}

async fn revokes_once_in_a_race(store: &dyn ApiKeyStore) {
    let acme = TenantId::random();
    let key = insert(store, &acme).await;
    let times: Vec<_> = (0..16).map(|n| Timestamp::from_seconds(1_700_000_000 + n)).collect();
    let results = join_all(times.iter().map(|now| store.revoke_key(&acme, key.id(), *now))).await;
    let mut revoked: Vec<Arc<ApiKey>> = Vec::new();
    for result in results {
        match result {
            Ok(key) => revoked.push(key),
            Err(error) => assert!(error.is_transient(), "promise broken: a key can be revoked: {error}"),
        }
    }
    assert!(!revoked.is_empty(), "promise broken: a key can be revoked");
    for key in &revoked {
        assert_holds(store, key, "the first revocation stays").await;
    }
}

async fn insert(store: &dyn ApiKeyStore, tenant: &TenantId) -> ApiKey {
    let key = issue(tenant, "key");
    expect_ok(store.insert_key(&key).await, "an insert of a new key succeeds");
    key
}

fn issue(tenant: &TenantId, name: &str) -> ApiKey {
    let format = expect_ok(ApiKeyFormat::new("suite", "test"), "the format of the suite is valid");
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
    // Read twice: the first read may fill a cache for the second.
    for _ in 0..2 {
        let found = expect_ok(store.key(key.id()).await, "a read by id succeeds");
        assert_eq!(found.as_deref(), Some(key), "promise broken: {promise}");
    }
}

async fn assert_absent(store: &dyn ApiKeyStore, id: &str, promise: &str) {
    for _ in 0..2 {
        let found = expect_ok(store.key(id).await, "a read of an absent id is `None`, not an error");
        assert_eq!(found, None, "promise broken: {promise}");
    }
}
