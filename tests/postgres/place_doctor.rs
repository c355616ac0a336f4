//! The doctor examines the places of tenants: each finding names its place, and a clean deployment has none.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Postgres};
use tenancy::isolation::RlsPolicies;
use tenancy::isolation::doctor::{self, Check, Finding, Report};
use tenancy::scope::Schema;
use tenancy::tenant::{NewTenant, Placement, PlacementName, TenantId};
use tenancy::{ErrorKind, TenantContext};

use crate::common::{TestBackend, admin_url};
use crate::placements::World;
use crate::policy_fixture::run;

/// A deployment with two tenants in each kind of place.
pub(crate) struct Deployment {
    pub(crate) world: World,
    schema: Schema,
    /// Two in schemas.
    pub(crate) acme: TenantContext,
    pub(crate) globex: TenantContext,
    /// Two in databases.
    pub(crate) umbrella: TenantContext,
    pub(crate) initech: TenantContext,
}

impl Deployment {
    pub(crate) async fn new(roles: bool) -> Self {
        let mut world = World::with_roles(roles).await;
        let acme = world.create("acme", NewTenant::own_schema).await;
        let globex = world.create("globex", NewTenant::own_schema).await;
        let umbrella = world.create("umbrella", NewTenant::own_database).await;
        let initech = world.create("initech", NewTenant::own_database).await;
        let schema = Schema::new("tenant_id").unwrap();
        Self { world, schema, acme, globex, umbrella, initech }
    }

    pub(crate) fn tenants(&self) -> [&TenantContext; 4] {
        [&self.acme, &self.globex, &self.umbrella, &self.initech]
    }

    pub(crate) fn app(&self) -> &str {
        self.world.app.get_username()
    }

    /// The report on all places of this server. Other tests have databases on it too.
    pub(crate) async fn report(&self) -> Report {
        doctor::examine_places(&self.world.app, &self.schema).await.unwrap()
    }

    /// The findings in the places of this deployment.
    pub(crate) async fn found(&self) -> Vec<(String, Check, String)> {
        self.own(&self.report().await)
    }

    pub(crate) fn own(&self, report: &Report) -> Vec<(String, Check, String)> {
        let mine = |finding: &&Finding| {
            let placement = finding.placement().expect("each finding names its place");
            *placement == Placement::Shared
                || self.tenants().iter().any(|ctx| ctx.tenant().placement() == placement)
        };
        let findings = report.findings().iter().filter(mine);
        findings
            .map(|one| (one.placement().unwrap().to_string(), one.check(), one.object().to_owned()))
            .collect()
    }

    /// Runs SQL as a superuser in the database in which the tenant's rows are.
    pub(crate) async fn admin(&self, ctx: &TenantContext, sql: &str) {
        let admin: PgConnectOptions = admin_url().parse().unwrap();
        let database = match ctx.tenant().placement() {
            Placement::Database { name } => name.as_str(),
            _ => self.world.app.get_database().unwrap(),
        };
        run(&mut admin.database(database).connect().await.unwrap(), sql).await;
    }

    /// The SQL of the only fix of this check.
    pub(crate) async fn fix(&self, check: Check) -> String {
        let report = self.report().await;
        let fixes: Vec<&Finding> = report.findings().iter().filter(|one| one.check() == check).collect();
        match fixes[..] {
            [one] => one.fix().to_string(),
            _ => panic!("{report}"),
        }
    }
}

pub(crate) fn name(ctx: &TenantContext) -> String {
    PlacementName::of(ctx.tenant_id()).to_string()
}

pub(crate) fn place(ctx: &TenantContext) -> String {
    ctx.tenant().placement().to_string()
}

/// In both kinds of deployment, the probe inserts rows of two tenants into every place, and nothing is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_clean_without_and_with_a_role_for_each_place() {
    for roles in [false, true] {
        let deployment = Deployment::new(roles).await;
        let report = deployment.report().await;
        assert_eq!(deployment.own(&report), [], "{roles}: {report}");
        // The shared tables, and the four places.
        assert!(report.places() >= 5, "{report}");
        for ctx in deployment.tenants() {
            let placement = ctx.tenant().placement();
            let one =
                doctor::examine_place(&deployment.world.app, &deployment.schema, placement).await.unwrap();
            one.assert_clean();
            // projects and tasks; a database has the library's tables of tenants as well.
            let tables = if matches!(placement, Placement::Schema { .. }) { 2 } else { 7 };
            assert_eq!(
                (one.tables(), one.proven_with_rows()),
                (tables, tables),
                "{roles} {placement}: {one}"
            );
        }
        let mut conn = deployment.world.app.connect().await.unwrap();
        doctor::examine(&mut conn, &deployment.schema).await.unwrap().assert_clean();
        let shared = doctor::examine_place(&deployment.world.app, &deployment.schema, &Placement::Shared);
        shared.await.unwrap().assert_clean();
    }
}

/// A fault in the place of one tenant is found there, and in the place of no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_names_its_place_in_every_format() {
    let deployment = Deployment::new(false).await;
    let (acme, umbrella) = (&deployment.acme, &deployment.umbrella);
    let off = format!("ALTER TABLE \"{}\".projects DISABLE ROW LEVEL SECURITY", name(acme));
    deployment.admin(acme, &off).await;
    deployment.admin(umbrella, "ALTER TABLE projects DISABLE ROW LEVEL SECURITY").await;
    let report = deployment.report().await;
    let wanted = [
        (place(umbrella), Check::RlsOff, "projects".to_owned()),
        (place(acme), Check::RlsOff, format!("{}.projects", name(acme))),
    ];
    assert_eq!(deployment.own(&report), wanted, "{report}");

    let (text, sarif) = (report.to_string(), report.to_sarif());
    assert!(text.contains(&format!("error[rls-off]: database {}: projects: ", name(umbrella))), "{text}");
    assert!(
        text.contains(&format!(" places of `{}` as ", deployment.world.app.get_database().unwrap())),
        "{text}"
    );
    let json = serde_json::to_value(&report).unwrap();
    for (ctx, kind) in [(acme, "schema"), (umbrella, "database")] {
        let expected = serde_json::json!({ "kind": kind, "name": name(ctx) });
        let found = json["findings"].as_array().unwrap().iter().filter(|one| one["placement"] == expected);
        assert_eq!(found.count(), 1, "{json}");
        let results = sarif["runs"][0]["results"].as_array().unwrap();
        let found: Vec<_> =
            results.iter().filter(|one| one["properties"]["placement"] == place(ctx)).collect();
        let [one] = found[..] else { panic!("{sarif}") };
        assert!(one["message"]["text"].as_str().unwrap().starts_with(&place(ctx)), "{one}");
        assert!(one["partialFingerprints"]["object/v1"].as_str().unwrap().contains(&place(ctx)), "{one}");
    }
    for (ctx, faulty) in
        [(acme, true), (&deployment.globex, false), (umbrella, true), (&deployment.initech, false)]
    {
        let placement = ctx.tenant().placement();
        let one = doctor::examine_place(&deployment.world.app, &deployment.schema, placement).await.unwrap();
        assert_eq!(one.findings().len(), usize::from(faulty), "{one}");
        assert!(one.findings().iter().all(|finding| finding.placement() == Some(placement)), "{one}");
    }
}

/// What the tables of a place reach outside of it is examined with the place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_of_one_schema_over_another_is_found() {
    let deployment = Deployment::new(false).await;
    let (acme, globex, app) = (name(&deployment.acme), name(&deployment.globex), deployment.app().to_owned());
    let views = format!(
        "CREATE VIEW \"{globex}\".everything AS SELECT * FROM \"{acme}\".projects; \
         GRANT SELECT ON \"{globex}\".everything TO {app}; \
         CREATE VIEW public.more AS SELECT * FROM \"{globex}\".projects; GRANT SELECT ON public.more TO {app}"
    );
    deployment.admin(&deployment.acme, &views).await;
    let wanted = [
        (place(&deployment.globex), Check::OwnerView, format!("{globex}.everything")),
        ("shared tables".to_owned(), Check::OwnerView, "more".to_owned()),
    ];
    assert_eq!(deployment.found().await, wanted);
}

/// What the whole database has is reported once, and what concerns one schema is reported there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_the_database_is_found_once() {
    let deployment = Deployment::new(false).await;
    let (acme, globex, app) = (name(&deployment.acme), name(&deployment.globex), deployment.app().to_owned());
    let faults = format!(
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
         CREATE EVENT TRIGGER watches ON ddl_command_end EXECUTE FUNCTION watch(); \
         ALTER DEFAULT PRIVILEGES IN SCHEMA \"{acme}\" GRANT SELECT ON TABLES TO {app}; \
         CREATE PUBLICATION stream FOR TABLE \"{globex}\".projects; ALTER ROLE {app} REPLICATION"
    );
    deployment.admin(&deployment.acme, &faults).await;
    let shared = || "shared tables".to_owned();
    let wanted = [
        (shared(), Check::ExemptRole, app.clone()),
        (shared(), Check::EventTrigger, "watches".to_owned()),
        (place(&deployment.acme), Check::DefaultPrivileges, app),
        (place(&deployment.globex), Check::Publication, "stream".to_owned()),
    ];
    assert_eq!(deployment.found().await, wanted);
}

/// A table or a function in a tenant's schema is declared by its name alone, as in the shared tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declarations_hold_in_every_schema() {
    let mut deployment = Deployment::new(false).await;
    for ctx in [&deployment.acme, &deployment.globex] {
        let (place, app) = (name(ctx), deployment.app());
        let objects = format!(
            "CREATE TABLE \"{place}\".countries (code text PRIMARY KEY); GRANT SELECT ON \"{place}\".countries TO {app}; \
             CREATE FUNCTION \"{place}\".report() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"
        );
        deployment.admin(ctx, &objects).await;
    }
    let found = deployment.found().await;
    for ctx in [&deployment.acme, &deployment.globex] {
        for (check, object) in [
            (Check::MissingTenantColumn, format!("{}.countries", name(ctx))),
            (Check::DefinerFunction, "report".to_owned()),
        ] {
            assert!(found.contains(&(place(ctx), check, object)), "{found:?}");
        }
    }
    assert_eq!(found.len(), 4, "{found:?}");
    deployment.schema = Schema::from_toml("shared = [\"countries\"]\nfunctions = [\"report\"]").unwrap();
    assert_eq!(deployment.found().await, []);
    let mut conn = deployment.world.app.connect().await.unwrap();
    doctor::examine(&mut conn, &deployment.schema).await.unwrap().assert_clean();
    let owner = (*deployment.world.owner.connect_options()).clone();
    let mut owner = owner.options([("search_path", &*name(&deployment.acme))]).connect().await.unwrap();
    let plan = RlsPolicies::new(&deployment.schema).search_path_only().plan(&mut owner).await.unwrap();
    assert_eq!((plan.changes(), plan.unguarded()), (&[][..], &[][..]));
}

/// A role that has the privileges of all places at once is a finding, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_inherits_the_roles_of_places_is_found() {
    let deployment = Deployment::new(true).await;
    let (app, acme) = (deployment.app(), &deployment.acme);
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(&deployment.world.owner)
        .await
        .unwrap();
    let mut inherits = vec![format!("ALTER ROLE {app} INHERIT")];
    let mut fix = Vec::new();
    if version >= 160_000 {
        for ctx in deployment.tenants() {
            inherits.push(format!("GRANT \"{}\" TO {app} WITH INHERIT TRUE", name(ctx)));
            fix.push(format!("GRANT \"{}\" TO {app} WITH INHERIT FALSE", name(ctx)));
        }
    }
    deployment.admin(acme, &inherits.join("; ")).await;
    let wanted = [("shared tables".to_owned(), Check::PlaceRole, app.to_owned())];
    assert_eq!(deployment.found().await, wanted);
    // At the start of the program too.
    let start = tenancy::TenantDb::postgres(
        sqlx::postgres::PgPoolOptions::new(),
        deployment.world.app.to_url_lossy(),
    );
    let error = start.role_per_tenant().build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("place-role"), "{error}");

    let fix = if fix.is_empty() { deployment.fix(Check::PlaceRole).await } else { fix.join("; ") };
    deployment.admin(acme, &fix).await;
    assert_eq!(deployment.found().await, []);
}

/// A policy that prints like a generated one, and lets any tenant read from globex's schema.
fn opens_from(deployment: &Deployment) -> String {
    let (acme, globex) = (name(&deployment.acme), name(&deployment.globex));
    let own = "(tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)";
    format!(
        "CREATE FUNCTION tenant_of(text) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER AS $$ \
             SELECT CASE WHEN current_schema() = '{globex}' THEN (SELECT tenant_id FROM \"{acme}\".projects LIMIT 1) \
             ELSE uuid_in(textout($1)) END $$; \
         DROP POLICY tenancy_own ON \"{acme}\".projects; DROP POLICY tenancy_floor ON \"{acme}\".projects; \
         CREATE CAST (text AS uuid) WITH FUNCTION tenant_of(text); \
         CREATE POLICY own ON \"{acme}\".projects USING {own}; \
         CREATE POLICY floor ON \"{acme}\".projects AS RESTRICTIVE USING {own}"
    )
}

/// The probe finds what opens only from another place. With a role for each place, PostgreSQL rejects the name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_tries_to_reach_from_one_schema_into_another() {
    for roles in [false, true] {
        let mut deployment = Deployment::new(roles).await;
        deployment.schema = Schema::from_toml("functions = [\"tenant_of\"]").unwrap();
        deployment.admin(&deployment.acme, &opens_from(&deployment)).await;
        let report = deployment.report().await;
        let object = format!("{}.projects", name(&deployment.acme));
        let wanted: &[_] = if roles { &[] } else { &[Check::ProbeRead, Check::ProbeWrite] };
        let wanted: Vec<_> =
            wanted.iter().map(|check| (place(&deployment.acme), *check, object.clone())).collect();
        assert_eq!(deployment.own(&report), wanted, "{roles}: {report}");
        for finding in report.findings().iter().filter(|one| one.check() == Check::ProbeRead) {
            let from =
                format!("a row was read from the schema {} by another tenant", name(&deployment.globex));
            assert!(finding.detail().contains(&from), "{report}");
        }
        // From its own place, and from the shared tables, nothing is open.
        let alone = doctor::examine_place(
            &deployment.world.app,
            &deployment.schema,
            deployment.acme.tenant().placement(),
        );
        alone.await.unwrap().assert_clean();
    }
}

/// A place that cannot be examined is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_cannot_be_examined_is_no_silence() {
    let deployment = Deployment::new(false).await;
    let (acme, umbrella, app) = (&deployment.acme, &deployment.umbrella, deployment.app());
    deployment.admin(acme, &format!("ALTER DATABASE \"{}\" ALLOW_CONNECTIONS false", name(umbrella))).await;
    deployment.admin(acme, &format!("REVOKE USAGE ON SCHEMA \"{}\" FROM {app}", name(acme))).await;
    let wanted =
        [(place(umbrella), Check::Unexamined, name(umbrella)), (place(acme), Check::Unexamined, name(acme))];
    assert_eq!(deployment.found().await, wanted);
    let examined = async |placement: &Placement| {
        let error =
            doctor::examine_place(&deployment.world.app, &deployment.schema, placement).await.unwrap_err();
        error.kind()
    };
    assert_eq!(examined(umbrella.tenant().placement()).await, ErrorKind::StoreUnavailable);
    assert_eq!(examined(acme.tenant().placement()).await, ErrorKind::PlacementMissing);
    for missing in [Placement::schema_of(&TenantId::random()), Placement::database_of(&TenantId::random())] {
        assert_eq!(examined(&missing).await, ErrorKind::PlacementMissing);
    }
    deployment.admin(acme, &format!("ALTER DATABASE \"{}\" ALLOW_CONNECTIONS true", name(umbrella))).await;
}

/// More schemas than one connection visits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_schemas_are_examined_one_after_the_other() {
    const SCHEMAS: usize = 105;
    let world = World::new().await;
    let own = "USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid)";
    let many = format!(
        "DO $$ DECLARE s text; BEGIN FOR n IN 1..{SCHEMAS} LOOP s := 't_' || lpad(to_hex(n), 32, '0'); \
         EXECUTE format('CREATE SCHEMA %1$I; CREATE TABLE %1$I.orders (tenant_id uuid NOT NULL, id int, PRIMARY KEY (tenant_id, id)); \
             ALTER TABLE %1$I.orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
             CREATE POLICY own ON %1$I.orders {own}; CREATE POLICY floor ON %1$I.orders AS RESTRICTIVE {own}; \
             GRANT USAGE ON SCHEMA %1$I TO {app}; GRANT SELECT, INSERT, UPDATE, DELETE ON %1$I.orders TO {app}', s); \
         END LOOP; END $$",
        app = world.app.get_username()
    );
    Postgres::raw(&world.owner, &many).await.unwrap();
    let name = |n: usize| format!("t_{n:032x}");
    for n in [1, SCHEMAS] {
        Postgres::raw(&world.owner, &format!("ALTER TABLE {}.orders DISABLE ROW LEVEL SECURITY", name(n)))
            .await
            .unwrap();
    }
    let report = doctor::examine_places(&world.app, &Schema::new("tenant_id").unwrap()).await.unwrap();
    assert!(report.places() > SCHEMAS, "{report}");
    let found: Vec<_> =
        report.findings().iter().filter(|one| one.check() == Check::RlsOff).map(Finding::object).collect();
    assert_eq!(found, [1, SCHEMAS].map(|n| format!("{}.orders", name(n))));
}

#[test]
fn an_examination_of_places_may_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    fn proof(app: &PgConnectOptions, schema: &Schema) {
        moves(doctor::examine_places(app, schema));
        moves(doctor::examine_place(app, schema, &Placement::Shared));
    }
    let _ = proof;
}
