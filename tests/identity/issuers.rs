//! With several issuers, each token is verified with the keys of its issuer and reaches only tenants of its issuer.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, EncodingKey};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tenancy::audit::{MemorySink, Outcome};
use tenancy::clock::{Clock, SystemClock};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::resolve::{
    ApiKeySource, HostSource, JwtAlgorithm, JwtSource, JwtSourceBuilder, Membership, OwnedRequest, Resolver,
    Source,
};
use tenancy::store::MemoryStore;
use tenancy::tenant::{
    ApiKey, ApiKeyFormat, ApiKeyStore, NewTenant, Slug, Tenant, TenantId, TenantStatus, TenantStore,
};
use tenancy::{ErrorKind, Result, TenantContext};

use crate::tokens::{
    AUDIENCE, ED25519, ED25519_PUBLIC, ISSUER, P256, P256_PUBLIC, SECRET, builder, claims, claims_of, judged,
    outcome, private, token,
};

const INVALID: &str = "credential-invalid";
const ACME_IDP: &str = "https://idp.acme.example";
const GLOBEX_IDP: &str = "https://idp.globex.example";
const TEMPLATE: &str = "https://login.shared.example/{tenant}/v2.0";

struct Fixture {
    store: Arc<MemoryStore>,
    acme: Arc<Tenant>,
    globex: Arc<Tenant>,
    sink: Arc<MemorySink>,
}

async fn seeded() -> Fixture {
    let store = Arc::new(MemoryStore::new());
    let tenant = async |slug: &str| {
        let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").status(TenantStatus::Active);
        store.insert(new).await.unwrap()
    };
    let (acme, globex) = (tenant("acme").await, tenant("globex").await);
    Fixture { acme, globex, sink: Arc::new(MemorySink::new()), store }
}

impl Fixture {
    fn both_sides(&self) -> [(&Tenant, &Tenant); 2] {
        [(&self.acme, &self.globex), (&self.globex, &self.acme)]
    }

    fn resolver(&self, source: JwtSource) -> Resolver {
        let catalog =
            "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
        let catalog = Arc::new(Catalog::from_toml(catalog).unwrap());
        Resolver::new(TenantDirectory::new(self.store.clone(), catalog))
            .source(HostSource::new(["example.com"]).unwrap())
            .source(source)
            .audit_sink(self.sink.clone())
    }
}

async fn resolve(resolver: &Resolver, host: &str, token: &str) -> Result<TenantContext> {
    let request = OwnedRequest::get("/orders").with_header("Host", host);
    resolver.resolve(&request.with_header("Authorization", format!("Bearer {token}"))).await
}

fn kind(result: Result<TenantContext>) -> ErrorKind {
    result.expect_err("it is refused").kind()
}

fn of(issuer: &str) -> JwtSourceBuilder {
    builder().issuer(issuer)
}

/// Acme's identity provider with a P-256 key, and that of globex with an Ed25519 key, both with the same `kid`.
fn customers(fixture: &Fixture) -> JwtSource {
    let acme = of(ACME_IDP).pem(JwtAlgorithm::Es256, P256_PUBLIC).kid("1");
    let acme = acme.allowed_tenants([fixture.acme.id().clone()]).build().unwrap();
    let globex = of(GLOBEX_IDP).eddsa_pem(ED25519_PUBLIC).kid("1");
    acme.add_issuer(globex.allowed_tenants([fixture.globex.id().clone()]).build().unwrap()).unwrap()
}

fn signed_by_acme(claims: &Value) -> String {
    token(Algorithm::ES256, Some("1"), claims, &private(P256))
}

fn signed_by_globex(claims: &Value) -> String {
    token(Algorithm::EdDSA, Some("1"), claims, &private(ED25519))
}

type Sign = fn(&Value) -> String;

#[tokio::test]
async fn a_token_is_checked_with_the_keys_of_its_own_issuer() {
    let fixture = seeded().await;
    let source = customers(&fixture);
    let sides: [(_, _, Sign, Sign); 2] = [
        (&fixture.acme, ACME_IDP, signed_by_acme, signed_by_globex),
        (&fixture.globex, GLOBEX_IDP, signed_by_globex, signed_by_acme),
    ];
    for (tenant, issuer, own, foreign) in sides {
        let good = claims_of(issuer, tenant.id());
        assert_eq!(judged(&source, &own(&good)), format!("user:ada of {}", tenant.id()));
        assert_eq!(judged(&source, &foreign(&good)), INVALID, "signed by the other one");
        for iss in [
            json!("https://evil.example"),
            json!(format!("{issuer}/")),
            json!([issuer]),
            json!(null),
            json!(7),
        ] {
            let mut claims = good.clone();
            claims["iss"] = iss;
            assert_eq!(judged(&source, &own(&claims)), INVALID, "{claims}");
        }
        let mut other_audience = good.clone();
        other_audience["aud"] = json!("https://other.example.com");
        assert_eq!(judged(&source, &own(&other_audience)), INVALID);
    }
}

#[tokio::test]
async fn an_issuer_that_names_another_issuers_tenant_is_rejected_and_audited() {
    let fixture = seeded().await;
    let resolver = fixture.resolver(customers(&fixture));
    let at_acme = signed_by_acme(&claims_of(ACME_IDP, fixture.acme.id()));
    let ctx = resolve(&resolver, "acme.example.com", &at_acme).await.unwrap();
    assert_eq!(ctx.tenant_id(), fixture.acme.id());

    let forged = [
        (&fixture.globex, signed_by_acme(&claims_of(ACME_IDP, fixture.globex.id()))),
        (&fixture.acme, signed_by_globex(&claims_of(GLOBEX_IDP, fixture.acme.id()))),
    ];
    for (index, (victim, token)) in forged.iter().enumerate() {
        // Also at the host that agrees with the token.
        let host = format!("{}.example.com", victim.slug());
        for host in ["example.com", host.as_str()] {
            assert_eq!(kind(resolve(&resolver, host, token).await), ErrorKind::TenantConflict, "I56");
        }
        let events = fixture.sink.events();
        assert_eq!(events.len(), 2 * (index + 1), "I56: each is told");
        let event = events.last().unwrap();
        assert_eq!(event.tenant(), victim.id(), "I56: the one that was named is told");
        assert_eq!((event.action(), event.ended()), ("request.reject", Outcome::Denied));
        assert_eq!(event.actor(), &Actor::user("ada"));
    }
    // A token with an invalid signature writes no audit event.
    let unsigned = signed_by_globex(&claims_of(ACME_IDP, fixture.globex.id()));
    assert_eq!(kind(resolve(&resolver, "example.com", &unsigned).await), ErrorKind::CredentialInvalid);
    assert_eq!(fixture.sink.events().len(), 4);
    // A missing tenant produces the same error as an existing one, and no audit event.
    let nowhere = signed_by_acme(&claims_of(ACME_IDP, &TenantId::random()));
    assert_eq!(kind(resolve(&resolver, "example.com", &nowhere).await), ErrorKind::TenantConflict);
    assert_eq!(fixture.sink.events().len(), 4);
}

fn shared_issuer(tenant: &str) -> String {
    TEMPLATE.replace("{tenant}", tenant)
}

fn by_template() -> JwtSourceBuilder {
    builder().issuer_template(TEMPLATE).pem(JwtAlgorithm::Es256, P256_PUBLIC).kid("1").tenant_claim("tid")
}

fn claims_with_tid(issuer: &str, tenant: &TenantId) -> Value {
    let mut claims = claims_of(issuer, tenant);
    claims["tid"] = claims["tenant_id"].take();
    claims
}

#[tokio::test]
async fn with_shared_keys_the_issuers_name_and_the_tenant_claim_agree() {
    let fixture = seeded().await;
    let open = fixture.resolver(by_template().build().unwrap());
    for (tenant, other) in fixture.both_sides() {
        let iss = shared_issuer(&tenant.id().to_string());
        let good = signed_by_acme(&claims_with_tid(&iss, tenant.id()));
        assert_eq!(resolve(&open, "example.com", &good).await.unwrap().tenant_id(), tenant.id());

        let crossed = signed_by_acme(&claims_with_tid(&iss, other.id()));
        let refused = kind(resolve(&open, "example.com", &crossed).await);
        assert_eq!(refused, ErrorKind::TenantConflict, "I57");
        assert_eq!(fixture.sink.events().last().unwrap().tenant(), other.id(), "I57");

        // I57: a valid token for a tenant that the issuer may not speak for.
        let closed = by_template().allowed_tenants([other.id().clone()]).build().unwrap();
        let refused = kind(resolve(&fixture.resolver(closed), "example.com", &good).await);
        assert_eq!(refused, ErrorKind::TenantConflict, "I57");
        let outsider = TenantId::random();
        let good_elsewhere = claims_with_tid(&shared_issuer(&outsider.to_string()), &outsider);
        let refused = kind(resolve(&open, "example.com", &signed_by_acme(&good_elsewhere)).await);
        assert_eq!(refused, ErrorKind::TenantUnknown, "I57");
    }
}

#[test]
fn a_template_matches_a_tenant_and_nothing_else_in_its_place() {
    let source = by_template().build().unwrap();
    let tenant = TenantId::random();
    let id = tenant.to_string();
    let good = signed_by_acme(&claims_with_tid(&shared_issuer(&id), &tenant));
    assert_eq!(judged(&source, &good), format!("user:ada of {tenant}"));
    for iss in [
        TEMPLATE.to_owned(),
        shared_issuer(""),
        shared_issuer(&format!("{id}/x")),
        shared_issuer(&format!("evil.example/{id}")),
        shared_issuer(&format!("..%2f{id}")),
        shared_issuer(&format!("{id}?")),
        shared_issuer(&format!("{id}#")),
        shared_issuer(&format!("a@{id}")),
        shared_issuer(&format!("{id}\u{e9}")),
        shared_issuer(&id).replace("/v2.0", ""),
        shared_issuer(&id).replace("https", "http"),
        format!("{}x", shared_issuer(&id)),
        format!("https://login.shared.example{id}/v2.0"),
        "https://login.shared.example/v2.0".to_owned(),
    ] {
        assert_eq!(judged(&source, &signed_by_acme(&claims_with_tid(&iss, &tenant))), INVALID, "I57: {iss}");
    }
    // Well-formed issuers that do not belong to this tenant.
    for other in ["common", "organizations", &TenantId::random().to_string()] {
        let token = signed_by_acme(&claims_with_tid(&shared_issuer(other), &tenant));
        assert_eq!(judged(&source, &token), format!("denied user:ada of {tenant}"), "I57: {other}");
    }
}

/// The members of each tenant; the set can change.
#[derive(Debug, Clone, Default)]
struct Members(Arc<Mutex<HashSet<(TenantId, String)>>>);

#[async_trait]
impl Membership for Members {
    async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> Result<bool> {
        Ok(self.0.lock().unwrap().contains(&(tenant.clone(), actor.to_string())))
    }
}

#[tokio::test]
async fn a_token_without_a_tenant_opens_the_tenants_of_its_person() {
    let fixture = seeded().await;
    let members = Members::default();
    let people = builder().identity_only().hs256(SECRET).build().unwrap();
    let resolver = fixture.resolver(people).members(members.clone());
    let mut nobody = claims(fixture.acme.id());
    nobody.as_object_mut().unwrap().remove("tenant_id");
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let ada = token(Algorithm::HS256, None, &nobody, &key);
    for (tenant, other) in fixture.both_sides() {
        *members.0.lock().unwrap() = HashSet::from([(tenant.id().clone(), "user:ada".to_owned())]);
        let (here, there) =
            (format!("{}.example.com", tenant.slug()), format!("{}.example.com", other.slug()));
        let ctx = resolve(&resolver, &here, &ada).await.unwrap();
        assert_eq!((ctx.tenant_id(), ctx.actor()), (tenant.id(), &Actor::user("ada")));
        assert_eq!(kind(resolve(&resolver, &there, &ada).await), ErrorKind::TenantUnknown);
        assert_eq!(kind(resolve(&resolver, "example.com", &ada).await), ErrorKind::TenantMissing);
        // The claim is not read if the token contains it.
        let claiming = token(Algorithm::HS256, None, &claims(other.id()), &key);
        assert_eq!(resolve(&resolver, &here, &claiming).await.unwrap().tenant_id(), tenant.id());
        assert_eq!(kind(resolve(&resolver, &there, &claiming).await), ErrorKind::TenantUnknown);
        // I70: effective from the next request.
        members.0.lock().unwrap().clear();
        assert_eq!(kind(resolve(&resolver, &here, &ada).await), ErrorKind::TenantUnknown, "I70");
    }
    // A source that requires the claim rejects a token without it.
    let strict = builder().hs256(SECRET).build().unwrap();
    assert_eq!(judged(&strict, &ada), INVALID, "I64");
}

#[tokio::test]
async fn a_token_outlives_neither_its_membership_nor_its_tenant() {
    let fixture = seeded().await;
    let members = Members::default();
    let resolver = fixture.resolver(customers(&fixture)).members(members.clone());
    let tokens = [
        (&fixture.acme, signed_by_acme(&claims_of(ACME_IDP, fixture.acme.id()))),
        (&fixture.globex, signed_by_globex(&claims_of(GLOBEX_IDP, fixture.globex.id()))),
    ];
    for (tenant, token) in &tokens {
        let row = (tenant.id().clone(), "user:ada".to_owned());
        members.0.lock().unwrap().insert(row.clone());
        assert_eq!(resolve(&resolver, "example.com", token).await.unwrap().tenant_id(), tenant.id());
        members.0.lock().unwrap().remove(&row);
        assert_eq!(kind(resolve(&resolver, "example.com", token).await), ErrorKind::TenantUnknown, "I70");

        members.0.lock().unwrap().insert(row);
        fixture.store.update(&tenant.with_status(TenantStatus::Suspended).unwrap()).await.unwrap();
        assert_eq!(kind(resolve(&resolver, "example.com", token).await), ErrorKind::TenantSuspended, "I70");
    }
}

#[test]
fn people_of_two_issuers_are_not_mistaken_for_each_other() {
    let named = |issuer, prefix| {
        let source = of(issuer).hs256(SECRET).subject_prefix(prefix).identity_only();
        source.build().unwrap()
    };
    let source = named(ACME_IDP, "acme|").add_issuer(named(GLOBEX_IDP, "globex|")).unwrap();
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let tenant = TenantId::random();
    for (issuer, actor) in [(ACME_IDP, "user:acme|ada"), (GLOBEX_IDP, "user:globex|ada")] {
        assert_eq!(judged(&source, &token(Algorithm::HS256, None, &claims_of(issuer, &tenant), &key)), actor);
    }
    let with_tenant = of(GLOBEX_IDP).hs256(SECRET).build().unwrap();
    for confused in [
        named(ACME_IDP, "").add_issuer(named(GLOBEX_IDP, "")),
        named(ACME_IDP, "acme|").add_issuer(named(GLOBEX_IDP, "acme|")),
        named(ACME_IDP, "acme|").add_issuer(named(GLOBEX_IDP, "acme|x|")),
        named(ACME_IDP, "acme|").add_issuer(named(GLOBEX_IDP, "")),
        named(ACME_IDP, "").add_issuer(with_tenant),
    ] {
        let error = confused.expect_err("the same actor would be two people");
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("subject_prefix"), "{error}");
    }
}

#[test]
fn ambiguous_issuers_are_rejected_at_start() {
    let exact = |issuer: &str| of(issuer).hs256(SECRET).build().unwrap();
    let template = |template: &str| builder().issuer_template(template).hs256(SECRET).build().unwrap();
    for overlapping in [
        exact(ISSUER).add_issuer(exact(ISSUER)),
        exact("https://a.example/t1/v2").add_issuer(template("https://a.example/{tenant}/v2")),
        template("https://a.example/{tenant}/v2").add_issuer(exact("https://a.example/t1/v2")),
        template("https://a.example/{tenant}/v2").add_issuer(template("https://a.example/{tenant}/v2")),
        template("https://a.example/{tenant}").add_issuer(template("https://a.example/x{tenant}")),
        exact(ISSUER).add_issuer(exact(ACME_IDP)).unwrap().add_issuer(exact(ACME_IDP)),
    ] {
        assert_eq!(overlapping.unwrap_err().kind(), ErrorKind::Misconfigured);
    }
    template("https://a.example/{tenant}/v2").add_issuer(template("https://b.example/{tenant}/v2")).unwrap();
    template("https://a.example/{tenant}/v2").add_issuer(exact("https://a.example/t1/v3")).unwrap();

    let bad = [
        builder().hs256(SECRET).issuer("https://a.example/{tenant}"),
        builder().hs256(SECRET).issuer_template("https://a.example/"),
        builder().hs256(SECRET).issuer_template("{tenant}"),
        builder().hs256(SECRET).issuer_template("https://{tenant}.example/{tenant}"),
        by_template().identity_only(),
        builder().hs256(SECRET).identity_only().allowed_tenants([TenantId::random()]),
        builder().hs256(SECRET).subject_prefix("a\n"),
        builder().hs256(SECRET).subject_prefix("a".repeat(65)),
        builder().hs256(SECRET).ignore_api_keys(""),
        builder().hs256(SECRET).ignore_api_keys("a.b"),
        builder().hs256(SECRET).ignore_api_keys("a b"),
    ];
    for (index, builder) in bad.into_iter().enumerate() {
        assert_eq!(builder.build().expect_err(&index.to_string()).kind(), ErrorKind::Misconfigured);
    }
}

#[test]
fn api_keys_in_the_same_header_are_left_alone() {
    let beside = builder().hs256(SECRET).ignore_api_keys("shop").build().unwrap();
    let alone = builder().hs256(SECRET).build().unwrap();
    let tenant = TenantId::random();
    let good = token(Algorithm::HS256, None, &claims(&tenant), &EncodingKey::from_secret(SECRET).unwrap());
    for source in [&beside, &alone] {
        assert_eq!(judged(source, &good), format!("user:ada of {tenant}"));
    }
    let key = "shop_live_4f2a_c2VjcmV0_9b1c";
    assert_eq!(judged(&alone, key), INVALID);
    assert_eq!(judged(&beside, key), "absent");
    let joined =
        beside.add_issuer(of(ACME_IDP).hs256(SECRET).ignore_api_keys("old").build().unwrap()).unwrap();
    for absent in [key, "shop_", "old_live_1"] {
        assert_eq!(judged(&joined, absent), "absent", "{absent}");
    }
    let looks_like_one = format!("shop_{good}");
    for invalid in [
        "shop",
        "SHOP_live_1",
        "shopx_live_1",
        "xshop_live_1",
        " shop_live_1",
        "shop_live.1",
        &looks_like_one,
    ] {
        assert_eq!(judged(&joined, invalid), INVALID, "{invalid}");
    }
    let with = |values: &[&str]| {
        let request = OwnedRequest::get("/");
        let add = |request: OwnedRequest, value: &&str| request.with_header("Authorization", *value);
        outcome(joined.read(&values.iter().fold(request, add)))
    };
    assert_eq!(with(&["bearer shop_live_1"]), "absent");
    assert_eq!(with(&["Basic shop_live_1"]), INVALID);
    assert_eq!(with(&["Bearer shop_live_1", "Bearer shop_live_1"]), INVALID, "I69");
    assert_eq!(with(&["Bearer shop_live_1", &format!("Bearer {good}")]), INVALID, "I69");
}

#[tokio::test]
async fn tokens_and_api_keys_in_the_same_header_open_their_own_tenants() {
    let fixture = seeded().await;
    let format = ApiKeyFormat::new("shop", "live").unwrap();
    // The prefix is the same with and without `_`.
    for prefix in ["shop", "shop_"] {
        let tokens = builder().hs256(SECRET).ignore_api_keys(prefix).build().unwrap();
        let resolver =
            fixture.resolver(tokens).source(ApiKeySource::new(format.clone(), fixture.store.clone()));
        for (tenant, other) in fixture.both_sides() {
            let (key, text) = ApiKey::issue(&format, tenant.id().clone(), "CI", SystemClock.now());
            fixture.store.insert_key(&key).await.unwrap();
            let good = token(
                Algorithm::HS256,
                None,
                &claims(tenant.id()),
                &EncodingKey::from_secret(SECRET).unwrap(),
            );
            let actors = [(text.expose_secret(), Actor::api_key(key.id())), (&good, Actor::user("ada"))];
            for (credential, actor) in actors {
                for host in ["example.com".to_owned(), format!("{}.example.com", tenant.slug())] {
                    let ctx = resolve(&resolver, &host, credential).await.unwrap();
                    assert_eq!((ctx.tenant_id(), ctx.actor()), (tenant.id(), &actor));
                }
                let there = format!("{}.example.com", other.slug());
                assert_eq!(kind(resolve(&resolver, &there, credential).await), ErrorKind::TenantConflict);
            }
            let wrong = &text.expose_secret()[1..];
            assert_eq!(kind(resolve(&resolver, "example.com", wrong).await), ErrorKind::CredentialInvalid);
        }
    }
}

#[test]
fn a_builder_of_one_issuer_is_as_short_as_before() {
    let source = JwtSource::builder().issuer(ISSUER).audience(AUDIENCE).hs256(SECRET).kid("2026-01").build();
    let debug = format!("{:?}", source.unwrap());
    assert!(debug.contains("2026-01") && debug.contains(ISSUER) && !debug.contains("sixty-four"), "{debug}");
}
