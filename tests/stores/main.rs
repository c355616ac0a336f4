//! Tenant stores, their slugs, the cache over a store, and the places of tenants.

#[macro_use]
#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/log.rs"]
mod log;
#[path = "../fixture/numbers.rs"]
mod numbers;
#[path = "../fixture/server.rs"]
mod server;
#[path = "../fixture/suites.rs"]
mod suites;

mod bundle_numbers;
mod bundles;
mod cached;
mod concurrency;
mod deletion_circles;
mod deletion_repeats;
mod deletions;
mod exclusive;
mod health;
mod invalidation;
mod invalidation_processes;
mod lease_rules;
mod leases;
mod meters;
mod node;
mod observed;
mod odd_tables;
mod operation_futures;
mod operations_fixture;
mod operations_observed;
mod place_crash;
mod place_fixture;
mod place_migrations;
mod provisioning;
mod proxy;
mod quota_crash;
mod quota_fixture;
mod quota_outages;
mod quotas;
mod rates;
mod redis_counters;
mod redis_servers;
mod reservation_ends;
mod reservations;
mod restores;
mod slugs;
mod sqlite_moves;
mod suspensions;
mod tenant_store;
