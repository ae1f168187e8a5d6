//! Where PostgreSQL's programs are, and as whom they run.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where Debian has each version's programs: `<version>/bin`.
const DEBIAN: &str = "/usr/lib/postgresql";

/// PostgreSQL's programs.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    folder: PathBuf,
    /// The server refuses to run as root: whom it runs as instead.
    pub(super) instead_of_root: Option<Account>,
}

/// A user of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Programs {
    /// Finds them: in `PATH`, else Debian's newest.
    ///
    /// # Panics
    /// If there are none, or no user to run them as; the text says what to do.
    pub(super) fn find() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let folder = env::split_paths(&path)
            .chain(newest_first(Path::new(DEBIAN)))
            .find(|folder| ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).exists()))
            .unwrap_or_else(|| {
                panic!(
                    "PostgreSQL's server programs (initdb, pg_ctl) are neither in PATH nor in {DEBIAN}: \
                     install them (on Debian: apt-get install postgresql; `./test` does it), \
                     or set DATABASE_URL to a server that tests may use"
                )
            });
        let instead_of_root = (id(&["-u"]) == Some(0)).then(|| Account {
            uid: postgres_id("-u"),
            gid: postgres_id("-g"),
        });
        Self {
            folder,
            instead_of_root,
        }
    }

    /// One of them, to be run as who may run it; nothing of the environment speaks to it.
    pub(super) fn command(&self, name: &str) -> Command {
        self.run(&self.folder.join(name))
    }

    /// Any program, likewise.
    pub(super) fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // Theirs is a user who may not be allowed into the folder that tests run in.
        command.current_dir("/").stdin(Stdio::null());
        command.env("LC_ALL", "C");
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        if let Some(account) = self.instead_of_root {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Where one of them is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The folders `<version>/bin` in `versions`, the highest version first.
pub(super) fn newest_first(versions: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(versions)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn postgres_id(which: &str) -> u32 {
    id(&[which, "postgres"]).unwrap_or_else(|| {
        panic!(
            "PostgreSQL does not run as root, and there is no user `postgres` to run it as: \
             install Debian's package (`./test` does it), or run the tests as another user"
        )
    })
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
