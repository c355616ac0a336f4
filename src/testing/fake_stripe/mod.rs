//! [`FakeStripe`]: Stripe's API, pages and webhooks on 127.0.0.1, for tests, demos and local development.

mod aging;
mod calendar;
mod checkout;
mod customers;
mod deliveries;
mod endpoints;
mod events;
mod failure;
mod invoices;
mod lists;
mod meters;
mod options;
mod outbox;
mod pages;
mod params;
mod pauses;
mod payments;
mod portal;
mod prices;
mod purchases;
mod routes;
mod server;
mod state;
mod subscription_changes;
mod subscription_items;
mod subscriptions;
mod test_clocks;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

use self::deliveries::Shared;
pub use self::options::{FakeStripeOptions, Fault, FinalFailure};
use self::state::{PlannedFault, State};
use crate::clock::Timestamp;

/// How long [`FakeStripe::settle`] waits.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A Stripe without money: it listens on 127.0.0.1, accepts every key that begins with `sk_test_`, and stops when it is
/// dropped.
///
/// Point a client at [`url`](Self::url). The API has customers, products, prices, payment methods, subscriptions,
/// invoices, checkout and portal sessions, events, webhook endpoints, test clocks and meters, in the version
/// `2026-10-28.endive`. A parameter or a route that the fake does not have is an error, never ignored.
///
/// - Payment methods: `pm_card_visa` pays. `pm_card_chargeCustomerFail` can be attached, and each charge fails.
///   `pm_card_authenticationRequired` needs an action of the customer.
/// - Pages: the `url` of a checkout or portal session has buttons for a browser. A test sends their form: a checkout
///   accepts `action=card`, `later` (a card that pays now and fails later), `debit`, `debit_fails` and `cancel`; the
///   portal `price` (with `price=ID`), `cancel`, `keep`, `card_good`, `card_fails`, `advance_day`, `advance_week` and
///   `advance_month`.
/// - Time: what is on a test clock ages with it. Everything else ages with the system clock and [`advance`](Self::advance).
///   A failed payment is repeated after 3, 5 and 7 days; then [`FakeStripeOptions::after_final_failure`] decides.
/// - Events: each change emits the events that Stripe emits, and beside each a thin event.
///
/// ```
/// use std::time::Duration;
/// use tenancy::testing::{FakeStripe, FakeStripeOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let stripe = FakeStripe::start(FakeStripeOptions::new()).await?;
/// assert!(stripe.url().starts_with("http://127.0.0.1:"));
/// stripe.webhook("http://127.0.0.1:9/webhooks/stripe", "whsec_test");
/// stripe.advance(Duration::from_secs(24 * 3600));
/// // Nothing happened, so nothing waits.
/// stripe.settle().await?;
/// # Ok(()) }
/// ```
///
/// # Security
/// No security boundary: every program on this machine can use it, and pages need no login.
pub struct FakeStripe {
    url: String,
    shared: Arc<Shared>,
    /// Stops the server when it is dropped.
    _stop: oneshot::Sender<()>,
}

impl FakeStripe {
    /// Starts a fake on the current tokio runtime.
    ///
    /// # Errors
    /// If the port cannot be bound.
    pub async fn start(options: FakeStripeOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Shared::new(State::new(options, url.clone()));
        let router = axum::Router::new().fallback(server::serve).with_state(shared.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let server = axum::serve(listener, router).with_graceful_shutdown(async move {
                // An error: the sender was dropped.
                let _ = stopped.await;
            });
            if let Err(error) = server.await {
                tracing::error!(%error, "the fake Stripe stopped");
            }
        });
        Ok(Self { url, shared, _stop: stop })
    }

    /// The base URL: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The time of everything that is not on a test clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.shared.lock().now(None))
    }

    /// Delivers every snapshot event from now on to this URL, signed with this secret.
    pub fn webhook(&self, url: &str, secret: &str) {
        self.destination(url, secret, false);
    }

    /// Delivers every thin event from now on to this URL, signed with this secret.
    pub fn thin_webhook(&self, url: &str, secret: &str) {
        self.destination(url, secret, true);
    }

    fn destination(&self, url: &str, secret: &str, thin: bool) {
        self.shared.change(|state| state.add_destination(url, secret, thin, &["*".to_owned()]));
    }

    /// Moves the clock of everything that is not on a test clock forward, and does what becomes due, in order of time.
    pub fn advance(&self, time: Duration) {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 2);
        self.shared.change(|state| state.advance(None, seconds));
    }

    /// Fails the next `count` calls whose path begins with `path`, such as `/v1/checkout`, with status 500.
    pub fn fail_next(&self, path: &str, fault: Fault, count: u32) {
        let planned = PlannedFault { path: path.to_owned(), fault, left: count };
        self.shared.lock().faults.push(planned);
    }

    /// Opens a dispute about a charge.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) if there is no such charge.
    pub fn dispute(&self, charge: &str) -> io::Result<()> {
        let disputed = self.shared.change(|state| state.dispute(charge));
        disputed.map(drop).map_err(|_| {
            io::Error::new(io::ErrorKind::NotFound, format!("the fake Stripe has no charge `{charge}`"))
        })
    }

    /// Waits until no event waits to be delivered or repeated. A delivery that was given up does not wait.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) after 30 seconds, with what still waits.
    pub async fn settle(&self) -> io::Result<()> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        loop {
            let waiting = self.shared.lock().outbox.unsettled();
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let shown = waiting.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("; ");
                let text = format!("{} deliveries still wait; check the endpoint: {shown}", waiting.len());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

impl fmt::Debug for FakeStripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeStripe").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        self.shared.lock().outbox.destinations.clear();
    }
}
