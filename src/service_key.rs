//! Where a ServiceKey comes from, when it is read again, and why it cannot be printed.
//!
//! A ServiceKey can delete pipelines (GoldRush, Service Keys). So the type cannot be displayed, and its memory is wiped
//! when it is dropped.

mod shape;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::warn;
use zeroize::Zeroizing;

use crate::file_system;

pub(crate) use shape::is_likely_key;
pub use shape::{Flaw, Suspicion};

/// Setting this variable alone is enough to run: one account named `default`.
pub const DEFAULT_ENV: &str = "GOLDRUSH_SERVICE_KEY";

/// A larger file does not contain a key.
const LARGEST_FILE: u64 = 16 * 1024;

/// The credential of one account.
pub struct ServiceKey {
    text: Zeroizing<String>,
    /// Why it is probably not a ServiceKey.
    pub suspicion: Option<Suspicion>,
}

impl ServiceKey {
    /// Reads the text of a key; surrounding white space is trimmed.
    ///
    /// # Errors
    /// A [`Flaw`] if the text cannot be sent as a header, or is certainly not a ServiceKey.
    pub fn new(text: &str) -> Result<Self, Flaw> {
        let key = text.trim();
        let suspicion = shape::check(key)?;
        Ok(Self { text: Zeroizing::new(key.to_owned()), suspicion })
    }

    /// The secret itself, for the `Authorization` header and nothing else.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKey(hidden)")
    }
}

/// Where a key comes from. Logs and errors show this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// An environment variable, read when needed; it cannot change while the process runs.
    Env(String),
    /// A file, read again when it changes.
    File(PathBuf),
    /// A key of the built-in simulation, which is not secret: the demo needs no file and no environment.
    BuiltIn(&'static str),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::BuiltIn(_) => f.write_str("the demo"),
        }
    }
}

/// Why a source provides no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The variable is not set.
    #[error("no ServiceKey: {0} is not set: set it, or name a file with service_key_file")]
    NotSet(KeySource),
    /// The file could not be read.
    #[error("no ServiceKey: {0} cannot be read: {1}")]
    Unreadable(KeySource, String),
    /// The source contains something that is not a key.
    #[error("no ServiceKey: {0} {1}")]
    Flawed(KeySource, Flaw),
}

impl KeySource {
    /// Reads the key.
    ///
    /// # Errors
    /// A [`KeyError`] that names the source and what is wrong with it, but never its content.
    pub async fn read(&self) -> Result<ServiceKey, KeyError> {
        let text = match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => Zeroizing::new(text),
                Err(std::env::VarError::NotPresent) => return Err(KeyError::NotSet(self.clone())),
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(KeyError::Flawed(self.clone(), Flaw::Unprintable));
                }
            },
            Self::BuiltIn(key) => Zeroizing::new((*key).to_owned()),
            Self::File(path) => {
                let bytes = file_system::read(path, LARGEST_FILE).await;
                let bytes = bytes.map_err(|error| KeyError::Unreadable(self.clone(), why_unreadable(path, &error)))?;
                let text = std::str::from_utf8(&bytes);
                Zeroizing::new(text.map_err(|_| KeyError::Flawed(self.clone(), Flaw::Unprintable))?.to_owned())
            }
        };
        ServiceKey::new(&text).map_err(|flaw| KeyError::Flawed(self.clone(), flaw))
    }
}

fn why_unreadable(path: &Path, error: &io::Error) -> String {
    // systemd provides the files of LoadCredential= there.
    if path.starts_with("/run/credentials") && error.kind() == io::ErrorKind::NotFound {
        return format!("{error}; it exists only while systemd runs the service");
    }
    error.to_string()
}

/// The key in use. Each new key has a new generation, so that a response counts for the key of its request.
#[derive(Debug, Clone)]
pub struct LoadedKey {
    pub key: Arc<ServiceKey>,
    /// Counts this account's keys.
    pub generation: u64,
    pub loaded_at: SystemTime,
}

/// A source and the key that was last read from it.
#[derive(Debug)]
pub struct KeyHolder {
    source: KeySource,
    current: LoadedKey,
    problem: Option<KeyError>,
    in_use: KeyInUse,
}

/// The key that a holder is using, to compare keys.
#[derive(Debug, Clone)]
pub struct KeyInUse(Arc<Mutex<Arc<ServiceKey>>>);

impl KeyInUse {
    fn of(key: &Arc<ServiceKey>) -> Self {
        Self(Arc::new(Mutex::new(key.clone())))
    }

    fn become_key(&self, key: &Arc<ServiceKey>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = key.clone();
    }

    /// Whether that holder has a different key.
    pub fn differs_from(&self, holder: &KeyHolder) -> bool {
        let key = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        key.reveal() != holder.current.key.reveal()
    }
}

/// The result of reading the source again.
#[derive(Debug)]
pub struct Look {
    /// The generation of the key that was in use when the read began.
    generation: u64,
    found: Result<ServiceKey, KeyError>,
}

/// The effect of reading the source again.
#[derive(Debug, PartialEq, Eq)]
pub enum Reread {
    /// The key is the one in use.
    Unchanged,
    /// A new key is in use.
    Changed,
    /// The source contains no key: the old one stays in use. Each problem is reported once.
    Failed(KeyError),
}

impl KeyHolder {
    /// Reads the first key.
    ///
    /// # Errors
    /// As [`KeySource::read`].
    pub async fn load(source: KeySource) -> Result<Self, KeyError> {
        let key = Arc::new(source.read().await?);
        warn_of(&source, &key);
        let in_use = KeyInUse::of(&key);
        let current = LoadedKey { key, generation: 1, loaded_at: SystemTime::now() };
        Ok(Self { source, current, problem: None, in_use })
    }

    pub fn source(&self) -> &KeySource {
        &self.source
    }

    pub fn current(&self) -> &LoadedKey {
        &self.current
    }

    /// Follows the key in use.
    pub fn in_use(&self) -> KeyInUse {
        self.in_use.clone()
    }

    /// Reads the source again. Comparing contents, instead of watching the file, also notices links that Kubernetes
    /// swaps, and works on every file system.
    pub fn look(&self) -> impl Future<Output = Look> + Send + use<> {
        let (source, generation) = (self.source.clone(), self.current.generation);
        async move { Look { generation, found: source.read().await } }
    }

    /// Uses the key that was read, if it is new.
    pub fn take(&mut self, Look { generation, found }: Look) -> Reread {
        match found {
            // Another read was faster, and may have read the file later.
            _ if generation != self.current.generation => Reread::Unchanged,
            Ok(key) if key.reveal() == self.current.key.reveal() => {
                self.problem = None;
                Reread::Unchanged
            }
            Ok(key) => {
                self.problem = None;
                warn_of(&self.source, &key);
                let generation = self.current.generation + 1;
                let key = Arc::new(key);
                self.in_use.become_key(&key);
                self.current = LoadedKey { key, generation, loaded_at: SystemTime::now() };
                Reread::Changed
            }
            Err(problem) if self.problem.as_ref() == Some(&problem) => Reread::Unchanged,
            Err(problem) => {
                self.problem = Some(problem.clone());
                Reread::Failed(problem)
            }
        }
    }
}

fn warn_of(source: &KeySource, key: &ServiceKey) {
    if let Some(suspicion) = key.suspicion {
        warn!("the ServiceKey from {source} {suspicion}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrounding_white_space_is_trimmed_and_the_key_is_not_shown() {
        assert_eq!(ServiceKey::new(" sk_1\r\n").unwrap().reveal(), "sk_1");
        assert_eq!(ServiceKey::new(" \n\t ").unwrap_err(), Flaw::Empty);
        assert_eq!(ServiceKey::new(" \"sk_1\"\n").unwrap_err(), Flaw::Quoted);
        assert_eq!(format!("{:?}", ServiceKey::new("sk_secret").unwrap()), "ServiceKey(hidden)");
    }

    async fn reread(holder: &mut KeyHolder) -> Reread {
        let look = holder.look().await;
        holder.take(look)
    }

    #[tokio::test]
    async fn a_file_is_read_again_also_behind_swapped_links() {
        let folder = tempfile::tempdir().unwrap();
        for (version, key) in [("v1", "sk_one\n"), ("v2", "sk_two\n")] {
            std::fs::create_dir(folder.path().join(version)).unwrap();
            std::fs::write(folder.path().join(version).join("key"), key).unwrap();
        }
        // Like a secret mounted by Kubernetes: key -> data/key, data -> v1.
        let link = |version: &str| {
            let next = folder.path().join("next");
            std::os::unix::fs::symlink(version, &next).unwrap();
            std::fs::rename(next, folder.path().join("data")).unwrap();
        };
        link("v1");
        let path = folder.path().join("key");
        std::os::unix::fs::symlink("data/key", &path).unwrap();

        let mut holder = KeyHolder::load(KeySource::File(path.clone())).await.unwrap();
        let early = holder.look().await;
        assert_eq!(holder.current().key.reveal(), "sk_one");
        assert_eq!(reread(&mut holder).await, Reread::Unchanged);
        link("v2");
        assert_eq!(reread(&mut holder).await, Reread::Changed);
        assert_eq!((holder.current().key.reveal(), holder.current().generation), ("sk_two", 2));
        assert_eq!(holder.take(early), Reread::Unchanged, "it has seen the old key");
        assert_eq!(holder.current().key.reveal(), "sk_two");

        // A missing or broken file leaves the key in use, and is reported once.
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(reread(&mut holder).await, Reread::Failed(KeyError::Unreadable(..))));
        assert_eq!(reread(&mut holder).await, Reread::Unchanged);
        assert_eq!(holder.current().key.reveal(), "sk_two");
        std::fs::write(&path, "").unwrap();
        let Reread::Failed(problem) = reread(&mut holder).await else { panic!("an empty file is no key") };
        assert_eq!(problem.to_string(), format!("no ServiceKey: file {} is empty", path.display()));
    }
}
