//! Guides: a tutorial, how-to guides, reference pages and explanations.
//!
//! There is no code here. Each page is a file of `docs/`, and its examples are documentation tests.
//!
//! New here? Read the [`tutorial`], then [`how_to::choose_how_tenants_are_resolved`]. With an application of your own,
//! begin with [`how_to::adopt_an_sqlx_application`].

#[doc = include_str!("../docs/tutorial.md")]
pub mod tutorial {}

/// One task a page, step by step. The first line says what you have at the end.
pub mod how_to {
    #[doc = include_str!("../docs/how-to/adopt-an-sqlx-application.md")]
    pub mod adopt_an_sqlx_application {}
    #[doc = include_str!("../docs/how-to/api-keys.md")]
    pub mod api_keys {}
    #[doc = include_str!("../docs/how-to/audit-log.md")]
    pub mod audit_log {}
    #[doc = include_str!("../docs/how-to/background-jobs.md")]
    pub mod background_jobs {}
    #[doc = include_str!("../docs/how-to/choose-how-tenants-are-resolved.md")]
    pub mod choose_how_tenants_are_resolved {}
    #[doc = include_str!("../docs/how-to/cross-tenant-reports.md")]
    pub mod cross_tenant_reports {}
    #[doc = include_str!("../docs/how-to/citus.md")]
    pub mod citus {}
    #[doc = include_str!("../docs/how-to/custom-domains.md")]
    pub mod custom_domains {}
    #[doc = include_str!("../docs/how-to/noisy-neighbours.md")]
    pub mod noisy_neighbours {}
    #[doc = include_str!("../docs/how-to/observe.md")]
    pub mod observe {}
    #[doc = include_str!("../docs/how-to/pgbouncer.md")]
    pub mod pgbouncer {}
    #[doc = include_str!("../docs/how-to/plans-and-quotas.md")]
    pub mod plans_and_quotas {}
    #[doc = include_str!("../docs/how-to/postgres-and-rls.md")]
    pub mod postgres_and_rls {}
    #[doc = include_str!("../docs/how-to/schema-or-database-per-tenant.md")]
    pub mod schema_or_database_per_tenant {}
    #[doc = include_str!("../docs/how-to/several-nodes.md")]
    pub mod several_nodes {}
    #[doc = include_str!("../docs/how-to/streams-and-websockets.md")]
    pub mod streams_and_websockets {}
    #[doc = include_str!("../docs/how-to/stripe.md")]
    pub mod stripe {}
    #[doc = include_str!("../docs/how-to/tenant-data.md")]
    pub mod tenant_data {}
    #[doc = include_str!("../docs/how-to/test-for-leaks.md")]
    pub mod test_for_leaks {}
    #[doc = include_str!("../docs/how-to/your-own-sql.md")]
    pub mod your_own_sql {}
}

/// Every setting, code, check and metric.
pub mod reference {
    #[doc = include_str!("../docs/reference/catalog.md")]
    pub mod catalog {}
    #[doc = include_str!("../docs/reference/cli.md")]
    pub mod cli {}
    #[doc = include_str!("../docs/reference/cli-help.md")]
    pub mod cli_help {}
    #[doc = include_str!("../docs/reference/doctor-checks.md")]
    pub mod doctor_checks {}
    #[doc = include_str!("../docs/reference/errors.md")]
    pub mod errors {}
    #[doc = include_str!("../docs/reference/features.md")]
    pub mod features {}
    #[doc = include_str!("../docs/reference/billing-failures.md")]
    pub mod billing_failures {}
    #[doc = include_str!("../docs/reference/identity-attacks.md")]
    pub mod identity_attacks {}
    #[doc = include_str!("../docs/reference/metrics.md")]
    pub mod metrics {}
    #[doc = include_str!("../docs/reference/quota-failures.md")]
    pub mod quota_failures {}
    #[doc = include_str!("../docs/reference/rls-policies.md")]
    pub mod rls_policies {}
    #[doc = include_str!("../docs/reference/sql-functions.md")]
    pub mod sql_functions {}
    #[doc = include_str!("../docs/reference/sql-rejections.md")]
    pub mod sql_rejections {}
    #[doc = include_str!("../docs/reference/tenancy-toml.md")]
    pub mod tenancy_toml {}
}

/// How the crate works, and why.
pub mod explanation {
    #[doc = include_str!("../docs/explanation/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("../docs/explanation/identity.md")]
    pub mod identity {}
    #[doc = include_str!("../docs/explanation/isolation-strategies.md")]
    pub mod isolation_strategies {}
    #[doc = include_str!("../docs/explanation/query-plans.md")]
    pub mod query_plans {}
    #[doc = include_str!("../docs/explanation/security-model.md")]
    pub mod security_model {}
}
