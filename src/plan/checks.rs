//! The checks of a catalog that concern several plans: inheritance, the order of plans, add-ons.

use std::collections::BTreeMap;

use super::feature::FeatureKind;
use super::file::{CatalogFile, Declaration, PlanEntry, Value};
use super::locate::Fault;

/// Gives each plan the values of the plan that it extends, where it has none of its own.
pub(super) fn inherit(plans: &mut BTreeMap<String, PlanEntry>) -> Result<(), Fault> {
    let keys: Vec<_> = plans.keys().cloned().collect();
    for key in &keys {
        let (mut seen, mut next) = (vec![key.clone()], plans[key].extends.clone());
        while let Some(parent) = next {
            let path = ["plans", key, "extends"];
            let Some(entry) = plans.get(&parent) else {
                return Err(Fault::new(
                    &path,
                    format!("the plan `{key}` extends `{parent}`, which is not in the catalog"),
                ));
            };
            if seen.contains(&parent) {
                return Err(Fault::new(
                    &path,
                    format!("the plan `{key}` extends itself: {} -> {parent}", seen.join(" -> ")),
                ));
            }
            let (values, parents_next) = (entry.features.clone(), entry.extends.clone());
            let database = entry.database;
            let own = plans.get_mut(key).expect("a key of the map");
            for (feature, value) in values {
                own.features.entry(feature).or_insert(value);
            }
            own.database = own.database.or(database);
            seen.push(parent);
            next = parents_next;
        }
    }
    Ok(())
}

pub(super) fn check_order(file: &CatalogFile) -> Result<(), Fault> {
    for (at, plan) in file.order.iter().enumerate() {
        if !file.plans.contains_key(plan) {
            return Err(Fault::new(
                &["order"],
                format!("`order` names `{plan}`, which is not in the catalog"),
            ));
        }
        if file.order[..at].contains(plan) {
            return Err(Fault::new(&["order"], format!("`order` names `{plan}` twice")));
        }
    }
    Ok(())
}

/// An add-on turns a flag on, or adds to a limit.
pub(super) fn check_grants(
    addon: &str,
    grants: &BTreeMap<String, Value>,
    declared: &BTreeMap<String, Declaration>,
) -> Result<(), Fault> {
    for (key, value) in grants {
        let at = |text: String| {
            Fault::new(&["addons", addon, "grants", key], format!("the add-on `{addon}`: {text}"))
        };
        let Some(declared) = declared.get(key) else {
            return Err(at(format!("`{key}` is not declared in [features]; declare it, or fix the key")));
        };
        let is_valid = match value {
            Value::Flag(true) => declared.kind == FeatureKind::Flag,
            Value::Number(0..) => declared.has_limit(),
            Value::Text(text) => text == "unlimited" && declared.has_limit(),
            _ => false,
        };
        if !is_valid {
            return Err(at(format!(
                "`{key}` is {}: grant `true` for a flag, or a number to add to a limit",
                declared.kind
            )));
        }
    }
    Ok(())
}
