//! `docs/reference/cli-help.md` has the help of every command, as the program prints it.

use std::path::Path;
use std::process::Command;

/// The variable that writes the page instead of comparing it.
const REWRITE: &str = "TENANCY_REWRITE_HELP";
const HEAD: &str = "# The help of the command line

This page is what `tenancy help` prints for each command, 100 columns wide. [The command
line](https://github.com/tenancy-rs/tenancy/blob/main/docs/reference/cli.md) explains the commands with examples. A test
compares this page with the program. After a change of the help, write it again:

```sh
TENANCY_REWRITE_HELP=1 cargo test --features cli --test cli help::
```
";

/// What `tenancy help` prints for a command.
fn help(command: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tenancy"))
        .arg("help")
        .args(command)
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands in a help text, without `help`.
fn subcommands(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = list.lines().take_while(|line| !line.is_empty());
    let commands = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = commands.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

/// Adds the help of a command and of its subcommands to the sections of the page.
fn add(sections: &mut Vec<String>, command: &[String]) {
    let text = help(command);
    let title = [&["tenancy".to_owned()], command].concat().join(" ");
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    sections.push(format!("\n## {title}\n\n```text\n{}\n```\n", lines.join("\n")));
    for name in subcommands(&text) {
        add(sections, &[command, &[name]].concat());
    }
}

#[test]
fn the_page_has_the_help_of_every_command() {
    let mut sections = Vec::new();
    add(&mut sections, &[]);
    assert!(sections.len() >= 27, "only {} commands were found", sections.len());
    let page = HEAD.to_owned() + &sections.concat();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/cli-help.md");
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/reference/cli-help.md is not what `tenancy help` prints; run with {REWRITE}=1"
    );
}

/// Each command is explained on the page that people read.
#[test]
fn the_page_about_the_commands_names_each() {
    let page = include_str!("../../docs/reference/cli.md");
    let commands = subcommands(&help(&[]));
    assert!(commands.len() >= 11, "{commands:?}");
    for command in commands {
        assert!(
            page.contains(&format!("tenancy {command}")),
            "docs/reference/cli.md lacks `tenancy {command}`"
        );
    }
}
