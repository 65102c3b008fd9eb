//! Which object store a lake's address means, and what its errors mean to a user.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::config::LakeConfig;
use crate::error::{Error, Result};

/// How long one request to a bucket may take, and how long the client itself repeats it. What lies beyond is decided by
/// the caller, who knows whether repeating is safe.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_FOR: Duration = Duration::from_secs(20);

pub fn open(config: &LakeConfig) -> Result<(Url, Arc<dyn ObjectStore>)> {
    let text = config.url.trim_end_matches('/');
    // What is wrong is not repeated, should it be wrong by holding a secret.
    if text.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@'))) {
        return Err(Error::input("lake.url holds credentials").hint(CREDENTIALS));
    }
    match Url::parse(text) {
        Ok(url) if url.scheme() == "s3" => open_s3(config, url),
        Ok(url) if url.scheme() == "file" => match url.to_file_path() {
            Ok(path) => open_folder(path),
            Err(()) => Err(Error::input(format!("`{text}` is not a folder"))),
        },
        // One letter is a drive, not a scheme.
        Ok(url) if url.scheme().len() > 1 => Err(Error::input(format!("lake.url `{text}`: unknown scheme"))
            .hint("a lake is a folder, or s3://bucket/prefix (MinIO too, with lake.endpoint)")),
        _ => open_folder(PathBuf::from(text)),
    }
}

fn open_folder(path: PathBuf) -> Result<(Url, Arc<dyn ObjectStore>)> {
    let absolute = std::path::absolute(&path)
        .map_err(|e| Error::input(format!("`{}` is not a folder for a lake", path.display())).because(e))?;
    if absolute.exists() && !absolute.is_dir() {
        return Err(Error::input(format!("`{}` is a file, not a folder for a lake", path.display())));
    }
    let url = Url::from_file_path(&absolute)
        .map_err(|()| Error::input(format!("`{}` is not a folder for a lake", path.display())))?;
    Ok((url, Arc::new(LocalFileSystem::new())))
}

fn open_s3(config: &LakeConfig, url: Url) -> Result<(Url, Arc<dyn ObjectStore>)> {
    let Some(bucket) = url.host_str() else {
        return Err(Error::input(format!("lake.url `{url}` names no bucket")).hint("write s3://bucket/prefix"));
    };
    let mut options = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_allow_http(config.allow_http);
    if let Some(file) = &config.ca_file {
        for certificate in authorities(file)? {
            options = options.with_root_certificate(certificate);
        }
    }
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_region(&config.region)
        .with_client_options(options)
        .with_retry(RetryConfig { max_retries: 5, retry_timeout: RETRY_FOR, ..RetryConfig::default() });
    if let Some(endpoint) = &config.endpoint {
        if Url::parse(endpoint).is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
            return Err(Error::input("lake.endpoint holds credentials").hint(CREDENTIALS));
        }
        if endpoint.starts_with("http://") && !config.allow_http {
            return Err(Error::input(format!("lake.endpoint {endpoint} is not encrypted"))
                .hint("set lake.allow_http = true if that is meant, as for MinIO on the same machine"));
        }
        builder = builder.with_endpoint(endpoint);
    }
    let store = builder.build().map_err(|e| Error::input(format!("lake.url `{url}`")).because(e))?;
    Ok((url, Arc::new(store)))
}

/// Certificates of authorities, in PEM.
fn authorities(file: &std::path::Path) -> Result<Vec<Certificate>> {
    let wrong = || Error::input(format!("lake.ca_file: {} is no list of certificates in PEM", file.display()));
    let pem = std::fs::read(file)
        .map_err(|e| Error::input(format!("lake.ca_file: cannot read {}", file.display())).because(e))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| wrong().because(e))?;
    match certificates.is_empty() {
        true => Err(wrong()),
        false => Ok(certificates),
    }
}

const CREDENTIALS: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; an address is shown and logged";
const UNTRUSTED: &str = "the store's certificate is not trusted: name the certificate of its authority in lake.ca_file, \
                         and check that lake.endpoint has the name that is in the certificate";
const REFUSED: &str = "the store refuses: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the policy of that user";
const READ_ONLY: &str = "the folder cannot be written by this user";
const NO_BUCKET: &str = "the bucket does not exist; minio/setup.sh makes it";

/// Whether the store answers and says that this user may not.
pub fn is_refused(error: &object_store::Error) -> bool {
    use object_store::Error as Store;
    let text = error_text(error);
    // The client has no kind of its own for a listing or for a deletion among others that is refused.
    matches!(error, Store::Unauthenticated { .. } | Store::PermissionDenied { .. })
        || ["403 Forbidden", "AccessDenied", "Permission denied"].iter().any(|said| text.contains(said))
}

/// An error with its causes: the store's own text may leave out what they say.
fn error_text(error: &object_store::Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// An error of the store, told by what the user can do about it.
pub fn error(doing: &str, path: &Path, error: object_store::Error) -> Error {
    let what = format!("cannot {doing} {path}");
    let text = error_text(&error);
    let says = |words: &str| text.contains(words);
    let hint = if says("No space left") || says("StorageFull") {
        Some("the disk is full; nothing was lost: free some space and start again")
    } else if says("Permission denied") || says("Read-only file system") {
        Some(READ_ONLY)
    } else if is_refused(&error) {
        Some(REFUSED)
    } else if says("NoSuchBucket") {
        Some(NO_BUCKET)
    } else if says("invalid peer certificate") {
        Some(UNTRUSTED)
    } else if says("connect") {
        Some("the store does not answer; check lake.endpoint and the network")
    } else {
        None
    };
    let error = Error::outside(what).because(error);
    let error = match hint {
        Some(REFUSED | READ_ONLY | NO_BUCKET | UNTRUSTED) => error.lasting(),
        _ => error,
    };
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(url: &str, endpoint: Option<&str>, ca: Option<&std::path::Path>) -> Error {
        let config = LakeConfig {
            url: url.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            region: "us-east-1".to_owned(),
            allow_http: true,
            ca_file: ca.map(std::path::Path::to_owned),
        };
        open(&config).unwrap_err()
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for (url, endpoint) in [
            ("s3://me:canary@bucket/lake", None),
            ("s3://bucket/lake", Some("http://me:canary@minio:9000")),
            ("s4://me:canary@bucket/lake", None),
            ("s3://me:canary@/lake", None),
        ] {
            let error = opened(url, endpoint, None);
            assert_eq!(error.kind(), crate::error::Kind::Input);
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn a_file_of_authorities_that_holds_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let missing = opened("s3://bucket/lake", None, Some(&file));
        assert!(missing.to_string().contains("lake.ca_file: cannot read"), "{missing}");
        std::fs::write(&file, "nothing of the kind\n").unwrap();
        let empty = opened("s3://bucket/lake", None, Some(&file));
        assert!(empty.to_string().contains("no list of certificates in PEM"), "{empty}");
    }
}
