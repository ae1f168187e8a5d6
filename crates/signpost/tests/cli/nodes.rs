//! Nodes: what `serve` is told of them, what `nodes` shows, and that a database's password is
//! never shown.

use crate::program::{Server, command, finish, run};

const URL: &str = "postgres://ann:hunter2@127.0.0.1:1/signpost?connect_timeout=1";

#[test]
fn a_server_that_is_alone_is_the_only_node() {
    let server = Server::start();
    let nodes = server.json(["nodes"]);
    let [node] = nodes["data"].as_array().unwrap().as_slice() else {
        panic!("{nodes}")
    };
    assert_eq!(node["isSelf"], true);
    assert_eq!(node["role"], "all");
    assert_eq!(node["state"], "active");
    let address = node["address"].as_str().unwrap();
    assert_eq!(server.address, format!("http://{address}"));
    let table = server.run(["nodes"]).expect(0).stdout;
    assert!(table.contains("NAME") && table.contains(address), "{table}");
}

#[test]
fn a_part_of_the_work_needs_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = command();
    serve
        .args(["serve", "--only", "worker", "--data-dir"])
        .arg(folder.path());
    let ended = finish(&mut serve, "").expect(2);
    assert!(ended.stderr.contains("--database-url"), "{}", ended.stderr);
    let ended = run(["serve", "--lease", "10ms"]).expect(2);
    assert!(ended.stderr.contains("one second"), "{}", ended.stderr);
}

#[test]
fn a_database_that_is_away_is_said_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for words in [
        vec!["serve", "--port", "0"],
        vec!["users", "list"],
        vec!["migrate"],
        vec!["token", "--login", "ann"],
        vec!["doctor", "--offline", "--port", "0"],
    ] {
        // The flag counts before its variable, that before the one that other programs read.
        for (flag, variables) in [
            (Some(URL), vec![("SIGNPOST_DATABASE_URL", "mysql://x")]),
            (
                None,
                vec![
                    ("SIGNPOST_DATABASE_URL", URL),
                    ("DATABASE_URL", "mysql://x"),
                ],
            ),
            (None, vec![("DATABASE_URL", URL)]),
        ] {
            let mut program = command();
            program.args(&words).arg("--data-dir").arg(&data);
            if let Some(url) = flag {
                program.args(["--database-url", url]);
            }
            let ended = finish(program.envs(variables), "").expect(1);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(!said.contains("hunter2"), "{words:?}: {said}");
            assert!(!said.contains("mysql"), "{words:?}: {said}");
            assert!(said.contains("cannot be reached"), "{words:?}: {said}");
        }
    }
}
