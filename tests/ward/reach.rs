//! What the role may reach that a fresh server does not give it, each planted by itself.

use tenancy::isolation::doctor::Check;

use super::cases::{Case, case};

/// A role of no rights that owns the function after it.
macro_rules! as_another {
    ($rights:literal, $function:literal) => {
        concat!(
            "RESET ROLE; CREATE ROLE {operator}_2; GRANT CREATE ON SCHEMA public TO {operator}_2; ",
            $rights,
            "; SET ROLE {operator}_2; ",
            $function
        )
    };
}

macro_rules! far {
    ($more:literal) => {
        concat!(
            "RESET ROLE; CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere; ",
            $more
        )
    };
}

pub const REACH: &[Case] = &[
    // Functions that run with the rights of another role.
    case(
        as_another!(
            "GRANT SELECT ON for_the_operator TO {operator}_2",
            "CREATE FUNCTION totals() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM for_the_operator'"
        ),
        &[(Check::DefinerFunction, "totals")],
    ),
    case(
        as_another!(
            "CREATE TABLE kept (of_tenant uuid NOT NULL); GRANT SELECT ON kept TO {operator}_2",
            "CREATE FUNCTION totals() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM kept'"
        ),
        &[(Check::DefinerFunction, "totals")],
    ),
    case(
        as_another!(
            "ALTER TABLE projects NO FORCE ROW LEVEL SECURITY; GRANT {owner} TO {operator}_2",
            "CREATE PROCEDURE sweep() LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM projects'"
        ),
        &[(Check::DefinerFunction, "sweep"), (Check::RlsNotForced, "projects")],
    ),
    case(
        as_another!(
            "CREATE EXTENSION dblink; GRANT EXECUTE ON FUNCTION dblink_connect_u(text) TO {operator}_2",
            "CREATE FUNCTION connect() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT dblink_connect_u('') $$"
        ),
        &[(Check::DefinerFunction, "connect")],
    ),
    case(
        "CREATE FUNCTION totals() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM orders';
         REVOKE EXECUTE ON FUNCTION totals() FROM PUBLIC; RESET ROLE;
         ALTER ROLE {app} NOINHERIT; CREATE ROLE {operator}_2 ROLE {app}; GRANT EXECUTE ON FUNCTION totals() TO {operator}_2",
        &[(Check::DefinerFunction, "totals")],
    ),
    case(
        "RESET ROLE; CREATE FUNCTION totals() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM orders';
         ALTER EXTENSION plpgsql ADD FUNCTION totals()",
        &[(Check::DefinerFunction, "totals")],
    ),
    case(
        "RESET ROLE; ALTER FUNCTION pg_catalog.pg_table_size(regclass) SECURITY DEFINER",
        &[(Check::DefinerFunction, "pg_catalog.pg_table_size")],
    ),
    // Nobody may execute it, but in an aggregate it runs all the same.
    case(
        "CREATE FUNCTION adds(bigint, int) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM orders';
         REVOKE EXECUTE ON FUNCTION adds(bigint, int) FROM PUBLIC; CREATE AGGREGATE all_of(int) (SFUNC = adds, STYPE = bigint)",
        &[(Check::DefinerFunction, "adds")],
    ),
    // Another name for what the server keeps back.
    case(
        "RESET ROLE; CREATE FUNCTION reads_file(text) RETURNS bytea LANGUAGE internal AS 'pg_read_binary_file_all';
         CREATE FUNCTION keeps(text) RETURNS bytea LANGUAGE internal AS 'pg_read_binary_file_all';
         REVOKE EXECUTE ON FUNCTION keeps(text) FROM PUBLIC",
        &[(Check::SystemPrivilege, "reads_file")],
    ),
    // Foreign servers.
    case(
        far!("GRANT USAGE ON FOREIGN SERVER far TO {app}; CREATE USER MAPPING FOR {app} SERVER far"),
        &[(Check::ForeignServer, "far")],
    ),
    case(
        far!("GRANT USAGE ON FOREIGN SERVER far TO PUBLIC; CREATE USER MAPPING FOR PUBLIC SERVER far"),
        &[(Check::ForeignServer, "far")],
    ),
    case(far!("GRANT USAGE ON FOREIGN SERVER far TO {app}"), &[(Check::ForeignServer, "far")]),
    case(far!("GRANT USAGE ON FOREIGN DATA WRAPPER nowhere TO {app}"), &[(Check::ForeignServer, "nowhere")]),
    case(far!("ALTER SERVER far OWNER TO {app}"), &[(Check::ForeignServer, "far")])
        .fixed_by("RESET ROLE; ALTER SERVER far OWNER TO {operator}"),
    // What the server and its extensions keep back.
    case(
        "RESET ROLE; CREATE EXTENSION dblink; GRANT EXECUTE ON FUNCTION dblink_connect_u(text) TO {app}",
        &[(Check::SystemPrivilege, "public.dblink_connect_u(text)")],
    ),
    case(
        "RESET ROLE; GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO PUBLIC",
        &[(Check::SystemPrivilege, "pg_catalog.pg_read_binary_file(text)")],
    ),
    case(
        "RESET ROLE; CREATE ROLE {operator}_2 ROLE {app}; GRANT EXECUTE ON FUNCTION lo_export(oid, text), pg_ls_dir(text) TO {operator}_2",
        &[
            (Check::SystemPrivilege, "pg_catalog.lo_export(oid, text)"),
            (Check::SystemPrivilege, "pg_catalog.pg_ls_dir(text)"),
        ],
    ),
    case(
        "RESET ROLE; UPDATE pg_proc SET proacl = NULL WHERE oid = 'pg_reload_conf()'::regprocedure",
        &[(Check::SystemPrivilege, "pg_catalog.pg_reload_conf()")],
    ),
    case("RESET ROLE; GRANT SELECT ON pg_statistic TO {app}", &[(Check::SystemPrivilege, "pg_catalog.pg_statistic")]),
    case(
        "RESET ROLE; GRANT SELECT (rolname, rolpassword) ON pg_authid TO PUBLIC",
        &[(Check::SystemPrivilege, "pg_catalog.pg_authid"), (Check::SystemPrivilege, "pg_catalog.pg_authid")],
    ),
    case(
        "CREATE VIEW no_samples AS SELECT relname FROM pg_class; GRANT SELECT ON no_samples TO {app};
         RESET ROLE; CREATE VIEW samples AS SELECT stavalues1::text FROM pg_statistic; GRANT SELECT ON samples TO {app}",
        &[(Check::OwnerView, "samples")],
    ),
    case(
        "RESET ROLE; CREATE MATERIALIZED VIEW logins AS SELECT rolname, rolpassword FROM pg_authid; GRANT SELECT ON logins TO PUBLIC",
        &[(Check::MaterializedView, "logins")],
    ),
    case(
        "CREATE FUNCTION pages() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.orders';
         CREATE VIEW below AS SELECT public.pages(); CREATE MATERIALIZED VIEW counted AS SELECT * FROM below;
         GRANT SELECT ON counted TO {app}",
        &[(Check::MaterializedView, "counted")],
    ),
    case(
        "CREATE TABLE moved (tenant_id uuid NOT NULL); GRANT SELECT ON moved TO {app}; RESET ROLE;
         ALTER EXTENSION plpgsql ADD TABLE moved",
        &[(Check::RlsOff, "moved")],
    ),
    case(
        "CREATE VIEW bodies AS SELECT body FROM notes; GRANT SELECT ON bodies TO {app}; RESET ROLE;
         ALTER EXTENSION plpgsql ADD VIEW bodies",
        &[(Check::OwnerView, "bodies")],
    ),
    case(
        "RESET ROLE; GRANT USAGE ON SCHEMA pg_toast TO {app};
         UPDATE pg_class SET relname = 'notes_toast' WHERE oid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'notes'::regclass);
         GRANT SELECT ON pg_toast.notes_toast TO {app}",
        &[(Check::SystemPrivilege, "pg_toast.notes_toast")],
    ),
    // What has to be taken on by SET ROLE first.
    case(
        "CREATE TABLE hidden_notes (tenant_id uuid NOT NULL); RESET ROLE; ALTER ROLE {app} NOINHERIT;
         CREATE ROLE {operator}_2 ROLE {app}; GRANT SELECT ON hidden_notes, for_the_operator TO {operator}_2",
        &[(Check::RlsOff, "hidden_notes"), (Check::MaterializedView, "for_the_operator")],
    ),
    case(
        "CREATE SCHEMA hidden; CREATE TABLE hidden.notes (tenant_id uuid NOT NULL); GRANT SELECT ON hidden.notes TO {app};
         RESET ROLE; ALTER ROLE {app} NOINHERIT; CREATE ROLE {operator}_2 ROLE {app}; GRANT USAGE ON SCHEMA hidden TO {operator}_2",
        &[(Check::RlsOff, "hidden.notes")],
    ),
    // Marked by hand.
    case(
        "RESET ROLE; ALTER FUNCTION pg_catalog.textlike(text, text) LEAKPROOF",
        &[(Check::LeakproofFunction, "pg_catalog.textlike")],
    ),
    case(
        "RESET ROLE; ALTER FUNCTION pg_catalog.jsonb_contains(jsonb, jsonb) LEAKPROOF",
        &[(Check::LeakproofFunction, "pg_catalog.jsonb_contains")],
    ),
    case(
        "RESET ROLE; CREATE EXTENSION citext; ALTER FUNCTION citext_eq(citext, citext) LEAKPROOF",
        &[(Check::LeakproofFunction, "citext_eq")],
    ),
    // The tenant, set by what is called.
    case(
        "RESET ROLE; CREATE FUNCTION as_seven() RETURNS bigint LANGUAGE sql SET app.tenant_id = '7' AS 'SELECT count(*) FROM notes'",
        &[(Check::SettingDefault, "as_seven")],
    ),
    case(
        "RESET ROLE; CREATE FUNCTION as_eight() RETURNS trigger LANGUAGE plpgsql SET \"App.Tenant_Id\" = '8' AS 'BEGIN RETURN NEW; END';
         REVOKE EXECUTE ON FUNCTION as_eight() FROM PUBLIC;
         CREATE TRIGGER as_eight BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION as_eight()",
        &[(Check::SettingDefault, "as_eight")],
    ),
    case(
        "RESET ROLE; ALTER FUNCTION pg_catalog.upper(text) SET app.tenant_id = 'acme'",
        &[(Check::SettingDefault, "pg_catalog.upper")],
    ),
    case("RESET ROLE; ALTER ROLE {app} SET \"App.Tenant_Id\" = '7'", &[(Check::SettingDefault, "{app}")]),
    case(
        "RESET ROLE; CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER watches ON ddl_command_end EXECUTE FUNCTION watch()",
        &[(Check::EventTrigger, "watches")],
    ),
    // Settings.
    case(
        "RESET ROLE; ALTER DATABASE {database} SET lo_compat_privileges = on",
        &[(Check::UnsafeSetting, "{database}")],
    ),
    case(
        "RESET ROLE; SELECT lo_from_bytea(4712, 'x'); ALTER ROLE {app} IN DATABASE {database} SET lo_compat_privileges = on",
        &[(Check::UnsafeSetting, "{app}"), (Check::LargeObjects, "{app}")],
    ),
    case("RESET ROLE; ALTER ROLE {app} SET session_replication_role = replica", &[(Check::UnsafeSetting, "{app}")]),
    case("RESET ROLE; GRANT SET ON PARAMETER session_replication_role TO {app}", &[
        (Check::WidePrivilege, "session_replication_role"),
    ]),
    // Roles that every server has.
    case("RESET ROLE; GRANT pg_read_all_stats TO {app}", &[(Check::PredefinedRole, "pg_read_all_stats")]),
    case("RESET ROLE; GRANT pg_monitor TO {app}", &[(Check::PredefinedRole, "pg_monitor")]),
    case(
        "RESET ROLE; ALTER ROLE {app} NOINHERIT; CREATE ROLE {operator}_2 ROLE {app}; GRANT pg_signal_backend TO {operator}_2",
        &[(Check::PredefinedRole, "pg_signal_backend")],
    ),
    case(
        "DROP TABLE for_the_owner; DROP MATERIALIZED VIEW for_the_operator; RESET ROLE; GRANT pg_read_all_data TO {app}",
        &[(Check::PredefinedRole, "pg_read_all_data")],
    ),
    // Where things can be put in the way of others.
    case("GRANT CREATE ON SCHEMA public TO PUBLIC", &[(Check::WidePrivilege, "public")]),
    case("GRANT CREATE ON DATABASE {database} TO {app}", &[(Check::WidePrivilege, "{database}")]),
    case("RESET ROLE; GRANT CREATE ON TABLESPACE pg_default TO {app}", &[(Check::WidePrivilege, "pg_default")]),
    case("RESET ROLE; UPDATE pg_language SET lanpltrusted = true WHERE lanname = 'c'", &[(Check::WidePrivilege, "c")]),
];
