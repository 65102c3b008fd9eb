//! The token of SASL/OAUTHBEARER, which another program keeps fresh in a file.
//!
//! Kubernetes does so for service accounts, and agents of identity providers do. The file is read again each time that
//! librdkafka says that a token is due, which is some time before the one in use expires.

use std::path::Path;
use std::time::Duration;

use crate::config::Secret;
use crate::contracts::base64;
use crate::error::{Error, Result};

/// A token that does not say when it expires is read again within this time.
const UNSAID: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Token {
    pub text: Secret,
    /// In whose name, as far as the token says so itself. The broker decides on its own.
    pub principal: String,
    pub expires_ms: i64,
}

pub fn read(file: &Path, now_ms: i64) -> Result<Token> {
    let text = Secret::from_file("kafka.token_file", file)?;
    let claims = claims(text.reveal());
    let claim = |name: &str| claims.as_ref().and_then(|claims| claims.get(name));
    let expires_ms = match claim("exp").and_then(serde_json::Value::as_f64) {
        // A float holds any such time to the millisecond.
        Some(seconds) => (seconds * 1000.0) as i64,
        None => now_ms + i64::try_from(UNSAID.as_millis()).unwrap_or(0),
    };
    if expires_ms <= now_ms {
        return Err(Error::outside(format!("kafka.token_file: the token in {} has expired", file.display()))
            .hint("does the program that keeps it fresh still run?"));
    }
    let principal = claim("sub").and_then(serde_json::Value::as_str).unwrap_or("medallion").to_owned();
    Ok(Token { text, principal, expires_ms })
}

/// What a JWT says. Any other token is opaque.
fn claims(token: &str) -> Option<serde_json::Value> {
    let [_, payload, _] = token.split('.').collect::<Vec<_>>()[..] else { return None };
    let mut text = payload.replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    let mut bytes = Vec::new();
    base64::decode(&text, &mut bytes)?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn read_text(text: &str) -> Result<Token> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, text).unwrap();
        read(&file, NOW)
    }

    #[test]
    fn a_jwt_says_whose_it_is_and_until_when() {
        // {"sub":"ingest?>","exp":1700000060.5}, whose base64 has both letters in which the URL's alphabet differs.
        let token = read_text("eyJhbGciOiJub25lIn0.eyJzdWIiOiJpbmdlc3Q_PiIsImV4cCI6MTcwMDAwMDA2MC41fQ.\n").unwrap();
        assert_eq!((token.principal.as_str(), token.expires_ms), ("ingest?>", NOW + 60_500));
        assert!(token.text.reveal().ends_with('.'));
    }

    #[test]
    fn a_token_that_is_no_jwt_is_passed_on_and_read_again_soon() {
        for opaque in ["canary", "a.b.c", "..", "a.!.c", "eyJ.W10.x"] {
            let token = read_text(opaque).unwrap();
            assert_eq!((token.text.reveal(), token.expires_ms), (opaque, NOW + 300_000));
        }
    }

    #[test]
    fn an_expired_token_is_refused_and_not_shown() {
        // {"sub":"ingest","exp":1}
        let error = read_text("e30.eyJzdWIiOiJpbmdlc3QiLCJleHAiOjF9.canary").unwrap_err();
        assert!(error.to_string().contains("has expired") && !error.to_string().contains("canary"), "{error}");
        assert!(read_text("\n").unwrap_err().to_string().contains("is empty"));
    }
}
