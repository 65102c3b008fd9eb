//! Where in a template something in its result comes from.
//!
//! A template is rendered as a whole, so this is told from the texts. A line that stands once in each is the same line;
//! so are equal lines beside such a pair. What is left between two pairs is taken in its order. Within a line, and when
//! a macro has made the lines of the result, a word is looked for where it is written.

use std::collections::BTreeMap;

/// The line and column in the template for those in the result; all count from 1. The column is none where what stands
/// there is written nowhere in the template, as it came out of a macro.
pub fn source_position(template: &str, result: &str, line: usize, column: usize) -> (usize, Option<usize>) {
    let at = source_line(template, result, line);
    let text = |texts: &str, line: usize| texts.lines().nth(line.saturating_sub(1)).unwrap_or("").to_owned();
    let (written, made) = (text(template, at), text(result, line));
    let indent = |text: &str| text.chars().take_while(|c| c.is_whitespace()).count();
    if written.trim() == made.trim() {
        return (at, Some((column + indent(&written)).saturating_sub(indent(&made)).max(1)));
    }
    let (before, behind): (String, String) =
        (made.chars().take(column.saturating_sub(1)).collect(), made.chars().skip(column.saturating_sub(1)).collect());
    let whole: String = behind.chars().take_while(|c| is_part(*c) || *c == '.').collect();
    // Of `orders.amount` the template may hold one half, and a macro the other.
    let mut words = vec![whole.as_str()];
    words.extend(whole.split('.').rev().filter(|part| *part != whole));
    for word in words.into_iter().filter(|word| !word.is_empty()) {
        let earlier = occurrences(&before, word).len();
        let here = occurrences(&written, word);
        if let Some(found) = here.get(earlier).or(here.last()) {
            return (at, Some(*found));
        }
        let lines = template.lines().enumerate().filter_map(|(i, l)| Some((i + 1, *occurrences(l, word).first()?)));
        if let Some((line, column)) = lines.min_by_key(|(line, _)| line.abs_diff(at)) {
            return (line, Some(column));
        }
    }
    (at, None)
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The columns at which a word stands by itself.
fn occurrences(line: &str, word: &str) -> Vec<usize> {
    let found = line.match_indices(word).filter(|(start, _)| {
        let before = line[..*start].chars().next_back();
        let behind = line[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    });
    found.map(|(start, _)| line[..start].chars().count() + 1).collect()
}

/// Both texts count lines from 1.
fn source_line(template: &str, result: &str, line: usize) -> usize {
    let from: Vec<&str> = template.lines().map(str::trim).collect();
    let to: Vec<&str> = result.lines().map(str::trim).collect();
    let wanted = line.saturating_sub(1);
    let (mut low, mut high) = ((0, 0), (from.len(), to.len()));
    for (source, target) in anchors(&from, &to) {
        if target <= wanted {
            low = (source, target);
        } else {
            high = (source, target);
            break;
        }
    }
    let same = |a: usize, b: usize| a < high.0 && b < high.1 && from.get(a) == to.get(b);
    while same(low.0, low.1) {
        if low.1 == wanted {
            return low.0 + 1;
        }
        low = (low.0 + 1, low.1 + 1);
    }
    while high.0 > low.0 && high.1 > low.1 && from.get(high.0 - 1) == to.get(high.1 - 1) {
        high = (high.0 - 1, high.1 - 1);
        if high.1 == wanted {
            return high.0 + 1;
        }
    }
    if low.0 == high.0 {
        return low.0.max(1);
    }
    (low.0 + wanted.saturating_sub(low.1)).min(high.0 - 1) + 1
}

/// The longest run of pairs, rising in both texts, of lines that stand once in each.
fn anchors(from: &[&str], to: &[&str]) -> Vec<(usize, usize)> {
    let sources = once(from);
    let mut pairs: Vec<(usize, usize)> =
        once(to).into_iter().filter_map(|(text, target)| Some((*sources.get(text)?, target))).collect();
    pairs.sort_by_key(|(_, target)| *target);
    // ends[n] is the pair with the least source that ends a run of n + 1 pairs; before[i] leads back along the run.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (i, (source, _)) in pairs.iter().enumerate() {
        let n = ends.partition_point(|end| pairs.get(*end).is_some_and(|(s, _)| s < source));
        before.push(n.checked_sub(1).and_then(|last| ends.get(last).copied()));
        match ends.get_mut(n) {
            Some(end) => *end = i,
            None => ends.push(i),
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut at = ends.last().copied();
    while let Some(i) = at {
        run.extend(pairs.get(i));
        at = before.get(i).copied().flatten();
    }
    run.reverse();
    run
}

/// The lines that say something and stand in a text once, with their numbers.
fn once<'a>(lines: &[&'a str]) -> BTreeMap<&'a str, usize> {
    let mut seen: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        seen.entry(line).and_modify(|(_, times)| *times += 1).or_insert((i, 1));
    }
    seen.into_iter().filter(|(_, (_, times))| *times == 1).map(|(line, (i, _))| (line, i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "{{ config(x=1) }}\nselect\n    a,\n    {{ columns() }}\nfrom {{ ref('t') }}\nwhere a > 1\n";
    const RESULT: &str = "\nselect\n    a,\n    b,\n    c,\n    d\nfrom \"s\".\"t\"\nwhere a > 1";

    #[test]
    fn equal_lines_map_to_each_other() {
        assert_eq!(source_line(TEMPLATE, RESULT, 2), 2);
        assert_eq!(source_line(TEMPLATE, RESULT, 8), 6);
    }

    #[test]
    fn lines_that_a_macro_made_map_into_the_gap_that_it_stands_in() {
        assert_eq!(source_line(TEMPLATE, RESULT, 4), 4);
        assert_eq!(source_line(TEMPLATE, RESULT, 5), 5);
        assert_eq!(source_line(TEMPLATE, RESULT, 7), 5);
    }

    #[test]
    fn a_line_that_stands_often_is_told_by_its_neighbours() {
        let template = "a\n)\n{{ x }}\nb\n)\nc\n)";
        let result = "a\n)\n)\n)\nb\n)\nc\n)";
        assert_eq!([2, 6, 8].map(|line| source_line(template, result, line)), [2, 5, 7]);
        assert_eq!(source_line("{{ x }}\n)\nb", ")\n)\n)\nb", 1), 1);
    }

    /// What stands in the template at the position for that of a word in the result.
    fn told<'t>(template: &'t str, result: &str, word: &str) -> (usize, Option<&'t str>) {
        let line = result.lines().position(|l| l.contains(word)).unwrap();
        let column = result.lines().nth(line).unwrap().find(word).unwrap();
        let (line, column) = source_position(template, result, line + 1, column + 1);
        (line, column.map(|c| &template.lines().nth(line - 1).unwrap()[c - 1..]))
    }

    #[test]
    fn a_word_is_found_where_it_is_written_beside_and_inside_of_jinja() {
        let template = "select a, {{ cents('x') }} as y, typo\n\tfrom {{ ref('t') }}";
        let result = "select a, \n  cast(x * 100 as int)\n as y, typo\nfrom s.t";
        assert_eq!(told(template, result, "typo"), (1, Some("typo")));
        assert_eq!(told(template, result, "x *"), (1, Some("x') }} as y, typo")));
        assert_eq!(told(template, result, "100").1, None, "the macro wrote it");
    }

    #[test]
    fn the_second_of_equal_words_is_told_from_the_first() {
        let template = "select {{ 1 }}, a.id, b.id";
        assert_eq!(told(template, "select 1, a.id, b.id", "b.id"), (1, Some("b.id")));
        assert_eq!(source_position("{{ x }} id, id", "y, z id, id", 1, 10), (1, Some(13)));
    }

    #[test]
    fn indentation_that_differs_moves_the_column() {
        assert_eq!(source_position("    a, typo\n", "\na, typo", 2, 4), (1, Some(8)));
    }

    #[test]
    fn a_line_beyond_the_end_maps_to_the_last_one() {
        assert_eq!(source_line(TEMPLATE, RESULT, 99), 6);
        assert_eq!(source_line("", "x", 1), 1);
    }
}
