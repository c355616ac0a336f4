//! What an examination found, as text and as JSON.

use std::fmt;

use serde::Serialize;

use super::check::{Check, Severity};

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Fix {
    /// SQL, to be run as the owner of the table, or as who may change the role.
    Sql(String),
    /// Something that a person has to do or decide.
    Step(String),
}

impl Fix {
    /// Statements that only help together, as one transaction.
    pub(super) fn together(statements: &str) -> Self {
        Self::Sql(format!("BEGIN;\n{statements}\nCOMMIT;"))
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(text) | Self::Step(text) => f.write_str(text),
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    check: Check,
    object: String,
    detail: String,
    fix: Fix,
}

impl Finding {
    /// A finding of your own, to stand beside those of [`examine`](super::examine) in one report.
    pub fn new(check: Check, object: impl Into<String>, detail: impl Into<String>, fix: Fix) -> Self {
        Self { check, object: object.into(), detail: detail.into(), fix }
    }

    /// What was looked for.
    pub fn check(&self) -> Check {
        self.check
    }

    /// The table, role, view, .. that it is about.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// What was found, in one line.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What mends it.
    pub fn fix(&self) -> &Fix {
        &self.fix
    }

    /// As its check says.
    pub fn severity(&self) -> Severity {
        self.check.severity()
    }
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            check: Check,
            severity: Severity,
            title: &'a str,
            object: &'a str,
            detail: &'a str,
            fix: &'a Fix,
        }
        Written {
            check: self.check,
            severity: self.severity(),
            title: self.check.title(),
            object: &self.object,
            detail: &self.detail,
            fix: &self.fix,
        }
        .serialize(serializer)
    }
}

/// What an examination found.
///
/// It displays as text for people, and serializes as JSON; [`to_sarif`](Self::to_sarif) is for code scanning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub(super) role: String,
    pub(super) database: String,
    /// How many tables of tenants the role can reach.
    pub(super) tables: usize,
    /// Of how many of these a row was made, and was out of the other tenant's reach.
    pub(super) proven: usize,
    pub(super) findings: Vec<Finding>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

impl Report {
    /// All findings, the worst first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The errors among the findings, without those of checks that are accepted.
    pub fn failures(&self, accepted: &[Check]) -> Vec<&Finding> {
        let fails =
            |finding: &&Finding| finding.severity() == Severity::Error && !accepted.contains(&finding.check);
        self.findings.iter().filter(fails).collect()
    }

    /// The role that was examined.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// How many tables of tenants the role can reach.
    pub fn tables(&self) -> usize {
        self.tables
    }

    /// Of how many of these a row was made, which the other tenant could neither see nor change.
    pub fn proven_with_rows(&self) -> usize {
        self.proven
    }

    /// What was left out of the examination, and why; no fault.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The same report with one more finding.
    #[must_use]
    pub fn with(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self.sort();
        self
    }

    /// The same report without the findings of checks that are accepted; a note says which they were.
    #[must_use]
    pub fn accepting(mut self, accepted: &[Check]) -> Self {
        for check in accepted {
            let before = self.findings.len();
            self.findings.retain(|finding| finding.check != *check);
            if self.findings.len() < before {
                self.notes.push(format!("accepted: {check} ({})", before - self.findings.len()));
            }
        }
        self
    }

    /// For tests: that there is no finding at all.
    ///
    /// # Panics
    /// With the report as text, if there is one.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.findings.is_empty(), "{self}");
    }

    pub(super) fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            (a.severity(), a.check, &a.object, &a.detail).cmp(&(b.severity(), b.check, &b.object, &b.detail))
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, database, tables, proven, findings, notes } = self;
        for finding in findings {
            writeln!(
                f,
                "{}[{}]: {}: {}",
                finding.severity(),
                finding.check,
                finding.object,
                finding.check.title()
            )?;
            writeln!(f, "    {}", finding.detail)?;
            let mut lines = finding.fix.to_string();
            lines = lines.trim_end().replace('\n', "\n          ");
            writeln!(f, "    mend: {lines}")?;
        }
        for note in notes {
            writeln!(f, "note: {note}")?;
        }
        let count = |severity| findings.iter().filter(|finding| finding.severity() == severity).count();
        let plural = |count| if count == 1 { "" } else { "s" };
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if findings.is_empty() {
            f.write_str("clean: ")?;
        } else {
            let advice = count(Severity::Advice);
            write!(
                f,
                "{errors} error{}, {warnings} warning{}, {advice} advice: ",
                plural(errors),
                plural(warnings)
            )?;
        }
        write!(
            f,
            "{tables} tables of tenants in `{database}` as `{role}`, {proven} of {tables} proven with rows"
        )
    }
}
