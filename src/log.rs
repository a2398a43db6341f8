//! Log lines on stderr: text for people, or one JSON object a line.

use crate::config::{LogFormat, LogLevel};
use std::fmt::{self, Write};
use std::io::IsTerminal;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Fields with this name hold a [`NamedCounts`] and become an object of their own in JSON.
const COUNTERS: &str = "counters";

/// Starts writing. Libraries below write their warnings; our own crates write from `level` on.
pub(crate) fn init(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let mut filter = Targets::new().with_target("sipfed", level).with_default(level.min(LevelFilter::WARN));
    // Drivers of databases tell of each attempt while their server is away, as a warning or an error; the directory
    // tells that once, with what they say.
    let drivers = if level > LevelFilter::INFO { LevelFilter::WARN } else { LevelFilter::OFF };
    for driver in ["scylla", "mongodb", "sqlx"] {
        filter = filter.with_target(driver, drivers);
    }
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    // A second call, as by several tests of one process, leaves the first in force.
    let _ = match format {
        LogFormat::Text => {
            registry.with(layer.with_ansi(std::io::stderr().is_terminal()).with_target(false)).try_init()
        }
        LogFormat::Json => registry.with(layer.event_format(JsonLines)).try_init(),
    };
}

/// Counters with their names. Text shows those that are not 0, JSON shows all.
pub(crate) struct NamedCounts(pub(crate) Vec<(&'static str, u64)>);

impl fmt::Debug for NamedCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            for (index, (name, count)) in self.0.iter().enumerate() {
                let before = if index == 0 { '{' } else { ',' };
                write!(f, "{before}\"{name}\":{count}")?;
            }
            return f.write_str(if self.0.is_empty() { "{}" } else { "}" });
        }
        let mut seen = self.0.iter().filter(|(_, count)| *count > 0);
        if let Some((name, count)) = seen.next() {
            write!(f, "{name}:{count}")?;
        }
        seen.try_for_each(|(name, count)| write!(f, " {name}:{count}"))
    }
}

/// One flat object a line: time, level, target, message, then the fields.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writer.write_str("{\"time\":\"")?;
        SystemTime.format_time(&mut writer)?;
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        write!(writer, "\",\"level\":\"{level}\",\"target\":\"{}\"", event.metadata().target())?;
        let mut fields = JsonFields { line: String::new() };
        event.record(&mut fields);
        writeln!(writer, "{}}}", fields.line)
    }
}

struct JsonFields {
    line: String,
}

impl JsonFields {
    fn raw(&mut self, field: &Field, value: impl fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.line, ",\"{}\":{value}", field.name());
    }
}

impl Visit for JsonFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == COUNTERS {
            self.raw(field, format_args!("{value:#?}"));
        } else {
            self.raw(field, json_string(&format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.raw(field, json_string(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field, value);
    }
}

/// A string of RFC 8259 §7.
fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_short_for_people_and_complete_for_machines() {
        let counts = NamedCounts(vec![("received", 3), ("sent", 0), ("keepalives", 1)]);
        assert_eq!(format!("{counts:?}"), "received:3 keepalives:1");
        assert_eq!(format!("{counts:#?}"), r#"{"received":3,"sent":0,"keepalives":1}"#);
        assert_eq!(format!("{:#?}", NamedCounts(Vec::new())), "{}");
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(json_string("a\"b\\c\nd\u{1}é"), "\"a\\\"b\\\\c\\nd\\u0001é\"");
    }
}
