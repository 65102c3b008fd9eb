//! From a folder to a [`Project`]: read, parse, link, check.
//!
//! Every template is rendered once with no name known, which gives its refs, sources and configuration. Linking then
//! finds what the names mean; a template with a name that means nothing is rendered again, to say where it stands.

mod exposures;
mod generic_tests;
mod link;
mod snapshots;
mod templates;
mod unit_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use self::generic_tests::at_entry;
use super::checks;
use super::config;
use super::exposure::Exposure;
use super::files;
use super::graph::{Dependency, Index};
use super::jinja::Jinja;
use super::macros::{self, Macros};
use super::node::{Node, NodeKind, Source};
use super::packages;
use super::problem::Problem;
use super::profile::{self, Target};
use super::project::{self, ProjectFile};
use super::properties::{self, DocBlock, Properties, SourceTable, TestEntry};
use super::relation::Relation;
use super::scope::{Scope, Shared};
use super::select::definition::{self, Selector};
use super::yaml::Document;
use super::{Options, Project};
use crate::error::{Error, Place, Result};

/// Reads, renders and links the project that `root` lies in.
pub fn load(root: &Path, options: &Options) -> Result<Project> {
    let mut loader = Loader::open(root, options)?;
    loader.read_selectors()?;
    loader.read_packages()?;
    loader.read_project()?;
    loader.warn_of_leftovers();
    loader.link()
}

/// A node whose names are not linked yet.
struct Draft {
    node: Node,
    names: Vec<Dependency>,
}

struct Loader {
    root: PathBuf,
    /// The file of the project that is being read: the project itself, or a package.
    file: ProjectFile,
    /// Its name.
    package: String,
    packages: Vec<(String, ProjectFile)>,
    jinja: Jinja,
    macros: Macros,
    shared: Arc<Shared>,
    properties: Properties,
    drafts: Vec<Draft>,
    units: Vec<unit_tests::UnitDraft>,
    sources: BTreeMap<String, Source>,
    exposures: Vec<Exposure>,
    disabled: Vec<Node>,
    docs: Vec<DocBlock>,
    selectors: BTreeMap<String, Selector>,
    index: Index,
    /// The generic tests that properties ask for.
    tests: Vec<(TestEntry, Tested)>,
    fqns: BTreeMap<&'static str, Vec<Vec<String>>>,
    /// Which file has a name or a table.
    names: BTreeMap<(bool, String), String>,
    tables: BTreeMap<Relation, String>,
    warnings: Vec<String>,
}

/// What a generic test stands at.
#[derive(Clone)]
struct Tested {
    unique_id: String,
    /// As test names have it.
    name: String,
    dependency: Dependency,
}

impl Loader {
    fn open(start: &Path, options: &Options) -> Result<Self> {
        let root = project::find_root(start)?;
        let mut document = project::read_document(&root, "")?;
        let mut jinja = Jinja::new();
        let mut warnings = Vec::new();
        let name = project::name(&document.top())?;
        let mut shared = Shared {
            project: name.clone(),
            vars: options.vars.clone(),
            target: Target::standard(""),
            docs: BTreeMap::new(),
            run_started_at: options.run_started_at,
            full_refresh: options.full_refresh,
            namespaces: Arc::default(),
            dispatch: BTreeMap::new(),
            package_vars: BTreeMap::new(),
        };
        // The file's own variables are not known to it, as in dbt; its profile is, so that is read first.
        let early = Scope::text(&Arc::new(shared.clone()));
        let render = |text: &str| checks::rendered_json(&jinja, &early, text);
        let profile = match (&options.profile, document.top().get("profile")) {
            (Some(given), _) => given.clone(),
            (None, Some(at)) => match render(at.text()?).map_err(|problem| at.problem(problem))? {
                serde_json::Value::String(profile) => profile,
                other => other.to_string(),
            },
            (None, None) => name.clone(),
        };
        let places = (root.as_path(), options.profiles_dir.as_deref());
        shared.target = profile::read(places, &profile, options.target.as_deref(), &mut warnings, render)?;
        let scope = Scope::text(&Arc::new(shared.clone()));
        document.render(project::rendered_later, |text| checks::rendered_json(&jinja, &scope, text))?;
        let mut documents = Vec::new();
        for folder in packages::installed(&root)? {
            let mut document = project::read_document(&root, &folder)?;
            document.render(project::rendered_later, |text| checks::rendered_json(&jinja, &scope, text))?;
            let package = project::name(&document.top())?;
            if package == name || documents.iter().any(|(_, other, _)| *other == package) {
                return Err(document.top().error(format!("there are two projects called `{package}`")));
            }
            documents.push((folder, package, document));
        }
        let mut names = vec![name.clone()];
        names.extend(documents.iter().map(|(_, package, _)| package.clone()));
        let mut file = ProjectFile::read(&document, "", &names)?;
        if let Some(given) = &options.target_path {
            file.target_path = absolute(given)?;
        }
        warnings.extend(file.warnings.iter().cloned());
        shared.vars = project::vars(&document.top(), &name)?;
        shared.dispatch = project::dispatch(&document.top())?;
        let (mut members, mut blocks) = (Vec::new(), Vec::new());
        for (folder, package, found) in &documents {
            let mut member = ProjectFile::read(found, folder, std::slice::from_ref(package))?;
            member.overlay(&file);
            let mut vars = project::vars(&found.top(), package)?;
            vars.extend(project::vars(&document.top(), package)?);
            vars.extend(options.vars.clone());
            shared.package_vars.insert(package.clone(), vars);
            blocks.extend(docs(&root, &member)?);
            members.push((package.clone(), member));
        }
        shared.vars.extend(options.vars.clone());
        blocks.extend(docs(&root, &file)?);
        shared.docs = blocks.iter().map(|block| (block.name.clone(), block.text.clone())).collect();
        let mut sources = vec![macros_of(&root, &name, &file)?];
        for (package, member) in &members {
            sources.push(macros_of(&root, package, member)?);
        }
        let macros = Macros::load(&mut jinja, &root, &sources, &shared.namespaces)?;
        if macros.has("generate_database_name") {
            warnings
                .push("the macro `generate_database_name` has no effect: a table has a schema and a name".to_owned());
        }
        Ok(Loader {
            root,
            file,
            package: name,
            packages: members,
            jinja,
            macros,
            shared: Arc::new(shared),
            properties: Properties::default(),
            drafts: Vec::new(),
            units: Vec::new(),
            sources: BTreeMap::new(),
            exposures: Vec::new(),
            disabled: Vec::new(),
            docs: blocks,
            selectors: BTreeMap::new(),
            index: Index::default(),
            tests: Vec::new(),
            fqns: BTreeMap::new(),
            names: BTreeMap::new(),
            tables: BTreeMap::new(),
            warnings,
        })
    }

    /// Reads each package in the place of the project. What it describes and has not is its own affair.
    fn read_packages(&mut self) -> Result<()> {
        for (name, mut file) in std::mem::take(&mut self.packages) {
            std::mem::swap(&mut self.file, &mut file);
            let project = std::mem::replace(&mut self.package, name);
            self.read_project()?;
            self.properties = Properties::default();
            self.file = file;
            self.package = project;
        }
        Ok(())
    }

    fn read_project(&mut self) -> Result<()> {
        self.refuse_unsupported_files()?;
        self.read_properties()?;
        self.read_sources();
        self.read_models()?;
        self.read_seeds()?;
        self.read_snapshots()?;
        self.read_singular_tests()?;
        self.read_generic_tests()?;
        self.read_unit_tests()?;
        self.read_exposures()
    }

    fn refuse_unsupported_files(&self) -> Result<()> {
        let unsupported =
            [(&self.file.analysis_paths, "sql", "an analysis"), (&self.file.model_paths, "py", "a model in Python")];
        for (paths, extension, what) in unsupported {
            if let Some(found) = files::list(&self.root, paths, &[extension])?.first() {
                let text = files::read(&self.root, &found.path)?;
                return Err(Problem::unsupported(what).at(Place::in_text(&found.path, &text, 1, 1)));
            }
        }
        Ok(())
    }

    fn read_properties(&mut self) -> Result<()> {
        let file = &self.file;
        let folders = [&file.model_paths, &file.seed_paths, &file.snapshot_paths, &file.macro_paths, &file.test_paths];
        let mut seen = BTreeSet::new();
        let scope = Scope::text_of(&self.shared, &self.package);
        for folder in folders {
            for found in files::list(&self.root, folder, &["yml", "yaml"])? {
                if !seen.insert(found.path.clone()) {
                    continue;
                }
                let mut document = Document::parse(&found.path, files::read(&self.root, &found.path)?)?;
                document.render(properties::rendered_later, |t| checks::rendered_json(&self.jinja, &scope, t))?;
                self.properties.read(&document, &found)?;
            }
        }
        Ok(())
    }

    fn read_selectors(&mut self) -> Result<()> {
        let name = definition::FILE;
        if self.root.join(name).is_file() {
            let scope = Scope::text(&self.shared);
            let mut document = Document::parse(name, files::read(&self.root, name)?)?;
            document.render(|_, _| false, |text| checks::rendered_json(&self.jinja, &scope, text))?;
            self.selectors = definition::read(&document)?;
        }
        Ok(())
    }

    fn fqn(&self, folders: &[String], names: &[&str]) -> Vec<String> {
        let project = std::iter::once(self.package.clone());
        project.chain(folders.iter().cloned()).chain(names.iter().map(|n| n.to_string())).collect()
    }

    fn read_sources(&mut self) {
        for table in std::mem::take(&mut self.properties.sources) {
            let SourceTable { source, name, described, .. } = table;
            let fqn = self.fqn(&table.folders, &[&source, &name]);
            let mut layer = self.file.sources.of(&fqn);
            config::merge(&mut layer, described.layer);
            self.fqns.entry("source").or_default().push(fqn.clone());
            if !config::is_enabled(&layer) {
                self.index.disable(format!("{source}.{name}"));
                continue;
            }
            let unique_id = format!("source.{}.{source}.{name}", self.package);
            let tested = Tested {
                unique_id: unique_id.clone(),
                name: format!("{source}_{name}"),
                dependency: Dependency::Source(source.clone(), name.clone()),
            };
            self.tests.extend(described.tests.into_iter().map(|test| (test, tested.clone())));
            let relation = Relation { schema: table.schema.clone(), name: table.identifier.clone() };
            self.index.add_source(&source, &name, &unique_id, relation);
            let source = Source {
                unique_id: unique_id.clone(),
                source_name: source,
                source_description: table.source_description,
                name,
                schema: table.schema,
                identifier: table.identifier,
                fqn,
                path: described.place.file,
                line: described.place.line,
                description: described.description,
                columns: described.columns,
                tags: layer.get("tags").map(config::texts).unwrap_or_default(),
                meta: layer.get("meta").and_then(|m| m.as_object()).cloned().unwrap_or_default(),
                freshness: table.freshness,
                loaded_at_field: table.loaded_at_field,
                loaded_at_query: table.loaded_at_query,
            };
            self.sources.insert(unique_id, source);
        }
    }

    fn unique_id(&self, kind: NodeKind, name: &str) -> String {
        format!("{}.{}.{name}", kind.as_str(), self.package)
    }
}

/// A folder that the command line names is of the working directory, and not of the project.
fn absolute(folder: &Path) -> Result<PathBuf> {
    std::path::absolute(folder)
        .map_err(|e| Error::input(format!("{} is no folder for artifacts", folder.display())).because(e))
}

/// Where a file configures itself, else its beginning.
fn config_place(path: &str, text: &str) -> Place {
    let beginning = text.len() - text.trim_start().len();
    Place::at_offset(path, text, text.find("config(").unwrap_or(beginning))
}

fn macros_of(root: &Path, name: &str, file: &ProjectFile) -> Result<macros::Package> {
    let generic: Vec<String> = file.test_paths.iter().map(|path| format!("{path}/generic")).collect();
    let mut found = files::list(root, &file.macro_paths, &["sql"])?;
    found.extend(files::list(root, &generic, &["sql"])?);
    Ok(macros::Package { name: name.to_owned(), files: found })
}

fn docs(root: &Path, file: &ProjectFile) -> Result<Vec<DocBlock>> {
    let mut docs = BTreeMap::new();
    for folders in [&file.model_paths, &file.seed_paths, &file.snapshot_paths, &file.macro_paths, &file.docs_paths] {
        for found in files::list(root, folders, &["md"])? {
            let text = files::read(root, &found.path)?;
            let blocks = properties::docs(&text)
                .into_iter()
                .map(|(name, text)| (name.clone(), DocBlock { name, path: found.path.clone(), text }));
            docs.extend(blocks);
        }
    }
    Ok(docs.into_values().collect())
}
