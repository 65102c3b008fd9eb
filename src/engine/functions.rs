//! The functions that medallion adds to SQL.
//!
//! `surrogate_key(a, ...)` is a key that is the same on every machine and in every version of this program, for it is
//! stored in tables: 63 bits of SHA-256 over the arguments in a canonical form. `hmac_sha256(text)` hashes personal data
//! under a key that is not in the lake, and `pii_key_id()` says which. The clock functions all answer one time.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::common::{Result as DfResult, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Fewer bytes than this would be easier to guess than the telephone numbers they protect.
const SHORTEST_KEY: usize = 32;

pub fn all(now: DateTime<Utc>, key: Option<PiiKey>) -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::from(SurrogateKey::new()),
        ScalarUDF::from(KeyedHash { key: key.clone(), signature: Signature::string(1, Volatility::Immutable) }),
        ScalarUDF::from(Constant::key_id(key)),
        ScalarUDF::from(Constant::now(now)),
        ScalarUDF::from(Constant::today(now)),
    ]
}

/// The key of the keyed hashes. It is never shown; its id is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PiiKey {
    bytes: Arc<[u8]>,
    id: String,
}

impl PiiKey {
    pub fn new(bytes: &[u8]) -> Result<PiiKey> {
        let bytes = bytes.trim_ascii();
        if bytes.len() < SHORTEST_KEY {
            return Err(Error::input(format!("the privacy key has fewer than {SHORTEST_KEY} bytes"))
                .hint("make one with: openssl rand -hex 32"));
        }
        // The id tells keys apart and says nothing of the key: a hash of a hash under a name of its own.
        let digest = Sha256::new().chain_update(b"medallion privacy key id").chain_update(bytes).finalize();
        let id = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
        Ok(PiiKey { bytes: bytes.into(), id })
    }

    /// From MEDALLION_PII_KEY, or else from the file that the configuration names.
    pub fn find(key_file: Option<&Path>) -> Result<Option<PiiKey>> {
        if let Ok(key) = std::env::var("MEDALLION_PII_KEY") {
            return PiiKey::new(key.as_bytes()).map(Some).map_err(|e| e.context("MEDALLION_PII_KEY"));
        }
        let Some(file) = key_file else { return Ok(None) };
        let bytes = std::fs::read(file)
            .map_err(|e| Error::input(format!("cannot read the privacy key {}", file.display())).because(e))?;
        PiiKey::new(&bytes).map(Some).map_err(|e| e.context(file.display()))
    }
}

impl fmt::Debug for PiiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PiiKey({})", self.id)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SurrogateKey {
    signature: Signature,
}

impl SurrogateKey {
    fn new() -> Self {
        SurrogateKey { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

/// One argument as text whose form is ours to keep: times as microseconds, dates as days, the rest as SQL writes it.
fn canonical(array: &ArrayRef) -> DfResult<ArrayRef> {
    let step = match array.data_type() {
        DataType::Timestamp(_, zone) => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            cast(&micros, &DataType::Int64)?
        }
        DataType::Date32 => cast(array, &DataType::Int32)?,
        _ => array.clone(),
    };
    Ok(cast(&step, &DataType::Utf8)?)
}

impl ScalarUDFImpl for SurrogateKey {
    fn name(&self) -> &str {
        "surrogate_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let columns = arrays.iter().map(canonical).collect::<DfResult<Vec<_>>>()?;
        let texts: Vec<_> = columns.iter().map(|c| c.as_string::<i32>()).collect();
        let rows = if columns.is_empty() { args.number_rows } else { columns[0].len() };
        let mut hasher = Sha256::new();
        let keys = (0..rows).map(|row| {
            for text in &texts {
                // A length before each value keeps ("ab", "c") and ("a", "bc") apart, and NULL from the empty text.
                if text.is_null(row) {
                    hasher.update(u64::MAX.to_be_bytes());
                } else {
                    let value = text.value(row).as_bytes();
                    hasher.update((value.len() as u64).to_be_bytes());
                    hasher.update(value);
                }
            }
            let digest = hasher.finalize_reset();
            let mut first = [0u8; 8];
            first.copy_from_slice(&digest[..8]);
            (u64::from_be_bytes(first) >> 1) as i64
        });
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from_iter_values(keys))))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct KeyedHash {
    key: Option<PiiKey>,
    signature: Signature,
}

impl ScalarUDFImpl for KeyedHash {
    fn name(&self) -> &str {
        "hmac_sha256"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let Some(key) = &self.key else { return Err(super::external(missing_key())) };
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(values) = arrays.first() else { return Err(exec_datafusion_err!("hmac_sha256 takes one argument")) };
        let values = cast(values, &DataType::Utf8)?;
        let values = values.as_string::<i32>();
        let keyed = Hmac::<Sha256>::new_from_slice(&key.bytes).map_err(|e| exec_datafusion_err!("{e}"))?;
        let mut out = StringBuilder::with_capacity(values.len(), values.len() * 64);
        let mut hex = String::with_capacity(64);
        for value in values.iter() {
            let Some(value) = value else {
                out.append_null();
                continue;
            };
            let mut mac = keyed.clone();
            mac.update(value.as_bytes());
            hex.clear();
            for byte in mac.finalize().into_bytes() {
                hex.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
                hex.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
            }
            out.append_value(&hex);
        }
        Ok(ColumnarValue::Array(Arc::new(out.finish())))
    }
}

/// What to do where personal data has to be hashed and no key is there.
pub fn missing_key() -> Error {
    Error::input("this needs the privacy key, and none is configured").hint(
        "make one with `openssl rand -hex 32`, keep it outside the lake, and set MEDALLION_PII_KEY or privacy.key_file",
    )
}

/// A function without arguments whose answer is known beforehand.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    aliases: Vec<String>,
    value: Option<ScalarValue>,
    data_type: DataType,
    signature: Signature,
}

impl Constant {
    fn new(name: &'static str, aliases: &[&str], data_type: DataType, value: Option<ScalarValue>) -> Self {
        let signature = Signature::nullary(Volatility::Stable);
        Constant { name, aliases: aliases.iter().map(|a| a.to_string()).collect(), value, data_type, signature }
    }

    fn now(now: DateTime<Utc>) -> Self {
        let zone: Option<Arc<str>> = Some("UTC".into());
        let value = ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), zone.clone());
        let data_type = DataType::Timestamp(TimeUnit::Microsecond, zone);
        Constant::new("now", &["current_timestamp"], data_type, Some(value))
    }

    fn today(now: DateTime<Utc>) -> Self {
        let days = i32::try_from(now.timestamp().div_euclid(86_400)).unwrap_or(i32::MAX);
        Constant::new("current_date", &["today"], DataType::Date32, Some(ScalarValue::Date32(Some(days))))
    }

    fn key_id(key: Option<PiiKey>) -> Self {
        Constant::new("pii_key_id", &[], DataType::Utf8, key.map(|k| ScalarValue::Utf8(Some(k.id))))
    }
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match &self.value {
            Some(value) => Ok(ColumnarValue::Scalar(value.clone())),
            None => Err(super::external(missing_key())),
        }
    }
}
