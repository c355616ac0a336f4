//! The slow tests: rewritten statements and their query plans, compared with the database's own results.

#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/mysql.rs"]
mod mysql;

mod acceptance;
mod oracle;
mod oracle_cases;
mod oracle_fixture;
mod oracle_statements;
mod plan_cases;
mod plans;
