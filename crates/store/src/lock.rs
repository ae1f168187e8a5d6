//! One process per file: a lock on a file beside it, which the system gives up when its holder
//! dies. The lock's file says who holds it. The embedded database is kept by one, and so is a data
//! folder whose database is elsewhere.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::StoreError;

/// Held as long as it lives.
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock that belongs to the file at `path`: it lies beside it, with `.lock` at the
    /// end of its name.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process (or somebody else in this one) has it,
    /// [`StoreError::Failed`] if the lock's file cannot be made.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        let lock_path = beside(path);
        let failed =
            |error: std::io::Error| StoreError::Failed(format!("{}: {error}", lock_path.display()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Without its number the message is only less helpful.
                let _ = file.read_to_string(&mut pid);
                return Err(StoreError::InUse(pid.trim().parse().ok()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The number only helps people: a disk too full for it must not keep the store closed.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
