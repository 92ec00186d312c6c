//! A moment in time, and its two texts: ISO 8601 and HTTP's.

use super::Invalid;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, Time, UtcDateTime, UtcOffset};

/// 0001-01-01 and the last second of 9999: what Python's dates span.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;
#[cfg(feature = "json")]
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment in time, in UTC, from year 1 to year 9999, to the nanosecond. Flask's format keeps whole seconds, Flask-Session's microseconds.
///
/// ```
/// use dewar::value::DateTime;
///
/// let moment = DateTime::from_unix(1_700_000_000, 0).unwrap();
/// assert_eq!(moment.to_string(), "2023-11-14T22:13:20Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DateTime {
    seconds: i64,
    nanos: u32,
}

impl DateTime {
    /// The moment this many seconds after 1970 and this many nanoseconds (below 10^9) after that second.
    /// Nothing where that is not within the years 1 to 9999.
    pub const fn from_unix(seconds: i64, nanos: u32) -> Option<Self> {
        if seconds < FIRST || seconds > LAST || nanos >= 1_000_000_000 {
            return None;
        }
        Some(DateTime { seconds, nanos })
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after that second.
    pub const fn nanos(self) -> u32 {
        self.nanos
    }

    /// `Tue, 14 Nov 2023 22:13:20 GMT`; the fraction is cut.
    pub(crate) fn to_http(self) -> String {
        let utc = self.utc();
        let (year, month, day) = utc.to_calendar_date();
        let (hour, minute, second) = utc.as_hms();
        format!("{:.3}, {day:02} {month:.3} {year:04} {hour:02}:{minute:02}:{second:02} GMT", utc.weekday())
    }

    #[cfg(feature = "json")]
    /// Reads `[Tue,] 14 Nov 2023 22:13[:20] [GMT|UTC|+0100]`. Two-digit years follow Python's mail rule: 0-68 are 20xx, 69-99 19xx,
    /// and so do four-digit years below 100.
    pub(crate) fn from_http(text: &str) -> Option<Self> {
        let text = match text.split_once(',') {
            Some((_, rest)) => rest,
            None => text,
        };
        let mut words = text.split_ascii_whitespace();
        let day = digits(words.next()?)?;
        let name = words.next()?;
        let month = 1 + MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))? as u8;
        let year = match digits(words.next()?)? {
            short @ 0..=68 => 2000 + short,
            short @ 69..=99 => 1900 + short,
            year => year,
        };
        let mut time = words.next()?.split(':');
        let (hour, minute) = (digits(time.next()?)?, digits(time.next()?)?);
        let second = time.next().map_or(Some(0), digits)?;
        let offset = match words.next() {
            None | Some("GMT" | "UTC" | "UT" | "Z") => UtcOffset::UTC,
            Some(zone) => offset(zone)?,
        };
        if time.next().is_some() || words.next().is_some() {
            return None;
        }
        moment(date(year, month, day)?, Time::from_hms(hour, minute, second).ok()?, offset)
    }

    #[cfg(feature = "json")]
    /// `2023-11-14T22:13:20.987654Z`: six digits of a fraction, or none, as Python's dates have them.
    pub(crate) fn to_python(self) -> String {
        let whole = Self { nanos: 0, ..self }.to_string();
        match self.nanos / 1000 {
            0 => whole,
            micros => format!("{}.{micros:06}Z", whole.trim_end_matches('Z')),
        }
    }

    fn utc(self) -> UtcDateTime {
        let second = UtcDateTime::from_unix_timestamp(self.seconds).expect("years 1 to 9999 have a date");
        second.replace_nanosecond(self.nanos).expect("a moment has less than a second's nanoseconds")
    }
}

/// `2023-11-14T22:13:20Z`, with as many digits of a fraction as it has.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().format(&Rfc3339).expect("RFC 3339 has the years 1 to 9999"))
    }
}

impl FromStr for DateTime {
    type Err = Invalid;

    /// Reads ISO 8601 as RFC 3339 profiles it: `2023-11-14T22:13:20.5+01:00`. A text without offset is taken as UTC.
    ///
    /// # Errors
    ///
    /// Any other text, and moments outside the years 1 to 9999.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        iso(text).ok_or(Invalid("a date"))
    }
}

impl From<SystemTime> for DateTime {
    /// The same moment; the nearest one that can be held where it is outside the years 1 to 9999.
    fn from(time: SystemTime) -> Self {
        let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let seconds = -i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => (seconds, 0),
                    nanos => (seconds.saturating_sub(1), 1_000_000_000 - nanos),
                }
            }
        };
        DateTime { seconds: seconds.clamp(FIRST, LAST), nanos }
    }
}

impl From<DateTime> for SystemTime {
    fn from(moment: DateTime) -> Self {
        let whole = Duration::from_secs(moment.seconds.unsigned_abs());
        let second = if moment.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        // Windows counts from 1601.
        second.unwrap_or(UNIX_EPOCH) + Duration::from_nanos(moment.nanos.into())
    }
}

/// By hand, for [`Rfc3339`] insists on an offset and takes a leap second.
fn iso(text: &str) -> Option<DateTime> {
    let (days, clock) = text.split_at_checked(10)?;
    let mut days = days.splitn(3, '-');
    let date = date(digits(days.next()?)?, digits(days.next()?)?, digits(days.next()?)?)?;
    let clock = clock.strip_prefix(['T', 't', ' '])?;
    let (clock, zone) = clock.split_at(clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len()));
    let offset = match zone {
        "" | "Z" | "z" => UtcOffset::UTC,
        zone => offset(zone)?,
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':');
    let (hour, minute, second) = (digits(clock.next()?)?, digits(clock.next()?)?, digits(clock.next()?)?);
    let nanos = digits::<u32>(fraction.get(..9).unwrap_or(fraction))? * 10u32.pow(9 - fraction.len().min(9) as u32);
    digits::<u32>(fraction.get(9..).filter(|rest| !rest.is_empty()).unwrap_or("0"))?;
    moment(date, Time::from_hms_nano(hour, minute, second, nanos).ok()?, offset)
}

/// `+01:00` or `+0100`.
fn offset(zone: &str) -> Option<UtcOffset> {
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let zone = zone.strip_prefix(['+', '-'])?;
    let (hours, minutes) = match zone.split_once(':') {
        Some(parts) => parts,
        None if zone.len() == 4 => zone.split_at_checked(2)?,
        None => return None,
    };
    let (hours, minutes): (i8, i8) = (digits(hours)?, digits(minutes)?);
    if hours > 23 {
        return None;
    }
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()
}

fn digits<T: FromStr>(text: &str) -> Option<T> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn date(year: i32, month: u8, day: u8) -> Option<Date> {
    let date = Date::from_calendar_date(year, month.try_into().ok()?, day).ok()?;
    (1..=9999).contains(&year).then_some(date)
}

fn moment(date: Date, time: Time, offset: UtcOffset) -> Option<DateTime> {
    let seconds = OffsetDateTime::new_in_offset(date, time, offset).unix_timestamp();
    DateTime::from_unix(seconds, time.nanosecond())
}
