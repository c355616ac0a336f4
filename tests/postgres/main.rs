//! PostgreSQL: row-level security, the doctor, lost connections, and PgBouncer.

#[macro_use]
#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/doctor_cases/mod.rs"]
mod doctor_cases;
#[path = "../fixture/log.rs"]
mod log;
#[path = "../fixture/numbers.rs"]
mod numbers;
#[path = "../fixture/server.rs"]
mod server;

mod chaos;
mod citus;
mod connections;
mod doctor;
mod doctor_keys;
mod doctor_scale;
mod dropped_statements;
mod enforcement;
mod grants;
mod leak_fixture;
mod move_conditions;
mod move_losses;
mod move_rows;
mod moves;
mod place_chaos;
mod place_conditions;
mod place_doctor;
mod place_poolers;
mod place_reach;
mod placements;
mod policies;
mod policy_fixture;
mod policy_rules;
mod pooler;
mod pooler_fixture;
mod poolers;
mod slow_link;
