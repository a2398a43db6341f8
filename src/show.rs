//! How errors are shown to a person: what is wrong, the lines it stands in, and what would be right.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use std::fmt;
use std::io::IsTerminal;

/// Columns of a message that does not go to a terminal.
const COLUMNS: usize = 110;

/// Shows an error with its place in a file.
pub(crate) fn diagnostic(diagnostic: &dyn Diagnostic) {
    let handler = if std::io::stderr().is_terminal() {
        GraphicalReportHandler::new()
    } else {
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(COLUMNS)
    };
    // Commands in a help text are pasted: breaking their lines would break them.
    let handler = handler.with_wrap_lines(false);
    let mut text = String::new();
    match handler.render_report(&mut text, diagnostic) {
        Ok(()) => eprint!("{}", text.trim_start_matches('\n')),
        Err(fmt::Error) => eprintln!("{diagnostic}"),
    }
}

/// Shows an error that has no place in a file.
pub(crate) fn error(what: &str, right: &str) {
    diagnostic(&Plain { what: what.to_owned(), right: right.to_owned() });
}

#[derive(Debug)]
struct Plain {
    what: String,
    right: String,
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Plain {}

impl Diagnostic for Plain {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.right))
    }
}
