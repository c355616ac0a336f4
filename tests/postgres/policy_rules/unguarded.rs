//! A table without a policy is reported: without a tenant, outside of the search path, or none at all.

use tenancy::isolation::{PolicyPlan, RlsPolicies};
use tenancy_sql::Schema;

use super::said;
use crate::policy_fixture::{Shop, run};

const TABLES: &str = "
    CREATE TABLE orders (tenant_id uuid NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id));
    CREATE TABLE secrets (id bigint, token text);
    CREATE TABLE base (words text); CREATE TABLE child (tenant_id uuid NOT NULL) INHERITS (base);
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM orders;
    CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.hidden (tenant_id uuid NOT NULL, words text);
    CREATE TABLE elsewhere.numbered (tenant_id int NOT NULL); CREATE TABLE elsewhere.plain (words text);
    CREATE TABLE elsewhere.shared (tenant_id uuid)";

const TOML: &str = "shared = [\"elsewhere.shared\"]";

/// The objects, without the reasons.
fn unguarded(plan: &PolicyPlan) -> Vec<&str> {
    plan.unguarded().iter().map(tenancy::isolation::PolicyChange::object).collect()
}

async fn plan(shop: &mut Shop, with_role: bool) -> PolicyPlan {
    let schema = Schema::from_toml(TOML).unwrap();
    let policies = RlsPolicies::new(&schema);
    let policies = if with_role { policies.runtime_role(&shop.role) } else { policies };
    policies.apply(&mut shop.owner).await.unwrap();
    policies.plan(&mut shop.owner).await.unwrap()
}

#[tokio::test]
async fn a_table_without_a_policy_counts_unless_the_role_does_not_reach_it() {
    let mut shop = Shop::new(TABLES).await;
    let all = [
        "materialized view public.counted",
        "table public.base",
        "table public.secrets",
        "table elsewhere.hidden",
        "table elsewhere.numbered",
    ];
    // Without a role every object counts, because its readers are unknown.
    let by_nobody = plan(&mut shop, false).await;
    assert!(by_nobody.is_empty());
    assert_eq!((unguarded(&by_nobody), by_nobody.tables()), (all.to_vec(), 2));
    assert!(by_nobody.advice().is_empty(), "{:?}", said(by_nobody.advice()));

    // With a role the objects are advice, until the role gets a right: its own, of a group, of PUBLIC, or on one
    // column.
    let mut granted = plan(&mut shop, true).await;
    assert_eq!(unguarded(&granted), [""; 0]);
    assert_eq!(granted.advice().len(), all.len() + 1, "{:?}", said(granted.advice()));
    let (group, _group) = crate::policy_fixture::new_role(&format!("NOLOGIN ROLE {}", shop.role)).await;
    for (right, reached) in [
        (format!("GRANT SELECT (token) ON secrets TO {}", shop.role), "table public.secrets"),
        (format!("GRANT DELETE ON base TO {group}"), "table public.base"),
        ("GRANT SELECT ON counted TO PUBLIC".to_owned(), "materialized view public.counted"),
        (format!("GRANT INSERT ON elsewhere.hidden TO {}", shop.role), "table elsewhere.hidden"),
        ("GRANT SELECT ON elsewhere.plain TO PUBLIC".to_owned(), "table elsewhere.plain"),
    ] {
        run(&mut shop.owner, &right).await;
        let next = plan(&mut shop, true).await;
        let more: Vec<_> =
            unguarded(&next).into_iter().filter(|one| !unguarded(&granted).contains(one)).collect();
        assert_eq!(more, [reached], "{right}");
        granted = next;
    }
    let file = granted.sql();
    assert!(
        file.contains("\n-- Tables and views without a policy.")
            && file.contains("\n-- table elsewhere.hidden: its schema"),
        "{file}"
    );

    // Once declared, secured or out of reach, no object is left.
    run(
        &mut shop.owner,
        "REVOKE ALL ON secrets, base, counted, elsewhere.plain FROM PUBLIC; DROP TABLE secrets; DROP MATERIALIZED VIEW counted;
         ALTER TABLE elsewhere.hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    )
    .await;
    run(&mut shop.owner, &format!("REVOKE ALL ON base FROM {group}")).await;
    let left = plan(&mut shop, true).await;
    assert_eq!(unguarded(&left), [""; 0], "{:?}", said(left.unguarded()));
}

#[tokio::test]
async fn a_schema_that_is_added_to_the_search_path_gets_its_policies() {
    let mut shop =
        Shop::new("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.hidden (tenant_id uuid NOT NULL)").await;
    let schema = Schema::new("tenant_id").unwrap();
    let before = RlsPolicies::new(&schema).plan(&mut shop.owner).await.unwrap();
    assert_eq!(
        (before.is_empty(), before.tables(), unguarded(&before)),
        (true, 0, vec!["table elsewhere.hidden"])
    );
    run(&mut shop.owner, "SET search_path = public, elsewhere").await;
    RlsPolicies::new(&schema).apply(&mut shop.owner).await.unwrap();
    run(&mut shop.owner, "RESET search_path").await;
    // The policies are found from any search path.
    let after = RlsPolicies::new(&schema).plan(&mut shop.owner).await.unwrap();
    assert!(after.is_empty() && after.unguarded().is_empty(), "{after:?}");
}

#[tokio::test]
async fn a_database_without_tenants_is_compared_with_nothing() {
    let mut shop = Shop::new("CREATE TABLE countries (code text)").await;
    let schema = Schema::from_toml("shared = [\"countries\"]").unwrap();
    let plan = RlsPolicies::new(&schema).plan(&mut shop.owner).await.unwrap();
    assert!(plan.is_empty() && plan.unguarded().is_empty());
    assert_eq!(plan.tables(), 0);
}

#[tokio::test]
async fn a_partition_of_a_shared_table_is_shared_and_another_child_is_not() {
    let mut shop = Shop::new(
        "CREATE TABLE countries (code text) PARTITION BY LIST (code);
         CREATE TABLE countries_eu PARTITION OF countries FOR VALUES IN ('se');
         CREATE TABLE words (word text); CREATE TABLE more (secret text) INHERITS (words)",
    )
    .await;
    run(&mut shop.owner, &format!("GRANT SELECT, DELETE ON countries_eu, more TO {}", shop.role)).await;
    let schema = Schema::from_toml("shared = [\"countries\", \"words\"]").unwrap();
    let plan = RlsPolicies::new(&schema).runtime_role(&shop.role).plan(&mut shop.owner).await.unwrap();
    assert_eq!(unguarded(&plan), ["table public.more"]);
    // A partition is read through its parent, so a grant on it is neither required nor revoked, if it only reads.
    let of_partition: Vec<_> =
        plan.changes().iter().filter(|step| step.object() == "table public.countries_eu").collect();
    let [write] = &*of_partition else { panic!("{plan:?}") };
    assert!(write.sql().starts_with("REVOKE DELETE ON \"public\".\"countries_eu\""), "{}", write.sql());
}
