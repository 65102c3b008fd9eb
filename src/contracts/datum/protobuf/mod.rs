//! Protobuf messages to JSON text.
//!
//! Fields are called as in the `.proto` file. A field without presence (a plain one of proto3, a list, a map) that is not
//! in the record has its default; one with presence (a message, `optional`, a member of a `oneof`, all of proto2) is left
//! out. What the schema does not know is kept: an unknown field under its number, in base64 as it came.

mod schema;

use std::borrow::Cow;
use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};

pub use self::schema::Schema;
use super::text::{JsonText, LARGEST};
use crate::contracts::rejection::{Class, Rejection};

/// Writes a message as JSON.
pub fn write(descriptor: &MessageDescriptor, bytes: &[u8], text: &mut JsonText) -> Result<(), Rejection> {
    if bytes.len() > LARGEST {
        return Err(Rejection::new(Class::TooLarge, "the message is larger than 64 MiB"));
    }
    // The library bounds the depth, and takes no length for granted.
    let decoded = DynamicMessage::decode(descriptor.clone(), bytes);
    let decoded = decoded.map_err(|e| Rejection::new(Class::BadProtobuf, format!("{}: {e}", descriptor.name())))?;
    message(&decoded, text)
}

fn message(message: &DynamicMessage, text: &mut JsonText) -> Result<(), Rejection> {
    text.ensure_room()?;
    if well_known(message, text)? {
        return Ok(());
    }
    text.token("{");
    let mut members = 0;
    let mut key = |text: &mut JsonText, name: &str| {
        if members > 0 {
            text.token(",");
        }
        members += 1;
        text.string(name);
        text.token(":");
    };
    for field in message.descriptor().fields() {
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        key(text, field.name());
        value(&message.get_field(&field), &field.kind(), text)?;
    }
    for (extension, extended) in message.extensions() {
        key(text, extension.json_name());
        value(extended, &extension.kind(), text)?;
    }
    let mut unknown: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    for field in message.unknown_fields() {
        field.encode(unknown.entry(field.number()).or_default());
    }
    for (number, bytes) in unknown {
        key(text, &number.to_string());
        text.bytes(&bytes);
    }
    text.token("}");
    Ok(())
}

/// Writes a value of a field of this kind; of a map, the kind is that of its entry.
fn value(of: &Value, kind: &Kind, text: &mut JsonText) -> Result<(), Rejection> {
    text.ensure_room()?;
    match of {
        Value::Bool(value) => text.boolean(*value),
        Value::I32(value) => text.signed((*value).into()),
        Value::I64(value) => text.signed(*value),
        Value::U32(value) => text.unsigned((*value).into()),
        Value::U64(value) => text.unsigned(*value),
        Value::F32(value) => text.float(*value),
        Value::F64(value) => text.double(*value),
        Value::String(value) => text.string(value),
        Value::Bytes(value) => text.bytes(value),
        Value::EnumNumber(number) => match kind.as_enum() {
            Some(descriptor) => symbol(descriptor, *number, text),
            None => text.signed((*number).into()),
        },
        Value::Message(inner) => message(inner, text)?,
        Value::List(items) => {
            text.token("[");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.token(",");
                }
                value(item, kind, text)?;
            }
            text.token("]");
        }
        Value::Map(entries) => {
            let kind = kind.as_message().map_or_else(|| kind.clone(), |entry| entry.map_entry_value_field().kind());
            // In an order of their own: the same record is the same text.
            let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.token("{");
            for (index, (key, entry)) in entries.into_iter().enumerate() {
                if index > 0 {
                    text.token(",");
                }
                text.string(&map_key(key));
                text.token(":");
                value(entry, &kind, text)?;
            }
            text.token("}");
        }
    }
    Ok(())
}

/// An enum's value by its name. A number without one, which a newer producer may send, stays a number.
fn symbol(descriptor: &EnumDescriptor, number: i32, text: &mut JsonText) {
    match descriptor.get_value(number) {
        Some(value) => text.string(value.name()),
        None => text.signed(number.into()),
    }
}

fn map_key(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::Bool(key) => key.to_string().into(),
        MapKey::I32(key) => key.to_string().into(),
        MapKey::I64(key) => key.to_string().into(),
        MapKey::U32(key) => key.to_string().into(),
        MapKey::U64(key) => key.to_string().into(),
        MapKey::String(key) => key.as_str().into(),
    }
}

/// Writes those of Google's well-known types that stand for a value. False for any other message.
fn well_known(message: &DynamicMessage, text: &mut JsonText) -> Result<bool, Rejection> {
    let descriptor = message.descriptor();
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            let (seconds, nanos) = moment(message);
            match u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000) {
                Some(nanos) => text.moment(seconds, nanos, "Z"),
                None => text.string(&format!("{seconds} s and {nanos} ns since 1970")),
            }
        }
        "google.protobuf.Duration" => {
            let (seconds, nanos) = moment(message);
            let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            let (sign, total) = (if total < 0 { "-" } else { "" }, total.unsigned_abs());
            let (seconds, nanos) = (total / 1_000_000_000, total % 1_000_000_000);
            match nanos {
                0 => text.string(&format!("{sign}{seconds}s")),
                nanos => text.string(&format!("{sign}{seconds}.{nanos:09}s")),
            }
        }
        "google.protobuf.Value" => match message.fields().next() {
            // The first of its members is null's.
            Some((field, of)) if field.number() != 1 => value(of, &field.kind(), text)?,
            _ => text.token("null"),
        },
        // What has one field is what that field is: a map, a list, or a value that may be absent.
        "google.protobuf.Struct"
        | "google.protobuf.ListValue"
        | "google.protobuf.BoolValue"
        | "google.protobuf.Int32Value"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.FloatValue"
        | "google.protobuf.DoubleValue"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue" => match descriptor.get_field(1) {
            Some(field) => value(&message.get_field(&field), &field.kind(), text)?,
            None => return Ok(false),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// The seconds and nanoseconds of a timestamp or duration.
fn moment(message: &DynamicMessage) -> (i64, i32) {
    let seconds = message.get_field_by_number(1).and_then(|value| value.as_i64());
    let nanos = message.get_field_by_number(2).and_then(|value| value.as_i32());
    (seconds.unwrap_or(0), nanos.unwrap_or(0))
}

#[cfg(test)]
mod tests;
