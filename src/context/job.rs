//! [`Job`], its [`Envelope`] and [`ReceivedJob`]: jobs that carry their tenant through a queue of your own.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Actor, ResolvedBy, TenantContext, TenantDirectory};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// The payload of a background job. You implement this trait for each kind of job.
pub trait Job: Serialize + DeserializeOwned {
    /// The name of this kind of job. An envelope of one kind does not open as another, even with the same fields.
    const NAME: &'static str;
}

/// A job with the tenant, the actor and the request that created it, for any queue that transports text.
///
/// | write | open | what proves the tenant |
/// |---|---|---|
/// | `sign` (feature `jobs`) | `JobKeys::open` | the signature |
/// | [`to_json`](Self::to_json) | `TenantDb::open_job` | a row that must belong to the tenant |
///
#[cfg_attr(feature = "jobs", doc = include_str!("job_example.md"))]
///
/// # Security
/// An `Envelope` cannot be deserialised: a text can only be opened in one of these two ways. Opening reads the tenant
/// again. It fails for a tenant that has been suspended since, and the context contains the current plan.
///
/// The text is not encrypted: whoever can read the queue can read the job.
#[derive(Debug)]
#[must_use = "it does nothing until it is signed or serialised"]
pub struct Envelope<'a, J> {
    ctx: &'a TenantContext,
    job: &'a J,
    id: Uuid,
    issued: Timestamp,
    expires: Option<Timestamp>,
}

/// A job from an opened envelope, with the context to run it in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReceivedJob<J> {
    /// The context: the tenant with its current status and plan, and the actor and request id that created the job.
    pub context: TenantContext,
    /// The payload.
    pub job: J,
    /// The id of the envelope, a UUID of version 7. Queues can deliver a job twice: insert the id into a tenant table
    /// with a unique key, in the transaction that does the job.
    pub id: Uuid,
    /// When the envelope was created.
    pub issued: Timestamp,
}

impl<'a, J: Job> Envelope<'a, J> {
    /// Creates an envelope that does not expire.
    pub fn new(ctx: &'a TenantContext, job: &'a J) -> Self {
        Self { ctx, job, id: Uuid::now_v7(), issued: SystemClock.now(), expires: None }
    }

    /// Sets how long the envelope is valid. A dead letter that is redelivered after that does not open.
    pub fn valid_for(self, time: Duration) -> Self {
        Self { expires: Some(self.issued.after(time)), ..self }
    }

    /// Serialises the envelope without a signature. `TenantDb::open_job` opens it, together with a row of the tenant.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the job does not serialise; [`ErrorKind::CrossTenantContext`] if the context
    /// belongs to a cross-tenant read, because a job can write.
    pub fn to_json(&self) -> Result<String> {
        self.ctx.reject_cross_tenant()?;
        let fault = |e| {
            Error::new(
                ErrorKind::InvalidInput,
                "the job does not serialise; does it contain a map whose keys are not strings?",
            )
            .with_source(e)
        };
        let job = serde_json::value::to_raw_value(self.job).map_err(fault)?;
        let contents = Contents {
            v: VERSION,
            name: J::NAME.into(),
            id: self.id,
            tenant: self.ctx.tenant_id().to_string(),
            actor: self.ctx.actor().clone(),
            request_id: self.ctx.request_id(),
            issued_us: self.issued,
            expires_us: self.expires,
            job,
        };
        serde_json::to_string(&contents).map_err(fault)
    }
}

const VERSION: u8 = 1;

/// The JSON of an envelope.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    v: u8,
    name: String,
    id: Uuid,
    tenant: String,
    #[serde(with = "SerializedActor")]
    actor: Actor,
    request_id: Uuid,
    issued_us: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_us: Option<Timestamp>,
    job: Box<RawValue>,
}

/// The actor in an envelope. `Actor` itself does not implement `Deserialize`.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Actor", tag = "kind", content = "id", rename_all = "snake_case")]
enum SerializedActor {
    User(std::sync::Arc<str>),
    Anonymous,
    System(std::sync::Arc<str>),
    ApiKey(std::sync::Arc<str>),
    Service(std::sync::Arc<str>),
}

impl TenantDirectory {
    /// Opens a text of [`Envelope::to_json`] without a proof of its origin: the caller must verify the signature or
    /// check a row of the tenant.
    pub(crate) async fn open_unverified<J: Job>(&self, text: &str) -> Result<ReceivedJob<J>> {
        let contents: Contents = serde_json::from_str(text).map_err(|e| unreadable().with_source(e))?;
        if contents.v != VERSION {
            return Err(unreadable());
        }
        if contents.name != J::NAME {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "this envelope contains another kind of job than `{}`; is it in the wrong queue?",
                    J::NAME
                ),
            ));
        }
        if contents.expires_us.is_some_and(|end| self.clock.now() >= end) {
            return Err(Error::new(
                ErrorKind::Expired,
                "this job has expired; if it is still needed, create it again in a request of its tenant",
            ));
        }
        let tenant = TenantId::parse(&contents.tenant).map_err(|_| unreadable())?;
        let context = self.readmit(&tenant, contents.actor, ResolvedBy::Job, contents.request_id).await?;
        let job = serde_json::from_str(contents.job.get()).map_err(|e| {
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the job in this envelope does not deserialise as a `{}` of this version of the program",
                    J::NAME
                ),
            )
            .with_source(e)
        })?;
        Ok(ReceivedJob { context, job, id: contents.id, issued: contents.issued_us })
    }
}

fn unreadable() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "this text is not the envelope of a job, or the envelope has another version",
    )
}
