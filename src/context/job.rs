use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Actor, ResolvedBy, TenantContext, TenantDirectory};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// What is to be done later, by a worker: the part of a job that you write.
pub trait Job: Serialize + DeserializeOwned {
    /// The name of this kind of job. An envelope that was made for one kind does not open as another, even if their
    /// fields are the same.
    const NAME: &'static str;
}

/// A job on its way to a queue, with the tenant, actor and request that it comes from.
///
/// It becomes a text for any queue, in one of two ways: signed with `sign` (feature `jobs`) and opened by
/// `JobKeys::open`, or plain with [`to_json`](Self::to_json) and opened by `TenantDb::open_job`, together with a row
/// that must be the tenant's. There is no third way to open one.
///
#[cfg_attr(feature = "jobs", doc = include_str!("job_example.md"))]
///
/// # Security
/// An envelope is written, and never read back: who has its text can open it, and do nothing else with it. Opening
/// lets the tenant in anew, so a tenant that was suspended meanwhile is refused, and a job that runs late meets the
/// plan as it is then.
///
/// The text is not encrypted: whoever reads the queue reads the job.
#[derive(Debug)]
#[must_use = "it does nothing until it is signed or written"]
pub struct Envelope<'a, J> {
    ctx: &'a TenantContext,
    job: &'a J,
    id: Uuid,
    issued: Timestamp,
    expires: Option<Timestamp>,
}

/// A job that was opened, and the context to do it in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReceivedJob<J> {
    /// The tenant as it is now, the actor who asked for the job, and the request in which that was.
    pub context: TenantContext,
    /// What is to be done.
    pub job: J,
    /// The id of the envelope, a UUID of version 7. A queue delivers a job twice at times, and dead letters are sent
    /// again: keep the id in a table of the tenant, in the transaction that does the job.
    pub id: Uuid,
    /// When the envelope was made.
    pub issued: Timestamp,
}

impl<'a, J: Job> Envelope<'a, J> {
    /// An envelope that does not expire.
    pub fn new(ctx: &'a TenantContext, job: &'a J) -> Self {
        Self { ctx, job, id: Uuid::now_v7(), issued: SystemClock.now(), expires: None }
    }

    /// Lets the envelope expire this long after it was made: a dead letter that is sent again later does not open.
    pub fn valid_for(self, time: Duration) -> Self {
        let time = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        Self { expires: Some(Timestamp::from_micros(self.issued.micros().saturating_add(time))), ..self }
    }

    /// The plain text, which opens only together with a row of the tenant: see `TenantDb::open_job`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the job does not serialise; [`ErrorKind::CrossTenantContext`] if the context belongs to a
    /// cross-tenant read, which must leave nothing behind that could change a row.
    pub fn to_json(&self) -> Result<String> {
        self.ctx.not_lent()?;
        let fault = |e| {
            Error::new(
                ErrorKind::InvalidInput,
                "the job does not serialise; is a map in it with keys that are no text?",
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

/// What is in an envelope's text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    v: u8,
    name: String,
    id: Uuid,
    tenant: String,
    #[serde(with = "Carried")]
    actor: Actor,
    request_id: Uuid,
    issued_us: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_us: Option<Timestamp>,
    job: Box<RawValue>,
}

/// An actor as an envelope carries it: `Actor` itself cannot be read from anything.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Actor", tag = "kind", content = "id", rename_all = "snake_case")]
enum Carried {
    User(std::sync::Arc<str>),
    Anonymous,
    System(std::sync::Arc<str>),
    ApiKey(std::sync::Arc<str>),
    Service(std::sync::Arc<str>),
}

impl TenantDirectory {
    /// Opens a text of [`Envelope::to_json`]. Whoever calls this must know by other means that the text is to be
    /// believed.
    pub(crate) async fn open_believed<J: Job>(&self, text: &str) -> Result<ReceivedJob<J>> {
        let contents: Contents = serde_json::from_str(text).map_err(|e| unreadable().with_source(e))?;
        if contents.v != VERSION {
            return Err(unreadable());
        }
        if contents.name != J::NAME {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "this envelope holds no job `{}` but another kind; is it in the wrong queue?",
                    J::NAME
                ),
            ));
        }
        if contents.expires_us.is_some_and(|end| self.clock.now() >= end) {
            return Err(Error::new(
                ErrorKind::Expired,
                "this job has expired; if it is still to be done, make it anew in a request of its tenant",
            ));
        }
        let tenant = TenantId::parse(&contents.tenant).map_err(|_| unreadable())?;
        let context = self.readmit(&tenant, contents.actor, ResolvedBy::Job, contents.request_id).await?;
        let job = serde_json::from_str(contents.job.get()).map_err(|e| {
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the job in this envelope does not read as a `{}` of this version of the program",
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
        "this is no job's envelope, or one of another version; it names no tenant",
    )
}
