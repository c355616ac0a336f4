//! Tests of a catalog with every kind of feature, and of what one tenant has beside its plan.

use super::*;
use crate::clock::Timestamp;
use crate::error::ErrorKind;

const FULL: &str = r#"
version = 3
upgrade_url = "/upgrade"
order = ["free", "pro", "enterprise"]

[features]
projects  = { kind = "gauge", unit = "projects", warn = [80, 100] }
export    = { kind = "flag" }
beta      = { kind = "flag", disabled = true }
retention = { kind = "config" }
calls     = { kind = "quota", unit = "requests", period = "month", warn = [80, 100], timeout_ms = 250 }
per_user  = { kind = "quota", period = { seconds = 60 }, per = "user" }
requests  = { kind = "rate", on_failure = "closed" }
exports   = { kind = "concurrency", lease_seconds = 300 }

[plans.free.features]
projects  = 3
export    = false
beta      = true
retention = 30
calls     = 1000
per_user  = 10
requests  = { limit = 10, seconds = 1, burst = 5 }
exports   = 1

[plans.pro]
extends = "free"
version = 2
prices  = ["price_pro"]
[plans.pro.features]
projects = { limit = 10, per_seat = 2, overage = { grace = { percent = 10 } }, warn = [50] }
export   = true
calls    = { limit = 50000, overage = "allow" }
[plans.pro.versions.1.features]
projects  = 8
export    = false
beta      = false
retention = 30
calls     = 9000
per_user  = 10
requests  = "unlimited"
exports   = 1

[plans.enterprise]
extends = "pro"
[plans.enterprise.features]
projects  = "unlimited"
retention = "for ever"

[plans.old]
extends = "free"

[addons.more]
prices = ["price_more"]
grants = { projects = 5, export = true, calls = "unlimited" }
"#;

const RETENTION: Config = Config::new("retention");
const NOW: Timestamp = Timestamp::from_seconds(1_795_932_000);

fn terms(json: &str) -> PlanTerms {
    serde_json::from_str(json).unwrap()
}

#[test]
fn every_kind_has_its_value() {
    let catalog = Catalog::from_toml(FULL).unwrap();
    let pro = catalog.entitlements("pro").unwrap();
    let projects = pro.rule("projects").unwrap();
    assert_eq!((projects.limit(), projects.hard_limit()), (Limit::AtMost(10), Limit::AtMost(11)));
    assert_eq!((projects.warn_percent(), projects.unit()), (&[50][..], Some("projects")));
    let calls = pro.rule("calls").unwrap();
    assert_eq!((calls.limit(), calls.hard_limit()), (Limit::AtMost(50_000), Limit::Unlimited));
    assert_eq!((calls.period(), calls.warn_percent()), (Period::Month, &[80, 100][..]));
    assert_eq!((calls.on_failure(), calls.timeout().as_millis()), (FailurePolicy::Closed, 250));
    assert_eq!(pro.rule("per_user").unwrap().per(), CountPer::User);
    assert!(matches!(pro.feature("requests").unwrap(), Feature::Rate(rate) if rate.burst() == 5));
    assert!(
        matches!(pro.feature("exports").unwrap(), Feature::Concurrency(rule) if rule.lease_seconds() == 300)
    );
    assert_eq!(RETENTION.integer(&pro).unwrap(), 30, "inherited");
    let enterprise = catalog.entitlements("enterprise").unwrap();
    assert_eq!(RETENTION.text(&enterprise).unwrap(), "for ever");
    assert_eq!(RETENTION.integer(&enterprise).unwrap_err().kind(), ErrorKind::UnknownFeature);
    assert_eq!(enterprise.rule("calls").unwrap().limit(), Limit::AtMost(50_000), "inherited from `pro`");
    assert!(!pro.flag("beta").unwrap(), "a disabled feature is off in every plan");
}

#[test]
fn json_is_read_as_toml_is() {
    let value: toml::Value = toml::from_str(FULL).unwrap();
    let json = serde_json::to_string_pretty(&value).unwrap();
    let [from_toml, from_json] = [Catalog::from_toml(FULL).unwrap(), Catalog::from_json(&json).unwrap()];
    for plan in from_toml.plans() {
        assert_eq!(plan.entitlements(), from_json.plan(plan.key()).unwrap().entitlements());
    }
}

#[test]
fn an_error_names_the_line_in_toml_and_in_json() {
    for (from, to, blame) in [
        ("projects  = 3", "projects  = \"x\"", "projects"),
        ("calls     = 1000", "calls     = { limit = 1000, seconds = 3 }", "calls"),
        ("calls     = 1000", "calls     = { limitt = 1000 }", "calls"),
        ("period = \"month\"", "period = \"fortnight\"", "calls"),
        ("grants = { projects = 5", "grants = { retention = 5", "retention"),
        ("extends = \"pro\"", "extends = \"prro\"", "extends"),
        ("exports   = { kind", "exports   = { warn = [80], kind", "exports"),
    ] {
        let toml = FULL.replacen(from, to, 1);
        assert_ne!(toml, FULL, "{from}");
        let line = toml.lines().position(|line| line.contains(to)).unwrap() + 1;
        let error = Catalog::from_toml(&toml).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}: ")), "{to} in line {line}: {error}");
        let json = serde_json::to_string_pretty(&toml::from_str::<toml::Value>(&toml).unwrap()).unwrap();
        let error = Catalog::from_json(&json).unwrap_err().to_string();
        let line: usize = error.split("line ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
        let near: String = json.lines().skip(line.saturating_sub(8)).take(12).collect();
        assert!(near.contains(blame), "{to} near line {line}: {error}");
    }
}

#[test]
fn a_catalog_that_contradicts_itself_is_rejected() {
    for (from, to, reason) in [
        ("extends = \"free\"\nversion", "extends = \"enterprise\"\nversion", "extends itself"),
        ("order = [\"free\"", "order = [\"gold\"", "`order` names `gold`"),
        ("order = [\"free\", \"pro\"", "order = [\"pro\", \"pro\"", "names `pro` twice"),
        ("versions.1.features", "versions.2.features", "not a number below 2"),
        ("versions.1.features", "versions.old.features", "not a number below 2"),
        ("warn = [80, 100], timeout", "warn = [100, 80], timeout", "do not rise"),
        ("timeout_ms = 250", "timeout_ms = 0", "1 or more"),
        ("lease_seconds = 300", "on_failure = \"last_lease\"", "which has no lease"),
        ("period = { seconds = 60 }", "period = { seconds = 0 }", "1 or more"),
        ("period = { seconds = 60 }, ", "", "a quota without a `period`"),
        ("kind = \"flag\" }\nbeta", "kind = \"flag\", per = \"user\" }\nbeta", "has no `per`"),
        ("grace = { percent = 10 }", "grace = { percent = 0 }", "grace of 0"),
        ("grace = { percent = 10 }", "grace = { percent = 10, seconds = 9 }", "no `seconds`"),
        ("requests  = { limit = 10, seconds = 1", "requests  = { limit = 10", "without `seconds`"),
        ("requests  = { limit = 10, seconds = 1, burst = 5 }", "requests  = 10", "without `seconds`"),
        ("burst = 5", "burst = 0", "burst of 0"),
        ("{ kind = \"config\" }", "{ kind = \"config\", disabled = true }", "cannot be disabled"),
        ("grace = { percent = 10 }", "grace = { percent = 10, secondz = 9 }", "line 31"),
        ("versions.1.features", "versions.01.features", "not a number below 2"),
        ("retention = 30", "retention = true", "a config value"),
        ("exports   = 1", "exports   = { limit = 1, warn = [80] }", "has no `overage` and no `warn`"),
        ("grants = { projects = 5", "grants = { projects = false", "grant `true`"),
    ] {
        let text = FULL.replacen(from, to, 1);
        assert_ne!(text, FULL, "{from}");
        let error = Catalog::from_toml(&text).expect_err(to);
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(reason), "{to}: {error}");
    }
}

#[test]
fn keys_of_the_program_are_checked_at_start() {
    const EXPORT: Flag = Flag::new("export");
    const TYPO: Flag = Flag::new("exportt");
    const WRONG: Flag = Flag::new("projects");
    let catalog = Catalog::from_toml(FULL).unwrap().require(&[&EXPORT]).unwrap();
    assert!(EXPORT.is_on(&catalog.entitlements("pro").unwrap()).unwrap());
    let error = catalog.require(&[&EXPORT, &TYPO, &WRONG]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("no feature `exportt`") && text.contains("`projects` as a gauge, not as a flag"),
        "{text}"
    );
}

#[test]
fn plans_have_an_order() {
    let catalog = Catalog::from_toml(FULL).unwrap();
    let pro = catalog.entitlements("pro").unwrap();
    assert!(pro.is_at_least("free").unwrap() && pro.is_at_least("pro").unwrap());
    let denied = pro.require_plan("enterprise").unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::PlanTooLow);
    assert_eq!(denied.plan_denial().unwrap().required_plan.as_deref(), Some("enterprise"));
    assert_eq!(pro.is_at_least("gold").unwrap_err().kind(), ErrorKind::UnknownPlan);
    let error = catalog.clone().require_plans(&["pro", "gold", "enterprize"]).unwrap_err();
    assert!(error.to_string().contains("lacks `gold` and `enterprize`"), "{error}");
    assert!(catalog.clone().require_plans(&["free", "pro"]).is_ok());
    let old = catalog.entitlements("old").unwrap();
    assert_eq!(
        old.require_plan("free").unwrap_err().kind(),
        ErrorKind::UnknownPlan,
        "it has no place in the order"
    );
}

#[test]
fn a_pinned_tenant_keeps_its_version_until_it_changes_its_plan() {
    let catalog = Catalog::from_toml(FULL).unwrap();
    let pinned = terms(r#"{ "pinned": ["pro", 1] }"#);
    let old = catalog.entitlements_for("pro", &pinned, NOW).unwrap();
    assert_eq!((old.plan_version(), old.limit("projects").unwrap()), (1, Limit::AtMost(8)));
    let enterprise = catalog.entitlements_for("enterprise", &pinned, NOW).unwrap();
    assert_eq!(enterprise.limit("projects").unwrap(), Limit::Unlimited);
    let lost = catalog.entitlements_for("pro", &terms(r#"{ "pinned": ["pro", 7] }"#), NOW).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::UnknownPlan);
}

#[test]
fn seats_and_add_ons_raise_limits() {
    let catalog = Catalog::from_toml(FULL).unwrap();
    let bought = terms(r#"{ "seats": 4, "addons": ["more"] }"#);
    let own = catalog.entitlements_for("pro", &bought, NOW).unwrap();
    assert_eq!(own.limit("projects").unwrap(), Limit::AtMost(10 + 4 * 2 + 5));
    assert_eq!(own.limit("calls").unwrap(), Limit::Unlimited);
    let free = catalog.entitlements_for("free", &bought, NOW).unwrap();
    assert!(free.flag("export").unwrap());
    assert_eq!(free.limit("projects").unwrap(), Limit::AtMost(8), "no `per_seat` in this plan");
    let unknown = catalog.entitlements_for("pro", &terms(r#"{ "addons": ["less"] }"#), NOW).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Misconfigured);
}

fn with(terms: &mut PlanTerms, new: NewOverride) -> uuid::Uuid {
    let id = new.id();
    terms.add(new, "user:ada".to_owned(), NOW).unwrap();
    id
}

#[test]
fn overrides_have_dates_and_a_rank() {
    let catalog = Catalog::from_toml(FULL).unwrap();
    let limit = |terms: &PlanTerms, at| {
        catalog.entitlements_for("free", terms, at).unwrap().limit("projects").unwrap()
    };
    let (hour, day) = (std::time::Duration::from_hours(1), std::time::Duration::from_hours(24));
    let mut terms = PlanTerms::default();
    with(&mut terms, NewOverride::add("projects", 2, "ticket 1").until(NOW.after(hour)));
    assert_eq!(limit(&terms, NOW), Limit::AtMost(5));
    assert_eq!(limit(&terms, NOW.after(hour)), Limit::AtMost(3), "the end is not part of it");
    with(&mut terms, NewOverride::set("projects", FeatureValue::from(20), "ticket 2").from(NOW.after(day)));
    assert_eq!(limit(&terms, NOW), Limit::AtMost(5));
    assert_eq!(limit(&terms, NOW.after(day)), Limit::AtMost(20));
    let deny = with(&mut terms, NewOverride::deny("projects", "abuse"));
    assert_eq!(limit(&terms, NOW.after(day)), Limit::AtMost(0), "a denial precedes the rest");
    terms.end(deny, "user:bob".to_owned(), "talked to them".to_owned(), NOW.after(hour)).unwrap();
    assert_eq!(limit(&terms, NOW.after(day)), Limit::AtMost(20));
    assert_eq!(terms.overrides().len(), 3, "nothing is removed");
    assert_eq!(terms.overrides()[2].ended_by(), Some(("user:bob", "talked to them")));
    let again = terms.end(deny, "user:bob".to_owned(), "again".to_owned(), NOW.after(day)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::NotFound);
    let mut off = PlanTerms::default();
    with(&mut off, NewOverride::set("beta", FeatureValue::from(true), "ticket 3"));
    assert!(!catalog.entitlements_for("free", &off, NOW).unwrap().flag("beta").unwrap(), "disabled for all");
}

#[test]
fn an_override_that_does_not_fit_is_rejected() {
    let catalog = Catalog::from_toml(FULL).unwrap();
    for (new, kind) in [
        (NewOverride::add("exportt", 1, "r"), ErrorKind::UnknownFeature),
        (NewOverride::add("export", 1, "r"), ErrorKind::InvalidInput),
        (NewOverride::set("export", FeatureValue::from(3), "r"), ErrorKind::InvalidInput),
        (NewOverride::set("projects", FeatureValue::from(-3), "r"), ErrorKind::InvalidInput),
        (NewOverride::set("projects", FeatureValue::from("many"), "r"), ErrorKind::InvalidInput),
        (NewOverride::deny("retention", "r"), ErrorKind::InvalidInput),
    ] {
        assert_eq!(catalog.check_override(&new).unwrap_err().kind(), kind, "{new:?}");
    }
    let mut terms = PlanTerms::default();
    for new in [
        NewOverride::deny("export", " "),
        NewOverride::deny("export", "r").until(NOW),
        NewOverride::deny("export", "r").from(NOW.after(std::time::Duration::from_secs(1))).until(NOW),
    ] {
        let error = terms.add(new, "user:ada".to_owned(), NOW).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    with(&mut terms, NewOverride::set("export", FeatureValue::from(3), "written before the catalog changed"));
    let stale = catalog.entitlements_for("free", &terms, NOW).unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Misconfigured, "{stale}");
}

/// A number alone replaces the limit, and not the overage of the plan.
#[test]
fn an_override_with_a_number_keeps_the_overage_of_the_plan() {
    let text = "version = 1\n[features]\nseats = { kind = \"gauge\", overage = \"allow\" }\n\
                [plans.free]\nfeatures = { seats = { limit = 3, overage = \"block\" } }";
    let catalog = Catalog::from_toml(text).unwrap();
    let mut terms = PlanTerms::default();
    with(&mut terms, NewOverride::set("seats", FeatureValue::from(5), "r"));
    let own = catalog.entitlements_for("free", &terms, NOW).unwrap();
    assert_eq!(own.rule("seats").unwrap().hard_limit(), Limit::AtMost(5));
}

#[test]
fn q42_warning_levels_are_rounded_up() {
    let catalog = Catalog::from_toml(FULL).unwrap();
    let crossed = |limit: Limit, old, new| {
        let mut terms = PlanTerms::default();
        with(&mut terms, NewOverride::set("calls", FeatureValue::from(limit), "r"));
        catalog.entitlements_for("free", &terms, NOW).unwrap().rule("calls").unwrap().crossed(old, new)
    };
    assert_eq!(crossed(Limit::AtMost(3), 2, 3), [80, 100]);
    assert_eq!(crossed(Limit::AtMost(100), 70, 101), [80, 100]);
    assert_eq!(crossed(Limit::AtMost(100), 79, 80), [80]);
    assert!(crossed(Limit::AtMost(100), 80, 81).is_empty());
    assert!(crossed(Limit::AtMost(0), 0, 1).is_empty() && crossed(Limit::Unlimited, 0, 1).is_empty());
}

/// What was compiled for a tenant is used again while it is right, and only by the catalog that compiled it.
#[test]
fn entitlements_are_compiled_once_between_two_changes() {
    let catalog = Catalog::from_toml(FULL).unwrap();
    let other = Catalog::from_toml(&FULL.replacen("projects  = 3", "projects  = 4", 1)).unwrap();
    let hour = std::time::Duration::from_hours(1);
    let mut terms = PlanTerms::default();
    with(&mut terms, NewOverride::add("projects", 2, "r").from(NOW).until(NOW.after(hour)));
    let at = |catalog: &Catalog, plan, now| catalog.entitlements_for(plan, &terms, now).unwrap();
    let first = at(&catalog, "free", NOW);
    assert!(std::sync::Arc::ptr_eq(&first, &at(&catalog, "free", NOW.after(hour / 2))));
    assert_eq!(at(&catalog, "free", NOW.after(hour)).limit("projects").unwrap(), Limit::AtMost(3));
    assert_eq!(at(&catalog, "free", NOW).limit("projects").unwrap(), Limit::AtMost(5), "the clock went back");
    assert_eq!(at(&catalog, "pro", NOW).limit("projects").unwrap(), Limit::AtMost(12));
    assert_eq!(at(&other, "free", NOW).limit("projects").unwrap(), Limit::AtMost(6));
    let mut changed = terms.clone();
    with(&mut changed, NewOverride::deny("projects", "r"));
    let denied = catalog.entitlements_for("free", &changed, NOW).unwrap();
    assert_eq!(denied.limit("projects").unwrap(), Limit::AtMost(0), "a copy is compiled anew");
}
