//! What is wrong with a configuration: file, line, column, key, what is wrong, what would be right.
//!
//! Reading goes on after a problem, so that one run shows all of them.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A value of the file, with its key and its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    /// The key with its section: `port.mtu`.
    pub(super) key: String,
    /// Bytes of the file.
    pub(super) span: Range<usize>,
}

impl<T> At<T> {
    /// The same place with another value.
    pub(super) fn with<U>(&self, value: U) -> At<U> {
        At { value, key: self.key.clone(), span: self.span.clone() }
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Problem {
    key: String,
    span: Option<Range<usize>>,
    what: String,
    right: String,
}

/// Collects problems while a file is read.
#[derive(Default, Debug)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Records that the value at `at` is wrong: `what` is, and `right` would be right.
    pub(super) fn add<T>(&self, at: &At<T>, what: impl Into<String>, right: impl Into<String>) {
        self.add_key(&at.key, Some(at.span.clone()), what, right);
    }

    /// Records a problem of a key that may have no place in the file. The same problem counts once.
    pub(super) fn add_key(
        &self,
        key: &str,
        span: Option<Range<usize>>,
        what: impl Into<String>,
        right: impl Into<String>,
    ) {
        let problem = Problem { key: key.into(), span, what: what.into(), right: right.into() };
        let mut problems = self.0.borrow_mut();
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// The error that reports all of them, in the file's order.
    pub(super) fn into_error(self, file: &Path, text: &str) -> ConfigError {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|p| p.span.as_ref().map_or(0, |span| span.start));
        ConfigError { file: file.to_owned(), text: text.to_owned(), problems }
    }
}

/// Everything that is wrong with a configuration file. Displayed, it is a report of several lines.
#[derive(Clone, Debug)]
pub struct ConfigError {
    file: PathBuf,
    text: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// The error of a file that cannot be read at all.
    pub(super) fn unreadable(file: &Path, cause: &std::io::Error) -> Self {
        let problem = Problem {
            key: file.display().to_string(),
            span: None,
            what: format!("the configuration file cannot be read: {cause}"),
            right: "give the path of a readable TOML file with `-c FILE`".into(),
        };
        Self { file: file.to_owned(), text: String::new(), problems: vec![problem] }
    }

    /// How many problems were found.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// The report, with colours for a terminal if `styled`.
    #[must_use]
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let file = self.file.display().to_string();
        let reports = self.problems.iter().map(|p| renderer.render(&[self.group(p, &file)]));
        reports.collect::<Vec<_>>().join("\n\n")
    }

    fn group<'a>(&'a self, problem: &'a Problem, file: &'a str) -> Group<'a> {
        let title = format!("`{}`: {}", problem.key, problem.what);
        let group = Group::with_title(Level::ERROR.primary_title(title));
        let group = match &problem.span {
            Some(span) => group.element(
                Snippet::source(&self.text)
                    .path(file)
                    .annotation(AnnotationKind::Primary.span(span.clone())),
            ),
            None => group,
        };
        group.element(Level::HELP.message(&problem.right))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigError {}
