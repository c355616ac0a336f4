//! Calendar months and the text of a date, in UTC.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;
/// Seconds of an hour.
pub(super) const HOUR: i64 = 3_600;

/// The first multiple of the interval after `anchor` that is later than `time`. A month that is too short for the day
/// of the anchor ends on its own last day.
pub(super) fn next_after(anchor: i64, time: i64, interval: &str, count: i64) -> i64 {
    let count = count.max(1);
    let mut turn = 1;
    loop {
        let end = plus(anchor, interval, turn * count);
        if end > time {
            return end;
        }
        turn += 1;
    }
}

/// This time plus so many days, weeks, months or years.
pub(super) fn plus(time: i64, interval: &str, count: i64) -> i64 {
    match interval {
        "day" => time + count * DAY,
        "week" => time + count * 7 * DAY,
        "year" => plus_months(time, 12 * count),
        _ => plus_months(time, count),
    }
}

fn plus_months(time: i64, months: i64) -> i64 {
    let later = civil(time).checked_add(Span::new().months(months)).expect("the time is in the calendar");
    TimeZone::UTC.to_timestamp(later).expect("the time is in the calendar").as_second()
}

fn civil(time: i64) -> DateTime {
    TimeZone::UTC.to_datetime(Timestamp::from_second(time).expect("the time is in the calendar"))
}

/// The time as `2026-11-29T12:00:00.000Z`.
pub(super) fn rfc3339(time: i64) -> String {
    format!("{}.000Z", civil(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_on_its_own_last_day() {
        // 2024-01-31 12:00
        let anchor = 1_706_702_400;
        let mut time = anchor;
        let mut seen = Vec::new();
        for _ in 0..4 {
            time = next_after(anchor, time, "month", 1);
            seen.push(rfc3339(time));
        }
        let days = ["2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"];
        assert_eq!(seen, days.map(|day| format!("{day}T12:00:00.000Z")));
        assert_eq!(rfc3339(plus(1_709_208_000, "year", 1)), "2025-02-28T12:00:00.000Z");
        assert_eq!(next_after(anchor, anchor, "week", 2), anchor + 14 * DAY);
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.000Z");
    }
}
