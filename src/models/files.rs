//! The files of a project: which there are, always in the same order, and what they say.

use std::collections::BTreeSet;
use std::path::Path;

use walkdir::WalkDir;

use super::ignore::Ignored;
use crate::error::{Error, Result};

/// A file below one of the resource folders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// From the root of the project, with `/` between the parts.
    pub path: String,
    /// The folders between the resource folder and the file.
    pub folders: Vec<String>,
    /// The file's name without its extension.
    pub stem: String,
}

/// The files with one of the extensions below the folders. A folder that does not exist holds none; hidden files and
/// folders are left out, and what .dbtignore names.
pub fn list(root: &Path, folders: &[String], extensions: &[&str]) -> Result<Vec<Found>> {
    let mut found = BTreeSet::new();
    let ignored = Ignored::of(root)?;
    for folder in folders {
        let base = root.join(folder);
        if !base.is_dir() {
            continue;
        }
        let visible = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with('.');
        let walk = WalkDir::new(&base).follow_links(true).into_iter();
        for entry in walk.filter_entry(|e| e.depth() == 0 || visible(e.file_name())) {
            let entry = entry.map_err(|e| Error::outside(format!("cannot list {}", base.display())).because(e))?;
            let extension = entry.path().extension().and_then(|e| e.to_str()).unwrap_or("");
            if !entry.file_type().is_file() || !extensions.contains(&extension) {
                continue;
            }
            found.insert(describe(root, &base, entry.path())?);
        }
    }
    found.retain(|file: &Found| !ignored.has(&file.path));
    Ok(found.into_iter().collect())
}

fn describe(root: &Path, base: &Path, path: &Path) -> Result<Found> {
    let parts = |below: &Path| {
        let relative = path.strip_prefix(below).unwrap_or(path);
        relative.iter().map(|p| p.to_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    };
    let stem = path.file_stem().and_then(|s| s.to_str());
    let (Some(whole), Some(mut folders), Some(stem)) = (parts(root), parts(base), stem) else {
        return Err(Error::input(format!("the name of {} is not valid UTF-8", path.display())));
    };
    folders.pop();
    Ok(Found { path: whole.join("/"), folders, stem: stem.to_owned() })
}

pub fn read(root: &Path, path: &str) -> Result<String> {
    let full = root.join(path);
    let bytes =
        std::fs::read(&full).map_err(|e| Error::outside(format!("cannot read {}", full.display())).because(e))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        Error::input(format!("{path} is not valid UTF-8 (byte {})", e.utf8_error().valid_up_to()))
            .hint("save the file as UTF-8")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}
