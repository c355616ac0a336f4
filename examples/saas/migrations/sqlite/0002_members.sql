-- The people of a tenant. An invited member holds a seat of the plan.
CREATE TABLE members (
    tenant_id  BLOB    NOT NULL,
    id         BLOB    NOT NULL,
    email      TEXT    NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    created_us INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
) STRICT;
