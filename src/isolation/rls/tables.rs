//! [`Tables`]: the tables of a database, by what policies they need.

use tenancy_sql::Schema;

use super::error::misconfigured;
use crate::database::own_grants;
use crate::error::Result;
use crate::isolation::catalog::{Column, Ownership, Policy, Relation, Relations};
use crate::isolation::comparison::Kind;

/// The tables of a database, by what policies they need. Each list is sorted by name.
#[derive(Default)]
pub(super) struct Tables<'a> {
    pub(super) tenants: Vec<TenantTable<'a>>,
    pub(super) shared: Vec<SharedTable<'a>>,
    /// Foreign tables with a tenant column. They cannot have a policy.
    pub(super) foreign: Vec<&'a Relation>,
    /// Parents without a tenant column, each with its child, a tenant table.
    pub(super) open: Vec<(&'a Relation, &'a Relation)>,
    /// Tables without a tenant column that are not declared shared.
    pub(super) unknown: Vec<&'a Relation>,
    /// The tables of this crate with rows of tenants, which the application's role uses. One whose row-level security was
    /// disabled is left out: a grant would open it.
    pub(super) own: Vec<&'a Relation>,
    /// Tables with a tenant column outside of the search path, whose row-level security is off or not forced.
    pub(super) outside_search_path: Vec<&'a Relation>,
}

pub(super) struct TenantTable<'a> {
    pub(super) relation: &'a Relation,
    pub(super) column: &'a Column,
    pub(super) kind: Kind,
}

pub(super) struct SharedTable<'a> {
    pub(super) relation: &'a Relation,
    pub(super) writable: bool,
}

impl<'a> Tables<'a> {
    /// Sorts the tables.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`](crate::error::ErrorKind::Misconfigured) if the declaration does not fit a table.
    pub(super) fn new(relations: &'a Relations, schema: &'a Schema) -> Result<Self> {
        let mut all: Vec<&Relation> = relations.values().filter(|one| one.is_table()).collect();
        all.sort_by_key(|one| (&one.schema, &one.name));
        for one in all.iter().filter(|one| is_planned(one)) {
            fits(one, schema)?;
        }
        let mut tables = Self::default();
        for relation in all {
            tables.add(relation, relations, schema)?;
        }
        tables.unknown.retain(|one| !tables.open.iter().any(|(parent, _)| parent.oid == one.oid));
        Ok(tables)
    }

    fn add(&mut self, relation: &'a Relation, relations: &'a Relations, schema: &'a Schema) -> Result<()> {
        if relation.visible && relation.rls && own_grants(&relation.name).is_some() {
            self.own.push(relation);
        }
        let column = match relations.ownership(relation, schema) {
            Ownership::Tenant(column) => column,
            _ if relation.is_own_table() || !relation.counts(schema) => return Ok(()),
            Ownership::Operator => return Ok(()),
            Ownership::Shared { writable } => {
                // A shared table outside of the search path is left unchanged.
                if relation.in_search_path {
                    self.shared.push(SharedTable { relation, writable });
                }
                return Ok(());
            }
            Ownership::Unknown(_)
                if relation.in_search_path && relation.policies.iter().any(Policy::is_generated) =>
            {
                return Err(misconfigured(format!(
                    "the table `{}` has policies of `tenancy`, but no tenant column; name the column under `columns` \
                     in tenancy.toml, or declare the table shared",
                    relation.qualified()
                )));
            }
            Ownership::Unknown(_) => {
                self.unknown.push(relation);
                return Ok(());
            }
        };
        let above = relations.above(relation);
        let by_parent = |one: &&Relation| matches!(relations.ownership(one, schema), Ownership::Tenant(_));
        if !is_planned(relation) && !above.iter().any(|one| is_planned(one) && by_parent(one)) {
            let secured = relation.rls && relation.forced;
            if !secured && !relation.is_own_table() {
                self.outside_search_path.push(relation);
            }
            return Ok(());
        }
        if let [known, other, ..] = *relations.tenant_columns(relation, schema) {
            return Err(misconfigured(format!(
                "the table `{}` has the tenant column `{}` and, as a child, `{}`; name one column for both tables under \
                 `columns` in tenancy.toml",
                relation.qualified(),
                known.name,
                other.name
            )));
        }
        let kind = Kind::of(column).map_err(|why| {
            misconfigured(format!("the tenant column `{}` of `{}` {why}", column.name, relation.qualified()))
        })?;
        let parents = above.into_iter().filter(|one| relation.parents.contains(&one.oid));
        self.open.extend(parents.filter(|one| !by_parent(one)).map(|one| (one, relation)));
        if relation.kind == 'f' {
            self.foreign.push(relation);
        } else {
            self.tenants.push(TenantTable { relation, column, kind });
        }
        Ok(())
    }

    pub(super) fn tenant(&self, oid: i64) -> Option<&TenantTable<'a>> {
        self.tenants.iter().find(|table| table.relation.oid == oid)
    }

    pub(super) fn oids(&self) -> Vec<i64> {
        self.tenants.iter().map(|table| table.relation.oid).collect()
    }
}

/// Whether the generator plans the policies of a table with a tenant column, and those of its partitions and children.
fn is_planned(relation: &Relation) -> bool {
    relation.in_search_path && !relation.is_own_table()
}

/// Rejects a declaration that contradicts the columns of the table.
fn fits(relation: &Relation, schema: &Schema) -> Result<()> {
    let (default, declared) = (schema.column_name(), relation.declared(schema));
    let name = relation.qualified();
    if relation.shared(schema).is_some() {
        return match relation.column(default) {
            None => Ok(()),
            Some(_) => Err(misconfigured(format!(
                "the table `{name}` is declared shared, but it has the tenant column; remove it from `shared` in \
                 tenancy.toml"
            ))),
        };
    }
    if declared == default || relation.column(declared).is_some() {
        return Ok(());
    }
    Err(misconfigured(format!(
        "the table `{name}` is declared with the tenant column `{declared}`, but has no such column; correct `columns` in \
         tenancy.toml"
    )))
}
