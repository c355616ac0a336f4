//! Row-level security alone and the rewriter alone each show no foreign row, except for the entries listed here.
//!
//! The entries are those of the catalogue of leaks. An entry that one layer cannot stop is listed, and shown to pass
//! it.

#[path = "../../sql/tests/cases/mod.rs"]
mod cases;

use std::collections::{BTreeMap, BTreeSet};

use cases::{Case, schema};
use futures_util::TryStreamExt;
use tenancy_sql::{Bind, Dialect, rewrite};

use crate::leak_fixture::{DOCS, Effect, Fixture, MARKS, Rows, run};

const LEAKS: &str = include_str!("../../sql/tests/cases/leaks.txt");

/// Entries without a text, or with one that does not run on these tables, as SQL that does.
const MORE: &[(&str, &str)] = &[
    (
        "Q04 a window's frame of one number",
        "SELECT sum(a) OVER (ORDER BY a ROWS (SELECT count(*) FROM secrets) PRECEDING) FROM docs",
    ),
    ("Q22 USING the tenant column, told apart", "SELECT s.v FROM docs JOIN secrets s USING (tenant_id)"),
    ("Q21 tenant_id of a joined table", "SELECT * FROM docs d JOIN secrets s ON true WHERE s.tenant_id = 1"),
    ("Q24 a materialized view", "SELECT * FROM invoices_now"),
    ("Q25 ts_stat over a vector", "SELECT * FROM ts_stat('select to_tsvector(v) from docs')"),
    ("Q25 table_to_xml", "SELECT table_to_xml('docs', true, false, '')"),
    ("Q26 a function of its owner", "SELECT invoices_of_all()"),
    (
        "Q40 what no builder can say",
        "WITH RECURSIVE r AS (SELECT id, v FROM docs WHERE id = 1 UNION ALL SELECT d.id, d.v FROM docs d JOIN r ON \
         d.id = r.id + 1) SELECT * FROM r UNION ALL SELECT id, v FROM secrets",
    ),
    (
        "Q44 a query that is changed later",
        "SELECT v FROM docs WHERE a = 1 OR true UNION ALL SELECT s.v FROM secrets s",
    ),
    ("Q46 a cursor", "DECLARE c CURSOR FOR SELECT * FROM docs; FETCH ALL FROM c"),
    ("Q46 a prepared statement", "PREPARE p AS SELECT * FROM docs; EXECUTE p"),
    ("Q46 a DO block", "DO $$ BEGIN PERFORM spy(v) FROM docs; DELETE FROM secrets; END $$"),
    ("Q58 ids of another tenant", "SELECT * FROM docs WHERE id IN (770077001, 770077200)"),
    ("Q58 an update by them", "UPDATE docs SET v = 'taken' WHERE id IN (770077001, 770077200) RETURNING *"),
    ("Q58 a delete by them", "DELETE FROM docs WHERE id > 770077000 RETURNING *"),
    ("W09 an error over values", "SELECT v::int FROM docs"),
    ("W09 a division", "SELECT 1 / (a - a) FROM docs WHERE id > 0"),
    ("P18 set_config before the scan", SET_CONFIG),
    ("P18 SET beside a query", "SET LOCAL app.tenant_id = 1; SELECT * FROM docs"),
    ("P24 row_security off", "SET LOCAL row_security = off; SELECT * FROM docs"),
    ("S08 a row for everybody", "INSERT INTO docs (tenant_id, id) VALUES (NULL, 900)"),
    ("S16 a function marked LEAKPROOF", "SELECT v FROM docs WHERE trusted_spy(v)"),
    ("S18 a reference to a foreign row", "INSERT INTO payments (id, invoice_id) VALUES (900, 770077001)"),
    ("S20 a unique key without the tenant", "INSERT INTO docs (id) VALUES (770077001)"),
];

const SET_CONFIG: &str = "WITH s AS MATERIALIZED (SELECT set_config('app.tenant_id', '1', true) AS v) \
                          SELECT docs.* FROM s CROSS JOIN docs";

/// What an entry shows on the shared database and not on the database of one tenant.
#[derive(Debug, Clone, Copy)]
enum Shows {
    /// Rows of other tenants.
    Rows,
    /// This text.
    Text(&'static str),
    /// The existence of rows: the result differs.
    Existence,
}

/// The entries that pass row-level security, and why. `docs/explanation/security-model.md` names each kind.
const PAST_RLS: &[(&str, Shows, &str)] = &[
    (
        "Q24 a view that is not declared",
        Shows::Rows,
        "a view reads as its owner, unless it is a security_invoker",
    ),
    ("Q24 a materialized view", Shows::Rows, "it was filled by its owner, and has no policies"),
    ("Q26 a function of its owner", Shows::Rows, "SECURITY DEFINER reads as the function's owner"),
    (
        "Q28 a partition by its name",
        Shows::Rows,
        "a partition has policies of its own, and this one has none",
    ),
    (
        "Q48 EXPLAIN ANALYZE",
        Shows::Text("Rows Removed by Filter: 387"),
        "a plan counts what the policy took away",
    ),
    ("Q52 pg_class with its schema", Shows::Text(DOCS), "statistics are of whole tables"),
    ("Q53 large objects", Shows::Rows, "large objects have no policies"),
    ("Q54 nextval", Shows::Rows, "a sequence is one for all tenants"),
    ("P18 set_config before the scan", Shows::Rows, "whoever can run set_config can be any tenant"),
    ("P18 SET beside a query", Shows::Rows, "whoever can run SET can be any tenant"),
    ("S16 a function marked LEAKPROOF", Shows::Rows, "it runs before the policy"),
    ("Q13 an upsert over another tenant's row", Shows::Existence, "a unique key without the tenant"),
    ("Q13 an upsert that steals", Shows::Existence, "a unique key without the tenant"),
    ("Q13 on a constraint", Shows::Existence, "a unique key without the tenant"),
    ("Q14 DO NOTHING", Shows::Existence, "a unique key without the tenant"),
    ("Q37 a bulk insert", Shows::Existence, "a unique key without the tenant"),
    ("S20 a unique key without the tenant", Shows::Existence, "a unique key without the tenant"),
    ("S18 a reference to a foreign row", Shows::Existence, "a foreign key without the tenant"),
];

/// The entries that pass the rewriter.
const PAST_REWRITER: &[(&str, Shows, &str)] = &[
    ("Q13 an upsert over another tenant's row", Shows::Existence, "a unique key without the tenant"),
    ("Q13 on a constraint", Shows::Existence, "a unique key without the tenant"),
    ("Q14 DO NOTHING", Shows::Existence, "a unique key without the tenant"),
    ("Q37 a bulk insert", Shows::Existence, "a unique key without the tenant"),
    ("S18 a reference to a foreign row", Shows::Existence, "a foreign key without the tenant"),
    ("S20 a unique key without the tenant", Shows::Existence, "a unique key without the tenant"),
];

/// Results that differ at each run: only the mark is searched for.
const BY_CHANCE: &[&str] = &[
    "Q48 EXPLAIN ANALYZE",
    "Q52 pg_stats",
    "Q52 pg_class with its schema",
    "W04 system columns",
    "W04 TABLESAMPLE moves inside",
];

/// The entries for PostgreSQL, and those of `MORE`.
fn entries() -> Vec<(String, String)> {
    let mut counted = BTreeMap::new();
    let written = cases::read(LEAKS).into_iter().filter(|case| case.dialect == Dialect::Postgres);
    let written = written.map(|Case { name, sql, .. }| (name, sql));
    let more = MORE.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned()));
    let entries: Vec<_> = written.chain(more).collect();
    for (name, _) in &entries {
        *counted.entry(name.clone()).or_insert(0) += 1;
    }
    assert!(counted.values().all(|n| *n == 1), "a name is there twice: {counted:?}");
    entries
}

/// Values for the parameters: an own id, an unused id, and ids of other tenants.
fn values(sql: &str) -> Vec<Vec<i64>> {
    let highest = (1..=9).rev().find(|n| sql.contains(&format!("${n}"))).unwrap_or(0);
    if highest == 0 {
        return vec![Vec::new()];
    }
    [1, 2, 3, 600, 770_077_001, 770_077_200].map(|value| vec![value; highest]).to_vec()
}

fn written(sql: &str, values: &[i64]) -> Vec<String> {
    let array = sql.to_lowercase().contains("$1::int[]");
    let value = |(n, value): (usize, &i64)| {
        if array && n == 0 { format!("'{{{value}}}'") } else { value.to_string() }
    };
    values.iter().enumerate().map(value).collect()
}

/// The results of an entry over all its values.
#[derive(Debug, Default)]
struct Fared {
    wrong: Vec<String>,
    shown: Vec<&'static str>,
    answered: BTreeSet<String>,
}

impl Fared {
    fn compare(
        &mut self,
        past: &[(&'static str, Shows, &str)],
        (name, sql): (&str, &str),
        [alone, shared]: [&Effect; 2],
        others: &str,
    ) {
        let known = past.iter().find(|(past, ..)| *past == name);
        let by_chance = BY_CHANCE.contains(&name);
        let differs = (&alone.answer, alone.state.as_ref().map(|state| &state.0))
            != (&shared.answer, shared.state.as_ref().map(|state| &state.0));
        let shows = match known {
            Some((_, Shows::Rows, _)) => shared.is_marked(),
            Some((_, Shows::Text(text), _)) => shared.seen.contains(text) && !alone.seen.contains(text),
            Some((_, Shows::Existence, _)) => differs && !shared.is_marked(),
            None => false,
        };
        if shared.answer.is_ok() {
            self.answered.insert(name.to_owned());
        }
        if alone.is_marked() {
            self.wrong.push(format!("{name}\n{sql}\nis marked without others: {alone:?}"));
        }
        if shared.state.as_ref().is_some_and(|(_, after)| after != others) {
            self.wrong.push(format!("{name}\n{sql}\nchanged rows of others"));
        }
        if shows {
            self.shown.extend(known.map(|(name, ..)| *name));
        } else if shared.is_marked() || (differs && !by_chance) {
            self.wrong.push(format!("{name}\n{sql}\nalone {alone:.900?}\nshared {shared:.900?}"));
        }
    }

    fn is_as_listed(&self, past: &[(&'static str, Shows, &str)], at_least: usize) {
        assert!(self.wrong.is_empty(), "{} are wrong:\n\n{}", self.wrong.len(), self.wrong.join("\n\n"));
        for (name, _, why) in past {
            assert!(self.shown.contains(name), "{name} is held back now ({why}): take it off the list");
        }
        assert!(self.answered.len() >= at_least, "only {} answered", self.answered.len());
    }
}

#[tokio::test]
async fn with_the_rewriter_off_no_entry_shows_a_foreign_row() {
    let mut alone = Fixture::new(Rows::Alone, true).await;
    let mut shared = Fixture::new(Rows::Shared, true).await;
    let others = shared.untouched.1.clone();
    let mut fared = Fared::default();
    let entries = entries();
    for (name, sql) in &entries {
        for values in values(sql) {
            let values = written(sql, &values);
            let (alone, shared) =
                (alone.effect("2", sql, &values).await, shared.effect("2", sql, &values).await);
            fared.compare(PAST_RLS, (name, sql), [&alone, &shared], &others);
        }
    }
    assert!(entries.len() >= 100, "only {} entries", entries.len());
    fared.is_as_listed(PAST_RLS, 80);
}

/// The rewritten texts, on tables without policies.
#[tokio::test]
async fn with_row_level_security_off_no_entry_shows_a_foreign_row() {
    let mut alone = Fixture::new(Rows::Alone, false).await;
    let mut shared = Fixture::new(Rows::Shared, false).await;
    let others = shared.untouched.1.clone();
    let (mut fared, mut refused, mut ran) = (Fared::default(), 0, 0);
    for (name, sql) in &entries() {
        let Ok(own) = rewrite(Dialect::Postgres, sql, &schema()) else {
            refused += 1;
            continue;
        };
        ran += 1;
        for values in values(sql) {
            let bound = own.binds().iter().map(|bind| match bind {
                Bind::Value(n) => values[n - 1],
                Bind::Tenant => 2,
                other => panic!("{other:?} is new"),
            });
            let bound: Vec<i64> = bound.collect();
            let wanted = alone.effect("2", sql, &written(sql, &values)).await;
            // The setting is empty: the tenant is in the text.
            let got = shared.effect("", own.text(), &written(sql, &bound)).await;
            fared.compare(PAST_REWRITER, (name, own.text()), [&wanted, &got], &others);
        }
    }
    assert!(ran >= 55 && refused >= 40, "{ran} ran, {refused} were refused");
    fared.is_as_listed(PAST_REWRITER, 50);
}

/// Without the rewriter and without policies most entries show or change foreign rows, so the tests above do test.
#[tokio::test]
async fn without_rewriter_and_rls_most_entries_show_foreign_rows() {
    let mut alone = Fixture::new(Rows::Alone, false).await;
    let mut shared = Fixture::new(Rows::Shared, false).await;
    let others = shared.untouched.1.clone();
    let mut told = 0;
    // Without policies PostgreSQL would wait for the rows of a COPY.
    let entries = entries().into_iter().filter(|(name, _)| name != "Q37 COPY");
    for (name, sql) in entries {
        let mut fared = Fared::default();
        for values in values(&sql) {
            let values = written(&sql, &values);
            let (alone, shared) =
                (alone.effect("2", &sql, &values).await, shared.effect("2", &sql, &values).await);
            fared.compare(&[], (&name, &sql), [&alone, &shared], &others);
        }
        told += usize::from(!fared.wrong.is_empty());
    }
    assert!(told >= 70, "only {told} are told");
}

/// TRUNCATE ignores policies, so only the missing privilege stops this entry.
#[tokio::test]
async fn a_role_that_may_truncate_empties_the_table_of_everybody() {
    let mut shared = Fixture::new(Rows::Shared, true).await;
    assert_eq!(shared.effect("2", "TRUNCATE jobs", &[]).await.answer, Err("42501".to_owned()));
    let role: String = sqlx::query_scalar("SELECT current_user").fetch_one(&mut shared.app).await.unwrap();
    run(&mut shared.admin, &format!("GRANT TRUNCATE ON jobs TO \"{role}\"")).await;
    let (own, others) = shared.effect("2", "TRUNCATE jobs", &[]).await.state.unwrap();
    assert!(!own.contains("jobs") && shared.untouched.0.contains("jobs"));
    assert_ne!(others, shared.untouched.1);
}

/// PostgreSQL enforces keys as the table's owner: without the tenant in the key, a cascade reaches foreign rows.
#[tokio::test]
async fn a_foreign_key_without_the_tenant_deletes_what_is_of_others() {
    let mut shared = Fixture::new(Rows::Shared, true).await;
    run(&mut shared.admin, "INSERT INTO payments VALUES (1, 770077300, 1)").await;
    let before = shared.effect("2", "SELECT 1", &[]).await.state.unwrap();
    let after = shared.effect("2", "DELETE FROM invoices", &[]).await.state.unwrap();
    assert_ne!(before.1, after.1);
}

/// W08: a plan made for one tenant returns the next tenant's own rows, and no rows without a tenant.
#[tokio::test]
async fn w08_a_prepared_statement_goes_from_tenant_to_tenant() {
    let mut shared = Fixture::new(Rows::Shared, true).await;
    // After five runs PostgreSQL may keep a generic plan.
    for tenant in [2, 1, 3].into_iter().cycle().take(24) {
        run(&mut shared.app, &format!("BEGIN; SET LOCAL app.tenant_id = '{tenant}'")).await;
        let of: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT tenant_id FROM docs WHERE id > $1")
            .bind(0_i64)
            .fetch_all(&mut shared.app)
            .await
            .unwrap();
        run(&mut shared.app, "COMMIT").await;
        assert_eq!(of, [tenant]);
        let nobody: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT tenant_id FROM docs WHERE id > $1")
            .bind(0_i64)
            .fetch_all(&mut shared.app)
            .await
            .unwrap();
        assert_eq!(nobody, [0; 0]);
    }
}

/// Q37: COPY TO sends one tenant's rows, and COPY FROM is rejected.
#[tokio::test]
async fn q37_copy_sends_own_rows_only() {
    let mut shared = Fixture::new(Rows::Shared, true).await;
    run(&mut shared.app, "BEGIN; SET LOCAL app.tenant_id = '2'").await;
    let copied = shared.app.copy_out_raw("COPY docs TO STDOUT").await.unwrap();
    let copied: Vec<_> = copied.try_collect().await.unwrap();
    let copied = String::from_utf8(copied.concat()).unwrap();
    assert_eq!(copied.lines().count(), 10);
    assert!(!MARKS.iter().any(|mark| copied.contains(mark)), "{copied}");
}
