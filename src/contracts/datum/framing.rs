//! The few bytes before a datum that name its schema.

use crate::contracts::rejection::{Class, Rejection};
use crate::registry::{Api, SchemaId};

/// The modes of serializers that are understood. All begin with a zero byte, the magic; numbers are big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Four bytes of a schema id, as Confluent's serializers write them, and those of all that are compatible with them.
    /// (Apicurio's compatible mode too: its ids are then those of its `/apis/ccompat/v7`.)
    Confluent,
    /// Eight bytes of a global id: the default of Apicurio's serializers of version 2 (`DefaultIdHandler`, `globalId`).
    Apicurio,
    /// Four bytes of a content id: their default in version 3 (`Default4ByteIdHandler`, `contentId`).
    ///
    /// Ids in the headers of a record (`apicurio.registry.headers.enabled`) are not understood in any mode.
    ApicurioContent,
}

impl Framing {
    pub fn api(self) -> Api {
        match self {
            Framing::Confluent => Api::Confluent,
            Framing::Apicurio | Framing::ApicurioContent => Api::Apicurio,
        }
    }

    /// The id, and the datum behind it.
    pub fn read(self, record: &[u8]) -> Result<(SchemaId, &[u8]), Rejection> {
        let read = match (self, record) {
            (_, []) => return Err(Rejection::new(Class::Empty, "the record has no bytes")),
            (Framing::Confluent, [0, rest @ ..]) => small(rest).map(|(id, datum)| (SchemaId::Confluent(id), datum)),
            (Framing::Apicurio, [0, rest @ ..]) => rest.split_first_chunk().and_then(|(bytes, datum)| {
                let id = i64::from_be_bytes(*bytes);
                Some((SchemaId::ApicurioGlobal(u64::try_from(id).ok()?), datum))
            }),
            (Framing::ApicurioContent, [0, rest @ ..]) => {
                small(rest).map(|(id, datum)| (SchemaId::ApicurioContent(id.into()), datum))
            }
            (_, [first, ..]) => {
                let message = format!("expected the magic byte 0 of a registry's serializer, found {first:#04x}");
                return Err(Rejection::new(Class::BadFraming, message));
            }
        };
        read.ok_or_else(|| {
            let bytes = if self == Framing::Apicurio { "eight" } else { "four" };
            Rejection::new(Class::BadFraming, format!("expected {bytes} bytes of a schema id behind the magic byte"))
        })
    }
}

/// An id of four bytes, which are signed where they come from.
fn small(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (bytes, datum) = rest.split_first_chunk()?;
    Some((u32::try_from(i32::from_be_bytes(*bytes)).ok()?, datum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_reads_its_id_and_leaves_the_datum() {
        let record = [0, 0, 0, 0, 42, 9, 8, 7, 6, 5];
        assert_eq!(Framing::Confluent.read(&record).unwrap(), (SchemaId::Confluent(42), &[9, 8, 7, 6, 5][..]));
        let content = Framing::ApicurioContent.read(&record).unwrap();
        assert_eq!(content, (SchemaId::ApicurioContent(42), &[9, 8, 7, 6, 5][..]));
        let global = Framing::Apicurio.read(&record).unwrap();
        assert_eq!(global, (SchemaId::ApicurioGlobal(42 << 32 | 0x0908_0706), &[5][..]));
    }

    #[test]
    fn what_has_no_frame_or_no_possible_id_is_told_apart_from_a_bad_datum() {
        let class = |framing: Framing, record: &[u8]| framing.read(record).unwrap_err().class();
        for framing in [Framing::Confluent, Framing::Apicurio, Framing::ApicurioContent] {
            assert_eq!(class(framing, b""), Class::Empty);
            assert_eq!(class(framing, b"{\"a\": 1}"), Class::BadFraming);
            assert_eq!(class(framing, &[0, 0, 0, 1]), Class::BadFraming);
            assert_eq!(class(framing, &[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 1]), Class::BadFraming);
        }
    }
}
