//! [`RowStruct`]: a struct that derives `TenantScoped`, checked.

use crate::attributes::{FieldRole, column_name, field_role, struct_attributes};
use crate::mistakes::Mistakes;
use syn::{Data, DeriveInput, Fields, GenericArgument, Ident, PathArguments, Type, Visibility};
use tenancy_sql::TableSpec;

pub(crate) struct RowStruct<'a> {
    pub(crate) name: &'a Ident,
    pub(crate) table: String,
    pub(crate) id: RowField<'a>,
    pub(crate) columns: Vec<RowField<'a>>,
    /// The type of the soft-delete field, and the type in its `Option`.
    pub(crate) deleted: Option<(&'a Type, &'a Type)>,
    pub(crate) spec: TableSpec,
}

pub(crate) struct RowField<'a> {
    pub(crate) name: &'a Ident,
    pub(crate) column: String,
    pub(crate) ty: &'a Type,
    pub(crate) visibility: &'a Visibility,
}

pub(crate) fn check(input: &DeriveInput) -> syn::Result<RowStruct<'_>> {
    let mut mistakes = Mistakes::default();
    if !input.generics.params.is_empty() {
        mistakes.add(&input.generics, "a tenant-scoped row has no generics: write a struct for each table");
    }
    let attributes = struct_attributes(input, &mut mistakes);
    let mut ids = Vec::new();
    let mut columns = Vec::new();
    let mut deleted = None;
    match &input.data {
        Data::Struct(data) if matches!(data.fields, Fields::Named(_)) => {
            for field in &data.fields {
                let name = field.ident.as_ref().expect("fields are named");
                let role = field_role(&field.attrs, &mut mistakes);
                let column = column_name(name, &field.attrs, &mut mistakes);
                if attributes.tenant_column.eq_ignore_ascii_case(&column) {
                    mistakes.add(
                        name,
                        &format!(
                            "`{column}` is the tenant column: the scope sets it, so a row cannot have it\n\
                             help: remove this field; to name another tenant column, write `#[tenant(column = \"..\")]`"
                        ),
                    );
                }
                let field = RowField { name, column, ty: &field.ty, visibility: &field.vis };
                match role {
                    FieldRole::Id => ids.push(field),
                    FieldRole::Column => columns.push(field),
                    FieldRole::Deleted => {
                        if deleted.is_some() {
                            mistakes.add(
                                name,
                                "a second `#[tenant(soft_delete)]`\nhelp: keep it on one field only",
                            );
                        }
                        let value = optional(field.ty).unwrap_or_else(|| {
                            mistakes.add(
                                field.ty,
                                "the soft-delete field is empty while the row exists\nhelp: make this field an `Option<..>`",
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
                    mistakes.add(ids[0].ty, "the id of a row cannot be NULL\nhelp: write the type without `Option`");
                }
                1 => {}
                0 => mistakes.add(
                    &input.ident,
                    "no field is the id of a row within its tenant\nhelp: write `#[tenant(id)]` on that field",
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
    let spec = TableSpec::new(&attributes.table, &attributes.tenant_column, &id.column, names)
        .and_then(|spec| match &deleted {
            Some((column, ..)) => spec.soft_delete(column),
            None => Ok(spec),
        })
        .map_err(|rejection| syn::Error::new_spanned(&input.ident, rejection))?;
    let deleted = deleted.map(|(_, field, value)| (field, value));
    Ok(RowStruct { name: &input.ident, table: attributes.table, id, columns, deleted, spec })
}

/// The type in an `Option`, recognised by its name: a column of that type can be NULL.
pub(crate) fn optional(ty: &Type) -> Option<&Type> {
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
