//! `tenancy usage` shows what each tenant uses in every placement, beside the limits of its plan.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::Sqlite;
use tenancy::TenantContext;
use tenancy::billing::UsageMeter;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::quota::{Quota, Quotas};
use tenancy::tenant::{NewTenant, Slug, Suspension, TenantStore};

use crate::cli::write;
use crate::common::{CATALOG, TestBackend};
use crate::on_every_database;
use crate::shop::{PROJECTS, Shop, World};

const CALLS: Quota = Quota::new("calls");
const EXPORTS: Quota = Quota::new("exports");
const GIGABYTES: UsageMeter = UsageMeter::new("gigabytes");

/// The plans of the fixture with two quotas, one of which counts for each user.
fn plans() -> String {
    let declared = "[features]\ncalls = { kind = \"quota\", period = \"year\" }\n\
                    exports = { kind = \"quota\", period = \"lifetime\", per = \"user\" }";
    let mut plans = CATALOG.replace("[features]", declared);
    for (old, new) in [
        ("projects = 5", "projects = 2, calls = 100, exports = 9"),
        ("projects = 50", "projects = 50, calls = 100, exports = 9"),
        ("\"unlimited\"", "\"unlimited\", calls = \"unlimited\", exports = 9"),
    ] {
        plans = plans.replace(&format!("{old},"), &format!("{new},"));
    }
    plans
}

/// What `acme` of each placement does; `globex` does nothing.
async fn use_it<DB: Shop>(world: &World<DB>, ctx: &TenantContext) {
    let mut tx = world.db.begin(ctx).await.unwrap();
    PROJECTS.acquire(&mut tx, 3).await.unwrap();
    GIGABYTES.record(&mut tx, 7).await.unwrap();
    GIGABYTES.record(&mut tx, 5).await.unwrap();
    tx.commit().await.unwrap();
    let quotas = Quotas::new(Arc::new(world.store.clone()));
    let catalog = Catalog::from_toml(&plans()).unwrap();
    let directory = TenantDirectory::new(Arc::new(world.store.clone()), catalog);
    for user in ["ada", "bob"] {
        let ctx = directory.context(ctx.tenant_id(), Actor::user(user)).await.unwrap();
        quotas.charge(&ctx, CALLS, 20).await.unwrap();
        quotas.charge(&ctx, EXPORTS, 1).await.unwrap();
    }
}

/// The lines of the tenants, and the summary.
fn lines(out: &str) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut last = lines.pop().unwrap();
    (lines, last["summary"].take())
}

async fn each_tenant_is_shown_with_what_it_uses<DB: Shop>() {
    let world = World::<DB>::new(false).await;
    write(world.dir.path(), "plans.toml", &plans());
    for [acme, _] in &world.tenants {
        use_it(&world, acme).await;
    }
    let closed = world.tenants[0][0].tenant();
    let suspension = Suspension::new("moves").unwrap();
    world.store.suspend(closed.id(), suspension, &Actor::user("ada")).await.unwrap();
    world.store.insert(NewTenant::new(Slug::parse("initech").unwrap(), "initech", "free")).await.unwrap();

    let (code, out, err) = world.command(&["usage", "--catalog", "plans.toml", "--json"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("provisioning is not finished: 1") && err.lines().count() == 1, "{err}");
    let (tenants, summary) = lines(&out);
    let (all, kinds) = (world.all().count(), DB::KINDS.len());
    assert_eq!((tenants.len(), summary), (all, json!({ "read": all, "over_limit": kinds, "failed": 0 })));
    for [acme, globex] in &world.tenants {
        let of = |ctx: &TenantContext| {
            let slug = ctx.tenant().slug().as_str();
            let found = tenants.iter().find(|line| line["slug"] == slug).unwrap().clone();
            assert_eq!(found["place"], json!(ctx.tenant().placement()));
            assert_eq!((&found["plan"], &found["error"]), (&json!("free"), &Value::Null));
            found
        };
        let (acme, globex) = (of(acme), of(globex));
        assert_eq!(acme["gauges"], json!([{ "feature": "projects", "used": 3, "limit": 2 }]));
        assert_eq!(
            acme["metered"],
            json!([{ "meter": "gigabytes", "waiting": 12, "given_up": 0, "withheld": 0 }])
        );
        let quotas = acme["quotas"].as_array().unwrap();
        let of = |feature: &str, subject: Value| {
            let found =
                quotas.iter().find(|one| one["feature"] == feature && one["subject"] == subject).unwrap();
            (found["used"].as_u64().unwrap(), found["limit"].as_u64().unwrap())
        };
        assert_eq!((quotas.len(), of("calls", Value::Null)), (3, (40, 100)), "{quotas:?}");
        assert_eq!(of("exports", json!("user:ada")), (1, 9));
        assert_eq!(of("exports", json!("user:bob")), (1, 9));
        assert!(quotas[0]["period"].as_str().unwrap().starts_with("year:"), "{quotas:?}");
        assert_eq!(globex["gauges"], json!([{ "feature": "projects", "used": 0, "limit": 2 }]));
        assert_eq!(globex["metered"], json!([]));
        assert_eq!(globex["quotas"].as_array().unwrap().len(), 1, "{globex}");
        assert_eq!(globex["quotas"][0]["used"], 0);
    }

    // For people, and one tenant only.
    let slug = world.tenants[1][0].tenant().slug().as_str();
    let (code, out, _) = world.command(&["usage", "--catalog", "plans.toml", "--tenant", slug]);
    assert_eq!(code, 0);
    let row = |feature: &str, kind: &str, used: &str, limit: &str, rest: &str| {
        format!("{slug:<24} {feature:<24} {kind:<6} {used:>12} {limit:>12}  {rest}").trim_end().to_owned()
    };
    let year = lines_with(&out, "calls").split_whitespace().last().unwrap().to_owned();
    let wanted = [
        format!("{:<24} {:<24} {:<6} {:>12} {:>12}", "tenant", "feature", "kind", "used", "limit"),
        row("projects", "gauge", "3", "2", "over the limit by 1"),
        row("calls", "quota", "40", "100", &year),
        row("exports (user:ada)", "quota", "1", "9", "lifetime"),
        row("exports (user:bob)", "quota", "1", "9", "lifetime"),
        row("gigabytes", "meter", "12", "", "not sent"),
        "1 tenant: 1 read, 1 over a limit, 0 failed".to_owned(),
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), wanted);
}

fn lines_with<'a>(out: &'a str, part: &str) -> &'a str {
    out.lines().find(|line| line.contains(part)).unwrap()
}

async fn a_tenant_that_cannot_be_read_stops_no_other<DB: Shop>() {
    let world = World::<DB>::new(false).await;
    let slug = world.tenants[1][1].tenant().slug().to_string();
    world.store.update(&world.tenants[1][1].tenant().with_plan("gold")).await.unwrap();
    let (code, out, err) = world.command(&["usage", "--catalog", "plans.toml"]);
    assert_eq!((code, err.as_str()), (2, ""));
    assert!(lines_with(&out, &format!("{slug}: ")).contains("gold"), "{out}");
    let all = world.all().count();
    assert!(out.ends_with(&format!("{all} tenants: {} read, 0 over a limit, 1 failed\n", all - 1)), "{out}");
    let (code, out, _) = world.command(&["usage", "--catalog", "plans.toml", "--json", "--tenant", &slug]);
    let (tenants, summary) = lines(&out);
    assert_eq!(
        (code, &tenants[0]["error"]["kind"], &summary["failed"]),
        (2, &json!("unknown-plan"), &json!(1))
    );
    let (code, _, err) = world.command(&["usage"]);
    assert!(code == 2 && err.contains("--catalog"), "{err}");
}

/// What was given up and what is withheld is shown beside what waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_that_is_never_sent_is_named() {
    let world = World::<Sqlite>::new(false).await;
    let [acme, globex] = &world.tenants[0];
    for ctx in [acme, globex] {
        let mut tx = world.db.begin(ctx).await.unwrap();
        GIGABYTES.record(&mut tx, 7).await.unwrap();
        tx.commit().await.unwrap();
    }
    let pool = sqlx::SqlitePool::connect(&world.control_url).await.unwrap();
    let batch = |id: &str, value: u8, status: &str| {
        format!(
            "INSERT INTO tenancy_usage_batches (tenant_id, id, meter, minute, value, customer, status, due_us, attempts) \
             SELECT tenant_id, '{id}', meter, minute, {value}, 'cus_1', '{status}', 0, 1 FROM tenancy_usage \
             WHERE tenant_id = '{}'",
            acme.tenant_id()
        )
    };
    for sql in [
        batch("1", 20, "waiting"),
        batch("2", 30, "sent"),
        batch("3", 4, "rejected"),
        batch("4", 1, "invalid"),
        format!(
            "INSERT INTO tenancy_usage (tenant_id, id, meter, minute, value, withheld) \
             SELECT tenant_id, 'trial', meter, minute, 3, 'trial' FROM tenancy_usage WHERE tenant_id = '{}'",
            acme.tenant_id()
        ),
    ] {
        Sqlite::raw(&pool, &sql).await.unwrap();
    }
    let (code, out, err) = world.command(&["usage", "--catalog", "plans.toml"]);
    assert_eq!(code, 0, "{err}");
    let meter = |tenant: &TenantContext| {
        let slug = tenant.tenant().slug().as_str();
        let line = out.lines().find(|line| line.starts_with(slug) && line.contains(" meter ")).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(meter(acme), "gigabytes meter 27 not sent, 5 given up, 3 withheld in a trial");
    assert_eq!(meter(globex), "gigabytes meter 7 not sent");
}

on_every_database!(each_tenant_is_shown_with_what_it_uses, a_tenant_that_cannot_be_read_stops_no_other);
