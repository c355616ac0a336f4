//! [`unsent_usage`]: what a tenant used and was not sent to the billing system yet, for the command line.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::database::{Value, database_error};
use crate::error::Result;
use crate::scope::{Backend, Run, Statement, Tx};

/// The usage of one meter that was not sent.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct UnsentUsage {
    /// What waits: it is not in a batch yet, or its batch was not accepted yet.
    pub(crate) waiting: u64,
    /// What was given up.
    #[serde(rename = "given_up")]
    pub(crate) dead: u64,
    /// What is never sent, because the tenant was in a trial.
    pub(crate) withheld: u64,
}

/// The usage of a tenant that was not sent, by the name of the meter.
pub(crate) async fn unsent_usage<DB: Backend>(tx: &mut Tx<'_, DB>) -> Result<BTreeMap<String, UnsentUsage>> {
    let mut found = BTreeMap::<String, UnsentUsage>::new();
    let sql = "SELECT meter, CASE WHEN withheld IS NULL THEN 'open' ELSE 'withheld' END, CAST(sum(value) AS bigint) \
               FROM @tenancy_usage WHERE tenant_id = $1 AND batch IS NULL \
               GROUP BY meter, withheld IS NULL, withheld";
    add(&mut found, tx, sql).await?;
    let sql = "SELECT meter, status, CAST(sum(value) AS bigint) FROM @tenancy_usage_batches \
               WHERE tenant_id = $1 AND status <> 'sent' GROUP BY meter, status";
    add(&mut found, tx, sql).await?;
    Ok(found)
}

async fn add<DB: Backend>(
    found: &mut BTreeMap<String, UnsentUsage>,
    tx: &mut Tx<'_, DB>,
    sql: &'static str,
) -> Result<()> {
    let statement = Statement::internal_table(&tx.bound_internal(), sql, &[] as &[Value<'_>])?;
    for row in &tx.fetch(statement).await? {
        let text = |column| DB::text(row, column).map_err(|e| database_error(&e));
        let (meter, state) = (text(0)?.unwrap_or_default(), text(1)?.unwrap_or_default());
        let sum = DB::int(row, 2).map_err(|e| database_error(&e))?;
        let usage = found.entry(meter).or_default();
        *match &*state {
            "open" | "waiting" => &mut usage.waiting,
            "withheld" => &mut usage.withheld,
            _ => &mut usage.dead,
        } += u64::try_from(sum).unwrap_or(0);
    }
    Ok(())
}
