-- The usage of tenants, and the meter events that it is sent in, on PostgreSQL.

-- What was used. `minute` is the first second of its minute.
CREATE TABLE tenancy_usage (
    tenant_id text   NOT NULL CHECK (tenant_id <> ''),
    id        text COLLATE "C" NOT NULL,
    meter     text   NOT NULL,
    minute    bigint NOT NULL,
    value     bigint NOT NULL CHECK (value > 0),
    -- Counts once for each tenant and meter; NULL without a key.
    once_key  text,
    -- Why the row is never sent; NULL if it is.
    withheld  text,
    -- The batch that counts the row; NULL until one does.
    batch     text,
    PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX tenancy_usage_once ON tenancy_usage (tenant_id, meter, once_key) WHERE once_key IS NOT NULL;
CREATE INDEX tenancy_usage_open ON tenancy_usage (tenant_id, minute, meter) WHERE batch IS NULL AND withheld IS NULL;
CREATE INDEX tenancy_usage_withheld ON tenancy_usage (tenant_id, minute) WHERE withheld IS NOT NULL;
CREATE INDEX tenancy_usage_of_batch ON tenancy_usage (tenant_id, batch) WHERE batch IS NOT NULL;

-- The sum of one minute, which is sent as one meter event.
CREATE TABLE tenancy_usage_batches (
    tenant_id text   NOT NULL CHECK (tenant_id <> ''),
    id        text COLLATE "C" NOT NULL,
    meter     text   NOT NULL,
    minute    bigint NOT NULL,
    value     bigint NOT NULL CHECK (value > 0),
    customer  text   NOT NULL,
    -- `waiting`, `sent`, `rejected` by the request, or found `invalid` afterwards.
    status    text   NOT NULL,
    -- The next attempt, or the end of the lease of the node that sends it.
    due_us    bigint NOT NULL,
    attempts  bigint NOT NULL,
    -- The first attempt; NULL before.
    first_us  bigint,
    error     text,
    -- When it was sent or given up.
    ended_us  bigint,
    PRIMARY KEY (tenant_id, id)
);

CREATE INDEX tenancy_usage_batches_open ON tenancy_usage_batches (tenant_id, status, due_us) WHERE status <> 'sent';
CREATE INDEX tenancy_usage_batches_minute ON tenancy_usage_batches (tenant_id, meter, minute);

ALTER TABLE tenancy_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenancy_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY tenancy_floor ON tenancy_usage AS RESTRICTIVE
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY tenancy_own ON tenancy_usage
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));

ALTER TABLE tenancy_usage_batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenancy_usage_batches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenancy_floor ON tenancy_usage_batches AS RESTRICTIVE
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY tenancy_own ON tenancy_usage_batches
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));

-- The meter events that the billing system found invalid, until their batches are marked.
CREATE TABLE tenancy_usage_errors (
    identifier  text COLLATE "C" NOT NULL PRIMARY KEY,
    code        text   NOT NULL,
    message     text   NOT NULL,
    received_us bigint NOT NULL
);
