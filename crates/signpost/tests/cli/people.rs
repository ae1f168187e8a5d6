//! Users and tokens: on the data folder while no server runs, and on a running server.

use std::{path::Path, sync::Arc};

use crate::program::{Ended, Server, command, finish};

fn offline(folder: &Path, args: &[&str], stdin: &str) -> Ended {
    finish(command().args(args).env("SIGNPOST_DATA_DIR", folder), stdin)
}

#[test]
fn the_first_owner_is_made_before_a_server_listens_to_others() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    let alone = offline(&data, &["serve", "--host", "0.0.0.0", "--port", "0"], "").expect(1);
    assert!(
        alone.stderr.contains("signpost users add"),
        "{}",
        alone.stderr
    );
    offline(
        &data,
        &[
            "users",
            "add",
            "ann",
            "--role",
            "viewer",
            "--password-stdin",
        ],
        "correct horse\n",
    )
    .expect(2);
    offline(
        &data,
        &["users", "add", "Ann", "--password-stdin"],
        "short\n",
    )
    .expect(1);
    let added = offline(
        &data,
        &["users", "add", "Ann", "--password-stdin", "--json"],
        "correct horse\n",
    )
    .expect(0);
    assert_eq!(
        (&added.json()["login"], &added.json()["role"]),
        (&"ann".into(), &"owner".into())
    );
    offline(
        &data,
        &["users", "add", "ann", "--password-stdin"],
        "correct horse\n",
    )
    .expect(1);
    offline(
        &data,
        &["users", "add", "bob", "--password-stdin"],
        "battery staple\n",
    )
    .expect(0);
    let list = offline(&data, &["users", "list"], "").expect(0);
    assert!(
        list.stdout.contains("ann") && list.stdout.contains("editor"),
        "{}",
        list.stdout
    );
    let last = offline(&data, &["users", "remove", "ann"], "").expect(1);
    assert!(last.stderr.contains("last owner"), "{}", last.stderr);
    offline(&data, &["users", "role", "bob", "owner"], "").expect(0);
    offline(&data, &["users", "remove", "ann"], "").expect(0);
}

#[test]
fn a_token_from_the_folder_and_one_from_a_login_open_the_server() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    offline(
        &data,
        &["users", "add", "ann", "--password-stdin"],
        "correct horse\n",
    )
    .expect(0);
    let made = offline(&data, &["token", "--login", "ann"], "").expect(0);
    assert_eq!(made.stdout.lines().count(), 1, "{}", made.stdout);
    let server = Server::start_on(folder);
    let refused = server.run(["webhooks", "list"]).expect(1);
    assert!(
        refused.stderr.contains("signpost token"),
        "{}",
        refused.stderr
    );
    let mut login = server.command(["token", "--login", "ann", "--password-stdin"]);
    let logged_in = finish(&mut login, "correct horse\n").expect(0);
    for token in [made.stdout.trim(), logged_in.stdout.trim()] {
        finish(
            server
                .command(["webhooks", "list"])
                .env("SIGNPOST_TOKEN", token),
            "",
        )
        .expect(0);
    }
    let mut wrong = server.command(["token", "--login", "ann", "--password-stdin"]);
    let wrong = finish(&mut wrong, "wrong horse\n").expect(1);
    assert!(
        wrong.stderr.contains("password is wrong"),
        "{}",
        wrong.stderr
    );
    // A new password ends the tokens of the old one.
    let mut change = server.command(["users", "set-password", "ann", "--password-stdin"]);
    finish(
        change.env("SIGNPOST_TOKEN", made.stdout.trim()),
        "another horse\n",
    )
    .expect(0);
    finish(
        server
            .command(["webhooks", "list"])
            .env("SIGNPOST_TOKEN", made.stdout.trim()),
        "",
    )
    .expect(1);
}

#[test]
fn people_are_managed_on_a_running_server() {
    let server = Server::start();
    let mut add = server.command(["users", "add", "ann", "--password-stdin", "--json"]);
    let added = finish(&mut add, "correct horse\n").expect(0).json();
    assert_eq!(added["role"], "owner");
    let mut login = server.command(["token", "--login", "ann", "--password-stdin"]);
    let token = finish(&mut login, "correct horse\n").expect(0).stdout;
    let as_ann = |args: &[&str], stdin: &str| {
        finish(
            server.command(args).env("SIGNPOST_TOKEN", token.trim()),
            stdin,
        )
    };
    as_ann(
        &[
            "users",
            "add",
            "bob",
            "--role",
            "viewer",
            "--password-stdin",
        ],
        "battery staple\n",
    )
    .expect(0);
    as_ann(&["users", "role", "bob", "publisher"], "").expect(0);
    let list = as_ann(&["users", "list"], "").expect(0);
    assert!(list.stdout.contains("publisher"), "{}", list.stdout);
    as_ann(&["users", "remove", "bob"], "").expect(0);
    let gone = as_ann(&["users", "remove", "bob"], "").expect(1);
    assert!(gone.stderr.contains("no user `bob`"), "{}", gone.stderr);
}

#[test]
fn a_password_is_not_asked_for_where_nobody_can_answer() {
    let folder = tempfile::tempdir().unwrap();
    let asked = offline(&folder.path().join("data"), &["users", "add", "ann"], "").expect(2);
    assert!(
        asked.stderr.contains("--password-stdin"),
        "{}",
        asked.stderr
    );
}

#[test]
fn migrating_makes_and_describes_a_database_and_the_doctor_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let migrated = offline(&data, &["migrate", "--json"], "").expect(0).json();
    assert_eq!(migrated["kind"], "sqlite");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let args = ["doctor", "--offline", "--json", "--port", &port];
    let checks = offline(&data, &args, "").expect(0).json();
    let database = checks["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["check"] == "database")
        .unwrap();
    assert!(
        database["found"]
            .as_str()
            .unwrap()
            .contains("schema version"),
        "{database}"
    );
    let missing = offline(&folder.path().join("none"), &["users", "list"], "").expect(1);
    assert!(missing.stderr.contains("--data-dir"), "{}", missing.stderr);
}
