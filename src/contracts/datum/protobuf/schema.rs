//! `.proto` files, compiled with what they import, and the message of a file that a record is.

use std::collections::HashMap;

use prost_reflect::{FileDescriptor, MessageDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use crate::contracts::rejection::{Class, Rejection};
use crate::registry;

/// What the file itself is called, which no import can be.
const MAIN: &str = "the schema itself";

/// Brackets within each other. The compiler follows them on the stack.
const DEEPEST_BRACKETS: usize = 100;

/// A compiled file.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    file: FileDescriptor,
}

/// The texts of a schema and of its references. What they do not have may be one of Google's well-known files.
struct Sources(HashMap<String, String>);

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => parse(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn parse(name: &str, text: &str) -> Result<File, protox::Error> {
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'<' | b'(' => depth += 1,
            b'}' | b']' | b'>' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST_BRACKETS {
            return Err(protox::Error::new(format!("{name}: more than {DEEPEST_BRACKETS} brackets within each other")));
        }
    }
    File::from_source(name, text)
}

impl Schema {
    pub fn compile(schema: &registry::Schema) -> Result<Schema, String> {
        let mut sources: HashMap<String, String> =
            schema.references.iter().map(|reference| (reference.name.clone(), reference.text.clone())).collect();
        sources.insert(MAIN.to_owned(), schema.text.clone());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Sources(sources));
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler.open_file(MAIN).map_err(|e| format!("the schema does not compile: {e}"))?;
        let file = compiler.descriptor_pool().get_file_by_name(MAIN);
        file.map(|file| Schema { file }).ok_or_else(|| "the schema does not compile".to_owned())
    }

    /// The imports of a file that are not Google's own.
    pub fn imports(name: &str, text: &str) -> Result<Vec<String>, String> {
        let file = parse(name, text).map_err(|e| format!("the schema does not compile: {e}"))?;
        let google = GoogleFileResolver::new();
        let imports = file.file_descriptor_proto().dependency.iter();
        Ok(imports.filter(|import| google.open_file(import).is_err()).cloned().collect())
    }

    /// The message of a full name, or the only one of the file.
    pub fn message(&self, name: Option<&str>) -> Result<MessageDescriptor, String> {
        let mut messages = self.file.messages();
        let known = || self.file.messages().map(|m| m.full_name().to_owned()).collect::<Vec<_>>().join(", ");
        match name {
            Some(name) => {
                let found = self.file.parent_pool().get_message_by_name(name);
                found.ok_or_else(|| format!("it has no message `{name}`; there are: {}", known()))
            }
            None => match (messages.next(), messages.next()) {
                (Some(only), None) => Ok(only),
                (None, _) => Err("it has no message".to_owned()),
                _ => Err(format!("it has more than one message: {}", known())),
            },
        }
    }

    /// The message that a record of Confluent's framing is, and its bytes: before them stands the way to it through the
    /// messages of the file, a count and that many indices, all of them zigzag numbers. For the first message of a
    /// file, the most frequent one, that is a single zero.
    ///
    /// An index counts the messages that are written in the file, as Confluent's serializer for Java does: not the
    /// entries of maps, which the compiler makes messages of.
    pub fn indexed<'a>(&self, datum: &'a [u8]) -> Result<(MessageDescriptor, &'a [u8]), Rejection> {
        let bad = |problem: &str| Rejection::new(Class::BadProtobuf, format!("in the message indices: {problem}"));
        let cut_off = || bad("they are cut off");
        let (count, mut rest) = zigzag(datum).ok_or_else(cut_off)?;
        let mut found = if count == 0 { self.file.messages().next() } else { None };
        for depth in 0..u64::try_from(count).map_err(|_| bad(&format!("a count of {count}")))? {
            let (index, behind) = zigzag(rest).ok_or_else(cut_off)?;
            rest = behind;
            let index = usize::try_from(index).map_err(|_| bad(&format!("an index of {index}")))?;
            found = match &found {
                None if depth == 0 => self.file.messages().nth(index),
                None => None,
                Some(outer) => outer.child_messages().filter(|child| !child.is_map_entry()).nth(index),
            };
            if found.is_none() {
                return Err(bad(&format!("the schema has no message {index} there")));
            }
        }
        found.map(|message| (message, rest)).ok_or_else(|| bad("the schema has no message"))
    }
}

/// A zigzag number of up to ten bytes, seven bits each, the lowest first.
fn zigzag(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut bits = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        bits |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return Some(((bits >> 1) as i64 ^ -((bits & 1) as i64), bytes.get(index + 1..)?));
        }
    }
    None
}
