//! What time does: trials end, periods renew, failed payments are repeated, sessions expire.

use serde_json::Value;

use super::calendar::{DAY, HOUR};
use super::invoices::subscription_of;
use super::state::State;
use super::subscription_changes::{new_period, time};
use super::subscriptions::items;

/// How long a subscription waits for its first payment.
const INCOMPLETE: i64 = 23 * HOUR;
/// How long before its end a trial is announced.
const ANNOUNCED: i64 = 3 * DAY;

/// What is due. Of two at the same time, the first in this order comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    SettleDebit(String),
    AnnounceTrialEnd(String),
    Cancel(String),
    EndTrial(String),
    Renew(String),
    Expire(String),
    ResumeCollection(String),
    Finalize(String),
    Retry(String),
    ExpireSession(String),
}

impl State {
    /// Fires every timer of a test clock up to this time, or of what is on none.
    pub(super) fn age(&mut self, clock: Option<&str>, until: i64) {
        let request = self.request.take();
        while let Some((at, timer)) = self.next_timer(clock).filter(|(at, _)| *at <= until) {
            self.set_time(clock, at);
            self.fire(timer, at);
        }
        if clock.is_some() {
            self.set_time(clock, until);
        } else {
            self.firing_at = None;
            self.aged = until;
        }
        self.request = request;
    }

    /// Fires what the time has made due for everything that is not on a test clock.
    pub(super) fn catch_up(&mut self) {
        self.firing_at = None;
        let now = self.now(None);
        self.age(None, now);
    }

    fn set_time(&mut self, clock: Option<&str>, at: i64) {
        match clock {
            Some(id) => {
                self.edit("test_helpers.test_clock", id, |clock| {
                    clock["frozen_time"] = at.max(time(clock, "frozen_time")).into();
                });
            }
            None => self.firing_at = Some(at.max(self.aged)),
        }
    }

    fn next_timer(&self, clock: Option<&str>) -> Option<(i64, Timer)> {
        let on_clock = |one: &&Value| one["test_clock"].as_str() == clock;
        let subscriptions =
            self.all("subscription").iter().filter(on_clock).filter_map(|one| self.timer_of(one));
        let invoices = self.all("invoice").iter().filter(on_clock).filter_map(|one| {
            let id = one["id"].as_str()?.to_owned();
            match one["status"].as_str()? {
                "draft" => Some((one["automatically_finalizes_at"].as_i64()?, Timer::Finalize(id))),
                "open" => Some((one["next_payment_attempt"].as_i64()?, Timer::Retry(id))),
                _ => None,
            }
        });
        let of_session = |session: &Value| self.clock_of(session).as_deref() == clock;
        let open =
            self.all("checkout.session").iter().filter(|one| one["status"] == "open" && of_session(one));
        let sessions = open.filter_map(|one| {
            Some((one["expires_at"].as_i64()?, Timer::ExpireSession(one["id"].as_str()?.to_owned())))
        });
        let debits =
            self.debits.iter().filter(|(session, ..)| of_session(&self.copy("checkout.session", session)));
        let debits = debits.map(|(session, at, _)| (*at, Timer::SettleDebit(session.clone())));
        subscriptions.chain(invoices).chain(sessions).chain(debits).min()
    }

    fn timer_of(&self, one: &Value) -> Option<(i64, Timer)> {
        let id = one["id"].as_str()?.to_owned();
        let status = one["status"].as_str()?;
        if !one["ended_at"].is_null() {
            return None;
        }
        let mut timers = Vec::new();
        timers.extend(one["cancel_at"].as_i64().map(|at| (at, Timer::Cancel(id.clone()))));
        timers.extend(
            one["pause_collection"]["resumes_at"]
                .as_i64()
                .map(|at| (at, Timer::ResumeCollection(id.clone()))),
        );
        match status {
            "incomplete" => timers.push((time(one, "created") + INCOMPLETE, Timer::Expire(id))),
            "trialing" => {
                let end = time(one, "trial_end");
                let announce = (end - ANNOUNCED).max(time(one, "created"));
                if !self.announced.contains(&(id.clone(), end)) {
                    timers.push((announce, Timer::AnnounceTrialEnd(id.clone())));
                }
                timers.push((end, Timer::EndTrial(id)));
            }
            "active" | "past_due" | "unpaid" => {
                let end = items(one).iter().map(|item| time(item, "current_period_end")).min()?;
                timers.push((end, Timer::Renew(id)));
            }
            _ => {}
        }
        timers.into_iter().min()
    }

    fn fire(&mut self, timer: Timer, at: i64) {
        match timer {
            Timer::SettleDebit(id) => self.settle_debit(&id),
            Timer::AnnounceTrialEnd(id) => {
                let end = time(&self.copy("subscription", &id), "trial_end");
                self.announced.insert((id.clone(), end));
                self.emit_of("customer.subscription.trial_will_end", "subscription", &id);
            }
            Timer::Cancel(id) => self.end_subscription(&id, "cancellation_requested"),
            Timer::EndTrial(id) => self.end_trial(&id),
            Timer::Renew(id) => self.renew(&id, at),
            Timer::Expire(id) => self.expire(&id, at),
            Timer::ResumeCollection(id) => {
                self.edit_subscription(&id, |one| one["pause_collection"] = Value::Null);
            }
            Timer::Finalize(id) => {
                self.finalize(&id);
                self.collect(&id, None);
            }
            Timer::Retry(id) => {
                self.collect(&id, None);
            }
            Timer::ExpireSession(id) => self.expire_session(&id),
        }
    }

    fn end_trial(&mut self, id: &str) {
        let subscription = self.copy("subscription", id);
        let end = &subscription["trial_settings"]["end_behavior"]["missing_payment_method"];
        match end.as_str() {
            Some("pause") if self.payer(&subscription).is_none() => {
                self.pause(id, "trial_end_without_payment_method");
            }
            Some("cancel") if self.payer(&subscription).is_none() => {
                self.end_subscription(id, "payment_failed");
            }
            _ => self.renew(id, time(&subscription, "trial_end")),
        }
    }

    /// Begins the next period. Its invoice is a draft for an hour.
    fn renew(&mut self, id: &str, at: i64) {
        let mut after = self.copy("subscription", id);
        if after["status"] == "trialing" {
            after["status"] = "active".into();
        }
        let anchor = time(&after, "billing_cycle_anchor");
        new_period(&mut after, anchor, at);
        after["billing_cycle_anchor"] = anchor.into();
        let lines = self.period_lines(&after);
        let invoice = self.draft(id, "subscription_cycle", lines);
        after["latest_invoice"] = invoice.into();
        self.edit_subscription(id, |one| *one = after);
    }

    /// Ends a subscription whose first payment never came.
    fn expire(&mut self, id: &str, at: i64) {
        for invoice in self.ids("invoice", |one| subscription_of(one) == Some(id) && one["status"] == "open")
        {
            self.close_invoice(&invoice, "void", "invoice.voided");
        }
        self.edit_subscription(id, |one| {
            one["status"] = "incomplete_expired".into();
            one["ended_at"] = at.into();
        });
    }

    /// The test clock of a session's customer.
    fn clock_of(&self, session: &Value) -> Option<String> {
        let customer = self.find("customer", session["customer"].as_str()?, "customer").ok()?;
        customer["test_clock"].as_str().map(str::to_owned)
    }

    /// Moves the clock of a customer: its test clock, or that of everything that has none.
    pub(super) fn advance(&mut self, customer: Option<&str>, seconds: i64) {
        let clock =
            customer.and_then(|id| self.copy("customer", id)["test_clock"].as_str().map(str::to_owned));
        if clock.is_none() {
            self.offset += seconds;
            self.catch_up();
        } else {
            let until = self.now(clock.as_deref()) + seconds;
            self.age(clock.as_deref(), until);
        }
    }
}
