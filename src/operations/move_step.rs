//! The steps of a move, its progress and its result.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::MoveRecord;
use crate::tenant::{Placement, TenantId};

/// A step of a [`Move`](super::Move), in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MoveStep {
    /// The target is created, migrated and fenced.
    Prepare,
    /// The rows are copied while the tenant is used.
    Copy,
    /// The source refuses the tenant, and what still differs is copied.
    Fence,
    /// Both places are compared.
    Verify,
    /// The tenant gets its new placement.
    Switch,
    /// The rows of the source are deleted.
    CleanUp,
}

impl MoveStep {
    /// The name, such as `clean-up`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Copy => "copy",
            Self::Fence => "fence",
            Self::Verify => "verify",
            Self::Switch => "switch",
            Self::CleanUp => "clean-up",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self> {
        [Self::Prepare, Self::Copy, Self::Fence, Self::Verify, Self::Switch, Self::CleanUp]
            .into_iter()
            .find(|step| step.name() == name)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Database,
                    "the record of a move has an unknown step; is it of a newer version?",
                )
            })
    }
}

impl fmt::Display for MoveStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a move does now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MoveProgress {
    /// The step.
    pub step: MoveStep,
    /// The table whose rows are copied, if rows are copied.
    pub table: Option<String>,
    /// How many rows of the table were copied in this pass.
    pub rows: u64,
}

impl MoveProgress {
    pub(super) fn step(step: MoveStep) -> Self {
        Self { step, table: None, rows: 0 }
    }
}

impl fmt::Display for MoveProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Some(table) => write!(f, "{}: {table}, {} rows", self.step, self.rows),
            None => self.step.fmt(f),
        }
    }
}

/// What a move did. After a move that went on, only what was done then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MoveReport {
    /// The number of rows, by table, as they were compared in both places.
    pub tables: BTreeMap<String, u64>,
    /// How many rows were copied while the tenant was used.
    pub copied: u64,
    /// For how long the tenant was refused, in milliseconds.
    pub fenced_ms: u64,
}

/// A move that is not finished.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UnfinishedMove {
    /// The tenant.
    pub tenant: TenantId,
    /// Where its rows were before.
    pub source: Placement,
    /// Where they are moved to.
    pub target: Placement,
    /// The step that began last.
    pub step: MoveStep,
    /// When the move began.
    pub started: Timestamp,
    /// Why the last attempt stopped; `None` if it runs, or if its process ended.
    pub error: Option<String>,
}

impl UnfinishedMove {
    pub(super) fn new(record: MoveRecord) -> Result<Self> {
        Ok(Self {
            step: MoveStep::parse(&record.step)?,
            tenant: record.tenant,
            source: record.source,
            target: record.target,
            started: Timestamp::from_micros(record.started_us),
            error: record.error,
        })
    }
}
