//! Workflow files on this server's disk, named by requests: opened below one folder only.
//!
//! A path is walked component by component from the folder's own descriptor, following no link,
//! so that nothing outside can be reached whatever changes on the way; where the kernel can
//! (`openat2`), it walks the whole path under the same rules. Only regular files are read, without
//! ever blocking on a pipe.
//!
//! Whoever asks hears the same of a file that is missing, of one that is outside, and of one that
//! may not be read: what exists elsewhere is none of their business. A path whose very form is
//! wrong is told so.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use domain::workflow::definition::FILE_BYTES_MAX;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2},
    io::Errno,
};

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 1_024;
/// The longest component, in bytes.
const COMPONENT_BYTES_MAX: usize = 255;
/// The most components.
const COMPONENTS_MAX: usize = 32;

/// The folder that workflow files are read from.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Its path has not the form that is taken.
    #[error("{0}")]
    Path(&'static str),
    /// There is none, it is outside the folder, or it may not be read: all the same to who asks.
    #[error("there is no workflow file at this path")]
    Unavailable,
    /// It is longer than [`FILE_BYTES_MAX`].
    #[error("the file is longer than {FILE_BYTES_MAX} bytes")]
    TooLarge,
}

const FORM: &str = "a path is relative, such as `flows/daily.yaml`: letters, digits, `.`, `_`, `-` and spaces between single `/`, without `..`";

impl Files {
    /// Files below a folder. It may be a link, and need not exist yet.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads a file. Blocks: small local files only, yet not for an async task's own thread.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read(&self, path: &str) -> Result<Bytes, FileError> {
        let components = components(path)?;
        let file = self.open(&components).map_err(|error| {
            tracing::debug!(path, %error, "a workflow file was not opened");
            FileError::Unavailable
        })?;
        let stat = fstat(&file).map_err(|_| FileError::Unavailable)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileError::Unavailable);
        }
        let mut text = Vec::new();
        File::from(file)
            .take(FILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut text)
            .map_err(|_| FileError::Unavailable)?;
        if text.len() > FILE_BYTES_MAX {
            return Err(FileError::TooLarge);
        }
        Ok(text.into())
    }

    fn open(&self, components: &[&str]) -> io::Result<OwnedFd> {
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &self.root, folder, Mode::empty())?;
        let path = components.join("/");
        let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&root, path.as_str(), last_flags(), Mode::empty(), rules) {
            // The kernel is older than 5.6, or a filter does not know the call.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => walk(root, components),
            opened => Ok(opened?),
        }
    }
}

/// How the file itself is opened: a pipe or device must not block or be acted on.
fn last_flags() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC
}

/// Component by component, no link followed.
fn walk(root: OwnedFd, components: &[&str]) -> io::Result<OwnedFd> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (last, folders) = components
        .split_last()
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let mut at = root;
    for name in folders {
        at = openat(&at, *name, folder, Mode::empty())?;
    }
    Ok(openat(&at, *last, last_flags(), Mode::empty())?)
}

/// The parts of a path, if its form is right.
fn components(path: &str) -> Result<Vec<&str>, FileError> {
    let well_formed = |component: &&str| {
        !component.is_empty()
            && component.len() <= COMPONENT_BYTES_MAX
            && !matches!(*component, "." | "..")
            && component
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._- ".contains(&byte))
    };
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return Err(FileError::Path("a path has 1 to 1024 bytes"));
    }
    let components: Vec<&str> = path.split('/').collect();
    if components.len() > COMPONENTS_MAX || !components.iter().all(well_formed) {
        return Err(FileError::Path(FORM));
    }
    let extension = Path::new(path).extension().and_then(|found| found.to_str());
    if !matches!(extension, Some("yaml" | "yml")) {
        return Err(FileError::Path("a workflow file ends in `.yaml` or `.yml`"));
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, os::unix::net::UnixListener};

    use rustix::fs::mkfifoat;

    use super::*;

    /// A folder as the corpus wants it, with a secret beside it.
    fn folder() -> (tempfile::TempDir, Files) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        for folder in ["sub", "a/b/c/d", "workflows.d", "data"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in [
            "webhook_integration.yaml",
            "flow.yml",
            "sub/flow.yaml",
            "a/b/c/d/flow.yaml",
            "flow-1.2_x.yaml",
            "workflows.d/x.yaml",
            "flow.yaml",
            "flow.yaml.bak",
            "data/app.db",
        ] {
            fs::write(root.join(file), "name: inside").unwrap();
        }
        fs::write(home.path().join("outside.yaml"), "name: outside").unwrap();
        symlink("/etc/passwd", root.join("link-outside.yaml")).unwrap();
        symlink(home.path().join("outside.yaml"), root.join("near.yaml")).unwrap();
        symlink("flow.yaml", root.join("link-inside.yaml")).unwrap();
        symlink("link-loop.yaml", root.join("link-loop.yaml")).unwrap();
        symlink(home.path(), root.join("up")).unwrap();
        let at = rustix::fs::open(&root, OFlags::DIRECTORY, Mode::empty()).unwrap();
        mkfifoat(&at, "fifo.yaml", Mode::RUSR | Mode::WUSR).unwrap();
        drop(UnixListener::bind(root.join("socket.yaml")).unwrap());
        (home, Files::below(root))
    }

    #[test]
    fn files_below_the_folder_are_read_and_nothing_else() {
        let (_home, files) = folder();
        assert_eq!(files.read("sub/flow.yaml").unwrap(), "name: inside");
        for path in [
            "../outside.yaml",
            "up/outside.yaml",
            "near.yaml",
            "link-inside.yaml",
            "link-loop.yaml",
            "fifo.yaml",
            "socket.yaml",
            "missing.yaml",
            "sub",
            "/etc/passwd",
            "sub//flow.yaml",
        ] {
            let told = files.read(path).unwrap_err().to_string();
            assert!(!told.contains("outside.yaml"), "{path}: {told}");
        }
    }

    #[test]
    fn what_is_missing_and_what_is_denied_sound_the_same() {
        let (_home, files) = folder();
        let told = |path| files.read(path).unwrap_err().to_string();
        for path in [
            "near.yaml",
            "link-loop.yaml",
            "fifo.yaml",
            "up/outside.yaml",
            "up/none.yaml",
        ] {
            assert_eq!(told(path), told("missing.yaml"), "{path}");
        }
        assert_eq!(
            Files::below("/nowhere/at/all")
                .read("a.yaml")
                .unwrap_err()
                .to_string(),
            told("missing.yaml")
        );
    }

    #[test]
    fn walking_component_by_component_gives_the_same() {
        let (_home, files) = folder();
        let open = |path: &str| {
            let root = rustix::fs::open(files.root(), OFlags::DIRECTORY, Mode::empty()).unwrap();
            walk(root, &path.split('/').collect::<Vec<_>>())
        };
        assert!(open("a/b/c/d/flow.yaml").is_ok());
        for path in [
            "near.yaml",
            "up/outside.yaml",
            "link-loop.yaml",
            "missing.yaml",
            "sub/none/x.yaml",
        ] {
            assert!(open(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let (_home, files) = folder();
        let long = vec![b'a'; FILE_BYTES_MAX + 1];
        fs::write(files.root().join("long.yaml"), &long).unwrap();
        assert!(matches!(files.read("long.yaml"), Err(FileError::TooLarge)));
        fs::write(files.root().join("long.yaml"), &long[1..]).unwrap();
        assert_eq!(files.read("long.yaml").unwrap().len(), FILE_BYTES_MAX);
    }

    #[test]
    fn every_path_of_the_corpus_ends_as_expected() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/corpora/config-path/paths.tsv"
        );
        let Ok(table) = fs::read_to_string(path) else {
            eprintln!("skipped: there is no {path}");
            return;
        };
        let (_home, files) = folder();
        for line in table.lines().filter(|line| line.starts_with('p')) {
            let mut columns = line.split('\t').skip(1);
            let verdict = columns.next().unwrap();
            let path: String = serde_json::from_str(columns.next().unwrap()).unwrap();
            let read = files.read(&path);
            match verdict {
                "allow" => assert_eq!(read.unwrap(), "name: inside", "{path}"),
                "deny" => assert!(read.is_err(), "{path}"),
                _ => {}
            }
        }
    }
}
