//! [`Settings`]: the environment variables of the program.

use std::env;
use std::env::VarError;
use std::fmt;

use uuid::Uuid;

/// The settings, from environment variables.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "tests construct it directly")]
pub struct Settings {
    /// `PORT`: 3000 by default; 0 for any free port, which is set when it is bound.
    pub port: u16,
    /// `DATABASE_URL`: by default an SQLite file in the working directory, named after the program.
    pub database_url: String,
    /// `DATABASE_OWNER_URL`: on PostgreSQL, the same database as the owner of its tables. Then `DATABASE_URL` names a role
    /// that owns none, as in production, and tenants can be moved. By default one role does both.
    pub owner_url: Option<String>,
    /// `JWT_SECRET`: at least 32 bytes; by default a new one at every start.
    pub jwt_secret: String,
    /// `JWT_ED25519_PUBLIC_PEM`: a public key for tokens signed with EdDSA, as PEM.
    pub jwt_ed25519_public_pem: Option<String>,
    /// `STRIPE_SECRET_KEY`: of your Stripe account; by default a fake Stripe on this machine takes the payments.
    pub stripe_secret_key: Option<String>,
    /// `STRIPE_API_URL`: another server with Stripe's API, such as a fake one that several programs share.
    pub stripe_api_url: Option<String>,
    /// `OPERATOR_TOKEN`: at least 32 bytes, opens the operator's page; by default a new one at every start.
    pub operator_token: Option<String>,
    /// `STRIPE_WEBHOOK_SECRET`: by default a new one at every start.
    pub stripe_webhook_secret: String,
}

impl Settings {
    /// Reads the settings from the environment.
    ///
    /// # Errors
    /// A line that names the invalid variable.
    pub fn from_env(program: &str) -> Result<Self, String> {
        let port = match read("PORT")? {
            Some(port) => {
                port.parse().map_err(|_| format!("PORT is `{port}`; use a number from 0 to 65535"))?
            }
            None => 3000,
        };
        Ok(Self {
            port,
            database_url: read("DATABASE_URL")?.unwrap_or_else(|| format!("sqlite:{program}.db")),
            owner_url: read("DATABASE_OWNER_URL")?,
            jwt_secret: read("JWT_SECRET")?.unwrap_or_else(new_secret),
            jwt_ed25519_public_pem: read("JWT_ED25519_PUBLIC_PEM")?,
            operator_token: operator_token(read("OPERATOR_TOKEN")?)?,
            stripe_secret_key: read("STRIPE_SECRET_KEY")?,
            stripe_api_url: read("STRIPE_API_URL")?,
            stripe_webhook_secret: read("STRIPE_WEBHOOK_SECRET")?
                .unwrap_or_else(|| format!("whsec_{}", new_secret())),
        })
    }
}

fn read(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}

fn operator_token(token: Option<String>) -> Result<Option<String>, String> {
    match token {
        Some(token) if token.len() < 32 => {
            Err("OPERATOR_TOKEN is too short; use 32 random bytes or more, or leave it out".to_owned())
        }
        token => Ok(token),
    }
}

/// A secret of 244 random bits.
pub(crate) fn new_secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl Settings {
    /// Whether the database is PostgreSQL; otherwise it is SQLite.
    pub fn is_postgres(&self) -> bool {
        self.database_url.starts_with("postgres")
    }

    /// The error text for a port that cannot be bound.
    pub fn port_error(&self, error: &std::io::Error) -> String {
        format!("port {} cannot be bound ({error}); set PORT to another one", self.port)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("port", &self.port).finish_non_exhaustive()
    }
}
