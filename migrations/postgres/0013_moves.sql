-- The moves of tenants between placements, on PostgreSQL.

-- A move that is not finished. `source` and `target` are placements, as JSON.
CREATE TABLE tenancy_moves (
    tenant_id  text   NOT NULL PRIMARY KEY,
    source     text   NOT NULL,
    target     text   NOT NULL,
    step       text   NOT NULL,
    started_us bigint NOT NULL,
    changed_us bigint NOT NULL,
    -- Why the last attempt stopped; NULL if it did not.
    error      text
);

-- The places in which a tenant is refused: it is being moved, or was moved to another place.
CREATE TABLE tenancy_fences (
    tenant_id text NOT NULL,
    place     text NOT NULL,
    PRIMARY KEY (tenant_id, place)
);

-- A policy on each table reads it, as whoever reads the table. A tenant sees its own rows only.
GRANT SELECT ON tenancy_fences TO PUBLIC;
ALTER TABLE tenancy_fences ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy_read ON tenancy_fences FOR SELECT
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));

-- The tenant of the transaction, unless it is refused. The policies compare it with the tenant column.
--
-- The argument keeps the planner from a call of its own: it calls a stable function whose arguments it knows.
CREATE FUNCTION tenancy_placed(refused boolean) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF refused AND current_setting('app.tenancy_move', true) IS DISTINCT FROM 'on' THEN
        RAISE EXCEPTION 'the tenant is being moved, or was moved to another place' USING ERRCODE = 'TNMOV';
    END IF;
    RETURN nullif(current_setting('app.tenant_id', true), '');
END
$$;
