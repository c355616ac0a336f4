//! `tenancy completions` and `tenancy man`: what a shell and `man` need to know about the commands.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::output::show;

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell, mut parser: Command, program: &str) -> Result<ExitCode, String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut parser, program, &mut script);
    show(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page of the program, or writes those of all commands into a directory.
pub(crate) fn man(directory: Option<&Path>, parser: Command, program: String) -> Result<ExitCode, String> {
    // The parser keeps names for the whole run.
    let parser = parser.name(&*program.leak());
    let Some(directory) = directory else {
        let mut page = Vec::new();
        let written = clap_mangen::Man::new(parser).render(&mut page);
        written.map_err(|e| format!("the manual page cannot be written: {e}"))?;
        show(&String::from_utf8_lossy(&page))?;
        return Ok(ExitCode::SUCCESS);
    };
    let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(parser, directory).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

/// The name of the program that was called.
pub(crate) fn program(argument: Option<&std::ffi::OsString>) -> String {
    let path = argument.map(PathBuf::from).unwrap_or_default();
    path.file_stem().map_or_else(|| "tenancy".to_owned(), |name| name.to_string_lossy().into_owned())
}
