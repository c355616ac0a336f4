//! [`confirm`]: asks before something is done that cannot be undone.

use std::io::{IsTerminal, Write as _};

/// Why a command was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unconfirmed {
    /// Nobody can be asked.
    #[error("this cannot be undone, and there is no terminal to ask at; confirm it by `--yes`")]
    NoTerminal,
    /// The person said no.
    #[error("not confirmed, so nothing was changed")]
    Declined,
}

impl From<Unconfirmed> for String {
    fn from(unconfirmed: Unconfirmed) -> Self {
        unconfirmed.to_string()
    }
}

/// Asks a question at the terminal, unless `--yes` answers it. Everything but `y` and `yes` is a no.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Unconfirmed> {
    if yes {
        return Ok(());
    }
    let (input, mut output) = (std::io::stdin(), std::io::stderr());
    if !input.is_terminal() || !output.is_terminal() {
        return Err(Unconfirmed::NoTerminal);
    }
    let mut answer = String::new();
    let asked = write!(output, "{question} [y/N] ").and_then(|()| output.flush());
    match asked.and_then(|()| input.read_line(&mut answer)) {
        Ok(_) if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) => Ok(()),
        _ => Err(Unconfirmed::Declined),
    }
}
