//! Numbers as JSON writes them, converted without loss: a value either is exactly what the text says (for a double: the
//! double nearest to it) or it is refused.

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Up to 2^53 every integer is a double.
const EXACT_INTEGERS: u64 = 1 << 53;

/// As many digits as always fit in a `u64` (and, one less, in an `i64`).
const DIGITS_OF_U64: usize = 19;

/// As many digits as a 128-bit decimal holds.
const DIGITS_OF_DECIMAL: i64 = 38;

/// Why a number is not a value of the type asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It has more fractional digits than the type keeps.
    Fraction,
    OutOfRange,
}

/// A number, checked against the grammar of RFC 8259: `significand × 10^exponent`.
#[derive(Debug, Clone, Copy)]
pub struct Number<'a> {
    text: &'a str,
    /// Right if there are at most [`DIGITS_OF_U64`] digits; otherwise the text has to be read again.
    significand: u64,
    /// Digits from the first that is not zero.
    digits: usize,
    exponent: i64,
    negative: bool,
}

impl<'a> Number<'a> {
    /// The number that is the whole of `text`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let number = Self::prefix(text)?;
        (number.text.len() == text.len()).then_some(number)
    }

    /// The number that `text` starts with.
    #[inline]
    pub fn prefix(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let negative = bytes.first() == Some(&b'-');
        let mut at = usize::from(negative);
        let mut digits = Digits::default();
        match bytes.get(at) {
            Some(b'0') => at += 1,
            Some(b'1'..=b'9') => at = digits.read(bytes, at),
            _ => return None,
        }
        let mut exponent = 0;
        if bytes.get(at) == Some(&b'.') {
            let fraction = at + 1;
            at = digits.read(bytes, fraction);
            if at == fraction {
                return None;
            }
            exponent = -((at - fraction) as i64);
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let (written, end) = read_exponent(bytes, at + 1)?;
            exponent = written.saturating_add(exponent);
            at = end;
        }
        let text = text.get(..at)?;
        Some(Number { text, significand: digits.value, digits: digits.count, exponent, negative })
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    #[inline]
    pub fn to_i64(self) -> Result<i64, Misfit> {
        if self.exponent == 0 && self.digits < DIGITS_OF_U64 {
            let value = self.significand as i64;
            return Ok(if self.negative { -value } else { value });
        }
        i64::try_from(self.scaled(0)?).map_err(|_| Misfit::OutOfRange)
    }

    #[inline]
    pub fn to_i32(self) -> Result<i32, Misfit> {
        i32::try_from(self.to_i64()?).map_err(|_| Misfit::OutOfRange)
    }

    /// The nearest double. Where significand and power of ten are doubles themselves, one rounding of one operation
    /// is that double; all other numbers take the longer way of the standard library.
    #[inline]
    pub fn to_f64(self) -> Result<f64, Misfit> {
        if self.digits <= DIGITS_OF_U64 && self.significand <= EXACT_INTEGERS {
            let power = EXACT_POWERS.get(usize::try_from(self.exponent.unsigned_abs()).unwrap_or(usize::MAX));
            if let Some(power) = power {
                let significand = self.significand as f64;
                let value = if self.exponent < 0 { significand / power } else { significand * power };
                return Ok(if self.negative { -value } else { value });
            }
        }
        self.text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or(Misfit::OutOfRange)
    }

    /// The unscaled value of a `DECIMAL(precision, scale)`.
    pub fn to_decimal(self, precision: u8, scale: i8) -> Result<i128, Misfit> {
        let value = self.scaled(i64::from(scale))?;
        let limit = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
        if value.unsigned_abs() < limit.unsigned_abs() { Ok(value) } else { Err(Misfit::OutOfRange) }
    }

    /// The number times `10^scale`, which must be an integer of at most 38 digits.
    fn scaled(self, scale: i64) -> Result<i128, Misfit> {
        if self.digits == 0 {
            return Ok(0);
        }
        let shift = self.exponent.saturating_add(scale);
        let digits = i64::try_from(self.digits).unwrap_or(i64::MAX);
        // A negative shift may take away zeros, nothing else.
        let kept = digits.saturating_add(shift.min(0));
        if shift < 0 && self.trailing_zeros() < shift.unsigned_abs() {
            return Err(Misfit::Fraction);
        }
        let appended = shift.max(0);
        if kept.saturating_add(appended) > DIGITS_OF_DECIMAL {
            return Err(Misfit::OutOfRange);
        }
        let value = self.leading(kept) * 10_i128.pow(u32::try_from(appended).unwrap_or(0));
        Ok(if self.negative { -value } else { value })
    }

    /// The number times `10^scale`, rounded down to an integer of at most 38 digits.
    pub fn floor(self, scale: i64) -> Result<i128, Misfit> {
        match self.scaled(scale) {
            Err(Misfit::Fraction) => {}
            exact => return exact,
        }
        // Digits are cut off, not all of them zeros, so a negative number lies above the next integer down.
        let digits = i64::try_from(self.digits).unwrap_or(i64::MAX);
        let kept = digits.saturating_add(self.exponent.saturating_add(scale)).max(0);
        if kept > DIGITS_OF_DECIMAL {
            return Err(Misfit::OutOfRange);
        }
        let value = self.leading(kept);
        Ok(if self.negative { -value - 1 } else { value })
    }

    /// The first of the significant digits as a number, at most 38.
    fn leading(self, count: i64) -> i128 {
        let digits = self.significant_digits().take(usize::try_from(count).unwrap_or(0));
        digits.fold(0, |value, digit| value * 10 + i128::from(digit - b'0'))
    }

    fn significand_text(&self) -> &'a str {
        self.text.split(['e', 'E']).next().unwrap_or_default()
    }

    fn significant_digits(&self) -> impl Iterator<Item = u8> + 'a {
        self.significand_text().bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0')
    }

    fn trailing_zeros(&self) -> u64 {
        let digits = self.significand_text().bytes().rev().filter(u8::is_ascii_digit);
        digits.take_while(|digit| *digit == b'0').count() as u64
    }
}

#[derive(Default)]
struct Digits {
    value: u64,
    count: usize,
}

impl Digits {
    /// Reads digits from `at` on and returns where they end.
    #[inline]
    fn read(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            let digit = digit - b'0';
            self.value = self.value.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.count += usize::from(self.count != 0 || digit != 0);
            at += 1;
        }
        at
    }
}

/// Reads the exponent behind its `e`, and where it ends. One too large for any type saturates.
fn read_exponent(bytes: &[u8], mut at: usize) -> Option<(i64, usize)> {
    let sign = bytes.get(at).copied();
    if matches!(sign, Some(b'+' | b'-')) {
        at += 1;
    }
    let first = at;
    let mut value = 0_i64;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        value = value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
        at += 1;
    }
    let value = if sign == Some(b'-') { -value } else { value };
    (at > first).then_some((value, at))
}

#[cfg(test)]
mod tests;
