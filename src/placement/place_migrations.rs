//! The migrations and the policies of one place.

use super::applied::list;
use super::migration_error::migration_error;
use super::places::Provision;
use super::provisioner::Provisioner;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::Placement;

impl<DB: Provision> Provisioner<DB> {
    /// Runs the application's migrations in a place, and the library's in a database. Returns the versions that the place
    /// did not have.
    pub(super) async fn migrate(&self, conn: &mut DB::Connection, placement: &Placement) -> Result<Vec<i64>> {
        if matches!(placement, Placement::Database { .. }) {
            DB::migrate(conn).await.map_err(|e| migration_error(&e))?;
            self.store.set_tenant_type(conn).await?;
        }
        let new = self.missing(conn).await?;
        self.migrator.run_direct(None, conn, false).await.map_err(|e| migration_error(&e))?;
        if !new.is_empty() {
            DB::back_to_place(conn, placement).await?;
            if !self.missing(conn).await?.is_empty() {
                return Err(Error::new(
                    ErrorKind::Misconfigured,
                    "a migration changed the `search_path`, so it ran outside of this place; name no schema and set no \
                     `search_path`",
                ));
            }
        }
        Ok(new)
    }

    /// The migrations of the program that a place does not have.
    async fn missing(&self, conn: &mut DB::Connection) -> Result<Vec<i64>> {
        let applied = list(conn).await?;
        Ok(self.versions().filter(|version| !applied.iter().any(|one| one.version == *version)).collect())
    }

    /// Writes the policies and grants of a place.
    pub(super) async fn protect(&self, conn: &mut DB::Connection, placement: &Placement) -> Result<()> {
        DB::protect(&self.places, conn, placement, &self.schema).await
    }

    /// Whether every migration of the program is recorded as applied in a place.
    pub(super) async fn is_recorded(&self, place: &str) -> Result<bool> {
        let recorded = self.store.recorded_migrations(place).await?;
        Ok(self.versions().all(|version| recorded.get(&version) == Some(&None)))
    }

    /// Records every migration of the program as applied in a place.
    pub(super) async fn record_applied(&self, place: &str) -> Result<()> {
        let recorded = self.store.recorded_migrations(place).await?;
        let missing = self.versions().filter(|version| recorded.get(version) != Some(&None));
        let missing: Vec<_> = missing.map(|version| (version, None)).collect();
        self.store.record_migrations(place, &missing).await
    }

    /// The versions of the application's migrations.
    pub(crate) fn versions(&self) -> impl Iterator<Item = i64> {
        self.migrator.iter().filter(|one| !one.migration_type.is_down_migration()).map(|one| one.version)
    }
}
