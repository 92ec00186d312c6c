//! A moment in time, and its two texts: ISO 8601 and HTTP's.

use super::Invalid;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
/// 0001-01-01 and the last second of 9999: what Python's dates span.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;
#[cfg(feature = "json")]
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
#[cfg(feature = "json")]
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment in time, in UTC, from year 1 to year 9999, to the nanosecond. Flask's format keeps whole seconds.
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

    #[cfg(feature = "json")]
    /// `Tue, 14 Nov 2023 22:13:20 GMT`; the fraction is cut.
    pub(crate) fn to_http(self) -> String {
        let (year, month, day) = civil(self.seconds.div_euclid(DAY));
        let (hour, minute, second) = clock(self.seconds);
        let weekday = DAYS[(self.seconds.div_euclid(DAY) + 3).rem_euclid(7) as usize];
        let month = MONTHS[month as usize - 1];
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
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
        let month = 1 + MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))? as i64;
        let year = match digits(words.next()?)? {
            short @ 0..=68 => 2000 + short,
            short @ 69..=99 => 1900 + short,
            year => year,
        };
        let mut time = words.next()?.split(':');
        let (hour, minute) = (digits(time.next()?)?, digits(time.next()?)?);
        let second = time.next().map_or(Some(0), digits)?;
        let offset = match words.next() {
            None | Some("GMT" | "UTC" | "UT" | "Z") => 0,
            Some(zone) => offset(zone)?,
        };
        if time.next().is_some() || words.next().is_some() {
            return None;
        }
        moment([year, month, day], [hour, minute, second], 0, offset)
    }
}

/// `2023-11-14T22:13:20Z`, with as many digits of a fraction as it has.
impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.seconds.div_euclid(DAY));
        let (hour, minute, second) = clock(self.seconds);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos != 0 {
            let fraction = format!("{:09}", self.nanos);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
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

fn iso(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_at_checked(10)?;
    let mut date = date.splitn(3, '-').map(digits);
    let date = [date.next()??, date.next()??, date.next()??];
    let time = time.strip_prefix(['T', 't', ' '])?;
    let (time, zone) = time.split_at(time.find(['Z', 'z', '+', '-']).unwrap_or(time.len()));
    let offset = match zone {
        "" | "Z" | "z" => 0,
        zone => offset(zone)?,
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(digits);
    let time = [time.next()??, time.next()??, time.next()??];
    let nanos = digits(fraction.get(..9).unwrap_or(fraction))? as u32 * 10u32.pow(9 - fraction.len().min(9) as u32);
    digits(fraction.get(9..).filter(|rest| !rest.is_empty()).unwrap_or("0"))?;
    moment(date, time, nanos, offset)
}

/// `+01:00` or `+0100`, in seconds.
fn offset(zone: &str) -> Option<i64> {
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let zone = zone.strip_prefix(['+', '-'])?;
    let (hours, minutes) = match zone.split_once(':') {
        Some(parts) => parts,
        None if zone.len() == 4 => zone.split_at_checked(2)?,
        None => return None,
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn moment(date: [i64; 3], time: [i64; 3], nanos: u32, offset: i64) -> Option<DateTime> {
    let [year, month, day] = date;
    let [hour, minute, second] = time;
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day);
    if day < 1 || civil(days) != (year, month, day) {
        return None;
    }
    DateTime::from_unix(days * DAY + hour * 3600 + minute * 60 + second - offset, nanos)
}

fn clock(seconds: i64) -> (i64, i64, i64) {
    let second = seconds.rem_euclid(DAY);
    (second / 3600, second / 60 % 60, second % 60)
}

/// Days since 1970 of a date. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day since 1970. Same source.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}
