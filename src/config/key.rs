//! What a key of the configuration file is: its name, its form, its bounds, and where its value goes.
//!
//! A key is written down once, in [`super::cluster`] or [`super::node`]. The reader, the messages, the
//! suggestions and the reference in `docs/configuration.md` are all made from that.

pub(crate) use sipfed_nodes::Wrong;

/// One key, whose value goes into a `C`.
pub(crate) struct Key<C: 'static> {
    /// The table it stands in.
    pub(crate) section: &'static str,
    /// Its name there; ends with its unit where it has one.
    pub(crate) name: &'static str,
    /// One or two sentences for the reference.
    pub(crate) what: &'static str,
    /// The form of its value.
    pub(crate) kind: Kind<C>,
}

/// The form of a value, how it is read from a `C` (which makes the default known) and put into one.
pub(crate) enum Kind<C: 'static> {
    /// A whole number between two bounds, both included.
    Number { min: u64, max: u64, unit: Unit, get: fn(&C) -> Option<u64>, set: fn(&mut C, u64) },
    /// `true` or `false`.
    Flag { get: fn(&C) -> bool, set: fn(&mut C, bool) },
    /// `true` or `false`, where leaving it out is neither.
    Wish { get: fn(&C) -> Option<bool>, set: fn(&mut C, bool) },
    /// One of some words, where leaving it out is none of them.
    MaybeChoice { words: &'static [&'static str], get: fn(&C) -> Option<&'static str>, set: fn(&mut C, &str) },
    /// One of some words.
    Choice { words: &'static [&'static str], get: fn(&C) -> &'static str, set: fn(&mut C, &str) },
    /// A string of a form of its own.
    Text { form: &'static str, get: fn(&C) -> Option<String>, set: fn(&mut C, &str) -> Result<(), Wrong> },
    /// A list of such strings; naming the key replaces the default.
    List {
        form: &'static str,
        count_max: usize,
        get: fn(&C) -> Vec<String>,
        clear: fn(&mut C),
        add: fn(&mut C, &str) -> Result<(), Wrong>,
    },
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Bytes,
    Percent,
    Things,
}

impl Unit {
    /// As it stands behind a number.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
            Self::Bytes => "bytes",
            Self::Percent => "percent",
            Self::Things => "",
        }
    }

    /// Turns `1h`, `90 s` or `4MiB` into a number of this unit.
    pub(crate) fn convert(self, text: &str) -> Option<u64> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().ok()?;
        let suffix = text[digits..].trim().to_ascii_lowercase();
        if suffix.is_empty() {
            return Some(number);
        }
        // All in the smallest unit of its dimension, so that a conversion that leaves a rest is seen.
        let (this, per_suffix) = match self {
            Self::Seconds => (1_000_000, microseconds(&suffix)?),
            Self::Milliseconds => (1000, microseconds(&suffix)?),
            Self::Microseconds => (1, microseconds(&suffix)?),
            Self::Bytes => (1, bytes(&suffix)?),
            Self::Percent => (1, u64::from(suffix == "%" || suffix == "percent")),
            Self::Things => return None,
        };
        let smallest = number.checked_mul(per_suffix)?;
        (smallest.is_multiple_of(this)).then_some(smallest / this)
    }
}

fn microseconds(suffix: &str) -> Option<u64> {
    Some(match suffix {
        "us" | "µs" => 1,
        "ms" => 1000,
        "s" | "sec" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        _ => return None,
    })
}

fn bytes(suffix: &str) -> Option<u64> {
    Some(match suffix {
        "b" | "byte" | "bytes" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    })
}

impl<C: Default> Key<C> {
    /// Section and name, as messages write it.
    pub(crate) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The default as it would stand in a file; `None` where leaving the key out means something of its own.
    pub(crate) fn default_text(&self) -> Option<String> {
        let default = C::default();
        Some(match &self.kind {
            Kind::Number { get, .. } => get(&default)?.to_string(),
            Kind::Flag { get, .. } => get(&default).to_string(),
            Kind::Wish { get, .. } => get(&default)?.to_string(),
            Kind::Choice { get, .. } => format!("\"{}\"", get(&default)),
            Kind::MaybeChoice { get, .. } => format!("\"{}\"", get(&default)?),
            Kind::Text { get, .. } => format!("\"{}\"", get(&default)?),
            Kind::List { get, .. } => {
                let items: Vec<String> = get(&default).into_iter().map(|item| format!("\"{item}\"")).collect();
                format!("[{}]", items.join(", "))
            }
        })
    }

    /// What the value may be, in words.
    pub(crate) fn form(&self) -> String {
        match &self.kind {
            Kind::Number { min, max, unit, .. } => format!("{min} to {max} {}", unit.name()).trim().to_owned(),
            Kind::Flag { .. } | Kind::Wish { .. } => "true or false".to_owned(),
            Kind::Choice { words, .. } | Kind::MaybeChoice { words, .. } => quoted(words),
            Kind::Text { form, .. } => (*form).to_owned(),
            Kind::List { form, count_max, .. } => format!("list of {form}, at most {count_max}"),
        }
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn quoted(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        _ => quoted.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_converted_where_nothing_is_lost() {
        assert_eq!(Unit::Seconds.convert("1h"), Some(3600));
        assert_eq!(Unit::Seconds.convert(" 90 "), Some(90));
        assert_eq!(Unit::Seconds.convert("1500ms"), None);
        assert_eq!(Unit::Milliseconds.convert("2 s"), Some(2000));
        assert_eq!(Unit::Bytes.convert("4 MiB"), Some(4 << 20));
        assert_eq!(Unit::Things.convert("4k"), None);
        assert_eq!(Unit::Bytes.convert("99999999999999999999g"), None);
    }

    #[test]
    fn words_are_joined_as_in_a_sentence() {
        assert_eq!(quoted(&["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
        assert_eq!(quoted(&["a"]), "\"a\"");
    }
}
