//! A bucket of S3, or of what speaks as it does: files are written beside, and sent whole.
//!
//! An object appears with its name when all of it is there, and one that comes again replaces
//! itself. Nothing here is tried again for long: the frame does that.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path as Local, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aqueduct::config::{Millis, Size};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential};
use object_store::path::{Path, PathPart};
use object_store::{
    BackoffConfig, ClientOptions, CredentialProvider, MultipartUpload, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use serde::Deserialize;

use crate::sink::Failure;
use crate::stop::Stop;

/// Least bytes of a part, but the last: what S3 has.
const PART_BYTES_MIN: u64 = 5 << 20;
/// Most parts of an object: what S3 has.
const MOST_PARTS: u64 = 10_000;
/// The longest that an upload is taken back for.
const ABORT_TIME: Duration = Duration::from_secs(2);

/// `[sink.s3]`: what is not said comes from the environment (`AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT` and so on).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct S3Table {
    /// `https://HOST:PORT` of a server that is not Amazon's. With `http://` nothing is encrypted.
    endpoint: Option<String>,
    region: Option<String>,
    access_key_id: Option<String>,
    /// A file whose first line is the secret access key.
    secret_access_key_file: Option<PathBuf>,
    /// The directory where files are written before they are sent.
    spool: PathBuf,
    /// Files that are larger are sent in parts of this size.
    part_bytes: Option<Size>,
    /// The longest that a request may take: a part of a file, or a page of a list.
    timeout_ms: Option<Millis>,
}

/// The key of a bucket, whose secret is read for every request: it is written anew while this
/// process runs.
#[derive(Debug)]
struct Key {
    id: String,
    secret_file: PathBuf,
}

impl Key {
    fn read(&self) -> Result<AwsCredential, String> {
        let path = &self.secret_file;
        let wrong = |error: &dyn std::fmt::Display| {
            format!("sink.s3.secret_access_key_file: {}: {error}", path.display())
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let secret = text.lines().next().unwrap_or_default().trim();
        if secret.is_empty() {
            return Err(wrong(&"its first line is empty"));
        }
        let (key_id, secret_key) = (self.id.clone(), secret.to_owned());
        Ok(AwsCredential { key_id, secret_key, token: None })
    }
}

impl CredentialProvider for Key {
    type Credential = AwsCredential;

    fn get_credential<'s, 'f>(
        &'s self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'f>>
    where
        's: 'f,
    {
        let read = self.read().map(Arc::new).map_err(|error| local(io::Error::other(error)));
        Box::pin(std::future::ready(read))
    }
}

/// A bucket, and what names of objects in it begin with.
pub(super) struct Bucket {
    store: AmazonS3,
    runtime: tokio::runtime::Runtime,
    prefix: String,
    part_bytes: u64,
    timeout: Duration,
    /// Whether lists are in the order of names: not with directory buckets.
    is_in_order: bool,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the store: it knows a secret.
        f.debug_struct("Bucket").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Takes `s3://BUCKET/PREFIX` apart; `None` if a path is none.
pub(super) fn parts_of(path: &Local) -> Option<(String, String)> {
    let rest = path.to_str()?.strip_prefix("s3://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    Some((bucket.to_owned(), prefix.trim_matches('/').to_owned()))
}

impl Bucket {
    /// Takes the settings; names of objects begin with the name of the flow. Nobody is asked yet.
    /// Returns also where files are written.
    ///
    /// # Errors
    /// What is wrong with them, with the name of its key.
    pub(super) fn new(
        (bucket, prefix): (String, String),
        flow: &str,
        table: &S3Table,
    ) -> Result<(Self, PathBuf), String> {
        if bucket.is_empty() || !is_plain(&prefix) {
            return Err("sink.path: s3://BUCKET/PREFIX, of letters, digits and -._=/".to_owned());
        }
        if !is_plain(flow) {
            return Err("from.subscription: names of objects begin with it; only letters, digits \
                        and -._="
                .to_owned());
        }
        let part_bytes = table.part_bytes.map_or(8 << 20, |size| size.0);
        if !(PART_BYTES_MIN..=1 << 30).contains(&part_bytes) {
            return Err("sink.s3.part_bytes: 5 MiB to 1 GiB".to_owned());
        }
        // Another one may be there already, and does as well.
        let _ = futures_rustls::rustls::crypto::ring::default_provider().install_default();
        let timeout = Duration::from_millis(table.timeout_ms.map_or(60_000, |time| time.0));
        let is_clear =
            table.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let mut options = ClientOptions::new().with_timeout(timeout);
        if is_clear {
            options = options.with_allow_http(true);
        }
        // The frame repeats a batch: here only what passes at once.
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(50),
                max_backoff: Duration::from_millis(500),
                base: 2.0,
            },
            max_retries: 2,
            retry_timeout: Duration::from_secs(5),
        };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&bucket)
            .with_client_options(options)
            .with_retry(retry);
        if let Some(endpoint) = &table.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(is_clear);
        }
        if let Some(region) = &table.region {
            builder = builder.with_region(region);
        }
        match (&table.access_key_id, &table.secret_access_key_file) {
            (Some(id), Some(path)) => {
                let key = Key { id: id.clone(), secret_file: path.clone() };
                key.read()?;
                builder = builder.with_credentials(Arc::new(key));
            }
            (None, None) => {}
            _ => {
                let both = "sink.s3.access_key_id: with secret_access_key_file, or neither";
                return Err(both.to_owned());
            }
        }
        let store = builder.build().map_err(|error| format!("sink.s3: {error}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the runtime: {error}"))?;
        let is_in_order = !bucket.ends_with("--x-s3");
        let bucket = Self { store, runtime, prefix, part_bytes, timeout, is_in_order };
        Ok((bucket, table.spool.clone()))
    }

    /// Runs what asks the bucket, for a bounded time.
    fn run<T>(
        &self,
        time: Duration,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Failure> {
        let bounded = async { tokio::time::timeout(time, work).await };
        match self.runtime.block_on(bounded) {
            Ok(done) => done.map_err(|error| Failure::retry(told(&error))),
            Err(_) => Err(Failure::retry(format!("no answer in {} ms", time.as_millis()))),
        }
    }

    /// Name of what is in a partition.
    fn path(&self, partition: &str, name: &str) -> Path {
        [&*self.prefix, partition, name].into_iter().flat_map(|it| it.split('/')).collect()
    }

    /// Asks whether the bucket is there.
    pub(super) fn probe(&self, stop: &Stop) -> Result<(), Failure> {
        let prefix = self.path("", "");
        let first = async { self.store.list(Some(&prefix)).try_next().await.map(|_| ()) };
        self.run(stop.time_for(self.timeout), first)
    }

    /// Sends a file. It has its name when this returns, and until then no part of it can be seen.
    pub(super) fn send(
        &self,
        file: &Local,
        (partition, name): (&str, &str),
        stop: &Stop,
    ) -> Result<(), Failure> {
        let path = self.path(partition, name);
        let time = || stop.time_for(self.timeout);
        let mut from = File::open(file).map_err(Failure::retry)?;
        let size = from.metadata().map_err(Failure::retry)?.len();
        let part_bytes = self.part_bytes.max(size.div_ceil(MOST_PARTS));
        let mut part = move || -> object_store::Result<Bytes> {
            let mut bytes = Vec::new();
            Read::take(&mut from, part_bytes).read_to_end(&mut bytes).map_err(local)?;
            Ok(bytes.into())
        };
        if size <= part_bytes {
            let put = async { self.store.put(&path, part()?.into()).await.map(|_| ()) };
            return self.run(time(), put);
        }
        let mut upload = self.run(time(), async { self.store.put_multipart(&path).await })?;
        let mut parts = || {
            // A file of many parts has the time of each of them.
            loop {
                let bytes = part().map_err(|error| Failure::retry(told(&error)))?;
                if bytes.is_empty() {
                    return self.run(time(), async { upload.complete().await.map(|_| ()) });
                }
                self.run(time(), upload.put_part(bytes.into()))?;
            }
        };
        let sent = parts();
        if sent.is_err() {
            // If that fails, too, the parts stay until the bucket's rules remove them.
            let _ = self.run(ABORT_TIME, upload.abort());
        }
        sent
    }

    /// Names of the objects of a partition that begin like this and come after `after`, which does,
    /// too. Others are not listed, as far as the bucket is in order.
    pub(super) fn names(
        &self,
        partition: &str,
        (begin, after): (&str, &str),
        stop: &Stop,
    ) -> Result<Vec<String>, Failure> {
        let (path, after) = (self.path(partition, ""), self.path(partition, after));
        // What is below other directories comes between and after the names, too.
        let first = self.path(partition, begin);
        let mut names = Vec::new();
        let mut list = self.store.list_with_offset(Some(&path), &after);
        loop {
            // A page, or what is left of one.
            let next = self.run(stop.time_for(self.timeout), list.try_next())?;
            let Some(object) = next else { return Ok(names) };
            let is_here = object.location.prefix_matches(&path)
                && object.location.parts_count() == path.parts_count() + 1;
            match object.location.filename() {
                Some(name) if is_here && name.starts_with(begin) => names.push(name.to_owned()),
                _ if self.is_in_order && is_past(&object.location, &first) => return Ok(names),
                _ => {}
            }
        }
    }

    /// Copies an object into a file.
    pub(super) fn fetch(
        &self,
        (partition, name): (&str, &str),
        into: &mut File,
        stop: &Stop,
    ) -> Result<(), Failure> {
        let path = self.path(partition, name);
        self.run(stop.time_for(self.timeout), async {
            let mut pieces = self.store.get(&path).await?.into_stream();
            while let Some(piece) = pieces.try_next().await? {
                into.write_all(&piece).map_err(local)?;
            }
            Ok(())
        })
    }
}

/// Whether a location comes after all that begin like another one.
fn is_past(location: &Path, begin: &Path) -> bool {
    let (location, begin) = (location.as_ref(), begin.as_ref());
    location > begin && !location.starts_with(begin)
}

/// Whether S3 and what speaks as it does take a name as it is.
fn is_plain(name: &str) -> bool {
    let is_plain = |part: &str| PathPart::from(part).as_ref() == part;
    name.is_ascii() && name.split('/').all(is_plain)
}

/// An error of a file that is here.
fn local(error: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "spool", source: error.into() }
}

/// An error with its causes, on one line.
fn told(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_named_by_a_url_and_everything_else_is_a_directory() {
        let parts = |text: &str| parts_of(Local::new(text));
        let pair = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(parts("s3://lake/a/b/"), pair("lake", "a/b"));
        assert_eq!(parts("s3://lake"), pair("lake", ""));
        assert_eq!(parts("/var/lib/lake"), None);
    }

    #[test]
    fn a_listing_ends_after_the_names_whatever_directory_comes_there() {
        let is_past = |location: &str| is_past(&location.into(), &"lake/s-00ab-".into());
        for location in ["lake/s-00ab-7.parquet", "lake/s-00ab-7/x", "lake/s-00aa-7", "lake/a/z"] {
            assert!(!is_past(location), "{location}");
        }
        for location in ["lake/s-00ac-1.parquet", "lake/s-00ac/a", "lake/t/a", "lake/sa"] {
            assert!(is_past(location), "{location}");
        }
    }

    #[test]
    fn a_secret_that_is_written_anew_is_the_one_of_the_next_request() {
        let name = format!("aqueduct-forward-{}-secret", std::process::id());
        let path = std::env::temp_dir().join(name);
        let write = |secret: &str| std::fs::write(&path, secret).expect("written");
        write("old\n");
        let table = format!(
            "spool = '/tmp'\naccess_key_id = 'id'\nsecret_access_key_file = '{}'",
            path.display()
        );
        let table = toml::from_str(&table).expect("TOML");
        let (bucket, _) =
            Bucket::new(("lake".to_owned(), String::new()), "s", &table).expect("fine");
        let secret = || {
            let found = bucket.runtime.block_on(bucket.store.credentials().get_credential());
            found.map(|it| (it.key_id.clone(), it.secret_key.clone())).map_err(|it| told(&it))
        };
        let pair = |secret: &str| Ok(("id".to_owned(), secret.to_owned()));
        assert_eq!(secret(), pair("old"));
        write("new\n");
        assert_eq!(secret(), pair("new"));
        write("");
        assert!(secret().is_err_and(|why| why.contains("its first line is empty")));
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn settings_that_mean_nothing_are_refused_by_their_key() {
        let of = |prefix: &str, flow: &str, text: &str| {
            let table = format!("spool = '/var/tmp'\nregion = 'eu-central-1'\n{text}");
            let table: S3Table = toml::from_str(&table).expect("TOML");
            let parts = ("lake".to_owned(), prefix.to_owned());
            Bucket::new(parts, flow, &table).err().unwrap_or_default()
        };
        assert_eq!(of("a/b=1", "s", "part_bytes = '5MiB'"), "");
        assert!(of("", "s", "part_bytes = '1MiB'").starts_with("sink.s3.part_bytes"));
        assert!(of("", "s", "access_key_id = 'a'").starts_with("sink.s3.access_key_id"));
        let missing = "access_key_id = 'a'\nsecret_access_key_file = '/nowhere/secret'";
        let told = of("", "s", missing);
        assert!(told.starts_with("sink.s3.secret_access_key_file: /nowhere/secret"), "{told}");
        assert!(of("a//[b]", "s", "").starts_with("sink.path"));
        assert!(of("a", "50%", "").starts_with("from.subscription"));
    }
}
