-- Workflows: what can be run, what starts it, where requests come in, and what was run.
--
-- The conventions of the first step hold. Here nothing is partitioned: executions end long after
-- they began, and retention removes what is old in short steps. An execution that waits, and all
-- that has ended, lies in one table: what is due, held, begun or queued is found through partial
-- indexes, which are as short as what they tell of.

CREATE TABLE workflows (
    workspace   BIGINT  NOT NULL, -- whose it is
    id          UUID    NOT NULL, -- its id
    name        TEXT    NOT NULL, -- what people and requests call it
    description TEXT    NOT NULL, -- what it is for
    version     INTEGER NOT NULL, -- number of its newest version, 1 for the first
    label       TEXT    NOT NULL, -- what its author calls that version
    created_ms  BIGINT  NOT NULL, -- when it was made
    updated_ms  BIGINT  NOT NULL, -- when it got its newest version
    PRIMARY KEY (workspace, id)
);
-- A name belongs to one workflow.
CREATE UNIQUE INDEX workflows_by_name ON workflows (workspace, name);

-- Versions of workflows: written once, also there for a while after their workflow was removed.
CREATE TABLE workflow_versions (
    workspace  BIGINT  NOT NULL, -- whose it is
    workflow   UUID    NOT NULL, -- of which workflow
    number     INTEGER NOT NULL, -- 1 for the first
    label      TEXT    NOT NULL, -- what its author calls it
    source     BYTEA   NOT NULL, -- the file as it was given
    definition BYTEA   NOT NULL, -- its normal form, JSON
    created_ms BIGINT  NOT NULL, -- when it was stored
    PRIMARY KEY (workspace, workflow, number)
);

CREATE TABLE triggers (
    workspace     BIGINT  NOT NULL, -- whose it is
    id            UUID    NOT NULL, -- its id
    workflow      UUID    NOT NULL, -- the workflow that it starts
    source        UUID,             -- the source whose requests start it; null: something else does
    next_ms       BIGINT,           -- when the clock fires it next; null: the clock does not
    config        TEXT    NOT NULL, -- what a person or the workflow's file set, as JSON
    key           BYTEA,            -- what requests to its own URL are signed with, sealed
    of_definition BOOLEAN NOT NULL, -- whether it came with the workflow's file, and goes with it
    active        BOOLEAN NOT NULL, -- whether it fires
    created_ms    BIGINT  NOT NULL, -- when it was made
    updated_ms    BIGINT  NOT NULL, -- when it was last changed
    PRIMARY KEY (workspace, id)
);
-- A workflow's triggers, for lists and when it changes.
CREATE INDEX triggers_by_workflow ON triggers (workspace, workflow, id);
-- A source's triggers, for when it is removed.
CREATE INDEX triggers_by_source ON triggers (workspace, source) WHERE source IS NOT NULL;
-- What the clock fires next.
CREATE INDEX triggers_due ON triggers (next_ms, id) WHERE active AND next_ms IS NOT NULL;

CREATE TABLE sources (
    workspace  BIGINT  NOT NULL, -- whose it is
    id         UUID    NOT NULL, -- its id
    name       TEXT    NOT NULL, -- the last part of its URL
    config     TEXT    NOT NULL, -- what a person set, as JSON
    secrets    TEXT    NOT NULL, -- its secrets, sealed, newest first, as JSON
    active     BOOLEAN NOT NULL, -- whether it takes requests
    created_ms BIGINT  NOT NULL, -- when it was made
    updated_ms BIGINT  NOT NULL, -- when it was last changed
    PRIMARY KEY (workspace, id)
);
-- A name is a URL of the whole installation, so this alone does not begin with the workspace.
CREATE UNIQUE INDEX sources_by_name ON sources (name);

-- Requests as they came in.
CREATE TABLE receipts (
    workspace   BIGINT   NOT NULL, -- whose it is
    id          UUID     NOT NULL, -- its id
    door        SMALLINT NOT NULL, -- where it came in: 0 the generic URL, 1 a source's, 2 a trigger's
    door_id     UUID     NOT NULL, -- doors 1 and 2: which; else all zeros
    received_ms BIGINT   NOT NULL, -- when
    peer        TEXT,              -- the sender's address
    headers     TEXT     NOT NULL, -- its headers without credentials, as JSON
    body        BYTEA    NOT NULL, -- its body, byte for byte
    outcome     SMALLINT NOT NULL, -- 0 started, 1 ignored, 2 duplicate, 3 challenge, 4 refused, 5 failed
    event_id    BYTEA,             -- what the sender deduplicates by (UTF-8); null: it does not say
    executions  UUID[]   NOT NULL, -- what it started
    reason      TEXT,              -- why it was refused or failed, for people
    replay_of   UUID,              -- the receipt that it repeats by hand
    PRIMARY KEY (workspace, id)
);
-- One request of an event id is taken; others wait for its transaction and are duplicates. The
-- id's hash, since an index cannot hold a long one.
CREATE UNIQUE INDEX receipts_once ON receipts (workspace, door, door_id, sha256(event_id))
    WHERE event_id IS NOT NULL AND outcome IN (0, 1);
-- What came in at one door, for lists.
CREATE INDEX receipts_by_door ON receipts (workspace, door, door_id, id);
-- For retention.
CREATE INDEX receipts_by_age ON receipts (received_ms);

CREATE TABLE executions (
    workspace  BIGINT   NOT NULL, -- whose it is
    id         UUID     NOT NULL, -- its id
    workflow   UUID     NOT NULL, -- what it runs
    version    INTEGER  NOT NULL, -- which version of it
    state      SMALLINT NOT NULL, -- 0 pending, 1 running, 2 waiting, 3 completed, 4 failed, 5 stopped
    held_by    BIGINT   NOT NULL, -- lease of the node that holds it; 0: nobody
    due_ms     BIGINT,            -- when to look at it (held: since when it would be due); null: when something comes
    input      BYTEA    NOT NULL, -- what it was started with, JSON
    cause      TEXT     NOT NULL, -- what started it, JSON
    offline    BOOLEAN  NOT NULL, -- whether its models are the offline stand-in
    result     BYTEA,             -- what it came to, JSON
    error      TEXT,              -- why it failed, JSON
    created_ms BIGINT   NOT NULL, -- when it was asked for
    started_ms BIGINT,            -- when it began; null: it waits for its turn
    ended_ms   BIGINT,            -- when it ended
    steps      INTEGER  NOT NULL, -- how many steps it has
    tokens_in  BIGINT   NOT NULL, -- tokens that its model calls sent
    tokens_out BIGINT   NOT NULL, -- tokens that they received
    cost_nanos BIGINT   NOT NULL, -- what they cost, in billionths of a US dollar
    PRIMARY KEY (workspace, id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05,
        autovacuum_vacuum_cost_delay = 0);
-- What can be claimed, by its time.
CREATE INDEX executions_due ON executions (due_ms, id) WHERE held_by = 0 AND due_ms IS NOT NULL;
-- What each node holds, so that a node's end costs what it held.
CREATE INDEX executions_held ON executions (held_by) WHERE held_by <> 0;
-- What has begun, or has its turn, and has not ended: what counts against a workflow's limit.
CREATE INDEX executions_begun ON executions (workspace, workflow, id)
    WHERE state IN (1, 2) OR (state = 0 AND due_ms IS NOT NULL);
-- What waits for its turn, the oldest first.
CREATE INDEX executions_queued ON executions (workspace, workflow, id) WHERE state = 0 AND due_ms IS NULL;
-- A workflow's executions, for lists.
CREATE INDEX executions_by_workflow ON executions (workspace, workflow, id);
-- Executions in one state, for lists.
CREATE INDEX executions_by_state ON executions (workspace, state, id);
-- For retention.
CREATE INDEX executions_by_end ON executions (ended_ms) WHERE ended_ms IS NOT NULL;

-- What an execution did, or waits for.
CREATE TABLE steps (
    workspace  BIGINT   NOT NULL, -- whose it is
    execution  UUID     NOT NULL, -- of which execution
    number     INTEGER  NOT NULL, -- 1 for the first
    node       TEXT     NOT NULL, -- which node
    iteration  INTEGER  NOT NULL, -- how often the node had begun before
    item       INTEGER,           -- which item of a list; null: the node is not a list's
    attempt    INTEGER  NOT NULL, -- 1 for the first
    state      SMALLINT NOT NULL, -- 0 waiting, 1 blocked, 2 completed, 3 failed, 4 cancelled, 5 skipped, 6 retried, 7 resumed
    started_ms BIGINT   NOT NULL, -- when it began
    ended_ms   BIGINT,            -- when it ended; null: it waits
    until_ms   BIGINT,            -- until when it waits, or when it is tried again
    output     BYTEA,             -- what it came to, JSON
    error      TEXT,              -- why it failed, JSON
    tokens_in  BIGINT   NOT NULL, -- tokens that its model calls sent
    tokens_out BIGINT   NOT NULL, -- tokens that they received
    cost_nanos BIGINT   NOT NULL, -- what they cost, in billionths of a US dollar
    detail     BYTEA,             -- what else is worth knowing, JSON
    PRIMARY KEY (workspace, execution, number)
);

-- The order of signals: drawn under the lock of their execution.
CREATE SEQUENCE signal_numbers;

-- What executions have yet to hear of.
CREATE TABLE signals (
    workspace BIGINT   NOT NULL, -- whose it is
    execution UUID     NOT NULL, -- for which execution
    number    BIGINT   NOT NULL DEFAULT nextval('signal_numbers'), -- greater for each later one
    kind      SMALLINT NOT NULL, -- 0 stop, 1 retry, 2 an approval's answer, 3 a callback, 4 another execution's end
    step      INTEGER,           -- kinds 2 and 3: number of the step that waits for it
    signal    TEXT     NOT NULL, -- what it says, JSON
    PRIMARY KEY (workspace, execution, number)
);

-- Pools of resources. Whoever takes units, gives some back or waits for some locks the pool's row.
CREATE TABLE pools (
    workspace BIGINT  NOT NULL, -- whose it is
    name      TEXT    NOT NULL, -- its name
    units     INTEGER NOT NULL, -- how many units it has
    PRIMARY KEY (workspace, name)
);

-- Units that are taken.
CREATE TABLE pool_units (
    workspace BIGINT  NOT NULL, -- whose they are
    execution UUID    NOT NULL, -- by which execution
    node      TEXT    NOT NULL, -- for which of its nodes
    iteration INTEGER NOT NULL, -- for which of the node's runs
    item      INTEGER NOT NULL, -- for which item; -1: the node is not a list's
    pool      TEXT    NOT NULL, -- of which pool
    units     INTEGER NOT NULL, -- how many
    PRIMARY KEY (workspace, execution, node, iteration, item, pool)
);
-- How many units of a pool are taken.
CREATE INDEX pool_units_by_pool ON pool_units (workspace, pool) INCLUDE (units);

-- Executions that wait for units.
CREATE TABLE pool_waits (
    workspace BIGINT NOT NULL, -- whose it is
    pool      TEXT   NOT NULL, -- for which pool
    execution UUID   NOT NULL, -- which execution
    PRIMARY KEY (workspace, pool, execution)
);
-- What an execution waits for.
CREATE INDEX pool_waits_by_execution ON pool_waits (workspace, execution);
