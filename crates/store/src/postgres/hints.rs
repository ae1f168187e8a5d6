//! Hints over `NOTIFY`: make things quicker, carry nothing that is needed.
//!
//! They go over a connection of their own, outside every transaction: a transaction that
//! notifies would have to wait for all others that do when it commits.

use std::{future::poll_fn, sync::Arc, time::Duration};

use domain::{WebhookId, WorkspaceId};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_postgres::{AsyncMessage, Client};

use super::connect::{Link, OwnConnection};
use crate::{Hint, StoreError};

/// How many hints wait to be sent; what does not fit is not sent.
const OUTBOX_MAX: usize = 1_024;
/// How many hints one statement sends.
const TOGETHER_MAX: usize = 64;
/// How many hints wait for a slow reader; it misses what does not fit.
const INBOX_MAX: usize = 1_024;
/// How long what was to be said last may take, once the end was asked for.
const GRACE: Duration = Duration::from_secs(1);
/// The pause before a broken connection is made again.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends and receives hints.
pub(super) struct Hints {
    outbox: mpsc::Sender<Hint>,
    inbox: broadcast::Sender<Hint>,
    stop: watch::Sender<bool>,
}

impl Hints {
    /// Connects in the background.
    pub(super) fn start(link: Arc<Link>) -> Arc<Self> {
        let (outbox, to_send) = mpsc::channel(OUTBOX_MAX);
        let (stop, stopped) = watch::channel(false);
        let hints = Arc::new(Self {
            outbox,
            inbox: broadcast::channel(INBOX_MAX).0,
            stop,
        });
        tokio::spawn(run(link, to_send, hints.inbox.clone(), stopped));
        hints
    }

    /// Sends a hint soon, unless too many wait.
    pub(super) fn send(&self, hint: Hint) {
        let _ = self.outbox.try_send(hint);
    }

    /// Hints of other nodes from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.inbox.subscribe()
    }

    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

async fn run(
    link: Arc<Link>,
    mut to_send: mpsc::Receiver<Hint>,
    inbox: broadcast::Sender<Hint>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let mut to_stop = stopped.clone();
        let broken = tokio::select! {
            () = stop_after_grace(&mut stopped) => return,
            broken = talk(&link, &mut to_send, &inbox, &mut to_stop) => broken,
        };
        if let Err(StoreError::Closed) = broken {
            return;
        }
        tracing::debug!(error = ?broken.err(), "no hints pass just now; polling goes on");
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Resolves some time after the end was asked for.
async fn stop_after_grace(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
    tokio::time::sleep(GRACE).await;
}

/// Sends and receives until the connection breaks, or the end was asked for and all is sent.
async fn talk(
    link: &Link,
    to_send: &mut mpsc::Receiver<Hint>,
    inbox: &broadcast::Sender<Hint>,
    stopped: &mut watch::Receiver<bool>,
) -> Result<(), StoreError> {
    let OwnConnection {
        client,
        mut connection,
    } = link.own_connection().await?;
    let heard = inbox.clone();
    let listening = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(note) = message
                && let Some(hint) = read(note.payload())
            {
                let _ = heard.send(hint);
            }
        }
    });
    let _end = AbortOnDrop(listening);
    let channel = listen(&client).await?;
    // What came while nobody listened.
    for hint in [Hint::Changes, Hint::Nodes] {
        let _ = inbox.send(hint);
    }
    let mut hints = Vec::with_capacity(TOGETHER_MAX);
    loop {
        hints.clear();
        let taken = tokio::select! {
            biased;
            taken = to_send.recv_many(&mut hints, TOGETHER_MAX) => taken,
            _ = stopped.wait_for(|stop| *stop) => return Err(StoreError::Closed),
            () = closed(&client) => return Ok(()),
        };
        if taken == 0 {
            return Err(StoreError::Closed);
        }
        let mut texts: Vec<String> = hints.iter().map(write).collect();
        texts.sort_unstable();
        texts.dedup();
        client
            .execute(
                "SELECT pg_notify($1, text) FROM UNNEST($2::text[]) AS text",
                &[&channel, &texts],
            )
            .await?;
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Resolves once the connection is seen to be closed.
async fn closed(client: &Client) {
    while !client.is_closed() {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Begins to listen; answers the channel, which is this schema's own.
async fn listen(client: &Client) -> Result<String, StoreError> {
    let row = client
        .query_one("SELECT 'signpost_' || left(md5(current_schema()), 16)", &[])
        .await?;
    let channel: String = row.get(0);
    client.batch_execute(&format!("LISTEN {channel}")).await?;
    Ok(channel)
}

fn write(hint: &Hint) -> String {
    match hint {
        Hint::Changes => "changes".to_owned(),
        Hint::Nodes => "nodes".to_owned(),
        Hint::Executions => "executions".to_owned(),
        Hint::Due {
            workspace,
            webhook,
            forced,
        } => format!(
            "due {} {} {}",
            workspace.number(),
            webhook.uuid(),
            u8::from(*forced)
        ),
    }
}

fn read(text: &str) -> Option<Hint> {
    let mut words = text.split(' ');
    match words.next()? {
        "changes" => Some(Hint::Changes),
        "nodes" => Some(Hint::Nodes),
        "executions" => Some(Hint::Executions),
        "due" => Some(Hint::Due {
            workspace: WorkspaceId::new(words.next()?.parse().ok()?),
            webhook: WebhookId::new(words.next()?.parse().ok()?),
            forced: words.next()? == "1",
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_ours_is_passed_over() {
        let due = |forced| Hint::Due {
            workspace: WorkspaceId::new(7),
            webhook: WebhookId::new(Uuid::from_u128(9)),
            forced,
        };
        for hint in [
            Hint::Changes,
            Hint::Nodes,
            Hint::Executions,
            due(true),
            due(false),
        ] {
            assert_eq!(read(&write(&hint)), Some(hint));
        }
        for text in ["", "due", "due x y 1", "something new"] {
            assert_eq!(read(text), None);
        }
    }
}
