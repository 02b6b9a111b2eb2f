//! Where the configuration comes from: read once at startup and once per reload.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::task::{JoinError, spawn_blocking};

use super::environment::PREFIX;
use super::{Config, ConfigError};
use crate::file_system;

/// Larger than any configuration.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum ConfigSource {
    /// An optional file, and the environment.
    FileAndEnvironment(Option<PathBuf>),
    /// A configuration that the program built itself (the demo's).
    Fixed(Box<Config>),
}

impl ConfigSource {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read or contains an invalid setting.
    pub async fn load(&self) -> Result<Config, ConfigError> {
        let file = match self {
            Self::Fixed(config) => return Ok((**config).clone()),
            Self::FileAndEnvironment(Some(path)) => Some(ConfigFile::read(path).await?),
            Self::FileAndEnvironment(None) => None,
        };
        let variables = texts(std::env::vars_os())?;
        // Off the runtime: compiling thousands of filters takes a while.
        let loaded = spawn_blocking(move || Config::load(file.as_ref(), &variables)).await;
        let failed =
            |error: JoinError| ConfigError { origin: "the configuration".to_owned(), problem: error.to_string() };
        loaded.map_err(failed)?
    }
}

/// The variables that are texts. A setting that is not a text must not be ignored.
pub(super) fn texts(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let text = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok()?;
        match value.into_string() {
            Ok(value) => Some(Ok((name, value))),
            Err(_) if name.starts_with(PREFIX) => {
                Some(Err(ConfigError { origin: name, problem: "not UTF-8".to_owned() }))
            }
            Err(_) => None,
        }
    };
    variables.filter_map(text).collect()
}

/// The text of a configuration file.
#[derive(Debug)]
pub struct ConfigFile {
    /// Its extension says whether it is YAML or TOML.
    pub path: PathBuf,
    pub text: String,
}

impl ConfigFile {
    async fn read(path: &Path) -> Result<Self, ConfigError> {
        let refused = |why: String| ConfigError::of_file(path, format!("cannot be read: {why}"));
        let bytes = file_system::read(path, LARGEST_FILE).await.map_err(|error| refused(error.to_string()))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| refused("not UTF-8".to_owned()))?;
        Ok(Self { path: path.to_owned(), text: text.to_owned() })
    }
}
