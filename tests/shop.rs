//! The web shop of `examples/shop`: a warehouse of another trade, as its README shows it.

use std::path::Path;

use crate::world::{World, lay_over};

fn shop() -> World {
    let world = World::new().without("MEDALLION_BUILD__PROJECT");
    lay_over(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop"), &world.path(""));
    world
}

fn evening(world: &World, day: &str) {
    for source in ["customers", "orders"] {
        world.ok(&["load", source, "--from", &format!("data/{day}/{source}.csv")]);
    }
    world.ok(&["build"]);
}

const FACTS: &str = "select order_id, city, status, revenue from main.fact_orders order by order_id";

#[test]
fn the_shop_is_built_and_built_again_after_orders_and_customers_changed() {
    let world = shop();
    evening(&world, "monday");
    assert_eq!(
        world.sql(FACTS),
        [
            ["O1", "Utrecht", "shipped", "20.50"],
            ["O2", "Leiden", "placed", "7.25"],
            ["O3", "Utrecht", "placed", "12.00"],
            ["O4", "", "placed", "99.90"],
        ]
    );
    evening(&world, "tuesday");
    assert_eq!(
        world.sql(FACTS),
        [
            ["O1", "Utrecht", "shipped", "20.50"],
            ["O2", "Leiden", "returned", "0.00"],
            ["O3", "Amsterdam", "shipped", "12.00"],
            ["O4", "Gouda", "placed", "99.90"],
            ["O6", "Delft", "placed", "31.40"],
            ["O7", "Leiden", "shipped", "5.00"],
        ]
    );
    let days = world.sql("select ordered_on, orders, revenue from main.daily_revenue order by ordered_on");
    assert_eq!(days, [["2025-03-02", "2", "25.50"], ["2025-03-03", "3", "111.90"], ["2025-03-04", "1", "31.40"]]);
    let names = world.sql("select name, revenue from main.customers_now order by name");
    assert_eq!(names, [["Ada", "32.50"], ["Barbara", "99.90"], ["Edsger", "31.40"], ["Grace", "5.00"]]);
}

#[test]
fn increments_of_the_shop_equal_a_full_build() {
    let world = shop();
    evening(&world, "monday");
    evening(&world, "tuesday");
    let tables = ["stg_orders", "stg_customer_versions", "dim_customers", "fact_orders", "daily_revenue"];
    let rows = || tables.map(|table| world.sql(&format!("select * from main.{table} order by 1, 2, 3")));
    let increments = rows();
    world.ok(&["build", "--full-refresh"]);
    assert_eq!(rows(), increments);
}

/// The rooms that move and compute data; what generates it, and help that gives an example, may be of a trade.
const ROOMS: &[&str] = &["build", "engine", "models", "lake", "load", "maintenance", "registry", "runtime"];

#[test]
fn the_engine_knows_nothing_of_any_trade() {
    let trades = ["msisdn", "fact_calls", "silver_", "gold_", "tower", "subscriber", "telecom", "fact_orders"];
    for room in ROOMS {
        let sources = walkdir::WalkDir::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room));
        for entry in sources.into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file()) {
            let path = entry.path().display().to_string();
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let is_code = |line: &str| !path.contains("/tests") && !line.trim_start().starts_with("//");
            for (number, line) in code.lines().enumerate().filter(|(_, line)| is_code(line)) {
                let words = line.to_lowercase();
                let named = trades.iter().find(|trade| {
                    words.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w.starts_with(*trade))
                });
                assert!(named.is_none(), "{path}:{}: {line}", number + 1);
            }
        }
    }
}
