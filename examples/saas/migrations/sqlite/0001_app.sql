-- Every key starts with `tenant_id`, so that rows of one tenant can neither reference nor conflict with rows of
-- another.
CREATE TABLE projects (
    tenant_id  BLOB    NOT NULL,
    id         BLOB    NOT NULL,
    name       TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_us INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;

CREATE TABLE orders (
    tenant_id    BLOB    NOT NULL,
    id           BLOB    NOT NULL,
    project_id   BLOB    NOT NULL,
    title        TEXT    NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    amount_cents INTEGER NOT NULL CHECK (amount_cents >= 0),
    status       TEXT    NOT NULL CHECK (status IN ('open', 'paid')),
    created_us   INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id)
) STRICT;

CREATE INDEX orders_of_project ON orders (tenant_id, project_id);
