//! Which files a load reads, and how the same content is known again.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::contracts::Written;
use crate::error::{Error, Result};

/// The file, or the files of a folder and its folders, by name.
pub fn list(place: &Path) -> Result<Vec<PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    if !place.is_dir() {
        return Err(Error::input(format!("there is no file or folder {}", place.display())));
    }
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(place).sort_by_file_name() {
        let entry = entry.map_err(|e| Error::outside(format!("cannot read {}", place.display())).because(e))?;
        let name = entry.path();
        // A README beside an extract is no extract.
        if entry.file_type().is_file() && Written::by_name(name).is_some() {
            files.push(name.to_owned());
        }
    }
    if files.is_empty() {
        return Err(Error::input(format!("{} has no CSV or JSON-lines file", place.display()))
            .hint("files are known by their names: .csv, .json, .jsonl, .ndjson"));
    }
    Ok(files)
}

/// The content of all files together, whatever their names, as a number that a mark can carry.
pub fn fingerprint_of_all(paths: &[PathBuf]) -> Result<i64> {
    let mut each = paths.iter().map(|p| fingerprint(p)).collect::<Result<Vec<_>>>()?;
    each.sort();
    let digest = Sha256::digest(each.concat());
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    Ok((u64::from_be_bytes(first) >> 1) as i64)
}

/// SHA-256 of the content.
pub fn fingerprint(path: &Path) -> Result<String> {
    let failed = |e| Error::input(format!("cannot read {}", path.display())).because(e);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block).map_err(failed)? {
            0 => return Ok(format!("{:x}", hasher.finalize())),
            read => hasher.update(&block[..read]),
        }
    }
}
