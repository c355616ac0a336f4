//! [`Report`] and [`Finding`]: the result of an examination, as text and as JSON. SARIF is in `sarif.rs`.

use std::fmt;

use serde::Serialize;

use super::check::{Check, Severity};
use crate::tenant::Placement;

/// How to fix a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Fix {
    /// SQL to run as the owner of the table, or as a role that may change the examined role.
    Sql(String),
    /// A step that a person has to take or decide on.
    Step(String),
}

impl Fix {
    /// Statements that must run in one transaction.
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

/// A defect that a check found: the object, the details and the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    check: Check,
    object: String,
    detail: String,
    fix: Fix,
    placement: Option<Placement>,
}

impl Finding {
    /// Creates a finding of your own, to add to a report with [`Report::with`].
    pub fn new(check: Check, object: impl Into<String>, detail: impl Into<String>, fix: Fix) -> Self {
        Self { check, object: object.into(), detail: detail.into(), fix, placement: None }
    }

    /// The check that found it.
    pub fn check(&self) -> Check {
        self.check
    }

    /// The table, role, view or other object that is affected.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// What was found, in one line.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// How to fix it.
    pub fn fix(&self) -> &Fix {
        &self.fix
    }

    /// The place in which it was found, if [`examine_place`](super::examine_place) or
    /// [`examine_places`](super::examine_places) found it.
    pub fn placement(&self) -> Option<&Placement> {
        self.placement.as_ref()
    }

    pub(super) fn within(mut self, placement: &Placement) -> Self {
        self.placement = Some(placement.clone());
        self
    }

    /// The severity of its check.
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
            #[serde(skip_serializing_if = "Option::is_none")]
            placement: Option<&'a Placement>,
            object: &'a str,
            detail: &'a str,
            fix: &'a Fix,
        }
        Written {
            check: self.check,
            severity: self.severity(),
            title: self.check.title(),
            placement: self.placement.as_ref(),
            object: &self.object,
            detail: &self.detail,
            fix: &self.fix,
        }
        .serialize(serializer)
    }
}

/// The result of an examination.
///
/// `Display` writes text for people and `Serialize` writes JSON; [`to_sarif`](Self::to_sarif) is for code scanning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub(super) role: String,
    pub(super) database: String,
    /// How many places were examined.
    pub(super) places: usize,
    /// How many tenant tables the role can reach.
    pub(super) tables: usize,
    /// For how many of these the probe inserted a row that the other tenant could not reach.
    pub(super) proven: usize,
    pub(super) findings: Vec<Finding>,
    /// What was not examined, and why.
    pub(super) notes: Vec<String>,
}

impl Report {
    /// All findings, errors first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The findings that are errors, without those of the accepted checks.
    pub fn failures(&self, accepted: &[Check]) -> Vec<&Finding> {
        let fails =
            |finding: &&Finding| finding.severity() == Severity::Error && !accepted.contains(&finding.check);
        self.findings.iter().filter(fails).collect()
    }

    /// The role that was examined.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// How many places [`examine_places`](super::examine_places) examined. It is 1 for every other examination.
    pub fn places(&self) -> usize {
        self.places
    }

    /// How many tenant tables the role can reach.
    pub fn tables(&self) -> usize {
        self.tables
    }

    /// For how many of these the probe inserted a row that the other tenant could neither read nor change.
    pub fn proven_with_rows(&self) -> usize {
        self.proven
    }

    /// What was not examined, and why. A note is not a finding.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the report with an additional finding.
    #[must_use]
    pub fn with(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self.sort();
        self
    }

    /// Returns the report without the findings of the accepted checks, and with a note for each of these checks.
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

    /// Asserts that there are no findings. For tests.
    ///
    /// # Panics
    /// If there is a finding. The message is the report as text.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.findings.is_empty(), "{self}");
    }

    /// The report, as that of one place.
    pub(super) fn within(mut self, placement: &Placement) -> Self {
        let findings = self.findings.into_iter();
        self.findings = findings.map(|finding| finding.within(placement)).collect();
        self
    }

    pub(super) fn sort(&mut self) {
        let place = |finding: &Finding| finding.placement.as_ref().map(ToString::to_string);
        self.findings.sort_by(|a, b| {
            let by_check = (a.severity(), a.check).cmp(&(b.severity(), b.check));
            by_check.then_with(|| (place(a), &a.object, &a.detail).cmp(&(place(b), &b.object, &b.detail)))
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, database, places, tables, proven, findings, notes } = self;
        for finding in findings {
            let place = finding.placement.as_ref().map_or_else(String::new, |place| format!("{place}: "));
            writeln!(
                f,
                "{}[{}]: {place}{}: {}",
                finding.severity(),
                finding.check,
                finding.object,
                finding.check.title()
            )?;
            writeln!(f, "    {}", finding.detail)?;
            let mut lines = finding.fix.to_string();
            lines = lines.trim_end().replace('\n', "\n         ");
            writeln!(f, "    fix: {lines}")?;
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
        let of = if *places == 1 { String::new() } else { format!("{places} places of ") };
        write!(
            f,
            "{tables} tenant tables in {of}`{database}` as `{role}`, {proven} of {tables} proven with rows"
        )
    }
}
