//! Tests the application over HTTP, on SQLite and on PostgreSQL. The including test defines `serve`, which starts the
//! application in the process of the test.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test reads the rows without a tenant scope"
)]

#[path = "../../../tests/fixture/common.rs"]
#[macro_use]
mod common;
mod billing;
mod browser;
mod http;
mod localstripe;
mod moves;
mod operator;
#[path = "../../../tests/fixture/stripe_sdk/ask.rs"]
mod sdk;
mod third_tenant;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{Cleanup, TestBackend, admin_url};
use http::{Request, delete, get, post, put};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use saas::{AppDb, Settings};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use tenancy::billing::stripe::sign;
use tenancy::clock::{Clock, SystemClock, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

const WEBHOOK_SECRET: &str = "whsec_test";
const OPERATOR_TOKEN: &str = "the token of an operator, thirty-two bytes";

struct Running {
    at: SocketAddr,
    acme: DemoTenant,
    globex: DemoTenant,
    settings: Settings,
    _cleanup: Vec<Cleanup>,
}

struct DemoTenant {
    id: String,
    token: String,
    order: String,
}

impl DemoTenant {
    fn new(shown: &Value) -> Self {
        let text = |field: &str| shown[field].as_str().unwrap().to_owned();
        Self { id: text("id"), token: text("token"), order: text("sample_order_id") }
    }
}

async fn start<DB: AppDb + TestBackend>() -> Running {
    start_as::<DB>(false).await
}

/// With `roles`, the program logs in as another role than the owner of the tables, on PostgreSQL.
async fn start_as<DB: AppDb + TestBackend>(roles: bool) -> Running {
    let (mut database_url, database) = DB::fresh_url().await;
    let (mut cleanup, mut owner_url) = (vec![database], None);
    if roles && database_url.starts_with("postgres") {
        let (app_url, role) = app_role(&database_url).await;
        owner_url = Some(std::mem::replace(&mut database_url, app_url));
        // The database goes before the role, which has privileges in it.
        cleanup.push(role);
    }
    let settings = Settings {
        port: 0,
        database_url,
        owner_url,
        jwt_secret: "a secret of at least thirty-two bytes".to_owned(),
        jwt_ed25519_public_pem: Some(include_str!("ed25519.pub.pem").to_owned()),
        operator_token: Some(OPERATOR_TOKEN.to_owned()),
        stripe_secret_key: None,
        stripe_api_url: None,
        stripe_webhook_secret: WEBHOOK_SECRET.to_owned(),
    };
    let at = super::serve::<DB>(&settings).await;
    let tenants = get("/demo/tenants").send(at).await.json();
    let (acme, globex) = (DemoTenant::new(&tenants[0]), DemoTenant::new(&tenants[1]));
    Running { at, acme, globex, settings, _cleanup: cleanup }
}

/// Makes a role that owns nothing, and returns the URL with it.
async fn app_role(owner_url: &str) -> (String, Cleanup) {
    let run = async |sql: String| {
        let mut admin = admin_url().parse::<PgConnectOptions>()?.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.map(|_| ())
    };
    let owner: PgConnectOptions = owner_url.parse().unwrap();
    let (role, member) =
        (format!("tenancy_test_{}", Uuid::now_v7().simple()), owner.get_username().to_owned());
    run(format!("CREATE ROLE {role} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD 'app' ROLE {member}"))
        .await
        .unwrap();
    let url = owner.username(&role).password("app").to_url_lossy().to_string();
    (url, Cleanup::database(role, async move |role| run(format!("DROP ROLE {role}")).await))
}

impl Running {
    async fn shown(&self, slug: &str) -> Value {
        let tenants = get("/demo/tenants").send(self.at).await.json();
        tenants.as_array().unwrap().iter().find(|tenant| tenant["slug"] == slug).unwrap().clone()
    }

    async fn tenant(&self, slug: &str) -> (String, String) {
        let tenant = self.shown(slug).await;
        (tenant["plan"].as_str().unwrap().to_owned(), tenant["status"].as_str().unwrap().to_owned())
    }

    async fn stripe(&self, event: &Value) -> http::Response {
        let body = event.to_string();
        let signature = sign(WEBHOOK_SECRET, body.as_bytes(), SystemClock.now());
        post("/webhooks/stripe", body).header("stripe-signature", &signature).send(self.at).await
    }
}

fn subscription(tenant: &str, status: &str, created: i64) -> Value {
    json!({
        "id": format!("evt_{}", Uuid::new_v4().simple()), "object": "event", "type": "customer.subscription.updated",
        "created": created, "livemode": false, "api_version": "2026-10-28.endive",
        "data": { "object": {
            "id": format!("sub_{tenant}"), "object": "subscription", "customer": format!("cus_{tenant}"),
            "status": status, "metadata": { "tenant_id": tenant },
            "items": { "data": [{ "price": { "id": "price_pro_monthly" }, "quantity": 1 }] },
        } },
    })
}

async fn no_tenant_reaches_orders_of_another<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let change = json!({ "title": "stolen", "amount_cents": 0, "status": "paid" });
    for (own, other) in [(&app.acme, &app.globex), (&app.globex, &app.acme)] {
        let before = get(format!("/api/orders/{}", other.order)).token(&other.token).send(app.at).await;
        assert_eq!(before.status, 200);
        let requests: [fn(String, &Value) -> Request; 3] =
            [|path, _| get(path), |path, change| put(path, change), |path, _| delete(path)];
        for request in requests {
            let response = async |id: &str| {
                request(format!("/api/orders/{id}"), &change).token(&own.token).send(app.at).await
            };
            let foreign = response(&other.order).await;
            assert_eq!(foreign.problem(), (404, "not-found".to_owned()));
            // Byte for byte the response for an id that does not exist, and for a malformed id.
            assert_eq!(foreign, response(&Uuid::now_v7().to_string()).await);
            assert_eq!(foreign, response("no-such-order").await);
        }
        let after = get(format!("/api/orders/{}", other.order)).token(&other.token).send(app.at).await;
        assert_eq!(before, after);

        // An order cannot be created in a project of the other tenant either.
        let projects = get("/api/projects").token(&other.token).send(app.at).await.json();
        let order = json!({ "project_id": projects["items"][0]["id"], "title": "x", "amount_cents": 1 });
        let foreign = post("/api/orders", &order).token(&own.token).send(app.at).await;
        assert_eq!(foreign.problem(), (409, "reference-violation".to_owned()));
        let nowhere = json!({ "project_id": Uuid::now_v7(), "title": "x", "amount_cents": 1 });
        assert_eq!(foreign, post("/api/orders", &nowhere).token(&own.token).send(app.at).await);
    }
    for tenant in [&app.acme, &app.globex] {
        let listed = get("/api/orders?limit=1000").token(&tenant.token).send(app.at).await.json();
        let other = if tenant.order == app.acme.order { &app.globex } else { &app.acme };
        let ids: Vec<&str> =
            listed["items"].as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap()).collect();
        assert!(ids.contains(&tenant.order.as_str()) && !ids.contains(&other.order.as_str()));
    }
}

async fn a_tenant_manages_its_data<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let token = &app.globex.token;
    let made = post("/api/projects", json!({ "name": "New" })).token(token).send(app.at).await;
    assert_eq!(made.status, 201);
    let project = made.json()["id"].as_str().unwrap().to_owned();
    let order = json!({ "project_id": project, "title": "First", "amount_cents": 990 });
    let made = post("/api/orders", &order).token(token).send(app.at).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let change = json!({ "title": "Second", "amount_cents": 991, "status": "paid" });
    let changed = put(format!("/api/orders/{id}"), &change).token(token).send(app.at).await;
    assert_eq!((changed.status, &changed.json()["title"]), (200, &json!("Second")));
    let read = get(format!("/api/orders/{id}")).token(token).send(app.at).await.json();
    assert_eq!((&read["status"], &read["project_id"]), (&json!("paid"), &json!(project)));

    let blocked = delete(format!("/api/projects/{project}")).token(token).send(app.at).await;
    assert_eq!(blocked.problem(), (409, "reference-violation".to_owned()));
    assert_eq!(delete(format!("/api/orders/{id}")).token(token).send(app.at).await.status, 204);
    assert_eq!(delete(format!("/api/projects/{project}")).token(token).send(app.at).await.status, 204);
    assert_eq!(delete(format!("/api/projects/{project}")).token(token).send(app.at).await.status, 404);

    let events = get("/api/audit?limit=6").token(token).send(app.at).await.json();
    let actions: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        ["project.delete", "order.delete", "order.update", "order.create", "project.create", "demo.seed"]
    );
    assert_eq!(events["items"][0]["actor"], json!({ "kind": "user", "id": "demo@globex.example" }));
    let of_acme = get("/api/audit").token(&app.acme.token).send(app.at).await.json();
    assert_eq!(of_acme["items"].as_array().unwrap().len(), 1, "acme sees only its own seed event");
}

async fn lists_come_in_pages<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let mut seen = Vec::new();
    let mut path = "/api/orders?limit=5".to_owned();
    loop {
        let page = get(&path).token(&app.globex.token).send(app.at).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/api/orders?limit=5&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 12);
    assert!(seen.is_sorted());
    for bad in ["limit=0", "limit=1001", "limit=x", "after=x", "page=2"] {
        let rejected = get(format!("/api/orders?{bad}")).token(&app.globex.token).send(app.at).await;
        assert_eq!(rejected.problem(), (400, "invalid-input".to_owned()), "{bad}");
    }
}

async fn what_the_plan_does_not_allow_is_rejected_with_the_upgrade_url<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let create = |name: &str| post("/api/projects", json!({ "name": name })).token(&app.acme.token);
    assert_eq!(create("third").send(app.at).await.status, 201);
    let rejected = create("fourth").send(app.at).await;
    assert_eq!(rejected.problem(), (403, "plan-limit-reached".to_owned()));
    let problem = rejected.json();
    assert_eq!((&problem["limit"], &problem["used"]), (&json!(3), &json!(3)));
    assert_eq!(problem["upgrade_url"], "/#plan");

    let rejected = get("/api/orders/export").token(&app.acme.token).send(app.at).await;
    assert_eq!(rejected.problem(), (403, "feature-not-in-plan".to_owned()));
    assert_eq!(
        (&rejected.json()["feature"], &rejected.json()["upgrade_url"]),
        (&json!("export"), &json!("/#plan"))
    );
    let csv = get("/api/orders/export").token(&app.globex.token).send(app.at).await;
    assert_eq!((csv.status, csv.body.lines().count()), (200, 13));
    assert!(csv.headers.contains(&"transfer-encoding: chunked".to_owned()), "the response must be streamed");
    let orders = get("/api/orders?limit=100").token(&app.globex.token).send(app.at).await.json();
    for order in orders["items"].as_array().unwrap() {
        assert!(csv.body.contains(order["id"].as_str().unwrap()));
    }
    assert!(!csv.body.contains(&app.acme.order));

    // The audit log contains both rejections as denied.
    let events = get("/api/audit?limit=2").token(&app.acme.token).send(app.at).await.json();
    for event in events["items"].as_array().unwrap() {
        assert_eq!(event["outcome"], "denied");
    }
    let usage = get("/api/usage").token(&app.acme.token).send(app.at).await.json();
    assert_eq!(usage["gauges"][0], json!({ "feature": "projects", "used": 3, "limit": 3 }));
}

async fn changes_and_exports_are_charged_to_their_tenant<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let quota = async |tenant: &DemoTenant, key: &str| {
        let usage = get("/api/usage").token(&tenant.token).send(app.at).await.json();
        usage["quotas"].as_array().unwrap().iter().find(|quota| quota["key"] == key).unwrap().clone()
    };
    let used = async |tenant: &DemoTenant, key: &str| quota(tenant, key).await["used"].as_u64().unwrap();
    let before = [used(&app.acme, "api_calls").await, used(&app.globex, "api_calls").await];
    let change =
        post("/api/projects", json!({ "name": "one more" })).token(&app.globex.token).send(app.at).await;
    let policy = "ratelimit-policy: \"requests\";q=50;w=1, \"api_calls\";q=20000;w=";
    assert_eq!((change.status, change.headers.iter().any(|header| header.starts_with(policy))), (201, true));
    let read = get("/api/projects").token(&app.globex.token).send(app.at).await;
    assert!(!read.headers.iter().any(|header| header.starts_with("ratelimit")), "reads cost nothing");
    let anonymous = post("/api/projects", json!({ "name": "x" })).host("globex.localhost").send(app.at).await;
    assert_eq!(anonymous.status, 401);
    let after = [used(&app.acme, "api_calls").await, used(&app.globex, "api_calls").await];
    assert_eq!(after, [before[0], before[1] + 1], "one change of one tenant");

    assert_eq!(get("/api/orders/export").token(&app.globex.token).send(app.at).await.status, 200);
    let rows = quota(&app.globex, "exported_rows").await;
    assert_eq!((&rows["used"], &rows["held"]), (&json!(12), &json!(0)), "what was sent is committed");
    assert_eq!(used(&app.acme, "exported_rows").await, 0);

    let usage = get("/api/usage").token(&app.acme.token).send(app.at).await.json();
    assert_eq!(usage["history"].as_array().unwrap().len(), 6, "five months and this one");
    let first = get("/api/entitlements").token(&app.acme.token).send(app.at).await;
    let etag = first.headers.iter().find_map(|header| header.strip_prefix("etag: ")).unwrap();
    let again =
        get("/api/entitlements").token(&app.acme.token).header("if-none-match", etag).send(app.at).await;
    assert_eq!((first.status, again.status, again.body.as_str()), (200, 304, ""));
}

async fn members_hold_the_seats_of_the_plan<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let invite = async |tenant: &DemoTenant, email: &str| {
        post("/api/members", json!({ "email": email })).token(&tenant.token).send(app.at).await
    };
    let seats = async |tenant: &DemoTenant| {
        get("/api/usage").token(&tenant.token).send(app.at).await.json()["gauges"][2].clone()
    };
    assert_eq!(seats(&app.acme).await, json!({ "feature": "seats", "used": 1, "limit": 2 }));
    let invited = invite(&app.acme, " Eve@Example.com ").await;
    assert_eq!((invited.status, &invited.json()["email"]), (201, &json!("eve@example.com")));
    let full = invite(&app.acme, "mallory@example.com").await;
    assert_eq!(full.problem(), (403, "plan-limit-reached".to_owned()));
    assert_eq!(invite(&app.acme, "eve@example.com").await.problem(), (409, "conflict".to_owned()));
    assert_eq!(invite(&app.acme, "nobody").await.problem(), (400, "invalid-input".to_owned()));
    assert_eq!(seats(&app.acme).await["used"], 2);

    // The other tenant has seats of its own, and removes only its own members.
    assert_eq!(invite(&app.globex, "mallory@example.com").await.status, 201);
    let path = format!("/api/members/{}", invited.json()["id"].as_str().unwrap());
    let foreign = delete(&path).token(&app.globex.token).send(app.at).await;
    assert_eq!(foreign.problem(), (404, "not-found".to_owned()));
    assert_eq!(delete(&path).token(&app.acme.token).send(app.at).await.status, 204);
    assert_eq!(seats(&app.acme).await["used"], 1, "the seat is free again");
    assert_eq!(invite(&app.acme, "mallory@example.com").await.status, 201);
    assert_eq!(seats(&app.globex).await["used"], 2);
    let listed = get("/api/members").token(&app.acme.token).send(app.at).await.json();
    let emails: Vec<_> = listed["items"].as_array().unwrap().iter().map(|one| &one["email"]).collect();
    assert_eq!(emails, ["demo@acme.example", "mallory@example.com"]);
}

async fn changes_that_come_too_fast_are_rejected_and_not_charged<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let change = |tenant: &DemoTenant| put("/api/projects/none", json!({ "name": "x" })).token(&tenant.token);
    let first = change(&app.acme).send(app.at).await;
    let policy = "ratelimit-policy: \"requests\";q=10;w=1, \"api_calls\";q=1000;w=";
    assert_eq!(first.status, 404);
    assert!(first.headers.iter().any(|header| header.starts_with(policy)), "{:?}", first.headers);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..150 {
        let (request, at) = (change(&app.acme), app.at);
        tasks.spawn(async move { request.send(at).await });
    }
    let answers = tasks.join_all().await;
    let rejected: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!rejected.is_empty() && answers.len() - rejected.len() >= 49, "{} rejected", rejected.len());
    for answer in &rejected {
        assert_eq!(answer.json()["feature"], "requests");
        assert!(answer.headers.contains(&"retry-after: 1".to_owned()), "{:?}", answer.headers);
    }
    assert_eq!(change(&app.globex).send(app.at).await.status, 404, "the rate of the other tenant is its own");
    let usage = get("/api/usage").token(&app.acme.token).send(app.at).await.json();
    let charged = usage["quotas"].as_array().unwrap().iter().find(|one| one["key"] == "api_calls").unwrap();
    let allowed = answers.len() - rejected.len() + 1;
    assert_eq!(charged["used"], json!(35 + allowed), "what came too fast is not charged");
}

impl Running {
    /// Runs SQL as one tenant, without the library.
    async fn raw(&self, tenant: &str, sql: &str) {
        if self.settings.is_postgres() {
            let options: sqlx::postgres::PgConnectOptions = self.settings.database_url.parse().unwrap();
            let mut conn = options.options([("app.tenant_id", tenant)]).connect().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
        } else {
            let options: sqlx::sqlite::SqliteConnectOptions = self.settings.database_url.parse().unwrap();
            let mut conn = options.busy_timeout(Duration::from_mins(1)).connect().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
        }
    }

    /// Sends a request, and returns the connection.
    async fn connect(&self, request: &str, tenant: &DemoTenant) -> TcpStream {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let headers = "host: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0";
        let text =
            format!("{request} HTTP/1.1\r\n{headers}\r\nauthorization: Bearer {}\r\n\r\n", tenant.token);
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// What a tenant has of a feature.
    async fn feature(&self, tenant: &DemoTenant, key: &str) -> Value {
        let shown = get("/api/entitlements").token(&tenant.token).send(self.at).await.json();
        shown["features"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone()
    }
}

async fn a_quota_that_is_used_up_is_429_with_the_time_to_wait<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let period = app.feature(&app.acme, "api_calls").await["period"].as_str().unwrap().to_owned();
    let sql = format!(
        "UPDATE tenancy_quota_counters SET used = 999 WHERE tenant_id = '{}' AND feature = 'api_calls' AND period = '{period}'",
        app.acme.id
    );
    app.raw(&app.acme.id, &sql).await;
    let change = async |tenant: &DemoTenant| {
        let mut answer = String::new();
        app.connect("DELETE /api/projects/none", tenant).await.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let headers: Vec<_> = head.lines().map(str::to_ascii_lowercase).collect();
        (headers, body.to_owned())
    };
    let (last, _) = change(&app.acme).await;
    assert!(last[0].contains(" 404 "), "the last unit: {last:?}");
    for _ in 0..3 {
        let (headers, body) = change(&app.acme).await;
        assert!(headers[0].contains(" 429 "), "{headers:?}");
        let header = |name: &str| {
            let found = headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.unwrap_or_else(|| panic!("no {name}: {headers:?}"))
        };
        let wait: u64 = header("retry-after").parse().unwrap();
        assert!((1..=86_400).contains(&wait), "{wait}");
        assert!(header("ratelimit").starts_with("\"api_calls\";r=0;t="), "{headers:?}");
        assert!(header("ratelimit-policy").starts_with("\"api_calls\";q=1000;w="), "{headers:?}");
        assert!(body.contains("\"used\":1000") && body.contains("\"feature\":\"api_calls\""), "{body}");
    }
    let (other, _) = change(&app.globex).await;
    assert!(other[0].contains(" 404 "), "the other tenant has its own: {other:?}");
    assert_eq!(
        get("/api/projects").token(&app.acme.token).send(app.at).await.status,
        200,
        "reads cost nothing"
    );
    assert_eq!(app.feature(&app.acme, "api_calls").await["used"], 1_000);
}

async fn a_client_that_disconnects_during_an_export_leaves_nothing_held<DB: AppDb + TestBackend>() {
    const ROWS: usize = 12_000;
    let app = start::<DB>().await;
    // More than the connection buffers: 200 characters of four bytes in each row.
    let (numbers, id, order) = if app.settings.is_postgres() {
        (
            format!("generate_series(1, {ROWS}) AS n (n)"),
            "gen_random_uuid()",
            format!("'{}'", app.globex.order),
        )
    } else {
        let count = format!("SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}");
        let order = format!("X'{}'", app.globex.order.replace('-', ""));
        (format!("(WITH RECURSIVE n AS ({count}) SELECT n FROM n) AS n"), "randomblob(16)", order)
    };
    let sql = format!(
        "INSERT INTO orders (tenant_id, id, project_id, title, amount_cents, status, created_us) \
         SELECT tenant_id, {id}, project_id, '{}', 1, 'open', created_us FROM orders, {numbers} WHERE id = {order}",
        "\u{1d11e}".repeat(200)
    );
    app.raw(&app.globex.id, &sql).await;
    let state = async || {
        let rows = app.feature(&app.globex, "exported_rows").await;
        let held = app.feature(&app.globex, "exports").await["held"].as_u64().unwrap();
        (rows["used"].as_u64().unwrap(), rows["held"].as_u64().unwrap(), held)
    };
    let mut so_far = 0;
    for _ in 0..3 {
        let mut client = app.connect("GET /api/orders/export", &app.globex).await;
        let mut some = vec![0; 16 * 1024];
        client.read_exact(&mut some).await.unwrap();
        assert!(some.starts_with(b"HTTP/1.1 200 "));
        let (_, rows, places) = state().await;
        assert!(rows > 0 && places == 1, "{rows} rows and {places} places are held while it is sent");
        drop(client);
        let deadline = Instant::now() + Duration::from_secs(30);
        let used = loop {
            match state().await {
                (used, 0, 0) => break used,
                other => assert!(Instant::now() < deadline, "still held: {other:?}"),
            }
        };
        let sent = used - so_far;
        assert!(sent > 0 && sent < ROWS as u64, "what was sent is counted: {sent}");
        so_far = used;
    }
    assert_eq!(app.feature(&app.acme, "exported_rows").await["used"], 0);
}

async fn a_race_for_the_last_unit_has_one_winner<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let request = post("/api/projects", json!({ "name": format!("p{n}") })).token(&app.acme.token);
            let at = app.at;
            tokio::spawn(async move { request.send(at).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 19, "{statuses:?}");
    let projects = get("/api/projects").token(&app.acme.token).send(app.at).await.json();
    assert_eq!(projects["items"].as_array().unwrap().len(), 3);
}

async fn a_signed_stripe_event_changes_plan_and_status_at_once<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let now = SystemClock.now().seconds();
    assert_eq!(app.tenant("acme").await, ("free".to_owned(), "active".to_owned()));
    let activate = subscription(&app.acme.id, "active", now - 60);
    assert_eq!(app.stripe(&activate).await.json(), json!({ "received": "applied" }));
    assert_eq!(app.tenant("acme").await, ("pro".to_owned(), "active".to_owned()));
    assert_eq!(get("/api/orders/export").token(&app.acme.token).send(app.at).await.status, 200);
    assert_eq!(app.stripe(&activate).await.json(), json!({ "received": "duplicate" }));

    app.stripe(&subscription(&app.acme.id, "past_due", now - 50)).await;
    assert_eq!(app.tenant("acme").await, ("pro".to_owned(), "past_due".to_owned()));
    assert_eq!(
        get("/api/plan").token(&app.acme.token).send(app.at).await.json()["tenant"]["status"],
        "past_due"
    );

    // Every request of a suspended tenant is rejected, by token and by host. The other tenant is not affected.
    app.stripe(&subscription(&app.acme.id, "unpaid", now - 40)).await;
    let body = json!({ "name": "x" });
    let some = Uuid::now_v7();
    for request in [
        get("/api/projects"),
        get(format!("/api/projects/{some}")),
        post("/api/projects", &body),
        put(format!("/api/projects/{some}"), &body),
        delete(format!("/api/projects/{some}")),
        get("/api/orders"),
        get(format!("/api/orders/{}", app.acme.order)),
        post("/api/orders", &body),
        put(format!("/api/orders/{some}"), &body),
        delete(format!("/api/orders/{}", app.acme.order)),
        get("/api/orders/export"),
        get("/api/usage"),
        get("/api/audit"),
        get("/api/plan"),
    ] {
        let by_token = request.clone().token(&app.acme.token).send(app.at).await;
        assert_eq!(by_token.problem(), (403, "tenant-suspended".to_owned()));
    }
    // An unauthenticated caller gets the same response as for a tenant that does not exist.
    let by_host = get("/api/usage").host("acme.localhost").send(app.at).await;
    assert_eq!(by_host.problem(), (404, "tenant-unknown".to_owned()));
    assert_eq!(by_host, get("/api/usage").host("nobody.localhost").send(app.at).await);
    assert_eq!(get("/api/plan").token(&app.globex.token).send(app.at).await.status, 200);

    // An older event that arrives late changes nothing; the next one ends the suspension.
    assert_eq!(app.stripe(&subscription(&app.acme.id, "active", now - 45)).await.json()["received"], "stale");
    assert_eq!(app.tenant("acme").await.1, "suspended");
    app.stripe(&subscription(&app.acme.id, "active", now - 30)).await;
    assert_eq!(get("/api/plan").token(&app.acme.token).send(app.at).await.json()["plan"]["key"], "pro");

    app.stripe(&subscription(&app.acme.id, "canceled", now - 20)).await;
    assert_eq!(app.tenant("acme").await, ("free".to_owned(), "active".to_owned()));
    assert_eq!(app.tenant("globex").await, ("pro".to_owned(), "active".to_owned()), "globex is unchanged");
    let events = get("/api/audit?limit=1").token(&app.acme.token).send(app.at).await.json();
    assert_eq!(events["items"][0]["actor"], json!({ "kind": "system", "id": "stripe" }));
}

async fn an_event_signed_by_stripes_own_sdk_activates_pro_within_one_request<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let now = SystemClock.now().seconds();
    let body = subscription(&app.acme.id, "active", now).to_string();
    let request = json!({ "secret": WEBHOOK_SECRET, "sign": [{ "body": body, "time": now }], "verify": [] });
    let response = tokio::task::spawn_blocking(move || sdk::ask_the_sdk(&request)).await.unwrap();
    let signature = response["signed"][0].as_str().unwrap();
    let sent = post("/webhooks/stripe", &body).header("stripe-signature", signature).send(app.at).await;
    assert_eq!((sent.status, sent.json()), (200, json!({ "received": "applied" })));
    let plan = get("/api/plan").token(&app.acme.token).send(app.at).await.json();
    assert_eq!((&plan["plan"]["key"], &plan["tenant"]["status"]), (&json!("pro"), &json!("active")));
    assert_eq!(app.tenant("globex").await, ("pro".to_owned(), "active".to_owned()));
}

async fn an_event_that_stripe_did_not_sign_changes_nothing<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let now = SystemClock.now();
    let event = subscription(&app.acme.id, "active", now.seconds()).to_string();
    let good = sign(WEBHOOK_SECRET, event.as_bytes(), now);
    let old = sign(WEBHOOK_SECRET, event.as_bytes(), Timestamp::from_seconds(now.seconds() - 301));
    let other = sign("whsec_other", event.as_bytes(), now);
    let changed = event.replace("active", "canceled");
    let webhook =
        |body: &str, signature: &str| post("/webhooks/stripe", body).header("stripe-signature", signature);
    for request in [
        post("/webhooks/stripe", &event),
        webhook(&event, ""),
        webhook(&event, &old),
        webhook(&event, &other),
        webhook(&changed, &good),
        webhook(&event, &good).header("stripe-signature", &good),
    ] {
        assert_eq!(request.send(app.at).await.status, 400);
    }
    assert_eq!(app.tenant("acme").await, ("free".to_owned(), "active".to_owned()));
    assert_eq!(webhook(&event, &good).send(app.at).await.status, 200);
    assert_eq!(app.tenant("acme").await.0, "pro");
}

async fn the_tenant_comes_from_the_token_or_the_subdomain_and_they_must_agree<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let plan = || get("/api/plan");
    let slug = |response: http::Response| response.json()["tenant"]["slug"].as_str().unwrap().to_owned();
    assert_eq!(slug(plan().host("acme.localhost:3000").send(app.at).await), "acme");
    assert_eq!(slug(plan().host("GLOBEX.localhost").send(app.at).await), "globex");
    assert_eq!(slug(plan().token(&app.globex.token).send(app.at).await), "globex");
    assert_eq!(slug(plan().token(&app.acme.token).host("acme.localhost").send(app.at).await), "acme");

    let conflict = plan().token(&app.acme.token).host("globex.localhost").send(app.at).await;
    assert_eq!(conflict.problem(), (403, "tenant-conflict".to_owned()));
    assert_eq!(plan().send(app.at).await.problem(), (400, "tenant-missing".to_owned()));
    assert_eq!(
        plan().host("nobody.localhost").send(app.at).await.problem(),
        (404, "tenant-unknown".to_owned())
    );
    assert_eq!(plan().token("x.y.z").send(app.at).await.problem(), (401, "credential-invalid".to_owned()));
    // A change needs a credential.
    let create = post("/api/projects", json!({ "name": "x" }));
    let unauthenticated = create.clone().host("globex.localhost").send(app.at).await;
    assert_eq!(unauthenticated.problem(), (401, "credential-missing".to_owned()));
    assert_eq!(create.host("globex.localhost").token(&app.globex.token).send(app.at).await.status, 201);
    // A header of a client does not select a tenant, and a body cannot name one.
    let header = plan().token(&app.acme.token).header("x-tenant-id", &app.globex.id).send(app.at).await;
    assert_eq!(slug(header), "acme");
    let body = json!({ "name": "x", "tenant_id": app.globex.id });
    let rejected = post("/api/projects", body).token(&app.acme.token).send(app.at).await;
    assert_eq!(rejected.problem(), (400, "invalid-input".to_owned()));
}

async fn a_token_signed_with_eddsa_is_accepted<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let now = SystemClock.now().seconds();
    let claims = json!({
        "iss": "saas", "aud": "saas", "sub": "eve", "tenant_id": app.globex.id, "iat": now, "exp": now + 60,
    });
    let key = EncodingKey::from_ed_pem(include_bytes!("ed25519.pem")).unwrap();
    let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).unwrap();
    let order = get(format!("/api/orders/{}", app.globex.order)).token(&token).send(app.at).await;
    assert_eq!(order.status, 200, "{order:?}");
    assert_eq!(get(format!("/api/orders/{}", app.acme.order)).token(&token).send(app.at).await.status, 404);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged =
        format!("{signed}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    assert_eq!(get("/api/plan").token(&forged).send(app.at).await.status, 401);
}

async fn the_page_loads_nothing_from_other_hosts<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let page = get("/").send(app.at).await;
    assert_eq!(page.status, 200);
    assert!(page.headers.iter().any(|header| header.starts_with("content-type: text/html")));
    assert!(page.body.contains("name=\"viewport\""), "the page must fit phones");
    for foreign in ["src=\"http", "src='http", "href=\"http", "href='http", "//cdn", "@import", "url(http"] {
        assert!(!page.body.contains(foreign), "{foreign}");
    }
}

on_every_database!(
    no_tenant_reaches_orders_of_another,
    a_tenant_manages_its_data,
    lists_come_in_pages,
    what_the_plan_does_not_allow_is_rejected_with_the_upgrade_url,
    changes_and_exports_are_charged_to_their_tenant,
    members_hold_the_seats_of_the_plan,
    changes_that_come_too_fast_are_rejected_and_not_charged,
    a_quota_that_is_used_up_is_429_with_the_time_to_wait,
    a_client_that_disconnects_during_an_export_leaves_nothing_held,
    a_race_for_the_last_unit_has_one_winner,
    a_signed_stripe_event_changes_plan_and_status_at_once,
    an_event_signed_by_stripes_own_sdk_activates_pro_within_one_request,
    an_event_that_stripe_did_not_sign_changes_nothing,
    the_tenant_comes_from_the_token_or_the_subdomain_and_they_must_agree,
    a_token_signed_with_eddsa_is_accepted,
    the_page_loads_nothing_from_other_hosts,
);
