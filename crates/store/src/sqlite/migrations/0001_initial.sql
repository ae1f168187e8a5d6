-- Signpost's first schema.
--
-- Conventions: ids are UUIDs of version 7 as 16-byte BLOBs (they sort by the time at which they
-- were made, so tables grow at their end); times are milliseconds since 1970 (UTC); enumerations
-- are small integers whose meaning stands beside the column and in `columns.rs`. Every table that
-- holds a workspace's records begins its key with the workspace.
--
-- The tables of the hot path (events, deliveries, attempts) declare no foreign keys: their
-- references are kept by the transitions, and a check would cost a look-up for each row.

-- What the installation knows of itself; one row.
CREATE TABLE installation (
    one       INTEGER PRIMARY KEY CHECK (one = 1), -- makes a second row impossible
    epoch     INTEGER NOT NULL,                    -- how often the file was opened: the present lease
    pending   INTEGER NOT NULL                     -- deliveries in state 0, counted along with each commit
) STRICT;
INSERT INTO installation (one, epoch, pending) VALUES (1, 0, 0);

CREATE TABLE workspaces (
    id         INTEGER PRIMARY KEY,  -- its number; 1 is the default one
    name       TEXT    NOT NULL,     -- what people call it
    created_ms INTEGER NOT NULL      -- when it was made
) STRICT;

-- Events as they were accepted. A rowid table, so that a kilobyte of payload is appended and
-- never moved when the index is balanced.
CREATE TABLE events (
    row         INTEGER PRIMARY KEY, -- order of storing; means nothing outside this file
    workspace   INTEGER NOT NULL,    -- whose it is
    key         BLOB    NOT NULL,    -- the store's key
    type        TEXT    NOT NULL,    -- the event type's name
    id          TEXT,                -- the publisher's id; null: the printed key is the id
    accepted_ms INTEGER NOT NULL,    -- when it was accepted
    happened_ms INTEGER,             -- when it happened; null: when it was accepted
    hops        INTEGER NOT NULL,    -- how many Signposts it has passed through
    first       BLOB,                -- smallest id of the deliveries made with it; null: none were
    last        BLOB,                -- greatest id of them; null: the same as `first`
    data        BLOB    NOT NULL     -- the payload: canonical JSON
) STRICT;
-- Finds an event by its key and lists events by time; has the type to filter by without a look
-- at the table.
CREATE UNIQUE INDEX events_by_key ON events (workspace, key, type);
-- Finds an event by the publisher's id.
CREATE INDEX events_by_id ON events (workspace, id) WHERE id IS NOT NULL;

-- What deduplicates a publish, for as long as retention keeps it.
CREATE TABLE dedupe (
    row        INTEGER PRIMARY KEY, -- order of storing, and so of age
    workspace  INTEGER NOT NULL,    -- whose it is
    kind       INTEGER NOT NULL,    -- 0: the publisher's event id; 1: an Idempotency-Key
    text       TEXT    NOT NULL,    -- the id or key
    event      BLOB    NOT NULL,    -- key of the event that was stored under it
    event_id   TEXT,                -- that event's public id, where it is neither `text` nor its key
    created_ms INTEGER NOT NULL     -- when it was stored
) STRICT;
CREATE UNIQUE INDEX dedupe_by_text ON dedupe (workspace, kind, text);

CREATE TABLE deliveries (
    workspace    INTEGER NOT NULL, -- whose it is
    id           BLOB    NOT NULL, -- its id; deliveries of one webhook are ordered by it
    event        BLOB    NOT NULL, -- key of the event that it carries
    webhook      BLOB    NOT NULL, -- the webhook that it goes to
    state        INTEGER NOT NULL, -- 0 pending, 1 delivered, 2 dead
    attempts     INTEGER NOT NULL, -- attempts made
    due_ms       INTEGER,          -- pending: when the next attempt may start; else null
    held_by      INTEGER NOT NULL, -- pending: epoch of the process that holds it, 0: nobody; else 0
    ordered      INTEGER NOT NULL, -- 1: its webhook is strictly ordered
    created_ms   INTEGER NOT NULL, -- when it was made
    finished_ms  INTEGER,          -- when it was delivered or given up; null while pending
    last_attempt INTEGER,          -- `attempts.row` of the latest attempt; null: none
    replay       BLOB,             -- the replay that made it; null: it was made with its event
    PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;
-- What is pending, by webhook, holder and due time: claims, takeovers, the next due time. Both a
-- new holder and a restart need no rewriting: rows of an older epoch count as held by nobody.
CREATE INDEX deliveries_pending ON deliveries (workspace, webhook, held_by, due_ms, id) WHERE state = 0;
-- What is pending of strictly ordered webhooks, in order.
CREATE INDEX deliveries_ordered ON deliveries (workspace, webhook, id) WHERE state = 0 AND ordered = 1;
-- A webhook's deliveries, for lists and statistics.
CREATE INDEX deliveries_by_webhook ON deliveries (workspace, webhook, id);
-- A webhook's dead deliveries, for lists and replays.
CREATE INDEX deliveries_dead ON deliveries (workspace, webhook, id) WHERE state = 2;
-- All dead deliveries, for lists.
CREATE INDEX deliveries_dead_all ON deliveries (workspace, id) WHERE state = 2;
-- Deliveries that replays made of an event (those made with it lie between its `first` and `last`).
CREATE INDEX deliveries_replayed ON deliveries (workspace, event) WHERE replay IS NOT NULL;

-- The log of attempts: appended, and reached from its delivery (`last_attempt`, then `previous`).
CREATE TABLE attempts (
    row                INTEGER PRIMARY KEY, -- order of storing
    previous           INTEGER,             -- the same delivery's attempt before this one; null: none
    number             INTEGER NOT NULL,    -- 1 for the first
    started_ms         INTEGER NOT NULL,    -- when it began
    duration_us        INTEGER NOT NULL,    -- how long it took, in microseconds
    url                TEXT    NOT NULL,    -- the URL that was called
    status             INTEGER,             -- the status that was answered; null: no answer
    error              INTEGER,             -- why no answer came: 0 dns, 1 connect, 2 tls, 3 timeout, 4 reset, 5 blocked, 6 body
    error_message      TEXT,                -- what a person should read of the failure
    request_headers    TEXT    NOT NULL,    -- sent headers, `name: value` lines, secrets masked
    response_headers   TEXT    NOT NULL,    -- received headers, likewise
    response_body      BLOB,                -- the start of the answer's body; null: it was empty
    response_truncated INTEGER NOT NULL,    -- 1: more came than was kept
    peer               TEXT,                -- address and port that were connected to
    tls_not_after_ms   INTEGER              -- when the receiver's certificate expires
) STRICT;

-- Counts of a webhook's deliveries and attempts per ten minutes, so that statistics cost the same
-- however much was sent.
CREATE TABLE webhook_counts (
    workspace       INTEGER NOT NULL, -- whose it is
    webhook         BLOB    NOT NULL, -- the webhook
    slot            INTEGER NOT NULL, -- which ten minutes: ms since 1970, divided by 600,000
    made            INTEGER NOT NULL, -- deliveries made in this slot (by the time in their ids)
    delivered       INTEGER NOT NULL, -- those of them that are delivered
    dead            INTEGER NOT NULL, -- those of them that are dead
    attempts        INTEGER NOT NULL, -- attempts begun in this slot
    attempts_failed INTEGER NOT NULL, -- those of them that failed
    PRIMARY KEY (workspace, webhook, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE webhooks (
    workspace        INTEGER NOT NULL, -- whose it is
    id               BLOB    NOT NULL, -- its id
    config           TEXT    NOT NULL, -- what a person set, as JSON
    headers          BLOB,             -- custom headers, sealed; null: none
    secrets          TEXT    NOT NULL, -- signing secrets, sealed, newest first, as JSON
    state            INTEGER NOT NULL, -- 0 active, 1 inactive, 2 disabled
    disabled_reason  INTEGER,          -- disabled: 0 gone, 1 failing
    disabled_ms      INTEGER,          -- disabled: since when
    failing_since_ms INTEGER,          -- since when every attempt failed; null: the last succeeded
    created_ms       INTEGER NOT NULL, -- when it was made
    updated_ms       INTEGER NOT NULL, -- when a person last changed it
    PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE replays (
    workspace   INTEGER NOT NULL, -- whose it is
    id          BLOB    NOT NULL, -- its id
    webhook     BLOB    NOT NULL, -- where to
    scope       INTEGER NOT NULL, -- 0 one event, 1 a time range, 2 failed since
    event       BLOB,             -- scope 0: key of the event
    since_ms    INTEGER,          -- scopes 1 and 2: the first instant that counts
    until_ms    INTEGER,          -- scope 1: the first instant that no longer counts
    state       INTEGER NOT NULL, -- 0 running, 1 completed, 2 cancelled
    cursor      BLOB,             -- the last candidate looked at: an event's key or a delivery's id
    examined    INTEGER NOT NULL, -- candidates looked at so far
    total       INTEGER NOT NULL, -- candidates when it was made
    created     INTEGER NOT NULL, -- deliveries made so far
    created_ms  INTEGER NOT NULL, -- when it was asked for
    finished_ms INTEGER,          -- when it ended
    PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;
-- A webhook's replays, for lists and when it is removed.
CREATE INDEX replays_by_webhook ON replays (workspace, webhook, id);
-- What is to be gone on with.
CREATE INDEX replays_running ON replays (id) WHERE state = 0;

CREATE TABLE event_types (
    workspace   INTEGER NOT NULL, -- whose it is
    name        TEXT    NOT NULL, -- its name
    description TEXT    NOT NULL, -- what it says
    schema      TEXT,             -- a JSON Schema for `data`
    example     TEXT,             -- an example of `data`
    enforce     INTEGER NOT NULL, -- 1: published events are checked against the schema
    created_ms  INTEGER NOT NULL, -- when it was made
    PRIMARY KEY (workspace, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id            BLOB    PRIMARY KEY NOT NULL, -- their id
    login         TEXT    NOT NULL UNIQUE,      -- what they log in with, lower case
    password_hash TEXT    NOT NULL,             -- Argon2id, as a PHC string
    created_ms    INTEGER NOT NULL              -- when they were added
) STRICT, WITHOUT ROWID;

CREATE TABLE memberships (
    workspace INTEGER NOT NULL REFERENCES workspaces (id),              -- where
    user      BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE, -- who
    role      INTEGER NOT NULL, -- 0 owner, 1 editor, 2 viewer, 3 publisher
    PRIMARY KEY (workspace, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_by_user ON memberships (user, workspace);

CREATE TABLE api_keys (
    workspace  INTEGER NOT NULL, -- the workspace that it opens
    id         BLOB    NOT NULL, -- its id
    name       TEXT    NOT NULL, -- what people call it
    hash       BLOB    NOT NULL UNIQUE, -- SHA-256 of the key
    hint       TEXT    NOT NULL, -- its first characters
    scopes     INTEGER NOT NULL, -- what it may do, a bit each: 1 events:write, 2 read, 4 write, 8 admin
    created_ms INTEGER NOT NULL, -- when it was made
    expires_ms INTEGER,          -- when it stops working
    revoked_ms INTEGER,          -- when it was revoked
    PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;

-- Answers kept for an Idempotency-Key of a request other than a publish.
CREATE TABLE kept_answers (
    row          INTEGER PRIMARY KEY, -- order of storing, and so of age
    workspace    INTEGER NOT NULL,    -- whose it is
    key          TEXT    NOT NULL,    -- the Idempotency-Key
    request_hash BLOB    NOT NULL,    -- SHA-256 of the request, to tell a reused key
    status       INTEGER NOT NULL,    -- the status that was answered
    body         BLOB    NOT NULL,    -- the body that was answered, sealed
    created_ms   INTEGER NOT NULL     -- when
) STRICT;
CREATE UNIQUE INDEX kept_answers_by_key ON kept_answers (workspace, key);
