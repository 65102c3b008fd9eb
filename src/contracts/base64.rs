//! Base64 in the standard alphabet (RFC 4648): one text for each sequence of bytes, so that nothing is read twice over.

/// Appends the bytes of a text. Padding has to be there, and the bits that belong to no byte have to be zero; otherwise
/// nothing is appended.
pub fn decode(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let start = bytes.len();
    bytes.reserve(text.len() / 4 * 3);
    let decoded = text.chunks_exact(4).enumerate().try_for_each(|(index, group)| {
        let last = (index + 1) * 4 == text.len();
        let padding = if last { group.iter().rev().take_while(|byte| **byte == b'=').count() } else { 0 };
        let digits = group.get(..4 - padding).filter(|_| padding <= 2)?;
        let value = digits.iter().try_fold(0_u32, |value, byte| Some(value << 6 | digit(*byte)?))?;
        let [_, whole @ ..] = (value << (6 * padding)).to_be_bytes();
        let (written, unused) = whole.split_at_checked(3 - padding)?;
        bytes.extend_from_slice(written);
        unused.iter().all(|byte| *byte == 0).then_some(())
    });
    if decoded.is_none() {
        bytes.truncate(start);
    }
    decoded
}

fn digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut bytes = b"before".to_vec();
        let found = decode(text, &mut bytes);
        assert_eq!(&bytes[..6], b"before");
        assert!(found.is_some() || bytes.len() == 6);
        found.map(|()| bytes.split_off(6))
    }

    /// By the definition, bit for bit.
    fn encoded(bytes: &[u8]) -> String {
        let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
        let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
        let digit = |six: &[u8]| (0..6).fold(0, |value, bit| value << 1 | usize::from(*six.get(bit).unwrap_or(&0)));
        let mut text: String = bits.chunks(6).map(|six| alphabet[digit(six)]).collect();
        text.extend(std::iter::repeat_n('=', (4 - text.len() % 4) % 4));
        text
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(decoded(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_second_way_to_write_the_same_bytes_is_refused() {
        for text in ["Zg", "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "=", "====", "Z===", "Zm9v\n", "Zm-_", " Zm9v", "Zm9é"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back_from_their_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(decoded(&encoded(&bytes)), Some(bytes));
        }

        #[test]
        fn a_text_that_is_read_is_the_one_of_its_bytes(text in "[A-Za-z0-9+/=]{0,12}") {
            if let Some(bytes) = decoded(&text) {
                prop_assert_eq!(encoded(&bytes), text);
            }
        }
    }
}
