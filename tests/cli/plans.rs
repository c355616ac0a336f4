//! `tenancy plans diff` names what a new catalog changes for each plan and each tenant.

use serde_json::Value;
use tenancy::context::Actor;
use tenancy::placement::Provision;
use tenancy::plan::{Catalog, NewOverride};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, TenantStore};

use crate::cli::{database, tenancy, write};
use crate::common::TestBackend;
use crate::on_every_database;

const FEATURES: &str = r#"
[features]
sso      = { kind = "flag" }
seats    = { kind = "gauge" }
calls    = { kind = "quota", period = "month" }
requests = { kind = "rate" }
support  = { kind = "config" }
"#;

const OLD: &str = r#"
[plans.free]
features = { sso = false, seats = 3, calls = 100, requests = { limit = 10, seconds = 1 }, support = "mail" }
[plans.pro]
features = { sso = true, seats = 9, calls = 1000, requests = { limit = 10, seconds = 1 }, support = "mail" }
[plans.legacy]
features = { sso = true, seats = 9, calls = 1000, requests = { limit = 10, seconds = 1 }, support = "mail" }
"#;

/// The free plan gets more calls, the pro plan loses a seat, other rules and a text, and the legacy plan ends.
const NEW: &str = r#"
[plans.free]
features = { sso = false, seats = 3, calls = 200, requests = { limit = 10, seconds = 1 }, support = "mail" }
[plans.pro]
features = { sso = false, seats = 8, calls = "unlimited", requests = { limit = 10, seconds = 60 }, support = "phone" }
"#;

const PLANS: &str = "\
plan free
  calls                    100 -> 200
plan legacy: the new catalog does not have this plan
plan pro
  calls                    1000 -> unlimited
  requests                 10 in 1 s, 10 at once -> 10 in 60 s, 10 at once
  seats                    9 -> 8, less
  sso                      on -> off, less
  support                  \"mail\" -> \"phone\"
";

async fn each_tenant_is_compared_with_what_it_has<DB: TestBackend + Provision>() {
    let (pool, url, _cleanup) = database::<DB>().await;
    let store = SqlStore::new(pool);
    store.migrate().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = [(1, OLD), (2, NEW)].map(|(n, plans)| format!("version = {n}{FEATURES}{plans}"));
    write(dir.path(), "old.toml", &old);
    write(dir.path(), "new.toml", &new);
    let mut ids = Vec::new();
    for (slug, plan) in [("acme", "pro"), ("globex", "free"), ("initech", "legacy"), ("hooli", "free")] {
        ids.push(store.insert(NewTenant::active(slug, plan).unwrap()).await.unwrap().id().clone());
    }
    // What was agreed with a tenant is not taken away by a catalog.
    let old = Catalog::from_toml(&old).unwrap();
    let agreed = NewOverride::set("calls", 500.into(), "contract 17");
    store.add_override(&old, &ids[3], agreed, &Actor::user("ada")).await.unwrap();

    let diff = |args: &[&str]| tenancy(&[&["plans", "diff"], args].concat(), dir.path());
    assert_eq!(diff(&["old.toml", "new.toml"]), (1, PLANS.to_owned(), String::new()));
    let same = diff(&["old.toml", "old.toml", "--url", &url]);
    let nothing = "the plans are equal\n4 tenants: 4 unchanged, 0 with less, 0 with more or other values, 0 without a plan\n";
    assert_eq!(same, (0, nothing.to_owned(), String::new()));

    let (code, out, errors) = diff(&["old.toml", "new.toml", "--url", &url]);
    assert_eq!((code, errors.as_str()), (1, ""));
    let tenants = out.strip_prefix(PLANS).unwrap();
    assert!(
        tenants.contains("tenant acme, on pro\n")
            && tenants.contains("  seats                    9 -> 8, less\n")
    );
    assert!(tenants.contains("tenant globex, on free\n  calls                    100 -> 200\n"), "{tenants}");
    assert!(tenants.contains("tenant initech, on legacy: in the new catalog: "), "{tenants}");
    assert!(!tenants.contains("hooli"), "{tenants}");
    let end = "4 tenants: 1 unchanged, 1 with less, 1 with more or other values, 1 without a plan\n";
    assert!(tenants.ends_with(end), "{tenants}");

    let (_, out, _) = diff(&["old.toml", "new.toml", "--url", &url, "--json"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["summary"]["less"], 1);
    let acme = lines.iter().find(|line| line["tenant"]["slug"] == "acme").unwrap();
    assert_eq!(acme["changes"].as_array().unwrap().len(), 5);

    let (code, _, errors) = diff(&["old.toml", "none.toml"]);
    assert!(code == 2 && errors.contains("none.toml"), "{errors}");
}

on_every_database!(each_tenant_is_compared_with_what_it_has);
