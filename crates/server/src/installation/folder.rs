//! The data folder and the small files in it, closed to everybody but their owner.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use delivery::Edge;
use uuid::Uuid;

use super::NODE_FILE;
use crate::lifecycle::StartError;

/// Makes the data folder, for its owner only. One that others could look into is closed to them.
pub(super) fn make(folder: &Path) -> Result<(), StartError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed(folder))?;
    let mode = folder
        .metadata()
        .map_err(failed(folder))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed(folder))?;
    }
    Ok(())
}

/// Which installation this is: the same after a restart, another for each data folder.
pub(super) fn node_id(folder: &Path, edge: &Edge) -> Result<Uuid, StartError> {
    let path = folder.join(NODE_FILE);
    if let Some(text) = read_if_there(&path)? {
        return text
            .trim()
            .parse()
            .map_err(|_| StartError::BadNode(path.clone()));
    }
    let id = edge.ids.next_id();
    write_private(&path, &id.to_string())?;
    Ok(id)
}

/// Writes a new file that only its owner can read, and sees to it that it is on disk.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), StartError> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    write().map_err(failed(path))
}

pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, StartError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::File { path, source }
}
