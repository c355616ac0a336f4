//! Each thing that can be wrong, planted by itself.

use tenancy::isolation::doctor::Check;

pub struct Case {
    /// What is planted, as the owner; `RESET ROLE` makes it the superuser.
    pub plant: &'static str,
    /// Run by the application when it has connected.
    pub session: &'static str,
    /// What is found, the object of each, and no other.
    pub found: &'static [(Check, &'static str)],
    /// What a person does where the fix is no SQL.
    pub by_hand: &'static str,
}

pub const fn case(plant: &'static str, found: &'static [(Check, &'static str)]) -> Case {
    Case { plant, session: "", found, by_hand: "" }
}

impl Case {
    pub const fn fixed_by(mut self, by_hand: &'static str) -> Self {
        self.by_hand = by_hand;
        self
    }

    const fn in_session(mut self, session: &'static str) -> Self {
        self.session = session;
        self
    }
}

/// A cast that prints like the server's own, and makes any tenant the one of the first row.
const READS_ALIKE: &str = "
    DROP POLICY tenancy_floor ON documents; DROP POLICY tenancy_own ON documents; REVOKE UPDATE, DELETE ON documents FROM {app};
    CREATE POLICY adds ON documents AS RESTRICTIVE FOR INSERT
        WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
    RESET ROLE;
    CREATE FUNCTION known_report(text) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
        AS 'SELECT coalesce((SELECT tenant_id FROM documents LIMIT 1), uuid_in(textout($1)))';
    CREATE CAST (text AS uuid) WITH FUNCTION known_report(text);
    CREATE POLICY own ON documents USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
    CREATE POLICY reads ON documents AS RESTRICTIVE FOR SELECT
        USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)";

/// A trigger that means well.
const ADDS_FOR_ANY: &str = "
    CREATE FUNCTION enter() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM set_config('app.tenant_id', NEW.tenant_id::text, true); RETURN NEW; END $$;
    CREATE TRIGGER enter BEFORE INSERT ON documents FOR EACH ROW EXECUTE FUNCTION enter()";

/// An operator that holds for any two tenants, and comes first on the search path.
const LIKE_EQUALITY: &str = "
    CREATE FUNCTION all_alike(uuid, uuid) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';
    CREATE OPERATOR public.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = all_alike);
    DROP POLICY tenancy_floor ON documents; DROP POLICY tenancy_own ON documents;
    SET search_path = public, pg_catalog;
    CREATE POLICY tenancy_floor ON documents AS RESTRICTIVE
        USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
    CREATE POLICY tenancy_own ON documents USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)";

/// A table that is guarded by hand, with a tenant column of this type.
macro_rules! typed {
    ($kind:literal, $cast:literal) => {
        concat!(
            "CREATE TABLE typed (tenant_id ",
            $kind,
            " NOT NULL, id int NOT NULL, PRIMARY KEY (tenant_id, id));
            CREATE POLICY floor ON typed AS RESTRICTIVE USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::",
            $cast,
            "); CREATE POLICY own ON typed USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::",
            $cast,
            "); ALTER TABLE typed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; GRANT SELECT, INSERT ON typed TO {app}"
        )
    };
}

pub const CASES: &[Case] = &[
    case("RESET ROLE; ALTER ROLE {app} BYPASSRLS", &[(Check::ExemptRole, "{app}")]),
    case("RESET ROLE; GRANT {operator} TO {app}", &[(Check::ExemptRole, "{operator}")]),
    case(
        "RESET ROLE; CREATE ROLE {operator}_2 ROLE {app}; GRANT pg_read_server_files TO {operator}_2",
        &[(Check::ExemptRole, "pg_read_server_files")],
    ),
    case(
        "RESET ROLE; ALTER TABLE counters OWNER TO {app}; ALTER TABLE counters NO FORCE ROW LEVEL SECURITY",
        &[(Check::OwnerPastRls, "counters"), (Check::OwnerRole, "{app}")],
    )
    .fixed_by(
        "RESET ROLE; ALTER TABLE counters OWNER TO {owner}; GRANT SELECT, INSERT, UPDATE, DELETE ON counters TO {app}",
    ),
    case("ALTER TABLE projects DISABLE ROW LEVEL SECURITY", &[(Check::RlsOff, "projects")]),
    case(
        "CREATE TABLE \"odd Name\" (\"tenant_id\" uuid NOT NULL, \"the id\" int, PRIMARY KEY (tenant_id, \"the id\"));
         GRANT SELECT (tenant_id) ON \"odd Name\" TO PUBLIC",
        &[(Check::RlsOff, "odd Name")],
    ),
    case(
        "CREATE SCHEMA archive; GRANT USAGE ON SCHEMA archive TO {app}; CREATE TABLE archive.orders (tenant_id uuid NOT NULL);
         GRANT SELECT ON archive.orders TO {app}",
        &[(Check::RlsOff, "archive.orders")],
    ),
    case("ALTER TABLE events_2026 DISABLE ROW LEVEL SECURITY", &[(Check::ChildWithoutRls, "events_2026")]),
    case("ALTER TABLE contracts DISABLE ROW LEVEL SECURITY", &[(Check::ChildWithoutRls, "contracts")]),
    case(
        "CREATE TABLE events_2027 PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
         GRANT SELECT ON events_2027 TO {app}",
        &[(Check::ChildWithoutRls, "events_2027")],
    ),
    case(
        "DROP POLICY tenancy_floor ON projects; CREATE POLICY debug ON projects USING (true)",
        &[(Check::OpenPolicy, "projects")],
    ),
    case(
        "DROP POLICY tenancy_floor ON projects; ALTER POLICY tenancy_own ON projects WITH CHECK (true)",
        &[(Check::OpenPolicy, "projects")],
    ),
    case(
        "DROP POLICY tenancy_floor ON documents; DROP POLICY tenancy_own ON documents;
         CREATE POLICY tenancy_own ON documents USING (id = nullif(current_setting('app.tenant_id', true), '')::uuid)",
        &[(Check::OpenPolicy, "documents")],
    ),
    case(
        "DROP POLICY tenancy_floor ON projects; ALTER POLICY tenancy_own ON projects
         USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid OR current_setting('app.agent', true) = 'on')",
        &[(Check::OpenPolicy, "projects")],
    ),
    case(
        "ALTER POLICY tenancy_floor ON projects TO {owner}; CREATE POLICY all_read ON projects FOR SELECT TO {app} USING (id > 0)",
        &[(Check::OpenPolicy, "projects")],
    ),
    case(
        "DROP POLICY tenancy_floor ON notes; ALTER POLICY tenancy_own ON notes USING (customer = current_setting('app.tenant_id', true))",
        &[(Check::OpenPolicy, "notes")],
    ),
    case(
        "CREATE FUNCTION me() RETURNS uuid LANGUAGE sql IMMUTABLE
             AS $$ SELECT nullif(current_setting('app.tenant_id', true), '')::uuid $$;
         ALTER POLICY tenancy_own ON projects USING (tenant_id = me())",
        &[(Check::FrozenTenant, "me"), (Check::AlteredPolicy, "projects")],
    ),
    case(
        "CREATE TABLE secrets (token text); GRANT INSERT ON secrets TO {app}",
        &[(Check::MissingTenantColumn, "secrets")],
    )
    .fixed_by("REVOKE INSERT ON secrets FROM {app}"),
    case("CREATE TABLE typed (tenant_id int NOT NULL); GRANT SELECT ON typed TO {app}", &[(Check::RlsOff, "typed")])
        .fixed_by("DROP TABLE typed"),
    case(typed!("int", "int"), &[(Check::TenantType, "typed")]).fixed_by("DROP TABLE typed"),
    case(typed!("varchar(40)", "text"), &[(Check::TenantType, "typed")]).fixed_by("DROP TABLE typed"),
    case(
        concat!("CREATE DOMAIN tenant_key AS uuid;", typed!("tenant_key", "uuid")),
        &[(Check::TenantType, "typed")],
    )
    .fixed_by("DROP TABLE typed"),
    case("ALTER TABLE notes ALTER customer DROP NOT NULL", &[(Check::NullableTenant, "notes")]),
    case("ALTER TABLE projects ADD CONSTRAINT once UNIQUE (name)", &[(Check::KeyWithoutTenant, "projects")]),
    case(
        "CREATE UNIQUE INDEX once ON projects (lower(name)) WHERE id > 7",
        &[(Check::KeyWithoutTenant, "projects")],
    ),
    case(
        "ALTER TABLE counters DROP CONSTRAINT counters_pkey, ADD PRIMARY KEY (day)",
        &[(Check::KeyWithoutTenant, "counters")],
    ),
    case(
        "ALTER TABLE orders ADD sponsor uuid;
         ALTER TABLE orders ADD CONSTRAINT sponsored FOREIGN KEY (sponsor, project_id) REFERENCES projects (tenant_id, id)",
        &[(Check::ForeignKeyWithoutTenant, "orders")],
    )
    .fixed_by("ALTER TABLE orders DROP CONSTRAINT sponsored"),
    case(
        "ALTER TABLE projects ADD UNIQUE (id);
         ALTER TABLE documents ADD CONSTRAINT of_project FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE SET NULL",
        &[(Check::KeyWithoutTenant, "projects"), (Check::ForeignKeyWithoutTenant, "documents")],
    ),
    case("GRANT INSERT ON countries TO {app}", &[(Check::SharedWritable, "countries")]),
    case("GRANT TRUNCATE ON projects TO PUBLIC", &[(Check::TruncatePrivilege, "projects")]),
    case(
        "CREATE VIEW every_order AS SELECT * FROM orders; GRANT SELECT ON every_order TO {app}",
        &[(Check::OwnerView, "every_order")],
    ),
    case(
        "CREATE VIEW inner_view WITH (security_invoker) AS SELECT * FROM for_the_operator;
         CREATE VIEW outer_view AS SELECT * FROM inner_view; GRANT SELECT ON outer_view TO {app}",
        &[(Check::OwnerView, "outer_view")],
    ),
    case(
        "CREATE SCHEMA hidden; CREATE TABLE hidden.drafts (tenant_id uuid NOT NULL); GRANT SELECT ON hidden.drafts TO {app};
         CREATE VIEW drafts WITH (security_invoker) AS SELECT * FROM hidden.drafts; GRANT SELECT ON drafts TO {app}",
        &[(Check::RlsOff, "hidden.drafts")],
    ),
    case(
        "CREATE SCHEMA hidden; CREATE VIEW hidden.every_order AS SELECT * FROM orders; GRANT SELECT ON hidden.every_order TO {app};
         CREATE VIEW my_orders WITH (security_invoker) AS SELECT * FROM hidden.every_order; GRANT SELECT ON my_orders TO {app}",
        &[(Check::OwnerView, "hidden.every_order")],
    ),
    case(
        "CREATE TABLE stamped (at timestamptz); GRANT SELECT ON stamped TO {app};
         CREATE TABLE drafts (tenant_id uuid NOT NULL) INHERITS (stamped); GRANT SELECT ON drafts TO {app}",
        &[(Check::ChildWithoutRls, "drafts"), (Check::MissingTenantColumn, "stamped")],
    )
    .fixed_by("DROP TABLE stamped CASCADE"),
    case(
        "CREATE RULE sweeps AS ON UPDATE TO projects DO ALSO DELETE FROM notes; CREATE RULE keeps AS ON DELETE TO notes DO INSTEAD NOTHING",
        &[(Check::Unexamined, "projects")],
    )
    .fixed_by("DROP RULE sweeps ON projects"),
    case(
        "RESET ROLE; CREATE EXTENSION btree_gist; ALTER TABLE counters ADD EXCLUDE USING gist (day WITH =, tenant_id WITH <>)",
        &[(Check::KeyWithoutTenant, "counters")],
    )
    .fixed_by("ALTER TABLE counters DROP CONSTRAINT counters_day_tenant_id_excl"),
    case("GRANT SELECT ON for_the_operator TO {app}", &[(Check::MaterializedView, "for_the_operator")]),
    case(
        "RESET ROLE; CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
         CREATE FOREIGN TABLE far_orders (tenant_id uuid) SERVER far; GRANT SELECT ON far_orders TO {app}",
        &[(Check::ForeignTable, "far_orders")],
    ),
    case(
        "CREATE FUNCTION report(int) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM orders'",
        &[(Check::DefinerFunction, "report")],
    ),
    case(
        "RESET ROLE; CREATE ROLE {operator}_2; GRANT CREATE ON SCHEMA public TO {operator}_2;
         ALTER POLICY tenancy_floor ON projects TO {app}; CREATE POLICY jobs ON projects TO {operator}_2 USING (true);
         SET ROLE {operator}_2;
         CREATE FUNCTION names() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM projects'",
        &[(Check::DefinerFunction, "names"), (Check::AlteredPolicy, "projects")],
    ),
    case(
        "RESET ROLE; CREATE PROCEDURE sweep() LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM orders'",
        &[(Check::DefinerFunction, "sweep")],
    ),
    case(
        "RESET ROLE; CREATE FUNCTION spy(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true'",
        &[(Check::LeakproofFunction, "spy")],
    ),
    case("RESET ROLE; ALTER ROLE {app} SET app.tenant_id = '7'", &[(Check::SettingDefault, "{app}")]),
    case("RESET ROLE; ALTER DATABASE {database} SET app.tenant_id = '7'", &[(Check::SettingDefault, "{database}")]),
    case(
        "RESET ROLE; ALTER ROLE {app} IN DATABASE {database} SET app.tenant_id = '7'",
        &[(Check::SettingDefault, "{app}")],
    ),
    case("", &[(Check::SettingDefault, "{app}")])
        .in_session("SET app.tenant_id = '7'")
        .fixed_by("SELECT 1"),
    case(READS_ALIKE, &[(Check::ProbeRead, "documents")])
        .fixed_by("RESET ROLE; DROP TABLE documents CASCADE; DROP CAST (text AS uuid)"),
    case(ADDS_FOR_ANY, &[(Check::ProbeWrite, "documents")]).fixed_by("DROP TRIGGER enter ON documents"),
    case(LIKE_EQUALITY, &[(Check::OpenPolicy, "documents"), (Check::ImplicitFunction, "all_alike")]).in_session("SET search_path = public, pg_catalog"),
    case("RESET ROLE; REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC", &[(Check::Unexamined, "probe")])
        .fixed_by("RESET ROLE; GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC"),
    case(
        "DROP MATERIALIZED VIEW for_the_operator; DROP TABLE for_the_owner; RESET ROLE; GRANT {owner} TO {app}",
        &[(Check::OwnerRole, "{owner}")],
    ),
    case("ALTER TABLE projects NO FORCE ROW LEVEL SECURITY", &[(Check::RlsNotForced, "projects")]),
    case("DROP POLICY tenancy_floor ON projects", &[(Check::NoFloor, "projects")]),
    case("ALTER POLICY tenancy_own ON projects USING (id > 0)", &[(Check::AlteredPolicy, "projects")]),
    case("ALTER POLICY tenancy_own ON projects RENAME TO own", &[(Check::AlteredPolicy, "projects")]),
    case("DROP POLICY tenancy_own ON projects", &[(Check::NoPolicy, "projects")]),
    case("ALTER POLICY tenancy_own ON projects TO {owner}", &[(Check::NoPolicy, "projects")]),
    case("ALTER TABLE notes ALTER customer SET DEFAULT 'acme'", &[(Check::DefaultedTenant, "notes")]),
    case("GRANT REFERENCES, TRIGGER ON projects TO {app}", &[(Check::SparePrivilege, "projects")]),
    case(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {app}",
        &[(Check::DefaultPrivileges, "{app}")],
    ),
    case("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", &[(Check::DefaultPrivileges, "PUBLIC")]),
    case("CREATE PUBLICATION stream FOR TABLE projects, countries", &[(Check::Publication, "stream")]),
    case("RESET ROLE; CREATE PUBLICATION stream FOR ALL TABLES", &[(Check::Publication, "stream")])
        .fixed_by("RESET ROLE; DROP PUBLICATION stream"),
    case("RESET ROLE; SET ROLE {app}; SELECT lo_from_bytea(4711, 'x')", &[(Check::LargeObjects, "{app}")])
        .fixed_by("RESET ROLE; SELECT lo_unlink(4711)"),
    case(
        "CREATE SEQUENCE numbers; GRANT USAGE ON SEQUENCE numbers TO {app};
         ALTER TABLE projects ADD n bigint DEFAULT nextval('numbers'); ALTER TABLE notes ADD n bigint DEFAULT nextval('numbers')",
        &[(Check::SharedSequence, "public.numbers")],
    )
    .fixed_by("ALTER TABLE projects DROP n; ALTER TABLE notes DROP n"),
    case("CREATE INDEX by_name ON projects (lower(name))", &[(Check::UnleakproofIndex, "projects")]),
    case(
        "CREATE INDEX by_name ON projects (lower(name)) WHERE id > 7;
         CREATE INDEX led ON projects (tenant_id, lower(name)) WHERE id > 7",
        &[(Check::UnleakproofIndex, "projects")],
    ),
    case(
        "CREATE INDEX by_body ON events USING gin (body)",
        &[(Check::UnleakproofIndex, "events")],
    )
    .fixed_by("DROP INDEX by_body"),
];
