use proptest::prelude::*;

use super::*;

fn micros(layout: &str, text: &str) -> Result<i64, Fault> {
    Layout::parse(layout).unwrap().micros(text, Tz::UTC)
}

/// The same moment, as ISO-8601 has it.
fn iso(text: &str) -> Result<i64, Fault> {
    Ok(timestamp::micros(text, Tz::UTC).unwrap())
}

#[test]
fn a_text_is_read_by_the_letters_of_its_layout() {
    for (layout, text, same) in [
        ("yyyy-MM-dd HH:mm:ss", "2024-02-29 08:05:07", "2024-02-29T08:05:07Z"),
        ("dd/MM/yyyy HH:mm", "31/01/2024 23:59", "2024-01-31T23:59:00Z"),
        ("d.M.yyyy H:m", "1.2.2024 3:04", "2024-02-01T03:04:00Z"),
        ("d.M.yyyy H:m", "11.12.2024 13:14", "2024-12-11T13:14:00Z"),
        ("yyyyMMddHHmmss", "20240131083059", "2024-01-31T08:30:59Z"),
        ("yyyyMMdd", "20240131", "2024-01-31T00:00:00Z"),
        ("MM/dd/yyyy hh:mm a", "01/31/2024 12:30 AM", "2024-01-31T00:30:00Z"),
        ("M/d/yyyy h:mma", "1/31/2024 12:30pm", "2024-01-31T12:30:00Z"),
        ("M/d/yyyy h:mma", "1/31/2024 1:30PM", "2024-01-31T13:30:00Z"),
        ("dd-MMM-yyyy", "09-Sep-2024", "2024-09-09T00:00:00Z"),
        ("MMMM d, yyyy", "may 5, 2024", "2024-05-05T00:00:00Z"),
        ("EEE, dd MMM yyyy HH:mm:ss 'GMT'", "Wed, 31 Jan 2024 08:30:00 GMT", "2024-01-31T08:30:00Z"),
        ("EEEE yyyy/MM/dd", "Wednesday 2024/01/31", "2024-01-31T00:00:00Z"),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2024-01-31T08:30:00.25+05:00", "2024-01-31T03:30:00.25Z"),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2024-01-31T08:30:00.250Z", "2024-01-31T08:30:00.25Z"),
        ("yyyy-MM-dd HH:mm:ss.SSSSSSSSS", "2024-01-31 08:30:00.123456789", "2024-01-31T08:30:00.123456Z"),
        ("yyyy-MM-dd HHXX", "2024-01-31 08-0130", "2024-01-31T09:30:00Z"),
        ("yyyy-MM-dd HHX", "2024-01-31 08+01", "2024-01-31T07:00:00Z"),
        ("yyyy''MM'é'dd", "2024'01é31", "2024-01-31T00:00:00Z"),
    ] {
        assert_eq!(micros(layout, text), iso(same), "{layout} {text}");
    }
    let local = Layout::parse("dd/MM/yyyy HH:mm").unwrap().micros("31/01/2025 08:30", Tz::Asia__Almaty);
    assert_eq!(local, iso("2025-01-31T03:30:00Z"));
    assert_eq!(Layout::parse("dd.MM.yyyy").unwrap().days("02.01.1970"), Ok(1));
}

#[test]
fn a_text_that_is_not_in_the_layout_is_refused() {
    for (layout, text, fault) in [
        ("dd/MM/yyyy", "1/01/2024", Fault::Layout),
        ("dd/MM/yyyy", "01/01/24", Fault::Layout),
        ("dd/MM/yyyy", "01/01/2024 ", Fault::Layout),
        ("dd/MM/yyyy", "01-01-2024", Fault::Layout),
        ("dd/MM/yyyy", "01/01/２024", Fault::Layout),
        ("dd/MM/yyyy", "31/04/2024", Fault::Day),
        ("dd/MM/yyyy", "01/13/2024", Fault::Day),
        ("dd/MM/yyyy HH:mm", "01/01/2024 24:00", Fault::Time),
        ("M/d/yyyy h:mm a", "1/1/2024 13:00 PM", Fault::Time),
        ("M/d/yyyy h:mm a", "1/1/2024 0:00 AM", Fault::Time),
        ("EEE yyyy-MM-dd", "Thu 2024-01-31", Fault::Day),
        ("dd-MMM-yyyy", "09-Sept-2024", Fault::Layout),
        ("yyyy-MM-dd HHXXX", "2024-01-31 08+0100", Fault::Layout),
        ("yyyy-MM-dd HHXXX", "2024-01-31 08+25:00", Fault::Offset),
        ("yyyy-MM-dd HHX", "2024-01-31 08+é", Fault::Layout),
    ] {
        assert_eq!(micros(layout, text), Err(fault), "{layout} {text}");
    }
}

#[test]
fn a_layout_that_could_be_misunderstood_is_refused_where_it_goes_wrong() {
    for (layout, at, problem) in [
        ("yyyy-MM-dd kk", 11, "`kk` means nothing"),
        ("YYYY-MM-dd", 0, "`YYYY` means nothing"),
        ("dd/MM/yy", 6, "`yy` means nothing"),
        ("yyyy-MM-ddTHH", 10, "`T` means nothing"),
        ("yyyy-MM-dd SSSSSSSSSS", 11, "means nothing"),
        ("é-yyyy-MM-dd-dd", 13, "`d` is there twice"),
        ("yyyy-MM-dd HH hh", 14, "`h` is there twice"),
        ("yyyy-MM-dd[ HH]", 10, "`[` is reserved"),
        ("yyyy-MM-dd 'at", 11, "does not end"),
        ("HH:mm", 0, "a year, a month and a day"),
        ("", 0, "a year, a month and a day"),
        ("yyyy-MM-dd hh:mm", 0, "`h` and `a` go together"),
        ("yyyy-MM-dd HH a", 0, "`h` and `a` go together"),
        ("yyyy-MM-dd mm", 0, "the ones before them"),
        ("yyyy-MM-dd XXX", 0, "an offset needs a time"),
    ] {
        let unusable = Layout::parse(layout).unwrap_err();
        assert_eq!(unusable.at, at, "{layout}: {unusable:?}");
        assert!(unusable.problem.contains(problem), "{layout}: {unusable:?}");
    }
}

proptest! {
    #[test]
    fn no_text_upsets_a_layout(text in ".{0,30}|[0-9/: APMZ+é-]{0,24}") {
        for layout in ["dd/MM/yyyy HH:mm:ss.SSSXXX", "EEE d MMMM yyyy h:mm a", "yyyyMMddHHmmssX"] {
            let _ = micros(layout, &text);
        }
    }

    #[test]
    fn what_chrono_writes_is_read_again(seconds in -62_000_000_000_i64..250_000_000_000) {
        let moment = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        for (layout, strftime) in [
            ("dd/MM/yyyy HH:mm:ss", "%d/%m/%Y %H:%M:%S"),
            ("EEEE, MMMM d, yyyy h:mm:ss a", "%A, %B %-d, %Y %-I:%M:%S %p"),
            ("EEE MMM dd yyyy hh:mm:ssa", "%a %b %d %Y %I:%M:%S%P"),
        ] {
            let text = moment.format(strftime).to_string();
            prop_assert_eq!(micros(layout, &text), Ok(moment.timestamp_micros()), "{}", text);
        }
    }
}
