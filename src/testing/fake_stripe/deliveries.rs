//! Sends the events of the [outbox](super::outbox) to one destination, and repeats what fails.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::outbox::{Delivery, Destination};
use super::state::State;
use crate::billing::stripe::sign;
use crate::clock::{Clock, SystemClock};

/// How long a destination may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a task without work looks for new work and for timers that are due.
const IDLE: Duration = Duration::from_secs(1);

/// The state that the server and the tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the tasks that deliver, and ends them when it is dropped.
    wake: watch::Sender<()>,
}

impl Shared {
    pub(super) fn new(state: State) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state), wake: watch::Sender::new(()) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state after what is due has happened, and delivers the events of the change.
    pub(super) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.catch_up();
        let result = change(&mut state);
        for destination in mem::take(&mut state.outbox.unserved) {
            tokio::spawn(run(Arc::downgrade(self), self.wake.subscribe(), destination));
        }
        drop(state);
        self.wake.send_replace(());
        result
    }
}

/// Delivers to a destination until it is removed or the fake stops.
async fn run(shared: Weak<Shared>, mut woken: watch::Receiver<()>, destination: Destination) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build();
    let Ok(client) = client else {
        tracing::error!("the fake Stripe cannot build its HTTP client, and delivers nothing");
        return;
    };
    loop {
        woken.mark_unchanged();
        let taken = {
            let Some(shared) = shared.upgrade() else { return };
            let mut state = shared.lock();
            if !state.outbox.destinations.iter().any(|one| one.id == destination.id) {
                return;
            }
            state.catch_up();
            state.outbox.take(&destination.id)
        };
        match taken {
            Ok(delivery) => {
                let answer = send(&client, &destination, &delivery).await;
                let Some(shared) = shared.upgrade() else { return };
                let mut state = shared.lock();
                if answer.is_ok() && !delivery.is_duplicate {
                    state.delivered(&delivery.event);
                }
                state.outbox.attempted(delivery, answer);
            }
            Err(due) => {
                let wait = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
                if let Ok(Err(_)) = timeout(wait.min(IDLE), woken.changed()).await {
                    return;
                }
            }
        }
    }
}

async fn send(
    client: &reqwest::Client,
    destination: &Destination,
    delivery: &Delivery,
) -> Result<(), String> {
    // The time of the signature is that of the attempt, and never that of the fake's clock.
    let signature = sign(&destination.secret, delivery.body.as_bytes(), SystemClock.now());
    let request = client
        .post(&destination.url)
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "Stripe/1.0 (+tenancy fake)")
        .header("stripe-signature", signature)
        .body(delivery.body.clone());
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("the endpoint answered {}", answer.status().as_u16())),
        Err(error) if error.is_timeout() => Err("the endpoint did not answer in time".to_owned()),
        Err(_) => Err("the endpoint cannot be reached".to_owned()),
    }
}
