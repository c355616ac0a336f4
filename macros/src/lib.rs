//! The macros of the `tenancy` crate. Use them through `tenancy`, which documents them.

mod tenant_scoped;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct the row of a tenant-owned table: see the trait `tenancy::TenantScoped`.
///
/// | attribute | on | means |
/// |---|---|---|
/// | `#[tenant(table = "orders")]` | the struct | its table; needed |
/// | `#[tenant(column = "org_id")]` | the struct | its tenant column; `tenant_id` if not given |
/// | `#[tenant(id)]` | one field | the id of a row within its tenant; needed |
/// | `#[sqlx(rename = "..")]` | a field | its column, as for `sqlx::FromRow` |
#[proc_macro_derive(TenantScoped, attributes(tenant, sqlx))]
pub fn derive_tenant_scoped(input: TokenStream) -> TokenStream {
    tenant_scoped::derive(&parse_macro_input!(input as DeriveInput)).into()
}
