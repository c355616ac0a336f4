//! [`Report::to_sarif`]: a report in SARIF 2.1.0, for code scanning.

use serde_json::{Value, json};

use super::check::{Check, Severity};
use super::report::{Finding, Report};

impl Report {
    /// Returns the report in SARIF 2.1.0, for code scanning. Every check is a rule. Every finding is a result whose
    /// location is the database object.
    pub fn to_sarif(&self) -> Value {
        let rules: Vec<Value> = Check::ALL.iter().map(|check| rule(*check)).collect();
        let results: Vec<Value> = self.findings().iter().map(result).collect();
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "tenancy doctor",
                    "version": env!("CARGO_PKG_VERSION"),
                    "informationUri": env!("CARGO_PKG_REPOSITORY"),
                    "rules": rules,
                } },
                "results": results,
                "properties": { "role": self.role, "database": self.database, "places": self.places, "tables": self.tables, "provenWithRows": self.proven },
            }],
        })
    }
}

fn rule(check: Check) -> Value {
    json!({
        "id": check.id(),
        "name": format!("{check:?}"),
        "shortDescription": { "text": check.title() },
        "fullDescription": { "text": check.help() },
        "help": { "text": check.help() },
        "helpUri": format!("{}/blob/main/docs/reference/doctor-checks.md#checks", env!("CARGO_PKG_REPOSITORY")),
        "defaultConfiguration": { "level": level(check.severity()) },
    })
}

fn result(finding: &Finding) -> Value {
    let check = finding.check();
    let place = finding.placement().map_or_else(String::new, |place| format!("{place}: "));
    let mut result = json!({
        "ruleId": check.id(),
        "ruleIndex": Check::ALL.iter().position(|known| *known == check),
        "level": level(finding.severity()),
        "message": { "text": format!("{place}{}: {}\nTo fix it: {}", check.title(), finding.detail(), finding.fix()) },
        "locations": [{ "logicalLocations": [{ "fullyQualifiedName": finding.object(), "kind": "resource" }] }],
        "partialFingerprints": { "object/v1": format!("{}:{place}{}", check.id(), finding.object()) },
    });
    if let Some(placement) = finding.placement() {
        result["properties"] = json!({ "placement": placement.to_string() });
    }
    result
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Advice => "note",
    }
}
