//! GET requests to a registry: bounded in time and size, with credentials that nothing prints.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::{RegistryConfig, Secret};
use crate::error::{Error, Result};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// No schema is as large.
const LARGEST_ANSWER: usize = 16 << 20;
const PASSWORD: &str = "MEDALLION_REGISTRY_PASSWORD";
const TOKEN: &str = "MEDALLION_REGISTRY_TOKEN";

#[derive(Debug)]
pub struct Http {
    client: Client,
    base: Url,
    credentials: Credentials,
}

/// What a request says of who asks. The values are marked as sensitive, so their `Debug` does not show them.
#[derive(Debug)]
enum Credentials {
    None,
    Bearer(HeaderValue),
    Basic { user: String, password: Secret },
}

/// What came back, whatever its status.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Http {
    pub fn new(url: &str, config: &RegistryConfig) -> Result<Http> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Http::with_secrets(url, config, variable(TOKEN), variable(PASSWORD))
    }

    /// The same, with the secrets of the environment passed in.
    pub fn with_secrets(
        url: &str,
        config: &RegistryConfig,
        token: Option<String>,
        password: Option<String>,
    ) -> Result<Http> {
        // The URL is not repeated: if it is wrong it may be wrong by holding a password.
        let base: Url = url
            .parse()
            .map_err(|e| Error::input("registry.url is not a URL").because(e).hint("write http://host:8081"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(Error::input("registry.url is not an address of HTTP").hint("write http://host:8081"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Error::input("registry.url holds credentials")
                .hint(format!("set registry.user and {PASSWORD}, or registry.password_file")));
        }
        let token = secret(token, config.token_file.as_deref(), "registry.token_file")?;
        let password = secret(password, config.password_file.as_deref(), "registry.password_file")?;
        let credentials = match (token, &config.user, password) {
            (Some(_), Some(_), _) => {
                return Err(Error::input("the schema registry is given both a token and a user")
                    .hint(format!("use registry.user with {PASSWORD}, or {TOKEN} alone")));
            }
            (Some(token), None, _) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
                    .map_err(|_| Error::input("the registry's token has characters that no header can have"))?;
                value.set_sensitive(true);
                Credentials::Bearer(value)
            }
            (None, Some(user), Some(password)) => Credentials::Basic { user: user.clone(), password },
            (None, Some(_), None) => {
                return Err(Error::input("registry.user has no password")
                    .hint(format!("set {PASSWORD}, or registry.password_file")));
            }
            (None, None, _) => Credentials::None,
        };
        let client = Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .user_agent("medallion")
            .build()
            .map_err(|e| Error::bug("the client of the schema registry cannot be made").because(e))?;
        Ok(Http { client, base, credentials })
    }

    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether the address itself has this path in it.
    pub fn is_below(&self, path: &str) -> bool {
        self.base.path().contains(path)
    }

    /// Asks for a path below the address. Its segments are escaped as needed.
    pub async fn get(&self, path: &[&str]) -> Result<Answer> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.client.get(url).header(ACCEPT, "application/json, */*;q=0.5");
        let request = match &self.credentials {
            Credentials::None => request,
            Credentials::Bearer(value) => request.header(AUTHORIZATION, value.clone()),
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password.reveal())),
        };
        let away = |e: reqwest::Error| Error::outside("it does not answer").because(e.without_url());
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(away)? {
            if body.len() + part.len() > LARGEST_ANSWER {
                return Err(Error::outside("its answer is larger than 16 MiB"));
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// The answer, if it is a good one.
    pub fn ok(self) -> Result<Answer> {
        match self.status {
            status if status.is_success() => Ok(self),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Error::outside(format!("it refuses us: {}", self.status))
                    .hint(format!("set {TOKEN}, or registry.user and {PASSWORD}")))
            }
            status => Err(Error::outside(format!("it answers {status}"))
                .hint("check registry.url; it is asked again until it answers")),
        }
    }

    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|e| {
            Error::outside("its answer is not what a schema registry says").because(e).hint("check registry.url")
        })
    }

    pub fn text(self) -> Result<String> {
        String::from_utf8(self.body).map_err(|e| Error::outside("its answer is not text").because(e.utf8_error()))
    }
}

/// A secret from the environment, or else from its file.
fn secret(variable: Option<String>, file: Option<&Path>, key: &str) -> Result<Option<Secret>> {
    match (variable, file) {
        (Some(text), _) => Ok(Some(Secret::new(text))),
        (None, Some(file)) => Secret::from_file(key, file).map(Some),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(url: &str, user: Option<&str>, token: Option<&str>, password: Option<&str>) -> Result<Http> {
        let config = RegistryConfig { user: user.map(str::to_owned), ..RegistryConfig::default() };
        Http::with_secrets(url, &config, token.map(str::to_owned), password.map(str::to_owned))
    }

    #[test]
    fn no_secret_is_shown_by_debug_or_by_an_error() {
        let bearer = made("https://registry:8081/base/", None, Some("canary"), None).unwrap();
        let basic = made("http://registry:8081", Some("me"), None, Some("canary")).unwrap();
        let both = made("http://registry:8081", Some("me"), Some("canary"), Some("canary")).unwrap_err();
        let in_url = made("http://me:canary@registry:8081", None, None, None).unwrap_err();
        let not_url = made("http://me:canary@registry:port", None, None, None).unwrap_err();
        let line_end = made("http://registry", None, Some("canary\n"), None).unwrap_err();
        for shown in [
            format!("{bearer:?}"),
            format!("{basic:?}"),
            format!("{both:?}"),
            format!("{in_url:?}"),
            format!("{not_url:?}"),
        ] {
            assert!(!shown.contains("canary"), "{shown}");
        }
        assert!(!line_end.to_string().contains("canary"), "{line_end}");
        assert_eq!(bearer.address(), "https://registry:8081/base");
    }

    #[test]
    fn the_environment_beats_the_file_of_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "from file\n").unwrap();
        let found = |variable: Option<&str>| secret(variable.map(str::to_owned), Some(&file), "k").unwrap();
        assert_eq!(found(None), Some(Secret::new("from file")));
        assert_eq!(found(Some("from variable")), Some(Secret::new("from variable")));
    }

    #[test]
    fn what_is_no_address_of_http_is_refused() {
        for url in ["", "registry:8081", "ftp://registry", "file:///etc/passwd"] {
            let error = made(url, None, None, None).unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Input, "{url}");
        }
        assert!(made("http://registry", Some("me"), None, None).unwrap_err().to_string().contains("has no password"));
    }
}
