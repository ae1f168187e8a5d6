//! Answers kept for idempotent requests.

use super::{
    Backend,
    fixture::{Fixture, HOME},
};
use crate::KeptAnswer;

/// Later ones are not, but in another workspace.
pub async fn the_first_answer_is_kept(backend: &impl Backend) {
    let test = Fixture::new(backend).await;
    let elsewhere = test.elsewhere().await;
    let answer = |status| KeptAnswer {
        request_hash: [7; 32],
        status,
        body: vec![0, 1, 255],
        created_at: test.now(),
    };
    assert_eq!(test.store.kept_answer(HOME, "k").await.unwrap(), None);
    assert!(
        test.store
            .keep_answer(HOME, "k", answer(201))
            .await
            .unwrap()
    );
    assert!(
        !test
            .store
            .keep_answer(HOME, "k", answer(500))
            .await
            .unwrap()
    );
    assert_eq!(
        test.store.kept_answer(HOME, "k").await.unwrap(),
        Some(answer(201))
    );
    assert_eq!(test.store.kept_answer(elsewhere, "k").await.unwrap(), None);
    assert!(
        test.store
            .keep_answer(elsewhere, "k", answer(404))
            .await
            .unwrap()
    );
    assert_eq!(
        test.store.kept_answer(HOME, "k").await.unwrap(),
        Some(answer(201))
    );
}
