//! Generates random statements, and the tables that they use.

use std::fmt::Write;

use tenancy_sql::Dialect;

/// The tenant tables, with their number columns and their text column.
pub(crate) const TABLES: [(&str, &[&str], &str); 3] = [
    ("orders", &["customer", "total"], "note"),
    ("items", &["order_id", "qty"], "note"),
    ("customers", &["score"], "name"),
];

/// A tenant table with values of more types, for statements written by hand.
const JOBS: &str = "jobs";

/// The number of tenant tables.
pub(crate) const COUNT: usize = TABLES.len() + 1;

/// The tables. On a database of one tenant the tenant column has a default, and keys do not contain it, as before the
/// application had tenants.
pub(crate) fn tables(dialect: Dialect, alone: Option<i64>) -> String {
    let tenant = alone.map_or("NOT NULL".to_owned(), |tenant| format!("NOT NULL DEFAULT {tenant}"));
    let keys = match alone {
        Some(_) => "PRIMARY KEY (id), UNIQUE (tenant_id, id)",
        None => "PRIMARY KEY (tenant_id, id)",
    };
    let mut sql = String::new();
    for (table, numbers, text) in TABLES {
        let numbers = numbers.join(" BIGINT, ");
        writeln!(
            sql,
            "CREATE TABLE {table} (tenant_id BIGINT {tenant}, id BIGINT NOT NULL, {numbers} BIGINT, {text} VARCHAR(20),
             {keys});"
        )
        .unwrap();
    }
    let more = match dialect {
        Dialect::Postgres => "payload JSONB, home address, tags TEXT[],",
        _ => "payload TEXT,",
    };
    if dialect == Dialect::Postgres {
        sql += "CREATE TYPE address AS (street TEXT, city TEXT);";
    }
    write!(
        sql,
        "CREATE TABLE {JOBS} (tenant_id BIGINT {tenant}, id BIGINT NOT NULL, n BIGINT, {more} note VARCHAR(20), {keys});"
    )
    .unwrap();
    if dialect != Dialect::MySql {
        // One key per tenant, and one key across tenants; random statements use neither.
        let tenant = if alone.is_some() { "" } else { "tenant_id, " };
        write!(
            sql,
            "CREATE UNIQUE INDEX orders_low ON orders ({tenant}lower(note)) WHERE total > 900;
             CREATE UNIQUE INDEX orders_all ON orders (customer) WHERE total > 5000;"
        )
        .unwrap();
    }
    sql + "CREATE TABLE countries (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(20));
           INSERT INTO countries VALUES (1, 'x'), (2, 'y'), (3, NULL), (5, 'z')"
}

/// The policies on the tables in PostgreSQL: each transaction reads and writes rows of its own tenant.
pub(crate) fn policies(role: &str) -> String {
    let told = "nullif(current_setting('app.tenant_id', true), '')::bigint";
    let own = format!("USING (tenant_id = {told}) WITH CHECK (tenant_id = {told})");
    let tables = TABLES.iter().map(|(table, ..)| *table).chain([JOBS]);
    let policies: Vec<String> = tables.map(|table| {
        format!(
            "ALTER TABLE {table} ALTER tenant_id SET DEFAULT {told}, ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY floor ON {table} AS RESTRICTIVE {own};
             CREATE POLICY own ON {table} {own};"
        )
    }).collect();
    format!(
        "{} GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO \"{role}\"",
        policies.concat()
    )
}

/// The rows of one tenant. All tenants use the same ids, so that a missing guard shows.
pub(crate) fn rows(dialect: Dialect, tenant: i64, seed: u64) -> String {
    let mut random = Random(seed ^ (u64::try_from(tenant).unwrap() * 7_919));
    let mut inserts = Vec::new();
    for (table, numbers, text) in TABLES {
        for id in 1..=6 + random.below(3) {
            let mut values = String::new();
            for _ in numbers {
                match random.below(8) {
                    0 => values += "NULL, ",
                    n => write!(values, "{n}, ").unwrap(),
                }
            }
            let note = ["a", "b", "c"][random.below(3)];
            let columns = numbers.join(", ");
            inserts.push(format!(
                "INSERT INTO {table} (tenant_id, id, {columns}, {text}) VALUES ({tenant}, {id}, {values}'t{tenant}{note}')"
            ));
        }
    }
    for id in 1..=4 + random.below(3) {
        let n = random.below(5);
        inserts.push(format!(
            "INSERT INTO {JOBS} (tenant_id, id, n, note) VALUES ({tenant}, {id}, {n}, 't{tenant}j')"
        ));
    }
    if dialect == Dialect::Postgres {
        inserts.push(format!(
            "UPDATE {JOBS} SET home = ROW('s' || tenant_id || id, 'c'), tags = ARRAY['g' || tenant_id], payload = '{{}}' \
             WHERE tenant_id = {tenant}"
        ));
    }
    inserts.join(";\n")
}

/// The contents of every table: a row for each tenant and table, with the tenant first.
pub(crate) fn state(dialect: Dialect) -> String {
    let jobs: (&str, &[&str], &str) = (JOBS, &["n", "payload"], "note");
    let texts: Vec<String> = TABLES
        .into_iter()
        .chain([jobs])
        .map(|(table, numbers, text)| {
            let columns = format!("id, {}, {text}", numbers.join(", "));
            let all = match dialect {
                Dialect::Postgres => {
                    format!("string_agg(json_build_array({columns})::text, ';' ORDER BY id)")
                }
                Dialect::Sqlite => format!("group_concat(json_array({columns}), ';' ORDER BY id)"),
                _ => format!("group_concat(json_array({columns}) ORDER BY id SEPARATOR ';')"),
            };
            let tenant = format!("CAST(tenant_id AS {})", text_type(dialect));
            format!(
                "SELECT {tenant} AS tenant, '{table}' AS place, {all} AS held FROM {table} GROUP BY tenant_id"
            )
        })
        .collect();
    texts.join(" UNION ALL ")
}

fn text_type(dialect: Dialect) -> &'static str {
    if dialect == Dialect::MySql { "CHAR" } else { "TEXT" }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).unwrap() % n
    }
}

/// A stream of statements for one dialect.
pub(crate) struct Statements {
    dialect: Dialect,
    /// Whether statements may name keys as on a database of one tenant.
    rewritten: bool,
    random: Random,
    names: usize,
    ctes: Vec<String>,
    /// The table that subqueries leave out.
    avoid: Option<&'static str>,
}

/// The visible tables: an alias and its number columns.
type Sight = Vec<(String, Vec<&'static str>)>;

const BASE: [(&str, &[&str]); 4] = [
    ("orders", &["id", "customer", "total"]),
    ("items", &["id", "order_id", "qty"]),
    ("customers", &["id", "score"]),
    ("countries", &["id"]),
];

impl Statements {
    pub(crate) fn new(dialect: Dialect, rewritten: bool, seed: u64) -> Self {
        Self { dialect, rewritten, random: Random(seed), names: 0, ctes: Vec::new(), avoid: None }
    }

    fn postgres(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    fn mysql(&self) -> bool {
        self.dialect == Dialect::MySql
    }

    /// A number as a text.
    fn text(&self, number: &str) -> String {
        format!("CAST({number} AS {})", text_type(self.dialect))
    }

    pub(crate) fn next(&mut self) -> String {
        self.names = 0;
        self.ctes.clear();
        self.avoid = None;
        match self.random.below(10) {
            0 => self.update(),
            1 => self.delete(),
            2 => self.insert(),
            3 if self.postgres() => self.merge(),
            _ => self.top(),
        }
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.random.below(from.len())]
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    /// A whole SELECT, with CTEs in front and an ORDER BY at the end.
    fn top(&mut self) -> String {
        let mut with = Vec::new();
        let recursive = self.one_in(4);
        // If two CTEs change one row, PostgreSQL does not define which one does.
        let mut writes = self.postgres();
        for _ in 0..self.random.below(3) {
            let name = format!("w{}", with.len());
            let body = if recursive && self.one_in(2) {
                format!(
                    "SELECT o.id AS c0, o.total AS c1 FROM orders o WHERE o.id < 3 UNION \
                     SELECT i.id, i.qty FROM items i JOIN {name} r ON i.order_id = r.c0"
                )
            } else if writes && self.one_in(4) {
                writes = false;
                "UPDATE orders SET total = total + 1 WHERE id > 2 RETURNING id AS c0, total AS c1".to_owned()
            } else {
                self.pair(&Vec::new(), 1)
            };
            with.push(format!("{name} AS ({body})"));
            self.ctes.push(name);
        }
        let mut sql = String::new();
        if !with.is_empty() {
            write!(sql, "WITH {}{} ", if recursive { "RECURSIVE " } else { "" }, with.join(", ")).unwrap();
        }
        if self.one_in(2) {
            // Without a surrounding query, so that the tables are at the top level, with their texts.
            sql += &self.texts();
        } else {
            let body = self.pair(&Vec::new(), 2);
            let (a, b) = (self.text("q.c0"), self.text("q.c1"));
            write!(sql, "SELECT {a} AS a, {b} AS b FROM ({body}) AS q").unwrap();
        }
        if self.one_in(3) {
            write!(sql, " ORDER BY 1, 2 LIMIT {}", 1 + self.random.below(4)).unwrap();
            if self.one_in(3) {
                sql += " OFFSET 1";
            }
        }
        sql
    }

    /// A SELECT of two texts over any tables.
    fn texts(&mut self) -> String {
        let (from, sight) = self.from(&Vec::new(), 2);
        let one = self.number(&sight, 2);
        let one = self.text(&one);
        let condition = self.condition(&sight, 2);
        let text = sight
            .iter()
            .find(|(_, columns)| columns.contains(&"total") || columns.contains(&"qty"))
            .map_or_else(|| "'-'".to_owned(), |(alias, _)| format!("{alias}.note"));
        match self.random.below(4) {
            0 => format!("SELECT DISTINCT {text} AS a, {one} AS b FROM {from} WHERE {condition}"),
            1 => {
                let count = self.text("count(*)");
                // PostgreSQL accepts no constant there.
                let key = if text == "'-'" { "1" } else { &text };
                format!("SELECT {text} AS a, {count} AS b FROM {from} WHERE {condition} GROUP BY {key}")
            }
            2 if self.postgres() => {
                let key = self.text(&format!("{}.{}", sight[0].0, sight[0].1[0]));
                format!("SELECT DISTINCT ON ({key}) {key} AS a, '-' AS b FROM {from} WHERE {condition}")
            }
            _ => format!("SELECT {text} AS a, {one} AS b FROM {from} WHERE {condition}"),
        }
    }

    /// A query of two numbers, `c0` and `c1`.
    fn pair(&mut self, outer: &Sight, depth: usize) -> String {
        if depth > 0 && self.one_in(4) {
            let (left, right) = (self.block(outer, depth - 1), self.block(outer, depth - 1));
            let operation = self.pick(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
            return format!("{left} {operation} {right}");
        }
        self.block(outer, depth)
    }

    fn block(&mut self, outer: &Sight, depth: usize) -> String {
        let (from, inner) = self.from(outer, depth);
        let sight: Sight = outer.iter().chain(&inner).cloned().collect();
        let condition = self.condition(&sight, depth);
        let one = self.number(&sight, depth);
        match self.random.below(5) {
            0 => {
                let key = self.column(&inner);
                let value = self.column(&inner);
                let aggregate = self.pick(&["max", "min", "count"]);
                let having = if self.one_in(3) { " HAVING count(*) > 1" } else { "" };
                format!(
                    "SELECT {key} AS c0, {aggregate}({value}) AS c1 FROM {from} WHERE {condition} GROUP BY {key}{having}"
                )
            }
            1 => {
                let by = self.column(&inner);
                let value = self.column(&inner);
                format!(
                    "SELECT {one} AS c0, max({value}) OVER (PARTITION BY {by}) AS c1 FROM {from} WHERE {condition}"
                )
            }
            2 => {
                let two = self.column(&sight);
                format!("SELECT DISTINCT {one} AS c0, {two} AS c1 FROM {from} WHERE {condition}")
            }
            _ => {
                let two = self.number(&sight, depth);
                format!("SELECT {one} AS c0, {two} AS c1 FROM {from} WHERE {condition}")
            }
        }
    }

    fn relation(&mut self, depth: usize) -> (String, (String, Vec<&'static str>)) {
        if depth > 0 && self.one_in(4) {
            let alias = self.name();
            let body = self.pair(&Vec::new(), depth - 1);
            return (format!("({body}) AS {alias}"), (alias, vec!["c0", "c1"]));
        }
        if !self.ctes.is_empty() && self.one_in(3) {
            let alias = self.name();
            let cte = self.ctes[self.random.below(self.ctes.len())].clone();
            return (format!("{cte} AS {alias}"), (alias, vec!["c0", "c1"]));
        }
        let mut table = self.random.below(BASE.len());
        if self.avoid == Some(BASE[table].0) {
            table = (table + 1) % BASE.len();
        }
        let (table, columns) = BASE[table];
        // Sometimes an alias that is another table's name.
        let alias = if self.one_in(8) { format!("countries{}", self.names) } else { self.name() };
        self.names += 1;
        (format!("{table} AS {alias}"), (alias, columns.to_vec()))
    }

    fn from(&mut self, outer: &Sight, depth: usize) -> (String, Sight) {
        let (mut from, first) = self.relation(depth);
        let mut sight = vec![first];
        for _ in 0..self.random.below(3) {
            let (text, next) = self.relation(depth);
            let left = self.column(&sight);
            let right = self.column(&vec![next.clone()]);
            match self.random.below(9) {
                0 => write!(from, " CROSS JOIN {text}"),
                1 => write!(from, ", {text}"),
                2 | 3 => write!(from, " LEFT JOIN {text} ON {left} = {right}"),
                4 => write!(from, " RIGHT JOIN {text} ON {left} = {right}"),
                5 if !self.mysql() => write!(from, " FULL JOIN {text} ON {left} = {right}"),
                6 if self.postgres() && depth > 0 => {
                    let seen: Sight = outer.iter().chain(&sight).cloned().collect();
                    let body = self.block(&seen, 0);
                    let alias = self.name();
                    sight.push((alias.clone(), vec!["c0", "c1"]));
                    write!(from, " CROSS JOIN LATERAL ({body}) AS {alias}").unwrap();
                    continue;
                }
                _ => write!(from, " JOIN {text} ON {left} = {right}"),
            }
            .unwrap();
            // A comma binds weaker than a join: later conditions cannot refer to what is before the comma.
            if from.contains(", ") {
                sight.push(next);
                break;
            }
            sight.push(next);
        }
        (from, sight)
    }

    fn column(&mut self, sight: &Sight) -> String {
        let (alias, columns) = &sight[self.random.below(sight.len())];
        let column = columns[self.random.below(columns.len())];
        format!("{alias}.{column}")
    }

    fn number(&mut self, sight: &Sight, depth: usize) -> String {
        match self.random.below(8) {
            0 => self.random.below(8).to_string(),
            1 => format!("({} + {})", self.column(sight), self.random.below(4)),
            2 => format!("coalesce({}, {})", self.column(sight), self.column(sight)),
            3 if depth > 0 => {
                let condition = self.condition(sight, depth - 1);
                format!("CASE WHEN {condition} THEN {} ELSE {} END", self.column(sight), self.random.below(5))
            }
            4 if depth > 0 => {
                let (from, inner) = self.from(&Vec::new(), 0);
                let value = self.column(&inner);
                let seen: Sight = sight.iter().chain(&inner).cloned().collect();
                let condition = self.condition(&seen, depth - 1);
                format!("(SELECT max({value}) FROM {from} WHERE {condition})")
            }
            _ => self.column(sight),
        }
    }

    fn condition(&mut self, sight: &Sight, depth: usize) -> String {
        match self.random.below(10) {
            0 | 1 if depth > 0 => {
                let (one, two) = (self.condition(sight, depth - 1), self.condition(sight, depth - 1));
                format!("{one} {} {two}", self.pick(&["AND", "OR"]))
            }
            2 if depth > 0 => format!("NOT ({})", self.condition(sight, depth - 1)),
            3 if depth > 0 => {
                let (from, inner) = self.from(&Vec::new(), 0);
                let seen: Sight = sight.iter().chain(&inner).cloned().collect();
                let condition = self.condition(&seen, depth - 1);
                format!("{}EXISTS (SELECT 1 FROM {from} WHERE {condition})", self.pick(&["", "NOT "]))
            }
            4 if depth > 0 => {
                let (from, inner) = self.from(&Vec::new(), 0);
                let value = self.column(&inner);
                let column = self.column(sight);
                if self.postgres() && self.one_in(2) {
                    let compare = self.pick(&["= ANY", "> ALL", "<> ALL"]);
                    return format!("{column} {compare} (SELECT {value} FROM {from})");
                }
                format!("{column} {}IN (SELECT {value} FROM {from})", self.pick(&["", "NOT "]))
            }
            5 => format!("{} IS {}NULL", self.column(sight), self.pick(&["", "NOT "])),
            6 => format!("{} BETWEEN 1 AND {}", self.column(sight), 2 + self.random.below(5)),
            7 => "1 = 1".to_owned(),
            _ => {
                let compare = self.pick(&["=", "<", ">", "<=", ">=", "<>"]);
                format!("{} {compare} {}", self.column(sight), self.random.below(7))
            }
        }
    }

    fn target(&mut self) -> (&'static str, &'static [&'static str]) {
        BASE[self.random.below(2)]
    }

    fn update(&mut self) -> String {
        let (table, columns) = self.target();
        let sight = vec![("t".to_owned(), columns.to_vec())];
        // In SQLite and MariaDB an UPDATE reads its own writes through a subquery, so only other tables are read
        // there.
        if !self.postgres() {
            self.avoid = Some(table);
        }
        let value = self.number(&sight, 1);
        let mut seen = sight.clone();
        let mut source = None;
        if self.one_in(3) {
            let (text, next) = self.relation(0);
            seen.push(next);
            source = Some(text);
        }
        let number = columns[2];
        let mut sql = match (source, self.mysql()) {
            (None, _) => format!("UPDATE {table} AS t SET {number} = {value}, note = 'new'"),
            (Some(source), false) => {
                format!("UPDATE {table} AS t SET {number} = {value}, note = 'new' FROM {source}")
            }
            (Some(source), true) => {
                format!("UPDATE {table} AS t CROSS JOIN {source} SET t.{number} = {value}, t.note = 'new'")
            }
        };
        write!(sql, " WHERE {}", self.condition(&seen, 2)).unwrap();
        if seen.len() == 1 && !self.mysql() && self.one_in(2) {
            let [id, number] = ["id", number].map(|column| self.returned("t", column));
            write!(sql, " RETURNING {id}, {number}").unwrap();
        }
        sql
    }

    /// A column of the target; SQLite does not know the target's alias there.
    fn returned(&self, alias: &str, column: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => self.text(column),
            _ => self.text(&format!("{alias}.{column}")),
        }
    }

    fn delete(&mut self) -> String {
        let (table, columns) = self.target();
        // MariaDB has no alias here, and accepts no subquery over the same table.
        let alias = if self.mysql() { table } else { "t" };
        if self.mysql() {
            self.avoid = Some(table);
        }
        let mut seen = vec![(alias.to_owned(), columns.to_vec())];
        let mut sql = format!("DELETE FROM {table}");
        if alias != table {
            write!(sql, " AS {alias}").unwrap();
        }
        if self.postgres() && self.one_in(3) {
            let (text, next) = self.relation(0);
            write!(sql, " USING {text}").unwrap();
            seen.push(next);
        }
        write!(sql, " WHERE {}", self.condition(&seen, 2)).unwrap();
        if seen.len() == 1 && self.one_in(2) {
            write!(sql, " RETURNING {}", self.returned(alias, "id")).unwrap();
        }
        sql
    }

    fn insert(&mut self) -> String {
        let (table, columns) = self.target();
        let (two, three) = (columns[1], columns[2]);
        let mut sql = format!("INSERT INTO {table} (id, {two}, {three}) ");
        match self.random.below(3) {
            0 => {
                let (id, other) = (1 + self.random.below(14), 1 + self.random.below(14));
                write!(sql, "VALUES ({id}, 1, 2), ({other}, (SELECT max(i.qty) FROM items i), NULL)")
                    .unwrap();
            }
            1 => {
                let condition = self.condition(&vec![("s".to_owned(), BASE[1].1.to_vec())], 2);
                write!(sql, "SELECT s.id + 4, s.order_id, s.qty FROM items s WHERE {condition}").unwrap();
            }
            _ => {
                sql += "SELECT DISTINCT s.id + 4, s.total, 7 FROM orders s WHERE s.total > 2 UNION \
                        SELECT s.id + 20, 1, s.qty FROM items s WHERE s.id < 4";
            }
        }
        let key = if self.rewritten && self.one_in(2) { "id" } else { "tenant_id, id" };
        match self.random.below(4) {
            0 if self.mysql() => write!(sql, " ON DUPLICATE KEY UPDATE id = {table}.id").unwrap(),
            0 => write!(sql, " ON CONFLICT ({key}) DO NOTHING").unwrap(),
            1 if self.mysql() => {
                write!(sql, " ON DUPLICATE KEY UPDATE {three} = VALUES({three}), note = 'up'").unwrap();
            }
            1 => {
                let condition = self.condition(&vec![(table.to_owned(), columns.to_vec())], 1);
                write!(
                    sql,
                    " ON CONFLICT ({key}) DO UPDATE SET {three} = excluded.{three}, note = 'up' WHERE {condition}"
                )
                .unwrap();
            }
            _ => {}
        }
        // On MariaDB such a statement could return the conflicting row of another tenant, and is rejected.
        let in_the_way = sql.contains("ON DUPLICATE");
        if self.one_in(2) && !in_the_way {
            write!(sql, " RETURNING {}, {}", self.text("id"), self.text(three)).unwrap();
        }
        sql
    }

    fn merge(&mut self) -> String {
        let (table, columns) = self.target();
        let condition = self.condition(&vec![("s".to_owned(), BASE[1].1.to_vec())], 1);
        let last = columns[2];
        let matched = self.pick(&["UPDATE SET note = s.note", "DELETE", "DO NOTHING"]);
        format!(
            "MERGE INTO {table} AS t USING (SELECT * FROM items s WHERE {condition}) AS s ON t.id = s.id + 3 \
             WHEN MATCHED THEN {matched} WHEN NOT MATCHED THEN INSERT (id, {last}) VALUES (s.id + 3, s.qty)"
        )
    }
}
