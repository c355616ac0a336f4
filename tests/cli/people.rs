//! What the commands do for people: tables that fit the terminal, questions, completions and manual pages.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use sqlx::Sqlite;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, TenantStore};

use crate::cli::{database, tenancy};
use crate::common::Cleanup;

/// Runs the program in a terminal of this width, types `input`, and returns what the terminal shows.
pub(crate) fn in_terminal(args: &[&str], columns: u16, input: &str, dir: &Path) -> (i32, String) {
    in_terminal_with("", args, columns, input, dir)
}

/// As `in_terminal`, with variables of the environment, such as `COLUMNS=50`.
fn in_terminal_with(variables: &str, args: &[&str], columns: u16, input: &str, dir: &Path) -> (i32, String) {
    let quoted = args.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let command = format!(
        "stty rows 24 cols {columns} && exec env {variables} '{}' {quoted}",
        env!("CARGO_BIN_EXE_tenancy")
    );
    // `script` of util-linux opens a terminal and copies what is shown.
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env_remove("COLUMNS")
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script` of util-linux is installed");
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(keyboard);
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n"))
}

const NAME: &str = "a-tenant-with-a-name-that-is-longer-than-its-column";

async fn tenants() -> (String, Cleanup) {
    let (pool, url, cleanup) = database::<Sqlite>().await;
    let store = SqlStore::new(pool);
    store.migrate().await.unwrap();
    for slug in ["acme", NAME] {
        store.insert(NewTenant::active(slug, "free").unwrap()).await.unwrap();
    }
    (url, cleanup)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_fits_the_terminal_and_is_whole_without_one() {
    let (url, _cleanup) = tenants().await;
    let dir = tempfile::tempdir().unwrap();
    let list = ["tenants", "list", "--url", &url];
    for columns in [50, 80] {
        let (code, out) = in_terminal(&list, columns, "", dir.path());
        assert_eq!(code, 0, "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= usize::from(columns)), "{columns}:\n{out}");
        assert!(out.contains("a-tenant-") && out.contains('…') && !out.contains(NAME), "{columns}:\n{out}");
        assert!(out.contains("acme") && out.contains("2 tenants"), "{out}");
    }
    // `COLUMNS` wins, also if the terminal is wide.
    let (_, wide) = in_terminal(&list, 160, "", dir.path());
    let (_, narrow) = in_terminal_with("COLUMNS=50", &list, 160, "", dir.path());
    let longest = |out: &str| out.lines().map(|line| line.chars().count()).max();
    assert!(longest(&wide) > Some(80) && longest(&narrow) == Some(50), "{wide}{narrow}");
    let (_, out) = in_terminal(&[&list[..], &["--json"]].concat(), 50, "", dir.path());
    assert!(out.contains(&format!("\"slug\":\"{NAME}\"")), "{out}");
    let (code, out, _) = tenancy(&list, dir.path());
    assert!(code == 0 && out.contains(&format!("\n{NAME} active ")), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_at_the_terminal_is_answered_by_yes_only() {
    let (url, _cleanup) = tenants().await;
    let dir = tempfile::tempdir().unwrap();
    let discard = ["stripe", "quarantine", "discard", "evt_1", "--url", &url];
    for (answer, code, wanted) in [
        ("n\n", 2, "tenancy: not confirmed, so nothing was changed"),
        ("\n", 2, "tenancy: not confirmed, so nothing was changed"),
        // It is confirmed, and there is no such event.
        ("yes\n", 2, "tenancy: evt_1: the quarantine has no such event"),
    ] {
        let (found, out) = in_terminal(&discard, 100, answer, dir.path());
        let question = "Remove 1 event from the quarantine, without applying them? [y/N]";
        assert!(found == code && out.contains(question) && out.contains(wanted), "{answer:?}: {out}");
    }
}

#[test]
fn a_shell_completes_every_command() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, part) in [
        ("bash", "complete -F _tenancy"),
        ("zsh", "#compdef tenancy"),
        ("fish", "complete -c tenancy"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let (code, out, err) = tenancy(&["completions", shell], dir.path());
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains(part), "{shell}: {out}");
        for command in ["recount", "usage", "audit", "quarantine"] {
            assert!(out.contains(command), "{shell} does not complete {command}");
        }
    }
    // bash reads its script, and completes with it.
    let script = dir.path().join("tenancy.bash");
    std::fs::write(&script, tenancy(&["completions", "bash"], dir.path()).1).unwrap();
    let completed = "source \"$0\" && COMP_WORDS=(tenancy audit e) COMP_CWORD=2 && _tenancy tenancy e audit && echo \"${COMPREPLY[*]}\"";
    let bash = Command::new("bash").args(["-c", completed]).arg(&script).output().unwrap();
    assert_eq!(
        String::from_utf8(bash.stdout).unwrap(),
        "export\n",
        "{}",
        String::from_utf8_lossy(&bash.stderr)
    );
    let (code, _, err) = tenancy(&["completions", "tcsh"], dir.path());
    assert!(code == 2 && err.contains("possible values"), "{err}");
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, _) = tenancy(&["man"], dir.path());
    assert!(code == 0 && out.contains(".TH tenancy 1") && out.contains("tenancy\\-audit"), "{out}");
    let (code, out, err) = tenancy(&["man", "pages"], dir.path());
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let mut pages: Vec<String> = std::fs::read_dir(dir.path().join("pages"))
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for page in
        ["tenancy.1", "tenancy-audit-tail.1", "tenancy-stripe-quarantine-replay.1", "tenancy-recount.1"]
    {
        assert!(pages.iter().any(|found| found == page), "{page}: {pages:?}");
    }
}
