//! Users and workspaces: over the real router.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use domain::access::Role;
use http::{Method, StatusCode};
use serde_json::json;
use support::TestServer;

#[tokio::test]
async fn workspaces_are_separate_worlds() {
    let server = TestServer::owned().await;
    let ann = server.token("ann").await;
    let made = server
        .post("/api/v1/workspaces")
        .bearer(&ann)
        .json(&json!({ "name": "staging" }))
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let staging = made.json()["id"].as_str().unwrap().to_owned();
    let new = json!({ "name": "k", "scopes": ["read"] });
    let key = server
        .post("/api/v1/keys")
        .bearer(&ann)
        .header("x-workspace", &staging)
        .json(&new)
        .send()
        .await
        .json();

    let here = server.get("/api/v1/keys").bearer(&ann).send().await.json();
    let there = server
        .get("/api/v1/keys")
        .bearer(&ann)
        .header("x-workspace", &staging)
        .send()
        .await
        .json();
    assert_eq!(
        (
            here["data"].as_array().unwrap().len(),
            there["data"].as_array().unwrap().len()
        ),
        (0, 1)
    );
    let path = format!("/api/v1/keys/{}", key["id"].as_str().unwrap());
    let across = server.call(Method::DELETE, &path).bearer(&ann).send().await;
    assert_eq!(across.status, StatusCode::NOT_FOUND);

    server.add_user("bob", Role::Owner).await;
    let bob = server.token("bob").await;
    for workspace in [staging.as_str(), "wsp_99", "nonsense"] {
        let answer = server
            .get("/api/v1/auth/me")
            .bearer(&bob)
            .header("x-workspace", workspace)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{workspace}");
    }
    let own = server
        .get("/api/v1/workspaces")
        .bearer(&bob)
        .send()
        .await
        .json();
    assert_eq!(own["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_can_draw_the_requests_of_others_into_their_own_workspace() {
    let server = TestServer::owned().await;
    let ann = server.token("ann").await;
    let staging = server
        .post("/api/v1/workspaces")
        .bearer(&ann)
        .json(&json!({ "name": "staging" }))
        .send()
        .await
        .json();
    let staging = staging["id"].as_str().unwrap().to_owned();
    let add = async |token: &str, workspace: &str, user| {
        server
            .post("/api/v1/users")
            .bearer(token)
            .header("x-workspace", workspace)
            .json(&user)
            .send()
            .await
    };
    let eve = server.add_user("eve", Role::Owner).await;
    let carol = json!({ "login": "carol", "password": support::PASSWORD, "role": "publisher" });
    let made = add(&ann, &staging, carol).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());

    // Without a header carol's requests act in `staging`. Eve owns an earlier workspace only.
    let again = json!({ "login": "carol", "role": "publisher" });
    let eves = server.token("eve").await;
    let drawn = add(&eves, "wsp_1", again.clone()).await;
    assert_eq!(drawn.status, StatusCode::FORBIDDEN, "{}", drawn.text());
    let carols = server.token("carol").await;
    let me = async || {
        let answer = server.get("/api/v1/auth/me").bearer(&carols).send().await;
        answer.json()["workspace"].as_str().unwrap().to_owned()
    };
    assert_eq!(me().await, staging);

    // Who owns both may, and adding to a later workspace changes nothing for anybody.
    let added = add(&ann, &staging, json!({ "login": "eve", "role": "viewer" })).await;
    assert_eq!(added.status, StatusCode::CREATED, "{eve}: {}", added.text());
    assert_eq!(add(&ann, "wsp_1", again).await.status, StatusCode::CREATED);
    assert_eq!(me().await, "wsp_1");
}

#[tokio::test]
async fn the_last_owner_stays_and_others_can_be_changed_and_removed() {
    let server = TestServer::owned().await;
    let ann = server.token("ann").await;
    let bob = server.add_user("bob", Role::Editor).await;
    let users = server.get("/api/v1/users").bearer(&ann).send().await.json();
    let ann_path = format!("/api/v1/users/{}", users["data"][0]["id"].as_str().unwrap());
    let bob_path = format!("/api/v1/users/{bob}");
    let patch = async |path: &str, body| {
        server
            .call(Method::PATCH, path)
            .bearer(&ann)
            .json(&body)
            .send()
            .await
    };

    assert_eq!(
        patch(&ann_path, json!({ "role": "viewer" })).await.status,
        StatusCode::CONFLICT
    );
    let removed = server
        .call(Method::DELETE, &ann_path)
        .bearer(&ann)
        .send()
        .await;
    assert_eq!(removed.status, StatusCode::CONFLICT);
    assert_eq!(
        patch(&bob_path, json!({ "role": "king" })).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        patch(&bob_path, json!({ "role": "viewer" })).await.json()["role"],
        "viewer"
    );

    let bobs = server.token("bob").await;
    let removed = server
        .call(Method::DELETE, &bob_path)
        .bearer(&ann)
        .send()
        .await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert_eq!(
        server
            .get("/api/v1/auth/me")
            .bearer(&bobs)
            .send()
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        server.get(&bob_path).bearer(&ann).send().await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_password_can_be_set_only_by_who_owns_all_that_it_opens() {
    let server = TestServer::owned().await;
    let ann = server.token("ann").await;
    server.add_user("bob", Role::Owner).await;
    let bob = server.token("bob").await;
    let own = server
        .post("/api/v1/workspaces")
        .bearer(&bob)
        .json(&json!({ "name": "bob's" }))
        .send()
        .await
        .json();
    let users = server.get("/api/v1/users").bearer(&ann).send().await.json();
    let id = users["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["login"] == "bob")
        .unwrap()["id"]
        .clone();
    let path = format!("/api/v1/users/{}", id.as_str().unwrap());
    let change = json!({ "password": "a stolen password" });
    let answer = server
        .call(Method::PATCH, &path)
        .bearer(&ann)
        .json(&change)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{own}");
    assert_eq!(
        server
            .get("/api/v1/auth/me")
            .bearer(&bob)
            .send()
            .await
            .status,
        StatusCode::OK
    );
}
