//! Who works on this database.

use deadpool_postgres::GenericClient;

use super::row::{get, time};
use crate::{Announcement, Lease, Node, NodeRole, StoreError};

pub(super) const fn role_number(role: NodeRole) -> i16 {
    match role {
        NodeRole::All => 0,
        NodeRole::Api => 1,
        NodeRole::Worker => 2,
    }
}

/// A role that only a newer version knows counts as one that sends no deliveries: whoever adds one
/// that does must do it so that nodes of this version are gone by then.
const fn role(number: i16) -> NodeRole {
    match number {
        0 => NodeRole::All,
        2 => NodeRole::Worker,
        _ => NodeRole::Api,
    }
}

/// See [`crate::Store::nodes`].
pub(super) async fn list(conn: &impl GenericClient, own: Lease) -> Result<Vec<Node>, StoreError> {
    let find = conn
        .prepare_cached(
            "SELECT lease, id, name, version, role,
                    (extract(epoch FROM started_at) * 1000)::bigint,
                    (extract(epoch FROM seen_at) * 1000)::bigint,
                    address, draining, in_flight, watches, counted_to
             FROM nodes WHERE expires_at > clock_timestamp() ORDER BY lease",
        )
        .await?;
    let rows = conn.query(&find, &[]).await?;
    rows.iter()
        .map(|row| {
            let lease = Lease(get(row, 0)?);
            Ok(Node {
                lease,
                id: get(row, 1)?,
                name: get(row, 2)?,
                version: get(row, 3)?,
                role: role(get(row, 4)?),
                is_self: lease == own,
                started_at: time(row, 5)?,
                seen_at: time(row, 6)?,
                about: Announcement {
                    address: get(row, 7)?,
                    draining: get(row, 8)?,
                    in_flight: u32::try_from(get::<i32>(row, 9)?).unwrap_or(0),
                    watches: get(row, 10)?,
                    counted_to: get::<Option<i64>>(row, 11)?.map(Lease),
                },
            })
        })
        .collect()
}
