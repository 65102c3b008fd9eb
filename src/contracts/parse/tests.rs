use super::*;
use crate::contracts::Format;
use crate::error::Kind;

fn parsed(ddl: &str) -> Contract {
    parse("bronze/calls.sql", ddl).unwrap()
}

/// The error of a contract that has to be refused: line and column, and all that it says.
fn refused(ddl: &str) -> (usize, usize, String) {
    let error = parse("bronze/calls.sql", ddl).err().unwrap_or_else(|| panic!("{ddl} was accepted"));
    assert_eq!(error.kind(), Kind::Input);
    let place = error.place().unwrap_or_else(|| panic!("{error} has no place"));
    (place.line, place.column, error.to_string())
}

fn assert_refused(ddl: &str, line: usize, column: usize, words: &[&str]) {
    let (found_line, found_column, message) = refused(ddl);
    assert_eq!((found_line, found_column), (line, column), "{message}");
    for word in words {
        assert!(message.contains(word), "{message} lacks {word}");
    }
}

#[test]
fn a_contract_has_all_that_its_ddl_says() {
    let contract = parsed(
        "-- about calls
        CREATE TABLE Calls (
            Id STRING NOT NULL COMMENT 'the ''key''',
            \"callerName\" VARCHAR NULL,
            ok BOOL, seconds INTEGER, bytes BIGINT, ratio DOUBLE PRECISION, fee NUMERIC(12, 2), units DECIMAL(9),
            timestamp TIMESTAMP COMMENT 'when', day DATE
        )
        COMMENT 'all calls'
        WITH (topic = 'telecom.calls-1', format = 'json', timezone = 'America/Los_Angeles');",
    );
    assert_eq!(contract.name, "calls");
    assert_eq!(contract.origin, Origin::Topics(Topics::Named(vec!["telecom.calls-1".to_owned()])));
    assert_eq!(contract.format, Format::Json);
    assert_eq!(contract.zone, Tz::America__Los_Angeles);
    assert_eq!(contract.comment.as_deref(), Some("all calls"));
    assert_eq!(contract.file, "bronze/calls.sql");
    let columns: Vec<_> =
        contract.columns.iter().map(|column| (column.name.as_str(), column.data_type.clone())).collect();
    let expected = [
        ("id", Type::String),
        ("callerName", Type::String),
        ("ok", Type::Boolean),
        ("seconds", Type::Int),
        ("bytes", Type::BigInt),
        ("ratio", Type::Double),
        ("fee", Type::Decimal(12, 2)),
        ("units", Type::Decimal(9, 0)),
        ("timestamp", Type::Timestamp),
        ("day", Type::Date),
    ];
    assert_eq!(columns, expected);
    let not_null: Vec<bool> = contract.columns.iter().map(|column| !column.nullable).collect();
    assert_eq!(not_null, [true, false, false, false, false, false, false, false, false, false]);
    assert_eq!(contract.columns[0].comment.as_deref(), Some("the 'key'"));
    assert_eq!(contract.columns[8].comment.as_deref(), Some("when"));
}

#[test]
fn a_topic_is_json_and_utc_if_nothing_else_is_said() {
    let contract = parsed("CREATE TABLE calls (id STRING) WITH (topic = 'calls')");
    assert_eq!((contract.format, contract.zone, contract.comment), (Format::Json, Tz::UTC, None));
}

#[test]
fn files_may_have_a_place_a_format_and_full_extracts() {
    let origin = |options: &str| parsed(&format!("CREATE TABLE calls (id STRING) WITH ({options})"));
    let files = |location: Option<&str>| Origin::Files {
        location: location.map(str::to_owned),
        full_extract: false,
        key: None,
        watermark: None,
    };
    assert_eq!(origin("source = 'files'").origin, files(None));
    assert_eq!(origin("source = 'files'").format, Format::Csv);
    assert_eq!(origin("source = 'files', format = 'json'").format, Format::Json);
    assert_eq!(origin("location = 'in', extract = 'incremental'").origin, files(Some("in")));
}

#[test]
fn a_full_extract_names_its_key_and_its_watermark_among_the_columns() {
    let table = |options: &str| format!("CREATE TABLE calls (id STRING, changed TIMESTAMP) WITH ({options})");
    let full = parsed(&table("extract = 'full', key = 'id', watermark = 'changed'")).origin;
    let (key, watermark) = (Some("id".to_owned()), Some("changed".to_owned()));
    assert_eq!(full, Origin::Files { location: None, full_extract: true, key, watermark });
    assert_refused(&table("extract = 'full', key = 'id'"), 1, 67, &["watermark"]);
    assert_refused(&table("key = 'ids'"), 1, 63, &["did you mean `id`?"]);
    assert_refused(&table("watermark = 'id'"), 1, 69, &["not TIMESTAMP"]);
}

#[test]
fn a_syntax_error_has_its_place() {
    assert_refused("CREATE TABLE calls (\n  id STRING,\n  name\n) WITH (topic = 'x')", 4, 1, &["found: )"]);
    assert_refused("CREATE TABLE calls (\n  id STRING\n", 2, 12, &["found: EOF"]);
    assert_refused("CREATE TABEL calls (id STRING)", 1, 8, &["TABEL", "bronze/calls.sql:1:8"]);
    assert_refused("CREATE TABLE calls (\n  id STRING COMMENT 'open\n)", 2, 21, &["Unterminated string"]);
}

#[test]
fn a_file_is_one_create_table_and_nothing_else() {
    let one = "CREATE TABLE calls (id STRING) WITH (topic = 'calls')";
    assert_refused(&format!("{one};\n{one};"), 2, 1, &["one CREATE TABLE"]);
    assert_refused(&format!("{one} {one}"), 1, one.len() + 2, &["one CREATE TABLE"]);
    assert_refused("SELECT 1", 1, 1, &["a contract is a CREATE TABLE"]);
    let empty = parse("calls.sql", " -- nothing\n").err().map(|error| error.to_string()).unwrap_or_default();
    assert!(empty.contains("calls.sql holds no CREATE TABLE"), "{empty}");
}

#[test]
fn the_table_has_the_name_of_its_file() {
    assert_refused(
        "CREATE TABLE cals (id STRING) WITH (topic = 'x')",
        1,
        14,
        &["called `cals`", "but its file `calls`"],
    );
    assert_refused("CREATE TABLE bronze.calls (id STRING) WITH (topic = 'x')", 1, 14, &["without a schema"]);
    assert_refused("CREATE TABLE \"my calls\" (id STRING) WITH (topic = 'x')", 1, 14, &["cannot be a table's name"]);
}

#[test]
fn a_clause_without_meaning_is_refused() {
    for ddl in [
        "CREATE OR REPLACE TABLE calls (id STRING) WITH (topic = 'x')",
        "CREATE TABLE IF NOT EXISTS calls (id STRING) WITH (topic = 'x')",
        "CREATE TEMPORARY TABLE calls (id STRING) WITH (topic = 'x')",
        "CREATE TABLE calls (id STRING, PRIMARY KEY (id)) WITH (topic = 'x')",
        "CREATE TABLE calls (id STRING) PARTITIONED BY (day DATE) WITH (topic = 'x')",
        "CREATE TABLE calls (id STRING) STORED AS PARQUET WITH (topic = 'x')",
        "CREATE TABLE calls (id STRING) WITH (topic = 'x') AS SELECT 1",
    ] {
        assert_refused(ddl, 1, 1, &["means nothing in a contract"]);
    }
    assert_refused("CREATE TABLE calls (id STRING) TBLPROPERTIES (topic = 'x')", 1, 14, &["WITH (topic"]);
    for option in ["DEFAULT 'x'", "PRIMARY KEY", "UNIQUE", "CHECK (id > 1)"] {
        let ddl = format!("CREATE TABLE calls (\n  id STRING {option}) WITH (topic = 'x')");
        assert_refused(&ddl, 2, 3, &["means nothing in a contract"]);
    }
}

#[test]
fn an_unknown_type_is_answered_with_the_nearest_one() {
    let with_type = |data_type: &str| format!("CREATE TABLE calls (\n  id  {data_type} NOT NULL) WITH (topic = 'x')");
    assert_refused(&with_type("STRNG"), 2, 7, &["unknown type `STRNG`", "did you mean STRING?"]);
    assert_refused(&with_type("BIGINTT"), 2, 7, &["did you mean BIGINT?"]);
    for data_type in ["JSON", "FLOAT", "VARCHAR(10)", "TIMESTAMP WITH TIME ZONE", "INT(4)", "BIGINT UNSIGNED", "STRUCT"]
    {
        assert_refused(&with_type(data_type), 2, 7, &["unknown type", "DECIMAL(p, s)"]);
    }
    for data_type in ["DECIMAL", "DECIMAL(39, 2)", "DECIMAL(0)", "DECIMAL(4, 5)", "DECIMAL(4, -1)", "DECIMAL(400, 2)"] {
        assert_refused(&with_type(data_type), 2, 7, &["not a decimal type"]);
    }
}

#[test]
fn column_names_are_distinct_and_fit_for_a_table() {
    let with_columns = |columns: &str| format!("CREATE TABLE calls ({columns}) WITH (topic = 'x')");
    assert_refused(&with_columns("id STRING, \"ID\" INT"), 1, 32, &["`ID` is there twice"]);
    assert_refused(&with_columns("_offset BIGINT"), 1, 21, &["`_offset` is reserved"]);
    for name in ["a b", "a,b", "a=b", "a\\b", "(a)", "a\tb", ""] {
        assert_refused(&with_columns(&format!("\"{name}\" INT")), 1, 21, &["cannot be a column's name"]);
    }
    assert_refused(&with_columns(""), 1, 14, &["has no columns"]);
}

#[test]
fn an_unknown_option_is_answered_with_the_nearest_one() {
    let with = |options: &str| format!("CREATE TABLE calls (id STRING)\nWITH ({options})");
    assert_refused(&with("topik = 'x'"), 2, 7, &["unknown option `topik`", "did you mean `topic`?"]);
    assert_refused(&with("compression = 'x'"), 2, 7, &["the options are topic, topics, topic_pattern, source"]);
    assert_refused(&with("topic = 'x', topic = 'y'"), 2, 20, &["`topic` is there twice"]);
    assert_refused(&with("topic = x"), 2, 7, &["not a string", "topic = 'x'"]);
    assert_refused(&with("topic = 5"), 2, 7, &["not a string"]);
}

#[test]
fn an_option_has_a_known_value() {
    let with = |options: &str| format!("CREATE TABLE calls (id STRING)\nWITH ({options})");
    assert_refused(
        &with("topic = 'x', format = 'xml'"),
        2,
        29,
        &["unknown format `xml`", "'json' or 'csv' or 'raw' or 'avro'"],
    );
    assert_refused(&with("topic = 'x', format = 'csv'"), 2, 29, &["cannot be CSV"]);
    assert_refused(&with("topic = '^a.*'"), 2, 15, &["cannot be the name of a topic"]);
    assert_refused(&with("topic = 'x', timezone = 'Europe/Berln'"), 2, 31, &["did you mean 'Europe/Berlin'?"]);
    assert_refused(&with("source = 'file'"), 2, 16, &["unknown source `file`", "'files'"]);
    assert_refused(&with("source = 'files', extract = 'all'"), 2, 35, &["unknown extract `all`"]);
}

#[test]
fn a_contract_says_where_its_records_come_from_and_says_one_thing() {
    assert_refused("CREATE TABLE calls (id STRING)", 1, 14, &["does not say where", "topic = '...'"]);
    assert_refused("CREATE TABLE calls (id STRING) WITH (format = 'json')", 1, 14, &["does not say where"]);
    let both = "CREATE TABLE calls (id STRING) WITH (topic = 'x', location = 'in')";
    assert_refused(both, 1, 51, &["`topic` and `location` do not go together"]);
}

#[test]
fn a_contract_may_have_several_topics_or_a_pattern_of_them() {
    let topics = |options: &str| {
        parsed(&format!("CREATE TABLE calls (id STRING) WITH ({options})")).topics().map(Topics::to_string)
    };
    assert_eq!(topics("topics = 'a,b.c , d'").as_deref(), Some("a, b.c, d"));
    assert_eq!(topics("topics = 'a'"), topics("topic = 'a'"));
    assert_eq!(topics("topic_pattern = 'calls\\..*'").as_deref(), Some("calls\\..*"));
    assert_eq!(topics("source = 'files'"), None);
    let with = |options: &str| format!("CREATE TABLE calls (id STRING)\nWITH ({options})");
    assert_refused(&with("topics = 'a, b c'"), 2, 16, &["`b c` cannot be the name of a topic"]);
    assert_refused(&with("topics = 'a,,b'"), 2, 16, &["`` cannot be the name of a topic"]);
    assert_refused(&with("topics = 'a, b, a'"), 2, 16, &["the topic `a` is there twice"]);
    assert_refused(&with("topic = 'a, b'"), 2, 15, &["cannot be the name of a topic"]);
    assert_refused(&with("topic_pattern = 'a('"), 2, 23, &["not a regular expression", "unclosed group"]);
    assert_refused(
        &with("topic_pattern = 'a', topic = 'b'"),
        2,
        28,
        &["`topic` and `topic_pattern` do not go together"],
    );
    assert_refused(&with("topics = 'a', topic_pattern = 'b'"), 2, 21, &["`topics` and `topic_pattern`"]);
    assert_refused(&with("topic_pattern = 'a', location = 'b'"), 2, 28, &["`topic_pattern` and `location`"]);
}

#[test]
fn types_may_be_nested_in_each_other() {
    let contract = parsed(
        "CREATE TABLE calls (
            a STRUCT<x: INT, \"yY\" ARRAY<STRING>, z: STRUCT<q: DECIMAL(9, 2)>>, b ARRAY<ARRAY<STRUCT<c: BINARY>>>,
            c MAP<STRING, ARRAY<MAP<STRING, DATE>>> NOT NULL COMMENT 'deep'
        ) WITH (topic = 'x')",
    );
    let shown: Vec<String> = contract.columns.iter().map(|column| column.data_type.to_string()).collect();
    assert_eq!(
        shown,
        [
            "struct<x: int, yY: array<string>, z: struct<q: decimal(9,2)>>",
            "array<array<struct<c: binary>>>",
            "map<string, array<map<string, date>>>",
        ]
    );
    assert!(!contract.columns[2].nullable);
    let deepest = |levels: usize| {
        format!("CREATE TABLE calls (\n  a {}INT{}) WITH (topic = 'x')", "ARRAY<".repeat(levels), ">".repeat(levels))
    };
    assert_eq!(parsed(&deepest(32)).columns[0].data_type.to_string().matches("array<").count(), 32);
    assert_refused(&deepest(33), 2, 202, &["deeper than 32 levels"]);
    assert_refused(&deepest(100_000), 2, 202, &["deeper than 32 levels"]);
}

#[test]
fn a_nested_type_that_cannot_be_is_refused_where_it_stands() {
    let with_type = |data_type: &str| format!("CREATE TABLE calls (\n  id  {data_type}) WITH (topic = 'x')");
    assert_refused(&with_type("STRUCT<a: INT, b: STRNG>"), 2, 25, &["unknown type `STRNG`", "did you mean STRING?"]);
    assert_refused(&with_type("STRUCT<a: INT, A: INT>"), 2, 22, &["the field `a` is there twice"]);
    assert_refused(&with_type("STRUCT<\"a b\": INT>"), 2, 14, &["cannot be a column's name"]);
    assert_refused(&with_type("MAP<INT, STRING>"), 2, 7, &["the keys of a map are STRING, not int"]);
    assert_refused(&with_type("ARRAY<DECIMAL>"), 2, 7, &["not a decimal type"]);
    assert_refused(&with_type("STRUCT<INT>"), 2, 7, &["is not a field of a struct"]);
    assert_refused(&with_type("ARRAY<INT"), 2, 16, &["found: )"]);
}

#[test]
fn a_column_may_say_where_its_value_is_and_how_its_times_are_written() {
    let contract = parsed(
        "CREATE TABLE calls (
            format STRING, path STRING PATH 'a.path' COMMENT 'x',
            city STRING NOT NULL PATH 'a.\"b c\"[2]', t TIMESTAMP FORMAT 'epoch_ms', 'dd/MM/yyyy', 'iso8601' NOT NULL
            PATH 't.u', days ARRAY<DATE> format 'yyyy''q''MMdd'
        ) WITH (topic = 'x', coerce = 'lossless')",
    );
    let paths: Vec<String> = contract.columns.iter().map(|column| column.locator.to_string()).collect();
    assert_eq!(paths, ["format", "a.path", "a.b c[2]", "t.u", "days"]);
    let formats = |index: usize| contract.columns[index].formats.iter().map(|f| f.to_string()).collect::<Vec<_>>();
    assert_eq!(formats(3), ["epoch_ms", "dd/MM/yyyy", "iso8601"]);
    assert_eq!(formats(4), ["yyyy'q'MMdd"]);
    assert!(!contract.columns[2].nullable && !contract.columns[3].nullable);
    assert_eq!(contract.columns[1].comment.as_deref(), Some("x"));
    assert_eq!(contract.coerce, Coerce::Lossless);
    assert_eq!(parsed("CREATE TABLE calls (id STRING) WITH (topic = 'x')").coerce, Coerce::None);
    assert_refused("CREATE TABLE calls (id INT) WITH (topic = 'x', coerce = 'yes')", 1, 57, &["'none' or 'lossless'"]);
}

#[test]
fn a_format_that_cannot_be_is_refused_at_its_letter() {
    let with = |column: &str| format!("CREATE TABLE calls (\n  t {column}) WITH (topic = 'x')");
    assert_refused(&with("TIMESTAMP FORMAT 'dd/MM/YYYY'"), 2, 29, &["`YYYY` means nothing", "the letters are yyyy"]);
    assert_refused(&with("TIMESTAMP FORMAT 'iso8601', 'yyyy''T''MM-ddQ'"), 2, 48, &["`Q` means nothing"]);
    assert_refused(&with("TIMESTAMP FORMAT 'epoch_m'"), 2, 23, &["did you mean 'epoch_ms'?"]);
    assert_refused(&with("INT FORMAT 'epoch_ms'"), 2, 16, &["FORMAT says nothing of `t`, which is int"]);
    assert_refused(&with("DATE FORMAT 'epoch_ms'"), 2, 17, &["`t` a day"]);
    assert_refused(&with("DATE FORMAT 'yyyy-MM-dd HH'"), 2, 17, &["leave the time out"]);
    assert_refused(&with("STRUCT<a: DATE, b: TIMESTAMP> FORMAT 'iso8601'"), 2, 42, &["but not with both"]);
    assert_refused(&with("TIMESTAMP FORMAT"), 2, 21, &["a text in single quotes"]);
    assert_refused(
        &with("TIMESTAMP FORMAT 'iso8601' FORMAT 'iso8601'"),
        2,
        39,
        &["FORMAT of the column `t` is there twice"],
    );
}

#[test]
fn a_path_that_cannot_be_is_refused_at_its_step() {
    let with = |columns: &str| format!("CREATE TABLE calls (\n  {columns}) WITH (topic = 'x')");
    assert_refused(&with("a INT PATH 'b..c'"), 2, 17, &["expected the name of a field", "'address.city'"]);
    assert_refused(&with("a INT PATH '$.b'"), 2, 15, &["without `$`"]);
    assert_refused(&with("a INT PATH 'b[x]'"), 2, 17, &["the number of an element"]);
    assert_refused(&with("a INT PATH 'b', c INT PATH 'b'"), 2, 19, &["`a` takes its value from b, and `c` from b"]);
    for (one, other) in [("b", "b.c"), ("b.c", "b"), ("b[0]", "b.c"), ("b.c", "b.c[0].d"), ("b[1][0]", "b[1]")] {
        let ddl = with(&format!("a INT PATH '{one}',\n c INT PATH '{other}'"));
        assert_refused(&ddl, 3, 2, &["takes its value from", "one column's"]);
    }
    assert_refused(&with("b INT,\n c INT PATH 'b.c'"), 3, 2, &["`b` takes its value from b"]);
    parsed(&with("a INT PATH 'b.c', c INT PATH 'b.d', d INT PATH 'e[0]', f INT PATH 'e[1].x', g INT PATH 'e[1].y'"));
}

const README: &str = include_str!("../../../sql/README.md");

#[test]
fn the_contracts_in_the_documentation_are_contracts() {
    let blocks: Vec<&str> = README.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let name = block.split_whitespace().nth(2).unwrap();
        parse(&format!("{name}.sql"), block).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_documentation_names_every_type_word_option_format_and_class() {
    let classes = crate::contracts::Class::ALL.map(|class| class.name());
    let formats = crate::contracts::TimeFormat::NAMES;
    let words = dialect::WORDS.map(str::to_uppercase);
    let words = words.each_ref().map(String::as_str);
    let named = OPTIONS.iter().chain(&columns::TYPE_NAMES).chain(&words).chain(&classes).chain(&formats);
    for name in named {
        assert!(README.contains(&format!("`{name}")), "sql/README.md does not tell of {name}");
    }
}

#[test]
fn the_conversions_in_the_documentation_are_what_happens() {
    let table = README.split("| `'none'` | `'lossless'` |\n|---|---|---|---|\n").nth(1).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 10);
    for row in rows {
        let [column, json, none, lossless] = row[..] else { panic!("{row:?}") };
        let (column, json) = (column.trim_matches('`'), json.trim_matches('`'));
        for (coerce, expected) in [("none", none), ("lossless", lossless)] {
            let ddl = format!("CREATE TABLE calls (a {column}) WITH (topic = 'x', coerce = '{coerce}')");
            let mut decoder = crate::contracts::Decoder::new(&parsed(&ddl));
            let record = format!("{{\"a\":{json}}}");
            let found = match decoder.push_json(record.as_bytes()) {
                Ok(()) => arrow::util::display::array_value_to_string(&decoder.finish()[0], 0).unwrap(),
                Err(_) => "rejected".to_owned(),
            };
            assert_eq!(found, expected, "{column} of {json}, {coerce}");
        }
    }
}
