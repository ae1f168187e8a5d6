//! The sealing key: found in `SIGNPOST_KEY` or in the data folder, made on the first start, and
//! held against what the database was sealed with.
//!
//! The database keeps the key's fingerprint from the first start on. Of several nodes that start
//! at once without a key, one records its own; the others are told to get that one.

use std::path::Path;

use delivery::Edge;
use domain::seal::{KEY_BYTES, KeyError, SealingKey};
use store::SharedStore;

use super::{
    DATABASE_FILE, FINGERPRINT_FILE, KEY_FILE,
    folder::{failed, read_if_there, write_private},
};
use crate::{config::ServerConfig, lifecycle::StartError};

/// Makes the key of an installation that keeps everything in its folder and is new. It is there
/// before the database is: where there is one, there was a key.
pub(super) fn prepare(config: &ServerConfig, edge: &Edge) -> Result<(), StartError> {
    let folder = &config.data_dir;
    let there = |name| folder.join(name).exists();
    if config.key.is_some()
        || [KEY_FILE, FINGERPRINT_FILE, DATABASE_FILE]
            .into_iter()
            .any(there)
    {
        return Ok(());
    }
    make(&folder.join(KEY_FILE), edge).map(drop)
}

/// Finds the key, or makes it for a database that has none yet, and checks that it is the one
/// that the database was sealed with.
pub(super) async fn find(
    config: &ServerConfig,
    edge: &Edge,
    store: &SharedStore,
) -> Result<SealingKey, StartError> {
    let recorded = store.sealed_with(None).await?;
    let expected = match &recorded {
        Some(fingerprint) => Some(fingerprint.clone()),
        None if store.is_shared() => None,
        None => read_if_there(&config.data_dir.join(FINGERPRINT_FILE))?
            .map(|text| text.trim().to_owned()),
    };
    let Some((place, key)) = given(config)? else {
        return match expected {
            None if store.is_shared() && store.all_webhooks().await?.is_empty() => {
                make_recorded(config, edge, store).await
            }
            expected => Err(lost(config, store, expected)),
        };
    };
    let found = key.fingerprint();
    let wrong = |expected: String| StartError::WrongKey {
        place: place.clone(),
        found: found.clone(),
        expected,
        shared: store.is_shared(),
    };
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(wrong(expected));
    }
    if recorded.is_none() {
        let first = store.sealed_with(Some(&found)).await?;
        if let Some(first) = first.filter(|first| *first != found) {
            return Err(wrong(first));
        }
    }
    Ok(key)
}

/// The key that is here, and where.
fn given(config: &ServerConfig) -> Result<Option<(String, SealingKey)>, StartError> {
    let path = config.data_dir.join(KEY_FILE);
    let (place, text) = match &config.key {
        Some(text) => ("SIGNPOST_KEY".to_owned(), Some(text.clone())),
        None => (path.display().to_string(), read_if_there(&path)?),
    };
    let Some(text) = text else {
        return Ok(None);
    };
    match read(&text) {
        Ok(key) => Ok(Some((place, key))),
        Err(error) => Err(StartError::BadKey { place, error }),
    }
}

/// Makes the key of a new database that nodes share. If another node was first, nothing is left
/// behind.
async fn make_recorded(
    config: &ServerConfig,
    edge: &Edge,
    store: &SharedStore,
) -> Result<SealingKey, StartError> {
    let path = config.data_dir.join(KEY_FILE);
    let key = make(&path, edge)?;
    let fingerprint = key.fingerprint();
    // Where this fails it may have been recorded all the same: then the file is the only copy.
    let first = store.sealed_with(Some(&fingerprint)).await?;
    if first.as_ref() == Some(&fingerprint) {
        return Ok(key);
    }
    std::fs::remove_file(&path).map_err(failed(&path))?;
    Err(lost(config, store, first))
}

fn lost(config: &ServerConfig, store: &SharedStore, expected: Option<String>) -> StartError {
    StartError::LostKey {
        folder: config.data_dir.clone(),
        expected,
        shared: store.is_shared(),
    }
}

/// Reads a key as the key file has it (base64), or as 64 hexadecimal digits, as `openssl rand -hex 32`
/// prints one.
fn read(text: &str) -> Result<SealingKey, KeyError> {
    let mut bytes = [0; KEY_BYTES];
    match hex::decode_to_slice(text.trim(), &mut bytes) {
        Ok(()) => Ok(SealingKey::new(bytes)),
        Err(_) => SealingKey::parse(text),
    }
}

fn make(path: &Path, edge: &Edge) -> Result<SealingKey, StartError> {
    let mut bytes = [0; KEY_BYTES];
    edge.entropy.fill(&mut bytes);
    let key = SealingKey::new(bytes);
    write_private(path, &key.to_text())?;
    Ok(key)
}
