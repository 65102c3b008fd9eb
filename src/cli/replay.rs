//! `medallion replay`

use clap::Args;

use super::{World, grouped, stop_signal};
use crate::care::replay::{self, Options, Report};
use crate::contracts::Class;
use crate::error::{Error, Result, nearest};
use crate::registry::Client;

#[derive(Args)]
pub struct Arguments {
    /// Bronze tables or topics [default: all that have a contract]
    #[arg(value_name = "TABLE|TOPIC")]
    names: Vec<String>,
    /// Only rows that were rejected for this, such as wrong_type
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only say what would become of them
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(world: &World, arguments: Arguments) -> Result<()> {
    let class = arguments.class.as_deref().map(class).transpose()?;
    let options = Options { class, dry_run: arguments.dry_run };
    let (lake, contracts) = (world.lake()?, world.contracts()?);
    let targets = replay::chosen(&lake, &contracts, &arguments.names).await?;
    if targets.is_empty() {
        return Err(Error::input(format!("the lake {} holds no table of a contract", lake.address()))
            .hint("is lake.url, or --lake, the lake that you mean?"));
    }
    let registry = Client::new(&world.config.registry)?;
    let stop = stop_signal("leaving; what is under way is dropped and can be done again")?;
    for target in &targets {
        if *stop.borrow() {
            break;
        }
        let report = replay::run(&lake, target, registry.as_ref(), options, &stop).await?;
        println!("{}: {}", target.table.name, told(&report, options));
    }
    Ok(())
}

fn class(name: &str) -> Result<Class> {
    Class::named(name).ok_or_else(|| {
        let error = Error::input(format!("--class: there is no class `{name}`"));
        let known = Class::ALL.map(Class::name);
        match nearest(name, known) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("the classes are {}", known.join(", "))),
        }
    })
}

fn told(report: &Report, options: Options) -> String {
    if report.stopped {
        return "stopped; nothing was moved".to_owned();
    }
    let of_class = options.class.map_or_else(String::new, |class| format!(" ({class})"));
    let count = grouped;
    let mut parts = vec![match (report.rejected, report.decoded) {
        (0, _) => return format!("no rejected rows{of_class}"),
        (rejected, 0) => format!("none of {} rejected rows{of_class} can be read now", count(rejected)),
        (rejected, decoded) => {
            let became = if options.dry_run { "would become" } else { "became" };
            format!("{} of {} rejected rows{of_class} {became} rows", count(decoded), count(rejected))
        }
    }];
    if !report.still.is_empty() {
        let classes: Vec<String> =
            report.still.iter().map(|(class, rows)| format!("{} {class}", count(*rows))).collect();
        parts.push(format!("still wrong: {}", classes.join(", ")));
    }
    if report.headless > 0 {
        let rows = count(report.headless);
        parts.push(format!("{rows} are lines of CSV without their header: load the mended file instead"));
    }
    if report.alone > 0 {
        let rows = count(report.alone);
        parts.push(format!("{rows} need headers, or keys with unusual bytes, which the table does not keep"));
    }
    parts.join("; ")
}
