//! `query!`, `query_as!` and `query_scalar!`: arguments, then the rewriter, then expansion.

use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Expr, LitStr, Token, Type};
use tenancy_sql::{Bind, Dialect, Rewritten, Schema, rewrite};

/// What a query answers.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Nothing,
    Rows,
    Scalars,
}

pub(crate) struct Query {
    scope: Expr,
    row: Option<Type>,
    sql: LitStr,
    values: Vec<Expr>,
}

impl Query {
    pub(crate) fn parse(answer: Answer, input: ParseStream<'_>) -> syn::Result<Self> {
        let scope = input.parse()?;
        input.parse::<Token![,]>()?;
        let row = match answer {
            Answer::Nothing => None,
            Answer::Rows | Answer::Scalars => {
                let row = Type::parse(input)?;
                input.parse::<Token![,]>()?;
                Some(row)
            }
        };
        let sql: LitStr = input.parse().map_err(|error| {
            syn::Error::new(error.span(), "here goes the SQL, as one literal: it is proven while compiling")
        })?;
        let mut values = Vec::new();
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
            values = Punctuated::<Expr, Token![,]>::parse_terminated(input)?.into_iter().collect();
        }
        Ok(Self { scope, row, sql, values })
    }

    pub(crate) fn expand(&self, answer: Answer) -> syn::Result<TokenStream> {
        let error = |text: String| syn::Error::new(self.sql.span(), text);
        let (path, schema) = configuration().map_err(error)?;
        let sql = self.sql.value();
        let mut texts = Vec::new();
        let mut proven: Option<Rewritten> = None;
        for dialect in schema.dialects() {
            let rewritten = rewrite(*dialect, &sql, &schema).map_err(|refusal| error(refusal.to_string()))?;
            let name = match dialect {
                Dialect::Postgres => quote! { Postgres },
                Dialect::Sqlite => quote! { Sqlite },
                other => {
                    return Err(error(format!(
                        "`dialects` of tenancy.toml lists {other:?}, which these macros do not run on yet"
                    )));
                }
            };
            let text = rewritten.text();
            texts.push(quote! { (::tenancy::scope::Dialect::#name, #text) });
            if let Some(table) = rewritten.reserved_table() {
                return Err(error(format!(
                    "`{table}` is a table of `tenancy`, which is not for SQL of your own"
                )));
            }
            if proven.as_ref().is_some_and(|other| differ(other, &rewritten)) {
                return Err(error("the databases of tenancy.toml would not do the same here".to_owned()));
            }
            proven = Some(rewritten);
        }
        let Some(proven) = proven else {
            return Err(error("write the databases into tenancy.toml: dialects = [\"postgres\"]".to_owned()));
        };
        let places = proven.binds().iter().filter(|bind| matches!(bind, Bind::Value(_))).count();
        if places != self.values.len() {
            return Err(error(format!(
                "the number of values after the SQL must be {places}, and is {}\n\
                 help: give a value for each of $1, $2 .. of the statement, in order",
                self.values.len()
            )));
        }
        let tenant = proven.binds().contains(&Bind::Tenant);
        let writes = !proven.is_read_only();
        let row = match (answer, &self.row) {
            (Answer::Rows, Some(row)) => quote! { #row },
            (Answer::Scalars, Some(row)) => quote! { (#row,) },
            _ => quote! { () },
        };
        let Self { scope, values, .. } = self;
        let query = quote! {
            ::tenancy::scope::Query::<_, #row>::new(#scope, {
                // A change of the file compiles this query anew.
                const _: &[u8] = include_bytes!(#path);
                static VARIANTS: ::tenancy::scope::Variants = ::tenancy::scope::Variants {
                    texts: &[#(#texts),*],
                    tenant: #tenant,
                    writes: #writes,
                };
                &VARIANTS
            })
            #(.value(#values))*
        };
        Ok(match answer {
            Answer::Scalars => quote! { #query.scalars() },
            _ => query,
        })
    }
}

fn differ(one: &Rewritten, other: &Rewritten) -> bool {
    one.binds() != other.binds() || one.is_read_only() != other.is_read_only()
}

/// The `tenancy.toml` beside the `Cargo.toml` of the crate that is compiled, or above it.
fn configuration() -> Result<(String, Schema), String> {
    let start = std::env::var("CARGO_MANIFEST_DIR").map_err(|_| "compile with cargo".to_owned())?;
    let path: PathBuf = Path::new(&start)
        .ancestors()
        .map(|dir| dir.join("tenancy.toml"))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            format!(
                "there is no tenancy.toml in {start} or above\n\
                 help: write one beside Cargo.toml: dialects = [\"postgres\"]"
            )
        })?;
    let text =
        std::fs::read_to_string(&path).map_err(|e| format!("{} does not read: {e}", path.display()))?;
    let schema = Schema::from_toml(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok((path.display().to_string(), schema))
}
