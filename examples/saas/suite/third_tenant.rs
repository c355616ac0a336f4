//! The third tenant is created on request, in a schema of its own on PostgreSQL, in a file of its own on SQLite.

use std::net::SocketAddr;
use std::path::PathBuf;

use saas::{AppDb, Settings};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use tenancy::clock::{Clock, SystemClock};
use uuid::Uuid;

use super::common::TestBackend;
use super::http::{Response, get, post};
use super::{DemoTenant, start, subscription};

pub(crate) const NAME: &str = "t_0198a00000007000800000000000000c";
pub(crate) const ID: &str = "0198a000-0000-7000-8000-00000000000c";

/// The place of the third tenant, as the page shows it.
pub(crate) fn place(settings: &Settings) -> String {
    if settings.is_postgres() { format!("schema {NAME}") } else { format!("file {NAME}.db") }
}

/// The directory of the tenants' SQLite files.
fn files(settings: &Settings) -> PathBuf {
    PathBuf::from(settings.database_url.trim_start_matches("sqlite:")).with_extension("tenants")
}

pub(crate) fn postgres(settings: &Settings, schema: &str, tenant: &str) -> PgConnectOptions {
    let owner = settings.owner_url.as_ref().unwrap_or(&settings.database_url);
    let options: PgConnectOptions = owner.parse().unwrap();
    // Where a tenant was moved away, its rows are read only so.
    options.options([("search_path", schema), ("app.tenant_id", tenant), ("app.tenancy_move", "on")])
}

pub(crate) fn sqlite(settings: &Settings, own: bool) -> SqliteConnectOptions {
    if own {
        return SqliteConnectOptions::new()
            .filename(files(settings).join(format!("{NAME}.db")))
            .create_if_missing(true);
    }
    settings.database_url.parse().unwrap()
}

/// Runs SQL in the place of the third tenant, without the library. Creates the place if it does not exist.
pub(crate) async fn run_in_place(settings: &Settings, sql: &str) {
    if settings.is_postgres() {
        let mut conn = postgres(settings, NAME, ID).connect().await.unwrap();
        let sql = format!("CREATE SCHEMA IF NOT EXISTS {NAME}; {sql}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    } else {
        let mut conn = sqlite(settings, true).connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
    }
}

/// Records what a process records before it creates the place of the third tenant.
async fn record_the_beginning(settings: &Settings) {
    const RECORD: &str = "INSERT INTO tenancy_provisioning VALUES ($1, 'create', 0, 'it was interrupted')";
    if settings.is_postgres() {
        let mut conn = postgres(settings, "public", ID).connect().await.unwrap();
        sqlx::query(RECORD).bind(ID).execute(&mut conn).await.unwrap();
    } else {
        let mut conn = sqlite(settings, false).connect().await.unwrap();
        sqlx::query(RECORD).bind(ID).execute(&mut conn).await.unwrap();
    }
}

/// The number of a tenant's orders in the place of the third tenant, or in the shared tables, without the library.
pub(crate) async fn stored(settings: &Settings, own: bool, tenant: &str) -> i64 {
    const COUNT: &str = "SELECT count(*) FROM orders WHERE tenant_id = $1";
    let id = Uuid::try_parse(tenant).unwrap();
    if settings.is_postgres() {
        let mut conn = postgres(settings, if own { NAME } else { "public" }, tenant).connect().await.unwrap();
        sqlx::query_scalar(COUNT).bind(id).fetch_one(&mut conn).await.unwrap()
    } else {
        let mut conn = sqlite(settings, own).connect().await.unwrap();
        sqlx::query_scalar(COUNT).bind(id).fetch_one(&mut conn).await.unwrap()
    }
}

async fn click(at: SocketAddr) -> Response {
    post("/demo/tenants", "").send(at).await
}

pub(crate) async fn third(at: SocketAddr) -> DemoTenant {
    let clicked = click(at).await;
    assert_eq!(clicked.status, 200, "{clicked:?}");
    DemoTenant::new(&clicked.json())
}

/// Slug, status and place of each tenant that the page shows.
async fn shown(at: SocketAddr) -> Vec<(String, String, String)> {
    let tenants = get("/demo/tenants").send(at).await.json();
    let text = |tenant: &Value, field: &str| tenant[field].as_str().unwrap().to_owned();
    let tenants = tenants.as_array().unwrap().iter();
    tenants.map(|one| (text(one, "slug"), text(one, "status"), text(one, "place"))).collect()
}

/// What [`shown`] returns with these places.
fn active(tenants: &[(&str, &str)]) -> Vec<(String, String, String)> {
    tenants
        .iter()
        .map(|(slug, place)| ((*slug).to_owned(), "active".to_owned(), (*place).to_owned()))
        .collect()
}

const SHARED: [(&str, &str); 2] = [("acme", "shared tables"), ("globex", "shared tables")];

fn all_three(settings: &Settings) -> Vec<(String, String, String)> {
    active(&[SHARED[0], SHARED[1], ("umbrella", &place(settings))])
}

/// All that the API returns about a tenant's data.
async fn data(at: SocketAddr, tenant: &DemoTenant) -> Vec<Value> {
    let mut data = Vec::new();
    for path in ["projects", "orders?limit=100", "usage", "audit?limit=100", "plan"] {
        let response = get(format!("/api/{path}")).token(&tenant.token).send(at).await;
        assert_eq!(response.status, 200, "{path}: {response:?}");
        data.push(response.json());
    }
    data
}

fn names(projects: &Value) -> Vec<&str> {
    projects["items"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

async fn a_third_tenant_is_created_in_a_place_of_its_own<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    // The server caches that there is no such tenant.
    let by_host = || get("/api/projects").host("umbrella.localhost");
    assert_eq!(by_host().send(app.at).await.problem(), (404, "tenant-unknown".to_owned()));
    let portal = post("/demo/billing", json!({ "slug": "umbrella", "action": "portal" }));
    assert_eq!(portal.send(app.at).await.problem(), (404, "not-found".to_owned()));
    assert_eq!(shown(app.at).await, active(&SHARED));
    let others = [data(app.at, &app.acme).await, data(app.at, &app.globex).await];

    let clicked = click(app.at).await;
    assert_eq!((clicked.status, &clicked.json()["place"]), (200, &json!(place(&app.settings))));
    let umbrella = DemoTenant::new(&clicked.json());
    assert_eq!(umbrella.id, ID);
    assert_eq!(shown(app.at).await, all_three(&app.settings));

    let projects = ["Raccoon City", "The Hive", "Arklay laboratory"];
    let [listed, orders, usage, audit, _] = data(app.at, &umbrella).await.try_into().unwrap();
    assert_eq!(names(&listed), projects);
    assert_eq!(names(&by_host().send(app.at).await.json()), projects);
    assert_eq!(orders["items"].as_array().unwrap().len(), 9);
    assert_eq!((&usage["gauges"][0]["used"], &usage["gauges"][1]["used"]), (&json!(3), &json!(9)));
    assert_eq!(
        (audit["items"].as_array().unwrap().len(), &audit["items"][0]["action"]),
        (1, &json!("demo.seed"))
    );

    // The rows are where the page says, and nowhere else.
    for (own, tenant, rows) in
        [(true, ID, 9), (false, ID, 0), (false, &*app.globex.id, 12), (true, &*app.globex.id, 0)]
    {
        assert_eq!(stored(&app.settings, own, tenant).await, rows, "own: {own}, {tenant}");
    }
    #[cfg(unix)]
    if !app.settings.is_postgres() {
        use std::os::unix::fs::PermissionsExt;
        let mode = files(&app.settings).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "only this user opens the files of tenants");
    }

    // Each tenant reads its own order, and no order of another tenant.
    let tenants = [&app.acme, &app.globex, &umbrella];
    for own in tenants {
        for other in tenants {
            let order = get(format!("/api/orders/{}", other.order)).token(&own.token).send(app.at).await;
            if own.id == other.id {
                assert_eq!((order.status, &order.json()["id"]), (200, &json!(other.order)));
            } else {
                assert_eq!(order.problem(), (404, "not-found".to_owned()), "{} reads {}", own.id, other.id);
            }
        }
    }

    // The third tenant changes its data; the data of the others is as before.
    let create = post("/api/projects", json!({ "name": "New" })).token(&umbrella.token);
    assert_eq!(create.send(app.at).await.status, 201);
    let [listed, _, usage, audit, _] = data(app.at, &umbrella).await.try_into().unwrap();
    assert_eq!((names(&listed).len(), &usage["gauges"][0]["used"]), (4, &json!(4)));
    assert_eq!(audit["items"][0]["action"], "project.create");
    let now = SystemClock.now().seconds();
    for (created, stripe_status, status) in [(now - 1, "unpaid", 403), (now, "active", 200)] {
        let event = subscription(ID, stripe_status, created);
        assert_eq!(app.stripe(&event).await.json(), json!({ "received": "applied" }));
        assert_eq!(
            get("/api/plan").token(&umbrella.token).send(app.at).await.status,
            status,
            "{stripe_status}"
        );
    }
    assert_eq!([data(app.at, &app.acme).await, data(app.at, &app.globex).await], others);
}

async fn a_second_click_changes_nothing<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let clicks = at_once(5, || click(app.at)).await;
    for clicked in &clicks {
        assert_eq!((clicked.status, &clicked.json()["place"]), (200, &json!(place(&app.settings))));
    }
    let umbrella = DemoTenant::new(&clicks[0].json());
    let before = data(app.at, &umbrella).await;
    assert_eq!((names(&before[0]).len(), &before[2]["gauges"][0]["used"]), (3, &json!(3)));
    assert_eq!(before[3]["items"].as_array().unwrap().len(), 1, "the rows were written once");
    let again = third(app.at).await;
    assert_eq!((&again.id, &again.order), (&umbrella.id, &umbrella.order));
    assert_eq!(data(app.at, &umbrella).await, before);
    assert_eq!(shown(app.at).await, all_three(&app.settings));
}

/// Sends requests at the same time.
pub(crate) async fn at_once<F>(count: usize, request: impl Fn() -> F) -> Vec<Response>
where
    F: Future<Output = Response> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|_| tokio::spawn(request())).collect();
    let mut responses = Vec::new();
    for task in tasks {
        responses.push(task.await.unwrap());
    }
    responses
}

async fn after_a_restart_the_third_tenant_works<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let at = super::super::serve::<DB>(&app.settings).await;
    assert_eq!(shown(at).await, active(&SHARED), "a restart creates no tenant");
    let umbrella = third(at).await;
    let before = data(at, &umbrella).await;

    let at = super::super::serve::<DB>(&app.settings).await;
    assert_eq!(shown(at).await, all_three(&app.settings));
    assert_eq!(data(at, &umbrella).await, before);
    let create = post("/api/projects", json!({ "name": "New" })).token(&umbrella.token);
    assert_eq!(create.send(at).await.status, 201);
    let other = get(format!("/api/orders/{}", app.acme.order)).token(&umbrella.token).send(at).await;
    assert_eq!(other.problem(), (404, "not-found".to_owned()));
    third(at).await;
    assert_eq!(names(&data(at, &umbrella).await[0]).len(), 4, "the rows of the start are not written again");
}

async fn a_start_runs_missing_migrations_in_the_place_of_the_third_tenant<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let umbrella = third(app.at).await;
    run_in_place(
        &app.settings,
        "DROP TABLE orders; DROP TABLE projects; DROP TABLE members; DROP TABLE _sqlx_migrations",
    )
    .await;
    let list = || get("/api/orders").token(&umbrella.token);
    assert_eq!(list().send(app.at).await.status, 500, "the tables are gone");

    let at = super::super::serve::<DB>(&app.settings).await;
    let listed = list().send(at).await;
    assert_eq!((listed.status, &listed.json()["items"]), (200, &json!([])));
    let of_globex = get("/api/orders").token(&app.globex.token).send(at).await.json();
    assert_eq!(of_globex["items"].as_array().unwrap().len(), 12);
}

async fn an_interrupted_creation_goes_on<DB: AppDb + TestBackend>() {
    for restart in [false, true] {
        let app = start::<DB>().await;
        // The migration of the place fails, because its table exists.
        run_in_place(&app.settings, "CREATE TABLE projects (id int)").await;
        let foreign = click(app.at).await;
        assert_eq!(
            foreign.problem(),
            (409, "conflict".to_owned()),
            "nobody recorded that it began: {foreign:?}"
        );
        record_the_beginning(&app.settings).await;
        for _ in 0..2 {
            let failed = click(app.at).await;
            assert_eq!(failed.problem().0, 500, "{failed:?}");
            assert_eq!(shown(app.at).await, active(&SHARED), "a tenant that is not open is not shown");
            let closed = get("/api/projects").host("umbrella.localhost").send(app.at).await;
            assert_ne!(closed.status, 200, "{closed:?}");
        }
        // The program starts all the same, and serves the others.
        let at = super::super::serve::<DB>(&app.settings).await;
        assert_eq!(shown(at).await, active(&SHARED));
        data(at, &app.acme).await;

        run_in_place(&app.settings, "DROP TABLE projects").await;
        let at = if restart {
            super::super::serve::<DB>(&app.settings).await
        } else {
            third(at).await;
            at
        };
        assert_eq!(shown(at).await, all_three(&app.settings), "restart: {restart}");
        let umbrella = third(at).await;
        assert_eq!(names(&data(at, &umbrella).await[0]).len(), 3);
    }
}

on_every_database!(
    a_third_tenant_is_created_in_a_place_of_its_own,
    a_second_click_changes_nothing,
    after_a_restart_the_third_tenant_works,
    a_start_runs_missing_migrations_in_the_place_of_the_third_tenant,
    an_interrupted_creation_goes_on,
);
