//! Tests of the catalog.

use super::*;
use crate::error::ErrorKind;

const GOOD: &str = r#"
    version = 7
    fallback = "free"
    upgrade_url = "/upgrade"
    [features]
    projects = { kind = "gauge", unit = "projects" }
    export = { kind = "flag" }
    [plans.free]
    features = { projects = 3, export = false }
    [plans.pro]
    title = "Pro"
    prices = ["price_1", "pro_monthly"]
    features = { projects = 50, export = true }
    [plans.enterprise]
    features = { projects = "unlimited", export = true }
"#;

#[test]
fn a_catalog_has_the_limits_of_each_plan() {
    let catalog = Catalog::from_toml(GOOD).unwrap();
    assert_eq!(catalog.plans().map(Plan::key).collect::<Vec<_>>(), ["enterprise", "free", "pro"]);
    assert_eq!(catalog.entitlements("enterprise").unwrap().limit("projects").unwrap(), Limit::Unlimited);
    assert_eq!(catalog.plan_for_price("pro_monthly").unwrap().title(), "Pro");
    assert!(catalog.plan_for_price("price_2").is_none());
    assert_eq!(catalog.fallback().unwrap().key(), "free");
    let denied = catalog.entitlements("free").unwrap().require("export").unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::FeatureNotInPlan);
    assert_eq!(denied.plan_denial().unwrap().upgrade_url.as_deref(), Some("/upgrade"));
}

#[test]
fn a_catalog_without_features_needs_no_empty_tables() {
    let catalog = Catalog::from_toml("version = 1\n[plans.free]").unwrap();
    let free = catalog.entitlements("free").unwrap();
    assert_eq!(free.flag("export").unwrap_err().kind(), ErrorKind::UnknownFeature);
}

#[test]
fn an_unknown_key_is_an_error() {
    let catalog = Catalog::from_toml(GOOD).unwrap();
    let free = catalog.entitlements("free").unwrap();
    assert_eq!(catalog.plan("gold").unwrap_err().kind(), ErrorKind::UnknownPlan);
    for error in [
        free.flag("exports").unwrap_err(),
        free.require("exports").unwrap_err(),
        free.limit("export").unwrap_err(),
        free.flag("projects").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::UnknownFeature);
    }
}

#[test]
fn an_invalid_catalog_is_rejected_with_the_reason() {
    for (from, to, reason) in [
        (
            "features = { projects = 3, export = false }",
            "features = { projects = 3 }",
            "`free` has no value for `export`",
        ),
        (
            "features = { projects = 3, export",
            "features = { seats = 1, projects = 3, export",
            "names `seats`",
        ),
        ("projects = 3", "projects = -1", "a whole number from 0"),
        ("projects = 3", "projects = true", "is a gauge"),
        ("projects = 3", "projects = \"many\"", "a whole number from 0"),
        ("projects = 3", "projects = 9007199254740992", "write \"unlimited\""),
        ("export = true", "export = 1", "is a flag"),
        ("\"price_1\", \"pro_monthly\"", "\"price_1\", \"price_1\"", "buys `pro` twice"),
        (
            "prices = [\"price_1\", \"pro_monthly\"]",
            "prices = [\"price_1\"]\n    seat_prices = [\"price_1\"]",
            "buys `pro` and seats of `pro`",
        ),
        (
            "[plans.enterprise]",
            "[addons.support]\n    prices = [\"price_1\"]\n    [plans.enterprise]",
            "buys `pro` and the add-on `support`",
        ),
        (
            "[plans.enterprise]",
            "[plans.enterprise]\n    seat_prices = [\"pro_monthly\"]",
            "buys seats of `enterprise` and `pro`",
        ),
        ("[plans.enterprise]", "[addons.support]\n    [plans.enterprise]", "prices"),
        ("fallback = \"free\"", "fallback = \"gold\"", "`gold` is not in the catalog"),
        ("kind = \"flag\"", "kind = \"flagg\"", "flagg"),
        ("features = { projects = 50, export = true }", "", "`pro` has no value for `export`"),
        (
            "[features]\n    projects = { kind = \"gauge\", unit = \"projects\" }\n    export = { kind = \"flag\" }",
            "",
            "which [features] does not declare",
        ),
        ("version = 7", "", "version"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let error = Catalog::from_toml(&text).expect_err(to);
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(reason), "{to}: {error}");
    }
}
