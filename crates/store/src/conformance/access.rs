//! Users, roles, workspaces, API keys.

use domain::{
    ApiKeyId, UserId, WorkspaceId,
    access::{ApiKey, Membership, Role, Scope, User},
};

use super::{
    Backend,
    fixture::{Fixture, HOME, MINUTE},
};

impl<B: Backend> Fixture<'_, B> {
    fn user(&self, login: &str) -> User {
        User {
            id: UserId::new(self.id()),
            login: login.into(),
            password_hash: "$argon2id$x".into(),
            created_at: self.now(),
        }
    }

    async fn create_user(&self, login: &str, role: Role) -> User {
        let user = self.user(login);
        let membership = Membership {
            user: user.id,
            workspace: HOME,
            role,
        };
        assert!(
            self.store
                .create_user(user.clone(), membership)
                .await
                .unwrap()
        );
        user
    }

    fn key(&self, workspace: WorkspaceId, byte: u8) -> ApiKey {
        ApiKey {
            id: ApiKeyId::new(self.id()),
            workspace,
            name: "de\0ploy".into(),
            hash: [byte; 32],
            hint: "sp_abc".into(),
            scopes: vec![Scope::EventsWrite, Scope::Admin],
            created_at: self.now(),
            expires_at: Some(self.later(MINUTE)),
            revoked_at: None,
        }
    }
}

/// Found by login and id, with a new password, and gone with it.
pub async fn a_user_is_kept_with_a_membership(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    assert_eq!(test.store.user_count().await, Ok(0));
    let mut ada = test.create_user("ada@example.org", Role::Owner).await;
    assert_eq!(test.store.user_count().await, Ok(1));
    assert_eq!(test.store.user(ada.id).await.unwrap(), Some(ada.clone()));
    assert_eq!(
        test.store.user_by_login("ada@example.org").await.unwrap(),
        Some(ada.clone())
    );
    assert_eq!(test.store.user_by_login("bob").await.unwrap(), None);
    let membership = Membership {
        user: ada.id,
        workspace: HOME,
        role: Role::Owner,
    };
    assert_eq!(
        test.store.memberships(ada.id).await.unwrap(),
        std::slice::from_ref(&membership)
    );
    assert!(
        test.store
            .set_password(ada.id, "$argon2id$y")
            .await
            .unwrap()
    );
    ada.password_hash = "$argon2id$y".into();
    assert_eq!(
        test.store.members(HOME).await.unwrap(),
        [(ada.clone(), membership)]
    );
    assert!(test.store.delete_user(ada.id).await.unwrap());
    assert!(!test.store.delete_user(ada.id).await.unwrap());
    assert!(!test.store.set_password(ada.id, "z").await.unwrap());
    assert_eq!(test.store.user(ada.id).await.unwrap(), None);
    assert_eq!(test.store.memberships(ada.id).await.unwrap(), []);
    assert_eq!(test.store.members(HOME).await.unwrap(), []);
}

/// The second one gets nothing, no membership either.
pub async fn a_login_is_taken_once(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    test.create_user("ada", Role::Viewer).await;
    let other = test.user("ada");
    let membership = Membership {
        user: other.id,
        workspace: HOME,
        role: Role::Owner,
    };
    assert!(
        !test
            .store
            .create_user(other.clone(), membership)
            .await
            .unwrap()
    );
    assert_eq!(test.store.user(other.id).await.unwrap(), None);
    assert_eq!(test.store.memberships(other.id).await.unwrap(), []);
    assert_eq!(test.store.user_count().await, Ok(1));
}

/// In each workspace its own.
pub async fn roles_are_set_and_removed(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let ada = test.create_user("ada", Role::Viewer).await.id;
    for role in Role::ALL {
        test.store
            .set_role(ada, elsewhere, Some(role))
            .await
            .unwrap();
        let expected = [
            Membership {
                user: ada,
                workspace: HOME,
                role: Role::Viewer,
            },
            Membership {
                user: ada,
                workspace: elsewhere,
                role,
            },
        ];
        assert_eq!(test.store.memberships(ada).await.unwrap(), expected);
    }
    test.store.set_role(ada, HOME, None).await.unwrap();
    test.store.set_role(ada, HOME, None).await.unwrap();
    assert_eq!(test.store.members(HOME).await.unwrap(), []);
    assert_eq!(test.store.members(elsewhere).await.unwrap().len(), 1);
}

/// The default one is there from the start.
pub async fn workspaces_are_numbered(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let before = test.store.workspaces().await.unwrap();
    assert_eq!(before.len(), 1);
    assert_eq!(before[0].id, HOME);
    let made = test
        .store
        .create_workspace("Bü\0ro", test.now())
        .await
        .unwrap();
    assert_eq!(made.created_at, test.now());
    assert!(made.id > HOME);
    assert_eq!(
        test.store.workspaces().await.unwrap(),
        [before[0].clone(), made]
    );
}

/// Revoked ones too, which say since when.
pub async fn api_keys_are_found_by_their_hash(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let mut key = test.key(HOME, 1);
    let mut other = test.key(HOME, 2);
    other.scopes = vec![Scope::Read, Scope::Write];
    other.expires_at = None;
    test.store.create_api_key(key.clone()).await.unwrap();
    test.store.create_api_key(other.clone()).await.unwrap();
    assert!(
        test.store.create_api_key(test.key(HOME, 2)).await.is_err(),
        "a hash is unique"
    );
    assert_eq!(
        test.store.api_key_by_hash([1; 32]).await.unwrap(),
        Some(key.clone())
    );
    assert_eq!(test.store.api_key_by_hash([3; 32]).await.unwrap(), None);
    test.pass(7);
    assert!(
        test.store
            .revoke_api_key(HOME, key.id, test.now())
            .await
            .unwrap()
    );
    key.revoked_at = Some(test.now());
    test.pass(7);
    assert!(
        !test
            .store
            .revoke_api_key(HOME, key.id, test.now())
            .await
            .unwrap()
    );
    assert_eq!(
        test.store.api_key_by_hash([1; 32]).await.unwrap(),
        Some(key.clone())
    );
    assert_eq!(test.store.api_keys(HOME).await.unwrap(), [other, key]);
}

/// Nor revokes a key of another.
pub async fn another_workspace_sees_nothing(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let key = test.key(HOME, 1);
    test.store.create_api_key(key.clone()).await.unwrap();
    test.create_user("ada", Role::Owner).await;
    assert_eq!(test.store.api_keys(elsewhere).await.unwrap(), []);
    assert_eq!(test.store.members(elsewhere).await.unwrap(), []);
    assert!(
        !test
            .store
            .revoke_api_key(elsewhere, key.id, test.now())
            .await
            .unwrap()
    );
    assert_eq!(test.store.api_keys(HOME).await.unwrap(), [key]);
}
