//! Dates, UUIDs and big integers as text.

use dewar::encoding::{Encoding, Json};
use dewar::value::{BigInteger, DateTime, Uuid, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[test]
fn a_date_reads_back_from_its_own_text() {
    for seconds in (-62_135_596_800..253_402_300_800i64).step_by(86_400 * 97 + 12_345) {
        let moment = DateTime::from_unix(seconds, (seconds.unsigned_abs() % 1_000_000_000) as u32).unwrap();
        assert_eq!(moment.to_string().parse(), Ok(moment));
    }
    for (text, seconds, nanos) in [
        ("2023-11-14T22:13:20Z", 1_700_000_000, 0),
        ("2023-11-14 23:13:20.5+01:00", 1_700_000_000, 500_000_000),
        ("2023-11-14T22:13:20", 1_700_000_000, 0),
        ("1969-12-31T23:59:59.999999999Z", -1, 999_999_999),
    ] {
        assert_eq!(text.parse(), Ok(DateTime::from_unix(seconds, nanos).unwrap()), "{text}");
    }
    for text in [
        "",
        "2023-11-14",
        "2023-02-29T00:00:00Z",
        "2023-13-01T00:00:00Z",
        "2023-01-01T24:00:00Z",
        "é023-11-14T22:13:20Z",
        "2023-01-01T00:00:00.Z",
        "0000-01-01T00:00:00Z",
    ] {
        assert!(text.parse::<DateTime>().is_err(), "{text}");
    }
}

#[test]
fn a_date_of_flask_follows_pythons_rules_for_years() {
    let read =
        |text: &str| Encoding::Json(Json::FLASK).read::<Value>(format!("{{\" d\":\"{text}\"}}").as_bytes()).unwrap();
    let date = |text: &str| Value::DateTime(text.parse().unwrap());
    assert_eq!(read("Wed, 04 Mar 0099 05:06:07 GMT"), date("1999-03-04T05:06:07Z"));
    assert_eq!(read("Wed, 04 Mar 68 05:06:07 GMT"), date("2068-03-04T05:06:07Z"));
    assert_eq!(read("04 Mar 2020 05:06 +0100"), date("2020-03-04T04:06:00Z"));
    assert_eq!(read("Mon, 31 Feb 2020 05:06:07 GMT"), Value::Null);
}

#[test]
fn a_date_is_the_same_moment_as_its_system_time() {
    for time in [UNIX_EPOCH, UNIX_EPOCH - Duration::new(5, 250), UNIX_EPOCH + Duration::new(1_700_000_000, 7)] {
        assert_eq!(SystemTime::from(DateTime::from(time)), time);
    }
    assert_eq!(DateTime::from_unix(253_402_300_800, 0), None);
    assert_eq!(DateTime::from_unix(0, 1_000_000_000), None);
}

#[test]
fn a_uuid_and_an_integer_have_one_spelling() {
    for text in [
        "",
        "1234",
        "12345678-1234-5678-1234-56781234567",
        "12345678-1234-5678-1234-5678123456789",
        "+2345678123456781234567812345678",
        "1234567-81234-5678-1234-567812345678",
    ] {
        assert!(text.parse::<Uuid>().is_err(), "{text}");
    }
    for text in ["", "-", "-0", "01", "+1", "1.0", "١"] {
        assert!(text.parse::<BigInteger>().is_err(), "{text}");
    }
}
