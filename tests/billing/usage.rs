//! Usage of two tenants: recorded with the work, sent once to the fake Stripe, and back from it if it is invalid.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};
use tenancy::audit::{AuditEvent, AuditPolicy};
use tenancy::billing::stripe::{
    ApiRequest, Mode, SigningSecrets, StripeApi, StripeBilling, StripeClient, StripeWebhook, UsageComparison,
    UsageReport, UsageSender, sign,
};
use tenancy::billing::{BillingStore, EventOutcome, UsageError, UsageMeter};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::tenant::{NewTenant, TenantStatus, TenantStore};
use tenancy::testing::{FakeStripe, FakeStripeOptions, Fault};
use tenancy::{ErrorKind, TenantContext};

use crate::common::{Fixture, TestBackend};

const CALLS: UsageMeter = UsageMeter::new("api_calls");
const STORAGE: UsageMeter = UsageMeter::new("storage");
const SECRET: &str = "whsec_usage";
const CATALOG: &str = "version = 1\nfallback = \"free\"\n[plans.free]\nusage_in_trial = false\n[plans.pro]\nprices = [\"price_pro\"]\n";
const EVENTS: &str = "/v1/billing/meter_events";

/// Two tenants with a customer each, and the meter of API calls.
struct World<DB: TestBackend> {
    fixture: Fixture<DB>,
    stripe: FakeStripe,
    api: Arc<StripeClient>,
    directory: TenantDirectory,
    billing: StripeBilling,
    sender: UsageSender<DB>,
    clock: Arc<ManualClock>,
    /// The minute in which usage is recorded. The clock is two minutes later.
    minute: i64,
    acme: TenantContext,
    globex: TenantContext,
}

impl<DB: TestBackend> World<DB> {
    async fn new() -> Self {
        Self::with(AuditPolicy::Optional).await
    }

    async fn with(policy: AuditPolicy) -> Self {
        let fixture = Fixture::<DB>::with(policy, 8).await;
        let stripe = FakeStripe::start(FakeStripeOptions::new()).await.unwrap();
        let api = Arc::new(StripeClient::with_url("sk_test_usage", stripe.url()).unwrap());
        let now = stripe.now().seconds();
        let minute = now - now.rem_euclid(60) - 3600;
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(minute + 120)));
        let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
        let directory = TenantDirectory::new(fixture.store.clone(), catalog.clone());
        let secrets = SigningSecrets::new([SECRET]).unwrap();
        let webhook =
            StripeWebhook::new(secrets, Mode::Test, fixture.store.clone(), catalog, fixture.store.clone())
                .with_clock(clock.clone());
        let billing = StripeBilling::new(webhook, api.clone(), ["https://app.example.com"]).unwrap();
        let sender = UsageSender::new(fixture.db.clone(), directory.clone(), billing.clone());
        let again =
            async |ctx: &TenantContext| directory.context(ctx.tenant_id(), Actor::user("ada")).await.unwrap();
        let (acme, globex) = (again(&fixture.acme).await, again(&fixture.globex).await);
        let world = Self { fixture, stripe, api, directory, billing, sender, clock, minute, acme, globex };
        world.create_meter("api_calls").await;
        for ctx in [&world.acme, &world.globex] {
            world.link_customer(ctx).await;
        }
        world
    }

    async fn post(&self, path: &str, parameters: Value) -> Value {
        let key = uuid::Uuid::now_v7().to_string();
        self.api.send(&ApiRequest::post(path, parameters, key)).await.unwrap()
    }

    async fn create_meter(&self, event_name: &str) {
        let meter = json!({ "event_name": event_name, "display_name": event_name,
            "default_aggregation": { "formula": "sum" } });
        self.post("/v1/billing/meters", meter).await;
    }

    async fn link_customer(&self, ctx: &TenantContext) -> String {
        let customer = self.post("/v1/customers", json!({ "name": ctx.tenant().name() })).await;
        let id = customer["id"].as_str().unwrap().to_owned();
        let mut tx = self.fixture.store.begin().await.unwrap();
        tx.link_customer(&id, ctx.tenant_id(), self.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// Records usage in the `n`-th minute.
    async fn record(&self, ctx: &TenantContext, n: i64, value: u64) {
        let mut tx = self.fixture.db.begin(ctx).await.unwrap();
        self.meter(CALLS, n).record(&mut tx, value).await.unwrap();
        tx.commit().await.unwrap();
    }

    fn meter(&self, meter: UsageMeter, n: i64) -> UsageMeter {
        meter.at(Timestamp::from_seconds(self.minute + n * 60 + 59))
    }

    async fn send(&self) -> UsageReport {
        let report = self.sender.send_due().await.unwrap();
        assert!(report.first_error.is_none(), "{report:?}");
        report
    }

    async fn compare(&self, ctx: &TenantContext, meter: UsageMeter) -> UsageComparison {
        let day = 86_400;
        let from = Timestamp::from_seconds(self.minute - 40 * day);
        let to = Timestamp::from_seconds(self.minute + 3 * day);
        self.sender.reconcile(ctx.tenant_id(), meter, from, to).await.unwrap()
    }

    /// Recorded, sent, withheld, dead, and counted by Stripe.
    async fn usage(&self, ctx: &TenantContext) -> [u64; 5] {
        let usage = self.compare(ctx, CALLS).await;
        [usage.recorded, usage.sent, usage.withheld, usage.dead, usage.counted_by_stripe]
    }

    async fn set_status(&self, ctx: &TenantContext, status: TenantStatus) -> TenantContext {
        let tenant = self.fixture.store.by_id(ctx.tenant_id()).await.unwrap().unwrap();
        let tenant = tenant.with_status(status).unwrap();
        self.fixture.store.update(&tenant).await.unwrap();
        if status.is_open() {
            return self.directory.context(ctx.tenant_id(), Actor::user("ada")).await.unwrap();
        }
        ctx.clone()
    }

    /// Delivers the newest thin event of this type.
    async fn deliver(&self, kind: &str) -> EventOutcome {
        let list = self.api.send(&ApiRequest::get("/v2/core/events", json!({}))).await.unwrap();
        let mut event =
            list["data"].as_array().unwrap().iter().find(|event| event["type"] == kind).unwrap().clone();
        event.as_object_mut().unwrap().remove("data").expect("the details are in a fetch only");
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), self.clock.now());
        self.billing.webhook().receive(body.as_bytes(), &[signature.as_bytes()]).await.unwrap()
    }
}

/// Polls a future this often, and drops it then.
async fn dropped_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn the_sum_of_each_finished_minute_is_sent_once<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    for (ctx, n, value) in
        [(&world.acme, 0, 5), (&world.acme, 0, 7), (&world.acme, 1, 1), (&world.globex, 0, 100)]
    {
        world.record(ctx, n, value).await;
    }
    // The minute of the clock is not over.
    world.record(&world.acme, 2, 1000).await;
    // A transaction that is rolled back used nothing.
    let mut tx = world.fixture.db.begin(&world.acme).await.unwrap();
    world.meter(CALLS, 0).record(&mut tx, 50).await.unwrap();
    tx.rollback().await.unwrap();

    let report = world.send().await;
    assert_eq!((report.sent, report.waiting, report.dead, report.withheld), (3, 0, 0, 0));
    assert_eq!(world.usage(&world.acme).await, [1013, 13, 0, 0, 13]);
    assert_eq!(world.usage(&world.globex).await, [100, 100, 0, 0, 100]);
    assert_eq!(world.send().await.sent, 0);
    // Usage that commits late is sent as well.
    world.record(&world.acme, 0, 2).await;
    world.clock.advance_seconds(60);
    assert_eq!(world.send().await.sent, 2);
    assert_eq!(world.usage(&world.acme).await, [1015, 1015, 0, 0, 1015]);
    assert_eq!(world.usage(&world.globex).await, [100, 100, 0, 0, 100]);
    let of_minute = |n: i64| Timestamp::from_seconds(world.minute + n * 60);
    for (n, counted) in [(0, 14), (1, 1), (2, 1000), (3, 0)] {
        let usage =
            world.sender.reconcile(world.acme.tenant_id(), CALLS, of_minute(n), of_minute(n + 1)).await;
        assert_eq!(usage.unwrap().counted_by_stripe, counted, "{n}");
    }
    let empty = world.sender.reconcile(world.acme.tenant_id(), CALLS, of_minute(1), of_minute(1)).await;
    assert_eq!(empty.unwrap_err().kind(), ErrorKind::InvalidInput);
}

async fn a_key_counts_once_for_its_tenant_and_meter<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    world.create_meter("storage").await;
    for (ctx, meter, key, counts) in [
        (&world.acme, CALLS, "job-1", true),
        (&world.acme, CALLS, "job-1", false),
        (&world.acme, CALLS, "job-2", true),
        (&world.acme, STORAGE, "job-1", true),
        (&world.globex, CALLS, "job-1", true),
    ] {
        let mut tx = world.fixture.db.begin(ctx).await.unwrap();
        let meter = world.meter(meter, 0);
        assert_eq!(meter.record_once(&mut tx, 4, key).await.unwrap(), counts, "{key}");
        tx.commit().await.unwrap();
    }
    // A key whose transaction was rolled back is free.
    for commits in [false, true] {
        let mut tx = world.fixture.db.begin(&world.acme).await.unwrap();
        assert!(world.meter(CALLS, 0).record_once(&mut tx, 1, "job-3").await.unwrap());
        if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
    }
    let mut tx = world.fixture.db.begin(&world.acme).await.unwrap();
    for value in [0, 1 << 53, u64::MAX] {
        assert_eq!(CALLS.record(&mut tx, value).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for key in [String::new(), "k".repeat(101)] {
        assert_eq!(CALLS.record_once(&mut tx, 1, &key).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let unnamed = UsageMeter::new("").record(&mut tx, 1).await;
    assert_eq!(unnamed.unwrap_err().kind(), ErrorKind::Misconfigured);
    tx.rollback().await.unwrap();
    world.send().await;
    assert_eq!(world.usage(&world.acme).await, [9, 9, 0, 0, 9]);
    assert_eq!(world.usage(&world.globex).await, [4, 4, 0, 0, 4]);
    assert_eq!(world.compare(&world.acme, STORAGE).await.counted_by_stripe, 4);
    assert_eq!(world.compare(&world.globex, STORAGE).await.counted_by_stripe, 0);
}

/// Sums beyond what a meter event can hold become several events.
async fn large_values_are_sent_in_parts<DB: TestBackend>() {
    const MAX: u64 = (1 << 53) - 1;
    let world = World::<DB>::new().await;
    for value in [MAX, 1, MAX] {
        world.record(&world.acme, 0, value).await;
    }
    world.record(&world.globex, 0, MAX).await;
    assert!(world.send().await.sent >= 3);
    assert_eq!(world.usage(&world.acme).await, [2 * MAX + 1, 2 * MAX + 1, 0, 0, 2 * MAX + 1]);
    assert_eq!(world.usage(&world.globex).await, [MAX, MAX, 0, 0, MAX]);
}

/// The sender is dropped after each number of polls: between any two statements and requests.
async fn a_crash_at_any_point_counts_each_row_once<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    let (mut acme, mut globex, mut crashes, mut polls) = (0, 0, 0, 0);
    loop {
        polls += 1;
        for _ in 0..2 {
            world.record(&world.acme, 0, u64::from(polls)).await;
            acme += u64::from(polls);
        }
        world.record(&world.globex, 1, 1000 + u64::from(polls)).await;
        globex += 1000 + u64::from(polls);
        if dropped_after(polls, world.sender.send_due()).await.is_some() {
            break;
        }
        crashes += 1;
        // The lease of what was being sent ends.
        world.clock.advance_seconds(300);
    }
    assert!(crashes >= 10, "only {crashes} crashes");
    world.clock.advance_seconds(3600);
    let report = world.send().await;
    assert_eq!((report.waiting, report.dead), (0, 0));
    assert_eq!(world.usage(&world.acme).await, [acme, acme, 0, 0, acme]);
    assert_eq!(world.usage(&world.globex).await, [globex, globex, 0, 0, globex]);
}

async fn a_lost_reply_and_a_lost_request_count_once<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    for fault in [Fault::AfterEffect, Fault::BeforeEffect] {
        world.record(&world.acme, 0, 6).await;
        // As often as the client repeats a request.
        world.stripe.fail_next(EVENTS, fault, 3);
        let report = world.sender.send_due().await.unwrap();
        assert_eq!((report.sent, report.waiting, report.dead), (0, 1, 0), "{fault:?}");
        assert_eq!(report.first_error.unwrap().kind(), ErrorKind::BillingUnavailable);
        assert_eq!(world.send().await.sent, 0, "it is not due yet");
        world.clock.advance_seconds(60);
        let report = world.send().await;
        assert_eq!((report.sent, report.waiting, report.dead), (1, 0, 0), "{fault:?}");
    }
    assert_eq!(world.usage(&world.acme).await, [12, 12, 0, 0, 12]);
    assert_eq!(world.usage(&world.globex).await, [0; 5]);
}

/// Stripe may have forgotten an identifier after a day: what it counted decides whether the event is sent again.
async fn after_a_day_without_a_reply_the_count_of_stripe_decides<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    for (n, fault) in [(0, Fault::AfterEffect), (1, Fault::BeforeEffect)] {
        world.record(&world.acme, n, 6).await;
        world.stripe.fail_next(EVENTS, fault, 3);
        assert_eq!(world.sender.send_due().await.unwrap().waiting, 1, "{fault:?}");
        world.clock.advance_seconds(86_400);
        assert_eq!(world.send().await.sent, 1, "{fault:?}");
    }
    // Another sum than either: a person decides.
    world.record(&world.acme, 0, 8).await;
    world.stripe.fail_next(EVENTS, Fault::BeforeEffect, 3);
    assert_eq!(world.sender.send_due().await.unwrap().waiting, 1);
    let customer =
        world.fixture.store.begin().await.unwrap().customers(world.acme.tenant_id()).await.unwrap();
    let planted = json!({ "event_name": "api_calls", "timestamp": world.minute,
        "payload": { "stripe_customer_id": customer[0], "value": "3" } });
    world.post(EVENTS, planted).await;
    world.clock.advance_seconds(86_400);
    assert_eq!(world.send().await.dead, 1);
    assert_eq!(world.usage(&world.acme).await, [20, 12, 0, 8, 15]);
    assert_eq!(world.usage(&world.globex).await, [0; 5]);
}

async fn several_senders_at_once_send_each_row_once<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for node in 0..4 {
        let ctx = if node % 2 == 0 { &world.acme } else { &world.globex }.clone();
        let (db, sender) = (world.fixture.db.clone(), world.sender.clone());
        let minutes = [0, 1].map(|n| world.meter(CALLS, n));
        tasks.spawn(async move {
            for n in 0..8 {
                let mut tx = db.begin(&ctx).await.unwrap();
                minutes[n % 2].record(&mut tx, 1).await.unwrap();
                tx.commit().await.unwrap();
                if let Some(error) = sender.send_due().await.unwrap().first_error {
                    assert!(error.is_transient(), "{error:?}");
                }
            }
        });
    }
    tasks.join_all().await;
    world.clock.advance_seconds(3600);
    let report = world.send().await;
    assert_eq!((report.waiting, report.dead), (0, 0));
    assert_eq!(world.usage(&world.acme).await, [16, 16, 0, 0, 16]);
    assert_eq!(world.usage(&world.globex).await, [16, 16, 0, 0, 16]);
}

async fn pauses_grow_up_to_an_hour_and_other_tenants_are_sent<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    world.record(&world.acme, 0, 1).await;
    world.record(&world.globex, 0, 2).await;
    // The first tenant of the run fails, the second one does not.
    world.stripe.fail_next(EVENTS, Fault::BeforeEffect, 3);
    let report = world.sender.send_due().await.unwrap();
    assert_eq!((report.sent, report.waiting, report.first_error.is_some()), (1, 1, true));
    for pause in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
        world.clock.advance_seconds(pause - 1);
        assert_eq!(world.send().await.waiting, 1, "{pause}");
        world.clock.advance_seconds(1);
        world.stripe.fail_next(EVENTS, Fault::BeforeEffect, 3);
        assert!(world.sender.send_due().await.unwrap().first_error.is_some(), "{pause}");
    }
    world.clock.advance_seconds(3600);
    assert_eq!(world.send().await.sent, 1);
    assert_eq!(world.usage(&world.acme).await, [1, 1, 0, 0, 1]);
    assert_eq!(world.usage(&world.globex).await, [2, 2, 0, 0, 2]);
}

async fn rejected_and_old_usage_is_given_up_by_name_and_retried<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    world.record(&world.acme, -36 * 1440, 3).await;
    // Two days ahead of Stripe's clock.
    world.clock.advance_seconds(2 * 86_400);
    world.record(&world.acme, 2880, 5).await;
    world.record(&world.globex, 0, 9).await;
    let report = world.send().await;
    assert_eq!((report.sent, report.waiting, report.dead), (1, 0, 2));
    let mut dead = world.sender.dead(10).await.unwrap();
    dead.sort_by_key(|batch| batch.value);
    let [old, ahead] = &dead[..] else { panic!("{dead:?}") };
    assert!(old.error.contains("older than 35 days"), "{}", old.error);
    assert!(ahead.error.contains("timestamp_in_future"), "{}", ahead.error);
    for batch in &dead {
        assert_eq!((&batch.tenant, &*batch.meter), (world.acme.tenant_id(), "api_calls"));
        assert!(batch.identifier.ends_with(&format!(".{}.{}", batch.id, batch.tenant)));
    }
    assert_eq!(world.sender.dead(1).await.unwrap().len(), 1);
    assert_eq!(world.usage(&world.acme).await, [8, 0, 0, 8, 0]);

    // The batch belongs to acme: globex has none with this id.
    assert!(!world.sender.retry(world.globex.tenant_id(), &ahead.id).await.unwrap());
    assert_eq!(world.sender.dead(10).await.unwrap().len(), 2);
    world.stripe.advance(Duration::from_hours(48));
    assert!(world.sender.retry(world.acme.tenant_id(), &ahead.id).await.unwrap());
    assert!(!world.sender.retry(world.acme.tenant_id(), &ahead.id).await.unwrap());
    let report = world.send().await;
    assert_eq!((report.sent, report.waiting, report.dead), (1, 0, 1));
    assert_eq!(world.usage(&world.acme).await, [8, 5, 0, 3, 5]);
    assert_eq!(world.usage(&world.globex).await, [9, 9, 0, 0, 9]);
}

async fn usage_of_a_closed_tenant_is_sent<DB: TestBackend>() {
    for status in [TenantStatus::Suspended, TenantStatus::Deactivated] {
        let world = World::<DB>::new().await;
        world.record(&world.acme, 0, 3).await;
        world.record(&world.globex, 0, 4).await;
        world.set_status(&world.acme, status).await;
        let closed = world.directory.context(world.acme.tenant_id(), Actor::user("ada")).await;
        assert!(closed.is_err(), "{status:?}");
        assert_eq!(world.send().await.sent, 2);
        assert_eq!(world.usage(&world.acme).await, [3, 3, 0, 0, 3]);
        assert_eq!(world.usage(&world.globex).await, [4, 4, 0, 0, 4]);
    }
}

async fn usage_in_a_trial_is_withheld_where_the_plan_says_so<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    // acme is on `free`, globex on `pro`.
    for (ctx, value) in [(&world.acme, 3), (&world.globex, 4)] {
        let trial = trial_of(&world, ctx).await;
        world.record(&trial, 0, value).await;
    }
    let report = world.send().await;
    assert_eq!((report.sent, report.withheld), (1, 1));
    assert_eq!(world.usage(&world.acme).await, [0, 0, 3, 0, 0]);
    assert_eq!(world.usage(&world.globex).await, [4, 4, 0, 0, 4]);
    // After the trial, only new usage is sent.
    let acme = world.set_status(&world.acme, TenantStatus::Active).await;
    world.record(&acme, 0, 10).await;
    let report = world.send().await;
    assert_eq!((report.sent, report.withheld), (1, 1));
    assert_eq!(world.usage(&world.acme).await, [10, 10, 3, 0, 10]);
}

/// The context of the tenant in a trial.
async fn trial_of<DB: TestBackend>(world: &World<DB>, ctx: &TenantContext) -> TenantContext {
    for status in [TenantStatus::Suspended, TenantStatus::Trialing] {
        world.set_status(ctx, status).await;
    }
    world.directory.context(ctx.tenant_id(), Actor::user("ada")).await.unwrap()
}

async fn an_invalid_meter_event_comes_back_to_its_rows<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    world.record(&world.acme, 0, 3).await;
    world.record(&world.globex, 0, 4).await;
    let customers =
        world.fixture.store.begin().await.unwrap().customers(world.acme.tenant_id()).await.unwrap();
    let delete = ApiRequest::delete(format!("/v1/customers/{}", customers[0]), json!({}));
    world.api.send(&delete).await.unwrap();
    assert_eq!(world.send().await.sent, 2);
    assert_eq!(world.deliver("v1.billing.meter.error_report_triggered").await, EventOutcome::Unchanged);
    assert_eq!(world.deliver("v1.billing.meter.error_report_triggered").await, EventOutcome::Duplicate);
    let report = world.send().await;
    assert_eq!((report.sent, report.waiting, report.dead), (0, 0, 1));
    assert!(world.fixture.store.begin().await.unwrap().usage_errors(10).await.unwrap().is_empty());
    let dead = world.sender.dead(10).await.unwrap();
    assert_eq!(
        (&dead[0].tenant, dead[0].value, &dead[0].customer),
        (world.acme.tenant_id(), 3, &customers[0])
    );
    assert!(dead[0].error.contains("meter_event_customer_not_found"), "{}", dead[0].error);

    world.clock.advance_seconds(60);
    world.link_customer(&world.acme).await;
    assert!(world.sender.retry(world.acme.tenant_id(), &dead[0].id).await.unwrap());
    // The same report once more is about the old identifier.
    let mut tx = world.fixture.store.begin().await.unwrap();
    let late = UsageError {
        identifier: dead[0].identifier.clone(),
        code: "late".to_owned(),
        message: String::new(),
        received: world.clock.now(),
    };
    tx.add_usage_error(&late).await.unwrap();
    tx.commit().await.unwrap();
    let report = world.send().await;
    assert_eq!((report.sent, report.waiting, report.dead), (1, 0, 0));
    assert_eq!(world.usage(&world.acme).await, [3, 3, 0, 0, 3]);
    assert_eq!(world.sender.dead(10).await.unwrap(), []);
    assert_eq!(world.usage(&world.globex).await, [4, 4, 0, 0, 4]);

    // An event without a meter.
    let mut tx = world.fixture.db.begin(&world.globex).await.unwrap();
    world.meter(STORAGE, 0).record(&mut tx, 8).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.send().await.sent, 1);
    assert_eq!(world.deliver("v1.billing.meter.no_meter_found").await, EventOutcome::Unchanged);
    assert_eq!(world.send().await.dead, 1);
    let dead = world.sender.dead(10).await.unwrap();
    assert_eq!((&dead[0].tenant, &*dead[0].meter), (world.globex.tenant_id(), "storage"));
    world.create_meter("storage").await;
    assert!(world.sender.retry(world.globex.tenant_id(), &dead[0].id).await.unwrap());
    assert_eq!(world.send().await.sent, 1);
    assert_eq!(world.compare(&world.globex, STORAGE).await.counted_by_stripe, 8);
}

async fn reports_of_another_installation_change_nothing<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    world.record(&world.acme, 0, 3).await;
    assert_eq!(world.send().await.sent, 1);
    for identifier in ["other".to_owned(), format!("u.00000000.x.{}", world.acme.tenant_id())] {
        let unknown = json!({ "event_name": "no_such_meter", "identifier": identifier,
            "payload": { "stripe_customer_id": "cus_x", "value": "1" } });
        world.post(EVENTS, unknown).await;
        let outcome = world.deliver("v1.billing.meter.no_meter_found").await;
        assert!(matches!(outcome, EventOutcome::Ignored { .. }), "{outcome:?}");
    }
    let report = world.send().await;
    assert_eq!((report.dead, report.waiting), (0, 0));
    assert_eq!(world.usage(&world.acme).await, [3, 3, 0, 0, 3]);
}

async fn a_comparison_finds_what_stripe_counted_beside<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    world.record(&world.acme, 0, 3).await;
    world.record(&world.globex, 0, 4).await;
    world.send().await;
    assert!(world.compare(&world.acme, CALLS).await.is_equal());
    let customers =
        world.fixture.store.begin().await.unwrap().customers(world.acme.tenant_id()).await.unwrap();
    let planted = json!({ "event_name": "api_calls", "timestamp": world.minute,
        "payload": { "stripe_customer_id": customers[0], "value": "7" } });
    world.post(EVENTS, planted).await;
    let found = world.compare(&world.acme, CALLS).await;
    assert_eq!((found.is_equal(), found.sent, found.counted_by_stripe), (false, 3, 10));
    assert!(world.compare(&world.globex, CALLS).await.is_equal());
    // Stripe has no sums of a customer that was deleted.
    let delete = ApiRequest::delete(format!("/v1/customers/{}", customers[0]), json!({}));
    world.api.send(&delete).await.unwrap();
    assert_eq!(world.usage(&world.acme).await, [3, 3, 0, 0, 0]);
    let from = Timestamp::from_seconds(world.minute);
    let unknown = world
        .sender
        .reconcile(world.acme.tenant_id(), UsageMeter::new("none"), from, world.clock.now())
        .await
        .unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

async fn sent_usage_is_forgotten_and_the_rest_is_kept<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    let trial = trial_of(&world, &world.acme).await;
    world.record(&trial, 0, 1).await;
    let acme = world.set_status(&world.acme, TenantStatus::Active).await;
    world.record(&acme, 0, 2).await;
    world.record(&acme, -36 * 1440, 8).await;
    world.record(&world.globex, 0, 4).await;
    world.send().await;
    world.record(&world.globex, 1, 16).await;
    assert_eq!(world.sender.forget_sent(Timestamp::from_seconds(world.minute)).await.unwrap(), 0);
    assert_eq!(world.usage(&world.acme).await, [10, 2, 1, 8, 2]);
    world.clock.advance_seconds(60);
    assert_eq!(world.sender.forget_sent(world.clock.now()).await.unwrap(), 2);
    // What waits and what was given up stays.
    assert_eq!(world.usage(&world.acme).await, [8, 0, 0, 8, 2]);
    assert_eq!(world.usage(&world.globex).await, [16, 0, 0, 0, 4]);
    assert_eq!(world.send().await.sent, 1);
}

/// Where every change needs an audit event, usage needs one of the application, and its sending none.
async fn sending_works_where_changes_must_be_audited<DB: TestBackend>() {
    let world = World::<DB>::with(AuditPolicy::Required).await;
    let mut tx = world.fixture.db.begin(&world.acme).await.unwrap();
    world.meter(CALLS, 0).record(&mut tx, 5).await.unwrap();
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Unaudited);
    let mut tx = world.fixture.db.begin(&world.acme).await.unwrap();
    world.meter(CALLS, 0).record(&mut tx, 6).await.unwrap();
    tx.record(AuditEvent::new(&world.acme, "api.called")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.send().await.sent, 1);
    assert_eq!(world.usage(&world.acme).await, [6, 6, 0, 0, 6]);
    assert_eq!(world.sender.forget_sent(Timestamp::from_seconds(world.minute + 9999)).await.unwrap(), 1);
}

/// A tenant without a customer keeps its usage until it has one.
async fn usage_waits_for_a_customer<DB: TestBackend>() {
    let world = World::<DB>::new().await;
    let tenant = NewTenant::active("initech", "pro").unwrap();
    let tenant = world.fixture.store.insert(tenant).await.unwrap();
    let initech = world.directory.context(tenant.id(), Actor::user("ada")).await.unwrap();
    world.record(&initech, 0, 3).await;
    assert_eq!(world.send().await.sent, 0);
    world.link_customer(&initech).await;
    assert_eq!(world.send().await.sent, 1);
    assert_eq!(world.usage(&initech).await, [3, 3, 0, 0, 3]);
    assert_eq!(world.usage(&world.acme).await, [0; 5]);
}

in_every_placement!(
    the_sum_of_each_finished_minute_is_sent_once,
    a_key_counts_once_for_its_tenant_and_meter,
    a_crash_at_any_point_counts_each_row_once,
    a_lost_reply_and_a_lost_request_count_once,
    several_senders_at_once_send_each_row_once,
    rejected_and_old_usage_is_given_up_by_name_and_retried,
    usage_of_a_closed_tenant_is_sent,
    usage_in_a_trial_is_withheld_where_the_plan_says_so,
    an_invalid_meter_event_comes_back_to_its_rows,
    a_comparison_finds_what_stripe_counted_beside,
    sent_usage_is_forgotten_and_the_rest_is_kept,
);

mod once {
    on_every_database!(
        large_values_are_sent_in_parts,
        after_a_day_without_a_reply_the_count_of_stripe_decides,
        pauses_grow_up_to_an_hour_and_other_tenants_are_sent,
        reports_of_another_installation_change_nothing,
        sending_works_where_changes_must_be_audited,
        usage_waits_for_a_customer,
    );

    use super::{
        after_a_day_without_a_reply_the_count_of_stripe_decides, large_values_are_sent_in_parts,
        pauses_grow_up_to_an_hour_and_other_tenants_are_sent, reports_of_another_installation_change_nothing,
        sending_works_where_changes_must_be_audited, usage_waits_for_a_customer,
    };
}
