//! The configuration in a template as its text has it, before Jinja makes values of it.
//!
//! A value that comes from the environment is another one elsewhere, though nobody changed the project. Whoever compares
//! two states of a project compares these texts.

use serde_json::Value;

use super::config::Layer;

/// The keyword arguments of every `config(...)` in a template, each with the text of its expression.
pub fn configuration(template: &str) -> Layer {
    let mut found = Layer::new();
    let mut rest = template;
    while let Some(at) = rest.find("config(") {
        let is_word = rest
            .get(..at)
            .and_then(|before| before.chars().last())
            .is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
        let inside = rest.get(at + "config(".len()..).unwrap_or("");
        let (arguments, after) = arguments(inside);
        if !is_word {
            found.extend(arguments.into_iter().filter_map(keyword));
        }
        rest = after;
    }
    found
}

/// The texts between the commas up to the closing bracket, and what follows it.
fn arguments(text: &str) -> (Vec<&str>, &str) {
    let (mut depth, mut quote, mut start) = (0_usize, None, 0);
    let mut found = Vec::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')') if depth == 0 => {
                found.extend(text.get(start..at));
                return (found, text.get(at + 1..).unwrap_or(""));
            }
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                found.extend(text.get(start..at));
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    (found, "")
}

fn keyword(argument: &str) -> Option<(String, Value)> {
    let (key, value) = argument.split_once('=')?;
    let key = key.trim();
    let is_name = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_name.then(|| (key.to_owned(), literal(value.trim())))
}

/// A quoted text means the same whichever quotes are around it.
fn literal(text: &str) -> Value {
    let quoted = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    match quoted.filter(|inner| !inner.contains(['\'', '"', '\\'])) {
        Some(inner) => inner.into(),
        None => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keywords_keep_the_text_of_their_expressions() {
        let template = "{{ config(schema=env_var('S', \"a,b\"), tags=['x', \"y\"],\n  alias = \"m\", enabled=true) }} select myconfig(a=1) -- config(late='1')";
        let expected = json!({"schema": "env_var('S', \"a,b\")", "tags": "['x', \"y\"]", "alias": "m", "enabled": true, "late": "1"});
        assert_eq!(Value::Object(configuration(template)), expected);
        assert_eq!(configuration("{{ config(schema='x'").len(), 0);
    }
}
