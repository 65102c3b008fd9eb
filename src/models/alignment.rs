//! Which line of a template a line of its result comes from.
//!
//! A template is rendered as a whole, so this is told from the texts. A line that stands once in each is the same line;
//! so are equal lines beside such a pair. What is left between two pairs is taken in its order.

use std::collections::BTreeMap;

/// Both texts count lines from 1.
pub fn source_line(template: &str, result: &str, line: usize) -> usize {
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

    #[test]
    fn a_line_beyond_the_end_maps_to_the_last_one() {
        assert_eq!(source_line(TEMPLATE, RESULT, 99), 6);
        assert_eq!(source_line("", "x", 1), 1);
    }
}
