//! [`Outbox`]: the events that wait for delivery, and where they go.

use std::time::{Duration, Instant};

use super::options::FakeStripeOptions;

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long events wait for others, if they are delivered in another order.
const MIXING_MILLIS: u64 = 100;

/// Where events are delivered.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) thin: bool,
    /// The types of its events; `*` is every type.
    pub(super) types: Vec<String>,
}

/// One event on its way to one destination.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) destination: String,
    pub(super) event: String,
    pub(super) kind: String,
    pub(super) body: String,
    pub(super) attempt: u32,
    /// Whether it repeats a delivery that succeeds by itself.
    pub(super) is_duplicate: bool,
    due: Instant,
    last_answer: Option<String>,
}

#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) destinations: Vec<Destination>,
    /// The destinations that no task serves yet.
    pub(super) unserved: Vec<Destination>,
    waiting: Vec<Delivery>,
    in_flight: usize,
    duplicates: u32,
    reorder: bool,
    delay: Duration,
    attempts: u32,
    backoff: Duration,
    random: u64,
}

impl Outbox {
    pub(super) fn new(options: &FakeStripeOptions) -> Self {
        Self {
            destinations: Vec::new(),
            unserved: Vec::new(),
            waiting: Vec::new(),
            in_flight: 0,
            duplicates: options.duplicates,
            reorder: options.reorder.is_some(),
            delay: options.delay,
            attempts: options.attempts,
            backoff: options.backoff,
            random: options.reorder.unwrap_or_default(),
        }
    }

    /// How many destinations get an event of this type.
    pub(super) fn interested(&self, kind: &str, thin: bool) -> usize {
        self.destinations.iter().filter(|destination| destination.wants(kind, thin)).count()
    }

    pub(super) fn push(&mut self, event: &str, kind: &str, body: &str, thin: bool) {
        let wanted = self.destinations.iter().filter(|destination| destination.wants(kind, thin));
        let ids: Vec<String> = wanted.map(|destination| destination.id.clone()).collect();
        for destination in ids {
            for copy in 0..=self.duplicates {
                let mixing = if self.reorder { self.random() % MIXING_MILLIS } else { 0 };
                self.waiting.push(Delivery {
                    destination: destination.clone(),
                    event: event.to_owned(),
                    kind: kind.to_owned(),
                    body: body.to_owned(),
                    attempt: 0,
                    is_duplicate: copy > 0,
                    due: Instant::now() + self.delay + Duration::from_millis(mixing),
                    last_answer: None,
                });
            }
        }
    }

    /// Takes the next delivery to this destination, or returns when it is due.
    pub(super) fn take(&mut self, destination: &str) -> Result<Delivery, Option<Instant>> {
        let now = Instant::now();
        let mine: Vec<usize> =
            (0..self.waiting.len()).filter(|index| self.waiting[*index].destination == destination).collect();
        let due: Vec<usize> = mine.iter().copied().filter(|index| self.waiting[*index].due <= now).collect();
        if due.is_empty() {
            return Err(mine.into_iter().map(|index| self.waiting[index].due).min());
        }
        let turn = if self.reorder { self.random() } else { 0 };
        let count = u64::try_from(due.len()).unwrap_or(1);
        let index = due[usize::try_from(turn % count).unwrap_or_default()];
        self.in_flight += 1;
        Ok(self.waiting.remove(index))
    }

    /// Ends an attempt: a failed one is repeated later, up to the limit.
    pub(super) fn attempted(&mut self, mut delivery: Delivery, answer: Result<(), String>) {
        self.in_flight -= 1;
        let Err(answer) = answer else { return };
        delivery.attempt += 1;
        let known = self.destinations.iter().any(|destination| destination.id == delivery.destination);
        if delivery.attempt >= self.attempts || !known {
            tracing::warn!(
                event = delivery.event,
                kind = delivery.kind,
                answer,
                "the fake Stripe gave up a delivery"
            );
            return;
        }
        let doubled = self.backoff.saturating_mul(1 << (delivery.attempt - 1).min(16));
        delivery.due = Instant::now() + doubled.min(LONGEST_WAIT);
        delivery.last_answer = Some(answer);
        self.waiting.push(delivery);
    }

    /// Ends the deliveries to a destination.
    pub(super) fn forget(&mut self, destination: &str) {
        self.destinations.retain(|one| one.id != destination);
        self.waiting.retain(|one| one.destination != destination);
    }

    /// What waits, one text for each delivery. Empty if nothing waits.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let waiting = self.waiting.iter().map(|one| {
            let answer = one.last_answer.as_deref().unwrap_or("not sent yet");
            format!("{} {} ({answer}, attempt {})", one.kind, one.event, one.attempt + 1)
        });
        waiting.chain((0..self.in_flight).map(|_| "a delivery without an answer yet".to_owned())).collect()
    }

    /// A pseudo-random number of `SplitMix64`.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Destination {
    fn wants(&self, kind: &str, thin: bool) -> bool {
        self.thin == thin && self.types.iter().any(|wanted| wanted == "*" || wanted == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_named_until_it_is_answered_or_given_up() {
        let options = FakeStripeOptions::new().attempts(2, Duration::ZERO);
        let mut outbox = Outbox::new(&options);
        let destination = |id: &str, thin| Destination {
            id: id.to_owned(),
            url: String::new(),
            secret: String::new(),
            thin,
            types: vec!["customer.created".to_owned()],
        };
        outbox.destinations = vec![destination("we_1", false), destination("ed_1", true)];
        outbox.push("evt_1", "customer.deleted", "{}", false);
        assert!(outbox.unsettled().is_empty(), "no destination wants it");
        outbox.push("evt_2", "customer.created", "{}", false);
        assert_eq!(outbox.unsettled(), ["customer.created evt_2 (not sent yet, attempt 1)"]);
        assert!(outbox.take("ed_1").is_err());
        let delivery = outbox.take("we_1").unwrap();
        assert_eq!(outbox.unsettled(), ["a delivery without an answer yet"]);
        outbox.attempted(delivery, Err("the endpoint answered 503".to_owned()));
        assert_eq!(outbox.unsettled(), ["customer.created evt_2 (the endpoint answered 503, attempt 2)"]);
        let delivery = outbox.take("we_1").unwrap();
        outbox.attempted(delivery, Err("the endpoint answered 503".to_owned()));
        assert!(outbox.unsettled().is_empty(), "it was given up");
    }
}
