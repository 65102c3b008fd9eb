//! The conversation: history, editing over several lines, completion, a few backslash commands.

use std::path::PathBuf;

use rustyline::config::{CompletionType, Configurer};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor};

use super::complete::{Assistant, Names};
use super::{Answer, Shell};
use crate::engine::catalog::by_schema;
use crate::error::{Error, Result};
use crate::lake::OWN_SCHEMA;

const HELP: &str = "\
  SQL ends with a semicolon and may span lines.
  \\dt          tables            \\d TABLE     columns of a table
  \\timing      times on or off   \\? or \\h     this help
  \\q           leave             tab          completes names
  time travel:  select * from gold.fact_calls version as of 3;
                select * from gold.fact_calls timestamp as of '2026-01-31 12:00:00';";

pub async fn run(shell: Shell) -> Result<()> {
    let config = Config::builder().completion_type(CompletionType::List).auto_add_history(false).build();
    let mut editor: Editor<Assistant, DefaultHistory> =
        Editor::with_config(config).map_err(|e| Error::outside("the terminal cannot be used").because(e))?;
    editor.set_max_history_size(10_000).map_err(|e| Error::bug("history").because(e))?;
    let history = history_file();
    if let Some(file) = &history {
        // There is none on the first day.
        let _ = editor.load_history(file);
    }
    let mut timing = true;
    eprintln!("medallion {} on {} (\\? for help)", env!("CARGO_PKG_VERSION"), shell.engine.lake.address());
    loop {
        editor.set_helper(Some(Assistant { names: names(&shell).await? }));
        // Reading a line blocks; nothing else has to go on meanwhile.
        let line = tokio::task::block_in_place(|| editor.readline("medallion> "));
        let text = match line {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(e) => return Err(Error::outside("the terminal cannot be read").because(e)),
        };
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let _ = editor.add_history_entry(text);
        let done = match text.strip_prefix('\\') {
            Some("q") => break,
            Some(command) => backslash(&shell, command, &mut timing).await,
            None => answer(&shell, text, timing).await,
        };
        if let Err(e) = done {
            eprintln!("error: {e}");
        }
    }
    if let Some(file) = &history
        && let Err(e) = save(&mut editor, file)
    {
        tracing::debug!(error = %e, "the history was not kept");
    }
    Ok(())
}

async fn answer(shell: &Shell, text: &str, timing: bool) -> Result<()> {
    let answers = tokio::select! {
        answers = shell.run("input", text) => answers?,
        _ = tokio::signal::ctrl_c() => return Err(Error::input("cancelled")),
    };
    for Answer { rows, elapsed } in answers {
        match timing {
            true => eprintln!("{rows} rows in {:.3} s", elapsed.as_secs_f64()),
            false => eprintln!("{rows} rows"),
        }
    }
    Ok(())
}

async fn backslash(shell: &Shell, command: &str, timing: &mut bool) -> Result<()> {
    let mut words = command.split_whitespace();
    match (words.next().unwrap_or(""), words.next()) {
        ("?" | "h", None) => eprintln!("{HELP}"),
        ("timing", None) => {
            *timing = !*timing;
            eprintln!("timing is {}", if *timing { "on" } else { "off" });
        }
        ("dt" | "d", None) => {
            let catalog = shell.catalog().await?;
            for (schema, tables) in by_schema(catalog.names().filter(|t| t.schema != OWN_SCHEMA)) {
                tables.iter().for_each(|table| println!("{schema}.{table}"));
            }
        }
        ("d", Some(table)) => {
            shell.run("input", &format!("describe {}", table.trim_end_matches(';'))).await?;
        }
        (other, _) => {
            return Err(Error::input(format!("there is no command \\{other}")).hint("\\? lists the commands"));
        }
    }
    Ok(())
}

/// Names for completion. Columns are those of released tables and of Bronze.
async fn names(shell: &Shell) -> Result<Names> {
    let catalog = shell.catalog().await?;
    let mut names = Names::default();
    for table in catalog.names().filter(|t| t.schema != OWN_SCHEMA) {
        names.tables.entry(table.schema.clone()).or_default().insert(table.name.clone());
        if let Some(snapshot) = catalog.snapshot(table).await? {
            names.columns.extend(snapshot.schema.fields().iter().map(|f| f.name().clone()));
        }
    }
    Ok(names)
}

/// In the user's state folder, as other shells do.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let state = state.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))?;
    Some(state.join("medallion").join("history"))
}

fn save(editor: &mut Editor<Assistant, DefaultHistory>, file: &std::path::Path) -> rustyline::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    editor.save_history(file)
}
