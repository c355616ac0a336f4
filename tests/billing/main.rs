//! Stripe events: from the verified signature to the tenant's plan and status.

#[macro_use]
#[path = "../fixture/common.rs"]
mod common;

mod billing_stores;
mod fake_stripe;
mod outbox;
mod scripted_api;
mod stripe_attacks;
mod stripe_crash;
mod stripe_customer_deleted;
mod stripe_fixture;
mod stripe_installation;
mod stripe_lifecycle;
mod stripe_lives;
mod stripe_operations;
mod stripe_order;
mod stripe_plans;
mod stripe_policy;
mod stripe_purchase;
mod stripe_races;
mod stripe_read;
mod stripe_recorded;
mod stripe_reference;
mod stripe_sdk;
mod stripe_seats;
mod stripe_shapes;
mod stripe_signature;
mod stripe_translate;
mod stripe_unreadable;
mod stripe_v2;
mod stripe_web;
mod usage;
