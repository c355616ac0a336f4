//! A tenant's rows: queries, transactions, streams, jobs, quotas, keys and the audit log, on SQLite and PostgreSQL.

#[macro_use]
#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/log.rs"]
mod log;

mod audit;
mod carrying;
mod checked;
mod checked_by_sqlx;
mod connecting;
mod cross_tenant;
mod database_errors;
mod database_limits;
mod databases;
mod dynamic;
mod foreign_keys;
mod gauge_recount;
mod gauges;
mod isolation;
mod leaks;
mod namespace;
mod noisy_neighbours;
mod placements;
mod quota;
mod quota_races;
mod rewrite_cache;
mod round_trips;
mod savepoints;
mod sea_query;
mod selecting;
mod soft_delete;
mod streaming;
mod tenant_types;
mod writing;
