//! Servers that prove who they are and ask the same of others: an authority and its certificates, made for the test; a
//! broker with TLS and SASL; a store with TLS.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::World;
use super::real::{Broker, Running, unique, variable, wait_until};

/// Signs certificates for this machine.
pub struct Authority {
    folder: TempDir,
}

/// A key and its certificate, in PEM.
pub struct Identity {
    pub key: PathBuf,
    pub certificate: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        let authority = Authority { folder: tempfile::tempdir().unwrap() };
        let settings = "[req]\ndistinguished_name = name\nx509_extensions = authority\n[name]\n[authority]\n\
                        basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n\
                        subjectKeyIdentifier = hash\n[server]\nsubjectAltName = IP:127.0.0.1, DNS:localhost\n";
        std::fs::write(authority.path("openssl.cnf"), settings).unwrap();
        authority.openssl("req -x509 -subj /CN=authority -days 2 -nodes -keyout ca.key -out ca.pem -newkey rsa:2048");
        authority
    }

    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for 127.0.0.1, whose key is encrypted if there is a password.
    pub fn issue(&self, name: &str, password: Option<&str>) -> Identity {
        let encrypted = password.map_or_else(|| "-nodes".to_owned(), |p| format!("-passout pass:{p}"));
        self.openssl(&format!(
            "req -new -subj /CN={name} {encrypted} -keyout {name}.key -out {name}.csr -newkey rsa:2048"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out {name}.pem \
             -extfile openssl.cnf -extensions server"
        ));
        Identity { key: self.path(&format!("{name}.key")), certificate: self.path(&format!("{name}.pem")) }
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        let output = command.env("OPENSSL_CONF", self.path("openssl.cnf")).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A broker that lets in whoever tests it by one listener, and the user `ingest` by others that ask for proof.
pub struct GuardedBroker {
    pub broker: Broker,
    sasl: String,
    mutual: String,
}

impl GuardedBroker {
    pub fn start(authority: &Authority, password: &str) -> GuardedBroker {
        let server = authority.issue("broker", None);
        let read = |file: &Path| std::fs::read_to_string(file).unwrap();
        let keystore = authority.path("broker.keystore.pem");
        std::fs::write(&keystore, read(&server.key) + &read(&server.certificate)).unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (sasl, mutual) = (free(), free());
        let module = "org.apache.kafka.common.security";
        let properties = format!(
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL,MUTUAL:SSL\n\
             inter.broker.listener.name=PLAINTEXT\n\
             ssl.keystore.type=PEM\nssl.keystore.location={}\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
             listener.name.mutual.ssl.client.auth=required\n\
             listener.name.guarded.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
             listener.name.guarded.plain.sasl.jaas.config={module}.plain.PlainLoginModule required \
             user_ingest=\"{password}\";\n\
             listener.name.guarded.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             listener.name.guarded.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;\n\
             listener.name.guarded.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required \
             unsecuredLoginStringClaim_sub=\"broker\";\n",
            keystore.display(),
            authority.certificate().display(),
        );
        let scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|m| format!("{m}=[name=ingest,password={password}]"));
        let format = ["--add-scram", &scram[0], "--add-scram", &scram[1]];
        let listeners = format!(",GUARDED://{sasl},MUTUAL://{mutual}");
        GuardedBroker { broker: Broker::with(&listeners, &properties, &format), sasl, mutual }
    }

    /// Where SASL is asked for, over TLS.
    pub fn sasl(&self) -> &str {
        &self.sasl
    }

    /// Where a client has to have a certificate.
    pub fn mutual(&self) -> &str {
        &self.mutual
    }
}

/// MinIO with TLS, for the user `root` with this password.
pub struct GuardedStore {
    address: String,
    // Last: the server ends before its folder goes.
    _server: Running,
    folder: TempDir,
}

impl GuardedStore {
    pub fn start(authority: &Authority, password: &str) -> GuardedStore {
        let folder = tempfile::tempdir().unwrap();
        let server = authority.issue("store", None);
        std::fs::create_dir(folder.path().join("certs")).unwrap();
        std::fs::copy(server.key, folder.path().join("certs/private.key")).unwrap();
        std::fs::copy(server.certificate, folder.path().join("certs/public.crt")).unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut command = Command::new(variable("MEDALLION_TEST_MINIO"));
        command.arg("server").arg(folder.path().join("data")).args(["--address", &address, "--certs-dir"]);
        command.arg(folder.path().join("certs")).env("MINIO_ROOT_USER", "root").env("MINIO_ROOT_PASSWORD", password);
        command.env("MINIO_BROWSER", "off").stdin(Stdio::null()).stdout(Stdio::null());
        let server = Running::start(command, folder.path().join("err"));
        wait_until("the store has started", || server.said().contains("\nAPI: "));
        let made = Command::new(variable("MEDALLION_TEST_MC"))
            .args(["--quiet", "--insecure", "--config-dir"])
            .arg(folder.path().join("mc"))
            .args(["mb", "store/tests"])
            .env("MC_HOST_store", format!("https://root:{password}@{address}"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        GuardedStore { address, _server: server, folder }
    }

    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it keeps what is put into it.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The same world with a lake of its own in this store.
    pub fn holds(&self, world: World, password: &str) -> World {
        world
            .on(&format!("s3://tests/{}", unique("lake")))
            .with("MEDALLION_LAKE__ENDPOINT", &self.endpoint())
            .with("AWS_ACCESS_KEY_ID", "root")
            .with("AWS_SECRET_ACCESS_KEY", password)
    }
}
