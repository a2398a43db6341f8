//! Results of commands as text for people. Pure.
//!
//! Texts may come from phones: what does not print is escaped, so that none of them commands the terminal.

use serde_json::{Map, Value};
use std::fmt::Write;

/// Columns of a table of contacts; what else a contact has is in the JSON.
const CONTACT_COLUMNS: [&str; 6] = ["Contact", "Expires", "Q", "Received", "Socket", "User-agent"];

/// The text of a result, without a line end.
pub(super) fn text(result: &Value) -> String {
    let mut out = String::new();
    if let Some(rows) = contacts(result) {
        let columns: Vec<&str> = std::iter::once("AOR").chain(CONTACT_COLUMNS).collect();
        table(&columns, &rows, "", &mut out);
    } else {
        write_value(result, "", &mut out);
    }
    out.truncate(out.trim_end().len());
    out
}

/// The same text without what does not print.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out
}

/// The rows of a dump, or of one AoR, where the result is one.
fn contacts(result: &Value) -> Option<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    let mut add = |aor: &Value| {
        for contact in aor["Contacts"].as_array()? {
            let cells = CONTACT_COLUMNS.iter().map(|column| cell(&contact[*column]));
            rows.push(std::iter::once(cell(&aor["AOR"])).chain(cells).collect());
        }
        Some(())
    };
    if result.get("AOR").is_some() {
        add(result)?;
        return Some(rows);
    }
    let aors = result.get("Domains")?.as_array()?.iter().filter_map(|domain| domain["AORs"].as_array()).flatten();
    for aor in aors {
        add(aor)?;
    }
    Some(rows)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

fn is_flat(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

fn write_value(value: &Value, indent: &str, out: &mut String) {
    match value {
        Value::Object(object) => write_object(object, indent, out),
        Value::Array(items) => {
            let objects: Option<Vec<&Map<String, Value>>> = items.iter().map(Value::as_object).collect();
            match objects.filter(|objects| !objects.is_empty()) {
                Some(objects) if objects.iter().all(|object| object.values().all(is_flat)) => {
                    write_rows(&objects, indent, out);
                }
                Some(objects) => {
                    for object in objects {
                        write_object(object, indent, out);
                        out.push('\n');
                    }
                }
                None => items.iter().for_each(|item| match item {
                    Value::Array(items) => {
                        let line: Vec<String> = items.iter().map(cell).collect();
                        line_of(indent, &line.join(" "), out);
                    }
                    item => write_value(item, indent, out),
                }),
            }
        }
        flat => line_of(indent, &cell(flat), out),
    }
}

fn write_object(object: &Map<String, Value>, indent: &str, out: &mut String) {
    let flat = || object.iter().filter(|(_, value)| is_flat(value));
    let width = flat().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    for (name, value) in flat() {
        line_of(indent, &format!("{:width$}  {}", printable(name), cell(value)), out);
    }
    for (name, value) in object.iter().filter(|(_, value)| !is_flat(value)) {
        line_of(indent, &format!("{}:", printable(name)), out);
        write_value(value, &format!("{indent}  "), out);
    }
}

fn write_rows(objects: &[&Map<String, Value>], indent: &str, out: &mut String) {
    let mut columns: Vec<&str> = Vec::new();
    for name in objects.iter().flat_map(|object| object.keys()) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let row = |object: &&Map<String, Value>| columns.iter().map(|name| cell(&object[*name])).collect();
    let row_of = |object: &&Map<String, Value>| -> Vec<String> {
        if columns.iter().all(|name| object.contains_key(*name)) {
            return row(object);
        }
        columns.iter().map(|name| object.get(*name).map_or_else(|| "-".to_owned(), cell)).collect()
    };
    let rows: Vec<Vec<String>> = objects.iter().map(row_of).collect();
    table(&columns, &rows, indent, out);
}

fn table(columns: &[&str], rows: &[Vec<String>], indent: &str, out: &mut String) {
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([columns[at].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{cell:width$}  ");
        }
        line_of(indent, text.trim_end(), out);
    };
    line(&mut columns.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

fn line_of(indent: &str, text: &str, out: &mut String) {
    out.push_str(indent);
    out.push_str(text);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn contacts_stand_in_a_table_with_their_aor() {
        let contact = json!({ "Contact": "sip:a@h", "Expires": 60, "Q": "1", "User-agent": "\u{1b}[31mx" });
        let aor = json!({ "AOR": "a@b.example", "Contacts": [contact] });
        let dump = json!({ "Domains": [{ "name": "location", "hash_size": 512, "AORs": [aor] }] });
        let wanted = "AOR          Contact  Expires  Q  Received  Socket  User-agent\n\
                      a@b.example  sip:a@h  60       1  -         -       \\u{1b}[31mx";
        assert_eq!(text(&dump), wanted);
        assert_eq!(text(&aor), wanted);
    }

    #[test]
    fn other_results_are_lines_and_tables() {
        assert_eq!(text(&json!("OK")), "OK");
        assert_eq!(text(&json!(["ps", "which"])), "ps\nwhich");
        assert_eq!(text(&json!([[], ["brief"]])), "\nbrief");
        assert_eq!(text(&json!({ "a": 1, "long": "x" })), "a     1\nlong  x");
        let threads = json!({ "Processes": [{ "ID": 0, "Type": "main" }, { "ID": 10, "Type": "ops" }] });
        assert_eq!(text(&threads), "Processes:\n  ID  Type\n  0   main\n  10  ops");
        let report = json!({ "Shards": [{ "shard": 0, "counters": { "sent": 3 } }] });
        assert_eq!(text(&report), "Shards:\n  shard  0\n  counters:\n    sent  3");
        let brief = json!({ "Domains": [{ "AORs": [{ "AOR": "a@b" }] }] });
        assert!(text(&brief).contains("a@b"));
    }
}
