//! Snapshots: blocks in files of SQL, or entries of a properties file that name what they are of.

use super::Loader;
use super::templates::Origin;
use crate::error::{Place, Result};
use crate::models::blocks::{self, Block};
use crate::models::files::{self, Found};
use crate::models::node::NodeKind;
use crate::models::problem::Problem;
use crate::models::properties::Described;

impl Loader {
    pub(super) fn read_snapshots(&mut self) -> Result<()> {
        for found in files::list(&self.root, &self.file.snapshot_paths, &["sql"])? {
            self.read_snapshot_blocks(&found)?;
        }
        let without_sql = std::mem::take(&mut self.properties.snapshots);
        for (name, described) in without_sql {
            match described.relation.clone() {
                Some(relation) => self.read_snapshot_of(&name, &relation, described)?,
                None => drop(self.properties.snapshots.insert(name, described)),
            }
        }
        Ok(())
    }

    fn read_snapshot_blocks(&mut self, found: &Found) -> Result<()> {
        let text = files::read(&self.root, &found.path)?;
        self.jinja.add_text(&found.path, &text);
        let wrong = |(offset, problem): (usize, Problem)| problem.at(Place::at_offset(&found.path, &text, offset));
        let blocks = blocks::find(&text).map_err(wrong)?;
        if blocks.is_empty() {
            let problem = Problem::new("this file holds no snapshot");
            return Err(wrong((
                0,
                problem.hint("begin one with {% snapshot NAME %} and end it with {% endsnapshot %}"),
            )));
        }
        for block in blocks {
            if block.word != "snapshot" {
                let problem = Problem::new(format!("a `{}` block cannot stand among snapshots", block.word));
                return Err(wrong((block.whole.start, problem)));
            }
            let named = Found { stem: block.name.clone(), ..found.clone() };
            let fqn = self.fqn(&found.folders, &[&found.stem, &block.name]);
            let described = self.properties.snapshots.remove(&block.name);
            if let Some(twice) = described.as_ref().filter(|d| d.relation.is_some()) {
                let problem = Problem::new(format!("the snapshot `{}` has SQL, so it takes no `relation`", block.name));
                return Err(problem.at(twice.place.clone()));
            }
            let (layer, written) = (self.file.snapshots.of(&fqn), self.file.snapshots.written_of(&fqn));
            let text = alone(&text, &block);
            let origin = Origin { kind: NodeKind::Snapshot, found: &named, fqn, text, described, written };
            self.read_template(origin, layer)?;
        }
        Ok(())
    }

    fn read_snapshot_of(&mut self, name: &str, relation: &str, described: Described) -> Result<()> {
        let place = described.place.clone();
        let found = Found { path: place.file.clone(), folders: described.folders.clone(), stem: name.to_owned() };
        let fqn = self.fqn(&found.folders, &[name]);
        let (layer, written) = (self.file.snapshots.of(&fqn), self.file.snapshots.written_of(&fqn));
        // What is wrong with it is told at its own line of the properties file.
        let padding = "\n".repeat(place.line.saturating_sub(1));
        let text = format!("{padding}select * from {{{{ {relation} }}}}");
        self.jinja.add_text(&place.file, &files::read(&self.root, &place.file)?);
        let origin = Origin { kind: NodeKind::Snapshot, found: &found, fqn, text, described: Some(described), written };
        self.read_template(origin, layer)
    }
}

/// The file's text with nothing but the body of the block in it, each line where it was.
fn alone(text: &str, block: &Block) -> String {
    let begin = text[block.opening.end..].find("%}").map_or(block.opening.end, |i| block.opening.end + i + 2);
    let end = text[..block.closing.start].rfind("{%").unwrap_or(block.closing.start).max(begin);
    let before = text[..begin].chars();
    let blank: String = before.map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    blank + &text[begin..end]
}
