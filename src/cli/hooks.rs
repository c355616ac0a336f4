//! [`Hooks`]: the hooks of a program for the deletion of a tenant, by the kind of database.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{Postgres, Sqlite};

use crate::operations::{Deletion, DeletionHook, TenantData};
use crate::tenant::Tenant;

/// The hooks of a program.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) postgres: Vec<Arc<dyn DeletionHook<Postgres>>>,
    pub(crate) sqlite: Vec<Arc<dyn DeletionHook<Sqlite>>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let postgres: Vec<&str> = self.postgres.iter().map(|hook| hook.name()).collect();
        let sqlite: Vec<&str> = self.sqlite.iter().map(|hook| hook.name()).collect();
        f.debug_struct("Hooks").field("postgres", &postgres).field("sqlite", &sqlite).finish()
    }
}

/// A kind of database with hooks of its own.
pub(crate) trait Hooked: TenantData {
    fn hooks(hooks: &Hooks) -> &[Arc<dyn DeletionHook<Self>>];
}

impl Hooked for Postgres {
    fn hooks(hooks: &Hooks) -> &[Arc<dyn DeletionHook<Self>>] {
        &hooks.postgres
    }
}

impl Hooked for Sqlite {
    fn hooks(hooks: &Hooks) -> &[Arc<dyn DeletionHook<Self>>] {
        &hooks.sqlite
    }
}

/// The deletion with the hooks of the program, in the order in which they were added.
pub(crate) fn with_hooks<DB: Hooked>(deletion: Deletion<DB>, hooks: &Hooks) -> Deletion<DB> {
    DB::hooks(hooks).iter().cloned().fold(deletion, |deletion, hook| deletion.hook(Shared(hook)))
}

/// A hook that the program keeps.
struct Shared<DB: TenantData>(Arc<dyn DeletionHook<DB>>);

#[async_trait]
impl<DB: TenantData> DeletionHook<DB> for Shared<DB> {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn delete(&self, tenant: &Tenant, conn: &mut DB::Connection) -> crate::Result<u64> {
        self.0.delete(tenant, conn).await
    }
}
