//! Schemas from registries of both kinds, over HTTP.

use medallion::config::RegistryConfig;
use medallion::error::{Kind, Result};
use medallion::registry::{Api, Client, Language, Schema, SchemaId};

use crate::world::registry::{Mood, Registry};

const SIMPLE: &str = r#"{"type": "record", "name": "Simple", "fields": [{"name": "n", "type": "long"}]}"#;

fn client_of(address: &str) -> Client {
    let config = RegistryConfig { url: Some(address.to_owned()), ..RegistryConfig::default() };
    Client::new(&config).unwrap().unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn asked(client: &Client, id: SchemaId) -> Result<Option<Schema>> {
    client.schema(id).await.map(|schema| schema.map(|schema| Schema::clone(&schema)))
}

#[tokio::main(flavor = "current_thread")]
async fn prefetched(client: &Client, topic: &str, api: Api) -> Option<SchemaId> {
    client.prefetch(topic, api).await.unwrap()
}

fn names(schema: &Schema) -> Vec<&str> {
    schema.references.iter().map(|reference| reference.name.as_str()).collect()
}

/// A schema that needs two others, one of which needs the other.
fn with_references() -> Registry {
    let registry = Registry::start();
    registry.register(1, "base", "PROTOBUF", "syntax = 'proto3';", &[]);
    registry.register(2, "middle", "PROTOBUF", "// middle", &[("base.proto", "base")]);
    registry.register(
        3,
        "app/topic value",
        "PROTOBUF",
        "// top",
        &[("middle.proto", "middle"), ("base.proto", "base")],
    );
    registry.register(4, "readings-value", "AVRO", SIMPLE, &[]);
    registry
}

#[test]
fn confluents_schemas_come_with_their_language_and_all_they_refer_to_in_order() {
    let registry = with_references();
    let client = client_of(registry.address());
    let schema = asked(&client, SchemaId::Confluent(3)).unwrap().unwrap();
    assert_eq!((schema.language, schema.text.as_str()), (Some(Language::Protobuf), "// top"));
    assert_eq!(names(&schema), ["base.proto", "middle.proto"]);
    assert_eq!(schema.references[0].text, "syntax = 'proto3';");
    let simple = asked(&client, SchemaId::Confluent(4)).unwrap().unwrap();
    assert_eq!((simple.language, simple.text.as_str()), (Some(Language::Avro), SIMPLE));
}

#[test]
fn apicurios_schemas_are_found_by_both_kinds_of_id_in_both_versions_of_its_interface() {
    for path in ["", "/", "/apis/registry/v2", "/apis/registry/v3/"] {
        let registry = with_references();
        let client = client_of(&format!("{}{path}", registry.address()));
        for id in [SchemaId::ApicurioGlobal(1003), SchemaId::ApicurioContent(3)] {
            let schema = asked(&client, id).unwrap().unwrap();
            assert_eq!((schema.language, schema.text.as_str()), (None, "// top"));
            assert_eq!(names(&schema), ["base.proto", "middle.proto"]);
        }
        assert_eq!(asked(&client, SchemaId::ApicurioGlobal(3)).unwrap(), None);
        assert_eq!(prefetched(&client, "readings", Api::Apicurio), Some(SchemaId::ApicurioGlobal(1004)));
        assert_eq!(prefetched(&client, "other", Api::Apicurio), None);
        assert!(client.known(SchemaId::ApicurioContent(4)).is_some());
    }
}

#[test]
fn a_schema_is_asked_for_once_and_the_newest_of_a_topic_is_there_before_any_record() {
    let registry = with_references();
    let client = client_of(registry.address());
    assert_eq!(prefetched(&client, "readings", Api::Confluent), Some(SchemaId::Confluent(4)));
    assert_eq!(prefetched(&client, "other", Api::Confluent), None);
    let before = registry.asked().len();
    assert!(asked(&client, SchemaId::Confluent(4)).unwrap().is_some());
    assert_eq!(registry.asked().len(), before);
}

#[test]
fn only_the_registrys_own_word_means_that_there_is_no_schema() {
    let registry = with_references();
    let client = client_of(registry.address());
    let id = SchemaId::Confluent(77);
    assert_eq!(asked(&client, id).unwrap(), None);
    for mood in [Mood::Away, Mood::Proxy(404), Mood::Proxy(503), Mood::Proxy(200)] {
        registry.mood(mood);
        let error = asked(&client, id).unwrap_err();
        assert_eq!(error.kind(), Kind::Outside, "{mood:?}");
        assert!(error.to_string().contains(&format!("the schema registry {}, schema id 77", registry.address())));
    }
    registry.mood(Mood::Answers);
    assert_eq!(asked(&client, id).unwrap(), None);
    // A path that leads past the registry gets a 404 as well, of the web server.
    let past = client_of(&format!("{}/elsewhere", registry.address()));
    assert!(asked(&past, SchemaId::Confluent(4)).unwrap_err().to_string().contains("404"));
    let past = client_of(&format!("{}/apis/registry/v4", registry.address()));
    assert!(asked(&past, SchemaId::ApicurioGlobal(1004)).unwrap_err().to_string().contains("404"));
}

#[test]
fn a_reference_that_is_missing_or_endless_is_no_answer_either() {
    let registry = Registry::start();
    registry.register(1, "a", "AVRO", SIMPLE, &[("b", "gone")]);
    let client = client_of(registry.address());
    let error = asked(&client, SchemaId::Confluent(1)).unwrap_err().to_string();
    assert!(error.contains("its reference `b` (gone, version 1) is not in the registry"), "{error}");
    for step in 0..50 {
        registry.register(100 + step, &format!("s{step}"), "AVRO", SIMPLE, &[("n", &format!("s{}", step + 1))]);
    }
    let error = asked(&client, SchemaId::Confluent(100)).unwrap_err().to_string();
    assert!(error.contains("do not come to an end"), "{error}");
}

#[test]
fn a_token_from_a_file_and_a_user_with_a_password_are_sent_and_a_refusal_says_what_to_set() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "canary\n").unwrap();
    let registry = with_references();
    let config = RegistryConfig { url: Some(registry.address().to_owned()), ..RegistryConfig::default() };
    let bearer = RegistryConfig { token_file: Some(file.clone()), ..config.clone() };
    let basic = RegistryConfig { user: Some("me".to_owned()), password_file: Some(file), ..config };
    for (config, authorization) in [(bearer, "Bearer canary"), (basic, "Basic bWU6Y2FuYXJ5")] {
        let client = Client::new(&config).unwrap().unwrap();
        registry.only_with(authorization);
        assert!(asked(&client, SchemaId::Confluent(4)).unwrap().is_some());
        registry.only_with("Bearer other");
        let error = asked(&client, SchemaId::Confluent(5)).unwrap_err();
        let shown = format!("{error} {error:?} {client:?} {config:?}");
        assert!(shown.contains("MEDALLION_REGISTRY_TOKEN") && !shown.contains("canary"), "{shown}");
    }
}
