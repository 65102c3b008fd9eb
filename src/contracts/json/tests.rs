use super::*;

fn read(text: &str) -> Result<(Value<'_>, String), Fault> {
    let mut scanner = Scanner::new(text);
    let mut unescaped = String::new();
    scanner.space();
    let value = scanner.value(&mut unescaped)?;
    scanner.end()?;
    Ok((value, unescaped))
}

fn text_of(json: &str) -> Option<String> {
    match read(json) {
        Ok((Value::Text(text), unescaped)) => Some(text.of(json, &unescaped).to_owned()),
        _ => None,
    }
}

#[test]
fn a_string_has_its_escapes_resolved() {
    let json = r#""\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\uDE00 ü""#;
    assert_eq!(text_of(json).as_deref(), Some("\"\\/\u{8}\u{c}\n\r\tAé€😀 ü"));
}

#[test]
fn a_string_without_escapes_is_borrowed() {
    assert!(matches!(read(r#""tower""#), Ok((Value::Text(Text::Plain(Span { start: 1, end: 6 })), _))));
}

#[test]
fn a_string_is_found_whole_wherever_its_marks_stand_in_a_word_of_eight_bytes() {
    for length in 0..40 {
        for (at, mark, meaning) in (0..=length).flat_map(|at| [(at, "\\n", "\n"), (at, "é", "é"), (at, "", "")]) {
            let (before, after) = ("x".repeat(at), "!".repeat(length - at));
            let json = format!("\"{before}{mark}{after}\"");
            assert_eq!(text_of(&json), Some(format!("{before}{meaning}{after}")), "{json}");
        }
    }
}

#[test]
fn half_of_a_surrogate_pair_is_refused() {
    for json in [
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83d\ud83d""#,
        r#""\ud83dx""#,
        r#""\ude00\ud83d""#,
        r#""\ud83d\n""#,
        r#""\ud83d\ue000""#,
    ] {
        assert!(text_of(json).is_none(), "{json}");
    }
}

#[test]
fn a_control_character_has_to_be_escaped() {
    for control in 0_u8..0x20 {
        for padding in 0..9 {
            let json = format!("\"{}{}\"", "x".repeat(padding), char::from(control));
            assert!(text_of(&json).is_none(), "{control}");
        }
    }
    assert_eq!(text_of("\"\u{7f}\"").as_deref(), Some("\u{7f}"));
}

#[test]
fn what_the_grammar_does_not_have_is_refused() {
    let texts = [
        "",
        "tru",
        "True",
        "nul",
        "'a'",
        "\"a",
        r#""\x""#,
        r#""\u12g4""#,
        r#""\u+123""#,
        r#""\u12"#,
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1",
        "[",
        "]",
        "{",
        "}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1]",
        "[1}",
        "[[1]",
        "[1]]",
        "/**/1",
        "1 // x",
        "[1,\u{a0}2]",
        "\u{feff}1",
        "NaN",
        "-",
        "1 2",
        "[] []",
    ];
    for text in texts {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn nesting_is_followed_128_levels_deep() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
        assert!(read(&nested(128)).is_ok());
        let too_deep = nested(129);
        assert!(matches!(read(&too_deep), Err(Fault { class: Class::TooDeep, .. })));
    }
}

#[test]
fn levels_that_are_closed_count_no_longer() {
    let wide = format!("[{}]", vec!["[[]]"; 1000].join(","));
    assert!(read(&wide).is_ok());
}

#[test]
fn a_fault_says_what_and_where() {
    let fault = read("[1, }").map(|_| ()).map_err(|fault| Rejection::from(fault).to_string());
    assert_eq!(fault, Err("not_json: expected a value at byte 5".to_owned()));
}
