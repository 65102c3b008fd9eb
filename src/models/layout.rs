//! Where the keys and items of a YAML file stand. The parser does not say, so this reads it off the indentation: exactly
//! in block style; what is written in flow style is placed at the block around it.

use crate::error::Place;

/// The lines of a file.
#[derive(Debug)]
pub struct Layout {
    file: String,
    lines: Vec<String>,
}

/// Line and byte of a line, both from 0.
type Position = (usize, usize);

/// Where a key or an item stands.
#[derive(Debug, Clone, Copy)]
pub struct Spot {
    shown: Position,
    /// Where the value begins, if that is known.
    content: Option<Position>,
}

impl Spot {
    /// Somewhere in this value, nobody knows where.
    pub fn somewhere_within(self) -> Spot {
        Spot { content: None, ..self }
    }
}

impl Layout {
    pub fn new(file: &str, text: &str) -> Self {
        Layout { file: file.to_owned(), lines: text.lines().map(str::to_owned).collect() }
    }

    pub fn root(&self) -> Spot {
        let content = self.first_content(0);
        Spot { shown: content.unwrap_or_default(), content }
    }

    /// The spot of a key of the map at a spot.
    pub fn key(&self, map: Spot, key: &str) -> Spot {
        let found = map.content.and_then(|(line, column)| {
            self.block(line, column).find_map(|(i, text)| Some((i, column, column + after_key(text, key)?)))
        });
        match found {
            Some((line, column, end)) => Spot { shown: (line, column), content: self.content_after(line, end) },
            None => map.somewhere_within(),
        }
    }

    /// The spots of the items of the list at a spot; none where it is written in flow style.
    pub fn items(&self, list: Spot) -> Vec<Spot> {
        let Some((line, column)) = list.content else { return Vec::new() };
        let dashes = self.block(line, column).filter(|(_, text)| *text == "-" || text.starts_with("- "));
        let contents = dashes.map(|(i, _)| self.content_after(i, column + 1).unwrap_or((i, column)));
        contents.map(|content| Spot { shown: content, content: Some(content) }).collect()
    }

    pub fn place(&self, spot: Spot) -> Place {
        let (line, byte) = spot.shown;
        let text = self.lines.get(line).cloned();
        let before = text.as_deref().and_then(|text| text.get(..byte)).unwrap_or("");
        Place { file: self.file.clone(), line: line + 1, column: before.chars().count() + 1, text }
    }

    fn first_content(&self, from: usize) -> Option<Position> {
        self.lines.iter().enumerate().skip(from).find(|(_, l)| !is_blank(l)).map(|(i, l)| (i, indent(l)))
    }

    fn content_after(&self, line: usize, column: usize) -> Option<Position> {
        let rest = self.lines.get(line)?.get(column..)?;
        if is_blank(rest) { self.first_content(line + 1) } else { Some((line, column + indent(rest))) }
    }

    /// The lines of the block that starts at a position, each from its column on; deeper ones begin with blanks then.
    fn block(&self, line: usize, column: usize) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines.iter().enumerate().skip(line).filter(|(_, l)| !is_blank(l));
        lines
            .take_while(move |(i, l)| *i == line || indent(l) >= column)
            .filter_map(move |(i, l)| Some((i, l.get(column..)?)))
    }
}

/// The length of the key and its colon, if the text begins with them.
fn after_key(text: &str, key: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c));
    let bare = text.trim_start_matches(['"', '\'']);
    let rest = bare.strip_prefix(key)?;
    let rest = quote.map_or(Some(rest), |q| rest.strip_prefix(q))?.strip_prefix(':')?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(text.len() - rest.len())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_blank(line: &str) -> bool {
    let content = line.trim_start();
    content.is_empty() || content.starts_with('#') || content.starts_with("---")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
# a comment
version: 2

models:
  - name: a
    columns:
      - name: x
        tests:
          - unique
          - accepted_values:
              values: [1, 2]
  - name: b
    description: >
      columns: none
    columns:
    - name: y
      \"data_type\": text
";

    /// The line and column of the value that keys and numbers of items lead to.
    fn position(text: &str, way: &str) -> (usize, usize) {
        let layout = Layout::new("f.yml", text);
        let spot = way.split('.').fold(layout.root(), |spot, step| match step.parse::<usize>() {
            Ok(n) => layout.items(spot).get(n).copied().unwrap_or(spot.somewhere_within()),
            Err(_) => layout.key(spot, step),
        });
        let place = layout.place(spot);
        (place.line, place.column)
    }

    #[test]
    fn a_value_knows_its_line_and_column_in_block_style() {
        assert_eq!(position(SAMPLE, "version"), (2, 1));
        assert_eq!(position(SAMPLE, "models.0.name"), (5, 5));
        assert_eq!(position(SAMPLE, "models.0.columns.0.tests.0"), (9, 13));
        assert_eq!(position(SAMPLE, "models.0.columns.0.tests.1.accepted_values.values"), (11, 15));
        assert_eq!(position(SAMPLE, "models.1.columns.0.data_type"), (17, 7));
    }

    #[test]
    fn a_value_in_flow_style_is_placed_at_the_block_around_it() {
        assert_eq!(position("a:\n  b: {c: 1, d: [2]}\n", "a.b.d.0"), (2, 3));
        let text = "models:\n  - {name: a, tags: [t]}\n  - name: b\n    tags: [u]\n";
        assert_eq!(position(text, "models.0.tags"), (2, 5));
    }
}
