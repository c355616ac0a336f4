//! The attributes `#[tenant(..)]` and `#[sqlx(..)]` of a struct and its fields.

use crate::mistakes::Mistakes;
use syn::{Attribute, DeriveInput, Ident, LitStr};

pub(crate) struct StructAttributes {
    pub(crate) table: String,
    pub(crate) tenant_column: String,
}

pub(crate) fn struct_attributes(input: &DeriveInput, mistakes: &mut Mistakes) -> StructAttributes {
    let mut table: Option<LitStr> = None;
    let mut column: Option<LitStr> = None;
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("tenant")) {
        mistakes.take(attr.parse_nested_meta(|meta| {
            let slot = if meta.path.is_ident("table") {
                &mut table
            } else if meta.path.is_ident("column") {
                &mut column
            } else {
                return Err(meta.error("expected `table = \"..\"` or `column = \"..\"`"));
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
            "the table of this row is not declared\nhelp: write `#[tenant(table = \"..\")]` on the struct",
        );
    }
    StructAttributes {
        table: table.map_or_else(String::new, |t| t.value()),
        tenant_column: column.map_or_else(|| "tenant_id".to_owned(), |c| c.value()),
    }
}

pub(crate) enum FieldRole {
    Id,
    Column,
    Deleted,
}

pub(crate) fn field_role(attrs: &[Attribute], mistakes: &mut Mistakes) -> FieldRole {
    let mut role = FieldRole::Column;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("tenant")) {
        mistakes.take(attr.parse_nested_meta(|meta| {
            role = match (&role, meta.path.get_ident()) {
                (FieldRole::Column | FieldRole::Id, Some(word)) if word == "id" => FieldRole::Id,
                (FieldRole::Column | FieldRole::Deleted, Some(word)) if word == "soft_delete" => {
                    FieldRole::Deleted
                }
                (_, Some(word)) if word == "id" || word == "soft_delete" => {
                    return Err(meta.error("the id of a row cannot be its soft-delete field"));
                }
                _ => return Err(meta.error("expected `#[tenant(id)]` or `#[tenant(soft_delete)]`")),
            };
            Ok(())
        }));
    }
    role
}

pub(crate) fn column_name(name: &Ident, attrs: &[Attribute], mistakes: &mut Mistakes) -> String {
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
