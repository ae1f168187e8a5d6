//! The people of a running server, by its API.

use anyhow::Result;
use domain::access::Role;
use http::Method;
use serde_json::{Value, json};

use super::has_login;
use crate::{client::Client, commands::events::path_part, output::text, problem::Problem};

/// A running server.
pub struct Online {
    client: Client,
}

impl Online {
    /// Of this server.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// All users.
    pub async fn list(&self) -> Result<Vec<Value>> {
        Ok(self.client.list("/api/v1/users", &[], 10_000).await?.data)
    }

    /// Adds one.
    pub async fn add(&self, login: &str, password: &str, role: Role) -> Result<Value> {
        let body = json!({ "login": login, "password": password, "role": role.as_str() });
        let answer = self
            .client
            .send(Method::POST, "/api/v1/users", Some(body.to_string()))
            .await?;
        Ok(answer.body)
    }

    /// Removes one.
    pub async fn remove(&self, login: &str) -> Result<()> {
        let path = self.path_of(login).await?;
        self.client
            .send(Method::DELETE, &path, None)
            .await
            .map(drop)
    }

    /// Changes role or password.
    pub async fn change(&self, login: &str, change: &Value) -> Result<()> {
        let path = self.path_of(login).await?;
        self.client
            .send(Method::PATCH, &path, Some(change.to_string()))
            .await
            .map(drop)
    }

    async fn path_of(&self, login: &str) -> Result<String> {
        let users = self.list().await?;
        let user = users.iter().find(|user| has_login(user, login));
        let id = user.and_then(|user| text(user, "id")).ok_or_else(|| {
            Problem::failed(format!("there is no user `{login}`"))
                .at(self.client.address())
                .advice("see who there is: signpost users list")
        })?;
        Ok(format!("/api/v1/users/{}", path_part(id)))
    }
}
