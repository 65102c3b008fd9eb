//! TLS and SASL to a real broker, TLS to a real store: with the right proof records arrive; with a wrong one it ends
//! soon, with exit code 3 and words that say what to do. And secrets are shown nowhere.

use std::io::{Seek, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::world::World;
use crate::world::http::{get, port_of};
use crate::world::real::{Record, readings, wait_until};
use crate::world::registry::Registry;
use crate::world::secure::{Authority, GuardedBroker, GuardedStore};

const PASSWORD: &str = "password-of-a-test";
/// A broker that refuses is asked for this long, and the process has to begin and to end.
const SOON: Duration = Duration::from_secs(30);

fn numbered(count: usize) -> Vec<Record> {
    (0..count).map(|n| Record::new(format!("{{\"n\": {n}}}"))).collect()
}

/// Properties of librdkafka as the configuration file has them.
fn properties(lines: &[(&str, &str)]) -> String {
    let lines: Vec<String> = lines.iter().map(|(name, value)| format!("\"{name}\" = {value}\n")).collect();
    format!("[kafka.properties]\n{}", lines.concat())
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

fn file(path: &Path) -> String {
    format!("{{ file = {} }}", quoted(path))
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FOR_URLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Without padding.
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let value = group.iter().fold(0_u32, |v, b| v << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        out.extend((0..=group.len()).map(|i| char::from(alphabet[(value >> (18 - 6 * i) & 63) as usize])));
    }
    out
}

/// A token that says of itself who sends it, which Kafka believes if it is told of nobody to ask.
fn unsigned_token(claims: &str) -> String {
    let encoded = |text: &str| base64(text.as_bytes(), FOR_URLS);
    format!("{}.{}.", encoded("{\"alg\":\"none\"}"), encoded(claims))
}

fn valid_token() -> String {
    let now = chrono::Utc::now().timestamp();
    unsigned_token(&format!("{{\"sub\":\"ingest\",\"iat\":{now},\"exp\":{}}}", now + 600))
}

#[test]
fn records_arrive_by_each_mechanism() {
    let authority = Authority::new();
    let guarded = GuardedBroker::start(&authority, PASSWORD);
    let client = authority.issue("client", Some(PASSWORD));
    let password_file = authority.path("password");
    std::fs::write(&password_file, format!("{PASSWORD}\n")).unwrap();
    let token_file = authority.path("token");
    std::fs::write(&token_file, valid_token()).unwrap();
    let (ca, password_file) = (quoted(&authority.certificate()), file(&password_file));
    let (certificate, key) = (quoted(&client.certificate), quoted(&client.key));
    let sasl = |mechanism: &'static str, more: &[(&'static str, &str)]| {
        let all = [("security.protocol", "'SASL_SSL'"), ("ssl.ca.location", &*ca), ("sasl.mechanism", mechanism)];
        properties(&[&all, more].concat())
    };
    let user = ("sasl.username", "'ingest'");
    let ways = [
        (guarded.sasl(), sasl("'PLAIN'", &[user, ("sasl.password", &password_file)])),
        (guarded.sasl(), sasl("'SCRAM-SHA-256'", &[user, ("sasl.password", "{ env = \"PASSWORD_OF_KAFKA\" }")])),
        (guarded.sasl(), sasl("'SCRAM-SHA-512'", &[user])),
        (
            guarded.sasl(),
            sasl(
                "'OAUTHBEARER'",
                &[("enable.sasl.oauthbearer.unsecure.jwt", "true"), ("sasl.oauthbearer.config", "'principal=ingest'")],
            ),
        ),
        (guarded.sasl(), format!("[kafka]\ntoken_file = {}\n{}", quoted(&token_file), sasl("'OAUTHBEARER'", &[]))),
        (
            guarded.mutual(),
            properties(&[
                ("security.protocol", "'SSL'"),
                ("ssl.ca.location", &ca),
                ("ssl.certificate.location", &certificate),
                ("ssl.key.location", &key),
                ("ssl.key.password", &password_file),
            ]),
        ),
    ];
    for (address, configuration) in ways {
        let (world, topic) = readings(World::new().with_brokers(guarded.broker.address()), 2);
        world.produce(&topic, &numbered(20));
        let world = world
            .with_brokers(address)
            .with("PASSWORD_OF_KAFKA", PASSWORD)
            .with("MEDALLION_KAFKA__PROPERTIES__SASL_PASSWORD", PASSWORD);
        let world = match configuration.contains("sasl.password") || configuration.contains("OAUTH") {
            true => world.without("MEDALLION_KAFKA__PROPERTIES__SASL_PASSWORD"),
            false => world,
        };
        world.write("medallion.toml", &configuration);
        let ended = world.catch_up();
        assert_eq!(ended.code, 0, "{configuration}\n{}", ended.err);
        assert_eq!(world.count("select count(*) from bronze.readings"), 20, "{configuration}");
        assert!(world.ok(&["status"]).out.contains("0 records behind Kafka"), "{configuration}");
    }
}

#[test]
fn who_is_refused_by_the_broker_or_does_not_trust_it_is_told_so_soon() {
    let (authority, other) = (Authority::new(), Authority::new());
    let guarded = GuardedBroker::start(&authority, PASSWORD);
    let (world, _) = readings(World::new().with_brokers(guarded.broker.address()), 1);
    let world = world.with_brokers(guarded.sasl());
    let (ca, wrong_ca) = (quoted(&authority.certificate()), quoted(&other.certificate()));
    let sasl = |mechanism: &str, ca: &str| {
        properties(&[
            ("security.protocol", "'SASL_SSL'"),
            ("ssl.ca.location", ca),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "'ingest'"),
            ("sasl.password", "{ env = \"PASSWORD_OF_KAFKA\" }"),
        ])
    };
    let (expired, unknown) = (authority.path("expired"), authority.path("unknown"));
    std::fs::write(&expired, unsigned_token("{\"sub\":\"ingest\",\"exp\":1}")).unwrap();
    std::fs::write(&unknown, "opaque").unwrap();
    let token = |file: &Path| format!("[kafka]\ntoken_file = {}\n{}", quoted(file), sasl("'OAUTHBEARER'", &ca));
    let no_password = ["refuses us", "help: check sasl.mechanism, sasl.username and sasl.password"];
    let cases: [(String, &[&str]); 9] = [
        (sasl("'PLAIN'", &ca), &no_password),
        (sasl("'SCRAM-SHA-256'", &ca), &no_password),
        (sasl("'SCRAM-SHA-512'", &ca), &no_password),
        (sasl("'OAUTHBEARER'", &ca), &["OAUTHBEARER needs a token, and kafka.token_file is not set"]),
        (token(&expired), &["kafka.token_file: the token in", "has expired"]),
        (token(&unknown), &["refuses us"]),
        (token(&authority.path("missing")), &["kafka.token_file: cannot read"]),
        (sasl("'PLAIN'", &wrong_ca), &["is not reached by TLS", "help: check that ssl.ca.location"]),
        (String::new(), &["does not answer: ", "APIVERSION_QUERY", "needs security.protocol"]),
    ];
    let world = world.with("PASSWORD_OF_KAFKA", "wrong-password");
    for (configuration, words) in cases {
        world.write("medallion.toml", &configuration);
        let began = Instant::now();
        let ended = world.fails(&["ingest", "--until-caught-up"], 3, words);
        assert!(began.elapsed() < SOON, "{configuration}: {:?}\n{}", began.elapsed(), ended.err);
        assert!(!ended.err.contains("wrong-password"), "{}", ended.err);
    }
    // What can be known before anybody is asked is the user's to mend.
    world.write("medallion.toml", &sasl("'PLAIN'", &quoted(&authority.path("missing"))));
    world.fails(&["ingest"], 2, &["ssl.ca.location"]);
    world.write("medallion.toml", &properties(&[("sasl.oauthbearer.method", "'oidc'")]));
    world.fails(&["ingest"], 2, &["sasl.oauthbearer.method", "kafka.token_file"]);
    world.write("medallion.toml", &properties(&[("sasl.password", "'in-the-clear'")]));
    let ended = world.fails(&["ingest"], 2, &["`sasl.password` is written in the configuration", "medallion.toml:2:1"]);
    assert!(!ended.err.contains("in-the-clear"), "{}", ended.err);
}

#[test]
fn a_lake_is_kept_behind_tls_with_an_authority_of_ones_own() {
    let (authority, other) = (Authority::new(), Authority::new());
    let store = GuardedStore::start(&authority, PASSWORD);
    let world = store.holds(World::new(), PASSWORD);
    world.write("rows.csv", "customer_id,updated_at\nCUST-00000001,2025-03-20T00:00:00Z\n");
    let load = ["load", "crm_customers", "--from", "rows.csv"];
    let trusting = |world: World, ca: &Path| world.with("MEDALLION_LAKE__CA_FILE", &ca.display().to_string());

    let world = trusting(world, &authority.certificate());
    world.ok(&load);
    assert_eq!(world.count("select count(*) from bronze.crm_customers"), 1);
    world.ok(&["verify"]);

    let refused = |world: &World, words: &[&str]| {
        let began = Instant::now();
        world.fails(&load, 3, words);
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    };
    let world = trusting(world, &other.certificate());
    refused(&world, &["certificate is not trusted", "lake.ca_file"]);
    let world = world.without("MEDALLION_LAKE__CA_FILE");
    refused(&world, &["certificate is not trusted", "lake.ca_file"]);
    let world = trusting(world, &authority.certificate()).with("AWS_SECRET_ACCESS_KEY", "wrong-password");
    refused(&world, &["the store refuses: check AWS_ACCESS_KEY_ID"]);
    world.with("MEDALLION_LAKE__CA_FILE", "nowhere.pem").fails(&load, 2, &["lake.ca_file", "nowhere.pem"]);
}

/// Finds a secret however it is written: as it is, with percent signs, or in base64 wherever in a longer text it stood.
struct Needles {
    file: tempfile::NamedTempFile,
}

impl Needles {
    fn of(secrets: &[&str]) -> Needles {
        let mut all = Vec::new();
        for secret in secrets {
            all.push(secret.to_string());
            let percent = |digits: fn(u8) -> String| -> String {
                let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(b);
                secret.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { digits(b) }).collect()
            };
            all.extend([percent(|b| format!("%{b:02X}")), percent(|b| format!("%{b:02x}"))]);
            for alphabet in [STANDARD, FOR_URLS] {
                for before in 0..3 {
                    let text = base64(&[&b"xx"[..before], secret.as_bytes()].concat(), alphabet);
                    // The digits that no byte of a neighbour has a part in.
                    let (first, last) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
                    all.push(text[first..last].to_owned());
                }
            }
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(all.join("\n").as_bytes()).unwrap();
        Needles { file }
    }

    fn grep(&self) -> Command {
        let mut command = Command::new("grep");
        command.args(["--text", "--fixed-strings", "--max-count=1", "--file"]).arg(self.file.path());
        command
    }

    /// The first line that shows one.
    fn shown_by(&self, text: &str) -> Option<String> {
        let mut hay = tempfile::tempfile().unwrap();
        hay.write_all(text.as_bytes()).unwrap();
        hay.rewind().unwrap();
        let output = self.grep().stdin(hay).output().unwrap();
        assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn assert_absent(&self, place: &str, text: &str) {
        if let Some(line) = self.shown_by(text) {
            panic!("{place} shows a secret: {line}");
        }
    }

    fn assert_absent_below(&self, folder: &Path) {
        let output = self.grep().args(["--recursive", "--files-with-matches"]).arg(folder).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn secrets_are_shown_nowhere_whether_they_are_right_or_wrong() {
    const KAFKA: &str = "canary/of+kafka%21";
    const STORE: &str = "canary/of+the-store%22";
    const TOKEN: &str = "canary.of+the/registry~23";
    const KEY: &str = "canary/of+the-keyed-hashes%24-with-32-bytes";
    const WRONG: &str = "canary/that+is-wrong%25";
    let needles = Needles::of(&[KAFKA, STORE, TOKEN, KEY, WRONG]);
    for shown in [
        format!("a {KAFKA} b"),
        base64(format!("root:{STORE}").as_bytes(), STANDARD),
        base64(format!("me:{STORE}!").as_bytes(), FOR_URLS),
        "canary%2fof%2bkafka%2521".to_owned(),
    ] {
        assert!(needles.shown_by(&shown).is_some(), "{shown}");
    }

    let authority = Authority::new();
    let guarded = GuardedBroker::start(&authority, KAFKA);
    let store = GuardedStore::start(&authority, STORE);
    let registry = Registry::start();
    registry.only_with(&format!("Bearer {TOKEN}"));
    let (world, framed) = readings(World::new().with_brokers(guarded.broker.address()), 1);
    let framed_contract =
        format!("CREATE TABLE framed (n BIGINT) WITH (topic = '{framed}', format = 'avro', timezone = 'UTC');");
    let world = world.with_carrier(600).contract("framed", &framed_contract);
    std::fs::remove_file(world.path("contracts/readings.sql")).unwrap();
    let world = store.holds(world, STORE).with_brokers(guarded.sasl()).with("MEDALLION_PII_KEY", KEY);
    let (password_file, token_file) = (world.write("password", KAFKA), world.write("token", TOKEN));
    let ca = quoted(&authority.certificate());
    let configuration = format!(
        "[lake]\nca_file = {ca}\n[registry]\nurl = \"{}\"\ntoken_file = {}\n{}",
        registry.address(),
        quoted(&token_file),
        properties(&[
            ("security.protocol", "'SASL_SSL'"),
            ("ssl.ca.location", &ca),
            ("sasl.mechanism", "'PLAIN'"),
            ("sasl.username", "'ingest'"),
            ("sasl.password", &file(&password_file)),
            ("debug", "'security,conf,broker'"),
        ])
    );
    world.write("medallion.toml", &configuration);

    let loud = ["-v", "-v", "--log-format", "json"];
    let daemon = world.daemon(&[&["ingest"], &loud[..]].concat());
    let address = port_of(&daemon);
    wait_until("records land", || get(&address, "/metrics").1.contains("commits_total{"));
    wait_until("it is ready", || get(&address, "/ready").0 == 200);
    for path in ["/metrics", "/health", "/ready"] {
        needles.assert_absent(path, &get(&address, path).1);
    }
    let load = ["load", "crm_customers", "--from", "sources/customers-001.csv"];
    let commands: [&[&str]; 7] = [
        &load,
        &["status"],
        &["validate"],
        &["verify"],
        &["sql", "-c", "select * from bronze.call_events limit 3"],
        &["build"],
        &["compact"],
    ];
    let run_all = |world: &World, code: Option<i32>| {
        for command in commands {
            let ended = world.run(&[command, &loud[..]].concat());
            assert!(
                code.is_none_or(|code| ended.code == code),
                "{command:?} ended with {}:\n{}",
                ended.code,
                ended.out
            );
            needles.assert_absent(&format!("standard output of {command:?}"), &ended.out);
            needles.assert_absent(&format!("standard error of {command:?}"), &ended.err);
        }
    };
    run_all(&world, Some(0));
    daemon.signal("-TERM");
    needles.assert_absent("the daemon", &daemon.said());
    let said = daemon.said();
    assert!(said.contains("sasl.password") && said.contains("redacted"), "librdkafka tells its configuration");
    daemon.succeeds();

    // Whoever is refused says so, and no more.
    world.write("token", WRONG);
    world.write("password", WRONG);
    run_all(&world, None);
    let refused = world.fails(&[&["ingest"], &loud[..]].concat(), 3, &["refuses us"]);
    needles.assert_absent("ingest that the broker refuses", &refused.err);
    let world = world.with("AWS_SECRET_ACCESS_KEY", WRONG);
    run_all(&world, Some(3));
    let world = world.with("AWS_SECRET_ACCESS_KEY", STORE).with("MEDALLION_PII_KEY", "canary/too-short");
    let short = Needles::of(&["canary/too-short"]);
    let refused = world.fails(&["build", "-v", "-v"], 2, &["fewer than 32 bytes"]);
    short.assert_absent("a build with a short key", &refused.err);

    // Nor do they end up in the lake.
    let kept = store.data().join("tests");
    let files = walkdir::WalkDir::new(&kept).into_iter().filter(|entry| entry.as_ref().unwrap().file_type().is_file());
    let files = files.count();
    assert!(files > 20, "{files} files in the lake");
    needles.assert_absent_below(&kept);
}
