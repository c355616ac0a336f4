//! `#[derive(TenantScoped)]`: expands a checked struct.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DeriveInput, Ident, Type};
use tenancy_sql::{Dialect, Statements, Table};

use crate::row_struct::{RowField, RowStruct, check, optional};

pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    match check(input) {
        Ok(row) => expand(&row),
        // The stub prevents a second error, "the trait is not implemented", for the same mistake.
        Err(error) => {
            let mistakes = error.to_compile_error();
            let stub = stub(&input.ident);
            quote! { #mistakes #stub }
        }
    }
}

fn expand(row: &RowStruct<'_>) -> TokenStream {
    let RowStruct { name, table, id, columns, deleted, spec } = row;
    let (id_name, id_type) = (id.name, id.ty);
    let values = columns.iter().map(|field| field.name);
    // Each type once: a duplicate bound would duplicate its errors.
    let mut types: Vec<&Type> = Vec::new();
    for ty in std::iter::once(id.ty).chain(columns.iter().map(|field| field.ty)) {
        if !types.iter().any(|known| known.to_token_stream().to_string() == ty.to_token_stream().to_string())
        {
            types.push(ty);
        }
    }
    let postgres = statements(&spec.statements(Dialect::Postgres));
    let sqlite = statements(&spec.statements(Dialect::Sqlite));
    let handles =
        std::iter::once(id).chain(columns).enumerate().map(|(index, field)| handle(name, index, field));
    let plain = std::iter::once(id).chain(columns).filter(|field| optional(field.ty).is_none()).map(plain);
    let (mark, soft_delete) = match deleted {
        Some((field, value)) => (
            mark(field, value),
            quote! {
                #[automatically_derived]
                impl ::tenancy::scope::row::SoftDelete for #name {}
            },
        ),
        None => Default::default(),
    };
    quote! {
        #soft_delete

        #[automatically_derived]
        #[allow(dead_code, unreachable_pub)]
        impl #name {
            #(#handles)*
        }

        const _: () = {
            use ::tenancy::scope::row::NoOption as _;
            #(#plain)*
        };

        #[automatically_derived]
        impl ::tenancy::scope::row::TenantRow for #name {
            type Id = #id_type;
            const TABLE: &'static str = #table;

            fn id(&self) -> &Self::Id {
                &self.#id_name
            }

            fn statements(dialect: ::tenancy::scope::Dialect) -> &'static ::tenancy::scope::row::Statements {
                static POSTGRES: ::tenancy::scope::row::Statements = #postgres;
                static SQLITE: ::tenancy::scope::row::Statements = #sqlite;
                match dialect {
                    ::tenancy::scope::Dialect::Postgres => &POSTGRES,
                    ::tenancy::scope::Dialect::Sqlite => &SQLITE,
                    _ => ::core::unreachable!("tenancy and tenancy-macros are of one version"),
                }
            }

            #mark
        }

        #[automatically_derived]
        impl<DB> ::tenancy::scope::row::BindRow<DB> for #name
        where
            DB: ::tenancy::scope::Backend,
            #(#types: for<'q> ::tenancy::sqlx::Encode<'q, DB> + ::tenancy::sqlx::Type<DB>,)*
            #name: for<'r> ::tenancy::sqlx::FromRow<'r, DB::Row>,
        {
            fn bind_id(id: &#id_type, binds: &mut ::tenancy::scope::row::BindArguments<DB>) -> ::tenancy::Result<()> {
                binds.push(id)
            }

            fn bind_columns(&self, binds: &mut ::tenancy::scope::row::BindArguments<DB>) -> ::tenancy::Result<()> {
                #(binds.push(&self.#values)?;)*
                let _ = binds;
                ::core::result::Result::Ok(())
            }

            fn bind_value(
                value: &dyn ::core::any::Any,
                binds: &mut ::tenancy::scope::row::BindArguments<DB>,
            ) -> ::tenancy::Result<bool> {
                #(if let ::core::option::Option::Some(value) = value.downcast_ref::<#types>() {
                    binds.push(value)?;
                    return ::core::result::Result::Ok(true);
                })*
                ::core::result::Result::Ok(false)
            }
        }
    }
}

/// Generates the column as a constant: `Order::STATUS`.
fn handle(row: &Ident, index: usize, field: &RowField<'_>) -> TokenStream {
    let RowField { name, column, ty, visibility } = field;
    let constant = Ident::new(&name.to_string().trim_start_matches("r#").to_uppercase(), name.span());
    let doc = format!("The column `{column}`.");
    let column = quote! { ::tenancy::scope::select::Column };
    let (ty, new) = match optional(ty) {
        Some(value) => {
            (quote! { #ty, #value }, quote! { true, ::core::option::Option::Some, |row| row.#name.as_ref() })
        }
        None => (
            quote! { #ty },
            quote! { false, ::core::convert::identity, |row| ::core::option::Option::Some(&row.#name) },
        ),
    };
    quote! {
        #[doc = #doc]
        #visibility const #constant: #column<#row, #ty> = #column::new(#index, #new);
    }
}

/// Generates a check that a field without the name `Option` is not an `Option` by another name.
fn plain(field: &RowField<'_>) -> TokenStream {
    let RowField { column, ty, .. } = field;
    let mistake =
        format!("the column `{column}` can be NULL: write its type as `Option<..>`, not by another name");
    quote_spanned! { ty.span() => ::core::assert!(!::tenancy::scope::row::FieldType::<#ty>::IS_OPTION, #mistake); }
}

/// Generates the value of the soft-delete field for a deleted row, and for one that is not.
fn mark(field: &Type, value: &Type) -> TokenStream {
    // One span, so that a type that is not a time gives one error.
    quote_spanned! { value.span() =>
        fn mark(
            at: ::core::option::Option<::std::time::SystemTime>,
        ) -> ::core::option::Option<::std::sync::Arc<dyn ::core::any::Any + Send + Sync>> {
            let mark: #field = at.map(<#value as ::tenancy::scope::row::DeletedAt>::deleted_at);
            ::core::option::Option::Some(::std::sync::Arc::new(mark))
        }
    }
}

fn statements(statements: &Statements) -> TokenStream {
    let Statements { find, first_page, next_page, count, exists, insert, upsert, update, delete, table } =
        statements;
    let named = [
        ("find", find),
        ("first_page", first_page),
        ("next_page", next_page),
        ("count", count),
        ("exists", exists),
        ("insert", insert),
        ("upsert", upsert),
        ("update", update),
        ("delete", delete),
    ];
    let fields = named.iter().map(|(name, text)| {
        let name = Ident::new(name, Span::call_site());
        quote! { #name: ::std::borrow::Cow::Borrowed(#text) }
    });
    let table = parts(table);
    quote! { ::tenancy::scope::row::Statements { #(#fields,)* table: #table } }
}

fn parts(table: &Table) -> TokenStream {
    let Table { dialect, name, tenant, columns, deleted } = table;
    let dialect = format_ident!("{dialect:?}");
    let named = [("name", name), ("tenant", tenant), ("columns", columns)];
    let fields = named.iter().map(|(name, text)| {
        let name = Ident::new(name, Span::call_site());
        quote! { #name: ::std::borrow::Cow::Borrowed(#text) }
    });
    let none = || quote! { ::core::option::Option::None };
    let deleted = deleted.map_or_else(none, |column| quote! { ::core::option::Option::Some(#column) });
    quote! {
        ::tenancy::scope::row::Table {
            dialect: ::tenancy::scope::Dialect::#dialect,
            #(#fields,)*
            deleted: #deleted,
        }
    }
}

fn stub(name: &Ident) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl ::tenancy::scope::row::TenantRow for #name {
            type Id = ();
            const TABLE: &'static str = "";
            fn id(&self) -> &Self::Id { &() }
            fn statements(_: ::tenancy::scope::Dialect) -> &'static ::tenancy::scope::row::Statements {
                ::core::unreachable!()
            }
        }
    }
}
