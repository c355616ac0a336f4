//! Jobs, tasks and long-lived connections keep the tenant context with which they were created.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenancy::audit::AuditEvent;
use tenancy::clock::{Clock, ManualClock, SystemClock};
use tenancy::context::{
    Actor, Envelope, Job, JobKeys, ReceivedJob, ResolvedBy, Revalidator, TenantDirectory,
};
use tenancy::plan::Catalog;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::{Reason, StoredEvent};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantStatus};
use tenancy::{Error, ErrorKind, TenantContext, TenantScoped};
use uuid::Uuid;

use crate::common::{self, Fixture, Order, TestBackend};
use crate::log::Log;

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
const OTHER_SECRET: &[u8] = b"another secret, thirty-two bytes too";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pay {
    order: Uuid,
}

impl Job for Pay {
    const NAME: &'static str = "order.pay";
}

/// The fields of [`Pay`], under another job name.
#[derive(Debug, Serialize, Deserialize)]
struct Cancel {
    #[serde(rename = "order")]
    _order: Uuid,
}

impl Job for Cancel {
    const NAME: &'static str = "order.cancel";
}

fn keys() -> JobKeys {
    JobKeys::new("one", SECRET).unwrap()
}

fn signed(ctx: &TenantContext, order: Uuid) -> String {
    Envelope::new(ctx, &Pay { order }).sign(&keys()).unwrap()
}

/// Two tenants in a memory store.
struct Tenants {
    directory: TenantDirectory,
    clock: Arc<ManualClock>,
    acme: TenantContext,
    globex: TenantContext,
}

async fn tenants() -> Tenants {
    let catalog = Arc::new(Catalog::from_toml(common::CATALOG).unwrap());
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let directory = TenantDirectory::new(Arc::new(MemoryStore::new()), catalog).with_clock(clock.clone());
    let mut contexts = Vec::new();
    for (slug, actor) in [("acme", Actor::user("ada")), ("globex", Actor::system("nightly"))] {
        let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").status(TenantStatus::Active);
        let tenant = directory.store().insert(new).await.unwrap();
        contexts.push(directory.context(tenant.id(), actor).await.unwrap());
    }
    let [acme, globex] = contexts.try_into().unwrap();
    Tenants { directory, clock, acme, globex }
}

async fn change(directory: &TenantDirectory, ctx: &TenantContext, to: impl FnOnce(&Tenant) -> Tenant) {
    let now = directory.store().by_id(ctx.tenant_id()).await.unwrap().unwrap();
    directory.store().update(&to(&now)).await.unwrap();
}

async fn suspend(directory: &TenantDirectory, ctx: &TenantContext) {
    change(directory, ctx, |tenant| tenant.with_status(TenantStatus::Suspended).unwrap()).await;
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().expect("it is refused").kind()
}

// ---- signed jobs ----

#[tokio::test]
async fn a_job_brings_its_own_tenant_actor_and_request_and_no_other() {
    let Tenants { directory, acme, globex, .. } = tenants().await;
    let order = Uuid::now_v7();
    for ctx in [&acme, &globex] {
        let text = signed(ctx, order);
        let opened: ReceivedJob<Pay> = keys().open(&directory, &text).await.unwrap();
        assert_eq!(opened.context.tenant_id(), ctx.tenant_id());
        assert_eq!(opened.context.actor(), ctx.actor());
        assert_eq!(opened.context.request_id(), ctx.request_id());
        assert_eq!(opened.context.resolved_by(), ResolvedBy::Job);
        assert_eq!(opened.job, Pay { order });
        // A job has the same id at every delivery; two jobs with equal content have two ids.
        assert_eq!(keys().open::<Pay>(&directory, &text).await.unwrap().id, opened.id);
        assert_ne!(keys().open::<Pay>(&directory, &signed(ctx, order)).await.unwrap().id, opened.id);
        // A job can sign a further job.
        let next = signed(&opened.context, order);
        let next = keys().open::<Pay>(&directory, &next).await.unwrap().context;
        assert_eq!((next.actor(), next.request_id()), (ctx.actor(), ctx.request_id()));
    }
    let nobody = directory.context(acme.tenant_id(), Actor::Anonymous).await.unwrap();
    let opened = keys().open::<Pay>(&directory, &signed(&nobody, order)).await.unwrap();
    assert_eq!(opened.context.actor(), &Actor::Anonymous);
}

/// C04: the worker has no tenant except that of the job.
#[tokio::test]
async fn a_job_without_a_tenant_does_not_run_as_the_one_before_it() {
    let Tenants { directory, acme, globex, .. } = tenants().await;
    let plain = Envelope::new(&acme, &Pay { order: Uuid::nil() }).to_json().unwrap();
    let mut without: Value = serde_json::from_str(&plain).unwrap();
    without.as_object_mut().unwrap().remove("tenant").unwrap();
    let queue = [
        signed(&acme, Uuid::nil()),
        signed(&globex, Uuid::nil()),
        r#"{"order":"00000000-0000-0000-0000-000000000000"}"#.to_owned(),
        without.to_string(),
        String::new(),
        plain, // not signed
        signed(&acme, Uuid::nil()),
    ];
    let mut done = Vec::new();
    for text in queue {
        let opened = keys().open::<Pay>(&directory, &text).await;
        done.push(opened.map(|opened| opened.context.tenant().slug().to_string()).map_err(|e| e.kind()));
    }
    let refused = || Err(ErrorKind::SignatureInvalid);
    let (acme, globex) = (|| Ok("acme".to_owned()), || Ok("globex".to_owned()));
    assert_eq!(done, [acme(), globex(), refused(), refused(), refused(), refused(), acme()]);
}

#[tokio::test]
async fn a_job_of_a_closed_tenant_is_rejected_and_the_plan_is_current() {
    let Tenants { directory, acme, globex, .. } = tenants().await;
    let texts = [signed(&acme, Uuid::nil()), signed(&globex, Uuid::nil())];
    suspend(&directory, &acme).await;
    change(&directory, &globex, |tenant| tenant.with_plan("pro")).await;
    assert_eq!(kind(keys().open::<Pay>(&directory, &texts[0]).await), ErrorKind::TenantSuspended);
    let opened = keys().open::<Pay>(&directory, &texts[1]).await.unwrap();
    assert!(globex.entitlements().require("export").is_err());
    assert!(opened.context.entitlements().require("export").is_ok());
    // A job that was put aside runs once the tenant is active again.
    change(&directory, &acme, |tenant| tenant.with_status(TenantStatus::Active).unwrap()).await;
    assert!(keys().open::<Pay>(&directory, &texts[0]).await.is_ok());
    // The directory of another installation has no such tenant, even with the same signing key.
    let other = tenants().await.directory;
    assert_eq!(kind(keys().open::<Pay>(&other, &texts[0]).await), ErrorKind::TenantUnknown);
}

#[tokio::test]
async fn a_job_expires_at_its_time_and_not_before() {
    let Tenants { directory, clock, acme, .. } = tenants().await;
    let job = Pay { order: Uuid::nil() };
    let day = Envelope::new(&acme, &job).valid_for(Duration::from_hours(24)).sign(&keys()).unwrap();
    let always = [
        signed(&acme, Uuid::nil()),
        Envelope::new(&acme, &job).valid_for(Duration::MAX).sign(&keys()).unwrap(),
    ];
    clock.advance_seconds(24 * 3600 - 60);
    assert!(keys().open::<Pay>(&directory, &day).await.is_ok());
    clock.advance_seconds(120);
    assert_eq!(kind(keys().open::<Pay>(&directory, &day).await), ErrorKind::Expired);
    clock.advance_seconds(100 * 365 * 24 * 3600);
    for text in always {
        assert!(keys().open::<Pay>(&directory, &text).await.is_ok());
    }
}

#[tokio::test]
async fn a_job_opens_as_what_it_is_and_as_nothing_else() {
    let Tenants { directory, acme, .. } = tenants().await;
    assert_eq!(
        kind(keys().open::<Cancel>(&directory, &signed(&acme, Uuid::nil())).await),
        ErrorKind::InvalidInput
    );
}

#[tokio::test]
async fn a_new_key_signs_while_the_old_one_still_opens() {
    let Tenants { directory, acme, .. } = tenants().await;
    let both = || JobKeys::new("two", OTHER_SECRET).unwrap().with_previous_key("one", SECRET).unwrap();
    let old = signed(&acme, Uuid::nil());
    let new = Envelope::new(&acme, &Pay { order: Uuid::nil() }).sign(&both()).unwrap();
    assert!(both().open::<Pay>(&directory, &old).await.is_ok());
    assert!(both().open::<Pay>(&directory, &new).await.is_ok());
    // One node lacks the new key, one has retired the old key, and one has a different secret under the old name.
    let retired = JobKeys::new("two", OTHER_SECRET).unwrap();
    let renamed = JobKeys::new("one", OTHER_SECRET).unwrap();
    for (keys, text) in [(keys(), &new), (retired, &old), (renamed, &old)] {
        assert_eq!(kind(keys.open::<Pay>(&directory, text).await), ErrorKind::SignatureInvalid);
    }
    let shown = format!("{:?}", both());
    assert!(shown.contains("one") && shown.contains("two") && !shown.contains("secret"), "{shown}");
}

#[test]
fn invalid_keys_are_rejected() {
    for (id, secret) in [("one", &SECRET[..31]), ("", SECRET), ("a.b", SECRET), (&"k".repeat(33), SECRET)] {
        assert_eq!(kind(JobKeys::new(id, secret)), ErrorKind::Misconfigured, "{id}");
    }
    assert_eq!(kind(keys().with_previous_key("one", OTHER_SECRET)), ErrorKind::Misconfigured);
}

/// `I82`: an attacker can write to the queue but has no signing key.
#[tokio::test]
async fn a_job_that_was_not_signed_as_a_whole_does_not_open() {
    let Tenants { directory, acme, globex, .. } = tenants().await;
    let text = signed(&acme, Uuid::nil());
    let [prefix, id, contents, code] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let theirs = signed(&globex, Uuid::nil());
    let [_, _, other_contents, other_code] = theirs.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let opened = String::from_utf8(URL_SAFE_NO_PAD.decode(contents).unwrap()).unwrap();
    let moved = opened.replace(&acme.tenant_id().to_string(), &globex.tenant_id().to_string());
    assert_ne!(moved, opened);
    let moved = URL_SAFE_NO_PAD.encode(moved);
    for (what, bad) in [
        ("another tenant", format!("{prefix}.{id}.{moved}.{code}")),
        ("the signature of another job", format!("{prefix}.{id}.{contents}.{other_code}")),
        ("the contents of another job", format!("{prefix}.{id}.{other_contents}.{code}")),
        ("another version", format!("tenancy-job-2.{id}.{contents}.{code}")),
        ("another key", format!("{prefix}.two.{contents}.{code}")),
        ("no signature", format!("{prefix}.{id}.{contents}.")),
        ("no signature at all", format!("{prefix}.{id}.{contents}")),
        ("half a signature", format!("{prefix}.{id}.{contents}.{}", &code[..code.len() / 2])),
        ("padding", format!("{text}=")),
        ("a line's end", format!("{text}\n")),
        ("a space in front", format!(" {text}")),
        ("one more part", format!("{text}.{code}")),
        ("plain contents", opened),
    ] {
        let error = keys().open::<Pay>(&directory, &bad).await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::SignatureInvalid, "{what}");
        assert_eq!(error.to_string(), "the job's signature is not valid", "{what}");
    }
    assert!(keys().open::<Pay>(&directory, &text).await.is_ok());
}

proptest! {
    #[test]
    fn any_byte_that_is_changed_and_any_cut_is_rejected(at: prop::sample::Index, byte in 0_u8..128, end: prop::sample::Index) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let Tenants { directory, acme, .. } = tenants().await;
            let text = signed(&acme, Uuid::now_v7());
            let mut changed = text.clone().into_bytes();
            let at = at.index(changed.len());
            if changed[at] != byte {
                changed[at] = byte;
                let changed = String::from_utf8(changed).unwrap();
                prop_assert_eq!(kind(keys().open::<Pay>(&directory, &changed).await), ErrorKind::SignatureInvalid);
            }
            let cut = &text[..end.index(text.len())];
            prop_assert_eq!(kind(keys().open::<Pay>(&directory, cut).await), ErrorKind::SignatureInvalid);
            prop_assert!(keys().open::<Pay>(&directory, &text).await.is_ok());
            Ok(())
        })?;
    }
}

#[test]
fn an_actor_with_any_text_survives_the_queue() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let tenants = runtime.block_on(tenants());
    proptest!(|(name in "\\PC{0,40}|[\\x00-\\x1f\"\\\\]{0,8}", person: bool)| {
        let actor = if person { Actor::user(name) } else { Actor::system(name) };
        let arrived = runtime.block_on(async {
            let ctx = tenants.directory.context(tenants.acme.tenant_id(), actor.clone()).await.unwrap();
            keys().open::<Pay>(&tenants.directory, &signed(&ctx, Uuid::nil())).await.unwrap().context
        });
        prop_assert_eq!(arrived.actor(), &actor);
    });
}

// ---- jobs beside a row ----

fn order() -> Order {
    Order { id: Uuid::now_v7(), status: "open".to_owned(), total: 1 }
}

/// X13, `I82`: a job runs only if the tenant of the job owns the row.
async fn an_unsigned_job_opens_with_its_tenants_row_only<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let (ours, theirs) = (order(), order());
    Order::insert(&fixture.db.scope(&fixture.acme), &ours).await.unwrap();
    Order::insert(&fixture.db.scope(&fixture.globex), &theirs).await.unwrap();
    let open =
        async |text: &str| fixture.db.open_job::<Pay, Order>(&fixture.directory, text, |job| job.order).await;
    let sides = [(&fixture.acme, &ours, &theirs), (&fixture.globex, &theirs, &ours)];
    for (ctx, own, foreign) in sides {
        let job = |order: Uuid| Envelope::new(ctx, &Pay { order }).to_json().unwrap();
        let (opened, row) = open(&job(own.id)).await.unwrap();
        assert_eq!((&row, opened.context.tenant_id()), (own, ctx.tenant_id()));
        assert_eq!((opened.context.actor(), opened.context.request_id()), (ctx.actor(), ctx.request_id()));
        // A row of another tenant and a missing row produce the same error text.
        let (foreign, missing) = (open(&job(foreign.id)).await, open(&job(Uuid::now_v7())).await);
        let (foreign, missing) = (foreign.unwrap_err(), missing.unwrap_err());
        assert_eq!(foreign.kind(), ErrorKind::NotFound);
        assert_eq!(foreign.to_string(), missing.to_string());
        // A job whose tenant was replaced names a row that the new tenant does not own.
        let other = if ctx.tenant_id() == fixture.acme.tenant_id() { &fixture.globex } else { &fixture.acme };
        let moved = job(own.id).replace(&ctx.tenant_id().to_string(), &other.tenant_id().to_string());
        assert_eq!(kind(open(&moved).await), ErrorKind::NotFound);
    }
    for (what, text) in [
        ("no envelope", "{}".to_owned()),
        ("no text", String::new()),
        ("the job without its envelope", serde_json::to_string(&Pay { order: ours.id }).unwrap()),
        ("one that is signed", Envelope::new(&fixture.acme, &Pay { order: ours.id }).sign(&keys()).unwrap()),
        ("another kind", Envelope::new(&fixture.acme, &Cancel { _order: ours.id }).to_json().unwrap()),
    ] {
        assert_eq!(kind(open(&text).await), ErrorKind::InvalidInput, "{what}");
    }
    let good: Value =
        serde_json::from_str(&Envelope::new(&fixture.acme, &Pay { order: ours.id }).to_json().unwrap())
            .unwrap();
    let fields = good.as_object().unwrap();
    assert_eq!(fields.len(), 8, "{good}");
    for field in fields.keys() {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(field);
        assert_eq!(kind(open(&without.to_string()).await), ErrorKind::InvalidInput, "without {field}");
    }
    for (field, value) in [
        ("tenant", json!("*")),
        ("tenant", json!(null)),
        ("tenant", json!([fixture.acme.tenant_id().to_string()])),
        ("v", json!(2)),
        ("actor", json!({ "kind": "admin", "id": "root" })),
        ("tenant_id", json!(fixture.globex.tenant_id().to_string())),
        ("job", json!({})),
    ] {
        let mut changed = good.clone();
        changed[field] = value.clone();
        assert_eq!(kind(open(&changed.to_string()).await), ErrorKind::InvalidInput, "{field}: {value}");
    }
    // Jobs that wait while their row is deleted or their tenant is closed.
    let text = good.to_string();
    assert!(Order::delete(&fixture.db.scope(&fixture.acme), ours.id).await.unwrap().found());
    assert_eq!(kind(open(&text).await), ErrorKind::NotFound);
    suspend(&fixture.directory, &fixture.acme).await;
    assert_eq!(kind(open(&text).await), ErrorKind::TenantSuspended);
}

/// The audit events of a job have the request id of the request that created the job.
async fn a_jobs_events_are_those_of_its_request<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        let text = signed(ctx, Uuid::now_v7());
        let ReceivedJob { context, job, .. } = keys().open::<Pay>(&fixture.directory, &text).await.unwrap();
        let mut tx = fixture.db.begin(&context).await.unwrap();
        Order::insert(&mut tx, &Order { id: job.order, ..order() }).await.unwrap();
        tx.record(AuditEvent::new(&context, "order.pay")).await.unwrap();
        tx.commit().await.unwrap();
        let events = StoredEvent::newest(&fixture.db.scope(ctx), None, 10).await.unwrap();
        let events = serde_json::to_value(&events).unwrap();
        assert_eq!(events.as_array().unwrap().len(), 1);
        let text = events.to_string();
        assert!(text.contains(&ctx.request_id().to_string()) && text.contains("-user"), "{text}");
    }
}

/// A cross-tenant read creates no job that could write later.
async fn a_cross_tenant_context_makes_no_job<DB: TestBackend>() {
    let fixture = Fixture::<DB>::new().await;
    let (reason, actor) = (Reason::new("to see what is left behind").unwrap(), Actor::user("root"));
    let across = fixture.db.cross_tenant(&fixture.directory, &*fixture.store, reason, actor).unwrap();
    let tried = across
        .read(async |tx| {
            let job = Pay { order: Uuid::nil() };
            let envelope = Envelope::new(tx.context(), &job);
            let renewed = fixture.directory.refresh(tx.context()).await;
            let mut recheck = Revalidator::new(fixture.directory.clone(), tx.context().clone());
            Ok([
                kind(envelope.sign(&keys())),
                kind(envelope.to_json()),
                kind(renewed),
                kind(recheck.check().await.map(|_| ())),
            ])
        })
        .await
        .unwrap();
    assert_eq!(tried.len(), 2);
    for tagged in tried {
        assert_eq!(tagged.value, [ErrorKind::CrossTenantContext; 4]);
    }
}

in_every_placement!(
    an_unsigned_job_opens_with_its_tenants_row_only,
    a_jobs_events_are_those_of_its_request,
    a_cross_tenant_context_makes_no_job,
);

// ---- tasks ----

#[tokio::test(flavor = "current_thread")]
async fn a_task_logs_under_its_own_tenant() {
    let Tenants { directory, acme, globex, .. } = tenants().await;
    let forger = Actor::user("eve\nERROR forged line \u{1b}[31m");
    let globex = directory.context(globex.tenant_id(), forger).await.unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let work = |ctx: &TenantContext| {
        let own = ctx.clone();
        tokio::spawn(ctx.in_span(async move {
            for _ in 0..3 {
                tokio::task::yield_now().await; // so that the two take turns on one thread
                tracing::info!(done = %own.tenant().slug());
            }
        }))
    };
    let tasks = [work(&acme), work(&globex)];
    for task in tasks {
        task.await.unwrap();
    }
    tracing::info!("outside");
    let text = log.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    for (ctx, slug) in [(&acme, "acme"), (&globex, "globex")] {
        let own: Vec<_> = lines.iter().filter(|line| line.contains(&format!("done={slug}"))).collect();
        assert_eq!(own.len(), 3, "{text}");
        let fields =
            format!("tenant{{tenant.id={} request_id={} actor=user:", ctx.tenant_id(), ctx.request_id());
        assert!(own.iter().all(|line| line.contains(&fields)), "{text}");
    }
    assert!(lines[6].contains("outside") && !lines[6].contains("tenant"), "{text}");
}

// ---- connections that stay open ----

#[tokio::test]
async fn a_refreshed_context_has_the_current_state_of_its_tenant() {
    let Tenants { directory, acme, globex, .. } = tenants().await;
    change(&directory, &acme, |tenant| tenant.with_plan("pro")).await;
    let now = directory.refresh(&acme).await.unwrap();
    assert_eq!(
        (now.tenant_id(), now.actor(), now.request_id(), now.resolved_by()),
        (acme.tenant_id(), acme.actor(), acme.request_id(), acme.resolved_by())
    );
    assert!(acme.entitlements().require("export").is_err() && now.entitlements().require("export").is_ok());
    suspend(&directory, &globex).await;
    assert_eq!(kind(directory.refresh(&globex).await), ErrorKind::TenantSuspended);
    assert!(directory.refresh(&acme).await.is_ok());
}

/// R29, `I84`: the tenant is suspended while a client is connected.
#[tokio::test]
async fn a_stream_ends_when_its_tenant_is_suspended_and_the_other_goes_on() {
    let Tenants { directory, acme, globex, .. } = tenants().await;
    let mut streams = [&acme, &globex]
        .map(|ctx| Revalidator::new(directory.clone(), ctx.clone()).guard_stream(stream::iter(1..=4)));
    for stream in &mut streams {
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
    }
    suspend(&directory, &acme).await;
    let [mut ours, mut theirs] = streams;
    assert_eq!(kind(ours.next().await.unwrap()), ErrorKind::TenantSuspended);
    assert!(ours.next().await.is_none(), "it goes on after it has ended");
    assert_eq!(theirs.by_ref().map(Result::unwrap).collect::<Vec<_>>().await, [2, 3, 4]);
}

#[tokio::test]
async fn a_check_is_no_older_than_was_said() {
    let Tenants { directory, clock, acme, globex, .. } = tenants().await;
    let every = Duration::from_secs(30);
    let mut recheck = Revalidator::new(directory.clone(), acme.clone()).interval(every);
    assert!(recheck.check().await.is_ok());
    suspend(&directory, &acme).await;
    clock.advance_seconds(29);
    assert!(recheck.check().await.is_ok(), "it was looked at 29 seconds ago");
    clock.advance_seconds(1);
    assert_eq!(kind(recheck.check().await), ErrorKind::TenantSuspended);
    // Each later check returns the same error.
    assert_eq!(kind(recheck.check().await), ErrorKind::TenantSuspended);

    // A clock that is set back does not delay a check, and the first check runs at once.
    let mut recheck = Revalidator::new(directory.clone(), globex.clone()).interval(every);
    assert!(recheck.check().await.is_ok());
    suspend(&directory, &globex).await;
    clock.advance_seconds(-3600);
    assert_eq!(kind(recheck.check().await), ErrorKind::TenantSuspended);
    assert_eq!(
        kind(Revalidator::new(directory, globex).interval(every).check().await),
        ErrorKind::TenantSuspended
    );
}

/// `I84`: two clients are connected, and the token of one expires.
#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let Tenants { directory, clock, acme, globex } = tenants().await;
    let opened = clock.now();
    let guarded = |ctx: &TenantContext, minutes| {
        let (clock, end) = (clock.clone(), opened.after(Duration::from_mins(minutes)));
        let recheck = Revalidator::new(directory.clone(), ctx.clone()).with_check(move |_| {
            let over = clock.now() >= end;
            async move {
                let over = over.then(|| Error::new(ErrorKind::CredentialInvalid, "the token has expired"));
                over.map_or(Ok(()), Err)
            }
        });
        recheck.guard_stream(stream::iter(1..=4))
    };
    let (mut ours, mut theirs) = (guarded(&acme, 5), guarded(&globex, 60));
    clock.advance_seconds(5 * 60 - 1);
    assert_eq!(ours.next().await.unwrap().unwrap(), 1);
    assert_eq!(theirs.next().await.unwrap().unwrap(), 1);
    clock.advance_seconds(1);
    assert_eq!(kind(ours.next().await.unwrap()), ErrorKind::CredentialInvalid);
    assert!(ours.next().await.is_none(), "it goes on after it has ended");
    assert_eq!(theirs.map(Result::unwrap).collect::<Vec<_>>().await, [2, 3, 4]);
}

#[tokio::test]
async fn a_change_of_plan_or_members_applies_to_a_refreshed_context() {
    let Tenants { directory, acme, globex, .. } = tenants().await;
    let member = Arc::new(AtomicBool::new(true));
    let asked = member.clone();
    let ada = acme.clone();
    let mut recheck = Revalidator::new(directory.clone(), acme.clone())
        .with_check(move |ctx: TenantContext| {
            let still = asked.load(Ordering::SeqCst) || ctx.actor() != ada.actor();
            async move {
                let out =
                    Error::new(ErrorKind::CredentialInvalid, "you are no member of this tenant any more");
                if still { Ok(()) } else { Err(out) }
            }
        })
        .with_check(async |ctx: TenantContext| {
            if ctx.entitlements().plan() == "enterprise" { ctx.entitlements().require("sso") } else { Ok(()) }
        });
    assert!(recheck.check().await.unwrap().entitlements().require("export").is_err());
    change(&directory, &acme, |tenant| tenant.with_plan("pro")).await;
    assert!(recheck.check().await.unwrap().entitlements().require("export").is_ok());
    member.store(false, Ordering::SeqCst);
    assert_eq!(kind(recheck.check().await), ErrorKind::CredentialInvalid);
    member.store(true, Ordering::SeqCst);
    change(&directory, &acme, |tenant| tenant.with_plan("enterprise")).await;
    assert_eq!(kind(recheck.check().await), ErrorKind::UnknownFeature, "the second hook was not asked");
    assert!(Revalidator::new(directory, globex).check().await.is_ok());
}

/// The futures are `Send`, as worker threads require.
#[test]
fn futures_of_jobs_and_tasks_are_send() {
    fn send<T: Send>(_: impl FnOnce(&'static TenantDirectory, &'static JobKeys) -> T) {}
    fn send_db<T: Send>(
        _: impl FnOnce(&'static tenancy::TenantDb<sqlx::Postgres>, &'static TenantDirectory) -> T,
    ) {
    }
    send(|directory, keys| keys.open::<Pay>(directory, ""));
    send_db(|db, directory| db.open_job::<Pay, Order>(directory, "", |job| job.order));
    send(|directory, _| async move {
        let ctx: TenantContext =
            directory.context_by_slug(&Slug::parse("acme").unwrap(), Actor::Anonymous).await?;
        Revalidator::new(directory.clone(), ctx).check().await.map(|_| ())
    });
}
