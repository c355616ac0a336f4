//! Counters of resolved and rejected requests.

use std::sync::OnceLock;

use metrics::{Key, Label, Level, Metadata, with_recorder};
use serde_json::Value;

use crate::context::{ResolvedBy, TenantContext};
use crate::error::Result;

/// Counts the result of a request. No label contains anything from the request or of a tenant.
pub(super) fn resolved(result: &Result<TenantContext>) {
    match result {
        Ok(ctx) => RESOLUTIONS.count(ctx.resolved_by() as usize, || label(ctx.resolved_by())),
        Err(error) => REJECTIONS.count(error.kind() as usize, || error.kind().code().to_owned()),
    }
}

/// The kind of source, spelled as in the audit log.
fn label(by: ResolvedBy) -> String {
    match serde_json::to_value(by) {
        Ok(Value::String(label)) => label,
        _ => "other".to_owned(),
    }
}

static RESOLUTIONS: Family = Family::new("tenancy_resolutions_total", "by");
static REJECTIONS: Family = Family::new("tenancy_rejections_total", "code");

/// Counters with one label whose values are the variants of an enum. The key of each counter is built once.
struct Family {
    name: &'static str,
    label: &'static str,
    keys: [OnceLock<Key>; 64],
}

impl Family {
    const fn new(name: &'static str, label: &'static str) -> Self {
        Self { name, label, keys: [const { OnceLock::new() }; 64] }
    }

    fn count(&self, variant: usize, value: impl FnOnce() -> String) {
        let build = || Key::from_parts(self.name, vec![Label::new(self.label, value())]);
        match self.keys.get(variant) {
            Some(key) => increment(key.get_or_init(build)),
            None => increment(&build()),
        }
    }
}

fn increment(key: &Key) {
    static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
    with_recorder(|recorder| recorder.register_counter(key, &METADATA)).increment(1);
}
