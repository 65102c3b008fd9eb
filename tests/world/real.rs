//! The real broker and the real store that tests/run starts, and programs beside them that share no code with us.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Ended, PATIENCE, World};

/// What tests/run says of the servers.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run it through ./tests/run"))
}

/// A name that no other test has, in this run or another.
pub fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

/// A small table, for tests that care for offsets only.
pub fn readings(world: World, partitions: i32) -> (World, String) {
    let topic = world.topic("readings", partitions);
    let contract =
        format!("CREATE TABLE readings (n BIGINT) WITH (topic = '{topic}', format = 'json', timezone = 'UTC');");
    (world.contract("readings", &contract), topic)
}

/// Waits for something to become true, as long as it takes within reason.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A program that is ended when the test is, however that ends.
pub struct Running {
    child: Child,
    errors: std::path::PathBuf,
}

impl Running {
    pub fn start(mut command: Command, errors: std::path::PathBuf) -> Running {
        let child = command.stderr(File::create(&errors).unwrap()).spawn().unwrap();
        Running { child, errors }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill {signal}");
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.errors).unwrap()).into_owned()
    }

    /// Waits for its end. Standard output is the caller's.
    pub fn ended(&mut self) -> Ended {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ended { code: status.code().unwrap_or(-1), out: String::new(), err: self.said() };
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn succeeds(mut self) {
        let ended = self.ended();
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A broker of a test's own, for one that ends it.
pub struct Broker {
    folder: tempfile::TempDir,
    address: String,
    server: Option<Running>,
}

impl Broker {
    pub fn start() -> Broker {
        Broker::with("", "", &[])
    }

    /// A broker with more listeners, more properties, and more words for the program that formats its storage.
    pub fn with(listeners: &str, more: &str, formatting: &[&str]) -> Broker {
        let folder = tempfile::tempdir().unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, controller) = (free(), free());
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}\n\
             log.dirs={}\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             group.initial.rebalance.delay.ms=0\n{more}",
            folder.path().join("log").display()
        );
        std::fs::write(folder.path().join("kafka.properties"), properties).unwrap();
        let mut broker = Broker { folder, address: format!("127.0.0.1:{port}"), server: None };
        let config = broker.folder.path().join("kafka.properties").display().to_string();
        let format = [&["format", "--cluster-id", "AAAAAAAAAAAAAAAAAAAAAA", "--config", &config], formatting].concat();
        let formatted = java("kafka.tools.StorageTool", &format).stdin(Stdio::null()).output().unwrap();
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        broker.start_again();
        broker
    }

    pub fn start_again(&mut self) {
        let config = self.folder.path().join("kafka.properties").display().to_string();
        let mut command = java("kafka.Kafka", &[&config]);
        let log = self.folder.path().join("out");
        command.stdin(Stdio::null()).stdout(File::create(&log).unwrap());
        self.server = Some(Running::start(command, self.folder.path().join("err")));
        wait_until("the broker has started", || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let server = self.server.as_mut().and_then(|server| server.child.try_wait().unwrap());
            assert!(server.is_none(), "the broker ended:\n{said}");
            said.contains("Kafka Server started")
        });
    }

    pub fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    pub fn address(&self) -> &str {
        &self.address
    }
}

fn java(class: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("java");
    let log4j = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stack/log4j2.properties");
    command.args(["-Xmx256m", &format!("-Dlog4j2.configurationFile={}", log4j.display())]);
    command.args(["-cp", &format!("{}/*", variable("MEDALLION_TEST_KAFKA_TOOLS")), class]).args(arguments);
    command
}

/// A record for Kafka. The value is bytes; None is a tombstone.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub key: Option<String>,
    pub value: Option<Vec<u8>>,
    pub partition: Option<i32>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub fn new(value: impl Into<Vec<u8>>) -> Record {
        Record { value: Some(value.into()), ..Record::default() }
    }

    pub fn with_key(mut self, key: &str) -> Record {
        self.key = Some(key.to_owned());
        self
    }

    /// Adds a header, which may have no value.
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Record {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    pub fn to(mut self, partition: i32) -> Record {
        self.partition = Some(partition);
        self
    }

    fn to_json(&self) -> Value {
        // A character a byte: see kafka.py.
        let text =
            |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| b.iter().map(|b| char::from(*b)).collect::<String>());
        let mut record = json!({ "key": self.key, "value": text(&self.value) });
        if !self.headers.is_empty() {
            record["headers"] = self.headers.iter().map(|(name, value)| json!([name, text(value)])).collect();
        }
        if let Some(partition) = self.partition {
            record["partition"] = partition.into();
        }
        record
    }
}

/// Where the broker put records: the number of the record by (partition, offset).
pub type Acknowledged = BTreeMap<(i32, i64), usize>;

impl World {
    /// The real broker, and a lake of this world's own in a bucket on the real MinIO.
    pub fn real(name: &str) -> World {
        let world = World::new()
            .with_brokers(&variable("MEDALLION_TEST_KAFKA"))
            .with("MEDALLION_KAFKA__GROUP", &unique(name))
            .with("MEDALLION_LAKE__ENDPOINT", &variable("MEDALLION_TEST_S3_ENDPOINT"))
            .with("MEDALLION_LAKE__ALLOW_HTTP", "true");
        world.mc(&["mb", "--ignore-existing", "lake/tests"]);
        world.on(&format!("s3://tests/{}", unique(name)))
    }

    /// Runs MinIO's client as root, to whom the store is known as `lake`. It has to succeed.
    pub fn mc(&self, arguments: &[&str]) -> String {
        let ended = self.mc_as(&variable("AWS_ACCESS_KEY_ID"), &variable("AWS_SECRET_ACCESS_KEY"), arguments);
        assert_eq!(ended.code, 0, "mc {arguments:?}: {}{}", ended.out, ended.err);
        ended.out
    }

    /// Runs MinIO's client as this user.
    pub fn mc_as(&self, user: &str, secret: &str, arguments: &[&str]) -> Ended {
        let endpoint = variable("MEDALLION_TEST_S3_ENDPOINT");
        let host = endpoint.strip_prefix("http://").unwrap();
        let output = Command::new(variable("MEDALLION_TEST_MC"))
            .args(["--quiet", "--config-dir"])
            .arg(self.path("mc"))
            .args(arguments)
            .env("MC_HOST_lake", format!("http://{user}:{secret}@{host}"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a daemon, whose words are kept in a file of the world's folder.
    pub fn daemon(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Running::start(command, self.path(&unique("daemon")))
    }

    /// Ingests all there is now and ends, which it must within reason.
    pub fn catch_up(&self) -> Ended {
        self.daemon(&["ingest", "--until-caught-up"]).ended()
    }

    pub fn catches_up(&self) {
        let ended = self.catch_up();
        assert_eq!(ended.code, 0, "{}", ended.err);
    }

    /// A contract of this world's own. With any, the built-in ones do not hold.
    pub fn contract(self, table: &str, text: &str) -> World {
        self.write(&format!("contracts/{table}.sql"), text);
        let folder = self.path("contracts").display().to_string();
        self.with("MEDALLION_INGEST__CONTRACTS", &folder)
    }

    /// The contract of the project for a table, with a topic of its own.
    pub fn contract_of(self, table: &str, topic: &str) -> World {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("sql/bronze/{table}.sql"));
        let text = std::fs::read_to_string(file).unwrap();
        let own = text.replace(&format!("topic = '{table}'"), &format!("topic = '{topic}'"));
        self.contract(table, &own)
    }

    /// The project's contracts with topics of this world's own, the generator's records of them in Kafka, sent by a
    /// producer that is not ours, and the CRM's extract in `sources/customers-001.csv`.
    pub fn with_carrier(mut self, events: u32) -> World {
        let sources = self.path("sources").display().to_string();
        self.ok(&["generate", "--to", &sources, "--crm", &sources, "--events", &events.to_string()]);
        for stream in ["call_events", "data_session_events", "network_probe_events", "sms_events"] {
            let topic = self.topic(stream, 3);
            let lines = std::fs::read(self.path(&format!("sources/{stream}.json"))).unwrap();
            let records: Vec<Record> =
                lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(Record::new).collect();
            self.produce(&topic, &records);
            self = self.contract_of(stream, &topic);
        }
        // The CRM comes from files.
        self.contract_of("crm_customers", "")
    }

    fn brokers(&self) -> String {
        self.setting("MEDALLION_KAFKA__BROKERS").to_owned()
    }

    /// Makes a topic with a name like this one.
    pub fn topic(&self, name: &str, partitions: i32) -> String {
        let topic = unique(name);
        self.kafka(&["create", &topic, &partitions.to_string()]);
        topic
    }

    /// Runs a program in Python, which has to succeed within reason, and gives what it printed.
    pub fn python(&self, script: &str, arguments: &[&str], input: &str) -> String {
        let out = self.path(&unique("out"));
        let mut command = script_of(script, arguments);
        command.stdin(Stdio::piped()).stdout(File::create(&out).unwrap());
        let mut running = Running::start(command, self.path(&unique("python")));
        let mut stdin = running.child.stdin.take().unwrap();
        // A program that fails reads no further; what it said tells more than the broken pipe.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let ended = running.ended();
        assert_eq!(ended.code, 0, "{script} {arguments:?}: {}", ended.err);
        std::fs::read_to_string(out).unwrap()
    }

    /// Runs the Kafka client of tests/python.
    pub fn kafka(&self, arguments: &[&str]) -> String {
        self.kafka_with(arguments, "")
    }

    fn kafka_with(&self, arguments: &[&str], input: &str) -> String {
        let broker = &self.brokers();
        self.python("kafka.py", &[&[broker.as_str()], arguments].concat(), input)
    }

    /// Sends records and waits until all are acknowledged.
    pub fn produce(&self, topic: &str, records: &[Record]) -> Acknowledged {
        let input: String = records.iter().map(|r| format!("{}\n", r.to_json())).collect();
        let acknowledged = read_acknowledged(self.kafka_with(&["produce", topic], &input).as_bytes());
        assert_eq!(acknowledged.len(), records.len());
        acknowledged
    }

    /// Sends records, each vector in a transaction of its own, which is committed or aborted.
    pub fn transactions(&self, topic: &str, transactions: &[(bool, Vec<Record>)]) {
        let line = |(commit, records): &(bool, Vec<Record>)| {
            let records: Vec<Value> = records.iter().map(Record::to_json).collect();
            format!("{}\n", json!({ "commit": commit, "records": records }))
        };
        let input: String = transactions.iter().map(line).collect();
        self.kafka_with(&["transactions", topic], &input);
    }

    /// The offset after the last record of a partition.
    pub fn end(&self, topic: &str, partition: i32) -> i64 {
        self.kafka(&["end", topic, &partition.to_string()]).trim().parse().unwrap()
    }

    /// A producer that takes records one by one.
    pub fn producer(&self, topic: &str) -> Producer {
        let mut command = script_of("kafka.py", &[&self.brokers(), "produce", topic]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(command, self.path(&unique("producer")));
        let (input, output) = (running.child.stdin.take(), running.child.stdout.take().unwrap());
        let acknowledged = std::thread::spawn(move || read_acknowledged(BufReader::new(output)));
        Producer { input, acknowledged, running }
    }
}

pub struct Producer {
    input: Option<ChildStdin>,
    acknowledged: JoinHandle<Acknowledged>,
    running: Running,
}

impl Producer {
    pub fn send(&mut self, record: &Record) {
        let line = format!("{}\n", record.to_json());
        if self.input.as_mut().unwrap().write_all(line.as_bytes()).is_err() {
            panic!("the producer ended: {}", self.running.said());
        }
    }

    /// Waits until all that was sent is acknowledged.
    pub fn finish(mut self) -> Acknowledged {
        self.input = None;
        let ended = self.running.ended();
        assert_eq!(ended.code, 0, "{}", ended.err);
        self.acknowledged.join().unwrap()
    }
}

fn script_of(script: &str, arguments: &[&str]) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let mut command = Command::new(variable("MEDALLION_TEST_PYTHON"));
    command.arg(file).args(arguments);
    command
}

fn read_acknowledged(lines: impl BufRead) -> Acknowledged {
    let number = |text: &str| -> i64 { text.parse().unwrap() };
    lines
        .lines()
        .map(|line| {
            let line = line.unwrap();
            let [record, partition, offset] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            ((i32::try_from(number(partition)).unwrap(), number(offset)), usize::try_from(number(record)).unwrap())
        })
        .collect()
}
