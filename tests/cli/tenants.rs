//! `tenancy tenants` lists tenants and changes one, with an audit event, and leaves the others alone.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use sqlx::Pool;
use tenancy::TenantDb;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::placement::Provision;
use tenancy::plan::Catalog;
use tenancy::scope::StoredEvent;
use tenancy::store::SqlStore;
use tenancy::tenant::{Slug, Tenant, TenantStatus, TenantStore};

use crate::cli::{database, tenancy, write};
use crate::common::{CATALOG, Cleanup, TestBackend};
use crate::on_every_database;

struct World<DB: TestBackend> {
    pool: Pool<DB>,
    store: Arc<SqlStore<DB>>,
    url: String,
    dir: tempfile::TempDir,
    _cleanup: Cleanup,
}

impl<DB: TestBackend + Provision> World<DB> {
    async fn new() -> Self {
        let (pool, url, cleanup) = database::<DB>().await;
        let store = Arc::new(SqlStore::new(pool.clone()));
        store.migrate().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "plans.toml", CATALOG);
        Self { pool, store, url, dir, _cleanup: cleanup }
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let args = [&["tenants"], args, &["--url", &self.url]].concat();
        tenancy(&args, self.dir())
    }

    /// The output of a command that succeeds.
    fn ok(&self, args: &[&str]) -> String {
        let (code, out, errors) = self.run(args);
        assert_eq!((code, errors.as_str()), (0, ""), "{args:?}: {out}");
        out
    }

    fn refused(&self, args: &[&str], why: &str) {
        let (code, out, errors) = self.run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(errors.contains(why), "{args:?}: {errors}");
        assert!(!errors.contains("://"), "{errors}");
    }

    async fn tenant(&self, slug: &str) -> Arc<Tenant> {
        self.store.by_slug(&Slug::parse(slug).unwrap()).await.unwrap().unwrap()
    }

    fn both(&self) {
        for slug in ["acme", "globex"] {
            self.ok(&["create", slug, "--plan", "free", "--catalog", "plans.toml"]);
        }
    }
}

async fn an_operator_takes_a_tenant_through_its_life<DB: TestBackend + Provision>() {
    let world = World::<DB>::new().await;
    assert_eq!(world.ok(&["list"]), "0 tenants\n");
    world.both();
    let globex = world.tenant("globex").await;
    assert_eq!(world.tenant("acme").await.status(), TenantStatus::Active);
    let suspend = ["suspend", "acme", "--reason", "moves", "--message", "Back at 14:00 UTC."];
    let suspended = world.ok(&suspend);
    assert!(suspended.contains("status   suspended, set by operator\n"), "{suspended}");
    assert!(suspended.contains("reason   moves\nmessage  Back at 14:00 UTC.\n"), "{suspended}");
    assert_eq!(world.ok(&["show", "acme"]), suspended);
    let directory = TenantDirectory::new(world.store.clone(), Arc::new(Catalog::from_toml(CATALOG).unwrap()));
    let acme = world.tenant("acme").await;
    let refused = directory.context(acme.id(), Actor::user("ada")).await.unwrap_err();
    assert_eq!(refused.to_string(), "this tenant is suspended: Back at 14:00 UTC.");
    let list = world.ok(&["list", "--status", "suspended"]);
    assert!(list.contains("acme") && !list.contains("globex") && list.ends_with("1 tenant\n"), "{list}");
    let id = acme.id().to_string();
    assert!(world.ok(&["resume", &id, "--reason", "moved"]).contains("status   active, set by operator\n"));
    world.ok(&["rename", "acme", "--slug", "acme-corp", "--name", "Acme\u{1b}[31m Corporation"]);
    let renamed = world.tenant("acme-corp").await;
    assert_eq!((renamed.id(), renamed.name()), (acme.id(), "Acme\u{1b}[31m Corporation"));
    let list = world.ok(&["list"]);
    assert!(list.contains("Acme [31m Corporation") && list.ends_with("2 tenants\n"), "{list}");
    assert_eq!(*world.tenant("globex").await, *globex, "nothing of the other tenant changed");

    let lines = world.ok(&["list", "--json", "--plan", "free"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().any(|tenant| tenant["slug"] == "acme-corp" && tenant["status"] == "active"));

    let db = TenantDb::from_pool(world.pool.clone()).build().await.unwrap();
    let actions = async |tenant: &Tenant| {
        let ctx = directory.context(tenant.id(), Actor::user("ada")).await.unwrap();
        let events = StoredEvent::newest(&db.scope(&ctx), None, 50).await.unwrap();
        let action = |event: &StoredEvent| {
            let event: Value = serde_json::from_str(event.json()).unwrap();
            assert_eq!(event["actor"]["id"], "tenancy tenants");
            event["action"].as_str().unwrap().to_owned()
        };
        events.iter().map(action).collect::<Vec<_>>()
    };
    let expected = ["tenant.rename", "tenant.resume", "tenant.suspend", "tenant.create"];
    assert_eq!(actions(&renamed).await, expected);
    assert_eq!(actions(&globex).await, ["tenant.create"]);
}

async fn what_is_not_possible_is_refused_and_changes_nothing<DB: TestBackend + Provision>() {
    let world = World::<DB>::new().await;
    world.both();
    let before = world.ok(&["list", "--json"]);
    world.refused(&["show", "initech"], "no tenant has the slug or the id");
    world.refused(&["suspend", "initech", "--reason", "gone"], "no tenant has the slug or the id");
    world.refused(&["suspend", "acme", "--reason", ""], "the reason is empty");
    world.refused(&["suspend", "acme"], "--reason");
    world
        .refused(&["resume", "acme", "--reason", "paid"], "only one that `suspend` suspended can be resumed");
    world.refused(&["rename", "acme", "--slug", "globex"], "a tenant with this id or slug exists");
    world.refused(&["rename", "acme", "--slug", "A_B"], "`A_B`");
    world.refused(&["rename", "acme"], "--slug");
    world.refused(
        &["create", "acme", "--plan", "free", "--catalog", "plans.toml"],
        "a tenant with this id or slug exists",
    );
    world.refused(&["create", "initech", "--plan", "gold", "--catalog", "plans.toml"], "gold");
    world.refused(
        &["create", "initech", "--plan", "free", "--catalog", "none.toml"],
        "it must be a plan catalog",
    );
    world.refused(&["list", "--status", "sleeping"], "possible values");
    assert_eq!(world.ok(&["list", "--json"]), before);
}

on_every_database!(
    an_operator_takes_a_tenant_through_its_life,
    what_is_not_possible_is_refused_and_changes_nothing,
);
