//! Judges the role, its settings, and the version of the server.

use tenancy_sql::Schema;

use super::catalog::{Catalog, Role, Setting};
use super::check::Check;
use super::examined::Examined;
use super::report::{Finding, Fix};

pub(super) fn judge(catalog: &Catalog, schema: &Schema, found: &mut Vec<Finding>) {
    let server = &catalog.server;
    if !catalog.place_only {
        database(catalog, found);
    }
    if !catalog.superuser() {
        for role in &server.roles {
            let owned: Vec<_> = catalog
                .tenants(schema)
                .map(|(table, _)| table)
                .filter(|table| table.owner == role.name)
                .collect();
            owner(role, &owned, found);
        }
    }
    for (what, why) in &catalog.faults {
        found.push(unexamined(what, why));
    }
}

/// Judges what the schemas of one database have in common.
fn database(catalog: &Catalog, found: &mut Vec<Finding>) {
    let server = &catalog.server;
    for role in &server.roles {
        exempt(role, server.version, found);
        predefined(role, &server.roles, found);
    }
    if server.large_objects > 0 && !catalog.superuser() {
        found.push(Finding::new(
            Check::LargeObjects,
            server.role.clone(),
            format!("the role can read {} large objects", server.large_objects),
            Fix::Step("keep files in rows (bytea) or in an object store, and lo_unlink them".to_owned()),
        ));
    }
    settings(catalog, found);
    if let Some((fixed, cve)) = vulnerability(server.version) {
        found.push(Finding::new(
            Check::ServerVersion,
            format!("PostgreSQL {}", version(server.version)),
            format!("{cve} is fixed in {}", version(fixed)),
            Fix::Step("install the newest minor release of this version and restart the server".to_owned()),
        ));
    }
}

pub(super) fn unexamined(what: &str, why: &str) -> Finding {
    Finding::new(
        Check::Unexamined,
        what,
        format!("the database returned: {why}"),
        Fix::Step("run the doctor again; if the finding persists, grant the role read access, or remove the obstacle".to_owned()),
    )
}

fn exempt(role: &Role, version: u32, found: &mut Vec<Finding>) {
    let mut why = Vec::new();
    if role.superuser {
        why.push("is a superuser");
    }
    if role.bypass {
        why.push("has BYPASSRLS");
    }
    if role.replication && role.own {
        why.push("has REPLICATION");
    }
    // Since PostgreSQL 16 such a role can grant itself only roles that it created.
    if role.createrole && version < 160_000 {
        why.push("has CREATEROLE, and can grant itself any role");
    }
    if role.files {
        why.push("can access the server's files");
    }
    if why.is_empty() {
        return;
    }
    let fix = if !role.own {
        revoke(role)
    } else if role.superuser {
        Fix::Step(
            "connect as a role of the application's own: CREATE ROLE app LOGIN; and grant it the privileges it needs"
                .to_owned(),
        )
    } else {
        Fix::Sql(format!("ALTER ROLE {} NOBYPASSRLS NOREPLICATION NOCREATEROLE", role.ident))
    };
    let whose = if role.own { "" } else { "the role is a member of it, and " };
    let detail = format!("{whose}it {}", why.join(", "));
    found.push(Finding::new(Check::ExemptRole, role.name.clone(), detail, fix));
}

fn owner(role: &Role, owned: &[&Examined], found: &mut Vec<Finding>) {
    let Some(first) = owned.first() else { return };
    let whose = if role.own { "" } else { "the role is a member of it, and " };
    let detail = format!("{whose}it owns {} tenant tables, such as `{}`", owned.len(), first.display());
    let fix = if role.own {
        Fix::Step(
            "let the application connect as a role that owns nothing, and run migrations as this one"
                .to_owned(),
        )
    } else {
        revoke(role)
    };
    found.push(Finding::new(Check::OwnerRole, role.name.clone(), detail, fix));
}

fn revoke(role: &Role) -> Fix {
    Fix::Sql(format!("REVOKE {} FROM {}", role.ident, role.members.join(", ")))
}

const TENANT: &str = "app.tenant_id";

fn settings(catalog: &Catalog, found: &mut Vec<Finding>) {
    let server = &catalog.server;
    let defaults = |name: &'static str| server.settings.iter().filter(move |setting| setting.name == name);
    for setting in defaults(TENANT) {
        let detail = format!("{TENANT} is set when it connects");
        let (object, fix) = setting.reset();
        found.push(Finding::new(Check::SettingDefault, object, detail, fix));
    }
    if !server.tenant.is_empty() && defaults(TENANT).next().is_none() {
        let detail = format!("{TENANT} is set on this connection, outside of any tenant's transaction");
        found.push(Finding::new(Check::SettingDefault, server.role.clone(), detail, remove_setting()));
    }
    for (name, what) in UNSAFE {
        if !server.unsafe_settings.iter().any(|one| one == name) {
            continue;
        }
        let mut resets: Vec<(String, Fix)> = defaults(name).map(Setting::reset).collect();
        if resets.is_empty() {
            resets.push((server.role.clone(), remove_setting()));
        }
        for (object, fix) in resets {
            found.push(Finding::new(Check::UnsafeSetting, object, format!("{name} is on: {what}"), fix));
        }
    }
}

const UNSAFE: [(&str, &str); 2] = [
    ("lo_compat_privileges", "any large object can be read and written without a privilege"),
    ("session_replication_role", "with `replica` no trigger runs and no foreign key is checked"),
];

fn remove_setting() -> Fix {
    Fix::Step(
        "remove it from postgresql.conf, ALTER SYSTEM, the options of the connection, and code that sets it for a session"
            .to_owned(),
    )
}

impl Setting {
    /// The role or database that has the setting, and the statement that resets it.
    fn reset(&self) -> (String, Fix) {
        let Self { ident: name, role, database, .. } = self;
        let (object, sql) = match (role, database) {
            (Some(role), None) => (role.clone(), format!("ALTER ROLE {role} RESET {name}")),
            (Some(role), Some(database)) => {
                (role.clone(), format!("ALTER ROLE {role} IN DATABASE {database} RESET {name}"))
            }
            (None, Some(database)) => (database.clone(), format!("ALTER DATABASE {database} RESET {name}")),
            (None, None) => ("all roles".to_owned(), format!("ALTER ROLE ALL RESET {name}")),
        };
        (object, Fix::Sql(sql))
    }
}

/// Reports a predefined role, such as `pg_monitor`, that was granted directly. Predefined roles inside it are left
/// out.
fn predefined(role: &Role, roles: &[Role], found: &mut Vec<Finding>) {
    let given = |member: &String| roles.iter().any(|one| one.ident == *member && !one.predefined);
    if role.predefined && !role.files && role.members.iter().any(given) {
        found.push(Finding::new(
            Check::PredefinedRole,
            role.name.clone(),
            "the role is a member of it, and a fresh server grants it to no role".to_owned(),
            revoke(role),
        ));
    }
}

/// The latest vulnerability in row-level security that this server has: the fixed version, and the CVE.
fn vulnerability(version: u32) -> Option<(u32, &'static str)> {
    const FIXED_IN: [(&str, &[u32]); 4] = [
        ("CVE-2025-8713", &[130_022, 140_019, 150_014, 160_010, 170_006]),
        ("CVE-2024-10976", &[120_021, 130_017, 140_014, 150_009, 160_005, 170_001]),
        ("CVE-2023-39418", &[150_004]),
        ("CVE-2023-2455", &[110_020, 120_015, 130_011, 140_008, 150_003]),
    ];
    FIXED_IN.into_iter().find_map(|(cve, minors)| {
        let fixed = minors.iter().find(|fixed| **fixed / 10_000 == version / 10_000)?;
        (version < *fixed).then_some((*fixed, cve))
    })
}

fn version(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outdated_server_gets_its_latest_vulnerability() {
        assert_eq!(vulnerability(150_002), Some((150_014, "CVE-2025-8713")));
        assert_eq!(vulnerability(150_013).map(|(fixed, _)| version(fixed)).as_deref(), Some("15.14"));
        assert_eq!(vulnerability(120_020), Some((120_021, "CVE-2024-10976")));
        for fixed in [130_022, 150_014, 150_018, 160_010, 170_006, 180_000, 190_002] {
            assert_eq!(vulnerability(fixed), None, "{fixed}");
        }
    }
}
