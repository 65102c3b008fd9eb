//! A secret is shown by nothing: not by `Debug`, not by an error, not by the place that an error points at.

use std::fmt;
use std::path::Path;

use crate::error::{Error, Place, Result};

/// Words in the name of a setting that say that its value is not for everybody.
const WORDS: &[&str] = &["password", "passphrase", "secret", "token", "credential", "key", "pem"];

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for whoever needs it to prove who we are.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// From an environment variable, which may be called `key` in an error.
    pub fn from_variable(key: &str, variable: &str) -> Result<Secret> {
        match std::env::var(variable) {
            Ok(text) if !text.is_empty() => Ok(Secret(text)),
            _ => Err(Error::input(format!("{key}: the environment variable {variable} is not set"))
                .hint("set it to the secret, or name a file that holds it")),
        }
    }

    /// From a file, whose last line end is not part of it.
    pub fn from_file(key: &str, file: &Path) -> Result<Secret> {
        let text = std::fs::read_to_string(file).map_err(|e| {
            Error::input(format!("{key}: cannot read {}", file.display()))
                .because(e)
                .hint("the file holds the secret alone, and the user who runs this may read it")
        })?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(Error::input(format!("{key}: {} is empty", file.display()))),
            secret => Ok(Secret(secret.to_owned())),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// A place without its text, should that text hold what may be a secret.
pub fn guarded(mut place: Place) -> Place {
    let may_hold_one = |text: &str| {
        let text = text.to_lowercase();
        WORDS.iter().any(|word| text.contains(word))
    };
    if place.text.as_deref().is_some_and(may_hold_one) {
        place.text = None;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_file_ends_before_the_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "from file\r\n").unwrap();
        assert_eq!(Secret::from_file("k", &file).unwrap().reveal(), "from file");
        std::fs::write(&file, "\n").unwrap();
        assert!(Secret::from_file("k", &file).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", Some(Secret::new("canary"))), "Some(...)");
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        let shown = |line: &str| guarded(Place::in_text("f", line, 1, 1)).text.is_some();
        assert!(shown("brokers = 3"));
        assert!(!shown("\"sasl.password\" = canary"));
        assert!(!shown("registry = { Token = 1 }"));
    }
}
