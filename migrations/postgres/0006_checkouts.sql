-- The checkouts that this program created, on PostgreSQL.

-- When the customer was linked. The newest customer of a tenant pays for its next checkout.
ALTER TABLE tenancy_customers ADD COLUMN linked_us bigint NOT NULL DEFAULT 0;

CREATE INDEX tenancy_customers_of_tenant ON tenancy_customers (tenant_id, linked_us);

-- A checkout with its tenant. `closed_us` is NULL while somebody can still pay it.
CREATE TABLE tenancy_checkouts (
    id         text NOT NULL PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenancy_tenants (id),
    created_us bigint NOT NULL,
    closed_us  bigint
);

CREATE INDEX tenancy_checkouts_open ON tenancy_checkouts (tenant_id) WHERE closed_us IS NULL;
