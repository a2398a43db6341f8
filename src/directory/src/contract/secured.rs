//! A Cassandra that wants TLS and a password, started for this test alone.

use super::{HOMES, homes, put};
use crate::store::{Store, StoreError, StoreOptions, now_us};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const STORES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/stores");

/// The server; it ends with this, and with the process should that be killed.
struct Secured {
    port: u16,
    folder: PathBuf,
    guard: Option<Child>,
}

impl Secured {
    fn start() -> Self {
        // Below the ports that the kernel gives to connections by itself.
        let first = 30_000 + std::process::id() as u16 % 1000;
        let mut free = (first..32_700).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let (port, storage_port) = (free.next().unwrap(), free.next().unwrap());
        let folder = std::env::temp_dir().join(format!("sipfed-secured-{port}"));
        // What a test left that was killed.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let command = |program: &str| {
            let mut command = Command::new(program);
            command
                .env_remove("CASSANDRA_URL")
                .env("SIPFED_STORES_DATA", &folder)
                .env("CASSANDRA_PORT", port.to_string())
                .env("CASSANDRA_STORAGE_PORT", storage_port.to_string())
                .env("CASSANDRA_HEAP", "512M")
                .env("CASSANDRA_AUTH", "password")
                .env("CASSANDRA_TLS", folder.join("tls"));
            command
        };
        // Its standard input ends with this process, whatever that dies of; in a session of its own no Ctrl-C ends it.
        let guard = command("setsid")
            .args(["sh", "-c", "cat >/dev/null; exec \"$0\" stop cassandra", STORES])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let secured = Self { port, guard: Some(guard), folder: folder.clone() };
        let output = command(STORES).args(["start", "cassandra"]).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        secured
    }

    async fn connect(&self, credentials: &str, options: &str) -> Result<Store, StoreError> {
        let url = format!("cassandra://{credentials}127.0.0.1:{}/sipfed.homes{options}", self.port);
        let options = StoreOptions { timeout: Duration::from_secs(20), ..StoreOptions::default() };
        Store::connect(&url.parse().unwrap(), &options).await
    }

    /// What is told where a connection is refused for good.
    async fn refusal(&self, credentials: &str, options: &str) -> String {
        match self.connect(credentials, options).await {
            Err(error @ StoreError::Refused { .. }) => format!("{} {error:?}", error.told()),
            Err(error) => panic!("{credentials}{options}: {}", error.told()),
            Ok(_) => panic!("{credentials}{options} was let in"),
        }
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_secured_cluster_takes_its_password_over_tls_and_nothing_else() {
    let secured = Secured::start();
    let tls = format!("?tls=true&ca={}", secured.folder.join("tls/ca.pem").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store =
            secured.connect("cassandra:cassandra@", &tls).await.unwrap_or_else(|error| panic!("{}", error.told()));
        store.write(HOMES[0], &[put("alice@example.com")], now_us()).await.unwrap();
        assert_eq!(homes(&store, "alice@example.com").await, [HOMES[0]]);

        let told = secured.refusal("cassandra:opensesame@", &tls).await;
        assert!(told.contains("see to user, password and certificates"), "{told}");
        assert!(!told.contains("opensesame"), "{told}");
        secured.refusal("", &tls).await;
        // The system does not trust an authority that this test has made.
        secured.refusal("cassandra:cassandra@", "?tls=true").await;
        let Err(error) = secured.connect("cassandra:opensesame@", "").await else { panic!("let in without TLS") };
        assert!(!format!("{} {error:?}", error.told()).contains("opensesame"), "{}", error.told());
    });
}
