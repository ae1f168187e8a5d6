//! The demo, from beginning to end.

use crate::program::{Streaming, command, run};

#[test]
fn the_demo_tells_its_whole_story_and_ends() {
    let ended = run(["demo", "--port", "0", "--exit"]).expect(0);
    for part in [
        "Signpost is ready at http://127.0.0.1:",
        "temporary: removed when the demo ends",
        "201 Created whk_",
        "201 Created src_",
        "201 Created wfl_",
        "202 Accepted exe_",
        "✓ sent again: 200 OK, the same execution",
        "✓ another order under that signature: 401",
        "✓ total  99.5",
        "[offline model]",
        "✓ completed",
        "webhook-signature: v1,",
        "✓ as it came: verified",
        "✓ with one letter changed: refused",
        "the receiver answers 503",
        "✓ second attempt",
    ] {
        assert!(
            ended.stdout.contains(part),
            "{part} is missing:\n{}",
            ended.stdout
        );
    }
    let log: Vec<&str> = ended
        .stdout
        .lines()
        .skip_while(|line| !line.contains("is in the log"))
        .collect();
    assert_eq!(
        log.iter().filter(|line| line.contains("✓ 200")).count(),
        2,
        "{}",
        ended.stdout
    );
    assert_eq!(
        log.iter().filter(|line| line.contains("✗ 503")).count(),
        1,
        "{}",
        ended.stdout
    );
}

#[test]
fn the_demo_for_programs_says_how_each_part_went() {
    let kept = tempfile::tempdir().unwrap();
    let data = kept.path().join("data").display().to_string();
    let outcome = run([
        "demo",
        "--port",
        "0",
        "--exit",
        "--json",
        "--data-dir",
        &data,
    ])
    .expect(0)
    .json();
    for part in [
        "offlineModel",
        "forgedRefused",
        "repeatIgnored",
        "completed",
        "received",
        "verified",
        "tamperedRefused",
        "recovered",
    ] {
        assert_eq!(outcome[part], true, "{part}: {outcome}");
    }
    assert_eq!(outcome["steps"].as_array().unwrap().len(), 3);
    assert_eq!(outcome["attempts"].as_array().unwrap().len(), 3);
    assert!(std::path::Path::new(&data).join("signpost.db").exists());
    // What an earlier demo has made is used again.
    run(["demo", "--port", "0", "--exit", "--data-dir", &data]).expect(0);
}

#[test]
fn the_demo_stays_up_until_it_is_told_to_end_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = command();
    demo.args(["demo", "--port", "0"])
        .env("TMPDIR", temporary.path());
    let mut demo = Streaming::start(&mut demo);
    let address = demo.next()["address"].as_str().unwrap().to_owned();
    let lists = run(["webhooks", "list", "--server", &address]).expect(0);
    assert!(lists.stdout.contains("demo"), "{}", lists.stdout);
    demo.terminate();
    assert_eq!(demo.code(), Some(0));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
