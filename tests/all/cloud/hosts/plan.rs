//! What the environment asks for: scripts/check_lake sets it.

use std::path::PathBuf;
use std::time::Duration;

use csv_ingestor::store::cloud::{self, CloudStore};
use csv_ingestor::store::location::{Location, Options};

/// See the module.
pub struct Plan {
    /// Distinct contents. Some are sent more than once.
    pub files: u64,
    pub seed: u64,
    /// For so long files are sent, and everything is killed.
    pub time: Duration,
    /// Finishes what a dead host has left with `lake roll-forward`, instead of waiting until the others do.
    pub is_hurried: bool,
    /// For staging and state directories, and logs.
    pub dir: PathBuf,
    /// The directory of scripts/object_store, whose processes may be killed.
    pub servers: PathBuf,
    /// HOST:PORT of each.
    pub gateways: Vec<String>,
    /// The store's endpoint as it is set.
    endpoint: String,
    pub warehouse: Location,
    pub manifests: Location,
}

fn text(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: scripts/check_lake does that"))
}

fn number(name: &str) -> u64 {
    text(name).parse().unwrap()
}

impl Plan {
    pub fn read() -> Plan {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let bucket = text("CSV_INGESTOR_TEST_STORE");
        let at = |place: &str| Location::parse(&format!("{bucket}/lake-{now}/{place}")).unwrap();
        let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap_or_else(|_| text("AZURE_STORAGE_ENDPOINT"));
        let gateways = text("CSV_INGESTOR_TEST_GATEWAYS");
        Plan {
            files: number("CSV_INGESTOR_TEST_FILES"),
            seed: number("CSV_INGESTOR_TEST_SEED"),
            time: Duration::from_secs(number("CSV_INGESTOR_TEST_SECONDS")),
            is_hurried: number("CSV_INGESTOR_TEST_HURRY") > 0,
            dir: PathBuf::from(text("CSV_INGESTOR_TEST_DIR")),
            servers: PathBuf::from(text("CSV_INGESTOR_TEST_SERVERS")),
            gateways: gateways.split_whitespace().map(str::to_owned).collect(),
            endpoint,
            warehouse: at("warehouse"),
            manifests: at("manifests"),
        }
    }

    /// The endpoint behind a proxy.
    pub fn endpoint(&self, port: u16) -> String {
        let (scheme, rest) = self.endpoint.split_once("://").unwrap();
        assert_eq!(scheme, "http", "the proxy does not speak TLS");
        let path = rest.find('/').map_or("", |begin| &rest[begin..]);
        format!("http://127.0.0.1:{port}{path}")
    }

    /// The store at this location, behind a proxy.
    pub fn open(&self, location: &Location, port: u16) -> CloudStore {
        let options = Options(vec![("endpoint".to_owned(), self.endpoint(port))]);
        cloud::open(location, &options).unwrap()
    }
}
