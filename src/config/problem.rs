//! What is wrong in a configuration file, where, and what would be right.

use miette::{Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Problem {
    /// One sentence; names the key.
    pub(crate) what: String,
    /// Places in the file, with what stands there; the first is the one that is meant.
    pub(crate) places: Vec<(Range<usize>, String)>,
    /// What would be right.
    pub(crate) right: String,
}

impl Problem {
    pub(crate) fn new(
        what: impl Into<String>,
        place: Range<usize>,
        label: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), places: vec![(place, label.into())], right: right.into() }
    }

    /// Where it stands in the file.
    pub(crate) fn start(&self) -> usize {
        self.places.first().map_or(0, |(place, _)| place.start)
    }

    /// The problem with the file that it stands in, ready to be shown.
    pub(crate) fn in_file(self, file: &Arc<File>) -> ProblemInFile {
        ProblemInFile { problem: self, file: Arc::clone(file) }
    }
}

/// A file's name and text. What is shown of it are the whole lines that a place touches, and no others.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl SourceCode for File {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // Without context the place itself is asked for, to name its line and column.
        let shown = if lines_before + lines_after == 0 { *span } else { self.whole_lines(*span) };
        let contents = self.text.read_span(&shown, 0, 0)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

impl File {
    /// What is shown of it has no passwords.
    pub(crate) fn new(name: impl Into<String>, text: &str) -> Self {
        Self { name: name.into(), text: without_passwords(text) }
    }

    fn whole_lines(&self, span: SourceSpan) -> SourceSpan {
        let (start, end) = (span.offset(), span.offset() + span.len());
        let from = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let to = self.text[end..].find('\n').map_or(self.text.len(), |newline| end + newline);
        (from..to).into()
    }
}

/// The text with asterisks for what is nobody's business: what may be user and password of a URL (on each line, what is
/// between `://` and the last `@`, since a password that is not encoded may hold anything; all of it where `db_url` has no
/// `://`), and what a key named `secret` is given. Every other byte keeps its place.
pub(super) fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let is_hidden = |key: &str, value: &str| {
            key.trim() == "secret" || (key.trim() == "db_url" && value.contains('@') && !value.contains("://"))
        };
        if let Some((key, value)) = line.split_once('=').filter(|(key, value)| is_hidden(key, value)) {
            shown.push_str(key);
            shown.push('=');
            let hidden = |c: char| if c.is_ascii_graphic() && c != '"' { '*' } else { c };
            shown.extend(value.chars().map(hidden));
            continue;
        }
        match (line.find("://"), line.rfind('@')) {
            (Some(scheme), Some(at)) if scheme + 3 < at => {
                shown.push_str(&line[..scheme + 3]);
                shown.extend(std::iter::repeat_n('*', at - scheme - 3));
                shown.push_str(&line[at..]);
            }
            _ => shown.push_str(line),
        }
    }
    shown
}

/// A [`Problem`] that can be shown with the lines it stands in.
#[derive(Debug)]
pub(crate) struct ProblemInFile {
    problem: Problem,
    file: Arc<File>,
}

impl fmt::Display for ProblemInFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.what)
    }
}

impl std::error::Error for ProblemInFile {}

impl Diagnostic for ProblemInFile {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.problem.right))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.file)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.problem.places.iter().enumerate().map(|(index, (place, label))| {
            let (label, span) = (Some(label.clone()), place.clone());
            if index == 0 {
                LabeledSpan::new_primary_with_span(label, span)
            } else {
                LabeledSpan::new_with_span(label, span)
            }
        })))
    }
}
