//! What commands print: texts of one line, lines of JSON, and the causes of errors.

use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use crate::Error;
use crate::tenant::{Placement, Slug, Tenant, TenantId};

/// Writes to standard output.
pub(crate) fn show(text: &str) -> Result<(), String> {
    write(text).map(|_| ())
}

/// Writes to standard output, and returns whether somebody still reads it.
pub(crate) fn write(text: &str) -> Result<bool, String> {
    let mut output = std::io::stdout();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        // The reader closed the pipe.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(format!("the report cannot be written: {e}")),
    }
}

/// A number with its noun, such as `1 table` and `2 tables`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Prints a remark on standard error.
#[expect(clippy::print_stderr, reason = "a remark beside the report")]
pub(crate) fn note(text: &str) {
    eprintln!("tenancy: {text}");
}

/// The text of an error and of its cause, in one line.
pub(crate) fn text(error: &Error) -> String {
    let text = error.cause().map_or_else(|| error.to_string(), |cause| format!("{error} ({cause})"));
    printable(&text)
}

/// A text in one line, without what would control the terminal, or show the text in another order.
pub(crate) fn printable(text: &str) -> String {
    let is_sign = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.split(is_sign).collect::<Vec<_>>().join(" ")
}

#[derive(Serialize)]
struct Line<'a, T> {
    place: &'a Placement,
    tenant: Option<&'a TenantId>,
    slug: Option<&'a Slug>,
    #[serde(flatten)]
    found: T,
}

#[derive(Serialize)]
pub(crate) struct Cause {
    kind: &'static str,
    text: String,
}

impl Cause {
    pub(crate) fn of(error: &Error) -> Self {
        Self { kind: error.kind().code(), text: text(error) }
    }
}

/// A place as a line of JSON.
pub(crate) fn line(tenant: Option<&Tenant>, found: impl Serialize) -> String {
    let place = tenant.map_or(&Placement::Shared, Tenant::placement);
    json(&Line { place, tenant: tenant.map(Tenant::id), slug: tenant.map(Tenant::slug), found })
}

pub(crate) fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("names, numbers and texts are JSON") + "\n"
}
