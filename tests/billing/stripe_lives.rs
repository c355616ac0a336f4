//! Random lives of one and two subscriptions, delivered in every order: the tenant ends as the history says, or a
//! subscription is marked for a refresh.

use std::sync::Arc;

use serde_json::{Value, json};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::billing::{BillingStore, EventOutcome, Subscription};
use tenancy::clock::{Clock, ManualClock, Timestamp};
use tenancy::plan::Catalog;
use tenancy::store::{MemoryStore, SqlStore};
use tenancy::tenant::{NewTenant, Tenant, TenantId, TenantStatus, TenantStore};

use crate::billing_stores::clear;
use crate::common::TestBackend;
use crate::stripe_fixture::{
    PLANS, SECRET, START, created, deleted, item, stamped, subscription, updated, with,
};

mod statements;

/// Pseudo-random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// What a subscription looks like, in Stripe's words.
#[derive(Clone, PartialEq)]
struct Look {
    status: &'static str,
    price: &'static str,
    quantity: u64,
    /// The quantity of the seats that are bought apart.
    seats: Option<u64>,
    support: bool,
    cancel_at: Option<i64>,
}

impl Look {
    fn object(&self, id: &str, customer: &str, started: i64) -> Value {
        with(
            stamped(subscription(id, customer, self.status, self.price), "acme"),
            &json!({ "items": self.items(), "cancel_at": self.cancel_at, "created": started }),
        )
    }

    fn items(&self) -> Value {
        let mut items = vec![item(self.price, self.quantity)];
        items.extend(self.seats.map(|seats| item("price_pro_seat", seats)));
        items.extend(self.support.then(|| item("price_support", 1)));
        json!({ "object": "list", "has_more": false, "data": items })
    }

    /// The seats and add-ons, if its price is in the catalog.
    fn extras(&self) -> Option<(Option<u64>, Vec<String>)> {
        let seats = match plan_of(self.price)? {
            "pro" => self.seats.unwrap_or(self.quantity),
            _ => self.quantity,
        };
        Some((Some(seats), self.support.then(|| "support".to_owned()).into_iter().collect()))
    }

    /// The previous values of what `next` changed.
    fn previous(&self, next: &Self) -> Value {
        let mut previous = json!({});
        if self.status != next.status {
            previous["status"] = json!(self.status);
        }
        if self.cancel_at != next.cancel_at {
            previous["cancel_at"] = json!(self.cancel_at);
        }
        if self.items() != next.items() {
            previous["items"] = self.items();
        }
        previous
    }
}

/// The life of one subscription: how it looked after each event.
#[derive(Clone)]
struct Life {
    id: &'static str,
    started: i64,
    looks: Vec<Look>,
}

const LIVE: [&str; 5] = ["active", "trialing", "past_due", "unpaid", "paused"];

fn plan_of(price: &str) -> Option<&'static str> {
    match price {
        "price_basic" => Some("basic"),
        "price_pro" => Some("pro"),
        _ => None,
    }
}

impl Life {
    /// The plan of its last price that is in the catalog.
    fn plan(&self) -> Option<&'static str> {
        self.looks.iter().rev().find_map(|look| plan_of(look.price))
    }

    /// The last status that is known.
    fn status(&self) -> Option<&'static str> {
        self.looks.iter().rev().map(|look| look.status).find(|status| *status != "novel")
    }

    /// Whether it was ever paid for.
    fn bought(&self) -> bool {
        self.looks.iter().any(|look| LIVE.contains(&look.status))
    }
}

/// The events of all lives in the order in which they occurred.
struct History {
    lives: Vec<Life>,
    events: Vec<Value>,
}

impl History {
    fn random(dice: &mut Dice, subscriptions: usize, events: usize) -> Self {
        let mut lives = Vec::<Life>::new();
        let mut all = Vec::new();
        let mut second = 0;
        while all.len() < events {
            second += i64::from(dice.roll(2) == 0);
            let id = format!("evt_{}", all.len());
            let customer = ["cus_1", "cus_2"];
            let start = lives.is_empty() || (lives.len() < subscriptions && dice.roll(3) == 0);
            let at = if start { lives.len() } else { dice.roll(lives.len()) };
            if start {
                let look = Look {
                    status: ["incomplete", "active", "trialing"][dice.roll(3)],
                    price: ["price_pro", "price_basic", "price_other"][dice.roll(3)],
                    quantity: 1,
                    seats: None,
                    support: false,
                    cancel_at: None,
                };
                let life = Life {
                    id: ["sub_1", "sub_2"][at],
                    started: START - 1000 + 500 * i64::try_from(at).unwrap(),
                    looks: vec![look],
                };
                all.push(created(&id, second, &life.looks[0].object(life.id, customer[at], life.started)));
                lives.push(life);
                continue;
            }
            let life = &mut lives[at];
            let last = life.looks.last().unwrap().clone();
            if last.status == "canceled" {
                if lives.iter().all(|life| life.looks.last().unwrap().status == "canceled")
                    && lives.len() == subscriptions
                {
                    break;
                }
                continue;
            }
            let mut next = last.clone();
            match dice.roll(6) {
                0 | 1 => {
                    next.status =
                        ["active", "past_due", "unpaid", "trialing", "paused", "novel"][dice.roll(6)];
                }
                2 => next.price = ["price_pro", "price_basic", "price_other"][dice.roll(3)],
                3 => {
                    let number = 1 + u64::try_from(dice.roll(3)).unwrap();
                    match dice.roll(3) {
                        0 => next.quantity = number,
                        1 => next.seats = (number > 1).then_some(number),
                        _ => next.support = !next.support,
                    }
                }
                4 => next.cancel_at = if next.cancel_at.is_none() { Some(START + 9000) } else { None },
                _ => next.status = "canceled",
            }
            if next == last {
                continue;
            }
            let object = next.object(life.id, customer[at], life.started);
            all.push(if next.status == "canceled" {
                deleted(&id, second, &object)
            } else {
                updated(&id, second, &object, &last.previous(&next))
            });
            life.looks.push(next);
        }
        Self { lives, events: all }
    }

    /// The plan and the status that follow from how the subscriptions ended.
    fn truth(&self) -> (String, TenantStatus) {
        let rank = |status: &str| match status {
            "active" => 5,
            "trialing" => 4,
            "past_due" => 3,
            _ => 1,
        };
        let with_plan = self.lives.iter().filter(|life| life.plan().is_some());
        let running =
            with_plan.clone().filter(|life| life.status().is_some_and(|status| LIVE.contains(&status)));
        let best = running.max_by_key(|life| {
            let ending = life.looks.last().unwrap().cancel_at.is_some();
            (rank(life.status().unwrap()), !ending, life.started, life.id)
        });
        match best {
            Some(life) => {
                let status = match life.status().unwrap() {
                    "active" => TenantStatus::Active,
                    "trialing" => TenantStatus::Trialing,
                    "past_due" => TenantStatus::PastDue,
                    _ => TenantStatus::Suspended,
                };
                (life.plan().unwrap().to_owned(), status)
            }
            None => ("free".to_owned(), TenantStatus::Active),
        }
    }

    /// The seats and add-ons of each subscription, sorted by id: those of its last price that is in the catalog.
    fn extras(&self) -> Vec<(&'static str, Option<u64>, Vec<String>)> {
        let mut extras: Vec<_> = self
            .lives
            .iter()
            .map(|life| {
                let (seats, addons) = life.looks.iter().rev().find_map(Look::extras).unwrap_or_default();
                (life.id, seats, addons)
            })
            .collect();
        extras.sort();
        extras
    }

    /// Whether a subscription ended that never was paid for, or one without a plan.
    fn is_telling(&self) -> bool {
        self.lives.iter().any(|life| !life.bought() || life.plan().is_none())
    }
}

/// One tenant, acme, on a store.
struct Side<S> {
    store: Arc<S>,
    webhook: StripeWebhook,
    clock: Arc<ManualClock>,
}

impl<S: BillingStore + TenantStore + 'static> Side<S> {
    async fn new(store: S) -> Self {
        let store = Arc::new(store);
        store
            .insert(NewTenant::active("acme", "free").unwrap().id(TenantId::parse("acme").unwrap()))
            .await
            .unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        let webhook = StripeWebhook::new(
            SigningSecrets::new([SECRET]).unwrap(),
            Mode::Test,
            store.clone(),
            Catalog::from_toml(&format!("fallback = \"free\"\n{PLANS}")).unwrap(),
            store.clone(),
        )
        .with_clock(clock.clone());
        Self { store, webhook, clock }
    }

    /// The tenant and its subscriptions after these deliveries.
    async fn after(&self, history: &History, order: &[usize]) -> (Tenant, Vec<Subscription>) {
        for &at in order {
            let _ = self.deliver(&history.events[at]).await.unwrap();
        }
        self.ended().await
    }

    async fn deliver(&self, event: &Value) -> tenancy::Result<EventOutcome> {
        let body = event.to_string();
        let signature = sign(SECRET, body.as_bytes(), self.clock.now());
        self.webhook.receive(body.as_bytes(), &[signature.as_bytes()]).await
    }

    /// The tenant and its subscriptions now.
    async fn ended(&self) -> (Tenant, Vec<Subscription>) {
        let id = TenantId::parse("acme").unwrap();
        let subscriptions = self.store.begin().await.unwrap().subscriptions(&id).await.unwrap();
        (Tenant::clone(&self.store.by_id(&id).await.unwrap().unwrap()), subscriptions)
    }
}

/// How many deliveries ended right, and how many marked.
#[derive(Debug, Default)]
struct Count {
    right: usize,
    marked: usize,
    telling: usize,
    with_addons: usize,
}

impl Count {
    fn add(
        &mut self,
        history: &History,
        order: &[usize],
        (tenant, subscriptions): &(Tenant, Vec<Subscription>),
    ) {
        if subscriptions.iter().any(Subscription::needs_refresh) {
            self.marked += 1;
            return;
        }
        let (plan, status) = history.truth();
        let events: Vec<String> = history.events.iter().map(|event| format!("{event}")).collect();
        assert_eq!((tenant.plan(), tenant.status()), (&*plan, status), "{order:?}\n{}", events.join("\n"));
        let extras: Vec<_> =
            subscriptions.iter().map(|one| (one.id(), one.seats(), one.addons().to_vec())).collect();
        assert_eq!(extras, history.extras(), "{order:?}\n{}", events.join("\n"));
        self.with_addons += usize::from(extras.iter().any(|(_, _, addons)| !addons.is_empty()));
        self.right += 1;
        self.telling += usize::from(history.is_telling());
    }
}

pub(crate) fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let longer = |shorter: Vec<usize>| {
        (0..n).map(move |at| {
            let mut longer = shorter.clone();
            longer.insert(at, n - 1);
            longer
        })
    };
    permutations(n - 1).into_iter().flat_map(longer).collect()
}

#[tokio::test]
async fn every_order_of_a_random_life_ends_right_or_is_marked() {
    let mut count = Count::default();
    for seed in 0..120 {
        let mut dice = Dice(seed);
        let history = History::random(&mut dice, 1 + usize::from(seed % 3 != 0), 5);
        for order in permutations(history.events.len()) {
            // One event comes twice.
            let mut twice = order.clone();
            twice.insert(dice.roll(order.len() + 1), order[dice.roll(order.len())]);
            let after = Side::new(MemoryStore::new()).await.after(&history, &twice).await;
            count.add(&history, &twice, &after);
        }
    }
    assert!(count.right > 2 * count.marked && count.telling > 500, "{count:?}");
    assert!(count.with_addons > 500, "{count:?}");
}

/// Longer lives in random orders, on each database and in memory: the same result everywhere.
async fn long_lives_end_alike_in_every_store<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(2).await;
    let mut count = Count::default();
    SqlStore::new(pool.clone()).migrate().await.unwrap();
    for seed in 1000..1040 {
        let mut dice = Dice(seed);
        let history = History::random(&mut dice, 2, 9);
        for _ in 0..2 {
            let mut order: Vec<usize> = (0..history.events.len()).collect();
            for at in (1..order.len()).rev() {
                order.swap(at, dice.roll(at + 1));
            }
            clear::<DB>(&pool).await;
            let sql = Side::new(SqlStore::new(pool.clone())).await.after(&history, &order).await;
            let memory = Side::new(MemoryStore::new()).await.after(&history, &order).await;
            assert_eq!(sql, memory, "seed {seed}: {order:?}");
            count.add(&history, &order, &memory);
        }
    }
    assert!(count.right > count.marked, "{count:?}");
}

/// All events of a life at once, each twice, by as many deliverers.
async fn deliverers_at_the_same_time_end_right<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(8).await;
    let mut count = Count::default();
    SqlStore::new(pool.clone()).migrate().await.unwrap();
    for seed in 3000..3012 {
        let history = Arc::new(History::random(&mut Dice(seed), 2, 8));
        clear::<DB>(&pool).await;
        let side = Arc::new(Side::new(SqlStore::new(pool.clone())).await);
        let mut deliverers = tokio::task::JoinSet::new();
        for at in (0..history.events.len()).chain(0..history.events.len()) {
            let (side, history) = (side.clone(), history.clone());
            deliverers.spawn(async move {
                // Stripe sends an event again after a 503.
                while let Err(error) = side.deliver(&history.events[at]).await {
                    assert!(error.is_transient(), "{error}");
                }
            });
        }
        deliverers.join_all().await;
        let all: Vec<usize> = (0..history.events.len()).collect();
        count.add(&history, &all, &side.ended().await);
    }
    assert!(count.right > count.marked, "{count:?}");
}

on_every_database!(long_lives_end_alike_in_every_store, deliverers_at_the_same_time_end_right);
