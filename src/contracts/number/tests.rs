use proptest::prelude::*;

use super::*;

fn number(text: &str) -> Number<'_> {
    Number::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
}

#[test]
fn an_integer_may_be_written_with_a_point_or_an_exponent() {
    for text in ["12", "12.0", "12.000", "1.2e1", "1.2E+1", "120e-1", "0.12e2", "1200000000000000000000000e-23"] {
        assert_eq!(number(text).to_i64(), Ok(12), "{text}");
    }
    for text in ["0", "-0", "0.0", "0e999999999999999999999", "0.000e-5"] {
        assert_eq!(number(text).to_i64(), Ok(0), "{text}");
    }
}

#[test]
fn an_integer_has_no_fraction() {
    for text in ["12.5", "0.1", "1e-1", "125e-1", "1e-999999999999999999999"] {
        assert_eq!(number(text).to_i64(), Err(Misfit::Fraction), "{text}");
    }
}

#[test]
fn an_integer_is_in_range_up_to_its_last_value() {
    assert_eq!(number("9223372036854775807").to_i64(), Ok(i64::MAX));
    assert_eq!(number("-9223372036854775808").to_i64(), Ok(i64::MIN));
    assert_eq!(number("-922337203685477580.8e1").to_i64(), Ok(i64::MIN));
    for text in ["9223372036854775808", "-9223372036854775809", "18446744073709551617", "1e19", "1e999999999999999999"]
    {
        assert_eq!(number(text).to_i64(), Err(Misfit::OutOfRange), "{text}");
    }
    assert_eq!(number("2147483647").to_i32(), Ok(i32::MAX));
    assert_eq!(number("-2147483648").to_i32(), Ok(i32::MIN));
    assert_eq!(number("2147483648").to_i32(), Err(Misfit::OutOfRange));
}

#[test]
fn a_decimal_is_exact() {
    assert_eq!(number("0.1").to_decimal(12, 2), Ok(10));
    assert_eq!(number("-19.99").to_decimal(12, 2), Ok(-1999));
    assert_eq!(number("19.990000").to_decimal(12, 2), Ok(1999));
    assert_eq!(number("1.5e3").to_decimal(12, 2), Ok(150_000));
    assert_eq!(number("9007199254740993.1").to_decimal(38, 1), Ok(90_071_992_547_409_931));
    assert_eq!(number("99999999999999999999999999999999999999").to_decimal(38, 0), Ok(10_i128.pow(38) - 1));
}

#[test]
fn a_decimal_keeps_its_precision_and_scale() {
    assert_eq!(number("1.234").to_decimal(12, 2), Err(Misfit::Fraction));
    assert_eq!(number("9999999999.99").to_decimal(12, 2), Ok(999_999_999_999));
    assert_eq!(number("-9999999999.99").to_decimal(12, 2), Ok(-999_999_999_999));
    assert_eq!(number("10000000000").to_decimal(12, 2), Err(Misfit::OutOfRange));
    assert_eq!(number("100000000000000000000000000000000000000").to_decimal(38, 0), Err(Misfit::OutOfRange));
    for text in ["999999999999999999999999999999999999999", "1e400000000000000000000", "1e38"] {
        assert_eq!(number(text).to_decimal(38, 0), Err(Misfit::OutOfRange), "{text}");
    }
}

#[test]
fn a_double_is_finite() {
    assert_eq!(number("1e308").to_f64(), Ok(1e308));
    assert_eq!(number("1e-999").to_f64(), Ok(0.0));
    assert_eq!(number("1e999").to_f64(), Err(Misfit::OutOfRange));
    assert_eq!(number("-1e309").to_f64(), Err(Misfit::OutOfRange));
    assert_eq!(number("-0").to_f64().map(f64::to_bits), Ok((-0.0_f64).to_bits()));
}

#[test]
fn only_the_grammar_of_json_is_a_number() {
    for text in [
        "", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "1.e5", "0x1", "1_0", " 1", "1 ", "NaN", "Infinity", "--1",
    ] {
        assert!(Number::parse(text).is_none(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_double_is_the_one_nearest_to_the_text(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
        let nearest: f64 = text.parse().unwrap();
        let expected = if nearest.is_finite() { Ok(nearest.to_bits()) } else { Err(Misfit::OutOfRange) };
        prop_assert_eq!(number(&text).to_f64().map(f64::to_bits), expected);
    }

    #[test]
    fn a_double_written_shortest_comes_back_bit_for_bit(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        for text in [format!("{value:e}"), format!("{value}")] {
            prop_assert_eq!(number(&text).to_f64().map(f64::to_bits), Ok(value.to_bits()), "{}", text);
        }
    }

    #[test]
    fn an_integer_comes_back_however_its_point_is_moved(value: i64, zeros in 0_usize..30) {
        prop_assert_eq!(number(&value.to_string()).to_i64(), Ok(value));
        let moved = format!("{value}{}e-{zeros}", "0".repeat(zeros));
        prop_assert_eq!(number(&moved).to_i64(), Ok(value), "{}", moved);
    }

    #[test]
    fn a_decimal_comes_back_from_its_text(unscaled in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 1_usize..=38) {
        let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let text = format!("{}{whole}.{fraction}", if unscaled < 0 { "-" } else { "" });
        prop_assert_eq!(number(&text).to_decimal(38, scale as i8), Ok(unscaled), "{}", text);
    }
}
