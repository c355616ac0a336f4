//! The macros of the `tenancy` crate. Use them through `tenancy`, which documents them.

mod query;
mod tenant_scoped;

use proc_macro::TokenStream;
use query::{Query, Returns, Types};
use syn::parse::{ParseStream, Parser};
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct the row of a tenant-owned table: see the trait `tenancy::TenantScoped`.
///
/// | attribute | on | means |
/// |---|---|---|
/// | `#[tenant(table = "orders")]` | the struct | its table; needed |
/// | `#[tenant(column = "org_id")]` | the struct | its tenant column; `tenant_id` if not given |
/// | `#[tenant(id)]` | one field | the id of a row within its tenant; needed |
/// | `#[tenant(soft_delete)]` | one field | when a row was deleted: see `tenancy::scope::SoftDelete` |
/// | `#[sqlx(rename = "..")]` | a field | its column, as for `sqlx::FromRow` |
///
/// Each field is also a constant of the struct, by its name in capitals and with its visibility: the typed column
/// that filters and orders are made of, such as `Order::STATUS`. A column that can be NULL is a field of type
/// `Option<..>`, written so.
#[proc_macro_derive(TenantScoped, attributes(tenant, sqlx))]
pub fn derive_tenant_scoped(input: TokenStream) -> TokenStream {
    tenant_scoped::derive(&parse_macro_input!(input as DeriveInput)).into()
}

/// A statement of your own on a scope, rewritten and proven while the program is compiled.
///
/// `query!(&scope, "SQL", value, ..)` or `query!(&mut tx, ..)`: the scope, the statement as one literal with `$1`,
/// `$2` .. for values, and a value for each. What could reach another tenant's rows does not compile. The tenant is
/// bound by itself; at run time nothing is parsed.
///
/// What is a tenant's table is said by `tenancy.toml` beside `Cargo.toml` or above it; its `dialects` are the
/// databases that the same literal must run on.
///
/// ```toml
/// dialects = ["postgres", "sqlite"]
/// column   = "tenant_id"
/// shared   = ["countries"]
/// snapshot = "tenancy.snapshot.toml"  # what `tenancy sql snapshot` wrote
/// ```
#[proc_macro]
pub fn query(input: TokenStream) -> TokenStream {
    expand(Returns::Nothing, Types::Written, input)
}

/// As `query!`, with the type of a row after the scope: any `sqlx::FromRow`.
///
/// `query_as!(&scope, Order, "SELECT id, status FROM orders WHERE total > $1", 100)`.
#[proc_macro]
pub fn query_as(input: TokenStream) -> TokenStream {
    expand(Returns::Rows, Types::Written, input)
}

/// As `query!`, with the type of the only column after the scope.
///
/// `query_scalar!(&scope, i64, "SELECT count(*) FROM orders")`.
#[proc_macro]
pub fn query_scalar(input: TokenStream) -> TokenStream {
    expand(Returns::Scalars, Types::Written, input)
}

/// As `query!`, with the text then given to `sqlx::query!`, which asks a database what it makes of it.
///
/// `query_checked!(&scope, "SQL", value, ..)`: values and columns are checked against the database of `DATABASE_URL`,
/// or against the `.sqlx` directory that `cargo sqlx prepare` wrote. Everything that sqlx's macros know works: columns
/// that may be null, `AS "name!"`, `AS "name?"`, `AS "name: Type"`, `value as Type`. sqlx speaks with one database
/// only, so this takes the first of `dialects`. Needs sqlx with its feature `macros` among your dependencies.
///
/// ```text
/// let orders = query_checked!(&scope, "SELECT id, note FROM orders WHERE total > $1", 100_i64).fetch_all().await?;
/// let note: &Option<String> = &orders[0].note;
/// ```
#[proc_macro]
pub fn query_checked(input: TokenStream) -> TokenStream {
    expand(Returns::Nothing, Types::Checked, input)
}

/// As `query_checked!`, with the type of a row after the scope: a struct with a field for each column.
///
/// `query_as_checked!(&scope, Order, "SELECT id, status FROM orders WHERE total > $1", 100_i64)`.
#[proc_macro]
pub fn query_as_checked(input: TokenStream) -> TokenStream {
    expand(Returns::Rows, Types::Checked, input)
}

/// As `query_checked!`, for the only column.
///
/// `query_scalar_checked!(&scope, r#"SELECT count(*) AS "count!" FROM orders"#)`.
#[proc_macro]
pub fn query_scalar_checked(input: TokenStream) -> TokenStream {
    expand(Returns::Scalars, Types::Checked, input)
}

fn expand(answer: Returns, types: Types, input: TokenStream) -> TokenStream {
    let parsed = Parser::parse(|input: ParseStream<'_>| Query::parse(answer, types, input), input);
    parsed.and_then(|query| query.expand()).unwrap_or_else(|error| error.to_compile_error()).into()
}
