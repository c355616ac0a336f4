//! How counters are written to and read from rows.

use super::query::{text, time};
use crate::clock::Timestamp;
use crate::database::{Value, database_error};
use crate::error::Result;
use crate::quota::meter::{Counter, CounterKey, CounterState};
use crate::scope::Backend;

pub(super) fn int(number: u64) -> Value<'static> {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn number<DB: Backend>(row: &DB::Row, column: usize) -> Result<u64> {
    let number = DB::int(row, column).map_err(|e| database_error(&e))?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// The values of a statement on one counter: its name as `$1` to `$4`, then the others.
pub(super) fn of_counter<'a>(tenant: &'a str, key: &'a CounterKey, more: &[Value<'a>]) -> Vec<Value<'a>> {
    let CounterKey { feature, subject, period } = key;
    let mut values =
        vec![Value::Text(tenant), Value::Text(feature), Value::Text(subject), Value::Text(period)];
    values.extend_from_slice(more);
    values
}

pub(super) fn state<DB: Backend>(row: &DB::Row) -> Result<CounterState> {
    Ok(CounterState {
        used: number::<DB>(row, 0)?,
        warned: u16::try_from(number::<DB>(row, 1)?).unwrap_or(u16::MAX),
        over_since: DB::optional_int(row, 2).map_err(|e| database_error(&e))?.map(Timestamp::from_micros),
        held: number::<DB>(row, 3)?,
    })
}

pub(super) fn counter<DB: Backend>(row: &DB::Row) -> Result<Counter> {
    let key = CounterKey {
        feature: text::<DB>(row, 0)?,
        subject: text::<DB>(row, 1)?,
        period: text::<DB>(row, 2)?,
    };
    Ok(Counter {
        key,
        used: number::<DB>(row, 3)?,
        warned: u16::try_from(number::<DB>(row, 4)?).unwrap_or(u16::MAX),
        start: time::<DB>(row, 5)?,
        end: DB::optional_int(row, 6).map_err(|e| database_error(&e))?.map(Timestamp::from_micros),
        held: number::<DB>(row, 7)?,
    })
}
