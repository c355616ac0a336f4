//! [`Period`]: when the count of a quota starts again. All calendar arithmetic is in UTC.

use jiff::civil::{Date, DateTime, ISOWeekDate, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// When the count of a quota starts again, in UTC.
///
/// Nothing resets a counter: each period has a counter of its own, so two requests at the boundary cannot disagree,
/// and the counters of past periods are the history.
///
/// ```
/// use tenancy::clock::Timestamp;
/// use tenancy::plan::Period;
///
/// // 2026-11-29T06:00:00Z
/// let now = Timestamp::from_seconds(1_795_932_000);
/// let month = Period::Month.window(now, None)?;
/// assert_eq!(month.id, "month:2026-11");
/// assert_eq!(month.end.unwrap().seconds(), 1_796_083_200); // 2026-12-01T00:00:00Z
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Period {
    /// Never: one count for the life of the tenant.
    Lifetime,
    /// Each calendar day.
    Day,
    /// Each ISO week, from Monday.
    Week,
    /// Each calendar month.
    Month,
    /// Each calendar year.
    Year,
    /// Each month from the tenant's billing day. A billing day of 29 to 31 is the last day of a shorter month, and
    /// returns to itself in a longer one. A tenant without a billing day has the first of the month.
    BillingMonth,
    /// Each year from the tenant's billing day; otherwise as [`BillingMonth`](Self::BillingMonth).
    BillingYear,
    /// Each so many days from the tenant's billing day, from 1; without one, from 1970-01-01.
    BillingDays(u16),
    /// Each so many seconds since the Unix epoch, from 1.
    Seconds(u32),
}

/// One period: its id, its start and its end. The end belongs to the next period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PeriodWindow {
    /// The stable id: its kind and its start, such as `month:2026-11`.
    pub id: String,
    /// The first instant; for [`Period::Lifetime`] the Unix epoch.
    pub start: Timestamp,
    /// The first instant of the next period; `None` for [`Period::Lifetime`].
    pub end: Option<Timestamp>,
}

impl Period {
    /// The period that contains `now`, for a tenant with this billing anchor: the start of its first billing period.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the time is outside the years 1 to 9998, which means that a clock is wrong.
    pub fn window(self, now: Timestamp, anchor: Option<Timestamp>) -> Result<PeriodWindow> {
        let at = civil(now)?;
        let day = at.date();
        let first = day.first_of_month();
        match self {
            Self::Lifetime => {
                Ok(PeriodWindow { id: "lifetime".to_owned(), start: Timestamp::from_micros(0), end: None })
            }
            Self::Day => of_dates(format!("day:{day}"), day, day.checked_add(1.day())),
            Self::Week => {
                let week = day.iso_week_date();
                let monday = monday_of(week)?;
                let id = format!("week:{}-W{:02}", week.year(), week.week());
                of_dates(id, monday, monday.checked_add(1.week()))
            }
            Self::Month => {
                let id = format!("month:{:04}-{:02}", day.year(), day.month());
                of_dates(id, first, first.checked_add(1.month()))
            }
            Self::Year => {
                let start = day.first_of_year();
                of_dates(format!("year:{:04}", day.year()), start, start.checked_add(1.year()))
            }
            Self::BillingMonth => billing("billing-month", at, anchored(anchor)?, 1),
            Self::BillingYear => billing("billing-year", at, anchored(anchor)?, 12),
            Self::BillingDays(days) => {
                let length = i64::from(days.max(1)) * DAY_US;
                let anchor = anchor.map_or(0, Timestamp::micros);
                Ok(fixed(&format!("billing-{days}-days"), now, anchor, length))
            }
            Self::Seconds(seconds) => {
                let length = i64::from(seconds.max(1)) * 1_000_000;
                Ok(fixed(&format!("{seconds}-seconds"), now, 0, length))
            }
        }
    }

    /// Whether a period has no length.
    pub(super) fn is_empty(self) -> bool {
        matches!(self, Self::BillingDays(0) | Self::Seconds(0))
    }
}

const DAY_US: i64 = 86_400_000_000;

/// Without a billing anchor the billing month is the calendar month, and the billing year is the calendar year.
fn anchored(anchor: Option<Timestamp>) -> Result<DateTime> {
    anchor.map_or(Ok(date(1970, 1, 1).at(0, 0, 0, 0)), civil)
}

/// The period of whole months from the anchor. Each boundary is the anchor plus a number of months, never the previous
/// boundary plus one: a billing day of 31 stays 31.
fn billing(kind: &str, now: DateTime, anchor: DateTime, every: i32) -> Result<PeriodWindow> {
    let months = (i32::from(now.year()) - i32::from(anchor.year())) * 12 + i32::from(now.month())
        - i32::from(anchor.month());
    let mut turn = months.div_euclid(every);
    if boundary(anchor, turn, every)? > now {
        turn -= 1;
    }
    let (start, end) = (boundary(anchor, turn, every)?, boundary(anchor, turn + 1, every)?);
    let start = micros(start)?;
    Ok(PeriodWindow { id: format!("{kind}:{}", start.micros()), start, end: Some(micros(end)?) })
}

fn boundary(anchor: DateTime, turn: i32, every: i32) -> Result<DateTime> {
    anchor.checked_add(Span::new().months(turn * every)).map_err(out_of_range)
}

fn fixed(kind: &str, now: Timestamp, anchor: i64, length: i64) -> PeriodWindow {
    let start = anchor.saturating_add((now.micros().saturating_sub(anchor)).div_euclid(length) * length);
    PeriodWindow {
        id: format!("{kind}:{start}"),
        start: Timestamp::from_micros(start),
        end: Some(Timestamp::from_micros(start.saturating_add(length))),
    }
}

fn of_dates(id: String, start: Date, end: Result<Date, jiff::Error>) -> Result<PeriodWindow> {
    let (start, end) = (start.at(0, 0, 0, 0), end.map_err(out_of_range)?.at(0, 0, 0, 0));
    Ok(PeriodWindow { id, start: micros(start)?, end: Some(micros(end)?) })
}

fn monday_of(week: ISOWeekDate) -> Result<Date> {
    ISOWeekDate::new(week.year(), week.week(), Weekday::Monday).map(ISOWeekDate::date).map_err(out_of_range)
}

fn civil(time: Timestamp) -> Result<DateTime> {
    let time = jiff::Timestamp::from_microsecond(time.micros()).map_err(out_of_range)?;
    Ok(TimeZone::UTC.to_datetime(time))
}

fn micros(time: DateTime) -> Result<Timestamp> {
    let time = TimeZone::UTC.to_timestamp(time).map_err(out_of_range)?;
    Ok(Timestamp::from_micros(time.as_microsecond()))
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn out_of_range(error: jiff::Error) -> Error {
    Error::new(ErrorKind::InvalidInput, "the time is outside the calendar; check the clock")
        .with_source(error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn text(time: Timestamp) -> String {
        jiff::Timestamp::from_microsecond(time.micros()).unwrap().to_string()
    }

    fn window(period: Period, now: &str, anchor: Option<&str>) -> (String, String) {
        let window = period.window(at(now), anchor.map(at)).unwrap();
        (text(window.start), text(window.end.unwrap()))
    }

    fn is(start: &str, end: &str) -> (String, String) {
        (format!("{start}T00:00:00Z"), format!("{end}T00:00:00Z"))
    }

    #[test]
    fn q21_the_last_microsecond_of_a_month_and_the_first_of_the_next_have_different_ids() {
        let last = Period::Month.window(at("2026-11-30T23:59:59.999999Z"), None).unwrap();
        let first = Period::Month.window(at("2026-12-01T00:00:00Z"), None).unwrap();
        assert_eq!((last.id.as_str(), first.id.as_str()), ("month:2026-11", "month:2026-12"));
        assert_eq!(last.end, Some(first.start));
    }

    #[test]
    fn calendar_periods_start_where_the_calendar_does() {
        let now = "2026-01-01T12:00:00Z";
        assert_eq!(window(Period::Day, now, None), is("2026-01-01", "2026-01-02"));
        assert_eq!(window(Period::Week, now, None), is("2025-12-29", "2026-01-05"));
        assert_eq!(window(Period::Month, now, None), is("2026-01-01", "2026-02-01"));
        assert_eq!(window(Period::Year, now, None), is("2026-01-01", "2027-01-01"));
        assert_eq!(Period::Week.window(at(now), None).unwrap().id, "week:2026-W01");
    }

    #[test]
    fn q22_a_billing_day_of_31_returns_after_a_short_month() {
        let anchor = Some("2026-01-31T00:00:00Z");
        assert_eq!(
            window(Period::BillingMonth, "2026-02-15T00:00:00Z", anchor),
            is("2026-01-31", "2026-02-28")
        );
        assert_eq!(
            window(Period::BillingMonth, "2026-02-28T00:00:00Z", anchor),
            is("2026-02-28", "2026-03-31")
        );
        assert_eq!(
            window(Period::BillingMonth, "2026-04-30T00:00:00Z", anchor),
            is("2026-04-30", "2026-05-31")
        );
        let leap = Some("2028-02-29T00:00:00Z");
        assert_eq!(window(Period::BillingYear, "2029-03-01T00:00:00Z", leap), is("2029-02-28", "2030-02-28"));
        assert_eq!(window(Period::BillingYear, "2032-02-29T00:00:00Z", leap), is("2032-02-29", "2033-02-28"));
    }

    #[test]
    fn without_a_billing_day_the_billing_month_is_the_calendar_month() {
        assert_eq!(
            window(Period::BillingMonth, "2026-02-15T00:00:00Z", None),
            is("2026-02-01", "2026-03-01")
        );
        assert_eq!(window(Period::BillingYear, "2026-02-15T00:00:00Z", None), is("2026-01-01", "2027-01-01"));
    }

    #[test]
    fn a_time_outside_the_calendar_is_an_error() {
        let error = Period::Month.window(Timestamp::from_micros(i64::MAX), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    proptest! {
        /// The periods of any kind and any anchor cover time without a gap and without an overlap.
        #[test]
        fn q22_periods_tile(
            now in 0_i64..4_000_000_000,
            anchor in proptest::option::of(0_i64..2_000_000_000),
            kind in 0_usize..8,
        ) {
            let period = [
                Period::Day, Period::Week, Period::Month, Period::Year, Period::BillingMonth, Period::BillingYear,
                Period::BillingDays(10), Period::Seconds(3_600),
            ][kind];
            let (now, anchor) = (Timestamp::from_seconds(now), anchor.map(Timestamp::from_seconds));
            let mut window = period.window(now, anchor).unwrap();
            prop_assert!(window.start <= now && now < window.end.unwrap());
            for _ in 0..13 {
                let end = window.end.unwrap();
                let last = period.window(Timestamp::from_micros(end.micros() - 1), anchor).unwrap();
                prop_assert_eq!(&last, &window);
                let next = period.window(end, anchor).unwrap();
                prop_assert_eq!(next.start, end);
                prop_assert_ne!(&next.id, &window.id);
                window = next;
            }
        }
    }
}
