use chrono::{Datelike, FixedOffset, NaiveDate, NaiveDateTime};
use proptest::prelude::*;

use super::*;

/// 2024-01-31T08:30:00Z
const MOMENT: i64 = 1_706_689_800_000_000;

fn utc(text: &str) -> Result<i64, Fault> {
    micros(text, Tz::UTC)
}

#[test]
fn every_layout_of_one_moment_is_that_moment() {
    let texts = [
        "2024-01-31T08:30:00Z",
        "2024-01-31 08:30:00Z",
        "2024-01-31T08:30Z",
        "2024-01-31T08:30",
        "2024-01-31T08:30:00",
        "2024-01-31T08:30:00.0",
        "2024-01-31T08:30:00.000000000Z",
        "2024-01-31T08:30:00+00:00",
        "2024-01-31T08:30:00-00:00",
        "2024-01-31T14:00:00+05:30",
        "2024-01-31T14:00+0530",
        "2024-01-30T22:30:00.0-10",
        "2024-02-01T08:29:00+23:59",
    ];
    for text in texts {
        assert_eq!(utc(text), Ok(MOMENT), "{text}");
    }
}

#[test]
fn digits_below_the_microsecond_are_cut() {
    assert_eq!(utc("2024-01-31T08:30:00.5Z"), Ok(MOMENT + 500_000));
    assert_eq!(utc("2024-01-31T08:30:00.123456Z"), Ok(MOMENT + 123_456));
    assert_eq!(utc("2024-01-31T08:30:00.123456999999999Z"), Ok(MOMENT + 123_456));
    assert_eq!(utc("1969-12-31T23:59:59.9999999Z"), Ok(-1));
}

#[test]
fn a_day_that_the_calendar_lacks_is_refused() {
    for text in
        ["2023-02-29", "2024-02-30", "1900-02-29", "2024-04-31", "2024-00-10", "2024-13-01", "2024-01-00", "2024-01-32"]
    {
        assert_eq!(utc(&format!("{text}T00:00:00Z")), Err(Fault::Day), "{text}");
        assert_eq!(days(text), Err(Fault::Day), "{text}");
    }
    assert!(utc("2000-02-29T00:00:00Z").is_ok());
}

#[test]
fn a_time_that_the_day_lacks_is_refused_and_so_is_a_leap_second() {
    for text in ["24:00:00", "08:60:00", "23:59:60", "08:30:61"] {
        assert_eq!(utc(&format!("2016-12-31T{text}Z")), Err(Fault::Time), "{text}");
    }
}

#[test]
fn an_offset_is_less_than_a_day() {
    for text in ["+24:00", "-99", "+00:60", "+0099"] {
        assert_eq!(utc(&format!("2024-01-31T08:30:00{text}")), Err(Fault::Offset), "{text}");
    }
}

#[test]
fn any_other_layout_is_refused() {
    let texts = [
        "",
        "2024",
        "2024-01-31",
        "2024-01-31T",
        "2024-01-31T08",
        "2024-01-31T0830",
        "2024-01-31T08:30:",
        "2024-01-31T08:30:0",
        "2024-01-31T08:30:00.",
        "2024-01-31T08:30:00.Z",
        "2024-01-31T08:30.5Z",
        "2024-01-31T08:30:00,5Z",
        "2024-01-31t08:30:00z",
        "2024-01-31T08:30:00ZZ",
        "2024-01-31T08:30:00 Z",
        "2024-01-31T08:30:00+",
        "2024-01-31T08:30:00+5",
        "2024-01-31T08:30:00+5:30",
        "2024-01-31T08:30:00*05:30",
        "2024/01/31T08:30:00Z",
        "24-01-31T08:30:00Z",
        "+2024-01-31T08:30:00Z",
        " 2024-01-31T08:30:00Z",
        "2024-01-31T08:30:00Z ",
        "2024-01-31T08:3x:00Z",
        "١٢٣٤-01-31T08:30:00Z",
        "1706689800",
    ];
    for text in texts {
        assert_eq!(utc(text), Err(Fault::Layout), "{text}");
    }
}

#[test]
fn a_time_without_offset_is_local_to_the_zone() {
    assert_eq!(micros("2024-01-31T00:30:00", Tz::America__Los_Angeles), Ok(MOMENT));
    assert_eq!(micros("2024-01-31T08:30:00Z", Tz::America__Los_Angeles), Ok(MOMENT));
}

#[test]
fn of_an_hour_that_comes_twice_the_earlier_is_meant() {
    assert_eq!(micros("2024-10-27T02:30:00", Tz::Europe__Berlin), utc("2024-10-27T00:30:00Z"));
}

#[test]
fn a_local_time_that_the_clocks_jump_over_is_refused() {
    let zone = Tz::Europe__Berlin;
    assert_eq!(micros("2024-03-31T02:30:00", zone), Err(Fault::Skipped(zone)));
    assert_eq!(micros("2024-03-31T03:00:00", zone), utc("2024-03-31T01:00:00Z"));
}

#[test]
fn a_date_is_a_day_and_nothing_more() {
    assert_eq!(days("1970-01-01"), Ok(0));
    assert_eq!(days("1969-12-31"), Ok(-1));
    for text in ["2024-1-31", "20240131", "2024-01-31T00:00:00Z", "2024-01-31 ", ""] {
        assert_eq!(days(text), Err(Fault::Layout), "{text}");
    }
}

#[test]
fn every_day_of_ten_thousand_years_has_the_number_that_chrono_gives_it() {
    let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
    for date in first.iter_days().take_while(|date| date.year() <= 9999) {
        let expected = (date - epoch).num_days();
        assert_eq!(days(&format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day())), Ok(expected as i32));
    }
}

fn a_local_time() -> impl Strategy<Value = NaiveDateTime> {
    // From 0001-01-02 to 9999-12-30, so that an offset of a day stays within four digits.
    (-62_135_510_400_000_000_i64..253_402_128_000_000_000)
        .prop_map(|micros| DateTime::from_timestamp_micros(micros).unwrap().naive_utc())
}

#[test]
fn what_other_readers_cannot_show_is_refused() {
    for text in ["0000-12-31T23:59:59Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999999-00:01"] {
        assert_eq!(utc(text), Err(Fault::Day), "{text}");
    }
    assert_eq!(utc("0001-01-01T00:00:00Z"), Ok(YEARS.start));
    assert_eq!(utc("9999-12-31T23:59:59.999999Z"), Ok(YEARS.end - 1));
    assert_eq!(days("0000-12-31"), Err(Fault::Day));
}

proptest! {
    #[test]
    fn a_time_with_an_offset_is_the_moment_that_chrono_reads(
        local in a_local_time(),
        minutes in -1439_i32..1440,
        layout in 0_usize..4,
        space: bool,
    ) {
        let offset = FixedOffset::east_opt(minutes * 60).unwrap();
        let moment = offset.from_local_datetime(&local).unwrap();
        let separator = if space { ' ' } else { 'T' };
        let format = format!("%Y-%m-%d{separator}%H:%M:%S{}", ["%.6f%:z", "%.9f%z", "%.6f%:z", "%.f%z"][layout]);
        let text = moment.format(&format).to_string();
        prop_assert_eq!(utc(&text), Ok(moment.timestamp_micros()), "{}", text);
    }

    #[test]
    fn a_time_without_offset_is_the_moment_that_chrono_finds_in_the_zone(
        local in a_local_time(),
        zone in prop::sample::select(&chrono_tz::TZ_VARIANTS[..]),
    ) {
        let text = local.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        let expected = zone.from_local_datetime(&local).earliest().map(|moment| moment.timestamp_micros());
        prop_assert_eq!(micros(&text, zone).ok(), expected, "{}", text);
    }

    #[test]
    fn what_is_read_from_a_random_text_is_what_chrono_reads(
        text in "[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-5][0-9])",
    ) {
        let moment = DateTime::parse_from_rfc3339(&text).ok().filter(|_| !text.starts_with("0000"));
        let expected = moment.map(|moment| moment.timestamp_micros()).filter(|micros| YEARS.contains(micros));
        prop_assert_eq!(utc(&text).ok(), expected, "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(text: String, zone in prop::sample::select(&chrono_tz::TZ_VARIANTS[..])) {
        let _ = (micros(&text, zone), days(&text));
    }
}
