//! The demo's folder: what it keeps beside the tables, so that a second run goes on from the first instead of over it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The telecom warehouse, for a binary that is run far from its sources.
/// Folder by folder, since its target folder is nobody's source.
static PROJECT: &[(&str, Dir<'_>)] = &[
    ("macros", include_dir!("$CARGO_MANIFEST_DIR/dbt_like_models/macros")),
    ("models", include_dir!("$CARGO_MANIFEST_DIR/dbt_like_models/models")),
    ("seeds", include_dir!("$CARGO_MANIFEST_DIR/dbt_like_models/seeds")),
    ("tests", include_dir!("$CARGO_MANIFEST_DIR/dbt_like_models/tests")),
];
const PROJECT_FILE: &str = include_str!("../../../dbt_like_models/dbt_project.yml");

pub struct Place {
    lake: PathBuf,
    own: PathBuf,
    state: State,
}

#[derive(Serialize, Deserialize)]
struct State {
    seed: u64,
    events: u64,
    complete: bool,
}

impl Place {
    pub fn open(lake: &Path, seed: u64, events: u64) -> Result<Place> {
        let own = lake.join("_medallion").join("demo");
        let file = own.join("state.json");
        let shown = lake.display();
        if let Ok(text) = fs::read(&file) {
            let state: State = serde_json::from_slice(&text)
                .map_err(|e| Error::input(format!("{} is not the demo's", file.display())).because(e))?;
            if (state.seed, state.events) != (seed, events) {
                return Err(Error::input(format!(
                    "{shown} holds a demo of {} events, seed {}",
                    state.events, state.seed
                ))
                .hint("give those again, or another --dir"));
            }
            if !state.complete {
                return Err(Error::input(format!("{shown} holds a demo that was stopped half-way")).hint(
                    "its broker, and what it had not read yet, went with it: give another --dir, or remove that folder",
                ));
            }
            return Ok(Place { lake: lake.to_owned(), own, state });
        }
        if lake.is_dir() && fs::read_dir(lake).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::input(format!("{shown} is not empty, and not a demo")).hint("give another --dir"));
        }
        let place = Place { lake: lake.to_owned(), own, state: State { seed, events, complete: false } };
        fs::create_dir_all(&place.own).map_err(|e| unwritable(&place.own, e))?;
        place.save(&place.state)?;
        Ok(place)
    }

    pub fn is_complete(&self) -> bool {
        self.state.complete
    }

    pub fn complete(&self) -> Result<()> {
        self.save(&State { complete: true, ..self.state })
    }

    fn save(&self, state: &State) -> Result<()> {
        let file = self.own.join("state.json");
        let text = serde_json::to_vec(state).map_err(|e| Error::bug("the demo's state").because(e))?;
        fs::write(&file, text).map_err(|e| unwritable(&file, e))
    }

    /// The key of the keyed hashes, beside the lake and never in it, readable by its owner only.
    pub fn key_file(&self) -> Result<PathBuf> {
        let mut name = self.lake.clone().into_os_string();
        name.push(".key");
        let file = PathBuf::from(name);
        let key: String = (0..64).map(|_| char::from_digit(rand::random_range(0..16), 16).unwrap_or('0')).collect();
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file) {
            Ok(mut new) => new.write_all(key.as_bytes()).map_err(|e| unwritable(&file, e))?,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(unwritable(&file, e)),
        }
        Ok(file)
    }

    /// The project on disk if it is there, else the one that the binary brings along.
    pub fn project(&self, configured: &Path) -> Result<PathBuf> {
        if configured.join("dbt_project.yml").is_file() {
            return Ok(configured.to_owned());
        }
        let folder = self.own.join("dbt_like_models");
        let extract = |(name, files): &(&str, Dir<'_>)| {
            let part = folder.join(name);
            fs::create_dir_all(&part).and_then(|()| files.extract(&part))
        };
        PROJECT
            .iter()
            .try_for_each(extract)
            .and_then(|()| fs::write(folder.join("dbt_project.yml"), PROJECT_FILE))
            .map_err(|e| unwritable(&folder, e))?;
        Ok(folder)
    }

    pub fn crm_file(&self, batch: u32) -> Result<PathBuf> {
        let folder = self.own.join("crm");
        fs::create_dir_all(&folder).map_err(|e| unwritable(&folder, e))?;
        Ok(folder.join(format!("customers-{batch}.csv")))
    }
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::outside(format!("cannot write {}", path.display())).because(error)
}
