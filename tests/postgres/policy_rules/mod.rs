//! The planned policies, keys, views, indexes and grants are the right ones for each kind of table and role.

mod unguarded;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tenancy::ErrorKind;
use tenancy::isolation::doctor::{self, Check};
use tenancy::isolation::{MissingTenant, PolicyChange, PolicyPlan, RlsPolicies};
use tenancy_sql::Schema;

use crate::policy_fixture::{ACME, GLOBEX, SHARED, SHOP, Shop, new_role, rows, run, shown, state, texts};

fn said(steps: &[PolicyChange]) -> Vec<String> {
    steps.iter().map(|step| format!("{}: {}", step.object(), step.reason())).collect()
}

async fn planned(conn: &mut PgConnection, toml: &str) -> tenancy::Result<PolicyPlan> {
    let schema = Schema::from_toml(toml).unwrap();
    RlsPolicies::new(&schema).plan(conn).await
}

#[tokio::test]
async fn ids_of_each_type_and_names_of_every_kind() {
    let long = "l".repeat(63);
    let odd = format!(
        "CREATE SCHEMA \"Other one\";
        CREATE TABLE \"Other one\".\"o'dd \"\"table\"\"; --\n\" (tenant_id bigint NOT NULL, words text);
        CREATE TABLE {long} (tenant_id bigint NOT NULL, words text);
        CREATE TABLE \"user\" (tenant_id text COLLATE \"C\" NOT NULL, words text);
        CREATE TABLE \"Orders\" (\"select\" uuid NOT NULL, words text);
        CREATE TABLE elsewhere.hidden (tenant_id uuid, words text);
        CREATE TABLE tenancy_things (tenant_id text, words text);"
    );
    let mut shop = Shop::new(&format!("CREATE SCHEMA elsewhere; {odd}")).await;
    let path = "SET search_path = public, \"Other one\", \"no such schema\"; SET quote_all_identifiers = on";
    run(&mut shop.owner, path).await;
    run(&mut shop.app, path).await;
    let schema = Schema::from_toml("columns = { Orders = \"select\" }").unwrap();
    for unset in [MissingTenant::NoRows, MissingTenant::Error] {
        let policies = RlsPolicies::new(&schema).missing_tenant(unset).runtime_role(&shop.role);
        policies.apply(&mut shop.owner).await.unwrap();
        assert!(policies.plan(&mut shop.owner).await.unwrap().is_empty());
        for (table, column, ids) in [
            ("\"o'dd \"\"table\"\"; --\n\"", "tenant_id", ["1", "9223372036854775807"]),
            (long.as_str(), "tenant_id", ["1", "12"]),
            ("\"user\"", "tenant_id", ["acme", "ACME"]),
            ("\"Orders\"", "\"select\"", [ACME, GLOBEX]),
        ] {
            let read = format!("SELECT words FROM {table}");
            for id in ids {
                let insert = format!(
                    "INSERT INTO {table} ({column}, words) VALUES ('{id}', 'of {id}') RETURNING words"
                );
                rows(&mut shop.app, Some(id), &insert).await.unwrap();
            }
            for id in ids {
                let distinct = format!("SELECT DISTINCT words FROM {table}");
                assert_eq!(rows(&mut shop.app, Some(id), &distinct).await.unwrap(), [format!("of {id}")]);
            }
            // The setting is empty now: no row has the empty tenant, not even one that was written past the policy.
            if table == "\"user\"" {
                run(&mut shop.owner, "ALTER TABLE \"user\" DISABLE ROW LEVEL SECURITY").await;
                run(&mut shop.owner, "INSERT INTO \"user\" VALUES ('', 'of nobody')").await;
                run(&mut shop.owner, "ALTER TABLE \"user\" ENABLE ROW LEVEL SECURITY").await;
            }
            match unset {
                MissingTenant::NoRows => {
                    assert_eq!(rows(&mut shop.app, None, &read).await.unwrap(), [""; 0], "{table}");
                }
                _ => assert_eq!(rows(&mut shop.app, None, &read).await.unwrap_err(), "42704", "{table}"),
            }
        }
    }
    // Tables outside of the search path and the crate's own tables are not changed.
    run(&mut shop.owner, "RESET quote_all_identifiers").await;
    let left = state(&mut shop.owner).await;
    assert!(left.iter().any(|line| line == "table elsewhere.hidden f f"), "{left:?}");
    assert!(left.iter().any(|line| line == "table tenancy_things f f"), "{left:?}");
}

#[tokio::test]
async fn a_table_that_can_have_no_policy_is_rejected_by_name() {
    for (tables, toml, wanted) in [
        ("CREATE TABLE t (tenant_id int)", "", "column `tenant_id` of `public.t` is of the type `integer`"),
        ("CREATE TABLE t (tenant_id varchar(40))", "", "is of the type `character varying`"),
        (
            "CREATE DOMAIN key_of_tenant AS uuid; CREATE TABLE t (tenant_id key_of_tenant)",
            "",
            "is of the type `public.key_of_tenant`",
        ),
        (
            "CREATE TABLE a (a_id uuid); CREATE TABLE b (b_id uuid); CREATE TABLE c () INHERITS (a, b)",
            "columns = { a = \"a_id\", b = \"b_id\" }",
            "the table `public.c` has the tenant column",
        ),
        ("CREATE TABLE t (tenant_id uuid)", "shared = [\"public.t\"]", "is declared shared"),
        (
            "CREATE TABLE t (tenant_id uuid)",
            "columns = { t = \"org_id\" }",
            "the table `public.t` is declared with the tenant column `org_id`, but has no such column",
        ),
    ] {
        let mut shop = Shop::new(tables).await;
        let error = planned(&mut shop.owner, toml).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{tables}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[tokio::test]
async fn a_text_by_which_different_ids_are_equal_is_rejected() {
    let mut shop = Shop::new("CREATE TABLE t (tenant_id text)").await;
    let alike = "CREATE COLLATION alike (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        ALTER TABLE t ALTER tenant_id TYPE text COLLATE alike";
    // Only ICU has such collations, and a server can be built without ICU.
    if let Err(error) = sqlx::raw_sql(alike).execute(&mut shop.owner).await {
        assert!(error.to_string().contains("ICU is not supported in this build"), "{error}");
        return;
    }
    let error = planned(&mut shop.owner, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("has a collation that treats different ids as equal"), "{error}");
}

#[tokio::test]
async fn a_child_in_another_schema_has_the_policies_of_its_parent() {
    let tables = "CREATE SCHEMA archive;
        CREATE TABLE accounts (id uuid NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
        CREATE TABLE archive.accounts_2025 PARTITION OF accounts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
        CREATE TABLE base (words text); CREATE TABLE secrets (token text); CREATE TABLE _sqlx_migrations (version bigint);
        CREATE TABLE own (tenant_id uuid NOT NULL) INHERITS (base);
        CREATE MATERIALIZED VIEW counted AS SELECT tenant_id, count(*) FROM own GROUP BY tenant_id;
        CREATE VIEW counts AS SELECT * FROM counted";
    let mut shop = Shop::new(tables).await;
    let schema = Schema::from_toml("columns = { accounts = \"id\" }").unwrap();
    let plan = RlsPolicies::new(&schema).plan(&mut shop.owner).await.unwrap();
    let policies =
        plan.changes().iter().filter(|step| step.sql().contains("CREATE POLICY \"tenancy_floor\""));
    let tables: Vec<_> = policies.map(PolicyChange::object).collect();
    assert_eq!(tables, ["table archive.accounts_2025", "table public.accounts", "table public.own"]);
    // Objects that no policy can guard are listed as unguarded, not as advice.
    let advice = said(plan.unguarded());
    assert!(plan.advice().is_empty(), "{plan:?}");
    let wanted = [
        "materialized view public.counted: it contains rows of every tenant",
        "table public.base: it has no tenant column, and a query on it reads the rows of `public.own`",
        "table public.secrets: it has no tenant column and is not declared shared",
    ];
    assert_eq!(advice.len(), wanted.len(), "{advice:?}");
    for (line, wanted) in advice.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line}");
    }
}

#[tokio::test]
async fn the_role_of_the_application_gets_what_it_needs_and_no_more() {
    let mut shop = Shop::new(SHOP).await;
    let role = shop.role.clone();
    run(
        &mut shop.owner,
        &format!(
            "GRANT TRUNCATE, SELECT ON projects TO {role}; GRANT TRIGGER ON tasks TO PUBLIC; GRANT ALL ON countries TO {role};
             ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {role};
             ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; REVOKE USAGE ON SCHEMA public FROM PUBLIC"
        ),
    )
    .await;
    let schema = Schema::from_toml(SHARED).unwrap();
    let policies = RlsPolicies::new(&schema).runtime_role(&role);
    policies.apply(&mut shop.owner).await.unwrap();
    let rights = format!(
        "SELECT concat_ws(' ', c.relname, string_agg(p, ' ' ORDER BY n)) FROM pg_class c, \
         unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) WITH ORDINALITY u (p, n) \
         WHERE c.relkind IN ('r', 'p', 'v') AND c.relnamespace = 'public'::regnamespace AND has_table_privilege('{role}', c.oid, p) \
         GROUP BY c.relname UNION SELECT relname || ' USAGE' FROM pg_class WHERE CASE WHEN relkind = 'S' THEN has_sequence_privilege('{role}', oid, 'USAGE') END \
         ORDER BY 1"
    );
    let held: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(rights)).fetch_all(&mut shop.owner).await.unwrap();
    let wanted = [
        "countries SELECT",
        "events SELECT INSERT UPDATE DELETE",
        "feedback SELECT INSERT UPDATE DELETE",
        "feedback_id_seq USAGE",
        "long_titles SELECT",
        "notes SELECT INSERT UPDATE DELETE",
        "old_notes SELECT INSERT UPDATE DELETE",
        "projects SELECT INSERT UPDATE DELETE",
        "tasks SELECT INSERT UPDATE DELETE",
        "tasks_id_seq USAGE",
        "titles SELECT",
    ];
    assert_eq!(held, wanted);
    // A new table has no policy yet, and the role cannot read it.
    run(&mut shop.owner, "CREATE TABLE later (tenant_id uuid NOT NULL, words text)").await;
    assert_eq!(rows(&mut shop.app, Some(ACME), "SELECT words FROM later").await.unwrap_err(), "42501");
    let plan = policies.plan(&mut shop.owner).await.unwrap();
    assert!(plan.changes().iter().all(|step| step.object() == "table public.later"), "{:?}", shown(&plan));
    policies.apply(&mut shop.owner).await.unwrap();
    assert_eq!(rows(&mut shop.app, Some(ACME), "SELECT words FROM later").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_role_that_policies_do_not_bind_is_rejected() {
    let mut shop = Shop::new(SHOP).await;
    let schema = Schema::from_toml(SHARED).unwrap();
    let owner: String =
        sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut shop.owner).await.unwrap();
    let (exempt, _exempt) = new_role("NOLOGIN BYPASSRLS").await;
    let (member, _member) = new_role(&format!("LOGIN IN ROLE {owner}")).await;
    for (role, wanted) in [
        ("nobody_of_that_name", "there is no role `nobody_of_that_name`; create it: CREATE ROLE"),
        (exempt.as_str(), "is a superuser or has BYPASSRLS"),
        (owner.as_str(), "or is a member of its owner, and could disable row-level security"),
        (member.as_str(), "or is a member of its owner, and could disable row-level security"),
    ] {
        let error = RlsPolicies::new(&schema).runtime_role(role).plan(&mut shop.owner).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let member_of_exempt = format!("LOGIN IN ROLE {exempt}");
    let (member, _member) = new_role(&member_of_exempt).await;
    let error = RlsPolicies::new(&schema).runtime_role(&member).plan(&mut shop.owner).await.unwrap_err();
    assert!(error.to_string().contains(&format!("`{exempt}` is a superuser or has BYPASSRLS")), "{error}");
}

/// A schema that was designed without tenants.
const GROWN: &str = "
    CREATE TABLE tenants (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text UNIQUE);
    CREATE TABLE users (tenant_id uuid DEFAULT '00000000-0000-0000-0000-000000000000' REFERENCES tenants, id bigserial PRIMARY KEY,
        email text NOT NULL, handle text, CONSTRAINT one_email UNIQUE NULLS NOT DISTINCT (email) DEFERRABLE);
    CREATE UNIQUE INDEX \"one (handle)\" ON users (lower(handle) text_pattern_ops DESC) INCLUDE (email) WHERE handle <> '';
    CREATE TABLE \"Teams\" (tenant_id uuid NOT NULL, id bigint NOT NULL, lead bigint, deputy bigint NOT NULL DEFAULT 1, parent bigint,
        PRIMARY KEY (tenant_id, id), UNIQUE (id),
        CONSTRAINT led FOREIGN KEY (lead) REFERENCES users ON DELETE SET NULL ON UPDATE CASCADE,
        CONSTRAINT helped FOREIGN KEY (deputy) REFERENCES users MATCH FULL ON DELETE SET DEFAULT DEFERRABLE INITIALLY DEFERRED);
    ALTER TABLE \"Teams\" ADD CONSTRAINT below FOREIGN KEY (parent) REFERENCES \"Teams\" (id) ON DELETE CASCADE NOT VALID;
    CREATE TABLE badges (tenant_id uuid NOT NULL, id bigint, team bigint, PRIMARY KEY (tenant_id, id),
        CONSTRAINT of_team FOREIGN KEY (tenant_id, team) REFERENCES \"Teams\" ON DELETE SET NULL);
    CREATE TABLE logs (tenant_id uuid NOT NULL, at date NOT NULL, id bigint, by bigint REFERENCES users, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);
    CREATE TABLE logs_2026 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')";

const GROWN_TOML: &str = "columns = { tenants = \"id\" }";

#[tokio::test]
async fn keys_get_the_tenant_when_asked_by_name() {
    let mut shop = Shop::new(GROWN).await;
    let schema = Schema::from_toml(GROWN_TOML).unwrap();
    let policies = RlsPolicies::new(&schema);
    let keys = "SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint \
        WHERE conrelid::regclass::text NOT LIKE 'pg\\_%' AND conparentid = 0 AND contype IN ('p', 'u', 'f') \
        UNION ALL SELECT pg_get_indexdef('\"one (handle)\"'::regclass) \
        UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, attnotnull, atthasdef) FROM pg_attribute \
            WHERE attname IN ('tenant_id', 'id') AND attrelid IN ('users'::regclass, 'tenants'::regclass) ORDER BY 1";
    let before = texts(&mut shop.owner, keys).await;
    // By default only the policies are made.
    let plain = policies.apply(&mut shop.owner).await.unwrap();
    assert_eq!(texts(&mut shop.owner, keys).await, before);
    assert_eq!(plain.keys().len(), 17, "{:#?}", said(plain.keys()));
    assert!(policies.plan(&mut shop.owner).await.unwrap().is_empty());

    let done = policies.clone().with_keys().apply(&mut shop.owner).await.unwrap();
    assert_eq!(done.changes(), plain.keys());
    let wanted = [
        "\"Teams\" Teams_id_key UNIQUE (tenant_id, id)",
        "\"Teams\" Teams_pkey PRIMARY KEY (tenant_id, id)",
        "\"Teams\" below FOREIGN KEY (tenant_id, parent) REFERENCES \"Teams\"(tenant_id, id) ON DELETE CASCADE NOT VALID",
        "\"Teams\" helped FOREIGN KEY (tenant_id, deputy) REFERENCES users(tenant_id, id) ON DELETE SET DEFAULT (deputy) \
         DEFERRABLE INITIALLY DEFERRED",
        "\"Teams\" led FOREIGN KEY (tenant_id, lead) REFERENCES users(tenant_id, id) ON UPDATE CASCADE ON DELETE SET NULL (lead)",
        "CREATE UNIQUE INDEX \"one (handle)\" ON public.users USING btree (tenant_id, lower(handle) text_pattern_ops DESC) \
         INCLUDE (email) WHERE (handle <> ''::text)",
        "badges badges_pkey PRIMARY KEY (tenant_id, id)",
        "badges of_team FOREIGN KEY (tenant_id, team) REFERENCES \"Teams\"(tenant_id, id) ON DELETE SET NULL (team)",
        "logs logs_by_fkey FOREIGN KEY (tenant_id, by) REFERENCES users(tenant_id, id)",
        "logs logs_pkey PRIMARY KEY (tenant_id, at, id)",
        "tenants id t t",
        "tenants tenants_name_key UNIQUE (name)",
        "tenants tenants_pkey PRIMARY KEY (id)",
        "users id t t",
        "users one_email UNIQUE NULLS NOT DISTINCT (tenant_id, email) DEFERRABLE",
        "users tenant_id t f",
        "users users_pkey PRIMARY KEY (tenant_id, id)",
        "users users_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id)",
    ];
    assert_eq!(texts(&mut shop.owner, keys).await, wanted);
    let left = policies.with_keys().plan(&mut shop.owner).await.unwrap();
    assert!(left.is_empty() && left.keys().is_empty(), "{:?}", shown(&left));

    // The keys connect all tables: a deleted user removes no row of another tenant, and no tenant.
    let acme = format!("BEGIN; SET LOCAL app.tenant_id = '{ACME}'");
    run(
        &mut shop.owner,
        &format!(
            "{acme}; INSERT INTO tenants VALUES ('{ACME}', 'acme'); INSERT INTO users VALUES ('{ACME}', 1, 'a@a'), ('{ACME}', 2, 'b@a');
             INSERT INTO \"Teams\" VALUES ('{ACME}', 1, 2, 1, NULL); INSERT INTO badges VALUES ('{ACME}', 1, 1); COMMIT"
        ),
    )
    .await;
    let globex =
        "INSERT INTO users VALUES (current_setting('app.tenant_id')::uuid, 1, 'a@a') RETURNING email";
    run(&mut shop.owner, &format!("BEGIN; SET LOCAL app.tenant_id = '{GLOBEX}'; INSERT INTO tenants VALUES ('{GLOBEX}', 'globex'); COMMIT"))
        .await;
    assert_eq!(
        rows(&mut shop.owner, Some(GLOBEX), globex).await.unwrap(),
        ["a@a"],
        "the address is taken only at acme"
    );
    let foreign = format!("INSERT INTO \"Teams\" VALUES ('{GLOBEX}', 5, 2, 1, NULL) RETURNING id::text");
    assert_eq!(rows(&mut shop.owner, Some(GLOBEX), &foreign).await.unwrap_err(), "23503");
    for sql in ["DELETE FROM users WHERE id = 2 RETURNING email", "DELETE FROM \"Teams\" RETURNING id::text"]
    {
        assert_eq!(rows(&mut shop.owner, Some(ACME), sql).await.unwrap().len(), 1, "{sql}");
    }
    let badge = "SELECT concat_ws(' ', tenant_id, id, team) FROM badges";
    assert_eq!(rows(&mut shop.owner, Some(ACME), badge).await.unwrap(), [format!("{ACME} 1")]);
}

#[tokio::test]
async fn a_key_that_rows_break_already_is_not_taken_for_kept() {
    let mut shop = Shop::new(GROWN).await;
    let schema = Schema::from_toml(GROWN_TOML).unwrap();
    let people = format!(
        "INSERT INTO tenants VALUES ('{ACME}', 'acme'), ('{GLOBEX}', 'globex');
         INSERT INTO users VALUES ('{ACME}', 1, 'a@a'), ('{GLOBEX}', 2, 'b@b')"
    );
    run(&mut shop.owner, &people).await;
    // Each row refers to another tenant's row; FORCE is set before the keys change.
    for (breaks, undo) in [
        (format!("INSERT INTO \"Teams\" VALUES ('{GLOBEX}', 1, 1, 2)"), "TRUNCATE \"Teams\" CASCADE"),
        (format!("INSERT INTO logs VALUES ('{GLOBEX}', '2026-06-01', 1, 1)"), "TRUNCATE logs"),
    ] {
        run(&mut shop.owner, &breaks).await;
        RlsPolicies::new(&schema).apply(&mut shop.owner).await.unwrap();
        let before = state(&mut shop.owner).await;
        let error = RlsPolicies::new(&schema).with_keys().apply(&mut shop.owner).await.unwrap_err();
        assert!(error.to_string().contains("violates foreign key constraint"), "{error}");
        assert_eq!(state(&mut shop.owner).await, before);
        run(&mut shop.owner, undo).await;
        let tables = "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT DISTINCT polrelid FROM pg_policy LOOP \
            EXECUTE 'ALTER TABLE ' || t || ' NO FORCE ROW LEVEL SECURITY'; END LOOP; END $$";
        run(&mut shop.owner, tables).await;
    }
    RlsPolicies::new(&schema).with_keys().apply(&mut shop.owner).await.unwrap();
    assert!(state(&mut shop.owner).await.iter().any(|line| line.starts_with("table logs_2026 t t")));
}

#[tokio::test]
async fn a_unique_index_of_a_partitioned_table_holds_on_its_partitions() {
    let tables = "CREATE TABLE visits (tenant_id uuid NOT NULL, region text NOT NULL, code text NOT NULL) PARTITION BY LIST (region);
        CREATE TABLE visits_eu PARTITION OF visits FOR VALUES IN ('eu');
        CREATE UNIQUE INDEX one_code ON visits (region, code)";
    let mut shop = Shop::new(tables).await;
    let schema = Schema::from_toml("").unwrap();
    RlsPolicies::new(&schema).with_keys().apply(&mut shop.owner).await.unwrap();
    let indexes = "SELECT concat_ws(' ', indrelid::regclass, indisunique, indisvalid, indnkeyatts) FROM pg_index \
        WHERE indrelid IN ('visits'::regclass, 'visits_eu'::regclass) ORDER BY 1";
    assert_eq!(texts(&mut shop.owner, indexes).await, ["visits t t 3", "visits_eu t t 3"]);
}

#[tokio::test]
async fn a_partial_key_is_no_key_that_a_foreign_key_can_reference() {
    let tables = "CREATE TABLE p (tenant_id uuid NOT NULL, id bigint NOT NULL UNIQUE, words text);
        CREATE UNIQUE INDEX recent ON p (tenant_id, id) WHERE id > 7;
        CREATE UNIQUE INDEX one_word ON p (tenant_id, lower(words));
        CREATE TABLE c (tenant_id uuid NOT NULL DEFAULT current_setting('app.tenant_id')::uuid, p bigint REFERENCES p (id))";
    let mut shop = Shop::new(tables).await;
    let schema = Schema::from_toml("").unwrap();
    RlsPolicies::new(&schema).with_keys().apply(&mut shop.owner).await.unwrap();
    let keys = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid IN ('c'::regclass, 'p'::regclass) \
        AND contype IN ('f', 'u') ORDER BY 1";
    assert_eq!(
        texts(&mut shop.owner, keys).await,
        ["FOREIGN KEY (tenant_id, p) REFERENCES p(tenant_id, id)", "UNIQUE (tenant_id, id)"]
    );
    // The current tenant is no default that hides a missing tenant.
    let default = "SELECT count(*)::text FROM pg_attrdef WHERE adrelid = 'c'::regclass";
    assert_eq!(texts(&mut shop.owner, default).await, ["1"]);
}

#[tokio::test]
async fn a_key_that_a_person_has_to_decide_on_is_advice() {
    let tables = "CREATE TABLE p (tenant_id uuid NOT NULL, id bigint PRIMARY KEY, a bigint, b bigint, UNIQUE (a, b));
        CREATE TABLE lookups (id bigint PRIMARY KEY, p bigint REFERENCES p);
        CREATE TABLE c1 (tenant_id uuid NOT NULL, p bigint REFERENCES p ON DELETE CASCADE);
        CREATE TABLE c2 (tenant_id uuid NOT NULL, p bigint REFERENCES p ON UPDATE SET NULL);
        CREATE TABLE c3 (tenant_id uuid NOT NULL, a bigint, b bigint, FOREIGN KEY (a, b) REFERENCES p (a, b) MATCH FULL);
        CREATE TABLE rooms (tenant_id uuid NOT NULL, during int4range, EXCLUDE USING gist (during WITH &&))";
    let mut shop = Shop::new(tables).await;
    let schema = Schema::from_toml("shared = [\"lookups\"]").unwrap();
    let policies = RlsPolicies::new(&schema).with_keys();
    let done = policies.apply(&mut shop.owner).await.unwrap();
    let wanted = [
        "foreign key c2_p_fkey of public.c2: it can reference another tenant's rows; with the tenant column its ON UPDATE \
         would overwrite that column: choose another action",
        "foreign key c3_a_b_fkey of public.c3: it is MATCH FULL with nullable columns",
        "unique constraint p_a_b_key of public.p: it lacks the tenant column, and a foreign key references it",
        "primary key p_pkey of public.p: it lacks the tenant column, and a foreign key references it",
        "exclusion constraint rooms_during_excl of public.rooms: it lacks the tenant",
        "index rooms_during_excl of public.rooms: row-level security prevents its use",
    ];
    let advice = said(done.advice());
    for (line, wanted) in advice.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line}");
    }
    assert_eq!(advice.len(), wanted.len(), "{advice:#?}");
    // The key that could be changed refers to a key that was made for it.
    let keys = "SELECT concat_ws(' ', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint \
        WHERE conrelid IN ('c1'::regclass, 'p'::regclass) AND contype IN ('f', 'u') ORDER BY 1";
    let wanted = [
        "c1 FOREIGN KEY (tenant_id, p) REFERENCES p(tenant_id, id) ON DELETE CASCADE",
        "p UNIQUE (a, b)",
        "p UNIQUE (tenant_id, id)",
    ];
    assert_eq!(texts(&mut shop.owner, keys).await, wanted);
}

/// The doctor proposes the statements and the steps of the plan for each index that is out of use.
async fn doctor_proposes_the_same(conn: &mut PgConnection, plan: &PolicyPlan) {
    let report = doctor::examine(conn, &Schema::from_toml(SHARED).unwrap()).await.unwrap();
    let fixes: Vec<String> = report
        .findings()
        .iter()
        .filter(|finding| finding.check() == Check::UnleakproofIndex)
        .map(|finding| finding.fix().to_string())
        .collect();
    assert_eq!(fixes.len(), plan.advice().len(), "{report}");
    for change in plan.advice() {
        let (sql, step) =
            (change.sql(), change.reason().split_once("; drop it, ").map_or("", |(_, step)| step));
        let is_same = |fix: &String| fix.contains(sql.trim_end_matches(';')) && fix.contains(step);
        assert!(fixes.iter().any(is_same), "{}: {sql}\n{fixes:#?}", change.object());
    }
}

#[tokio::test]
async fn an_index_that_policies_take_out_of_use_is_named() {
    let tables = "CREATE TYPE mood AS ENUM ('good', 'bad');
        CREATE TABLE docs (tenant_id uuid NOT NULL, id bigint NOT NULL, body jsonb, words tsvector, tags text[], price numeric,
            mood mood, name text, at timestamptz, PRIMARY KEY (tenant_id, id));
        CREATE INDEX by_body ON docs USING gin (body);
        CREATE INDEX by_words ON docs USING gin (words);
        CREATE INDEX by_tags ON docs USING gin (tags);
        CREATE INDEX by_price ON docs (price DESC) WHERE price > 0;
        CREATE INDEX by_mood ON docs USING hash (mood);
        CREATE INDEX by_start ON docs (name text_pattern_ops);
        CREATE INDEX by_lower ON docs (lower(name));
        CREATE INDEX by_key ON docs ((body ->> 'key'));
        CREATE INDEX by_cast ON docs ((price::text));
        CREATE INDEX fine_name ON docs (name);
        CREATE INDEX fine_at ON docs (at, price);
        CREATE INDEX fine_lower ON docs (tenant_id, lower(name));
        CREATE INDEX fine_price ON docs (tenant_id, price);
        CREATE TABLE loose (tenant_id uuid NOT NULL, at date NOT NULL, body jsonb) PARTITION BY RANGE (at);
        CREATE TABLE loose_2026 PARTITION OF loose FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        CREATE INDEX by_body_too ON loose USING gin (body);
        CREATE TABLE countries (code text, body jsonb);
        CREATE INDEX of_nobody ON countries USING gin (body)";
    let mut shop = Shop::new(tables).await;
    let plan = planned(&mut shop.owner, SHARED).await.unwrap();
    let advice: Vec<_> =
        plan.advice().iter().map(|step| (step.object(), step.reason(), step.sql())).collect();
    let wanted = [
        ("index by_body of public.docs", "operator @>", ""),
        ("index by_cast of public.docs", "function numeric_out", ""),
        (
            "index by_key of public.docs",
            "function jsonb_object_field_text",
            "(\"tenant_id\", ((body ->> 'key'::text)));",
        ),
        (
            "index by_lower of public.docs",
            "function lower",
            // The same index with the tenant in front exists.
            "DROP INDEX public.by_lower;",
        ),
        ("index by_mood of public.docs", "operator =", ""),
        (
            "index by_price of public.docs",
            "operator <",
            "DROP INDEX public.by_price;\nCREATE INDEX \"by_price\" ON \"public\".\"docs\" USING btree (\"tenant_id\", price DESC) WHERE (price > (0)::numeric);",
        ),
        ("index by_start of public.docs", "operator ~~ (LIKE)", "(\"tenant_id\", name text_pattern_ops);"),
        ("index by_tags of public.docs", "operator &&", ""),
        ("index by_words of public.docs", "operator @@", ""),
        (
            "index by_body_too of public.loose",
            "operator @>",
            "CREATE INDEX ON \"public\".\"loose\" (\"tenant_id\");",
        ),
    ];
    assert_eq!(
        advice.iter().map(|(object, ..)| *object).collect::<Vec<_>>(),
        wanted.map(|(object, ..)| object),
        "{advice:#?}"
    );
    for ((object, reason, sql), (_, why, fix)) in advice.iter().zip(wanted) {
        if object.contains("by_cast") {
            assert!(reason.contains("a cast through text") || reason.contains("function"), "{reason}");
        } else {
            assert!(reason.contains(why), "{object}: {reason}");
        }
        assert!(
            sql.ends_with(fix) && sql.is_empty() == fix.is_empty() || object.contains("by_cast"),
            "{object}: {sql}"
        );
    }
    // The advice is right and helps: with the index alone PostgreSQL scans the table.
    RlsPolicies::new(&Schema::from_toml(SHARED).unwrap()).apply(&mut shop.owner).await.unwrap();
    doctor_proposes_the_same(&mut shop.owner, &plan).await;
    run(&mut shop.owner, "ALTER TABLE docs DROP CONSTRAINT docs_pkey; DROP INDEX fine_lower, fine_price")
        .await;
    let explain = "EXPLAIN SELECT name FROM docs WHERE lower(name) = 'x'";
    run(&mut shop.owner, "SET enable_seqscan = off").await;
    let plan = rows(&mut shop.owner, Some(ACME), explain).await.unwrap().join("\n");
    assert!(plan.contains("Seq Scan") && !plan.contains("by_lower"), "{plan}");
    // Now no index with the tenant in front exists.
    let plan = planned(&mut shop.owner, SHARED).await.unwrap();
    for step in plan.advice().iter().filter(|step| step.object().contains("by_lower")) {
        assert!(
            step.sql()
                .ends_with("\"by_lower\" ON \"public\".\"docs\" USING btree (\"tenant_id\", lower(name));")
        );
        run(&mut shop.owner, &step.sql()).await;
    }
    let plan = rows(&mut shop.owner, Some(ACME), explain).await.unwrap().join("\n");
    assert!(plan.contains("Index Cond: (tenant_id =") && plan.contains("Filter: (lower(name)"), "{plan}");

    // A composite index does not help either; a stored column does, because its `=` is leakproof.
    let more = "CREATE EXTENSION btree_gin; CREATE INDEX by_both ON docs USING gin (tenant_id, body);
        ALTER TABLE docs ADD lower_name text GENERATED ALWAYS AS (lower(name)) STORED;
        CREATE INDEX stored ON docs (tenant_id, lower_name)";
    run(&mut shop.owner, more).await;
    let both = "EXPLAIN SELECT name FROM docs WHERE body @> '{}'";
    let plan = rows(&mut shop.owner, Some(ACME), both).await.unwrap().join("\n");
    assert!(plan.contains("Index Cond: (tenant_id =") && plan.contains("Filter: (body @>"), "{plan}");
    let stored = "EXPLAIN SELECT name FROM docs WHERE lower_name = 'x'";
    let plan = rows(&mut shop.owner, Some(ACME), stored).await.unwrap().join("\n");
    assert!(plan.contains("Index Cond:") && plan.contains("(lower_name = 'x'::text))"), "{plan}");
}

#[tokio::test]
async fn the_file_makes_what_the_call_makes() {
    for (tables, toml, keys) in [(SHOP, SHARED, false), (GROWN, GROWN_TOML, false), (GROWN, GROWN_TOML, true)]
    {
        let (mut by_call, mut by_file) = (Shop::new(tables).await, Shop::new(tables).await);
        let schema = Schema::from_toml(toml).unwrap();
        let role = by_call.role.clone();
        let mut policies = RlsPolicies::new(&schema).runtime_role(&role);
        if keys {
            policies = policies.with_keys();
        }
        policies.apply(&mut by_call.owner).await.unwrap();
        // Both databases get the same SQL; here it runs as a file.
        let file = policies.plan(&mut by_file.owner).await.unwrap().sql();
        run(&mut by_file.owner, &file).await;
        let wanted = state(&mut by_call.owner).await;
        assert_eq!(state(&mut by_file.owner).await, wanted, "{file}");
        assert!(wanted.iter().filter(|line| line.starts_with("policy ")).count() >= 10);
        // A second run changes nothing.
        run(&mut by_file.owner, &file).await;
        assert_eq!(state(&mut by_file.owner).await, wanted);
        assert!(policies.plan(&mut by_file.owner).await.unwrap().is_empty());
    }
}

/// Citus rejects several statements in one message, and so does PostgreSQL in a prepared statement.
#[tokio::test]
async fn each_statement_of_a_plan_is_one_statement() {
    let (mut by_call, mut one_by_one) = (Shop::new(GROWN).await, Shop::new(GROWN).await);
    let schema = Schema::from_toml(GROWN_TOML).unwrap();
    let role = by_call.role.clone();
    let policies = RlsPolicies::new(&schema).runtime_role(&role).with_keys();
    policies.apply(&mut by_call.owner).await.unwrap();
    let plan = policies.plan(&mut one_by_one.owner).await.unwrap();
    let statements: Vec<&String> = plan.changes().iter().flat_map(PolicyChange::statements).collect();
    assert!(statements.len() > plan.changes().len() + 20, "{statements:?}");
    for statement in statements {
        let done = sqlx::query(AssertSqlSafe(statement.as_str())).execute(&mut one_by_one.owner).await;
        done.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    assert_eq!(state(&mut one_by_one.owner).await, state(&mut by_call.owner).await);
}

#[tokio::test]
async fn no_name_gets_out_of_a_comment_of_the_file() {
    let hostile = "x\nDROP TABLE kept; --\rDROP TABLE kept; --";
    let tables = format!(
        "CREATE TABLE kept (id int); CREATE TABLE \"{hostile}\" (tenant_id uuid, id int, body jsonb, CONSTRAINT \"{hostile} key\" UNIQUE (id));
         CREATE INDEX \"{hostile} index\" ON \"{hostile}\" USING gin (body)"
    );
    let mut shop = Shop::new(&tables).await;
    let plan = planned(&mut shop.owner, "shared = [\"kept\"]").await.unwrap();
    assert!(!plan.keys().is_empty() && !plan.advice().is_empty());
    run(&mut shop.owner, &plan.sql()).await;
    run(&mut shop.owner, "SELECT * FROM kept").await;
    assert!(planned(&mut shop.owner, "shared = [\"kept\"]").await.unwrap().is_empty());
}

#[tokio::test]
async fn policies_written_by_hand_as_the_example_has_them_are_adopted() {
    let example = ["0001_app.sql", "0002_members.sql"].map(|name| {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/saas/migrations/postgres");
        std::fs::read_to_string(format!("{directory}/{name}")).unwrap()
    });
    let mut shop = Shop::new(&example.concat()).await;
    let schema = Schema::new("tenant_id").unwrap();
    let plan = RlsPolicies::new(&schema).plan(&mut shop.owner).await.unwrap();
    let wanted: Vec<String> = ["members", "orders", "projects"]
        .into_iter()
        .flat_map(|table| ["floor", "own"].map(|policy| (table, policy)))
        .map(|(table, policy)| {
            format!("table public.{table}: its policy `tenancy_{policy}` is as planned, but not marked")
        })
        .collect();
    assert_eq!(shown(&plan), wanted);
    assert!(
        plan.changes().iter().all(|step| step.sql().starts_with("COMMENT ON POLICY ")),
        "{:?}",
        plan.changes()
    );
    assert!(plan.keys().is_empty() && plan.advice().is_empty(), "{plan:?}");
    RlsPolicies::new(&schema).apply(&mut shop.owner).await.unwrap();
    assert!(RlsPolicies::new(&schema).with_keys().plan(&mut shop.owner).await.unwrap().is_empty());
}

#[tokio::test]
async fn in_a_transaction_of_the_caller_it_is_part_of_it() {
    let mut shop = Shop::new(SHOP).await;
    let before = state(&mut shop.owner).await;
    let schema = Schema::from_toml(SHARED).unwrap();
    let mut tx = shop.owner.begin().await.unwrap();
    RlsPolicies::new(&schema).apply(&mut tx).await.unwrap();
    assert!(RlsPolicies::new(&schema).plan(&mut tx).await.unwrap().is_empty());
    let path: String = sqlx::query_scalar("SHOW search_path").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(path, "\"$user\", public", "the search path is as it was");
    tx.rollback().await.unwrap();
    assert_eq!(state(&mut shop.owner).await, before);
}
