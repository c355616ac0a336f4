//! [`Provisioner`]: creates a tenant with its place, step by step.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use tenancy_sql::Schema;
use tracing::instrument::Instrument;

use super::observed;
use super::places::{Provision, Worker, taken};
use super::steps::{BEGUN, Step, Unfinished, check_import, open};
use crate::context::{Actor, TenantDirectory};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::{TenantDb, Tx, default_schema};
use crate::store::SqlStore;
use crate::tenant::{NewTenant, Placement, PlacementName, Tenant, TenantId, TenantStatus, TenantStore};

/// Writes the first rows of a tenant, in a transaction of that tenant.
///
/// ```
/// use tenancy::TenantScoped;
/// use tenancy::placement::Seed;
/// use tenancy::scope::Tx;
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "projects")]
/// struct Project {
///     #[tenant(id)]
///     id: i64,
///     name: String,
/// }
///
/// struct FirstProject;
///
/// #[async_trait::async_trait]
/// impl Seed<sqlx::Sqlite> for FirstProject {
///     async fn seed(&self, tx: &mut Tx<'_, sqlx::Sqlite>) -> tenancy::Result<()> {
///         Project::upsert(tx, &Project { id: 1, name: "My first project".to_owned() }).await
///     }
/// }
/// ```
#[async_trait]
pub trait Seed<DB: Provision>: Send + Sync {
    /// Writes the rows. The transaction is committed afterwards.
    ///
    /// It can run a second time, if the process ended before the step was recorded. Write so that this changes
    /// nothing, for example by `upsert` with fixed ids.
    ///
    /// # Errors
    /// The tenant stays closed, and its provisioning can be resumed.
    async fn seed(&self, tx: &mut Tx<'_, DB>) -> Result<()>;
}

/// Creates a tenant with its place, and opens it.
///
/// The steps are: the schema, the database or the file; the application's migrations; the policies and grants; the
/// first rows; the status [`Active`](TenantStatus::Active). Each is recorded when it is done, and can run twice. If one
/// fails, the tenant stays [`Provisioning`](TenantStatus::Provisioning), which no request is admitted to, and
/// [`resume`](Self::resume) goes on.
///
/// ```
/// use tenancy::placement::{Provisioner, SqliteFiles, SqlitePlaces};
/// use tenancy::store::SqlStore;
/// use tenancy::tenant::{NewTenant, Slug, TenantStatus};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let directory = dir.path();
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// # let store = SqlStore::new(pool);
/// # store.migrate().await?;
/// # let migrator = sqlx::migrate::Migrator::with_migrations(vec![]);
///
/// // let migrator = sqlx::migrate!("./migrations");
/// let places = SqlitePlaces::new(SqliteFiles::new(directory)?);
/// let provisioner = Provisioner::new(store, places, migrator);
/// let new = NewTenant::new(Slug::parse("acme")?, "Acme", "free").own_database();
/// let acme = provisioner.create(new).await?;
/// assert_eq!(acme.status(), TenantStatus::Active);
/// # Ok(()) }
/// ```
pub struct Provisioner<DB: Provision> {
    pub(crate) store: SqlStore<DB>,
    pub(crate) tenants: Arc<dyn TenantStore>,
    pub(crate) places: Arc<DB::Places>,
    pub(crate) migrator: Arc<Migrator>,
    pub(crate) schema: Schema,
    pub(super) template: Option<PlacementName>,
    seed: Option<Arc<SeedStep<DB>>>,
}

impl<DB: Provision> Clone for Provisioner<DB> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            tenants: self.tenants.clone(),
            places: self.places.clone(),
            migrator: self.migrator.clone(),
            schema: self.schema.clone(),
            template: self.template.clone(),
            seed: self.seed.clone(),
        }
    }
}

struct SeedStep<DB: Provision> {
    db: TenantDb<DB>,
    directory: TenantDirectory,
    seed: Box<dyn Seed<DB>>,
}

impl<DB: Provision> fmt::Debug for Provisioner<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provisioner").field("places", &self.places).finish_non_exhaustive()
    }
}

impl<DB: Provision> Provisioner<DB> {
    /// Creates places for the tenants of `store`, with the application's own migrations.
    ///
    /// The migrations name tables without a schema. They run in each place as they run in a database of one customer.
    pub fn new(store: SqlStore<DB>, places: DB::Places, mut migrator: Migrator) -> Self {
        // sqlx takes one lock for a whole database, so two schemas would wait for each other. Each place is locked.
        migrator.set_locking(false);
        let tenants = Arc::new(store.clone());
        let (places, migrator) = (Arc::new(places), Arc::new(migrator));
        Self { store, tenants, places, migrator, schema: default_schema(), template: None, seed: None }
    }

    /// Declares the tables, as for [`TenantDb`]: the policies are written for them.
    #[must_use]
    pub fn schema(self, schema: Schema) -> Self {
        Self { schema, ..self }
    }

    /// Notifies this store, such as a [`CachedStore`](crate::store::CachedStore), when a tenant is opened.
    #[must_use]
    pub fn notify(self, tenants: Arc<dyn TenantStore>) -> Self {
        Self { tenants, ..self }
    }

    /// Copies a new database or file from this one: see [`update_template`](Self::update_template).
    #[must_use]
    pub fn template(self, name: PlacementName) -> Self {
        Self { template: Some(name), ..self }
    }

    /// Writes the first rows of each tenant.
    #[must_use]
    pub fn seed(self, db: TenantDb<DB>, directory: TenantDirectory, seed: impl Seed<DB> + 'static) -> Self {
        Self { seed: Some(Arc::new(SeedStep { db, directory, seed: Box::new(seed) })), ..self }
    }

    /// Inserts a tenant, provisions it and opens it. It gets a place that is [ready](Self::prepare), if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the id or the slug is taken. Otherwise the error names the step that failed, with the
    /// kind of its cause; the tenant is inserted and closed, and [`resume`](Self::resume) goes on.
    pub async fn create(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        self.insert_and_run(tenant, None).await
    }

    /// As [`create`](Self::create), and records `tenant.create` in the audit log, in the transaction that inserts the tenant.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tenancy::context::Actor;
    /// use tenancy::placement::{Provision, Provisioner};
    /// use tenancy::tenant::{NewTenant, Slug, Tenant};
    ///
    /// async fn add<DB: Provision>(provisioner: &Provisioner<DB>) -> tenancy::Result<Arc<Tenant>> {
    ///     let new = NewTenant::new(Slug::parse("acme")?, "Acme", "free").own_database();
    ///     provisioner.create_by(new, &Actor::user("ada")).await
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_by(&self, tenant: NewTenant, actor: &Actor) -> Result<Arc<Tenant>> {
        self.insert_and_run(tenant, Some(actor)).await
    }

    async fn insert_and_run(&self, tenant: NewTenant, actor: Option<&Actor>) -> Result<Arc<Tenant>> {
        let tenant = tenant.status(TenantStatus::Provisioning);
        let tenant = self.store.insert_in_ready_place(tenant, Step::Create.name(), None, actor).await?;
        self.run(tenant, Step::Open).await
    }

    /// Goes on with a tenant whose provisioning was interrupted or failed. Steps that are done are not repeated.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`]; otherwise as [`create`](Self::create).
    pub async fn resume(&self, id: &TenantId) -> Result<Arc<Tenant>> {
        match self.store.by_id(id).await? {
            Some(tenant) if tenant.status() == TenantStatus::Provisioning => {
                check_import(&self.store.steps(id).await?)?;
                self.run(tenant, Step::Open).await
            }
            Some(tenant) => Ok(tenant),
            None => Err(Error::new(ErrorKind::TenantUnknown, "no such tenant")),
        }
    }

    /// The tenants that are not open yet, each with the step that failed and why, if one did.
    ///
    /// These are all tenants with the status [`Provisioning`](TenantStatus::Provisioning), also those that another
    /// process is creating now, and those that were inserted without a provisioner.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`].
    pub async fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let (mut unfinished, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list(after.as_ref(), 200).await?;
            let Some(last) = page.last() else { return Ok(unfinished) };
            after = Some(last.id().clone());
            for tenant in page.into_iter().filter(|tenant| tenant.status() == TenantStatus::Provisioning) {
                let steps = self.store.steps(tenant.id()).await?;
                let failed = steps.into_iter().find_map(|(step, error)| Some((step, error?)));
                let failed = failed.filter(|(_, error)| error != BEGUN);
                unfinished.push(Unfinished { tenant, failed });
            }
        }
    }

    /// Provisions places in advance until `count` are ready. They are of the same kind as `kind`, whose name does not
    /// matter.
    ///
    /// Run it in one process at a time. Two that run at once can prepare more than `count`. A place that was interrupted
    /// or failed is finished by the next run, and given to no tenant before.
    ///
    /// # Errors
    /// As the steps of [`create`](Self::create).
    pub async fn prepare(&self, kind: &Placement, count: u64) -> Result<()> {
        while self.store.ready_places(kind).await? < count {
            let placement = if let Some(placement) = self.store.unfinished_place(kind).await? {
                placement
            } else {
                let id = TenantId::random();
                let placement = match kind {
                    Placement::Shared => return Ok(()),
                    Placement::Schema { .. } => Placement::schema_of(&id),
                    Placement::Database { .. } => Placement::database_of(&id),
                };
                self.store.add_place(&placement).await?;
                placement
            };
            self.create_place(&placement, self.template.as_ref()).await?;
            self.store.set_place_ready(&placement).await?;
        }
        Ok(())
    }

    /// Creates the template database or brings it up to date. New databases are copied from it.
    ///
    /// A copy of an older template is correct too: the missing migrations run in the copy.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if no [`template`](Self::template) is named; otherwise as the steps of
    /// [`create`](Self::create).
    pub async fn update_template(&self) -> Result<()> {
        let Some(name) = &self.template else {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "no template is named: call `Provisioner::template`",
            ));
        };
        self.create_place(&Placement::Database { name: name.clone() }, None).await
    }

    async fn create_place(&self, placement: &Placement, template: Option<&PlacementName>) -> Result<()> {
        DB::create_place(&self.places, placement, template).await?;
        let mut worker = Worker::new();
        DB::enter(&self.places, &mut worker, placement).await?;
        let done = async {
            self.migrate(worker.conn(), placement).await?;
            self.protect(worker.conn(), placement).await
        };
        let done = done.await;
        DB::leave(&mut worker).await;
        done
    }

    /// Records that the place is created from now on, and returns what was recorded before. A place that exists before
    /// that is not this deployment's.
    async fn begin(&self, tenant: &Tenant) -> Result<BTreeMap<String, Option<String>>> {
        let step = Step::Create.name();
        let steps = self.store.steps(tenant.id()).await?;
        if steps.contains_key(step) {
            return Ok(steps);
        }
        let exists = DB::place_exists(&self.places, tenant.placement()).await?;
        // Another process can have begun since.
        let steps = self.store.steps(tenant.id()).await?;
        if steps.contains_key(step) {
            return Ok(steps);
        }
        if exists {
            return Err(taken());
        }
        self.store.record_step(tenant.id(), step, Some(BEGUN)).await?;
        Ok(steps)
    }

    /// Runs the steps up to this one.
    pub(super) async fn run(&self, tenant: Arc<Tenant>, last: Step) -> Result<Arc<Tenant>> {
        let span = observed::provisioning(&tenant);
        self.run_steps(tenant, last).instrument(span).await
    }

    async fn run_steps(&self, mut tenant: Arc<Tenant>, last: Step) -> Result<Arc<Tenant>> {
        let steps = observed::begun(self.begin(&tenant).await)?;
        // An older program may have migrated the place.
        let current = self.is_recorded(&tenant.id().to_string()).await?;
        for step in Step::ALL {
            let done = steps.get(step.name()) == Some(&None);
            if done && (current || !matches!(step, Step::Migrate | Step::Protect)) {
                continue;
            }
            match observed::step(step, self.step(step, &tenant)).await {
                Ok(changed) => tenant = changed.unwrap_or(tenant),
                Err(error) => {
                    let cause =
                        error.cause().map_or_else(|| error.to_string(), |cause| format!("{error} ({cause})"));
                    // If this cannot be recorded, the store is down, and the step is not recorded as done either.
                    let _ = self.store.record_step(tenant.id(), step.name(), Some(&cause)).await;
                    return Err(Error::new(
                        error.kind(),
                        format!("the tenant is not open, because the step `{}` failed: {error}", step.name()),
                    )
                    .with_source(error));
                }
            }
            self.store.record_step(tenant.id(), step.name(), None).await?;
            if step == last {
                break;
            }
        }
        Ok(tenant)
    }

    async fn step(&self, step: Step, tenant: &Arc<Tenant>) -> Result<Option<Arc<Tenant>>> {
        let placement = tenant.placement();
        match step {
            Step::Create => DB::create_place(&self.places, placement, self.template.as_ref()).await?,
            // The shared tables are there already.
            Step::Migrate | Step::Protect if *placement == Placement::Shared => {}
            Step::Migrate | Step::Protect => {
                let mut worker = Worker::new();
                DB::enter(&self.places, &mut worker, placement).await?;
                let done = match step {
                    Step::Migrate => self.migrate(worker.conn(), placement).await.map(|_| ()),
                    _ => self.protect(worker.conn(), placement).await,
                };
                DB::leave(&mut worker).await;
                done?;
                if step == Step::Protect {
                    self.record_applied(&tenant.id().to_string()).await?;
                }
            }
            Step::Seed => {
                if let Some(step) = &self.seed {
                    let SeedStep { db, directory, seed } = &**step;
                    let ctx = directory.unchecked_context(tenant.clone(), Actor::system("provisioning"))?;
                    let mut tx = db.begin(&ctx).await?;
                    seed.seed(&mut tx).await?;
                    tx.commit().await?;
                }
            }
            Step::Open => return open(&*self.tenants, tenant).await.map(Some),
        }
        Ok(None)
    }
}
