//! `query!`, `query_as!` and `query_scalar!`: arguments, then the rewriter, then expansion.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, LitStr, Token, Type};
use tenancy_sql::{Bind, Dialect, Rewritten, Schema, rewrite, says_what_is_null};

/// What a query answers.
#[derive(Clone, Copy)]
pub(crate) enum Returns {
    Nothing,
    Rows,
    Scalars,
}

/// Who looks at the types: the compiler alone, or sqlx's own macros as well.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Types {
    Written,
    Checked,
}

pub(crate) struct Query {
    answer: Returns,
    types: Types,
    scope: Expr,
    row: Option<Type>,
    sql: LitStr,
    values: Vec<Expr>,
}

impl Query {
    pub(crate) fn parse(answer: Returns, types: Types, input: ParseStream<'_>) -> syn::Result<Self> {
        let scope = input.parse()?;
        input.parse::<Token![,]>()?;
        let row = match (answer, types) {
            (Returns::Nothing, _) | (Returns::Scalars, Types::Checked) => None,
            (Returns::Rows, _) | (Returns::Scalars, Types::Written) => {
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
        Ok(Self { answer, types, scope, row, sql, values })
    }

    pub(crate) fn expand(&self) -> syn::Result<TokenStream> {
        let configuration = configuration().map_err(|text| self.error(text))?;
        // A change of a file compiles this query anew.
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

    /// The statement for each database that it must run on. sqlx's own macros speak with one.
    fn variants(&self, schema: &Schema) -> syn::Result<Variants> {
        let dialects = match (self.types, schema.dialects()) {
            (_, []) => {
                return Err(self.error("write the databases into tenancy.toml: dialects = [\"postgres\"]"));
            }
            (Types::Checked, [first, ..]) => std::slice::from_ref(first),
            (Types::Written, all) => all,
        };
        let sql = self.sql.value();
        let mut variants: Vec<(Dialect, Rewritten)> = Vec::new();
        for dialect in dialects {
            if !matches!(dialect, Dialect::Postgres | Dialect::Sqlite) {
                let why = format!(
                    "`dialects` of tenancy.toml lists {dialect:?}, which these macros do not run on yet"
                );
                return Err(self.error(why));
            }
            let rewritten = rewrite(*dialect, &sql, schema).map_err(|refusal| self.error(refusal))?;
            if (self.types, *dialect) == (Types::Checked, Dialect::Postgres) {
                says_what_is_null(&sql).map_err(|refusal| self.error(refusal))?;
            }
            if variants.last().is_some_and(|(_, other)| differ(other, &rewritten)) {
                return Err(self.error("the databases of tenancy.toml would not do the same here"));
            }
            variants.push((*dialect, rewritten));
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
        let row = match (self.answer, &self.row) {
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
        match self.answer {
            Returns::Scalars => quote! { #query.scalars() },
            _ => query,
        }
    }

    fn checked(&self, configured: &TokenStream, variants: &Variants) -> TokenStream {
        let Self { scope, values, row, .. } = self;
        let (writes, text) = (variants.writes(), LitStr::new(variants.0[0].1.text(), self.sql.span()));
        let dialect = variants.0[0].0;
        let dialect = format_ident!("{dialect:?}");
        // Names that no value says; the scope's has its span, for the error that there is where it is none.
        let of_whom = Ident::new("__tenancy_scope", scope.span());
        let whose = Ident::new("tenant", Span::mixed_site());
        let of = quote_spanned! { scope.span() => ::tenancy::scope::query::CheckedQuery::tenant(&#of_whom) };
        // The tenant is of whatever type its column has, and sqlx is told so by `as _`.
        let tenant = variants.tenant().then(|| quote! { #whose as _ });
        let arguments = values.iter().map(ToTokens::to_token_stream).chain(tenant);
        let query = match (self.answer, row) {
            (Returns::Rows, Some(row)) => quote! { ::sqlx::query_as!(#row, #text, #(#arguments),*) },
            (Returns::Scalars, _) => quote! { ::sqlx::query_scalar!(#text, #(#arguments),*) },
            _ => quote! { ::sqlx::query!(#text, #(#arguments),*) },
        };
        quote! {{
            #configured
            let #of_whom = #scope;
            let #whose = #of;
            ::tenancy::scope::query::CheckedQuery::unchecked_for_macros_only(
                #of_whom, #query, #writes, ::tenancy::scope::Dialect::#dialect,
            )
        }}
    }
}

/// A statement, for each database that it must run on: at least one, and all alike.
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

/// What the macros know of the tables, and the files that say so.
struct Configuration {
    schema: Schema,
    /// The text of each file, by its path.
    files: Vec<(String, String)>,
}

/// The `tenancy.toml` beside the `Cargo.toml` of the crate that is compiled, or above it.
fn configuration() -> Result<Arc<Configuration>, String> {
    static LAST: Mutex<Option<Arc<Configuration>>> = Mutex::new(None);

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
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    // The same texts again, for the next query of the same crate.
    let unchanged = |known: &&Arc<Configuration>| {
        Path::new(&known.files[0].0) == path
            && known
                .files
                .iter()
                .all(|(path, text)| std::fs::read_to_string(path).is_ok_and(|now| now == *text))
    };
    if let Some(known) = last.as_ref().filter(unchanged) {
        return Ok(known.clone());
    }
    let mut files = Vec::new();
    let mut read = |path: &Path| {
        let text = std::fs::read_to_string(path)?;
        files.push((path.display().to_string(), text.clone()));
        Ok(text)
    };
    let text = read(&path).map_err(|e: std::io::Error| format!("{} does not read: {e}", path.display()))?;
    let schema = Schema::from_toml(&text)
        .and_then(|schema| schema.with_named_snapshot(|file| read(&path.with_file_name(file))))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    let configuration = Arc::new(Configuration { schema, files });
    *last = Some(configuration.clone());
    Ok(configuration)
}
