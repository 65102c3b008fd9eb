//! One JSON object written straight into bytes: generation must outrun what it feeds.
//!
//! Names and texts come from the generator's own sets, where nothing needs an escape. Numbers with a fraction are
//! whole numbers of a smaller unit, so no float is ever formatted.

use chrono::{DateTime, Datelike, Timelike};

pub struct Json {
    bytes: Vec<u8>,
    /// How this object writes UTC: `Z` or `+00:00`.
    zone: &'static str,
}

impl Json {
    pub fn new(zone: &'static str) -> Self {
        Json { bytes: Vec::with_capacity(768), zone }
    }

    fn name(&mut self, name: &str) {
        self.bytes.push(if self.bytes.is_empty() { b'{' } else { b',' });
        self.quoted(name);
        self.bytes.push(b':');
    }

    fn quoted(&mut self, text: &str) {
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'"');
    }

    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    pub fn whole(&mut self, name: &str, value: u64) {
        self.name(name);
        self.digits(value, 1);
    }

    /// `units` of a tenth, a hundredth, ... by the number of `decimals`, at least one; needless zeros are left out.
    pub fn fixed(&mut self, name: &str, units: i64, decimals: u32) {
        self.name(name);
        if units < 0 {
            self.bytes.push(b'-');
        }
        let one = 10_u64.pow(decimals);
        self.digits(units.unsigned_abs() / one, 1);
        self.bytes.push(b'.');
        self.digits(units.unsigned_abs() % one, decimals as usize);
        while self.bytes.ends_with(b"0") && !self.bytes.ends_with(b".0") {
            self.bytes.pop();
        }
    }

    pub fn minus(&mut self, name: &str, value: u64) {
        self.name(name);
        self.bytes.push(b'-');
        self.digits(value, 1);
    }

    pub fn flag(&mut self, name: &str, value: bool) {
        self.name(name);
        self.bytes.extend_from_slice(if value { b"true" } else { b"false" });
    }

    pub fn null(&mut self, name: &str) {
        self.name(name);
        self.bytes.extend_from_slice(b"null");
    }

    pub fn time(&mut self, name: &str, ms: i64) {
        self.name(name);
        let time = DateTime::from_timestamp_millis(ms).unwrap_or_default().naive_utc();
        let parts = [
            (b'"', u64::from(time.year().unsigned_abs()), 4),
            (b'-', u64::from(time.month()), 2),
            (b'-', u64::from(time.day()), 2),
            (b'T', u64::from(time.hour()), 2),
            (b':', u64::from(time.minute()), 2),
            (b':', u64::from(time.second()), 2),
            (b'.', ms.rem_euclid(1_000).unsigned_abs(), 3),
        ];
        for (before, value, width) in parts {
            self.bytes.push(before);
            self.digits(value, width);
        }
        self.bytes.extend_from_slice(self.zone.as_bytes());
        self.bytes.push(b'"');
    }

    pub fn uuid(&mut self, name: &str, random: [u8; 16]) {
        self.name(name);
        let uuid = uuid::Builder::from_random_bytes(random).into_uuid();
        self.quoted(uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    }

    /// The digits of a number, with zeros in front up to `width`.
    fn digits(&mut self, value: u64, width: usize) {
        let start = self.bytes.len();
        let mut left = value;
        while left > 0 || self.bytes.len() < start + width {
            self.bytes.push(b'0' + (left % 10) as u8);
            left /= 10;
        }
        self.bytes[start..].reverse();
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'}');
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_written_as_json() {
        let mut json = Json::new("Z");
        json.text("city", "New York");
        json.whole("zero", 0);
        json.whole("whole", 1_020);
        json.minus("signal", 87);
        json.fixed("half", 5_000, 4);
        json.fixed("none", 0, 4);
        json.fixed("small", -7, 4);
        json.fixed("all", 1_234_567, 6);
        json.flag("on", true);
        json.null("gone");
        json.time("at", 951_827_696_007);
        json.uuid("id", [0xff; 16]);
        assert_eq!(
            String::from_utf8_lossy(&json.finish()),
            r#"{"city":"New York","zero":0,"whole":1020,"signal":-87,"half":0.5,"none":0.0,"small":-0.0007,"#
                .to_owned()
                + r#""all":1.234567,"on":true,"gone":null,"at":"2000-02-29T12:34:56.007Z","#
                + r#""id":"ffffffff-ffff-4fff-bfff-ffffffffffff"}"#
        );
    }
}
