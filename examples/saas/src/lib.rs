//! The example application without a web framework: [`build`] constructs it, [`operations`] has its operations.
//!
//! Start with `model.rs` (the tenant-scoped tables) and `operations.rs` (queries and changes in a tenant context).
//! `database.rs` and `provisioning.rs` decide where a tenant's rows are stored; no operation depends on it.
//! The packages `saas-axum` and `saas-actix` add the routes.

mod billing;
mod database;
mod demo;
pub mod members;
mod model;
pub mod operations;
mod operator;
mod provisioning;
mod settings;
mod usage;

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use futures_util::lock::Mutex;
use tenancy::TenantDb;
use tenancy::audit::{AuditPolicy, TracingSink};
use tenancy::billing::stripe::{SigningSecrets, StripeWebhook};
use tenancy::context::TenantDirectory;
use tenancy::placement::Provisioner;
use tenancy::quota::{Quotas, Rates};
use tenancy::resolve::{HostSource, JwtSource, Resolver};
use tenancy::store::{CacheOptions, CachedStore, SqlStore};
use tracing_subscriber::EnvFilter;

use self::demo::DemoRows;
use self::operator::Operator;

pub use sqlx::{Postgres, Sqlite};

pub use self::billing::{Billing, BillingRequest, sell};
pub use self::database::AppDb;
pub use self::demo::Demo;
pub use self::model::{Member, Order, Project};
pub use self::operator::{OperatorRequest, OperatorResponse};
pub use self::settings::Settings;

/// The page of the user interface.
pub const PAGE: &str = include_str!("page.html");

/// The state that the handlers share. It gives access to a tenant's rows only with a context of that tenant.
#[derive(Debug)]
pub struct App<DB: AppDb> {
    db: TenantDb<DB>,
    store: Arc<SqlStore<DB>>,
    directory: TenantDirectory,
    /// Counted beside the tenants, also for a tenant with a place of its own.
    quotas: Quotas,
    /// Counted in this process. For several, use `Rates::redis`.
    rates: Rates,
    billing: Billing,
    /// One tenant is created at a time.
    provisioner: Mutex<Provisioner<DB>>,
    operator: Operator<DB>,
    demo: Demo,
}

/// Connects to the database, migrates and seeds it, and returns the application and the resolver of its requests. The
/// server listens on the port of the settings already, because Stripe sends customers and events to it.
///
/// # Errors
/// If a setting is invalid or the database cannot be reached.
pub async fn build<DB: AppDb>(settings: &Settings) -> tenancy::Result<(Arc<App<DB>>, Arc<Resolver>)> {
    let pool = database::connect::<DB>(&settings.database_url).await?;
    let owner = match &settings.owner_url {
        Some(url) => database::connect::<DB>(url).await?,
        None => pool.clone(),
    };
    let store = Arc::new(SqlStore::new(owner.clone()));
    store.migrate().await?;

    let catalog = Arc::new(usage::catalog()?);
    let tenants = Arc::new(CachedStore::new(SqlStore::new(owner.clone()), CacheOptions::new()));
    let directory = TenantDirectory::new(tenants.clone(), catalog.clone());
    let stripe = StripeWebhook::new(
        SigningSecrets::new([settings.stripe_webhook_secret.as_str()])?,
        billing::mode(settings),
        store.clone(),
        catalog,
        tenants.clone(),
    );
    let provisioner = Provisioner::new(SqlStore::clone(&store), DB::places(&owner, &pool)?, DB::migrations())
        .notify(tenants);
    provisioning::migrate(&provisioner).await?;
    DB::grant(&owner, &pool).await?;
    let db = DB::tenant_db(pool)?
        .audit(AuditPolicy::Required)
        .mirror_audit_to(Arc::new(TracingSink))
        .build()
        .await?;
    let provisioner = provisioner.seed(db.clone(), directory.clone(), DemoRows);
    provisioning::resume_all(&provisioner).await?;
    let demo = Demo::new(&provisioner, settings).await?;
    let (quotas, rates) = (Quotas::new(store.clone()), Rates::local());
    demo.seed_history(&store, &directory).await?;
    let billing = Billing::start(stripe, settings).await?;
    let resolver = Resolver::new(directory.clone())
        .source(jwt_source(settings)?)
        .source(HostSource::new(["localhost"])?);
    let operator = Operator::new(settings.operator_token.as_deref(), provisioner.clone());
    let provisioner = Mutex::new(provisioner);
    Ok((
        Arc::new(App { db, store, directory, quotas, rates, billing, provisioner, operator, demo }),
        Arc::new(resolver),
    ))
}

/// The source of bearer tokens: HS256 with the shared secret, and EdDSA if a public key is set.
fn jwt_source(settings: &Settings) -> tenancy::Result<JwtSource> {
    let source = JwtSource::builder()
        .issuer(demo::ISSUER)
        .audience(demo::AUDIENCE)
        .hs256(settings.jwt_secret.as_bytes());
    match &settings.jwt_ed25519_public_pem {
        Some(pem) => source.eddsa_pem(pem).build(),
        None => source.build(),
    }
}

impl<DB: AppDb> App<DB> {
    /// Does the recurring work of billing, for ever. Spawn it.
    pub async fn look_after_billing(self: Arc<Self>) {
        self.billing.look_after().await;
    }

    /// Prints the address of the server and commands to try.
    pub fn welcome(&self, settings: &Settings) {
        // A closed standard output, as after `| head`, must not stop the server.
        let tenants = self.demo.welcome(settings, self.billing.fake_url());
        let _ = writeln!(std::io::stdout(), "{tenants}{}", self.operator.welcome(settings.port));
    }
}

/// Initialises the log and reads the settings. Call it first.
///
/// # Errors
/// A line that names the invalid variable.
pub fn start(program: &str) -> Result<Settings, Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,tenancy::audit=info,saas=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(Settings::from_env(program)?)
}
