//! Who may come in, and what they may do: over the real router.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::{net::SocketAddr, time::Duration};

use domain::access::Role;
use http::{Method, StatusCode};
use serde_json::json;
use server::{ServerConfig, config::LimitsConfig};
use support::{PASSWORD, TestServer};

#[tokio::test]
async fn in_local_mode_whoever_is_at_this_machine_is_the_owner() {
    let server = TestServer::local().await;
    let me = server.get("/api/v1/auth/me").send().await.json();
    assert_eq!(me["kind"], "local");
    assert_eq!(me["role"], "owner");
    assert_eq!(
        me["scopes"],
        json!(["events:write", "read", "write", "admin"])
    );
}

#[tokio::test]
async fn in_local_mode_credentials_that_are_given_are_checked() {
    let server = TestServer::local().await;
    for credentials in ["sp_unknown", "not.a.token", ""] {
        let answer = server
            .get("/api/v1/auth/me")
            .bearer(credentials)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{credentials}");
    }
}

#[tokio::test]
async fn in_local_mode_foreign_hosts_and_origins_are_refused_for_reads_and_public_routes_too() {
    let server = TestServer::local().await;
    for path in ["/api/v1/auth/me", "/healthz", "/api/docs", "/no/such/path"] {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let answer = server.get(path).header(name, value).send().await;
            assert_eq!(
                (answer.status, answer.slug().as_str()),
                (StatusCode::FORBIDDEN, "foreign-origin"),
                "{path} {name}"
            );
        }
    }
    let answer = server
        .get("/api/v1/auth/me")
        .header("host", "evil.example")
        .send()
        .await;
    assert_eq!(answer.slug(), "foreign-origin");
    let same = server
        .get("/api/v1/auth/me")
        .header("origin", "http://localhost:8000")
        .send()
        .await;
    assert_eq!(same.status, StatusCode::OK);
}

#[tokio::test]
async fn the_first_user_is_an_owner_and_ends_local_mode() {
    let server = TestServer::local().await;
    let new =
        |role: &str| json!({ "login": " Ann@Example.com ", "password": PASSWORD, "role": role });
    let refused = server
        .post("/api/v1/users")
        .json(&new("editor"))
        .send()
        .await;
    assert_eq!(refused.json()["errors"][0]["path"], "role");
    let made = server
        .post("/api/v1/users")
        .json(&new("owner"))
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    assert_eq!(made.json()["login"], "ann@example.com");
    assert_eq!(
        server.get("/api/v1/auth/me").send().await.status,
        StatusCode::UNAUTHORIZED
    );
    let token = server.token("ANN@example.com").await;
    let me = server
        .get("/api/v1/auth/me")
        .bearer(&token)
        .send()
        .await
        .json();
    assert_eq!(
        (&me["kind"], &me["login"]),
        (&json!("user"), &json!("ann@example.com"))
    );
}

#[tokio::test]
async fn without_credentials_nothing_but_open_routes_answers() {
    let server = TestServer::owned().await;
    for path in [
        "/api/v1/auth/me",
        "/api/v1/users",
        "/api/v1/keys",
        "/api/v1/workspaces",
    ] {
        let answer = server.get(path).send().await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer realm=\"signpost\""
        );
    }
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/openapi.json",
        "/api/docs",
        "/errors",
        "/errors/not-found",
    ] {
        assert_eq!(
            server.get(path).send().await.status,
            StatusCode::OK,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_wrong_login_and_a_wrong_password_are_answered_alike_and_slowed_down() {
    let server = TestServer::owned().await;
    let attempt = async |login: &str, password: &str| {
        let body = json!({ "login": login, "password": password });
        server.post("/api/v1/auth/login").json(&body).send().await
    };
    let wrong_password = attempt("ann", "wrong password").await;
    let wrong_login = attempt("nobody", "wrong password").await;
    assert_eq!(wrong_password.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong_password.body, wrong_login.body);
    for _ in 0..9 {
        assert_eq!(
            attempt("ann", "wrong password").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    let limited = attempt("ann", PASSWORD).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.header("retry-after"), "30");
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(attempt("ann", PASSWORD).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_second_interface_logs_in_by_username_and_refuses_with_a_message() {
    let server = TestServer::owned().await;
    let login = async |password: &str| {
        let body = json!({ "username": "ann", "password": password });
        server.post("/api/auth/login").json(&body).send().await
    };
    let good = login(PASSWORD).await.json();
    assert_eq!(
        good.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["token"]
    );
    let bad = login("wrong").await;
    assert_eq!(bad.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        bad.json(),
        json!({ "message": "The login or the password is wrong." })
    );
    assert_eq!(bad.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_token_ends_with_its_time_with_the_password_and_with_the_user() {
    let server = TestServer::owned().await;
    let status = async |token: &str| {
        server
            .get("/api/v1/auth/me")
            .bearer(token)
            .send()
            .await
            .status
    };
    let token = server.token("ann").await;
    assert_eq!(status(&token).await, StatusCode::OK);

    let change = json!({ "currentPassword": PASSWORD, "newPassword": "another long one" });
    let changed = server
        .call(Method::PUT, "/api/v1/auth/password")
        .bearer(&token)
        .json(&change)
        .send()
        .await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    assert_eq!(status(&token).await, StatusCode::UNAUTHORIZED);
    let token = changed.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(status(&token).await, StatusCode::OK);

    server
        .clock
        .advance(Duration::from_hours(12) + Duration::from_mins(2));
    assert_eq!(status(&token).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn roles_allow_what_they_say() {
    let server = TestServer::owned().await;
    let cases = [
        (Role::Owner, 200),
        (Role::Editor, 403),
        (Role::Viewer, 403),
        (Role::Publisher, 403),
    ];
    for (role, expected) in cases {
        let login = format!("{}-person", role.as_str());
        server.add_user(&login, role).await;
        let token = server.token(&login).await;
        let answer = server.get("/api/v1/users").bearer(&token).send().await;
        assert_eq!(answer.status.as_u16(), expected, "{role:?}");
    }
}

#[tokio::test]
async fn an_api_key_is_shown_once_does_what_its_scopes_say_and_ends_when_revoked() {
    let server = TestServer::owned().await;
    let owner = server.token("ann").await;
    let new = json!({ "name": "ops", "scopes": ["admin"], "expiresAt": "2026-02-01T00:00:00Z" });
    let made = server
        .post("/api/v1/keys")
        .bearer(&owner)
        .json(&new)
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let made = made.json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with("sp_") && key.len() == 35, "{key}");

    let listed = server.get("/api/v1/keys").bearer(key).send().await;
    assert_eq!(listed.status, StatusCode::OK);
    assert!(!listed.text().contains(key));
    assert_eq!(listed.json()["data"][0]["hint"], key[..7]);

    server.clock.advance(Duration::from_hours(15));
    let expired = server.get("/api/v1/auth/me").bearer(key).send().await;
    assert_eq!(expired.status, StatusCode::UNAUTHORIZED);

    let owner = server.token("ann").await;
    let path = format!("/api/v1/keys/{id}");
    for _ in 0..2 {
        let revoked = server
            .call(Method::DELETE, &path)
            .bearer(&owner)
            .send()
            .await;
        assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    }
    let listed = server
        .get("/api/v1/keys")
        .bearer(&owner)
        .send()
        .await
        .json();
    assert_eq!(listed["data"][0]["revokedAt"], "2026-02-01T00:30:00.000Z");
}

#[tokio::test]
async fn a_narrow_key_is_refused_what_its_scopes_do_not_cover_and_revoking_counts_at_once() {
    let server = TestServer::local().await;
    let new = json!({ "name": "publisher", "scopes": ["events:write"] });
    let made = server.post("/api/v1/keys").json(&new).send().await.json();
    let key = made["key"].as_str().unwrap();
    assert_eq!(
        server
            .get("/api/v1/auth/me")
            .bearer(key)
            .send()
            .await
            .json()["scopes"],
        json!(["events:write"])
    );
    let answer = server.get("/api/v1/keys").bearer(key).send().await;
    assert_eq!(
        (answer.status, answer.slug().as_str()),
        (StatusCode::FORBIDDEN, "forbidden")
    );
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    server.call(Method::DELETE, &path).send().await;
    assert_eq!(
        server
            .get("/api/v1/auth/me")
            .bearer(key)
            .send()
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn callers_are_metered_and_told_where_they_stand() {
    let limits = LimitsConfig {
        requests_per_minute: Some(3),
        ..LimitsConfig::default()
    };
    let server = TestServer::owned_with(ServerConfig {
        limits,
        ..ServerConfig::default()
    })
    .await;
    let token = server.token("ann").await;
    let ask = async || server.get("/api/v1/auth/me").bearer(&token).send().await;
    let first = ask().await;
    assert_eq!(first.header("ratelimit-policy"), "\"default\";q=3;w=60");
    assert_eq!(first.header("ratelimit"), "\"default\";r=2;t=20");
    assert_eq!(
        (
            first.header("x-ratelimit-limit"),
            first.header("x-ratelimit-remaining")
        ),
        ("3", "2")
    );
    ask().await;
    ask().await;
    let refused = ask().await;
    assert_eq!(
        (refused.status, refused.slug().as_str()),
        (StatusCode::TOO_MANY_REQUESTS, "rate-limited")
    );
    assert_eq!(
        (
            refused.header("retry-after"),
            refused.header("x-ratelimit-remaining")
        ),
        ("20", "0")
    );
    server.clock.advance(Duration::from_secs(20));
    assert_eq!(ask().await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_that_tries_out_credentials_is_slowed_down_and_nobody_else() {
    let server = TestServer::owned().await;
    let token = server.token("ann").await;
    let (bad, other): (SocketAddr, SocketAddr) = (
        "192.0.2.1:1".parse().unwrap(),
        "192.0.2.2:1".parse().unwrap(),
    );
    let ask = async |credentials: &str, from| {
        let call = server.get("/api/v1/auth/me").bearer(credentials);
        call.from(from).await.status
    };
    for n in 0..100 {
        let status = ask(&format!("sp_{n}"), bad).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(ask("sp_x", bad).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask("sp_x", other).await, StatusCode::UNAUTHORIZED);
    // Whoever shares the address with the one that tries is served.
    assert_eq!(ask(&token, bad).await, StatusCode::OK);
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(ask("sp_x", bad).await, StatusCode::UNAUTHORIZED);
}
