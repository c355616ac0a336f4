//! The operator's page: only the operator's token opens it, and what it changes holds at once, for one tenant only.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jsonwebtoken::{EncodingKey, Header};
use saas::AppDb;
use serde_json::{Value, json};
use tenancy::clock::{Clock, SystemClock};

use super::common::TestBackend;
use super::http::{Request, Response, form, get, post, put};
use super::third_tenant::{ID, at_once, place, run_in_place, third};
use super::{DemoTenant, OPERATOR_TOKEN, Running, start, subscription};

const ORIGIN: &str = "http://127.0.0.1";

/// Every operation of the page.
fn operations(tenant: &str) -> Vec<Request> {
    let path = |rest: &str| format!("/operator/api/{rest}");
    vec![
        get("/operator"),
        get(path("tenants")),
        get(path("moves")),
        get(path(&format!("tenants/{tenant}"))),
        get(path(&format!("tenants/{tenant}/move?to=database"))),
        post(path(&format!("tenants/{tenant}/move")), json!({ "to": "database" })),
        post(path(&format!("tenants/{tenant}/move/go-on")), ""),
        post(path(&format!("tenants/{tenant}/move/roll-back")), ""),
        get(path("places")),
        get(path("migration")),
        get(path("doctor")),
        get(path("health")),
        post(path("migration"), ""),
        post(path(&format!("tenants/{tenant}/suspend")), json!({ "reason": "no operator" })),
        post(path(&format!("tenants/{tenant}/resume")), json!({ "reason": "no operator" })),
        get(path("no-such-operation")),
    ]
}

/// A token as a form sends it.
fn encoded(token: &str) -> String {
    token.replace(' ', "+").replace(',', "%2C")
}

/// Signs in with the form, and returns the cookie.
async fn sign_in(at: SocketAddr, token: &str) -> Response {
    form("/operator/session", format!("token={}", encoded(token))).header("origin", ORIGIN).send(at).await
}

fn cookie(response: &Response) -> String {
    let cookies: Vec<_> =
        response.headers.iter().filter_map(|line| line.strip_prefix("set-cookie: ")).collect();
    let [cookie] = cookies[..] else { panic!("{response:?}") };
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/operator"] {
        assert!(cookie.split("; ").any(|one| one == attribute), "{attribute}: {cookie}");
    }
    assert!(!cookie.contains(OPERATOR_TOKEN));
    cookie.split(';').next().unwrap().to_owned()
}

impl Running {
    pub(crate) async fn operate(&self, request: Request) -> Response {
        request.token(OPERATOR_TOKEN).send(self.at).await
    }

    /// What the page shows of a tenant.
    pub(crate) async fn operated(&self, slug: &str) -> Value {
        let page = self.operate(get("/operator/api/tenants")).await;
        assert_eq!(page.status, 200, "{page:?}");
        page.json()["tenants"].as_array().unwrap().iter().find(|one| one["slug"] == slug).unwrap().clone()
    }

    pub(crate) async fn change(&self, tenant: &DemoTenant, action: &str, body: Value) -> Response {
        self.operate(post(format!("/operator/api/tenants/{}/{action}", tenant.id), body)).await
    }

    /// The status and the code of a request of the tenant.
    pub(crate) async fn served(&self, tenant: &DemoTenant) -> (u16, String) {
        let response = get("/api/projects").token(&tenant.token).send(self.at).await;
        if response.status == 200 { (200, String::new()) } else { response.problem() }
    }
}

async fn without_the_token_nothing_is_shown_or_changed<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let other = "the token of another one, thirty-two byte";
    let prefix = &OPERATOR_TOKEN[..OPERATOR_TOKEN.len() - 1];
    for tenant in [&app.acme, &app.globex] {
        let mut rejected = 0;
        for request in operations(&tenant.id) {
            let basic = format!("Basic {OPERATOR_TOKEN}");
            let attempts = [
                request.clone(),
                request.clone().token(&tenant.token),
                request.clone().token(""),
                request.clone().token(other),
                request.clone().token(prefix),
                request.clone().header("authorization", &basic),
                request
                    .clone()
                    .header("cookie", &format!("operator={OPERATOR_TOKEN}"))
                    .header("origin", ORIGIN),
                request
                    .clone()
                    .header("cookie", &format!("operator={}", tenant.token))
                    .header("origin", ORIGIN),
                request.clone().header("cookie", "operator=").header("origin", ORIGIN),
            ];
            for attempt in attempts {
                let response = attempt.send(app.at).await;
                assert_eq!(response.status, 401, "{response:?}");
                assert!(response.headers.contains(&"www-authenticate: Bearer".to_owned()), "{response:?}");
                for known in
                    ["Acme", "Globex", "acme", "globex", &app.acme.id, &app.globex.id, OPERATOR_TOKEN]
                {
                    assert!(!response.body.contains(known), "{known}: {response:?}");
                }
                rejected += 1;
            }
        }
        assert_eq!(rejected, 144);
        for token in ["", other, prefix, &tenant.token] {
            let response = sign_in(app.at, token).await;
            assert_eq!(response.status, 401, "{response:?}");
            assert!(!response.headers.iter().any(|line| line.starts_with("set-cookie")), "{response:?}");
        }
        // In a URL the token is not read.
        let url = format!("/operator/api/tenants?token={}", encoded(OPERATOR_TOKEN));
        assert_eq!(get(url).send(app.at).await.status, 401);
        // The operator's token is not one of a tenant.
        let as_tenant = get("/api/projects").token(OPERATOR_TOKEN).send(app.at).await;
        assert_eq!(as_tenant.problem(), (401, "credential-invalid".to_owned()));
    }
    for tenant in [&app.acme, &app.globex] {
        assert_eq!(app.served(tenant).await.0, 200, "nothing was suspended");
    }
    assert_eq!(app.operate(get("/operator/api/migration")).await.json()["state"], "none");
    assert_eq!(app.operate(get("/operator/api/moves")).await.json(), json!([]), "nothing was moved");
}

async fn the_cookie_works_on_the_page_only<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    let signed_in = sign_in(app.at, OPERATOR_TOKEN).await;
    assert_eq!(signed_in.status, 303, "{signed_in:?}");
    assert!(signed_in.headers.contains(&"location: /operator".to_owned()));
    let cookie = cookie(&signed_in);
    let with_cookie = |request: Request| request.header("cookie", &format!("other=1; {cookie}"));
    let page = with_cookie(get("/operator")).send(app.at).await;
    assert!(page.status == 200 && page.body.contains("data-session=\"open\""), "{page:?}");
    assert!(!page.body.contains("globex") && !page.body.contains(&app.acme.id), "the page has no data");
    let policy = page.headers.iter().find(|line| line.starts_with("content-security-policy: ")).unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "{policy}");
    assert!(page.headers.contains(&"cache-control: no-store".to_owned()), "{:?}", page.headers);
    for host in ["http://", "https://", "//cdn"] {
        assert!(!page.body.contains(host), "the page loads nothing from other hosts");
    }
    assert_eq!(with_cookie(get("/operator/api/tenants")).send(app.at).await.status, 200);

    // A change needs the origin of the page: another page, port, subdomain or scheme is none.
    let reason = json!({ "reason": "a forged request" });
    for tenant in [&app.acme, &app.globex] {
        let suspend = || with_cookie(post(format!("/operator/api/tenants/{}/suspend", tenant.id), &reason));
        let to = json!({ "to": "database" });
        let move_it = || with_cookie(post(format!("/operator/api/tenants/{}/move", tenant.id), &to));
        let other_port = format!("http://127.0.0.1:{}", app.at.port());
        let origins = ["null", "https://evil.example", &other_port, "http://acme.localhost", "127.0.0.1", ""];
        for origin in origins {
            for request in [suspend(), move_it()] {
                let forged = request.header("origin", origin).send(app.at).await;
                assert_eq!(forged.problem(), (401, "credential-invalid".to_owned()), "{origin}");
            }
        }
        assert_eq!(suspend().send(app.at).await.status, 401, "no origin");
        assert_eq!(move_it().send(app.at).await.status, 401, "no origin");
        assert_eq!(app.operate(get("/operator/api/moves")).await.json(), json!([]), "nothing was moved");
        assert_eq!(app.served(tenant).await.0, 200);
        let own = suspend().header("origin", ORIGIN).send(app.at).await;
        assert_eq!((own.status, app.served(tenant).await.0), (200, 403), "{own:?}");
    }
    // A cookie that ended, one for another audience, and one of another signer.
    let now = SystemClock.now().seconds();
    for (audience, expires, secret, status) in [
        ("operator", now + 60, OPERATOR_TOKEN, 200),
        ("operator", now - 3600, OPERATOR_TOKEN, 401),
        ("saas", now + 60, OPERATOR_TOKEN, 401),
        ("operator", now + 60, app.settings.jwt_secret.as_str(), 401),
    ] {
        let key = EncodingKey::from_secret(secret.as_bytes()).unwrap();
        let claims = json!({ "aud": audience, "exp": expires });
        let forged = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
        let request = get("/operator/api/tenants").header("cookie", &format!("operator={forged}"));
        assert_eq!(request.send(app.at).await.status, status, "{claims}");
    }
    // A forged sign-in or sign-out does nothing either.
    let token = format!("token={}", encoded(OPERATOR_TOKEN));
    for path in ["/operator/session", "/operator/session/end"] {
        let forged = form(path, &token).header("origin", "https://evil.example").send(app.at).await;
        assert_eq!(forged.status, 401, "{forged:?}");
        assert!(!forged.headers.iter().any(|line| line.starts_with("set-cookie")));
    }
    let end = with_cookie(form("/operator/session/end", "")).header("origin", ORIGIN).send(app.at).await;
    assert_eq!(end.status, 303);
    assert!(
        end.headers
            .iter()
            .any(|line| line.starts_with("set-cookie: operator=; ") && line.contains("Max-Age=0"))
    );

    // Another token signs other cookies.
    let settings =
        saas::Settings { operator_token: Some(OPERATOR_TOKEN.replace("the", "one")), ..app.settings.clone() };
    let at = super::super::serve::<DB>(&settings).await;
    assert_eq!(with_cookie(get("/operator/api/tenants")).send(at).await.status, 401);
    assert_eq!(get("/operator/api/tenants").token(OPERATOR_TOKEN).send(at).await.status, 401);
    // Without a configured token the program makes one, which nobody can guess.
    let settings = saas::Settings { operator_token: None, ..app.settings.clone() };
    let at = super::super::serve::<DB>(&settings).await;
    for token in ["", OPERATOR_TOKEN] {
        assert_eq!(get("/operator/api/tenants").token(token).send(at).await.status, 401);
    }
}

async fn suspend_and_resume_hold_at_once_for_one_tenant<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    for (own, slug, other) in [(&app.acme, "acme", &app.globex), (&app.globex, "globex", &app.acme)] {
        // The server has cached both.
        assert_eq!((app.served(own).await.0, app.served(other).await.0), (200, 200));
        let before = app.operated(slug).await;
        assert_eq!((&before["status"], &before["suspension"]), (&json!("active"), &Value::Null));

        let body = json!({ "reason": "ticket 17", "message": "We call you today." });
        let suspended = app.change(own, "suspend", body).await;
        assert_eq!(
            (suspended.status, &suspended.json()["status"]),
            (200, &json!("suspended")),
            "{suspended:?}"
        );
        let refused = get("/api/projects").token(&own.token).send(app.at).await;
        assert_eq!(refused.problem(), (403, "tenant-suspended".to_owned()));
        assert!(
            refused.body.contains("We call you today.") && !refused.body.contains("ticket 17"),
            "{refused:?}"
        );
        assert_eq!(app.served(other).await.0, 200, "the other tenant is served");

        // Its usage is shown all the same.
        let shown = app.operated(slug).await;
        assert_eq!(shown["suspension"]["reason"], "ticket 17");
        assert_eq!(shown["suspension"]["message"], "We call you today.");
        let since = shown["suspension"]["since"].as_i64().unwrap();
        assert!((0..600).contains(&(SystemClock.now().seconds() - since)), "{since}");
        assert_eq!((&shown["usage"], &shown["plan"]), (&before["usage"], &before["plan"]));

        for bad in [json!({}), json!({ "reason": " " }), json!({ "reason": "x", "until": 1 }), json!("x")] {
            let rejected = app.change(own, "resume", bad.clone()).await;
            assert_eq!(rejected.problem(), (400, "invalid-input".to_owned()), "{bad}");
        }
        assert_eq!(app.served(own).await.1, "tenant-suspended");
        let resumed = app.change(own, "resume", json!({ "reason": "paid, ticket 17" })).await;
        assert_eq!((resumed.status, &resumed.json()["status"]), (200, &json!("active")), "{resumed:?}");
        assert_eq!((app.served(own).await.0, app.served(other).await.0), (200, 200));

        let events = get("/api/audit?limit=2").token(&own.token).send(app.at).await.json();
        let actions: Vec<_> = events["items"].as_array().unwrap().iter().map(|one| &one["action"]).collect();
        assert_eq!(actions, ["tenant.resume", "tenant.suspend"]);
        assert_eq!(events["items"][0]["actor"], json!({ "kind": "user", "id": "operator" }));
    }
    for id in ["nobody", ID, "..", "%2e%2e"] {
        let path = format!("/operator/api/tenants/{id}/suspend");
        assert_eq!(app.operate(post(path, json!({ "reason": "x" }))).await.status, 404, "{id}");
    }
    let wrong_method = app.operate(put(format!("/operator/api/tenants/{}/suspend", app.acme.id), "{}")).await;
    assert_eq!(wrong_method.status, 404);
}

async fn the_page_shows_plans_places_and_usage<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    third(app.at).await;
    let tenants = app.operate(get("/operator/api/tenants")).await.json();
    assert_eq!((tenants["tenants"].as_array().unwrap().len(), &tenants["next"]), (3, &Value::Null));
    let feature = |tenant: &Value, key: &str| {
        let usage = tenant["usage"].as_array().unwrap().iter();
        usage.clone().find(|one| one["feature"] == key).unwrap_or_else(|| panic!("{tenant}")).clone()
    };
    let (acme, globex) = (app.operated("acme").await, app.operated("globex").await);
    assert_eq!((&acme["plan"]["key"], &globex["plan"]["key"]), (&json!("free"), &json!("pro")));
    assert_eq!(
        feature(&acme, "projects"),
        json!({ "feature": "projects", "used": 2, "limit": 3, "existing": 2 })
    );
    assert_eq!(feature(&globex, "orders")["used"], 12);
    assert_eq!(feature(&acme, "api_calls")["limit"], 1000);
    let umbrella = app.operated("umbrella").await;
    assert_eq!(umbrella["placement"], json!(place(&app.settings)));
    assert_eq!(
        (&acme["placement"], feature(&umbrella, "orders")["used"].clone()),
        (&json!("shared tables"), json!(9))
    );

    // What billing suspended, the operator does not resume.
    let now = SystemClock.now().seconds();
    app.stripe(&subscription(&app.globex.id, "unpaid", now)).await;
    let unpaid = app.operated("globex").await;
    assert_eq!((&unpaid["status"], &unpaid["suspension"]), (&json!("suspended"), &Value::Null));
    assert!(app.change(&app.globex, "resume", json!({ "reason": "x" })).await.status >= 400);
    assert_eq!(app.served(&app.globex).await.1, "tenant-suspended");
    assert_eq!(app.served(&app.acme).await.0, 200);

    // One role does both on PostgreSQL here, so nothing could refuse an old placement: the plan names what to do.
    if app.settings.is_postgres() {
        let path = format!("/operator/api/tenants/{}/move", app.acme.id);
        let plan = app.operate(get(format!("{path}?to=schema"))).await.json();
        assert!(plan["refused"][0].as_str().unwrap().contains("`PostgresPlaces::runtime_role`"), "{plan}");
        assert_eq!(app.operate(post(path, json!({ "to": "schema" }))).await.status, 200);
        let refused = app.moved().await;
        assert_eq!(
            (&refused["state"], &refused["can_go_on"]),
            (&json!("stopped"), &json!(false)),
            "{refused}"
        );
        assert!(refused["error"].as_str().unwrap().contains("cannot be moved"), "{refused}");
        assert_eq!(app.operated("acme").await["placement"], "shared tables");
    }

    let health = app.operate(get("/operator/api/health")).await.json();
    assert!(health["error"].is_null() && health["shared"]["max"].as_u64().unwrap() >= 8, "{health}");
    let doctor = app.operate(get("/operator/api/doctor")).await.json();
    if app.settings.is_postgres() {
        assert_eq!((&doctor["examined"], &doctor["note"]), (&json!(true), &Value::Null));
        assert!(doctor["report"]["tables"].as_u64().unwrap() >= 3, "{doctor}");
        assert!(doctor["report"]["findings"].is_array(), "{doctor}");
    } else {
        assert_eq!((&doctor["examined"], &doctor["report"]), (&json!(false), &Value::Null));
        assert!(doctor["note"].as_str().unwrap().contains("examines PostgreSQL"));
    }
}

/// Waits until no migrations run, and returns their progress.
async fn migrated(app: &Running) -> Value {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let progress = app.operate(get("/operator/api/migration")).await.json();
        if progress["state"] != "running" {
            return progress;
        }
        assert!(Instant::now() < until, "{progress}");
        tokio::task::yield_now().await;
    }
}

async fn migrations_run_in_every_place_with_progress<DB: AppDb + TestBackend>() {
    let app = start::<DB>().await;
    third(app.at).await;
    let places = async || app.operate(get("/operator/api/places")).await.json();
    let states = |places: &Value| -> Vec<(String, String)> {
        let text = |place: &Value, field: &str| place[field].as_str().unwrap().to_owned();
        let all = places.as_array().unwrap().iter();
        all.map(|place| (text(place, "place"), text(place, "state"))).collect()
    };
    let both = |umbrella: &str| {
        let pair = |place: &str, state: &str| (place.to_owned(), state.to_owned());
        vec![pair("shared tables", "current"), pair("Umbrella Corporation", umbrella)]
    };
    assert_eq!(states(&places().await), both("current"));

    // A migration is missing in one place. The run of a second click is the first one's.
    let tables = "DROP TABLE orders; DROP TABLE projects; DROP TABLE members; DROP TABLE _sqlx_migrations";
    run_in_place(&app.settings, tables).await;
    let missing = places().await;
    assert_eq!(states(&missing), both("differs"));
    assert!(!missing[1]["missing"].as_array().unwrap().is_empty(), "{missing}");
    let at = app.at;
    let click = || async move { post("/operator/api/migration", "").token(OPERATOR_TOKEN).send(at).await };
    for click in at_once(4, click).await {
        assert_eq!((click.status, &click.json()["total"]), (200, &json!(2)), "{click:?}");
    }
    let done = migrated(&app).await;
    assert_eq!((&done["state"], &done["error"], &done["total"]), (&json!("done"), &Value::Null, &json!(2)));
    assert_eq!(done["places"].as_array().unwrap().len(), 2, "{done}");
    assert_eq!(states(&places().await), both("current"));

    // A place that cannot be migrated stops no other, and the error is shown.
    run_in_place(&app.settings, &format!("{tables}; CREATE TABLE projects (id int)")).await;
    assert_eq!(app.operate(post("/operator/api/migration", "")).await.status, 200);
    let failed = migrated(&app).await;
    assert_eq!(
        (&failed["state"], failed["places"].as_array().unwrap().len()),
        (&json!("failed"), 2),
        "{failed}"
    );
    let of = |name: &str| {
        failed["places"].as_array().unwrap().iter().find(|one| one["place"] == name).unwrap().clone()
    };
    assert_eq!(of("shared tables"), json!({ "place": "shared tables", "versions": [], "error": null }));
    assert!(of("Umbrella Corporation")["error"].as_str().unwrap().contains("migration"), "{failed}");
    assert_eq!(states(&places().await), both("differs"));
    for tenant in [&app.acme, &app.globex] {
        assert_eq!(app.served(tenant).await.0, 200);
    }
}

on_every_database!(
    without_the_token_nothing_is_shown_or_changed,
    the_cookie_works_on_the_page_only,
    suspend_and_resume_hold_at_once_for_one_tenant,
    the_page_shows_plans_places_and_usage,
    migrations_run_in_every_place_with_progress,
);
