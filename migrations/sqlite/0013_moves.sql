-- The moves of tenants between placements, on SQLite.

-- A move that is not finished. `source` and `target` are placements, as JSON.
CREATE TABLE tenancy_moves (
    tenant_id  TEXT    NOT NULL PRIMARY KEY,
    source     TEXT    NOT NULL,
    target     TEXT    NOT NULL,
    step       TEXT    NOT NULL,
    started_us INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    -- Why the last attempt stopped; NULL if it did not.
    error      TEXT
) STRICT, WITHOUT ROWID;

-- The places in which a tenant is refused: it is being moved, or was moved to another place.
CREATE TABLE tenancy_fences (
    tenant_id TEXT NOT NULL,
    place     TEXT NOT NULL,
    PRIMARY KEY (tenant_id, place)
) STRICT, WITHOUT ROWID;
