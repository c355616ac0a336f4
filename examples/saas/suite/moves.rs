//! An operator moves a tenant to another place and back: it is served with the same rows, and no other tenant changes.

use std::time::{Duration, Instant};

use saas::AppDb;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::common::{Cleanup, TestBackend, postgres_url};
use super::http::{get, post};
use super::third_tenant::{ID, NAME, place, postgres, sqlite, stored, third};
use super::{DemoTenant, Running, start_as};

impl Running {
    /// The projects and orders of a tenant, as the application serves them.
    async fn rows(&self, tenant: &DemoTenant) -> Vec<Value> {
        let mut rows = Vec::new();
        for path in ["projects?limit=100", "orders?limit=100"] {
            let response = get(format!("/api/{path}")).token(&tenant.token).send(self.at).await;
            assert_eq!(response.status, 200, "{response:?}");
            rows.push(response.json());
        }
        rows
    }

    /// Waits until no move runs, and returns the only one.
    pub(crate) async fn moved(&self) -> Value {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let moves = self.operate(get("/operator/api/moves")).await.json();
            let all = moves.as_array().unwrap();
            if all.iter().all(|one| one["state"] != "running") {
                assert_eq!(all.len(), 1, "{moves}");
                return all[0].clone();
            }
            assert!(Instant::now() < until, "{moves}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes what a process leaves that ends in the second step of a move.
    pub(crate) async fn leave_a_move(&self, tenant: &str, source: &Value, target: &Value) {
        let sql = AssertSqlSafe(format!(
            "INSERT INTO tenancy_moves (tenant_id, source, target, step, started_us, changed_us) \
             VALUES ('{tenant}', '{source}', '{target}', 'copy', 0, 0)"
        ));
        if self.settings.is_postgres() {
            let mut conn = postgres(&self.settings, "public", ID).connect().await.unwrap();
            sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
        } else {
            let mut conn = sqlite(&self.settings, false).connect().await.unwrap();
            sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
        }
    }
}

/// The kind of the place that a tenant gets when it is created with one.
pub(crate) fn own_kind(app: &Running) -> &'static str {
    if app.settings.is_postgres() { "schema" } else { "database" }
}

/// Drops the database of the third tenant when the test ends. It is on the server, not in the test's database.
async fn drop_database() -> Cleanup {
    let drop = async |name: String| {
        let mut server = postgres_url().parse::<sqlx::postgres::PgConnectOptions>()?.connect().await?;
        let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server).await.map(|_| ())
    };
    drop(NAME.to_owned()).await.unwrap();
    Cleanup::database(NAME.to_owned(), drop)
}

async fn a_moved_tenant_is_served_with_the_same_rows<DB: AppDb + TestBackend>() {
    let app = start_as::<DB>(true).await;
    let is_postgres = app.settings.is_postgres();
    let _database = if is_postgres { Some(drop_database().await) } else { None };
    let umbrella = third(app.at).await;
    let path = format!("/operator/api/tenants/{ID}/move");
    let own = place(&app.settings);
    let (before, theirs) = (app.rows(&umbrella).await, app.rows(&app.globex).await);
    let orders = stored(&app.settings, true, ID).await;
    assert_eq!(orders, 9);
    let all: &[(&str, &str)] = if is_postgres {
        let database = "database t_0198a00000007000800000000000000c";
        &[("shared", "shared tables"), ("database", database), ("schema", &own)]
    } else {
        &[("shared", "shared tables"), ("database", &own)]
    };
    let mut from = own.clone();
    for (to, placement) in all {
        let plan = app.operate(get(format!("{path}?to={to}"))).await;
        assert_eq!(plan.status, 200, "{plan:?}");
        let plan = plan.json();
        assert_eq!((&plan["from"], &plan["to"]), (&json!(from), &json!(placement)));
        assert_eq!(plan["refused"], json!([]), "{plan}");
        let tables = plan["tables"].as_array().unwrap();
        let planned = tables.iter().find(|table| table["name"] == "orders").unwrap();
        assert_eq!(planned["rows"], 9, "{plan}");
        assert_eq!(app.operated("umbrella").await["placement"], json!(from), "a plan changes nothing");

        // A second click does not begin another move.
        for _ in 0..2 {
            let begun = app.operate(post(&path, json!({ "to": to }))).await;
            assert_eq!(begun.status, 200, "{begun:?}");
            assert_eq!(begun.json()[0]["to"], json!(placement));
        }
        let moved = app.moved().await;
        assert_eq!((&moved["state"], &moved["step"]), (&json!("done"), &json!("clean-up")), "{moved}");
        assert_eq!((&moved["slug"], &moved["error"]), (&json!("umbrella"), &Value::Null));
        assert!(moved["refused_ms"].is_u64() && moved["can_go_on"] == false, "{moved}");

        let shown = app.operated("umbrella").await;
        assert_eq!((&shown["placement"], &shown["status"]), (&json!(placement), &json!("active")));
        assert!(shown["targets"].as_array().unwrap().iter().all(|target| target["to"] != *to), "{shown}");
        // The first request after the move is served.
        assert_eq!(app.rows(&umbrella).await, before, "to the {placement}");
        // The rows are in that place only.
        let in_shared = if *to == "shared" { orders } else { 0 };
        assert_eq!(stored(&app.settings, false, ID).await, in_shared);
        if *placement == own {
            assert_eq!(stored(&app.settings, true, ID).await, orders);
        }
        from = (*placement).to_owned();
        // Rows can be written there.
        let project =
            post("/api/projects", json!({ "name": "Moved" })).token(&umbrella.token).send(app.at).await;
        assert_eq!(project.status, 201, "{project:?}");
        let id = project.json()["id"].as_str().unwrap().to_owned();
        let deleted = super::delete(format!("/api/projects/{id}")).token(&umbrella.token).send(app.at).await;
        assert!(deleted.status < 300, "{deleted:?}");
    }
    assert_eq!(app.rows(&app.globex).await, theirs, "another tenant is untouched");
    for slug in ["acme", "globex"] {
        assert_eq!(app.operated(slug).await["placement"], "shared tables");
    }
    let events = get("/api/audit?limit=100").token(&umbrella.token).send(app.at).await.json();
    let moves: Vec<_> =
        events["items"].as_array().unwrap().iter().filter(|one| one["action"] == "tenant.move").collect();
    assert_eq!(moves.len(), all.len(), "{events}");
    assert_eq!(moves[0]["actor"], json!({ "kind": "user", "id": "operator" }));

    for (id, to) in [(ID, "elsewhere"), (ID, ""), ("nobody", "shared"), ("..", "shared")] {
        let status = if id == ID { 400 } else { 404 };
        let path = format!("/operator/api/tenants/{id}/move");
        assert_eq!(app.operate(get(format!("{path}?to={to}"))).await.status, status, "{id} {to}");
        assert_eq!(app.operate(post(path, json!({ "to": to }))).await.status, status, "{id} {to}");
    }
    for action in ["go-on", "roll-back"] {
        let nothing = app.operate(post(format!("{path}/{action}"), "")).await;
        assert_eq!(nothing.problem(), (404, "not-found".to_owned()), "{action}");
    }
}

async fn an_interrupted_move_is_rolled_back_or_goes_on<DB: AppDb + TestBackend>() {
    let app = start_as::<DB>(true).await;
    let umbrella = third(app.at).await;
    let before = app.rows(&umbrella).await;
    let path = format!("/operator/api/tenants/{ID}/move");
    let own = place(&app.settings);
    let own_place = json!({ "kind": own_kind(&app), "name": NAME });
    for action in ["roll-back", "go-on"] {
        app.leave_a_move(ID, &own_place, &json!({ "kind": "shared" })).await;
        let stopped = app.moved().await;
        assert_eq!((&stopped["state"], &stopped["step"]), (&json!("stopped"), &json!("copy")), "{stopped}");
        assert_eq!((&stopped["from"], &stopped["to"]), (&json!(own), &json!("shared tables")));
        assert_eq!((&stopped["can_go_on"], &stopped["can_roll_back"]), (&json!(true), &json!(true)));
        if app.settings.is_postgres() {
            let other = app.operate(post(&path, json!({ "to": "database" }))).await;
            assert_eq!(other.problem(), (409, "conflict".to_owned()));
        }
        let done = app.operate(post(format!("{path}/{action}"), "")).await;
        assert_eq!(done.status, 200, "{done:?}");
        if action == "roll-back" {
            assert_eq!(done.json(), json!([]));
            assert_eq!(app.operated("umbrella").await["placement"], json!(own));
        } else {
            let moved = app.moved().await;
            assert_eq!(moved["state"], "done", "{moved}");
            assert_eq!(app.operated("umbrella").await["placement"], "shared tables");
        }
        assert_eq!(app.rows(&umbrella).await, before, "{action}");
        assert_eq!(app.served(&app.acme).await.0, 200);
    }
}

on_every_database!(
    a_moved_tenant_is_served_with_the_same_rows,
    an_interrupted_move_is_rolled_back_or_goes_on
);
