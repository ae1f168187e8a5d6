mod schema;
use domain::{*, webhook::*};
use store::{*, postgres::*};
use std::time::Duration;
#[tokio::test]
async fn it() {
    let s = schema::Schema::new();
    let open = |n: u128| { let mut o = PostgresOptions::new(Timestamp::from_ms(0)); o.identity.id = uuid::Uuid::from_u128(n); o.partition_span = Duration::from_mins(1); PostgresStore::open(Box::leak(s.url().into_boxed_str()), o) };
    let one = open(1).await.unwrap(); let two = open(2).await.unwrap();
    let mut hints = two.hints();
    let start = two.changes(None).await.unwrap();
    assert_eq!(two.notes().await, Ok(vec![]));
    let u = domain::access::User{ id: UserId::new(uuid::Uuid::from_u128(5)), login: "a".into(), password_hash: "x".into(), created_at: Timestamp::from_ms(1)};
    let m = domain::access::Membership{user: u.id, workspace: WorkspaceId::DEFAULT, role: domain::access::Role::Owner};
    assert!(one.create_user(u.clone(), m.clone()).await.unwrap());
    assert!(!one.create_user(u.clone(), m).await.unwrap());
    let c = two.changes(Some(start.to)).await.unwrap();
    assert_eq!(c.what, Some(vec![Change::Access])); assert_eq!(c.to, start.to + 1);
    eprintln!("hint {:?}", tokio::time::timeout(Duration::from_secs(2), hints.recv()).await);
    one.leave_notes(vec!["a".into(), "b\0".into()]).await.unwrap();
    two.leave_notes(vec!["own".into()]).await.unwrap();
    one.leave_notes((0..2500).map(|n| n.to_string()).collect()).await.unwrap();
    let mut got = two.notes().await.unwrap();
    loop { let more = two.notes().await.unwrap(); if more.is_empty() { break } got.extend(more); }
    assert_eq!(got.len(), 2000); assert_eq!(got.last().unwrap(), "2499"); assert_eq!(got[0], "500");
    one.leave_notes(vec!["x\0".into()]).await.unwrap();
    assert_eq!(two.notes().await.unwrap(), ["x\0"]);
    let t = std::time::Instant::now();
    for _ in 0..1001 { one.set_password(u.id, "y").await.unwrap(); }
    eprintln!("1001 transitions {:?}", t.elapsed());
    let c2 = two.changes(Some(c.to)).await.unwrap();
    assert_eq!(c2.what, None); assert_eq!(c2.to, c.to + 1001);
    let c3 = two.changes(Some(c.to + 1)).await.unwrap();
    assert_eq!(c3.what.unwrap().len(), 1000);
    assert_eq!(two.changes(Some(c2.to + 5)).await.unwrap(), Changes{to: c2.to, what: None});
    assert_eq!(two.changes(Some(c2.to)).await.unwrap(), Changes{to: c2.to, what: Some(vec![])});
    one.close().await; two.close().await;
    assert_eq!(two.changes(None).await, Err(StoreError::Closed));
    assert_eq!(two.prune(Timestamp::from_ms(0), Timestamp::from_ms(0), 1).await, Err(StoreError::Closed));
}
