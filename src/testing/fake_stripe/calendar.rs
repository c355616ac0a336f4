//! Calendar months and the text of a date, in UTC.

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
    let (days, second) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let (year, month, day) = date(days);
    let month = year * 12 + (month - 1) + months;
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let length = days_of(next_year, next_month, 1) - days_of(year, month, 1);
    days_of(year, month, day.min(length)) * DAY + second
}

/// The days from 1970-01-01 to a date of the Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The time as `2026-11-29T12:00:00.000Z`.
pub(super) fn rfc3339(time: i64) -> String {
    let (year, month, day) = date(time.div_euclid(DAY));
    let second = time.rem_euclid(DAY);
    let (hour, minute, second) = (second / HOUR, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
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
