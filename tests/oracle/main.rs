//! Rewritten statements compared with the database's own results, and their query plans. The slow ones.

#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/mysql.rs"]
mod mysql;

mod oracle;
mod oracle_cases;
mod oracle_fixture;
mod oracle_statements;
mod plan_cases;
mod plans;
