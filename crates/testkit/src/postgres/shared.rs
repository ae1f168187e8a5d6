//! The server that all tests of a workspace share, in whatever processes they run.

use std::{
    env,
    fs::{self, DirBuilder, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{
    programs::Programs,
    server::{Durability, Server},
};

/// For how many seconds the server waits for the next test after the last one has gone.
const PATIENCE_S: u32 = 10;

/// The server's URL; the server is started if it does not run. It runs on at least until this
/// process ends.
pub(super) fn url() -> String {
    static SHARED: OnceLock<Use> = OnceLock::new();
    SHARED
        .get_or_init(|| Use::of(&folder(), PATIENCE_S))
        .url
        .clone()
}

/// The use of a server that others may use as well: it runs as long as this value lives.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) url: String,
    _users: File,
}

impl Use {
    /// Uses the server of a folder, which is made and started if it is not there; it is to stop
    /// once nobody has used it for `patience_s` seconds.
    ///
    /// # Panics
    /// If that fails; the text says why.
    pub(super) fn of(folder: &Path, patience_s: u32) -> Self {
        let used = Self::begin(folder, patience_s);
        used.unwrap_or_else(|error| {
            panic!(
                "the tests' PostgreSQL in {} cannot be used: {error}",
                folder.display()
            )
        })
    }

    fn begin(folder: &Path, patience_s: u32) -> io::Result<Self> {
        let programs = Programs::find();
        let (server, _lock) = loop {
            match lock(folder, &programs) {
                Ok(Some(locked)) => break locked,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        };
        let users = server.lock_file("users")?;
        users.lock_shared()?;
        // First, so that a process that is killed from here on leaves nothing running.
        server.watch(patience_s);
        let url = server.running().unwrap_or_else(|| {
            server.clear();
            server.make(Durability::None)
        });
        Ok(Self { url, _users: users })
    }
}

/// Makes the folder if need be, and locks it. `None` if the warden removed it meanwhile, which
/// also shows as a file that is not found: then it is to be tried again.
fn lock(folder: &Path, programs: &Programs) -> io::Result<Option<(Server, File)>> {
    make_folder(folder, programs)?;
    let server = Server::in_folder(programs.clone(), folder)?;
    let lock = server.lock_file("lock")?;
    lock.lock()?;
    let is_still = is_still(&lock, &server.file("lock"));
    Ok(is_still.then_some((server, lock)))
}

/// Where the server of this workspace and this user is.
fn folder() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hasher);
    let uid = own_uid().expect("the system's folder for temporary files can be written to");
    uid.hash(&mut hasher);
    env::temp_dir().join(format!("signpost-tests-{:016x}", hasher.finish()))
}

/// Makes the folder, unless it is there and belongs to whom the server runs as.
fn make_folder(folder: &Path, programs: &Programs) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let owner = fs::symlink_metadata(folder)?;
    let expected = [
        Some(own_uid()?),
        programs.instead_of_root.map(|account| account.uid),
    ];
    if !owner.is_dir() || !expected.contains(&Some(owner.uid())) {
        return Err(io::Error::other("it belongs to somebody else: remove it"));
    }
    Ok(())
}

/// Who runs this process.
fn own_uid() -> io::Result<u32> {
    Ok(tempfile::tempfile()?.metadata()?.uid())
}

/// Whether an open file is the one that a path leads to.
fn is_still(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => open.ino() == there.ino() && open.dev() == there.dev(),
        _ => false,
    }
}
