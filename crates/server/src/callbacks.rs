//! The addresses at which outside systems answer nodes that wait for a callback:
//! `<public URL>/callbacks/<execution>/<node>/<token>`.
//!
//! The token is the workspace and a signature over all three, under a key that only this
//! installation has: whoever holds the address may answer, nobody can make one up. It is the same
//! on each node and after a restart. What takes the answers is [`crate::api`].

use domain::{ExecutionId, WorkspaceId, seal::SealingKey};
use ring::hmac;
use url::Url;
use workflow::Callbacks;

/// What the key is derived for.
const LABEL: &str = "callbacks";

/// Makes and checks addresses.
pub struct CallbackUrls {
    base: Url,
    key: hmac::Key,
}

impl CallbackUrls {
    /// Of the server that others reach at `base`.
    pub fn new(base: Url, sealing: &SealingKey) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*sealing.derive(LABEL));
        Self { base, key }
    }

    /// Whose execution it is, if `token` was made for this node of it. Compares in constant time.
    pub fn check(&self, execution: ExecutionId, node: &str, token: &str) -> Option<WorkspaceId> {
        let (workspace, signature) = token.split_once('.')?;
        let workspace: WorkspaceId = workspace.parse().ok()?;
        let signature = hex::decode(signature).ok()?;
        let signed = signed(workspace, execution, node);
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        Some(workspace)
    }

    fn token(&self, workspace: WorkspaceId, execution: ExecutionId, node: &str) -> String {
        let tag = hmac::sign(&self.key, signed(workspace, execution, node).as_bytes());
        format!("{workspace}.{}", hex::encode(tag))
    }
}

impl Callbacks for CallbackUrls {
    fn url(&self, workspace: WorkspaceId, execution: ExecutionId, node: &str) -> String {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([
                "callbacks",
                &execution.to_string(),
                node,
                &self.token(workspace, execution, node),
            ]);
        }
        url.into()
    }
}

/// What is signed. Neither of the first two can hold a slash.
fn signed(workspace: WorkspaceId, execution: ExecutionId, node: &str) -> String {
    format!("{workspace}/{execution}/{node}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_here_for_this_node_passes() {
        let base = Url::parse("https://example.com/signpost/").unwrap();
        let urls = CallbackUrls::new(base.clone(), &SealingKey::new([7; 32]));
        let execution = ExecutionId::new(uuid::Uuid::from_u128(1));
        let other = ExecutionId::new(uuid::Uuid::from_u128(2));
        let workspace = WorkspaceId::DEFAULT;
        let url = urls.url(workspace, execution, "paid?");
        let start = format!("https://example.com/signpost/callbacks/{execution}/paid%3F/wsp_1.");
        assert!(url.starts_with(&start), "{url}");
        let token = url.rsplit('/').next().unwrap();
        assert_eq!(urls.check(execution, "paid?", token), Some(workspace));
        assert_eq!(urls.check(execution, "paid", token), None);
        assert_eq!(urls.check(other, "paid?", token), None);
        let moved = token.replace("wsp_1", "wsp_2");
        for token in ["", ".", "wsp_1.", "wsp_1.zz", "wsp_1.00", &moved] {
            assert_eq!(urls.check(execution, "paid?", token), None, "{token}");
        }
        let foreign = CallbackUrls::new(base, &SealingKey::new([8; 32]));
        assert_eq!(foreign.check(execution, "paid?", token), None);
    }
}
