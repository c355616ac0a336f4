//! Queries for one tenant; `[[..]]` contains the predicates that a careful developer adds by hand.

/// A query in both forms.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    sql: &'static str,
    /// The values of its parameters, as SQL.
    pub(crate) values: &'static [&'static str],
}

impl Case {
    const fn new(name: &'static str, values: &'static [&'static str], sql: &'static str) -> Self {
        Self { name, sql, values }
    }

    /// The query without tenants.
    pub(crate) fn plain(&self) -> String {
        let mut parts = self.sql.split("[[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + part.split_once("]]").expect("what is added ends").1)
    }

    /// The query with its predicates by hand; the tenant is its last parameter.
    pub(crate) fn by_hand(&self) -> String {
        let tenant = format!("${}", self.values.len() + 1);
        self.sql.replace("[[", "").replace("]]", "").replace(":tenant", &tenant)
    }

    /// The query of one table with a subquery that no planner flattens.
    pub(crate) fn fenced(&self, fence: &str) -> String {
        let tenant = self.values.len() + 1;
        let own = format!("FROM (SELECT * FROM orders WHERE tenant_id = ${tenant} {fence}) o ");
        self.plain().replace("FROM orders o ", &own)
    }
}

/// The tables, with indexes that begin with the tenant column, and a million rows of a hundred tenants.
pub(crate) const TABLES: &str = "
    CREATE TABLE customers (tenant_id bigint NOT NULL, id bigint PRIMARY KEY, name text NOT NULL, referred_by bigint);
    CREATE TABLE orders (tenant_id bigint NOT NULL, id bigint NOT NULL, customer_id bigint NOT NULL,
        status text NOT NULL, total bigint NOT NULL, created_at bigint NOT NULL);
    CREATE TABLE items (tenant_id bigint NOT NULL, id bigint NOT NULL, order_id bigint NOT NULL, sku text NOT NULL,
        quantity bigint NOT NULL, price bigint NOT NULL)";
/// The rows of each table, as SQL of the row number `n`.
pub(crate) const ROWS: [(&str, u32, &str); 3] = [
    (
        "customers",
        50_000,
        "1 + n % 100, n, 'c' || n / 100, CASE WHEN n >= 1000 THEN n / 1000 * 100 + n % 100 END",
    ),
    (
        "orders",
        700_000,
        "1 + n % 100, n, n / 100 * 7 % 500 * 100 + n % 100, \
         CASE n / 100 % 7 WHEN 0 THEN 'open' WHEN 1 THEN 'paid' WHEN 2 THEN 'void' ELSE 'sent' END, \
         n * 7919 % 10007, 1700000000 + n * 31 % 699967",
    ),
    (
        "items",
        250_000,
        "1 + n % 100, n, n / 100 * 3 % 7000 * 100 + n % 100, 'sku' || n % 977, 1 + n % 5, n * 31 % 997",
    ),
];
pub(crate) const INDEXES: &str = "
    CREATE UNIQUE INDEX customers_id ON customers (tenant_id, id);
    CREATE INDEX customers_name ON customers (tenant_id, name);
    CREATE UNIQUE INDEX orders_id ON orders (tenant_id, id);
    CREATE INDEX orders_status ON orders (tenant_id, status, created_at);
    CREATE INDEX orders_created ON orders (tenant_id, created_at, id);
    CREATE INDEX orders_customer ON orders (tenant_id, customer_id);
    CREATE UNIQUE INDEX items_id ON items (tenant_id, id);
    CREATE INDEX items_order ON items (tenant_id, order_id)";

/// The queries with the same plan on every database.
pub(crate) const EVERYWHERE: [Case; 23] = [
    Case::new(
        "point read",
        &["4207"],
        "SELECT o.id, o.status, o.total FROM orders o WHERE [[o.tenant_id = :tenant AND ]]o.id = $1",
    ),
    Case::new(
        "page by status",
        &["'open'"],
        "SELECT o.id, o.total FROM orders o WHERE [[o.tenant_id = :tenant AND ]]o.status = $1
         ORDER BY o.created_at DESC LIMIT 20",
    ),
    Case::new(
        "keyset page",
        &["1700300000", "4207"],
        "SELECT o.id, o.total FROM orders o WHERE [[o.tenant_id = :tenant AND ]](o.created_at, o.id) < ($1, $2)
         ORDER BY o.created_at DESC, o.id DESC LIMIT 20",
    ),
    Case::new(
        "count",
        &["'paid'", "9000"],
        "SELECT count(*) FROM orders o WHERE [[o.tenant_id = :tenant AND ]]o.status = $1 AND o.total > $2",
    ),
    Case::new(
        "sum by status",
        &[],
        "SELECT o.status, count(*), sum(o.total) FROM orders o [[WHERE o.tenant_id = :tenant ]]GROUP BY o.status",
    ),
    Case::new(
        "GROUP BY the primary key",
        &["'c7'"],
        "SELECT c.id, c.name, count(o.id) FROM customers c
         LEFT JOIN orders o ON o.customer_id = c.id[[ AND o.tenant_id = :tenant]]
         WHERE [[c.tenant_id = :tenant AND ]]c.name = $1 GROUP BY c.id",
    ),
    Case::new(
        "join of two tables",
        &["'open'"],
        "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id[[ AND c.tenant_id = :tenant]]
         WHERE [[o.tenant_id = :tenant AND ]]o.status = $1 ORDER BY o.created_at DESC LIMIT 20",
    ),
    Case::new(
        "join of three tables",
        &["'c7'"],
        "SELECT o.id, i.sku, i.quantity FROM customers c
         JOIN orders o ON o.customer_id = c.id[[ AND o.tenant_id = :tenant]]
         JOIN items i ON i.order_id = o.id[[ AND i.tenant_id = :tenant]]
         WHERE [[c.tenant_id = :tenant AND ]]c.name = $1",
    ),
    Case::new(
        "join of a table with itself",
        &["4207"],
        "SELECT o2.id FROM orders o JOIN orders o2 ON o2.customer_id = o.customer_id[[ AND o2.tenant_id = :tenant]]
         WHERE [[o.tenant_id = :tenant AND ]]o.id = $1 AND o2.total > o.total",
    ),
    Case::new(
        "LEFT JOIN",
        &["707"],
        "SELECT o.id, i.sku FROM orders o LEFT JOIN items i ON i.order_id = o.id[[ AND i.tenant_id = :tenant]]
         WHERE [[o.tenant_id = :tenant AND ]]o.customer_id = $1",
    ),
    Case::new(
        "LEFT JOIN for what is not there",
        &["'open'"],
        "SELECT o.id FROM orders o LEFT JOIN items i ON i.order_id = o.id[[ AND i.tenant_id = :tenant]]
         WHERE [[o.tenant_id = :tenant AND ]]o.status = $1 AND i.id IS NULL",
    ),
    Case::new(
        "GROUP BY in place of DISTINCT",
        &["707"],
        "SELECT o.status, i.sku FROM orders o
         LEFT JOIN items i ON i.order_id = o.id[[ AND i.tenant_id = :tenant]]
         WHERE [[o.tenant_id = :tenant AND ]]o.customer_id = $1 GROUP BY o.status, i.sku",
    ),
    Case::new(
        "NOT EXISTS",
        &["'open'"],
        "SELECT o.id FROM orders o WHERE [[o.tenant_id = :tenant AND ]]o.status = $1 AND NOT EXISTS (
         SELECT 1 FROM items i WHERE [[i.tenant_id = :tenant AND ]]i.order_id = o.id)",
    ),
    Case::new(
        "IN (subquery)",
        &["'c7'"],
        "SELECT o.id FROM orders o WHERE [[o.tenant_id = :tenant AND ]]o.customer_id IN (
         SELECT c.id FROM customers c WHERE [[c.tenant_id = :tenant AND ]]c.name = $1)",
    ),
    Case::new(
        "scalar subquery",
        &["20000"],
        "SELECT c.name, (SELECT max(o.total) FROM orders o WHERE [[o.tenant_id = :tenant AND ]]o.customer_id = c.id)
         FROM customers c WHERE [[c.tenant_id = :tenant AND ]]c.id > $1 ORDER BY c.id LIMIT 20",
    ),
    Case::new(
        "CTE",
        &["'open'"],
        "WITH spent AS (SELECT o.customer_id, sum(o.total) AS total FROM orders o
         WHERE [[o.tenant_id = :tenant AND ]]o.status = $1 GROUP BY o.customer_id)
         SELECT c.name, s.total FROM spent s JOIN customers c ON c.id = s.customer_id[[ AND c.tenant_id = :tenant]]",
    ),
    Case::new(
        "recursive CTE",
        &["49907"],
        "WITH RECURSIVE chain AS (
             SELECT c.id, c.referred_by FROM customers c WHERE [[c.tenant_id = :tenant AND ]]c.id = $1
             UNION ALL SELECT c.id, c.referred_by FROM chain b JOIN customers c ON c.id = b.referred_by
             [[AND c.tenant_id = :tenant]])
         SELECT id FROM chain",
    ),
    Case::new(
        "window function",
        &["'open'"],
        "SELECT o.id, rank() OVER (PARTITION BY o.customer_id ORDER BY o.total DESC) FROM orders o
         WHERE [[o.tenant_id = :tenant AND ]]o.status = $1",
    ),
    Case::new(
        "UNION ALL",
        &["'open'", "'paid'"],
        "SELECT o.id FROM orders o WHERE [[o.tenant_id = :tenant AND ]]o.status = $1 UNION ALL
         SELECT o.id FROM orders o WHERE [[o.tenant_id = :tenant AND ]]o.status = $2 AND o.total > 10000",
    ),
    Case::new(
        "UPDATE by id",
        &["'paid'", "4207"],
        "UPDATE orders SET status = $1 WHERE [[tenant_id = :tenant AND ]]id = $2",
    ),
    Case::new(
        "UPDATE .. FROM",
        &["'void'", "'c7'"],
        "UPDATE orders AS o SET status = $1 FROM customers c
         WHERE [[o.tenant_id = :tenant AND c.tenant_id = :tenant AND ]]c.id = o.customer_id AND c.name = $2",
    ),
    Case::new(
        "DELETE with a subquery",
        &["'c7'"],
        "DELETE FROM orders WHERE [[tenant_id = :tenant AND ]]customer_id IN (
         SELECT c.id FROM customers c WHERE [[c.tenant_id = :tenant AND ]]c.name = $1)",
    ),
    Case::new(
        "INSERT .. SELECT",
        &["1000000", "4207"],
        "INSERT INTO items ([[tenant_id, ]]id, order_id, sku, quantity, price)
         SELECT [[:tenant, ]]i.id + $1, i.order_id, i.sku, i.quantity, i.price FROM items i
         WHERE [[i.tenant_id = :tenant AND ]]i.order_id = $2",
    ),
];

/// The queries that only PostgreSQL supports.
pub(crate) const ON_POSTGRES: [Case; 2] = [
    Case::new(
        "DISTINCT ON",
        &["20000"],
        "SELECT DISTINCT ON (o.customer_id) o.customer_id, o.id FROM orders o
         WHERE [[o.tenant_id = :tenant AND ]]o.customer_id > $1 ORDER BY o.customer_id, o.created_at DESC",
    ),
    Case::new(
        "FOR UPDATE SKIP LOCKED",
        &["'open'"],
        "SELECT o.id FROM orders o WHERE [[o.tenant_id = :tenant AND ]]o.status = $1
         ORDER BY o.created_at LIMIT 10 FOR UPDATE SKIP LOCKED",
    ),
];

/// The queries that SQLite plans differently: the query, its plan, and the plan of the form by hand.
pub(crate) const OTHERWISE_ON_SQLITE: [(Case, &str, &str); 3] = [
    (
        Case::new(
            "EXISTS",
            &["10000"],
            "SELECT c.id, c.name FROM customers c WHERE [[c.tenant_id = :tenant AND ]]EXISTS (SELECT 1 FROM orders o
             WHERE [[o.tenant_id = :tenant AND ]]o.customer_id = c.id AND o.total > $1)",
        ),
        "SEARCH customers USING INDEX customers_id (tenant_id=?)
         CORRELATED SCALAR SUBQUERY
           SEARCH orders USING INDEX orders_customer (tenant_id=? AND customer_id=?)",
        "SEARCH customers USING INDEX customers_id (tenant_id=?)
         SEARCH orders EXISTS USING INDEX orders_customer (tenant_id=? AND customer_id=?)",
    ),
    (
        Case::new(
            "DISTINCT with a LEFT JOIN",
            &["707"],
            "SELECT DISTINCT o.status, i.sku FROM orders o
             LEFT JOIN items i ON i.order_id = o.id[[ AND i.tenant_id = :tenant]]
             WHERE [[o.tenant_id = :tenant AND ]]o.customer_id = $1",
        ),
        "MATERIALIZE items
           SEARCH items USING INDEX items_order (tenant_id=?)
         SEARCH orders USING INDEX orders_customer (tenant_id=? AND customer_id=?)
         BLOOM FILTER ON items (order_id=?)
         SEARCH items USING AUTOMATIC COVERING INDEX (order_id=?) LEFT-JOIN
         USE TEMP B-TREE FOR DISTINCT",
        "SEARCH orders USING INDEX orders_customer (tenant_id=? AND customer_id=?)
         SEARCH items USING INDEX items_order (tenant_id=? AND order_id=?) LEFT-JOIN
         USE TEMP B-TREE FOR DISTINCT",
    ),
    (
        Case::new(
            "RIGHT JOIN",
            &["707"],
            "SELECT o.id, i.sku FROM items i RIGHT JOIN orders o ON i.order_id = o.id[[ AND i.tenant_id = :tenant]]
             WHERE [[o.tenant_id = :tenant AND ]]o.customer_id = $1",
        ),
        "MATERIALIZE orders
           SEARCH orders USING INDEX orders_customer (tenant_id=?)
         SEARCH items USING INDEX items_order (tenant_id=?)
         SCAN orders
         RIGHT-JOIN orders
           SCAN orders",
        "SCAN items
         SEARCH orders USING INDEX orders_id (ANY(tenant_id) AND id=?)
         RIGHT-JOIN orders
           SEARCH orders USING INDEX orders_customer (tenant_id=? AND customer_id=?)",
    ),
];
