//! Guides: a tutorial, and how to do one thing at a time.
//!
//! Here for reading only: each page is a file of `docs/`, and its code is compiled as documentation tests.

#[doc = include_str!("../docs/tutorial.md")]
pub mod tutorial {}

/// How to do one thing: each page begins with what you have at its end.
pub mod how_to {
    #[doc = include_str!("../docs/how-to/adopt-an-sqlx-application.md")]
    pub mod adopt_an_sqlx_application {}
    #[doc = include_str!("../docs/how-to/cross-tenant-reports.md")]
    pub mod cross_tenant_reports {}
    #[doc = include_str!("../docs/how-to/pgbouncer-and-citus.md")]
    pub mod pgbouncer_and_citus {}
    #[doc = include_str!("../docs/how-to/postgres-and-rls.md")]
    pub mod postgres_and_rls {}
    #[doc = include_str!("../docs/how-to/several-nodes.md")]
    pub mod several_nodes {}
    #[doc = include_str!("../docs/how-to/test-for-leaks.md")]
    pub mod test_for_leaks {}
    #[doc = include_str!("../docs/how-to/your-own-sql.md")]
    pub mod your_own_sql {}
}

/// What there is, in full: checks, codes, metrics and attacks.
///
/// - [The doctor's checks](https://github.com/tenancy-rs/tenancy/blob/main/docs/doctor.md)
/// - [SQL rejections](https://github.com/tenancy-rs/tenancy/blob/main/docs/refusals.md)
/// - [Every way in which SQL calls a function](https://github.com/tenancy-rs/tenancy/blob/main/docs/calls.md)
/// - [Metrics](https://github.com/tenancy-rs/tenancy/blob/main/docs/reference/metrics.md)
/// - [Attacks on who is calling](https://github.com/tenancy-rs/tenancy/blob/main/docs/reference/identity-attacks.md)
pub mod reference {}

/// Why it is as it is.
pub mod explanation {
    #[doc = include_str!("../docs/explanation/isolation-strategies.md")]
    pub mod isolation_strategies {}
}
