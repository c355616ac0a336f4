//! `I80`: a login at an identity provider returns only to the tenant and the browser in which it began.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::routing::get;
use proptest::prelude::*;
use serde::Deserialize;
use tenancy::clock::{ManualClock, Timestamp};
use tenancy::context::{Actor, Job, JobKeys, LoginNonce, LoginStateKeys, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::resolve::{HostSource, Resolver};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantStatus, TenantStore};
use tenancy::web::TenantLayer;
use tenancy::{ErrorKind, Result, TenantContext};

use crate::fixture::{self, Answer, NOW, OTHER_SECRET, SECRET};

const CATALOG: &str =
    "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";

/// The error that a client gets, for every reason.
const REFUSED: &str = "this login did not start here in this browser, or it took too long; start it again";

struct Tenants {
    directory: TenantDirectory,
    clock: Arc<ManualClock>,
    acme: TenantContext,
    globex: TenantContext,
}

async fn tenants() -> Tenants {
    let store = Arc::new(MemoryStore::new());
    let directory = TenantDirectory::new(store.clone(), Arc::new(Catalog::from_toml(CATALOG).unwrap()));
    let open_tenant = async |slug: &str| {
        let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").status(TenantStatus::Active);
        let tenant = store.insert(new).await.unwrap();
        directory.context(tenant.id(), Actor::Anonymous).await.unwrap()
    };
    let (acme, globex) = (open_tenant("acme").await, open_tenant("globex").await);
    let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(NOW)));
    Tenants { directory, clock, acme, globex }
}

impl Tenants {
    fn keys(&self) -> LoginStateKeys {
        self.clocked(LoginStateKeys::new("one", SECRET).unwrap())
    }

    fn clocked(&self, keys: LoginStateKeys) -> LoginStateKeys {
        keys.with_clock(self.clock.clone())
    }

    fn both_sides(&self) -> [(&TenantContext, &TenantContext); 2] {
        [(&self.acme, &self.globex), (&self.globex, &self.acme)]
    }
}

#[track_caller]
fn assert_rejected<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    let error = result.expect_err(what);
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidInput, REFUSED), "{what}");
}

#[tokio::test]
async fn a_state_is_good_for_its_own_tenant_and_browser() {
    let tenants = tenants().await;
    let keys = tenants.keys();
    for (ctx, other) in tenants.both_sides() {
        let (browser, attacker) = (LoginNonce::random(), LoginNonce::random());
        let state = keys.state(ctx, &browser).unwrap();
        assert!(state.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{state}");
        assert!(state.len() < 400, "{}", state.len());
        assert_ne!(state, keys.state(ctx, &browser).unwrap(), "two logins of one browser have two states");

        keys.check(ctx, &browser, &state).unwrap();
        assert_eq!(&keys.tenant(&browser, &state).unwrap(), ctx.tenant_id());
        assert_rejected(keys.check(other, &browser, &state), "I80: another tenant");
        assert_rejected(keys.check(ctx, &attacker, &state), "I80: another browser");
        assert_rejected(keys.tenant(&attacker, &state), "I80: another browser, at a shared host");
        // The state of an attacker's login at the same tenant is invalid in the victim's browser.
        let own = keys.state(ctx, &attacker).unwrap();
        assert_rejected(keys.check(ctx, &browser, &own), "I80: the attacker's state in the victim's browser");
    }
}

#[tokio::test]
async fn a_state_is_good_for_its_time() {
    let tenants = tenants().await;
    for (ctx, _) in tenants.both_sides() {
        let browser = LoginNonce::random();
        for (keys, seconds) in [(tenants.keys(), 600), (tenants.keys().valid_for(Duration::from_mins(1)), 60)]
        {
            let state = keys.state(ctx, &browser).unwrap();
            tenants.clock.advance_seconds(seconds - 1);
            keys.check(ctx, &browser, &state).unwrap();
            tenants.clock.advance_seconds(1);
            assert_rejected(keys.check(ctx, &browser, &state), "expired");
            assert_rejected(keys.tenant(&browser, &state), "expired");
        }
    }
}

#[tokio::test]
async fn a_new_key_signs_while_the_old_one_is_still_good() {
    let tenants = tenants().await;
    let both = || LoginStateKeys::new("two", OTHER_SECRET).unwrap().with_previous_key("one", SECRET).unwrap();
    let both = || tenants.clocked(both());
    for (ctx, other) in tenants.both_sides() {
        let browser = LoginNonce::random();
        let (old, new) = (tenants.keys().state(ctx, &browser).unwrap(), both().state(ctx, &browser).unwrap());
        for state in [&old, &new] {
            both().check(ctx, &browser, state).unwrap();
            assert_rejected(both().check(other, &browser, state), "another tenant");
        }
        let retired = tenants.clocked(LoginStateKeys::new("two", OTHER_SECRET).unwrap());
        let renamed = tenants.clocked(LoginStateKeys::new("one", OTHER_SECRET).unwrap());
        for (keys, state) in [(tenants.keys(), &new), (retired, &old), (renamed, &old)] {
            assert_rejected(keys.check(ctx, &browser, state), "a key that is not known");
        }
    }
    for (id, secret) in [("one", &SECRET[..31]), ("", SECRET), ("a.b", SECRET), (&"k".repeat(33), SECRET)] {
        assert_eq!(LoginStateKeys::new(id, secret).unwrap_err().kind(), ErrorKind::Misconfigured, "{id}");
    }
    let twice = tenants.keys().with_previous_key("one", OTHER_SECRET).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_text_that_is_no_state_is_rejected() {
    let tenants = tenants().await;
    let (keys, browser) = (tenants.keys(), LoginNonce::random());
    let state = keys.state(&tenants.acme, &browser).unwrap();
    let theirs = keys.state(&tenants.globex, &browser).unwrap();
    let part = |text: &str, at: usize| text.split('.').nth(at).unwrap().to_owned();
    let (mine, foreign) = (part(&state, 2), part(&theirs, 2));
    for (what, bad) in [
        ("nothing", String::new()),
        ("no signature", state.rsplit_once('.').unwrap().0.to_owned()),
        ("another's contents", state.replace(&mine, &foreign)),
        ("another purpose", state.replace("tenancy-login-1", "tenancy-job-1")),
        ("another version", state.replace("tenancy-login-1", "tenancy-login-2")),
        ("one more part", format!("{state}.{}", browser.expose())),
        ("padding", format!("{state}=")),
        ("a line's end", format!("{state}\n")),
        ("escaped", state.replace('.', "%2e")),
        ("long", "a".repeat(100_000)),
        ("a tenant's id", tenants.acme.tenant_id().to_string()),
    ] {
        assert_rejected(keys.check(&tenants.acme, &browser, &bad), what);
        assert_rejected(keys.tenant(&browser, &bad), what);
    }
    keys.check(&tenants.acme, &browser, &state).unwrap();

    // A signed job with the same secret is no login state, and vice versa.
    let jobs = JobKeys::new("one", SECRET).unwrap();
    let job = tenancy::context::Envelope::new(&tenants.acme, &Nothing {}).sign(&jobs).unwrap();
    assert_rejected(keys.tenant(&browser, &job), "a job");
    let opened = jobs.open::<Nothing>(&tenants.directory, &state).await.unwrap_err();
    assert_eq!(opened.kind(), ErrorKind::SignatureInvalid);
}

#[derive(Debug, serde::Serialize, Deserialize)]
struct Nothing {}

impl Job for Nothing {
    const NAME: &'static str = "nothing";
}

#[test]
fn a_cookie_that_was_not_made_here_is_rejected() {
    let browser = LoginNonce::random();
    let text = browser.expose().to_owned();
    assert_eq!(text.len(), 43);
    assert_ne!(text, LoginNonce::random().expose());
    assert_eq!(LoginNonce::parse(&text).unwrap().expose(), text);
    for bad in ["", "x", &text[..42], &format!("{text}a"), &format!("{}.", &text[..42]), &"\u{e9}".repeat(43)]
    {
        assert_rejected(LoginNonce::parse(bad), bad);
    }
    assert!(!format!("{browser:?}").contains(&text));
}

proptest! {
    #[test]
    fn any_byte_that_is_changed_and_any_cut_is_rejected(
        at: prop::sample::Index, byte in 0_u8..128, cookie_at: prop::sample::Index, letter in "[A-Za-z0-9_-]",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tenants = runtime.block_on(tenants());
        let (keys, browser) = (tenants.keys(), LoginNonce::random());
        let state = keys.state(&tenants.acme, &browser).unwrap();
        let kind = |result: Result<()>| result.map_err(|error| error.kind());
        let at = at.index(state.len());
        let mut changed = state.clone().into_bytes();
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        for ctx in [&tenants.acme, &tenants.globex] {
            let own = ctx.tenant_id() == tenants.acme.tenant_id();
            let expected = if own && changed == state { Ok(()) } else { Err(ErrorKind::InvalidInput) };
            prop_assert_eq!(kind(keys.check(ctx, &browser, &changed)), expected);
            prop_assert_eq!(kind(keys.check(ctx, &browser, &state[..at])), Err(ErrorKind::InvalidInput));
        }
        let mut cookie = browser.expose().to_owned();
        let at = cookie_at.index(cookie.len());
        cookie.replace_range(at..=at, &letter);
        let expected = if cookie == browser.expose() { Ok(()) } else { Err(ErrorKind::InvalidInput) };
        prop_assert_eq!(kind(keys.check(&tenants.acme, &LoginNonce::parse(&cookie).unwrap(), &state)), expected);
    }
}

// ---- over HTTP, as the documentation says ----

async fn begin(
    State(keys): State<Arc<LoginStateKeys>>,
    ctx: TenantContext,
) -> Result<([(&'static str, String); 1], String)> {
    let browser = LoginNonce::random();
    let state = keys.state(&ctx, &browser)?;
    let cookie = format!("__Host-login={}; Path=/; Secure; HttpOnly; SameSite=Lax", browser.expose());
    Ok(([("set-cookie", cookie)], state))
}

async fn callback(
    State(keys): State<Arc<LoginStateKeys>>,
    ctx: TenantContext,
    headers: HeaderMap,
    to: Uri,
) -> Result<String> {
    let cookie = headers.get("cookie").and_then(|value| value.to_str().ok()?.strip_prefix("__Host-login="));
    let state = to.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("state=")));
    keys.check(&ctx, &LoginNonce::parse(cookie.unwrap_or_default())?, state.unwrap_or_default())?;
    Ok(format!("{} is let in", ctx.tenant().slug()))
}

#[tokio::test]
async fn a_state_of_one_tenant_is_a_bad_request_at_the_other() {
    let tenants = tenants().await;
    let resolver = Resolver::new(tenants.directory.clone()).source(HostSource::new(["example.com"]).unwrap());
    let app = Router::new()
        .route("/login", get(begin))
        .route("/callback", get(callback))
        .layer(TenantLayer::allow_unauthenticated(Arc::new(resolver)))
        .with_state(Arc::new(tenants.keys()));
    let send = async |host: &str, path: String, cookie: Option<&str>| -> Answer {
        let mut request = Request::get(path).header("host", host);
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        fixture::send(&app, request.body(Body::empty()).unwrap()).await
    };
    let login = async |host: &str| {
        let begun = send(host, "/login".to_owned(), None).await;
        let cookie = begun.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        (cookie, begun.body)
    };
    let [mine, theirs] = ["acme.example.com", "globex.example.com"];
    for (host, other) in [(mine, theirs), (theirs, mine)] {
        let (cookie, state) = login(host).await;
        let (attackers_cookie, attackers_state) = login(host).await;
        let back = |state: &str| format!("/callback?code=x&state={state}");
        let done = send(host, back(&state), Some(&cookie)).await;
        let slug = host.split('.').next().unwrap();
        assert_eq!((done.status, done.body), (StatusCode::OK, format!("{slug} is let in")));

        let elsewhere = send(other, back(&state), Some(&cookie)).await;
        assert_eq!(elsewhere.status, StatusCode::BAD_REQUEST, "I80");
        assert_eq!(elsewhere.code(), "invalid-input", "I80");
        for (what, state, cookie) in [
            ("no cookie", state.as_str(), None),
            ("another browser", &state, Some(&*attackers_cookie)),
            ("the attacker's state", &attackers_state, Some(&*cookie)),
            ("no state", "", Some(&*cookie)),
        ] {
            assert_eq!(send(host, back(state), cookie).await.body, elsewhere.body, "{what}");
        }
    }
}
