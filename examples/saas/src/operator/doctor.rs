//! What the doctor finds in the database.

use serde_json::{Value, json};
use tenancy::Result;

use crate::{App, AppDb};

impl<DB: AppDb> App<DB> {
    /// Runs the doctor, which examines PostgreSQL only.
    pub(super) async fn examine(&self) -> Result<Value> {
        let report = DB::doctor(&self.db).await?;
        Ok(json!({
            "examined": report.is_some(),
            "note": report.is_none().then_some(
                "The doctor examines PostgreSQL: its roles, grants and row-level security. This program runs on SQLite, \
                 where the tenant predicate alone separates tenants. Set DATABASE_URL to use PostgreSQL."
            ),
            "report": report,
        }))
    }
}
