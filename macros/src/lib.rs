//! The macros of the `tenancy` crate. Use them through `tenancy`, which documents them.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod attributes;
mod configuration;
mod mistakes;
mod query;
mod row_struct;
mod tenant_scoped;

use proc_macro::TokenStream;
use query::{QueryInput, Returns, Types};
use syn::parse::{ParseStream, Parser};
use syn::{DeriveInput, parse_macro_input};

/// Derives `tenancy::TenantScoped`: the struct becomes the row type of a tenant-owned table.
///
/// | attribute | on | means |
/// |---|---|---|
/// | `#[tenant(table = "orders")]` | the struct | its table; required |
/// | `#[tenant(column = "org_id")]` | the struct | its tenant column; `tenant_id` by default |
/// | `#[tenant(id)]` | one field | the id of a row within its tenant; required |
/// | `#[tenant(soft_delete)]` | one field | the time of deletion: see `tenancy::scope::row::SoftDelete` |
/// | `#[sqlx(rename = "..")]` | a field | its column, as for `sqlx::FromRow` |
///
/// The derive also generates a constant for each field, such as `Order::STATUS`, with the visibility of the field:
/// the typed column for filters and orders. The field of a nullable column must have a type that is spelled
/// `Option<..>`.
#[proc_macro_derive(TenantScoped, attributes(tenant, sqlx))]
pub fn derive_tenant_scoped(input: TokenStream) -> TokenStream {
    tenant_scoped::derive(&parse_macro_input!(input as DeriveInput)).into()
}

/// Runs your own SQL on a scope. The statement is rewritten and proven at compile time.
///
/// `query!(&scope, "SQL", value, ..)` or `query!(&mut tx, ..)` takes the scope, the statement as one literal with
/// `$1`, `$2` .. for values, and a value for each. A statement that could reach another tenant's rows does not
/// compile. The macro binds the tenant; nothing is parsed at run time.
///
/// `tenancy.toml`, beside `Cargo.toml` or in a directory above, declares the tenant tables. Its `dialects` are the
/// databases that the literal must run on.
///
/// ```toml
/// dialects = ["postgres", "sqlite"]
/// column   = "tenant_id"
/// shared   = ["countries"]
/// snapshot = "tenancy.snapshot.toml"  # written by `tenancy sql snapshot`
/// ```
#[proc_macro]
pub fn query(input: TokenStream) -> TokenStream {
    expand(Returns::Nothing, Types::Written, input)
}

/// Like `query!`, with the type of a row after the scope: any `sqlx::FromRow`.
///
/// `query_as!(&scope, Order, "SELECT id, status FROM orders WHERE total > $1", 100)`.
#[proc_macro]
pub fn query_as(input: TokenStream) -> TokenStream {
    expand(Returns::Rows, Types::Written, input)
}

/// Like `query!`, with the type of the only column after the scope.
///
/// `query_scalar!(&scope, i64, "SELECT count(*) FROM orders")`.
#[proc_macro]
pub fn query_scalar(input: TokenStream) -> TokenStream {
    expand(Returns::Scalars, Types::Written, input)
}

/// Like `query!`, and passes the rewritten text to `sqlx::query!`, which checks it against a database.
///
/// `query_checked!(&scope, "SQL", value, ..)`: values and columns are checked against the database of `DATABASE_URL`,
/// or against the `.sqlx` directory that `cargo sqlx prepare` wrote. All features of sqlx's macros work: nullable
/// columns, `AS "name!"`, `AS "name?"`, `AS "name: Type"`, `value as Type`. sqlx checks against one database only, so
/// this macro uses the first of `dialects`. Your crate must depend on sqlx with its feature `macros`.
///
/// ```text
/// let orders = query_checked!(&scope, "SELECT id, note FROM orders WHERE total > $1", 100_i64).fetch_all().await?;
/// let note: &Option<String> = &orders[0].note;
/// ```
#[proc_macro]
pub fn query_checked(input: TokenStream) -> TokenStream {
    expand(Returns::Nothing, Types::Checked, input)
}

/// Like `query_checked!`, with the type of a row after the scope: a struct with a field for each column.
///
/// `query_as_checked!(&scope, Order, "SELECT id, status FROM orders WHERE total > $1", 100_i64)`.
#[proc_macro]
pub fn query_as_checked(input: TokenStream) -> TokenStream {
    expand(Returns::Rows, Types::Checked, input)
}

/// Like `query_checked!`, and returns the only column.
///
/// `query_scalar_checked!(&scope, r#"SELECT count(*) AS "count!" FROM orders"#)`.
#[proc_macro]
pub fn query_scalar_checked(input: TokenStream) -> TokenStream {
    expand(Returns::Scalars, Types::Checked, input)
}

fn expand(returns: Returns, types: Types, input: TokenStream) -> TokenStream {
    let parsed = Parser::parse(|input: ParseStream<'_>| QueryInput::parse(returns, types, input), input);
    parsed.and_then(|query| query.expand()).unwrap_or_else(|error| error.to_compile_error()).into()
}
