//! The canonical JSON text of a datum: one way to write each value, and none of them loses anything.
//!
//! What JSON has no value for becomes a string, so that a column decides: NaN and the infinities by their names, bytes in
//! base64, and a time that no calendar has by its number and unit.

use std::fmt::Write;

use chrono::{DateTime, NaiveTime, SecondsFormat};

use crate::contracts::rejection::{Class, Rejection};

/// What a record may grow to. A few bytes can describe a great many empty values.
pub const LARGEST: usize = 64 << 20;
/// Space that is kept for the next record.
const KEPT: usize = 1 << 20;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[derive(Debug, Default)]
pub struct JsonText {
    text: String,
}

impl JsonText {
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT);
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn memory(&self) -> usize {
        self.text.capacity()
    }

    /// To be asked before each value: all else that is written is bounded by the record's own bytes.
    pub fn ensure_room(&self) -> Result<(), Rejection> {
        match self.text.len() {
            0..=LARGEST => Ok(()),
            _ => Err(Rejection::new(Class::TooLarge, "the record is larger than 64 MiB when written as JSON")),
        }
    }

    /// Writes what is JSON already.
    pub fn token(&mut self, token: &str) {
        self.text.push_str(token);
    }

    pub fn boolean(&mut self, value: bool) {
        self.token(if value { "true" } else { "false" });
    }

    pub fn signed(&mut self, value: i64) {
        self.write(format_args!("{value}"));
    }

    pub fn unsigned(&mut self, value: u64) {
        self.write(format_args!("{value}"));
    }

    /// The fewest digits that tell a double from its neighbours.
    pub fn double(&mut self, value: f64) {
        match value.is_finite() {
            true => self.write(format_args!("{value:?}")),
            false => self.not_finite(value.is_nan(), value > 0.0),
        }
    }

    /// The fewest digits that tell a float from its neighbours, which are other floats: 0.1 is 0.1.
    pub fn float(&mut self, value: f32) {
        match value.is_finite() {
            true => self.write(format_args!("{value:?}")),
            false => self.not_finite(value.is_nan(), value > 0.0),
        }
    }

    fn not_finite(&mut self, nan: bool, positive: bool) {
        self.token(match (nan, positive) {
            (true, _) => "\"NaN\"",
            (false, true) => "\"Infinity\"",
            (false, false) => "\"-Infinity\"",
        });
    }

    pub fn string(&mut self, text: &str) {
        self.text.push('"');
        let mut written = 0;
        for (at, byte) in text.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            // An ASCII byte, so both sides of it are whole characters.
            self.text.push_str(text.get(written..at).unwrap_or_default());
            match byte {
                b'"' => self.token("\\\""),
                b'\\' => self.token("\\\\"),
                b'\n' => self.token("\\n"),
                b'\r' => self.token("\\r"),
                b'\t' => self.token("\\t"),
                control => self.write(format_args!("\\u{control:04x}")),
            }
            written = at + 1;
        }
        self.text.push_str(text.get(written..).unwrap_or_default());
        self.text.push('"');
    }

    /// Bytes in base64, with padding (RFC 4648, section 4).
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.text.push('"');
        for part in bytes.chunks(3) {
            let byte = |index: usize| u32::from(part.get(index).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for index in 0..4_usize {
                let letter = BASE64.get((bits >> (18 - 6 * index) & 63) as usize).copied().unwrap_or(b'=');
                self.text.push(char::from(if index > part.len() { b'=' } else { letter }));
            }
        }
        self.text.push('"');
    }

    /// A moment as RFC 3339 has it, with `zone` behind it: "Z", or nothing for a clock's own time.
    pub fn moment(&mut self, seconds: i64, nanos: u32, zone: &str) {
        match DateTime::from_timestamp(seconds, nanos) {
            Some(moment) => {
                let text = moment.to_rfc3339_opts(SecondsFormat::AutoSi, true);
                self.write(format_args!("\"{}{zone}\"", text.trim_end_matches('Z')));
            }
            None => self.write(format_args!("\"{seconds} s since 1970\"")),
        }
    }

    pub fn date(&mut self, days: i32) {
        match DateTime::from_timestamp(i64::from(days) * 86_400, 0) {
            Some(day) => self.write(format_args!("\"{}\"", day.format("%Y-%m-%d"))),
            None => self.write(format_args!("\"{days} days since 1970\"")),
        }
    }

    pub fn time_of_day(&mut self, seconds: i64, nanos: u32) {
        let time = u32::try_from(seconds).ok().and_then(|s| NaiveTime::from_num_seconds_from_midnight_opt(s, nanos));
        match time {
            Some(time) => self.write(format_args!("\"{time}\"")),
            None => self.write(format_args!("\"{seconds} s of a day\"")),
        }
    }

    /// A decimal by all of its digits: an integer, big-endian in two's complement, of which `scale` digits stand behind
    /// the point.
    pub fn decimal(&mut self, unscaled: &[u8], scale: usize) {
        let (negative, digits) = digits(unscaled);
        if negative {
            self.text.push('-');
        }
        let whole = digits.len().saturating_sub(scale);
        self.token(digits.get(..whole).filter(|whole| !whole.is_empty()).unwrap_or("0"));
        if scale > 0 {
            self.text.push('.');
            self.text.extend(std::iter::repeat_n('0', scale.saturating_sub(digits.len())));
            self.token(digits.get(whole..).unwrap_or_default());
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Nothing fails in writing to a String.
        let _ = self.text.write_fmt(text);
    }
}

/// The sign and the digits of an integer, big-endian in two's complement.
fn digits(bytes: &[u8]) -> (bool, String) {
    /// A limb of nine digits at a time.
    const BILLION: u64 = 1_000_000_000;
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    let filler = if negative { 0xff } else { 0 };
    let spare = bytes.iter().take_while(|byte| **byte == filler).count();
    let bytes = bytes.get(spare..).unwrap_or_default();
    if let Some(room) = 15_usize.checked_sub(bytes.len()) {
        let mut whole = [filler; 16];
        let at = room + 1;
        whole.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
        return (negative, i128::from_be_bytes(whole).unsigned_abs().to_string());
    }
    // The magnitude: of a negative number, its bits inverted and one added, which begins as the carry.
    let mut limbs: Vec<u64> = Vec::new();
    let mut carry = u64::from(negative);
    for byte in bytes {
        let mut carried = u64::from(*byte ^ filler);
        for limb in &mut limbs {
            let value = *limb * 256 + carried;
            *limb = value % BILLION;
            carried = value / BILLION;
        }
        if carried > 0 {
            limbs.push(carried);
        }
    }
    for limb in &mut limbs {
        let value = *limb + carry;
        *limb = value % BILLION;
        carry = value / BILLION;
    }
    if carry > 0 {
        limbs.push(carry);
    }
    let mut digits = String::new();
    for limb in limbs.iter().rev() {
        let _ = if digits.is_empty() { write!(digits, "{limb}") } else { write!(digits, "{limb:09}") };
    }
    if digits.is_empty() {
        digits.push('0');
    }
    (negative, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut JsonText)) -> String {
        let mut text = JsonText::default();
        write(&mut text);
        text.text
    }

    #[test]
    fn strings_are_escaped_as_json_wants_and_no_further() {
        assert_eq!(written(|t| t.string("a\"b\\c\nd\u{1}é\u{7f}/")), "\"a\\\"b\\\\c\\nd\\u0001é\u{7f}/\"");
        for text in ["", "plain", "\u{0}\u{1f}\r\t", "ü\"ü\\ü", "\\"] {
            assert_eq!(serde_json::from_str::<String>(&written(|t| t.string(text))).unwrap(), text);
        }
    }

    #[test]
    fn bytes_are_the_base64_of_rfc_4648() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (bytes, base64) in vectors {
            assert_eq!(written(|t| t.bytes(bytes.as_bytes())), format!("\"{base64}\""));
        }
        assert_eq!(written(|t| t.bytes(&[0xfb, 0xff, 0x00])), "\"+/8A\"");
    }

    #[test]
    fn decimals_have_all_their_digits() {
        let of = |bytes: &[u8], scale| written(|t| t.decimal(bytes, scale));
        assert_eq!(of(&[], 0), "0");
        assert_eq!(of(&[], 2), "0.00");
        assert_eq!(of(&[5], 2), "0.05");
        assert_eq!(of(&[0xfb], 2), "-0.05");
        assert_eq!(of(&[0xff], 0), "-1");
        assert_eq!(of(&[0x80], 0), "-128");
        assert_eq!(of(&[0x07, 0xcf], 2), "19.99");
        assert_eq!(of(&[0, 0, 0, 0x07, 0xcf], 4), "0.1999");
        assert_eq!(of(&i128::MAX.to_be_bytes(), 38), "1.70141183460469231731687303715884105727");
        assert_eq!(of(&i128::MIN.to_be_bytes(), 0), "-170141183460469231731687303715884105728");
        // 2^256 - 1 and -2^255.
        let most = [&[0][..], &[0xff; 32]].concat();
        assert_eq!(of(&most, 0), "115792089237316195423570985008687907853269984665640564039457584007913129639935");
        let least = [&[0x80][..], &[0; 31]].concat();
        assert_eq!(of(&least, 0), "-57896044618658097711785492504343953926634992332820282019728792003956564819968");
        // -2^128: all of its bits but the sign's are zero.
        let power = [&[0xff][..], &[0; 16]].concat();
        assert_eq!(of(&power, 0), "-340282366920938463463374607431768211456");
    }

    #[test]
    fn floats_have_their_fewest_digits_and_what_is_not_finite_its_name() {
        assert_eq!(written(|t| t.float(0.1)), "0.1");
        assert_eq!(written(|t| t.double(0.1)), "0.1");
        assert_eq!(written(|t| t.double(f64::from(0.1_f32))), "0.10000000149011612");
        assert_eq!(written(|t| t.double(1e300)), "1e300");
        assert_eq!(written(|t| t.double(5e-324)), "5e-324");
        assert_eq!(written(|t| t.double(-0.0)), "-0.0");
        assert_eq!(written(|t| t.double(f64::NAN)), "\"NaN\"");
        assert_eq!(written(|t| t.float(f32::NEG_INFINITY)), "\"-Infinity\"");
        assert_eq!(written(|t| t.double(f64::INFINITY)), "\"Infinity\"");
    }

    #[test]
    fn times_are_rfc_3339_and_those_that_no_calendar_has_are_numbers_with_a_unit() {
        assert_eq!(written(|t| t.moment(1_706_689_800, 0, "Z")), "\"2024-01-31T08:30:00Z\"");
        assert_eq!(written(|t| t.moment(1_706_689_800, 250_000_000, "")), "\"2024-01-31T08:30:00.250\"");
        assert_eq!(written(|t| t.moment(-1, 999_999_999, "Z")), "\"1969-12-31T23:59:59.999999999Z\"");
        assert_eq!(written(|t| t.moment(i64::MAX, 0, "Z")), "\"9223372036854775807 s since 1970\"");
        assert_eq!(written(|t| t.date(19_782)), "\"2024-02-29\"");
        assert_eq!(written(|t| t.date(i32::MIN)), "\"-2147483648 days since 1970\"");
        assert_eq!(written(|t| t.time_of_day(30_600, 250_000_000)), "\"08:30:00.250\"");
        assert_eq!(written(|t| t.time_of_day(86_400, 0)), "\"86400 s of a day\"");
        assert_eq!(written(|t| t.time_of_day(-1, 0)), "\"-1 s of a day\"");
    }
}
