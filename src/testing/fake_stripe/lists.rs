//! Lists of objects page by page, and the expansion of ids.

use serde_json::{Value, json};

use super::failure::{Failure, Reply};
use super::params::Params;
use super::state::State;

/// The parameters of every list.
pub(super) const PAGING: [&str; 5] = ["limit", "starting_after", "ending_before", "created", "created.**"];

/// One page of the objects that pass the filter, the newest first. `stored` begins with the oldest.
pub(super) fn page(stored: &[Value], params: &Params, url: &str, filter: impl Fn(&Value) -> bool) -> Reply {
    let limit = params.integer("limit")?.unwrap_or(10);
    if !(1..=100).contains(&limit) {
        return Err(Failure::invalid("Invalid integer: limit is 1 to 100").param("limit"));
    }
    let limit = usize::try_from(limit).unwrap_or(100);
    let created = Range::read(params)?;
    // A place is looked up among all objects: what passed the filter of one page may not pass that of the next.
    let newest_first: Vec<&Value> = stored.iter().rev().collect();
    let place = |param: &str| -> Result<Option<usize>, Failure> {
        let Some(id) = params.some(param)? else { return Ok(None) };
        let at = newest_first.iter().position(|object| object["id"] == id);
        at.map(Some).ok_or_else(|| Failure::no_such("object", id, param))
    };
    let (after, before) = (place("starting_after")?, place("ending_before")?);
    let wanted = |object: &&Value| object["deleted"] != true && created.contains(object) && filter(object);
    let range = after.map_or(0, |after| after + 1)..before.unwrap_or(newest_first.len());
    let all: Vec<&Value> =
        newest_first.get(range).unwrap_or_default().iter().copied().filter(wanted).collect();
    let has_more = all.len() > limit;
    let chosen =
        if before.is_some() { &all[all.len().saturating_sub(limit)..] } else { &all[..limit.min(all.len())] };
    Ok(json!({ "object": "list", "data": chosen, "has_more": has_more, "url": url }))
}

/// A whole list inside an object.
pub(super) fn whole(data: &[Value], url: &str) -> Value {
    json!({ "object": "list", "data": data, "has_more": false, "url": url })
}

struct Range([Option<i64>; 5]);

impl Range {
    fn read(params: &Params) -> Result<Self, Failure> {
        let range = params.part("created");
        let equal = if params.nested("created").is_some() { None } else { params.integer("created")? };
        Ok(Self([
            range.integer("gte")?,
            range.integer("gt")?,
            range.integer("lte")?,
            range.integer("lt")?,
            equal,
        ]))
    }

    fn contains(&self, object: &Value) -> bool {
        let [gte, gt, lte, lt, equal] = self.0;
        let created = object["created"].as_i64().unwrap_or_default();
        gte.is_none_or(|time| created >= time)
            && gt.is_none_or(|time| created > time)
            && lte.is_none_or(|time| created <= time)
            && lt.is_none_or(|time| created < time)
            && equal.is_none_or(|time| created == time)
    }
}

impl State {
    /// Replaces ids in a reply with their objects, as `expand[]` names them.
    pub(super) fn expand(&self, reply: &mut Value, params: &Params) -> Result<(), Failure> {
        for path in params.texts("expand") {
            let parts: Vec<&str> = path.split('.').collect();
            if parts.len() > 4 || !self.expand_at(reply, &parts) {
                let message = format!("This property cannot be expanded ({path}).");
                return Err(Failure::invalid(message).param("expand"));
            }
        }
        Ok(())
    }

    fn expand_at(&self, value: &mut Value, path: &[&str]) -> bool {
        if let Value::Array(entries) = value {
            return entries.iter_mut().all(|entry| self.expand_at(entry, path));
        }
        let Some((first, rest)) = path.split_first() else { return true };
        let line_items = value["id"].as_str().and_then(|id| self.line_items.get(id));
        let Some(fields) = value.as_object_mut() else { return false };
        if let ("line_items", Some(items)) = (*first, line_items) {
            fields.insert("line_items".to_owned(), whole(items, "/v1/checkout/sessions"));
            return true;
        }
        let Some(field) = fields.get_mut(*first) else { return false };
        if let Some(object) = field.as_str().and_then(|id| self.any(id)) {
            *field = object.clone();
        }
        // A field that is `null` expands to nothing.
        field.is_null() || (!field.is_string() && self.expand_at(field, rest))
    }
}
