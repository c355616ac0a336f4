-- The checkouts that this program created, on SQLite.

-- When the customer was linked. The newest customer of a tenant pays for its next checkout.
ALTER TABLE tenancy_customers ADD COLUMN linked_us INTEGER NOT NULL DEFAULT 0;

CREATE INDEX tenancy_customers_of_tenant ON tenancy_customers (tenant_id, linked_us);

-- A checkout with its tenant. `closed_us` is NULL while somebody can still pay it.
CREATE TABLE tenancy_checkouts (
    id         TEXT NOT NULL PRIMARY KEY,
    tenant_id  TEXT NOT NULL REFERENCES tenancy_tenants (id),
    created_us INTEGER NOT NULL,
    closed_us  INTEGER
) STRICT;

CREATE INDEX tenancy_checkouts_open ON tenancy_checkouts (tenant_id) WHERE closed_us IS NULL;
