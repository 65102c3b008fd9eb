//! Which project, profile and target a command means, from what is typed, the environment and the folders around.

use crate::world::{Ended, World};

/// Nothing of whoever runs the tests: no project is configured, and the home folder is empty.
fn world() -> World {
    let world = World::new().without("MEDALLION_BUILD__PROJECT").with("DBT_PROFILES_DIR", "");
    let home = world.path("home").display().to_string();
    std::fs::create_dir_all(&home).unwrap();
    world.write("shop/dbt_project.yml", "name: shop\nprofile: shop\n");
    world.write("shop/models/deep/orders.sql", "select 1 as id");
    world.with("HOME", &home)
}

fn profile(schema: &str) -> String {
    format!("shop:\n  target: dev\n  outputs:\n    dev: {{type: medallion, schema: {schema}}}\n")
}

fn run_in(world: &World, folder: &str, arguments: &[&str]) -> Ended {
    std::fs::create_dir_all(world.path(folder)).unwrap();
    let output = world.command(arguments).current_dir(world.path(folder)).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

fn debug_in(world: &World, folder: &str, arguments: &[&str]) -> Ended {
    run_in(world, folder, &[&["debug"], arguments].concat())
}

fn schema_in(world: &World, folder: &str, arguments: &[&str]) -> String {
    let ended = debug_in(world, folder, arguments);
    let line = ended.out.lines().find(|l| l.starts_with("target")).map(str::to_owned);
    let line = line.unwrap_or_else(|| panic!("{}\n{}", ended.out, ended.err));
    line.split("(schema ").nth(1).unwrap().trim_end_matches(')').to_owned()
}

#[test]
fn a_command_means_the_project_that_the_working_directory_lies_in() {
    let world = world();
    for folder in ["shop", "shop/models/deep"] {
        let said = debug_in(&world, folder, &[]);
        assert!(said.out.contains("project   shop in"), "{}{}", said.out, said.err);
    }
    let outside = debug_in(&world, "home", &[]);
    assert_eq!(outside.code, 2);
    assert!(outside.err.contains("--project-dir"), "{}", outside.err);
}

#[test]
fn a_project_that_is_named_comes_before_the_one_around() {
    let world = world();
    world.write("other/dbt_project.yml", "name: other\n");
    let other = world.path("other").display().to_string();
    assert!(debug_in(&world, "shop", &["--project-dir", "../other"]).out.contains("project   other"));
    let world = world.with("DBT_PROJECT_DIR", &other);
    assert!(debug_in(&world, "shop", &[]).out.contains("project   other"));
    assert!(debug_in(&world, "shop", &["--project-dir", "."]).out.contains("project   shop"));
}

#[test]
fn profiles_are_looked_for_in_dbts_order() {
    let world = world();
    assert_eq!(schema_in(&world, "home", &["--project-dir", "../shop"]), "main");
    world.write("home/.dbt/profiles.yml", &profile("of_home"));
    assert_eq!(schema_in(&world, "shop", &[]), "of_home");
    world.write("shop/profiles.yml", &profile("of_project"));
    assert_eq!(schema_in(&world, "shop", &[]), "of_project");
    world.write("work/profiles.yml", &profile("of_work"));
    assert_eq!(schema_in(&world, "work", &["--project-dir", "../shop"]), "of_work");
    world.write("named/profiles.yml", &profile("named"));
    let named = world.path("named").display().to_string();
    let world = world.with("DBT_PROFILES_DIR", &named);
    assert_eq!(schema_in(&world, "shop", &[]), "named");
    world.write("typed/profiles.yml", &profile("typed"));
    assert_eq!(schema_in(&world, "shop", &["--profiles-dir", "../typed"]), "typed");
    let missing = debug_in(&world, "shop", &["--profiles-dir", "../nowhere"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("there is no profiles.yml in ../nowhere"), "{}", missing.err);
}

#[test]
fn a_profile_may_be_named_on_the_command_line() {
    let world = world();
    let two = format!("{}other:\n  outputs:\n    default: {{type: medallion, schema: of_other}}\n", profile("of_shop"));
    world.write("shop/profiles.yml", &two);
    assert_eq!(schema_in(&world, "shop", &[]), "of_shop");
    assert_eq!(schema_in(&world, "shop", &["--profile", "other"]), "of_other");
    let wrong = debug_in(&world, "shop", &["--profile", "othr"]);
    assert!(wrong.err.contains("there is no profile `othr`"), "{}", wrong.err);
    assert!(wrong.err.contains("did you mean `other`?"), "{}", wrong.err);
}

#[test]
fn artifacts_go_where_the_command_line_says() {
    let world = world();
    let compile = |world: &World, arguments: &[&str]| {
        let ended = run_in(world, "shop", &[&["compile"], arguments].concat());
        assert_eq!(ended.code, 0, "{}", ended.err);
    };
    let has_sql = |folder: &str| world.path(folder).join("compiled/shop/models/deep/orders.sql").is_file();
    compile(&world, &["--target-path", "../typed"]);
    assert!(has_sql("typed") && !has_sql("shop/target"));
    compile(&world, &[]);
    assert!(has_sql("shop/target"));
}
