//! One PostgreSQL server in a folder: made, started, stopped, watched.
//!
//! The folder has the cluster (`data`), the server's output (`log`), the locks that `warden.sh`
//! explains, and `url`. It belongs to whom the server runs as.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{programs::Programs, random, sql};

/// Ports to choose from: below those that systems give to outgoing connections, so that nothing
/// takes a port while its server is stopped.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// How many ports are tried.
const PORT_TRIES: usize = 20;
/// The superuser's name.
const USER: &str = "signpost";

/// Settings of every server.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 500
max_locks_per_transaction = 256
shared_buffers = 32MB
jit = off
timezone = UTC
log_timezone = UTC
";

/// Whether what was committed outlives the machine's crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// As in production.
    Real,
    /// Nothing waits for the disk.
    None,
}

impl Durability {
    fn settings(self) -> &'static str {
        match self {
            Self::Real => "fsync = on\nsynchronous_commit = on\nfull_page_writes = on\n",
            Self::None => {
                "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_wal_size = 4GB\n\
                 wal_level = minimal\nmax_wal_senders = 0\n"
            }
        }
    }
}

/// A server's folder.
#[derive(Debug)]
pub(super) struct Server {
    programs: Programs,
    folder: PathBuf,
}

impl Server {
    /// The server of an empty folder, which is given to whom the server runs as.
    pub(super) fn in_folder(programs: Programs, folder: &Path) -> io::Result<Self> {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        let server = Self {
            programs,
            folder: folder.to_owned(),
        };
        server.hand_over(folder)?;
        Ok(server)
    }

    /// A file of the folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Opens a file of the folder as one that is locked; makes it if need be.
    pub(super) fn lock_file(&self, name: &str) -> io::Result<File> {
        let path = self.file(name);
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)?;
        self.hand_over(&path)?;
        Ok(file)
    }

    /// Makes a cluster and starts it; answers the URL of its database `postgres`.
    ///
    /// # Panics
    /// If that fails, with what the programs said.
    pub(super) fn make(&self, durability: Durability) -> String {
        let password = random::hex::<16>();
        let password_file = self.file("password");
        self.write(&password_file, &password);
        let mut initdb = self.programs.command("initdb");
        initdb
            .args([
                "--no-sync",
                "--no-instructions",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .args(["--auth=password", "--username", USER])
            .arg("--pwfile")
            .arg(&password_file)
            .arg("--pgdata")
            .arg(self.data());
        self.expect("initdb", &mut initdb);
        let _ = fs::remove_file(password_file);
        for _ in 0..PORT_TRIES {
            let port = free_port();
            let settings = format!("{SETTINGS}{}port = {port}\n", durability.settings());
            self.write(&self.data().join("postgresql.auto.conf"), &settings);
            match self.start() {
                Ok(()) => {
                    let url = format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres");
                    self.write(&self.file("url"), &url);
                    return url;
                }
                // Somebody else was quicker.
                Err(why) if why.contains("could not bind") => {}
                Err(why) => panic!("PostgreSQL does not start: {why}"),
            }
        }
        panic!("no port was free for PostgreSQL, {PORT_TRIES} times");
    }

    /// Starts a cluster that was made, and waits until it answers.
    ///
    /// # Errors
    /// What `pg_ctl` and the server said.
    pub(super) fn start(&self) -> Result<(), String> {
        let log = self.file("log");
        let _ = fs::remove_file(&log);
        let mut start = self.programs.command("pg_ctl");
        start
            .args(["start", "-s", "-w", "-t", "60", "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(&log);
        run(&mut start).map_err(|why| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("{why}\n{log}")
        })
    }

    /// Stops it in one of `pg_ctl`'s modes (`immediate`: as a crash does) and waits until it has.
    ///
    /// # Errors
    /// What `pg_ctl` said, for example that none runs.
    pub(super) fn stop(&self, mode: &str) -> Result<(), String> {
        let mut stop = self.programs.command("pg_ctl");
        stop.args(["stop", "-s", "-w", "-t", "60", "-m", mode, "-D"])
            .arg(self.data());
        run(&mut stop)
    }

    /// The URL of the server that runs in this folder, if one does.
    pub(super) fn running(&self) -> Option<String> {
        let url = fs::read_to_string(self.file("url")).ok()?;
        sql::run(&url, "SELECT 1").is_ok().then_some(url)
    }

    /// Has the server stopped and the folder removed once nobody has used it for `patience_s`
    /// seconds. Does nothing if that is seen to already. The caller holds `lock`.
    pub(super) fn watch(&self, patience_s: u32) {
        let watched = self
            .lock_file("warden")
            .is_ok_and(|warden| warden.try_lock().is_err());
        if watched {
            return;
        }
        let mut warden = self.programs.run(Path::new("/bin/sh"));
        warden
            .args(["-c", include_str!("warden.sh"), "warden"])
            .arg(&self.folder)
            .arg(self.programs.path("pg_ctl"))
            .arg(patience_s.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends the tests (an interrupt at the terminal) must not end it.
            .process_group(0);
        if let Err(error) = warden.spawn() {
            let _ = self.stop("immediate");
            panic!("what ends the tests' PostgreSQL could not be started: {error}");
        }
    }

    /// Removes what is in the folder but the locks, and stops a server that may run in it.
    pub(super) fn clear(&self) {
        let _ = self.stop("immediate");
        let _ = fs::remove_file(self.file("url"));
        let _ = fs::remove_dir_all(self.data());
    }

    fn data(&self) -> PathBuf {
        self.file("data")
    }

    fn write(&self, path: &Path, text: &str) {
        let write = || {
            let mut file = File::create(path)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            self.hand_over(path)
        };
        write().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn hand_over(&self, path: &Path) -> io::Result<()> {
        match self.programs.instead_of_root {
            Some(account) => chown(path, Some(account.uid), Some(account.gid)),
            None => Ok(()),
        }
    }

    fn expect(&self, what: &str, command: &mut Command) {
        if let Err(why) = run(command) {
            panic!(
                "{what} failed in {} (a folder that the server's user can reach is needed; TMPDIR says where): {why}",
                self.folder.display()
            );
        }
    }
}

/// A port that was free just now.
fn free_port() -> u16 {
    (0..PORT_TRIES * 10)
        .map(|_| {
            let random = u16::from_ne_bytes(random::bytes::<2>());
            PORTS.start + random % (PORTS.end - PORTS.start)
        })
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a machine has more ports than programs")
}

/// Runs a program to its end. Its output goes through a file, not a pipe: the server, which it
/// may leave behind, would keep a pipe open.
fn run(command: &mut Command) -> Result<(), String> {
    let mut run = || -> io::Result<_> {
        let output = tempfile::tempfile()?;
        let status = command
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .status()?;
        Ok((status, output))
    };
    let (status, mut output) = run().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    let _ = io::Seek::rewind(&mut output);
    let _ = io::Read::read_to_string(&mut output, &mut said);
    Err(format!("{status}\n{said}"))
}
