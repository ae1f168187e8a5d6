-- Workflows, what starts them, and what they come to. Conventions as in 0001.
--
-- The hot path is an inbound request: a receipt with its execution, a step at a time, the end.
-- Receipts, executions and steps are rowid tables, so that kilobytes are appended and never moved
-- when an index is balanced; they declare no foreign keys.

CREATE TABLE workflows (
    workspace   INTEGER NOT NULL, -- whose it is
    id          BLOB    NOT NULL, -- its id
    name        TEXT    NOT NULL, -- its name
    description TEXT    NOT NULL, -- what it is for
    version     INTEGER NOT NULL, -- its newest version
    label       TEXT    NOT NULL, -- what its author calls that version
    created_ms  INTEGER NOT NULL, -- when it was made
    updated_ms  INTEGER NOT NULL, -- when it got its newest version
    PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX workflows_by_name ON workflows (workspace, name);

-- Kept after their workflow is gone, for as long as executions name them.
CREATE TABLE workflow_versions (
    workspace  INTEGER NOT NULL, -- whose it is
    workflow   BLOB    NOT NULL, -- of which workflow
    number     INTEGER NOT NULL, -- 1 for the first
    label      TEXT    NOT NULL, -- what its author calls it
    source     BLOB    NOT NULL, -- the file as it was given
    definition BLOB    NOT NULL, -- its normal form, as JSON
    created_ms INTEGER NOT NULL, -- when it was stored
    PRIMARY KEY (workspace, workflow, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE triggers (
    workspace     INTEGER NOT NULL, -- whose it is
    id            BLOB    NOT NULL, -- its id
    workflow      BLOB    NOT NULL, -- what it starts
    source        BLOB,             -- the source whose requests start it; null: another kind
    next_ms       INTEGER,          -- when it fires next; null: not by the clock
    config        TEXT    NOT NULL, -- what a person or the workflow's file set, as JSON
    key           BLOB,             -- what requests to its own URL are signed with, sealed
    of_definition INTEGER NOT NULL, -- 1: made with its workflow's file, and goes with it
    active        INTEGER NOT NULL, -- 1: it fires
    created_ms    INTEGER NOT NULL, -- when it was made
    updated_ms    INTEGER NOT NULL, -- when it was last changed
    PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;
-- A workflow's triggers, for lists and when it is replaced or removed.
CREATE INDEX triggers_by_workflow ON triggers (workspace, workflow, id);
-- What the clock fires next.
CREATE INDEX triggers_due ON triggers (next_ms, id) WHERE active = 1 AND next_ms IS NOT NULL;

CREATE TABLE sources (
    workspace  INTEGER NOT NULL,        -- whose it is
    id         BLOB    NOT NULL,        -- its id
    name       TEXT    NOT NULL UNIQUE, -- the last part of its URL
    config     TEXT    NOT NULL,        -- what a person set, as JSON
    secrets    TEXT    NOT NULL,        -- what requests are verified with, sealed, as JSON
    active     INTEGER NOT NULL,        -- 1: it takes requests
    created_ms INTEGER NOT NULL,        -- when it was made
    updated_ms INTEGER NOT NULL,        -- when it was last changed
    PRIMARY KEY (workspace, id)
) STRICT, WITHOUT ROWID;

-- Requests as they came in.
CREATE TABLE receipts (
    row         INTEGER PRIMARY KEY, -- order of storing; means nothing outside this file
    workspace   INTEGER NOT NULL,    -- whose it is
    id          BLOB    NOT NULL,    -- its id
    door        BLOB    NOT NULL,    -- where it came in, one byte and an id: 0 generic (no id), 1 a source, 2 a trigger
    outcome     INTEGER NOT NULL,    -- 0 started, 1 ignored, 2 duplicate, 3 challenge, 4 refused, 5 failed
    received_ms INTEGER NOT NULL,    -- when it came in
    event_id    TEXT,                -- what the sender deduplicates by
    executions  BLOB,                -- ids of what it started, one behind the other; null: nothing
    replay_of   BLOB,                -- the receipt that it repeats by hand
    peer        TEXT,                -- the sender's address
    reason      TEXT,                -- why it was refused or failed, for people
    headers     TEXT    NOT NULL,    -- its headers without credentials, as JSON
    body        BLOB    NOT NULL     -- its body, byte for byte
) STRICT;
-- Finds a receipt and lists receipts by time; has door and outcome to filter by without a look at
-- the table.
CREATE UNIQUE INDEX receipts_by_id ON receipts (workspace, id, door, outcome);
-- What deduplicates a request, for as long as retention keeps it.
CREATE UNIQUE INDEX receipts_deduped ON receipts (workspace, door, event_id)
    WHERE event_id IS NOT NULL AND outcome <= 1;

CREATE TABLE executions (
    row        INTEGER PRIMARY KEY, -- order of storing; steps lie by it
    workspace  INTEGER NOT NULL,    -- whose it is
    id         BLOB    NOT NULL,    -- its id
    workflow   BLOB    NOT NULL,    -- what it runs
    version    INTEGER NOT NULL,    -- which version of it
    state      INTEGER NOT NULL,    -- 0 pending, 1 running, 2 waiting, 3 completed, 4 failed, 5 stopped
    held_by    INTEGER NOT NULL,    -- epoch of the process that holds it; 0: nobody, or it has ended
    due_ms     INTEGER,             -- when it is due; held: since when; null: when a signal or a unit comes, or it has ended
    has_more   INTEGER NOT NULL,    -- 0: it never had a signal, unit or wait, so none is looked for
    offline    INTEGER NOT NULL,    -- 1: its models are the offline stand-in
    created_ms INTEGER NOT NULL,    -- when it was asked for
    started_ms INTEGER,             -- when it began to run
    ended_ms   INTEGER,             -- when it ended
    steps      INTEGER NOT NULL,    -- how many steps it had at its last change
    tokens_in  INTEGER NOT NULL,    -- tokens that its model calls sent, likewise
    tokens_out INTEGER NOT NULL,    -- tokens that they received, likewise
    cost_nanos INTEGER NOT NULL,    -- what they cost, in billionths of a US dollar, likewise
    cause      TEXT    NOT NULL,    -- what started it, as JSON
    error      TEXT,                -- why it failed, as JSON
    result     BLOB,                -- what it came to, as JSON
    input      BLOB    NOT NULL     -- what it was started with, as JSON
) STRICT;
CREATE UNIQUE INDEX executions_by_id ON executions (workspace, id);
-- A workflow's executions, for lists; with the version, for what no execution names any more.
CREATE INDEX executions_by_workflow ON executions (workspace, workflow, id, version);
-- What has not ended, by holder and due time: claims, takeovers, the next due time. Both a new
-- holder and a restart need no rewriting: rows of an older epoch count as held by nobody.
CREATE INDEX executions_due ON executions (held_by, due_ms) WHERE state <= 2;
-- What has not ended, by workflow: concurrency, and whose turn is next (oldest first).
CREATE INDEX executions_open ON executions (workspace, workflow, state, due_ms) WHERE state <= 2;
-- What failed or was stopped, for lists.
CREATE INDEX executions_failed ON executions (workspace, id, state) WHERE state >= 4;

-- Found without an index: the steps of an execution lie together, in order.
CREATE TABLE steps (
    row        INTEGER PRIMARY KEY, -- `executions.row` times 1,048,576, plus the step's number
    node       TEXT    NOT NULL,    -- the node
    iteration  INTEGER NOT NULL,    -- how often the node had begun before
    item       INTEGER,             -- which item of a map; null: it is none
    attempt    INTEGER NOT NULL,    -- 1 for the first
    state      INTEGER NOT NULL,    -- 0 waiting, 1 blocked, 2 completed, 3 failed, 4 cancelled, 5 skipped, 6 retried, 7 resumed
    started_ms INTEGER NOT NULL,    -- when it began
    ended_ms   INTEGER,             -- when it ended; null while it waits
    until_ms   INTEGER,             -- until when it waits, or when it is tried again
    tokens_in  INTEGER NOT NULL,    -- tokens that its model calls sent
    tokens_out INTEGER NOT NULL,    -- tokens that they received
    cost_nanos INTEGER NOT NULL,    -- what they cost, in billionths of a US dollar
    error      TEXT,                -- why it failed, as JSON
    detail     BLOB,                -- what else is worth knowing, as JSON
    output     BLOB                 -- what it came to, as JSON
) STRICT;

-- What executions have yet to hear of.
CREATE TABLE signals (
    number    INTEGER PRIMARY KEY AUTOINCREMENT, -- grows, and is never used again
    execution INTEGER NOT NULL, -- for which: `executions.row`
    kind      INTEGER NOT NULL, -- 0 stop, 1 retry, 2 the answer to a step, 3 an execution's end
    step      INTEGER,          -- kind 2: number of the step; else null
    signal    TEXT    NOT NULL  -- what it says, as JSON
) STRICT;
CREATE INDEX signals_by_execution ON signals (execution, number);

CREATE TABLE pools (
    workspace INTEGER NOT NULL, -- whose it is
    name      TEXT    NOT NULL, -- its name
    units     INTEGER NOT NULL, -- how many units it has
    PRIMARY KEY (workspace, name)
) STRICT, WITHOUT ROWID;

-- Who has which units. What is free of a pool is what it has without the sum of these.
CREATE TABLE pool_units (
    workspace INTEGER NOT NULL, -- whose the pool is
    pool      TEXT    NOT NULL, -- its name
    execution INTEGER NOT NULL, -- who has them: `executions.row`
    node      TEXT    NOT NULL, -- for which node
    iteration INTEGER NOT NULL, -- for which of its runs
    item      INTEGER NOT NULL, -- for which item of a map; -1: it is none
    units     INTEGER NOT NULL, -- how many
    PRIMARY KEY (workspace, pool, execution, node, iteration, item)
) STRICT, WITHOUT ROWID;
-- What an execution has, to be given back.
CREATE INDEX pool_units_by_execution ON pool_units (execution);

-- Who waits for units.
CREATE TABLE pool_waits (
    workspace INTEGER NOT NULL, -- whose the pool is
    pool      TEXT    NOT NULL, -- its name
    execution INTEGER NOT NULL, -- who waits: `executions.row`
    PRIMARY KEY (workspace, pool, execution)
) STRICT, WITHOUT ROWID;
-- What an execution waits for, to be replaced.
CREATE INDEX pool_waits_by_execution ON pool_waits (execution);
