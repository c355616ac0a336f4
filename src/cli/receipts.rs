//! `tenancy tenants verify-receipt`, and the key that signs receipts of deletions.

use std::env::{VarError, var};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::audit_line::time;
use super::output::{counted, json, note, printable, show, text};
use super::table::{Align, Table};
use crate::clock::Timestamp;
use crate::operations::{DeletionReceipt, ReceiptKeys};

/// The variables with the id and the secret of the key. There is no option for them: arguments are visible to every user of
/// the machine.
const ID: &str = "TENANCY_RECEIPT_KEY_ID";
const KEY: &str = "TENANCY_RECEIPT_KEY";
/// The variable with keys that signed before: a line `ID=KEY` for each.
const PREVIOUS: &str = "TENANCY_RECEIPT_PREVIOUS_KEYS";

#[derive(Args)]
pub(crate) struct Verify {
    /// The file with the signed receipt.
    file: PathBuf,
    /// Print the receipt as JSON.
    #[arg(long)]
    json: bool,
}

/// The keys of the environment; `None` if no variable is set.
pub(crate) fn keys() -> Result<Option<ReceiptKeys>, String> {
    let previous = variable(PREVIOUS)?;
    let mut keys = match (variable(ID)?, variable(KEY)?) {
        (Some(id), Some(key)) => {
            ReceiptKeys::new(id, key).map_err(|e| format!("{ID} and {KEY}: {}", text(&e)))?
        }
        (None, None) if previous.is_none() => return Ok(None),
        (None, None) => {
            return Err(format!("{PREVIOUS} is set without a key that signs; set {ID} and {KEY}"));
        }
        _ => return Err(format!("set both {ID} and {KEY}, or neither of them")),
    };
    for (at, line) in previous.iter().flat_map(|lines| lines.lines().enumerate()) {
        if !line.trim().is_empty() {
            let invalid = |why: &str| format!("{PREVIOUS}, line {}: {why}", at + 1);
            let (id, key) = line.split_once('=').ok_or_else(|| invalid("write `ID=KEY`"))?;
            keys = keys.with_previous_key(id, key).map_err(|e| invalid(&text(&e)))?;
        }
    }
    Ok(Some(keys))
}

fn variable(name: &str) -> Result<Option<String>, String> {
    match var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        // The error would contain the value.
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not a text")),
    }
}

/// The contents of a receipt's file: the signed text, or JSON without a key.
pub(crate) fn written(receipt: &DeletionReceipt, keys: Option<&ReceiptKeys>) -> String {
    keys.map_or_else(|| json(receipt), |keys| keys.sign(receipt) + "\n")
}

pub(crate) fn verify(options: &Verify) -> Result<ExitCode, String> {
    let file = options.file.display();
    let signed = std::fs::read_to_string(&options.file)
        .map_err(|e| format!("{file}: {e}; name the file of a receipt"))?;
    let keys = keys()?.ok_or_else(|| {
        format!("set {ID} and {KEY} to the key that signs receipts, and {PREVIOUS} to earlier ones")
    })?;
    if signed.trim_start().starts_with('{') {
        note(&format!("{file}: the receipt is not signed, so nobody can tell whether it was changed"));
        return Ok(ExitCode::from(1));
    }
    match keys.verify(&signed) {
        Ok(receipt) => {
            show(&if options.json { json(&receipt) } else { lines(&receipt) })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            note(&format!("{file}: {}", text(&error)));
            Ok(ExitCode::from(1))
        }
    }
}

/// A receipt for people.
pub(crate) fn lines(receipt: &DeletionReceipt) -> String {
    let DeletionReceipt { tenant, slug, placement, actor, ended_us, tables, hooks, holds, .. } = receipt;
    let table = Table::new([(40, Align::Left), (12, Align::Right)]);
    let mut lines = table.line([&"table", &"deleted"], "");
    lines.extend(tables.iter().map(|(name, rows)| table.line([&printable(name), rows], "")));
    for (hook, done) in hooks {
        lines += &table.line([&format!("hook {}", printable(hook)), done], "");
    }
    for (held, reason) in holds {
        lines += &table.line([&printable(held), &"kept"], &printable(reason));
    }
    let (rows, ended) = (counted(tables.values().sum(), "row"), time(Timestamp::from_micros(*ended_us)));
    let (slug, tenant, actor) = (printable(slug), printable(tenant), printable(actor));
    lines + &format!("{slug} ({tenant}) was deleted from the {placement} at {ended} by {actor}: {rows}\n")
}
