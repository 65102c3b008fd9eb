//! `return(x)`: a macro that gives a value instead of a text.
//!
//! Jinja's macros only make text, so the value leaves the macro as an error, and the call turns it back into a value.

use std::error::Error as _;
use std::fmt;

use minijinja::{Error, ErrorKind, Value};

#[derive(Debug)]
struct Returned(Value);

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`return` ends a macro")
    }
}

impl std::error::Error for Returned {}

/// The function `return`.
pub fn leave(value: Value) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "`return` has no meaning outside of a macro")
        .with_source(Returned(value)))
}

/// The value that left a macro, if that is why it ended.
pub fn value(error: &Error) -> Option<Value> {
    let mut source = error.source();
    while let Some(e) = source {
        if let Some(Returned(value)) = e.downcast_ref::<Returned>() {
            return Some(value.clone());
        }
        source = e.source();
    }
    None
}
