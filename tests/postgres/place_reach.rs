//! From one place, no role and no statement reaches the place of another tenant; the doctor finds what could.

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tenancy::isolation::doctor::{Check, Fix};

use crate::place_doctor::{Deployment, name, place};
use crate::policy_fixture::{code, new_role};

/// The role of one place that may use another place is a finding in that other place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d18_the_role_of_one_place_that_may_use_another_is_found() {
    let deployment = Deployment::new(true).await;
    let (acme, globex) = (name(&deployment.acme), name(&deployment.globex));
    let (umbrella, initech) = (name(&deployment.umbrella), name(&deployment.initech));
    let app = deployment.app().to_owned();
    for (grant, ctx, undo) in [
        (format!("GRANT USAGE ON SCHEMA \"{acme}\" TO \"{globex}\""), &deployment.acme, String::new()),
        (format!("GRANT USAGE ON SCHEMA \"{globex}\" TO PUBLIC"), &deployment.globex, String::new()),
        (format!("GRANT USAGE ON SCHEMA \"{globex}\" TO {app}"), &deployment.globex, String::new()),
        (
            format!("GRANT \"{acme}\" TO \"{globex}\""),
            &deployment.acme,
            format!("REVOKE \"{acme}\" FROM \"{globex}\""),
        ),
        (
            format!("GRANT SELECT (name) ON projects TO \"{initech}\""),
            &deployment.umbrella,
            format!("REVOKE SELECT (name) ON projects FROM \"{initech}\""),
        ),
        (
            format!("GRANT DELETE ON tasks TO {app}"),
            &deployment.umbrella,
            format!("REVOKE DELETE ON tasks FROM {app}"),
        ),
        (
            format!("GRANT \"{umbrella}\" TO \"{initech}\""),
            &deployment.umbrella,
            format!("REVOKE \"{umbrella}\" FROM \"{initech}\""),
        ),
    ] {
        deployment.admin(ctx, &grant).await;
        let report = deployment.report().await;
        let wanted = [(place(ctx), Check::PlaceRole, name(ctx))];
        assert_eq!(deployment.own(&report), wanted, "{grant}\n{report}");
        let finding = report.findings().iter().find(|one| one.check() == Check::PlaceRole).unwrap();
        let undo = match finding.fix() {
            Fix::Sql(sql) => sql.clone(),
            _ => undo,
        };
        deployment.admin(ctx, &undo).await;
        assert_eq!(deployment.found().await, [], "{grant}");
    }
}

/// `D08`: a table that was cloned from the schema of another tenant, with its sequence and its foreign key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d08_what_a_clone_shares_with_another_schema_is_found() {
    let deployment = Deployment::new(false).await;
    let (acme, globex) = (name(&deployment.acme), name(&deployment.globex));
    let clone = format!(
        "ALTER TABLE \"{globex}\".tasks ALTER id SET DEFAULT nextval('\"{acme}\".tasks_id_seq'); \
         ALTER TABLE \"{acme}\".projects ADD CONSTRAINT once UNIQUE (id); \
         ALTER TABLE \"{globex}\".tasks ADD CONSTRAINT far FOREIGN KEY (project_id) REFERENCES \"{acme}\".projects (id)"
    );
    deployment.admin(&deployment.acme, &clone).await;
    let wanted = [
        (place(&deployment.acme), Check::KeyWithoutTenant, format!("{acme}.projects")),
        (place(&deployment.globex), Check::ForeignKeyWithoutTenant, format!("{globex}.tasks")),
        (place(&deployment.acme), Check::SharedSequence, format!("{acme}.tasks_id_seq")),
        (place(&deployment.globex), Check::SharedSequence, format!("{acme}.tasks_id_seq")),
    ];
    assert_eq!(deployment.found().await, wanted);
}

async fn error_code(conn: &mut PgConnection, sql: &str) -> String {
    code(&sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.unwrap_err())
}

/// `D18`: from the database of one tenant, no statement reaches the database of another; what could is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d18_no_statement_reaches_another_tenants_database() {
    for roles in [false, true] {
        let deployment = Deployment::new(roles).await;
        for (ctx, other) in
            [(&deployment.umbrella, &deployment.initech), (&deployment.initech, &deployment.umbrella)]
        {
            let mut conn = deployment.world.in_place(ctx).connect().await.unwrap();
            let by_name = format!("SELECT * FROM \"{}\".public.projects", name(other));
            assert_eq!(error_code(&mut conn, &by_name).await, "0A000");
            let connect = format!("SELECT dblink_connect('dbname={}')", name(other));
            assert_eq!(error_code(&mut conn, &connect).await, "42883", "no new database has dblink");

            // PUBLIC may execute the functions of a new dblink. It takes no password from the server's own login.
            deployment.admin(ctx, "CREATE EXTENSION dblink; CREATE EXTENSION postgres_fdw").await;
            assert_eq!(error_code(&mut conn, &connect).await, "2F003");
            let wanted = [(place(ctx), Check::RemoteFunction, "dblink".to_owned())];
            assert_eq!(deployment.found().await, wanted, "a new postgres_fdw is no finding");
            deployment.admin(ctx, &deployment.fix(Check::RemoteFunction).await).await;
            assert_eq!(error_code(&mut conn, &connect).await, "42501");
            assert_eq!(deployment.found().await, []);

            let server = format!(
                "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname '{}'); \
                 GRANT USAGE ON FOREIGN SERVER far TO {}",
                name(other),
                deployment.app()
            );
            deployment.admin(ctx, &server).await;
            assert_eq!(deployment.found().await, [(place(ctx), Check::ForeignServer, "far".to_owned())]);
            deployment.admin(ctx, "DROP SERVER far CASCADE").await;
        }
    }
}

/// `D18`: the names of databases and roles, which every role of the server can read, name no tenant, and the roles of
/// places cannot log in. With a role for each place, no other role of the server connects to a tenant's database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d18_what_the_whole_server_sees_names_no_tenant() {
    let deployment = Deployment::new(true).await;
    let (neighbour, _gone) = new_role("LOGIN NOSUPERUSER PASSWORD 'runtime'").await;
    for ctx in [&deployment.umbrella, &deployment.initech] {
        let as_role = |role: &str| deployment.world.in_place(ctx).username(role);
        assert_eq!(code(&as_role(&neighbour).connect().await.unwrap_err()), "42501");
        for other in deployment.tenants() {
            assert_eq!(
                code(&as_role(&name(other)).connect().await.unwrap_err()),
                "28000",
                "it cannot log in"
            );
        }
        let mut conn = deployment.world.in_place(ctx).connect().await.unwrap();
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT datname::text FROM pg_database UNION ALL SELECT rolname::text FROM pg_roles \
             UNION ALL SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database",
        )
        .fetch_all(&mut conn)
        .await
        .unwrap();
        assert!(names.contains(&name(ctx)));
        for slug in ["acme", "globex", "umbrella", "initech"] {
            assert!(names.iter().all(|name| !name.contains(slug)), "{slug}: {names:?}");
        }
    }
}
