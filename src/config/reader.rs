//! Reads a file against the tables of keys and collects everything that is wrong with it.

use super::key::{Key, Kind, Unit, Wrong};
use super::problem::{Problem, without_passwords};
use super::{CLUSTER_KEYS, Config, NODE_KEYS, member, policy, tls_domain};
use sipfed_directory::nearest;
use sipfed_proto::limits;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where each key that the file names has its value.
pub(super) type Places = HashMap<String, Range<usize>>;

/// Reads `text` into `config`, key by key; what is wrong keeps its default and is told.
pub(super) fn read(text: &str, config: &mut Config) -> (Places, Vec<Problem>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, places: Places::new(), problems: Vec::new() };
    for (section, value) in document.get_ref() {
        reader.section(section, value, config);
    }
    // A line that is not TOML makes the parser guess; what the guess leads to would only confuse. A value that
    // it made up has no place, and of several errors on a line the first is the cause.
    let mut broken = HashSet::new();
    let syntax: Vec<Problem> = errors
        .iter()
        .map(|error| syntax_problem(error, text))
        .filter(|problem| broken.insert(line(text, problem.start())))
        .collect();
    reader.problems.retain(|problem| {
        let made_up = problem.places.iter().any(|(place, _)| place.is_empty());
        !broken.contains(&line(text, problem.start())) && (broken.is_empty() || !made_up)
    });
    reader.problems.extend(syntax);
    (reader.places, reader.problems)
}

/// The number of the line that holds the byte at `offset`, from 0.
fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn syntax_problem(error: &toml::de::Error, text: &str) -> Problem {
    let end = text.len();
    let place = error.span().unwrap_or(end..end);
    let message = error.message().lines().next().unwrap_or_default();
    let right = if message.contains("duplicate") {
        "remove one of the two; the file may name a key or a section once"
    } else {
        "write `key = value` under a `[section]`; strings stand in double quotes, lists in square brackets"
    };
    Problem::new(format!("not TOML: {message}"), place, "here", right)
}

struct Reader<'t> {
    text: &'t str,
    places: Places,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn section(
        &mut self,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        config: &mut Config,
    ) {
        if name.get_ref() == policy::SECTION {
            return self.rules(value, config);
        }
        let known = sections().any(|section| section == name.get_ref());
        let Some(table) = value.get_ref().as_table().filter(|_| known) else {
            let problem = if known { not_a_section(name, value) } else { unknown_section(name, value.get_ref()) };
            self.problems.push(problem);
            return;
        };
        for (key, value) in table {
            if name.get_ref() == "cluster" && key.get_ref() == "node" {
                self.members(value, config);
                continue;
            }
            if name.get_ref() == "tls" && key.get_ref() == "domain" {
                self.tls_domains(value, config);
                continue;
            }
            let (section, name) = (name.get_ref(), key.get_ref());
            let mut of_cluster = CLUSTER_KEYS.into_iter();
            let mut of_node = NODE_KEYS.into_iter();
            let found = of_cluster.any(|keys| self.key(keys, section, name, value, &mut config.cluster))
                || of_node.any(|keys| self.key(keys, section, name, value, &mut config.node));
            if !found {
                self.problems.push(unknown_key(section, key));
            }
        }
    }

    /// Reads every `[[cluster.node]]`. The places of its keys have its number, from 0: `cluster.node.0.url`.
    fn members(&mut self, value: &Spanned<DeValue<'_>>, config: &mut Config) {
        for (index, item, table) in self.tables(member::SECTION, value) {
            let (mut draft, told) = (member::Draft::default(), self.problems.len());
            for (key, value) in table {
                if self.key(member::KEYS, member::SECTION, key.get_ref(), value, &mut draft) {
                    self.places.insert(format!("cluster.node.{index}.{}", key.get_ref()), value.span());
                } else {
                    self.problems.push(unknown_key(member::SECTION, key));
                }
            }
            self.places.insert(format!("cluster.node.{index}"), item.span());
            self.needed(member::SECTION, &member::NEEDED, item, table);
            match draft.node() {
                Some(node) if self.problems.len() == told => config.cluster.provisioning.nodes.push(node),
                _ => {}
            }
        }
    }

    /// Reads every `[[tls.domain]]`.
    fn tls_domains(&mut self, value: &Spanned<DeValue<'_>>, config: &mut Config) {
        for (_, item, table) in self.tables(tls_domain::SECTION, value) {
            let (mut draft, told) = (tls_domain::Draft::default(), self.problems.len());
            for (key, value) in table {
                if !self.key(tls_domain::KEYS, tls_domain::SECTION, key.get_ref(), value, &mut draft) {
                    self.problems.push(unknown_key(tls_domain::SECTION, key));
                }
            }
            self.needed(tls_domain::SECTION, &tls_domain::NEEDED, item, table);
            match draft.domain() {
                Some(domain) if self.problems.len() == told => config.node.phone_tls.domains.push(domain),
                _ => {}
            }
        }
    }

    /// Tells what a table of a list lacks.
    fn needed(&mut self, section: &str, needed: &[(&str, &str)], item: &Spanned<DeValue<'_>>, table: &DeTable<'_>) {
        for (name, example) in needed.iter().filter(|(name, _)| !table.contains_key(*name)) {
            let what = format!("a [[{section}]] has no {name}");
            self.problems.push(Problem::new(what, item.span(), "this one", format!("add {name} = {example}")));
        }
    }

    /// Reads every `[[policy]]`, in their order.
    fn rules(&mut self, value: &Spanned<DeValue<'_>>, config: &mut Config) {
        for (index, item, table) in self.tables(policy::SECTION, value) {
            let mut draft = policy::Draft::default();
            for (key, value) in table {
                if !self.key(policy::KEYS, policy::SECTION, key.get_ref(), value, &mut draft) {
                    self.problems.push(unknown_key(policy::SECTION, key));
                }
            }
            if index == limits::RULES_COUNT_MAX {
                let right = format!("join some of them; there may be {}", limits::RULES_COUNT_MAX);
                self.problems.push(Problem::new("there are too many rules", item.span(), "one too many", right));
            }
            config.cluster.policy.push(draft.rule());
        }
    }

    /// The tables of a list of them, each with its number; what is none is told.
    fn tables<'v, 'd>(
        &mut self,
        section: &str,
        value: &'v Spanned<DeValue<'d>>,
    ) -> Vec<(usize, &'v Spanned<DeValue<'d>>, &'v DeTable<'d>)> {
        self.places.insert(section.to_owned(), value.span());
        let Some(items) = value.get_ref().as_array() else {
            let right =
                format!("write [[{section}]], with two brackets on each side, on a line of its own, once for each");
            let what = format!("{section} is a list of tables");
            self.problems.push(Problem::new(what, value.span(), type_name(value.get_ref()), right));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Some(table) = item.get_ref().as_table() {
                tables.push((index, item, table));
                continue;
            }
            let what = format!("{section} has something other than a table");
            let right = format!("write [[{section}]] on a line of its own, and its keys below it");
            self.problems.push(Problem::new(what, item.span(), type_name(item.get_ref()), right));
        }
        tables
    }

    /// Reads the value of a key if it is one of `keys`.
    fn key<C: Default>(
        &mut self,
        keys: &[Key<C>],
        section: &str,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        into: &mut C,
    ) -> bool {
        let Some(key) = keys.iter().find(|key| key.section == section && key.name == name) else {
            return false;
        };
        self.places.insert(key.path(), value.span());
        match &key.kind {
            Kind::Number { min, max, unit, set, .. } => match number(key, (*min, *max), *unit, value) {
                Ok(number) => set(into, number),
                Err(problem) => self.problems.push(problem),
            },
            Kind::Flag { set, .. } | Kind::Wish { set, .. } => match value.get_ref().as_bool() {
                Some(flag) => set(into, flag),
                None => self.wrong_type(key, value, "write true or false, without quotes".to_owned()),
            },
            Kind::Choice { words, set, .. } | Kind::MaybeChoice { words, set, .. } => match value.get_ref().as_str() {
                Some(word) if words.contains(&word) => set(into, word),
                Some(word) => {
                    let meant = nearest(word, words.iter().copied())
                        .map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
                    self.problems.push(Problem::new(
                        format!("{} does not know \"{word}\"", key.path()),
                        value.span(),
                        "not one of its words",
                        format!("write {}{meant}", key.form()),
                    ));
                }
                None => self.wrong_type(key, value, format!("write {}", key.form())),
            },
            Kind::Text { set, .. } => match value.get_ref().as_str() {
                Some(text) => self.accept(key, value, set(into, text)),
                None => self.wrong_type(key, value, format!("write {} in double quotes", key.form())),
            },
            Kind::List { count_max, clear, add, .. } => {
                let Some(items) = value.get_ref().as_array() else {
                    let right = self.as_list(value);
                    self.wrong_type(key, value, right);
                    return true;
                };
                clear(into);
                for item in items {
                    match item.get_ref().as_str() {
                        Some(text) => self.accept(key, item, add(into, text)),
                        None => self.wrong_type(key, item, "write each item in double quotes".to_owned()),
                    }
                }
                if items.len() > *count_max {
                    self.problems.push(Problem::new(
                        format!("{} has {} items", key.path(), items.len()),
                        value.span(),
                        format!("at most {count_max}"),
                        format!("remove {}", items.len() - count_max),
                    ));
                }
            }
        }
        true
    }

    fn accept<C: Default>(&mut self, key: &Key<C>, value: &Spanned<DeValue<'_>>, read: Result<(), Wrong>) {
        if let Err(wrong) = read {
            let found = match key.name {
                "secret" => "what stands there".to_owned(),
                // What begins like no URL hides no password.
                "db_url" if !self.text[value.span()].contains("://") => "what stands there".to_owned(),
                _ => without_passwords(&self.text[value.span()]),
            };
            let what = format!("{} cannot be {found}", key.path());
            self.problems.push(Problem::new(what, value.span(), wrong.what, wrong.right));
        }
    }

    fn wrong_type<C: Default>(&mut self, key: &Key<C>, value: &Spanned<DeValue<'_>>, right: String) {
        let what = format!("{} has the wrong type", key.path());
        self.problems.push(Problem::new(what, value.span(), type_name(value.get_ref()), right));
    }

    /// A single string where a list should be is shown as that list.
    fn as_list(&self, value: &Spanned<DeValue<'_>>) -> String {
        if value.get_ref().is_str() {
            format!("write a list: [{}]", without_passwords(&self.text[value.span()]))
        } else {
            "write a list of strings in square brackets".to_owned()
        }
    }
}

fn number<C: Default>(
    key: &Key<C>,
    (min, max): (u64, u64),
    unit: Unit,
    value: &Spanned<DeValue<'_>>,
) -> Result<u64, Problem> {
    let bounds = format!("must be {}", key.form());
    let default = key.default_text().map_or_else(String::new, |text| format!("; the default is {text}"));
    let Some(integer) = value.get_ref().as_integer() else {
        let meant = value.get_ref().as_str().and_then(|text| unit.convert(text));
        let right = match meant.filter(|number| (min..=max).contains(number)) {
            Some(number) => format!("write {number}, without quotes"),
            None => format!("write a whole number, {}{default}", key.form()),
        };
        let what = format!("{} has the wrong type", key.path());
        return Err(Problem::new(what, value.span(), type_name(value.get_ref()), right));
    };
    let number = i128::from_str_radix(integer.as_str(), integer.radix());
    let (what, right) = match number {
        Ok(number) if number < i128::from(min) => ("too small", format!("write {min} or more{default}")),
        Ok(number) if number > i128::from(max) => ("too large", format!("write {max} or less{default}")),
        Ok(number) => return Ok(number as u64),
        Err(_) => ("too large", format!("write {max} or less{default}")),
    };
    Err(Problem::new(format!("{} = {integer} is {what}", key.path()), value.span(), bounds, right))
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "this is a string",
        DeValue::Integer(_) => "this is a whole number",
        DeValue::Float(_) => "this is a number with a fraction",
        DeValue::Boolean(_) => "this is true or false",
        DeValue::Datetime(_) => "this is a date or time",
        DeValue::Array(_) => "this is a list",
        DeValue::Table(_) => "this is a table",
    }
}

/// Every section and name, of all tables.
fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_cluster = CLUSTER_KEYS.into_iter().flatten().map(|key| (key.section, key.name));
    let of_node = NODE_KEYS.into_iter().flatten().map(|key| (key.section, key.name));
    let of_lists = member::KEYS.iter().map(|key| (key.section, key.name));
    let of_rules = policy::KEYS.iter().map(|key| (key.section, key.name));
    let of_domains = tls_domain::KEYS.iter().map(|key| (key.section, key.name));
    of_cluster.chain(of_node).chain(of_lists).chain(of_rules).chain(of_domains)
}

/// The sections that stand in a file once.
fn sections() -> impl Iterator<Item = &'static str> {
    names().map(|(section, _)| section).filter(|section| !is_list(section))
}

/// Whether a section may stand in a file several times.
pub(super) fn is_list(section: &str) -> bool {
    [member::SECTION, policy::SECTION, tls_domain::SECTION].contains(&section)
}

/// The line that a section begins with.
fn header(section: &str) -> String {
    if is_list(section) { format!("[[{section}]]") } else { format!("[{section}]") }
}

fn not_a_section(name: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> Problem {
    let section = name.get_ref();
    Problem::new(
        format!("{section} is a section"),
        name.span(),
        type_name(value.get_ref()),
        format!("write [{section}] on a line of its own, and its keys below it"),
    )
}

fn unknown_section(name: &Spanned<std::borrow::Cow<'_, str>>, value: &DeValue<'_>) -> Problem {
    let word = name.get_ref();
    let what = if value.is_table() { format!("unknown section [{word}]") } else { format!("unknown key {word}") };
    // A key that stands above every section is a key of one of them.
    let home = names().find(|(_, key)| key == word).filter(|_| !value.is_table());
    let right = match (home, nearest(word, sections())) {
        (Some((section, key)), _) => format!("{key} belongs below {}", header(section)),
        (None, Some(meant)) => format!("did you mean [{meant}]?"),
        (None, None) => {
            let mut all: Vec<&str> = sections().collect();
            all.dedup();
            all.sort_unstable();
            all.dedup();
            format!("the sections are {}", all.join(", "))
        }
    };
    Problem::new(what, name.span(), "not known", right)
}

fn unknown_key(section: &str, key: &Spanned<std::borrow::Cow<'_, str>>) -> Problem {
    let word = key.get_ref();
    let here = || names().filter(move |(of, _)| *of == section).map(|(_, name)| name);
    let elsewhere = names().find(|(_, name)| name == word);
    let right = match (elsewhere, nearest(word, here())) {
        (Some((home, name)), _) => format!("{name} belongs below {}", header(home)),
        (None, Some(meant)) => format!("did you mean {meant}?"),
        (None, None) => match nearest(word, names().map(|(_, name)| name)) {
            Some(meant) => {
                let home = names().find(|(_, name)| *name == meant).map_or(section, |(home, _)| home);
                format!("did you mean {meant}, below {}?", header(home))
            }
            None => format!("the keys of {} are {}", header(section), here().collect::<Vec<_>>().join(", ")),
        },
    };
    Problem::new(format!("unknown key {section}.{word}"), key.span(), "not known", right)
}
