//! What readers see together belongs together, build after build.

use crate::world::{World, project};

fn chain() -> World {
    project(&[
        ("models/dim.sql", "select n from {{ ref('s') }}"),
        ("models/fact.sql", "select n from {{ ref('dim') }}"),
        ("tests/fact_is_small.sql", "select * from {{ ref('fact') }} where n > 10"),
    ])
}

fn seen(world: &World) -> Vec<Vec<String>> {
    world.sql("select d.n, f.n from gold.dim d, gold.fact f")
}

#[test]
fn what_was_held_back_for_a_failure_stays_until_that_is_mended_whatever_is_built_in_between() {
    let world = chain();
    world.write("project/seeds/s.csv", "n\n1\n");
    world.ok(&["build", "-q"]);
    assert_eq!(seen(&world), [["1", "1"]]);
    world.write("project/seeds/s.csv", "n\n20\n");
    assert_eq!(world.run(&["build", "-q"]).code, 1);
    assert_eq!(seen(&world), [["1", "1"]]);
    // The dimension alone has nothing wrong, but the fact that readers see was made from the old one.
    let partial = world.ok(&["build", "-q", "--select", "dim"]);
    assert!(partial.out.contains("held back"), "{}", partial.out);
    assert_eq!(seen(&world), [["1", "1"]]);
    world.write("project/seeds/s.csv", "n\n5\n");
    let whole = world.ok(&["build", "-q"]);
    assert!(!whole.out.contains("held back"), "{}", whole.out);
    assert_eq!(seen(&world), [["5", "5"]]);
}

#[test]
fn releases_are_kept_by_number_and_the_current_one_whatever_its_age() {
    let world = chain().with("MEDALLION_BUILD__RELEASES_KEEP", "2");
    let kept = || -> Vec<String> {
        let rows = world.sql("select distinct release from _medallion.releases order by 1");
        rows.into_iter().map(|row| row[0].clone()).collect()
    };
    for n in 1..=3 {
        world.write("project/seeds/s.csv", &format!("n\n{n}\n"));
        world.ok(&["build", "-q"]);
    }
    assert_eq!(kept(), ["2", "3"]);
    let world_now = world.with("MEDALLION_BUILD__RELEASES_AGE", "1ms");
    world_now.write("project/seeds/s.csv", "n\n4\n");
    world_now.ok(&["build", "-q"]);
    assert_eq!(world_now.sql("select distinct release from _medallion.releases"), [["4"]]);
}

#[test]
fn a_released_table_that_was_made_again_is_not_taken_for_what_it_was() {
    let world = chain();
    world.write("project/seeds/s.csv", "n\n1\n");
    world.ok(&["build", "-q"]);
    std::fs::remove_dir_all(world.path("lake/gold/dim")).unwrap();
    world.ok(&["run", "-q", "--select", "dim"]);
    world.fails(&["sql", "-q", "-c", "select * from gold.dim"], 1, &["dropped and made again", "medallion build"]);
    world.ok(&["build", "-q"]);
    assert_eq!(seen(&world), [["1", "1"]]);
}
