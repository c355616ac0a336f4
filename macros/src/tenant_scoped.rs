//! `#[derive(TenantScoped)]`: attributes, then checks, then expansion.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Fields, GenericArgument, Ident, LitStr, PathArguments, Type, Visibility,
};
use tenancy_sql::{Dialect, Statements, Table, TableSpec};

pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    match check(input) {
        Ok(row) => expand(&row),
        // One mistake gives one error: the stub keeps "the trait is not implemented" away.
        Err(error) => {
            let mistakes = error.to_compile_error();
            let stub = stub(&input.ident);
            quote! { #mistakes #stub }
        }
    }
}

struct RowStruct<'a> {
    name: &'a Ident,
    table: String,
    id: Field<'a>,
    columns: Vec<Field<'a>>,
    /// The field that says that a row is deleted, and what is in its `Option`.
    deleted: Option<(&'a Type, &'a Type)>,
    entity: TableSpec,
}

struct Field<'a> {
    name: &'a Ident,
    column: String,
    ty: &'a Type,
    visibility: &'a Visibility,
}

fn check(input: &DeriveInput) -> syn::Result<RowStruct<'_>> {
    let mut mistakes = Mistakes::default();
    if !input.generics.params.is_empty() {
        mistakes.add(&input.generics, "a tenant-scoped row has no generics: write a struct for each table");
    }
    let container = container(input, &mut mistakes);
    let mut ids = Vec::new();
    let mut columns = Vec::new();
    let mut deleted = None;
    match &input.data {
        Data::Struct(data) if matches!(data.fields, Fields::Named(_)) => {
            for field in &data.fields {
                let name = field.ident.as_ref().expect("fields are named");
                let role = role(&field.attrs, &mut mistakes);
                let column = column(name, &field.attrs, &mut mistakes);
                if container.tenant_column.eq_ignore_ascii_case(&column) {
                    mistakes.add(
                        name,
                        &format!(
                            "`{column}` is the tenant column: the scope sets it by itself, so a row cannot carry it\n\
                             help: remove this field; to name another tenant column, write `#[tenant(column = \"..\")]`"
                        ),
                    );
                }
                let field = Field { name, column, ty: &field.ty, visibility: &field.vis };
                match role {
                    Role::Id => ids.push(field),
                    Role::Column => columns.push(field),
                    Role::Deleted => {
                        if deleted.is_some() {
                            mistakes.add(name, "a second `#[tenant(soft_delete)]`\nhelp: one field says that a row is deleted");
                        }
                        let value = optional(field.ty).unwrap_or_else(|| {
                            mistakes.add(
                                field.ty,
                                "a row that is there has no time of deletion\nhelp: make this field an `Option<..>`",
                            );
                            field.ty
                        });
                        deleted = Some((field.column.clone(), field.ty, value));
                        columns.push(field);
                    }
                }
            }
            match ids.len() {
                1 if optional(ids[0].ty).is_some() => {
                    mistakes.add(ids[0].ty, "a row always has its id\nhelp: write the type without `Option`");
                }
                1 => {}
                0 => mistakes.add(
                    &input.ident,
                    "which field is the id of a row within its tenant?\nhelp: write `#[tenant(id)]` on that field",
                ),
                _ => mistakes.add(
                    ids[1].name,
                    "a second id: a row has one\nhelp: keep `#[tenant(id)]` on one field only",
                ),
            }
        }
        _ => mistakes
            .add(&input.ident, "a tenant-scoped row is a struct with named fields, one for each column"),
    }
    mistakes.none()?;
    let id = ids.remove(0);
    let names = columns.iter().map(|field| field.column.clone());
    let entity = TableSpec::new(&container.table, &container.tenant_column, &id.column, names)
        .and_then(|entity| match &deleted {
            Some((column, ..)) => entity.soft_delete(column),
            None => Ok(entity),
        })
        .map_err(|refusal| syn::Error::new_spanned(&input.ident, refusal))?;
    let deleted = deleted.map(|(_, field, value)| (field, value));
    Ok(RowStruct { name: &input.ident, table: container.table, id, columns, deleted, entity })
}

struct Container {
    table: String,
    tenant_column: String,
}

fn container(input: &DeriveInput, mistakes: &mut Mistakes) -> Container {
    let mut table: Option<LitStr> = None;
    let mut column: Option<LitStr> = None;
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("tenant")) {
        mistakes.take(attr.parse_nested_meta(|meta| {
            let slot = if meta.path.is_ident("table") {
                &mut table
            } else if meta.path.is_ident("column") {
                &mut column
            } else {
                return Err(meta.error("here go `table = \"..\"` and `column = \"..\"`"));
            };
            let value: LitStr = meta.value()?.parse()?;
            if slot.replace(value).is_some() {
                return Err(meta.error("given twice"));
            }
            Ok(())
        }));
    }
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("sqlx")) {
        mistakes.add(
            attr,
            "rename each field with `#[sqlx(rename = \"..\")]`: writing needs the column's name as well",
        );
    }
    if table.is_none() {
        mistakes.add(
            &input.ident,
            "which table is this a row of?\nhelp: write `#[tenant(table = \"..\")]` on the struct",
        );
    }
    Container {
        table: table.map_or_else(String::new, |t| t.value()),
        tenant_column: column.map_or_else(|| "tenant_id".to_owned(), |c| c.value()),
    }
}

enum Role {
    Id,
    Column,
    Deleted,
}

fn role(attrs: &[Attribute], mistakes: &mut Mistakes) -> Role {
    let mut role = Role::Column;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("tenant")) {
        mistakes.take(attr.parse_nested_meta(|meta| {
            role = match (&role, meta.path.get_ident()) {
                (Role::Column | Role::Id, Some(word)) if word == "id" => Role::Id,
                (Role::Column | Role::Deleted, Some(word)) if word == "soft_delete" => Role::Deleted,
                (_, Some(word)) if word == "id" || word == "soft_delete" => {
                    return Err(meta.error("the id of a row cannot say that it is deleted"));
                }
                _ => return Err(meta.error("on a field go `#[tenant(id)]` and `#[tenant(soft_delete)]`")),
            };
            Ok(())
        }));
    }
    role
}

fn column(name: &Ident, attrs: &[Attribute], mistakes: &mut Mistakes) -> String {
    let mut column = name.to_string().trim_start_matches("r#").to_owned();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("sqlx")) {
        mistakes.take(attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") {
                column = meta.value()?.parse::<LitStr>()?.value();
                return Ok(());
            }
            Err(meta.error(
                "only `#[sqlx(rename = \"..\")]` reads and writes alike; give the field a type that sqlx both \
                 encodes and decodes, such as `sqlx::types::Json<T>`",
            ))
        }));
    }
    column
}

fn expand(row: &RowStruct<'_>) -> TokenStream {
    let RowStruct { name, table, id, columns, deleted, entity } = row;
    let (id_name, id_type) = (id.name, id.ty);
    let values = columns.iter().map(|field| field.name);
    // Each type once: a bound that stands twice is an error that stands twice.
    let mut types: Vec<&Type> = Vec::new();
    for ty in std::iter::once(id.ty).chain(columns.iter().map(|field| field.ty)) {
        if !types.iter().any(|known| known.to_token_stream().to_string() == ty.to_token_stream().to_string())
        {
            types.push(ty);
        }
    }
    let postgres = statements(&entity.statements(Dialect::Postgres));
    let sqlite = statements(&entity.statements(Dialect::Sqlite));
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

/// The column as a constant: `Order::STATUS`.
fn handle(row: &Ident, index: usize, field: &Field<'_>) -> TokenStream {
    let Field { name, column, ty, visibility } = field;
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

/// That a column which is taken for one without NULL is none with.
fn plain(field: &Field<'_>) -> TokenStream {
    let Field { column, ty, .. } = field;
    let mistake =
        format!("the column `{column}` can be NULL: write its type as `Option<..>`, not by another name");
    quote_spanned! { ty.span() => ::core::assert!(!::tenancy::scope::row::FieldType::<#ty>::IS_OPTION, #mistake); }
}

/// What the field holds for a row that is deleted, or is not.
fn mark(field: &Type, value: &Type) -> TokenStream {
    // One span, so that a type that is no time is one error.
    quote_spanned! { value.span() =>
        fn mark(
            at: ::core::option::Option<::std::time::SystemTime>,
        ) -> ::core::option::Option<::std::sync::Arc<dyn ::core::any::Any + Send + Sync>> {
            let mark: #field = at.map(<#value as ::tenancy::scope::row::DeletedAt>::deleted_at);
            ::core::option::Option::Some(::std::sync::Arc::new(mark))
        }
    }
}

/// What is in an `Option`, by its name: a column of that type can be NULL.
fn optional(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
            Some(GenericArgument::Type(value)) => Some(value),
            _ => None,
        },
        _ => None,
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

/// Every mistake of an input, told together.
#[derive(Default)]
struct Mistakes(Option<syn::Error>);

impl Mistakes {
    fn add(&mut self, at: &impl ToTokens, text: &str) {
        self.take(Err(syn::Error::new_spanned(at, text)));
    }

    fn take(&mut self, result: syn::Result<()>) {
        if let Err(error) = result {
            match &mut self.0 {
                Some(all) => all.combine(error),
                None => self.0 = Some(error),
            }
        }
    }

    fn none(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
