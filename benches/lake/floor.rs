//! The least work that the job can be: the client library's own requests for the same files, with as many under way as the
//! ingestor has. No claims, no journal, no manifest, nothing that a crash would not undo.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore as _, PutMode, PutOptions, RetryConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::crypto::Crypto;
use crate::server::Reach;

/// Creates of small files that are under way at once, as in the ingestor.
pub const IN_FLIGHT: usize = csv_ingestor::limits::LAKE_IN_FLIGHT;
const PARTS_IN_FLIGHT: usize = csv_ingestor::limits::LAKE_PARTS_IN_FLIGHT;
const PART_BYTES: u64 = csv_ingestor::limits::LAKE_PART_BYTES;

/// A client, and the thread on which it works.
pub struct Floor {
    store: Arc<AmazonS3>,
    runtime: Runtime,
    /// What keys begin with.
    prefix: String,
}

impl Floor {
    /// Below this URL.
    pub fn open(reach: &Reach, url: &str) -> Floor {
        // Another client may have installed the same one before.
        let _ = rustls_graviola::default_provider().install_default();
        let (bucket, prefix) = url.strip_prefix("s3://").unwrap().split_once('/').unwrap();
        let get = |name: &str| reach.get(name).expect(name);
        let store = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_access_key_id(get("AWS_ACCESS_KEY_ID"))
            .with_secret_access_key(get("AWS_SECRET_ACCESS_KEY"))
            .with_region(get("AWS_REGION"))
            .with_endpoint(reach.endpoint())
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .with_crypto_provider(Arc::new(Crypto))
            // As in the ingestor: an error is one, and no request counts twice.
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .build()
            .unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Floor { store: Arc::new(store), runtime, prefix: prefix.to_owned() }
    }

    fn key(&self, name: &str) -> Key {
        Key::from(format!("{}/{name}", self.prefix))
    }

    /// Puts all files of a directory; returns the seconds. With `mode`, also on condition that there is no object.
    pub fn put_files(&self, dir: &Path, mode: &PutMode) -> f64 {
        let begun = Instant::now();
        let files = files(dir);
        self.runtime.block_on(async {
            let mut flight = JoinSet::new();
            for file in files {
                if flight.len() == IN_FLIGHT {
                    flight.join_next().await.unwrap().unwrap();
                }
                let (store, key) = (self.store.clone(), self.key(file.file_name().unwrap().to_str().unwrap()));
                let options = PutOptions::from(mode.clone());
                flight.spawn(async move {
                    let bytes = fs::read(file).unwrap();
                    store.put_opts(&key, bytes.into(), options).await.unwrap();
                });
            }
            while let Some(done) = flight.join_next().await {
                done.unwrap();
            }
        });
        begun.elapsed().as_secs_f64()
    }

    /// Puts one object; returns the milliseconds.
    pub fn put_ms(&self, name: &str, bytes: Vec<u8>) -> f64 {
        let (key, begun) = (self.key(name), Instant::now());
        self.runtime.block_on(self.store.put_opts(&key, bytes.into(), PutOptions::default())).unwrap();
        begun.elapsed().as_secs_f64() * 1000.0
    }

    /// Puts all files of a directory in parts, cut as the ingestor cuts them; returns the seconds.
    pub fn put_parts(&self, dir: &Path) -> f64 {
        let begun = Instant::now();
        let files = files(dir);
        self.runtime.block_on(async {
            let (mut flight, mut open) = (JoinSet::new(), HashMap::new());
            for (number, path) in files.iter().enumerate() {
                let key = self.key(path.file_name().unwrap().to_str().unwrap());
                let upload = self.store.create_multipart(&key).await.unwrap();
                let file = Arc::new(File::open(path).unwrap());
                let size = file.metadata().unwrap().len();
                let parts = usize::try_from(size.div_ceil(PART_BYTES)).unwrap();
                open.insert(number, (key.clone(), upload.clone(), vec![None::<PartId>; parts]));
                for part in 0..parts {
                    if flight.len() == PARTS_IN_FLIGHT {
                        self.hear(flight.join_next().await.unwrap().unwrap(), &mut open).await;
                    }
                    let (store, key, upload, file) = (self.store.clone(), key.clone(), upload.clone(), file.clone());
                    flight.spawn(async move {
                        let offset = part as u64 * PART_BYTES;
                        let mut bytes = vec![0; usize::try_from(PART_BYTES.min(size - offset)).unwrap()];
                        file.read_exact_at(&mut bytes, offset).unwrap();
                        (number, part, store.put_part(&key, &upload, part, bytes.into()).await.unwrap())
                    });
                }
            }
            while let Some(done) = flight.join_next().await {
                self.hear(done.unwrap(), &mut open).await;
            }
            assert!(open.is_empty(), "all uploads are completed");
        });
        begun.elapsed().as_secs_f64()
    }

    /// A part is there. The last one completes its upload.
    async fn hear(&self, (number, part, id): (usize, usize, PartId), open: &mut HashMap<usize, Upload>) {
        let (_, _, parts) = open.get_mut(&number).unwrap();
        parts[part] = Some(id);
        if parts.iter().all(Option::is_some) {
            let (key, upload, parts) = open.remove(&number).unwrap();
            let parts = parts.into_iter().flatten().collect();
            self.store.complete_multipart(&key, &upload, parts).await.unwrap();
        }
    }
}

/// Key, id, and the parts that are there.
type Upload = (Key, String, Vec<Option<PartId>>);

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}
