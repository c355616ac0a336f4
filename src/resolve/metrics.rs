use std::sync::OnceLock;

use metrics::{Key, Label, Level, Metadata, with_recorder};
use serde_json::Value;

use crate::context::{ResolvedBy, TenantContext};
use crate::error::Result;

/// Counts how a request ended. No label is made of what the request or a tenant says.
pub(super) fn resolved(result: &Result<TenantContext>) {
    match result {
        Ok(ctx) => RESOLUTIONS.count(ctx.resolved_by() as usize, || way(ctx.resolved_by())),
        Err(error) => REFUSALS.count(error.kind() as usize, || error.kind().code().to_owned()),
    }
}

/// The way as it stands in the audit log, too.
fn way(by: ResolvedBy) -> String {
    match serde_json::to_value(by) {
        Ok(Value::String(way)) => way,
        _ => "other".to_owned(),
    }
}

static RESOLUTIONS: Family = Family::new("tenancy_resolutions_total", "by");
static REFUSALS: Family = Family::new("tenancy_refusals_total", "code");

/// Counters whose one label has the names of an enum's variants as its values. The key of each is made once.
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
        let make = || Key::from_parts(self.name, vec![Label::new(self.label, value())]);
        match self.keys.get(variant) {
            Some(key) => increment(key.get_or_init(make)),
            None => increment(&make()),
        }
    }
}

fn increment(key: &Key) {
    static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));
    with_recorder(|recorder| recorder.register_counter(key, &METADATA)).increment(1);
}
