//! `modules.itertools`, as lists.

use std::sync::Arc;

use minijinja::value::{Kwargs, Object, Rest, from_args};
use minijinja::{Error, State, Value};

use crate::models::problem::Problem;
use crate::models::values::{List, Tuple};

/// A template that wants more than this is taken for a mistake.
const MOST: usize = 1_000_000;

#[derive(Debug)]
pub struct Module;

impl Object for Module {
    fn call_method(self: &Arc<Self>, _: &State<'_, '_>, method: &str, arguments: &[Value]) -> Result<Value, Error> {
        let (arguments, options): (Rest<Value>, Kwargs) = from_args(arguments)?;
        let pools = || arguments.iter().map(items).collect::<Result<Vec<_>, _>>();
        let pool_and_size = || -> Result<(Vec<Value>, Option<usize>), Error> {
            let (pool, size): (Value, Option<usize>) = from_args(&arguments)?;
            Ok((items(&pool)?, size))
        };
        let made: Vec<Value> = match method {
            "chain" => pools()?.concat(),
            "product" => {
                let times = options.get::<Option<usize>>("repeat")?.unwrap_or(1);
                let pools = pools()?;
                rows(picks(&vec![pools; times.min(64)].concat(), |_, _| true)?)
            }
            "combinations" | "permutations" | "combinations_with_replacement" => {
                let (pool, size) = pool_and_size()?;
                let size = size.unwrap_or(pool.len());
                let places: Vec<Value> = (0..pool.len()).map(Value::from).collect();
                let chosen = picks(&vec![places; size], |before, next| match method {
                    "combinations" => before.last().is_none_or(|last| last < next),
                    "permutations" => !before.contains(next),
                    _ => before.last().is_none_or(|last| last <= next),
                })?;
                let item = |at: &Value| at.as_usize().and_then(|at| pool.get(at).cloned()).unwrap_or_default();
                rows(chosen.iter().map(|places| places.iter().map(item).collect()).collect())
            }
            "zip_longest" => {
                let fill = options.get::<Option<Value>>("fillvalue")?.unwrap_or_else(|| Value::from(()));
                let pools = pools()?;
                let longest = pools.iter().map(Vec::len).max().unwrap_or(0);
                let row = |i: usize| pools.iter().map(|p| p.get(i).unwrap_or(&fill).clone()).collect();
                rows((0..longest).map(row).collect())
            }
            "repeat" => {
                let (item, times): (Value, usize) = from_args(&arguments)?;
                vec![item; times.min(MOST)]
            }
            "islice" => {
                let (pool, first, second, step): (Value, usize, Option<usize>, Option<usize>) = from_args(&arguments)?;
                let (start, end) = second.map_or((0, first), |end| (first, end));
                items(&pool)?.into_iter().take(end).skip(start).step_by(step.unwrap_or(1).max(1)).collect()
            }
            _ => return Err(Problem::unsupported(format!("`modules.itertools.{method}`")).into()),
        };
        options.assert_all_used()?;
        Ok(Value::from_object(List::new(made)))
    }
}

fn items(value: &Value) -> Result<Vec<Value>, Error> {
    Ok(value.try_iter()?.collect())
}

fn rows(rows: Vec<Vec<Value>>) -> Vec<Value> {
    rows.into_iter().map(|row| Value::from_object(Tuple::new(row))).collect()
}

/// One value of each pool, in every way that is allowed, the last pool going round first.
fn picks(pools: &[Vec<Value>], allowed: impl Fn(&[Value], &Value) -> bool) -> Result<Vec<Vec<Value>>, Error> {
    let mut made: Vec<Vec<Value>> = vec![Vec::new()];
    for pool in pools {
        let mut longer = Vec::new();
        for row in &made {
            for item in pool.iter().filter(|item| allowed(row, item)) {
                if longer.len() >= MOST {
                    return Err(Problem::new(format!("these are more than {MOST} combinations")).into());
                }
                longer.push(row.iter().chain([item]).cloned().collect());
            }
        }
        made = longer;
    }
    Ok(made)
}
