use arrow::datatypes::TimeUnit;

use super::*;

fn column_names(contract: &Contract) -> Vec<&str> {
    contract.columns.iter().map(|column| column.name.as_str()).collect()
}

#[test]
fn the_defaults_are_the_contracts_of_the_folder() {
    let mut from_folder = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/bronze")).unwrap();
    let defaults = defaults().unwrap();
    for (loaded, default) in from_folder.iter_mut().zip(&defaults) {
        assert!(loaded.file.ends_with(&default.file), "{} {}", loaded.file, default.file);
        loaded.file.clone_from(&default.file);
    }
    assert_eq!(from_folder, defaults);
}

#[test]
fn every_column_of_the_defaults_is_described() {
    for contract in defaults().unwrap() {
        assert!(contract.comment.is_some(), "{}", contract.name);
        assert!(contract.columns.iter().all(|column| column.comment.is_some()), "{}", contract.name);
    }
}

#[test]
fn a_schema_has_the_contracts_columns_then_the_extra_ones() {
    let contract = parse("t.sql", "CREATE TABLE t (a INT NOT NULL, b TIMESTAMP) WITH (topic = 't')").unwrap();
    let schema = contract.schema();
    let fields: Vec<_> = schema.fields().iter().map(|field| (field.name().as_str(), field.is_nullable())).collect();
    assert_eq!(fields, [("a", true), ("b", true), ("_extra", true)]);
    assert_eq!(schema.field(1).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
}

#[test]
fn a_folder_is_read_by_name_and_other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b", "a"] {
        let ddl = format!("CREATE TABLE {name} (id STRING) WITH (topic = '{name}')");
        std::fs::write(folder.path().join(format!("{name}.sql")), ddl).unwrap();
    }
    std::fs::write(folder.path().join("README.md"), "no contract").unwrap();
    let contracts = load(folder.path()).unwrap();
    assert_eq!(contracts.iter().map(|contract| contract.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(column_names(&contracts[0]), ["id"]);
}

#[test]
fn a_topic_is_taken_by_one_contract_only() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        let ddl = format!("CREATE TABLE {name} (id STRING)\nWITH (topic = 'same')");
        std::fs::write(folder.path().join(format!("{name}.sql")), ddl).unwrap();
    }
    let error = load(folder.path()).err().unwrap();
    assert!(error.what().contains("the topic `same` is already taken by") && error.what().contains("a.sql"), "{error}");
    assert!(error.place().is_some_and(|place| place.file.ends_with("b.sql") && (place.line, place.column) == (2, 7)));
}

#[test]
fn contracts_that_claim_one_topic_by_a_list_or_a_pattern_are_refused_by_the_names_of_both_files() {
    for (a, b, what) in [
        ("topics = 'x, same'", "topics = 'same, y'", "the topic `same`"),
        ("topic_pattern = 's.*'", "topic = 'same'", "the topic `same`"),
        ("topics = 'same, x'", "topic_pattern = 'sa..'", "the topic `same`"),
        ("topic_pattern = 's.*'", "topic_pattern = 's.*'", "the pattern `s.*`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (name, options) in [("a", a), ("b", b)] {
            let ddl = format!("CREATE TABLE {name} (id STRING)\nWITH ({options})");
            std::fs::write(folder.path().join(format!("{name}.sql")), ddl).unwrap();
        }
        let error = load(folder.path()).err().unwrap();
        assert!(error.what().contains(what) && error.what().contains("a.sql"), "{error}");
        assert!(error.place().is_some_and(|place| place.file.ends_with("b.sql")), "{error}");
    }
}

#[test]
fn a_folder_or_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    assert!(load(&absent).is_err_and(|error| error.what().contains("absent")));
    std::fs::write(folder.path().join("latin.sql"), b"-- \xe9").unwrap();
    assert!(load(folder.path()).is_err_and(|error| error.what().contains("latin.sql")));
}
