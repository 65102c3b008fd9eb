//! `require-dbt-version`: which releases of dbt a project is written for.

use regex::Regex;

use super::functions::DBT_VERSION;
use super::problem::Problem;
use super::yaml::At;
use crate::error::Result;

type Release = (u64, u64, u64);

/// Refuses a project that is not for the release of dbt whose behaviour is followed here.
pub fn check(at: &At<'_>) -> Result<()> {
    let written = match at.value.as_str() {
        Some(one) => vec![one.to_owned()],
        None => at.texts()?,
    };
    let Some(ours) = release(DBT_VERSION) else { return Ok(()) };
    for part in written.iter().flat_map(|text| text.split(',')).map(str::trim) {
        match is_met(part, ours) {
            Some(true) => {}
            Some(false) => {
                let problem =
                    Problem::new(format!("the project is for dbt {part}, and this follows dbt {DBT_VERSION}"));
                return Err(at.problem(problem.hint("widen require-dbt-version once the project builds")));
            }
            None => {
                let problem = Problem::new(format!("`{part}` is not a range of versions"));
                return Err(at.problem(problem.hint("write it as in require-dbt-version: [\">=1.6.0\", \"<2.0.0\"]")));
            }
        }
    }
    Ok(())
}

fn is_met(range: &str, ours: Release) -> Option<bool> {
    let operator: String = range.chars().take_while(|c| "<>=!".contains(*c)).collect();
    let wanted = release(range.get(operator.len()..)?.trim())?;
    Some(match operator.as_str() {
        "" | "=" | "==" => ours == wanted,
        ">" => ours > wanted,
        ">=" => ours >= wanted,
        "<" => ours < wanted,
        "<=" => ours <= wanted,
        "!=" => ours != wanted,
        _ => return None,
    })
}

/// What follows the three numbers, as in `2.0.0-rc1`, says nothing of what a release has.
fn release(text: &str) -> Option<Release> {
    let pattern = Regex::new(r"^(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:[-+a-z].*)?$").ok()?;
    let captures = pattern.captures(text)?;
    let number = |i: usize| captures.get(i).map_or(Some(0), |part| part.as_str().parse().ok());
    Some((number(1)?, number(2)?, number(3)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_compared_number_by_number() {
        let met = |range: &str| is_met(range, (1, 12, 0));
        for range in [">=1.0.0", "<2.0.0", ">=1.9", "!=1.11.3", "1.12.0", "<= 1.12.0", "<2.0.0-rc1"] {
            assert_eq!(met(range), Some(true), "{range}");
        }
        for range in [">=2.0.0", "<1.9.0", "=1.11.0", ">1.12.0"] {
            assert_eq!(met(range), Some(false), "{range}");
        }
        assert_eq!((met("~=1.0"), met("latest")), (None, None));
    }
}
