//! `medallion init`, `clean`, `deps` and `debug`: the folder of a project, and whether all is there that it needs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::ProjectArguments;
use crate::cli::World;
use crate::error::{Error, Result};
use crate::models;

#[derive(Args)]
pub struct InitArguments {
    /// The name of the project, and of its folder
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Args)]
pub struct FolderArguments {
    #[command(flatten)]
    at: ProjectArguments,
}

/// A project that builds as it is: a seed, a model and its tests.
const SKELETON: &[(&str, &str)] = &[
    ("dbt_project.yml", "name: NAME\nversion: '1.0'\nprofile: NAME\n\nmodels:\n  NAME:\n    +materialized: table\n"),
    ("seeds/payments.csv", "payment_id,customer,amount\n1,ada,12.50\n2,grace,7.00\n3,ada,3.25\n"),
    (
        "models/customers.sql",
        "-- One row a customer.\nselect\n    customer,\n    count(*) as payments,\n    sum(amount) as amount\n\
         from {{ ref('payments') }}\ngroup by customer\n",
    ),
    (
        "models/customers.yml",
        "models:\n  - name: customers\n    description: What each customer has paid.\n    columns:\n      - name: customer\n        \
         data_tests:\n          - unique\n          - not_null\n",
    ),
];

pub fn init(arguments: &InitArguments) -> Result<()> {
    let name = &arguments.name;
    let folder = Path::new(name);
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty();
    if !is_name {
        return Err(Error::input(format!("`{name}` cannot be the name of a project"))
            .hint("use letters, digits and underscores, a letter or an underscore first"));
    }
    if folder.exists() {
        return Err(Error::input(format!("{name} is there already")).hint("choose another name, or remove it"));
    }
    for (file, text) in SKELETON {
        let path = folder.join(file);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text.replace("NAME", name)))
            .map_err(|e| Error::outside(format!("cannot write {}", path.display())).because(e))?;
    }
    println!("{name} is made; medallion build --project-dir {name}");
    Ok(())
}

/// Deletes what runs have left in the folder, and nothing outside of it.
pub fn clean(world: &World, arguments: &FolderArguments) -> Result<()> {
    let folder = arguments.at.folder(world);
    let root = models::find_root(&folder)?;
    for target in models::clean_targets(&folder)? {
        let path = inside(&root, &target)?;
        match std::fs::remove_dir_all(&path) {
            Ok(()) => println!("deleted {}", path.display()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::outside(format!("cannot delete {}", path.display())).because(e)),
        }
    }
    Ok(())
}

fn inside(root: &Path, target: &str) -> Result<PathBuf> {
    let path = root.join(target);
    let refused = || {
        Error::input(format!("clean-targets: `{target}` is not a folder inside of the project"))
            .hint("medallion deletes nothing else")
    };
    if Path::new(target).components().any(|part| !matches!(part, std::path::Component::Normal(_))) || target.is_empty()
    {
        return Err(refused());
    }
    // A link may lead out of it.
    match path.canonicalize() {
        Ok(real) if !root.canonicalize().is_ok_and(|root| real.starts_with(&root) && real != root) => Err(refused()),
        _ => Ok(path),
    }
}

/// Links the packages that the project declares with a path into the folder where all of them are read from.
pub fn deps(world: &World, arguments: &FolderArguments) -> Result<()> {
    let linked = models::install_packages(&arguments.at.folder(world))?;
    let project = arguments.at.load(world, false)?;
    match linked.is_empty() {
        true => println!("{} has no packages to install", project.name),
        false => println!("{}: linked {}", project.name, linked.join(", ")),
    }
    Ok(())
}

/// Says what is read from where, and whether the lake answers.
pub async fn debug(world: &World, arguments: &FolderArguments) -> Result<()> {
    println!("medallion {}", env!("CARGO_PKG_VERSION"));
    let project = arguments.at.load(world, false)?;
    println!("project   {} in {}", project.name, project.root.display());
    println!("target    {} (schema {})", project.target.name, project.target.schema);
    println!("artifacts {}", project.target_path.display());
    let lake = world.lake()?;
    lake.ensure_reachable().await?;
    println!("lake      {} answers", world.config.lake.url);
    println!("all is well");
    Ok(())
}
