//! What a model promises of its columns is held before readers see them.

use crate::world::{World, project};

/// One model over a seed, with its contract; `columns` is the YAML below its name.
fn promised(sql: &str, columns: &str) -> World {
    let models = format!("models:\n  - name: sums\n    config: {{contract: {{enforced: true}}}}\n{columns}");
    project(&[
        ("seeds/payments.csv", "id,customer,amount\n1,ada,12\n2,grace,7\n3,ada,3\n"),
        ("models/sums.sql", sql),
        ("models/models.yml", &models),
    ])
}

const SUMS: &str = "select customer, sum(amount) as amount from {{ ref('payments') }} group by customer";
const COLUMNS: &str =
    "    columns:\n      - {name: customer, data_type: varchar}\n      - {name: amount, data_type: bigint}\n";

#[test]
fn a_contract_that_is_kept_is_published_and_told() {
    let world = promised(SUMS, COLUMNS);
    world.ok(&["build"]);
    assert_eq!(world.count("select sum(amount) from gold.sums"), 22);
    let manifest = std::fs::read_to_string(world.path("project/target/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["nodes"]["model.tiny.sums"]["contract"]["enforced"], true);
}

#[test]
fn a_query_that_gives_other_columns_is_answered_with_what_was_declared_and_what_came() {
    let world = promised(SUMS, COLUMNS);
    world.ok(&["build"]);
    let other =
        "select customer as client, sum(amount) * 1.5 as amount, 1 as one from {{ ref('payments') }} group by 1";
    world.write("project/models/sums.sql", other);
    let words = [
        "the contract of `sums` is broken",
        "`customer` is declared as VARCHAR, but the query does not give it",
        "`amount` is declared as BIGINT, but it comes as DOUBLE",
        "`client` comes as VARCHAR, but it is not declared",
        "models/models.yml:5",
    ];
    world.fails(&["build"], 2, &words);
    assert_eq!(world.count("select count(customer) from gold.sums"), 2, "what readers see is unchanged");
}

#[test]
fn a_column_of_a_contract_needs_a_type_that_there_is() {
    let typed = |data_type: &str| promised(SUMS, &COLUMNS.replace(", data_type: bigint", data_type));
    typed("").fails(&["build"], 2, &["`amount` needs a `data_type`", "models/models.yml:6"]);
    typed(", data_type: bigit").fails(&["build"], 2, &["`bigit` of the column `amount` is no type"]);
}

#[test]
fn rows_that_the_contract_rules_out_are_not_published() {
    let constrained = |constraint: &str| {
        let columns = COLUMNS.replace("data_type: bigint", &format!("data_type: bigint, constraints: [{constraint}]"));
        promised(SUMS, &columns)
    };
    constrained("{type: not_null}, {type: unique}, {type: check, expression: amount > 0}").ok(&["build"]);
    let world = constrained("{type: check, expression: amount > 7}");
    world.fails(&["build"], 1, &["1 rows of `sums` fail the check amount > 7", "models/models.yml:6"]);
    world.fails(&["sql", "-c", "select * from gold.sums"], 2, &["there is no table gold.sums"]);
    let world = constrained("{type: foreign_key, to: x}");
    world.fails(&["parse"], 2, &["the constraint `foreign_key` is not supported yet", "models/models.yml:6"]);

    let world = promised(&SUMS.replace("select customer", "select nullif(customer, 'ada') as customer"), COLUMNS);
    world.ok(&["build"]);
    // The same rows under a stricter contract: nothing is built anew, and it is held all the same.
    let text = std::fs::read_to_string(world.path("project/models/models.yml")).unwrap();
    let strict = "data_type: varchar, constraints: [{type: not_null}]";
    world.write("project/models/models.yml", &text.replace("data_type: varchar", strict));
    world.fails(&["build"], 1, &["`customer` is null in 1 rows of `sums`"]);
}
