//! `query!`, its siblings and their `_checked` forms: parse the arguments, rewrite the SQL, expand.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use std::fmt::Display;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, LitStr, Token, Type};
use tenancy_sql::{Bind, Dialect, Rewritten, Schema, check_nullability, rewrite};

use crate::configuration::configuration;

/// What a query returns.
#[derive(Clone, Copy)]
pub(crate) enum Returns {
    Nothing,
    Rows,
    Scalars,
}

/// What checks the types: the compiler alone, or sqlx's macros as well.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Types {
    Written,
    Checked,
}

pub(crate) struct QueryInput {
    returns: Returns,
    types: Types,
    scope: Expr,
    row: Option<Type>,
    sql: LitStr,
    values: Vec<Expr>,
}

impl QueryInput {
    pub(crate) fn parse(returns: Returns, types: Types, input: ParseStream<'_>) -> syn::Result<Self> {
        let scope = input.parse()?;
        input.parse::<Token![,]>()?;
        let row = match (returns, types) {
            (Returns::Nothing, _) | (Returns::Scalars, Types::Checked) => None,
            (Returns::Rows, _) | (Returns::Scalars, Types::Written) => {
                let row = Type::parse(input)?;
                input.parse::<Token![,]>()?;
                Some(row)
            }
        };
        let sql: LitStr = input.parse().map_err(|error| {
            syn::Error::new(error.span(), "expected the SQL as one literal, which is proven at compile time")
        })?;
        let mut values = Vec::new();
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
            values = Punctuated::<Expr, Token![,]>::parse_terminated(input)?.into_iter().collect();
        }
        Ok(Self { returns, types, scope, row, sql, values })
    }

    pub(crate) fn expand(&self) -> syn::Result<TokenStream> {
        let configuration = configuration().map_err(|text| self.error(text))?;
        // A change of one of these files recompiles the query.
        let paths = configuration.files.iter().map(|(path, _)| path);
        let configured = quote! { #(const _: &[u8] = include_bytes!(#paths);)* };
        let variants = self.variants(&configuration.schema)?;
        Ok(match self.types {
            Types::Written => self.written(&configured, &variants),
            Types::Checked => self.checked(&configured, &variants),
        })
    }

    fn error(&self, text: impl Display) -> syn::Error {
        syn::Error::new(self.sql.span(), text)
    }

    /// Rewrites the statement for each database that it must run on. sqlx's macros check against one only.
    fn variants(&self, schema: &Schema) -> syn::Result<Variants> {
        let dialects = match (self.types, schema.dialects()) {
            (_, []) => {
                return Err(self.error("declare the databases in tenancy.toml: dialects = [\"postgres\"]"));
            }
            (Types::Checked, [first, ..]) => std::slice::from_ref(first),
            (Types::Written, all) => all,
        };
        let sql = self.sql.value();
        let mut variants: Vec<(Dialect, Rewritten)> = Vec::new();
        // A rejection on several databases is shown once.
        let mut rejections: Vec<String> = Vec::new();
        for dialect in dialects {
            if !matches!(dialect, Dialect::Postgres | Dialect::Sqlite) {
                let why = format!(
                    "`dialects` of tenancy.toml lists {dialect:?}, which these macros do not run on yet"
                );
                return Err(self.error(why));
            }
            let rewritten = match rewrite(*dialect, &sql, schema) {
                Ok(rewritten) => rewritten,
                Err(rejection) => {
                    let text = rejection.to_string();
                    if !rejections.contains(&text) {
                        rejections.push(text);
                    }
                    continue;
                }
            };
            if (self.types, *dialect) == (Types::Checked, Dialect::Postgres) {
                check_nullability(&sql).map_err(|rejection| self.error(rejection))?;
            }
            if variants.last().is_some_and(|(_, other)| differ(other, &rewritten)) {
                return Err(self.error("the databases of tenancy.toml need different binds for this statement, or only some of them write"));
            }
            variants.push((*dialect, rewritten));
        }
        if !rejections.is_empty() {
            return Err(self.error(rejections.join("\n\n")));
        }
        let proven = &variants[0].1;
        let places = proven.binds().iter().filter(|bind| matches!(bind, Bind::Value(_))).count();
        if places != self.values.len() {
            return Err(self.error(format!(
                "the number of values after the SQL must be {places}, and is {}\n\
                 help: give a value for each of $1, $2 .. of the statement, in order",
                self.values.len()
            )));
        }
        Ok(Variants(variants))
    }

    fn written(&self, configured: &TokenStream, variants: &Variants) -> TokenStream {
        let (tenant, writes) = (variants.tenant(), variants.writes());
        let texts = variants.0.iter().map(|(dialect, rewritten)| {
            let dialect = format_ident!("{dialect:?}");
            let text = rewritten.text();
            quote! { (::tenancy::scope::Dialect::#dialect, #text) }
        });
        let row = match (self.returns, &self.row) {
            (Returns::Rows, Some(row)) => quote! { #row },
            (Returns::Scalars, Some(row)) => quote! { (#row,) },
            _ => quote! { () },
        };
        let Self { scope, values, .. } = self;
        let query = quote! {
            ::tenancy::scope::query::Query::<_, #row>::unchecked_for_macros_only(#scope, {
                #configured
                static VARIANTS: ::tenancy::scope::query::Variants = ::tenancy::scope::query::Variants {
                    texts: &[#(#texts),*],
                    tenant: #tenant,
                    writes: #writes,
                };
                &VARIANTS
            })
            #(.value(#values))*
        };
        match self.returns {
            Returns::Scalars => quote! { #query.scalars() },
            _ => query,
        }
    }

    fn checked(&self, configured: &TokenStream, variants: &Variants) -> TokenStream {
        let Self { scope, values, row, .. } = self;
        let (writes, text) = (variants.writes(), LitStr::new(variants.0[0].1.text(), self.sql.span()));
        let dialect = variants.0[0].0;
        let dialect = format_ident!("{dialect:?}");
        // Names that no value can contain. The scope's name has its span, so that errors about its type point at it.
        let scope_ident = Ident::new("__tenancy_scope", scope.span());
        let tenant_ident = Ident::new("tenant", Span::mixed_site());
        let of =
            quote_spanned! { scope.span() => ::tenancy::scope::query::CheckedQuery::tenant(&#scope_ident) };
        // The type of the tenant depends on its column; `as _` turns off sqlx's check of it.
        let tenant = variants.tenant().then(|| quote! { #tenant_ident as _ });
        let arguments = values.iter().map(ToTokens::to_token_stream).chain(tenant);
        let query = match (self.returns, row) {
            (Returns::Rows, Some(row)) => quote! { ::sqlx::query_as!(#row, #text, #(#arguments),*) },
            (Returns::Scalars, _) => quote! { ::sqlx::query_scalar!(#text, #(#arguments),*) },
            _ => quote! { ::sqlx::query!(#text, #(#arguments),*) },
        };
        quote! {{
            #configured
            let #scope_ident = #scope;
            let #tenant_ident = #of;
            ::tenancy::scope::query::CheckedQuery::unchecked_for_macros_only(
                #scope_ident, #query, #writes, ::tenancy::scope::Dialect::#dialect,
            )
        }}
    }
}

/// The rewritten statement for each database: at least one, with equal binds and effects.
struct Variants(Vec<(Dialect, Rewritten)>);

impl Variants {
    fn tenant(&self) -> bool {
        self.0[0].1.binds().contains(&Bind::Tenant)
    }

    fn writes(&self) -> bool {
        !self.0[0].1.is_read_only()
    }
}

fn differ(one: &Rewritten, other: &Rewritten) -> bool {
    one.binds() != other.binds() || one.is_read_only() != other.is_read_only()
}
