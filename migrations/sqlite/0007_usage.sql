-- The usage of tenants, and the meter events that it is sent in, on SQLite.

-- What was used. `minute` is the first second of its minute.
CREATE TABLE tenancy_usage (
    tenant_id TEXT    NOT NULL CHECK (tenant_id <> ''),
    id        TEXT NOT NULL,
    meter     TEXT    NOT NULL,
    minute    INTEGER NOT NULL,
    value     INTEGER NOT NULL CHECK (value > 0),
    -- Counts once for each tenant and meter; NULL without a key.
    once_key  TEXT,
    -- Why the row is never sent; NULL if it is.
    withheld  TEXT,
    -- The batch that counts the row; NULL until one does.
    batch     TEXT,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX tenancy_usage_once ON tenancy_usage (tenant_id, meter, once_key) WHERE once_key IS NOT NULL;
CREATE INDEX tenancy_usage_open ON tenancy_usage (tenant_id, minute, meter) WHERE batch IS NULL AND withheld IS NULL;
CREATE INDEX tenancy_usage_withheld ON tenancy_usage (tenant_id, minute) WHERE withheld IS NOT NULL;
CREATE INDEX tenancy_usage_of_batch ON tenancy_usage (tenant_id, batch) WHERE batch IS NOT NULL;

-- The sum of one minute, which is sent as one meter event.
CREATE TABLE tenancy_usage_batches (
    tenant_id TEXT    NOT NULL CHECK (tenant_id <> ''),
    id        TEXT NOT NULL,
    meter     TEXT    NOT NULL,
    minute    INTEGER NOT NULL,
    value     INTEGER NOT NULL CHECK (value > 0),
    customer  TEXT    NOT NULL,
    -- `waiting`, `sent`, `rejected` by the request, or found `invalid` afterwards.
    status    TEXT    NOT NULL,
    -- The next attempt, or the end of the lease of the node that sends it.
    due_us    INTEGER NOT NULL,
    attempts  INTEGER NOT NULL,
    -- The first attempt; NULL before.
    first_us  INTEGER,
    error     TEXT,
    -- When it was sent or given up.
    ended_us  INTEGER,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX tenancy_usage_batches_open ON tenancy_usage_batches (tenant_id, status, due_us) WHERE status <> 'sent';
CREATE INDEX tenancy_usage_batches_minute ON tenancy_usage_batches (tenant_id, meter, minute);

-- The meter events that the billing system found invalid, until their batches are marked.
CREATE TABLE tenancy_usage_errors (
    identifier  TEXT    NOT NULL PRIMARY KEY,
    code        TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    received_us INTEGER NOT NULL
) STRICT;
