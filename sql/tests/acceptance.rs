//! The share of ordinary statements that are accepted as they are written.
#![cfg(feature = "rewrite")]

mod legitimate;

use legitimate::{CORPORA, schema};
use tenancy_sql::rewrite;

/// At least 97 of 100 statements are accepted. `tests/oracle/acceptance.rs` prepares the accepted ones on the databases.
#[test]
fn ordinary_statements_are_accepted_as_they_are() {
    let schema = schema();
    let (mut all, mut rejected) = (0, Vec::new());
    for corpus in CORPORA {
        for sql in corpus.statements() {
            all += 1;
            if let Err(why) = rewrite(corpus.dialect, sql, &schema) {
                rejected.push(format!("{:?}: {sql}\n{why}", corpus.dialect));
            }
        }
    }
    assert!(all >= 210, "only {all} statements were read");
    assert!(
        rejected.len() * 100 <= all * 3,
        "{} of {all} statements are rejected:\n\n{}",
        rejected.len(),
        rejected.join("\n\n")
    );
}
