use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use super::{database::with_option, programs, shared::Use, *};

/// How long something that must happen may take before it counts as a failure.
const PATIENCE: Duration = Duration::from_mins(1);

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    while !is_so() {
        assert!(waited < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(50));
        waited += Duration::from_millis(50);
    }
}

#[test]
fn a_url_gets_one_more_option() {
    for (url, expected) in [
        (
            "postgres://a@b/c",
            "postgres://a@b/c?options=-csearch_path%3Dx",
        ),
        (
            "postgres://a@b/c?sslmode=disable",
            "postgres://a@b/c?sslmode=disable&options=-csearch_path%3Dx",
        ),
        (
            "postgres://a@b/c?options=-cjit%3Doff&connect_timeout=3",
            "postgres://a@b/c?options=-cjit%3Doff%20-csearch_path%3Dx&connect_timeout=3",
        ),
    ] {
        assert_eq!(with_option(url, "-csearch_path=x"), expected);
    }
}

#[test]
fn the_newest_version_is_taken_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["9", "15", "14", "common"] {
        fs::create_dir_all(folder.path().join(name).join("bin")).unwrap();
    }
    let found = programs::newest_first(folder.path());
    let expected: Vec<_> = ["15", "14", "9"]
        .iter()
        .map(|version| folder.path().join(version).join("bin"))
        .collect();
    assert_eq!(found, expected);
    assert!(programs::newest_first(Path::new("/nowhere")).is_empty());
}

#[test]
fn schemas_are_apart_and_vanish_when_dropped() {
    let (one, other) = (database(), database());
    assert_ne!(one.schema(), other.schema());
    for database in [&one, &other] {
        sql::run(&database.url(), "CREATE TABLE things (id int PRIMARY KEY)").unwrap();
    }
    let url = other.url();
    sql::run(
        &url,
        "DO $$ BEGIN ASSERT current_schemas(false) = ARRAY[current_schema()]; END $$",
    )
    .unwrap();
    drop(one);
    sql::run(&url, "INSERT INTO things VALUES (1)").unwrap();
    drop(other);
    let gone = sql::run(&url, "SELECT * FROM things").unwrap_err();
    assert!(gone.contains("does not exist"), "{gone}");
}

#[test]
fn a_transaction_that_was_left_open_does_not_keep_a_schema() {
    let database = database();
    let url = database.url();
    sql::run(&url, "CREATE TABLE things (id int)").unwrap();
    let holding = thread::spawn({
        let url = url.clone();
        move || sql::run(&url, "BEGIN; LOCK TABLE things; SELECT pg_sleep(600)")
    });
    wait_until("the table is locked", || {
        sql::run(&url, "BEGIN; LOCK TABLE things NOWAIT").is_err()
    });
    drop(database);
    assert!(holding.join().unwrap().is_err());
    assert!(sql::run(&url, "SELECT * FROM things").is_err());
}

#[test]
fn all_who_use_a_folder_share_one_server() {
    let parent = tempfile::tempdir().unwrap();
    open_to_all(parent.path());
    let folder = parent.path().join("shared");
    let users: Vec<_> = (0..4)
        .map(|_| {
            let folder = folder.clone();
            thread::spawn(move || Use::of(&folder, 0))
        })
        .map(|starting| starting.join().unwrap())
        .collect();
    let url = users[0].url.clone();
    assert!(users.iter().all(|user| user.url == url));
    sql::run(
        &url,
        "DO $$ BEGIN ASSERT current_setting('fsync') = 'off'; END $$",
    )
    .unwrap();
    drop(users);
    wait_until("the server is stopped and its folder removed", || {
        !folder.exists()
    });
    assert!(sql::run(&url, "SELECT 1").is_err());
    // And whoever comes afterwards has another.
    let again = Use::of(&folder, 0);
    sql::run(&again.url, "SELECT 1").unwrap();
    drop(again);
    wait_until("the second server is gone too", || !folder.exists());
}

#[test]
fn a_server_that_was_killed_is_replaced() {
    let parent = tempfile::tempdir().unwrap();
    open_to_all(parent.path());
    let folder = parent.path().join("shared");
    let first = Use::of(&folder, 0);
    let pid = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", pid])
            .status()
            .unwrap()
            .success()
    );
    wait_until("it is dead", || sql::run(&first.url, "SELECT 1").is_err());
    let second = Use::of(&folder, 0);
    sql::run(&second.url, "SELECT 1").unwrap();
    drop((first, second));
    wait_until("all is gone", || !folder.exists());
}

#[test]
fn a_cluster_recovers_what_was_committed_and_ends_with_its_value() {
    let cluster = Cluster::start();
    let url = cluster.url().to_owned();
    sql::run(
        &url,
        "DO $$ BEGIN
           ASSERT current_setting('fsync') = 'on';
           ASSERT current_setting('synchronous_commit') = 'on';
         END $$;
         CREATE TABLE things (id int); INSERT INTO things VALUES (7)",
    )
    .unwrap();
    cluster.stop_immediately();
    assert!(sql::run(&url, "SELECT 1").is_err());
    cluster.start_again();
    sql::run(
        &url,
        "DO $$ BEGIN ASSERT (SELECT id FROM things) = 7; END $$",
    )
    .unwrap();
    drop(cluster);
    assert!(sql::run(&url, "SELECT 1").is_err());
}

/// A server that gives back what it gets, and its address as a database's URL.
fn echo() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            thread::spawn(move || {
                let mut back = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut &stream, &mut back);
            });
        }
    });
    format!("postgres://ann:secret@127.0.0.1:{port}/x?options=-cjit%3Doff")
}

fn connect(gate: &Gate) -> TcpStream {
    let url = url::Url::parse(gate.url()).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", url.port().unwrap())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether a message comes back; `false` if the connection ended instead.
fn echoes(mut stream: &TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut back).is_ok() && back == *b"ping"
}

#[test]
fn a_gate_that_is_shut_ends_connections_and_lets_none_come_about() {
    let gate = Gate::before(&echo());
    assert!(gate.url().starts_with("postgres://ann:secret@127.0.0.1:"));
    assert!(gate.url().ends_with("/x?options=-cjit%3Doff"));
    let before = connect(&gate);
    assert!(echoes(&before));
    gate.shut();
    assert!(!echoes(&before));
    assert!(!echoes(&connect(&gate)));
    gate.open();
    assert!(echoes(&connect(&gate)));
    assert!(!echoes(&before));
}

#[test]
fn a_silent_gate_holds_everything_back_until_it_is_opened() {
    let gate = Gate::before(&echo());
    let mut before = connect(&gate);
    assert!(echoes(&before));
    gate.silence();
    before.write_all(b"ping").unwrap();
    let mut during = connect(&gate);
    during.write_all(b"ping").unwrap();
    for stream in [&before, &during] {
        stream.set_nonblocking(true).unwrap();
        let nothing = (&*stream).read(&mut [0; 4]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
    }
    gate.open();
    for stream in [&mut before, &mut during] {
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, *b"ping");
    }
    let kept = connect(&gate);
    assert!(echoes(&kept));
    drop(gate);
    assert!(!echoes(&kept));
}

#[test]
fn a_server_is_reached_through_a_gate() {
    let database = database();
    let gate = Gate::before(&database.url());
    sql::run(gate.url(), "CREATE TABLE things (id int)").unwrap();
    sql::run(&database.url(), "SELECT * FROM things").unwrap();
    gate.shut();
    assert!(sql::run(gate.url(), "SELECT 1").is_err());
    sql::run(&database.url(), "SELECT 1").unwrap();
}

/// The server runs as somebody else where the tests run as root.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o1777)).unwrap();
}
