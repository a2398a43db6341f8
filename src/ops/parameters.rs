//! The parameters of commands: which forms a command has, and how what was given is fitted to one. Pure.
//!
//! As in OpenSIPS: given in order, they are told by their count; named, their names have to be those of one form. A text
//! of digits is a number where one is wanted, and a number is a text.

use super::answer::Fault;
use serde_json::{Map, Value};

/// What stands in a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Nothing,
    InOrder(Vec<Value>),
    Named(Map<String, Value>),
}

/// What a command is called, and what it takes.
#[derive(Debug)]
pub(crate) struct Signature {
    /// `module:command`, or the name alone for what belongs to the process.
    pub(crate) name: &'static str,
    /// The name that it had before OpenSIPS wrote the module first; empty for none.
    pub(crate) old_name: &'static str,
    /// The names of its parameters, for each way of calling it.
    pub(crate) forms: &'static [&'static [&'static str]],
    /// The parameter that is a list; empty for none.
    pub(crate) list: &'static str,
    /// One sentence for people.
    pub(crate) what: &'static str,
}

/// The parameters of a call by their names.
#[derive(Debug)]
pub(crate) struct Arguments(Vec<(&'static str, Value)>);

impl Signature {
    /// Whether a call by that name is meant for it.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || (!self.old_name.is_empty() && self.old_name == name)
    }

    /// Fits what was given to one of the forms.
    pub(super) fn fit(&self, given: Given) -> Result<Arguments, Fault> {
        match given {
            Given::Nothing => self.form(|form| form.is_empty()).map(|_| Arguments(Vec::new())),
            Given::InOrder(values) => {
                let form = self.form(|form| form.len() == values.len())?;
                Ok(Arguments(form.iter().copied().zip(values).collect()))
            }
            Given::Named(mut named) => {
                let form = self.form(|form| form.len() == named.len())?;
                let take = |name: &&'static str| Some((*name, named.remove(*name)?));
                let arguments: Option<Vec<_>> = form.iter().map(take).collect();
                arguments.map(Arguments).ok_or_else(|| Fault::invalid_params("Named parameters do not match"))
            }
        }
    }

    fn form(&self, fits: impl Fn(&[&str]) -> bool) -> Result<&'static [&'static str], Fault> {
        let form = self.forms.iter().find(|form| fits(form));
        form.copied().ok_or_else(|| Fault::invalid_params("Too few or too many parameters"))
    }
}

impl Arguments {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The parameter of that name, which the form has.
    pub(crate) fn text(&self, name: &str) -> Result<String, Fault> {
        match self.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(bad_type(name)),
        }
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Result<i64, Fault> {
        let number = match self.get(name) {
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::Bool(flag)) => Some((*flag).into()),
            _ => None,
        };
        number.ok_or_else(|| bad_type(name))
    }

    /// A list of texts with one at least.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<&str>, Fault> {
        let Some(Value::Array(items)) = self.get(name) else { return Err(bad_type(name)) };
        if items.is_empty() {
            return Err(Fault::invalid_params(format!("Empty array in parameter '{name}'")));
        }
        let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
        texts.ok_or_else(|| Fault::invalid_params(format!("Bad type for array item in parameter '{name}'")))
    }

    /// Whether the form that was called has a parameter of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

fn bad_type(name: &str) -> Fault {
    Fault::invalid_params(format!("Bad type for parameter '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    static RM: Signature = Signature {
        name: "usrloc:rm",
        old_name: "ul_rm",
        forms: &[&["table_name", "aor"], &["statistics"], &[]],
        list: "statistics",
        what: "",
    };

    fn named(value: Value) -> Given {
        let Value::Object(named) = value else { panic!() };
        Given::Named(named)
    }

    fn data(fault: Result<impl std::fmt::Debug, Fault>) -> String {
        let fault = fault.unwrap_err();
        assert_eq!(fault.code, -32602);
        fault.data.unwrap()
    }

    #[test]
    fn parameters_in_order_are_told_by_their_count() {
        let arguments = RM.fit(Given::InOrder(vec![json!("location"), json!(1234)])).unwrap();
        assert_eq!(arguments.text("table_name").unwrap(), "location");
        assert_eq!((arguments.text("aor").unwrap().as_str(), arguments.number("aor").unwrap()), ("1234", 1234));
        assert_eq!(data(RM.fit(Given::InOrder(vec![json!(1); 3]))), "Too few or too many parameters");
        assert!(!RM.fit(Given::Nothing).unwrap().has("aor"));
    }

    #[test]
    fn named_parameters_are_told_by_their_names() {
        let arguments = RM.fit(named(json!({ "aor": "a@b", "table_name": "location" }))).unwrap();
        assert_eq!(arguments.text("aor").unwrap(), "a@b");
        assert_eq!(data(RM.fit(named(json!({ "aor": "a@b", "table": "x" })))), "Named parameters do not match");
        assert_eq!(data(RM.fit(named(json!({ "a": 1, "b": 2, "c": 3 })))), "Too few or too many parameters");
    }

    #[test]
    fn wrong_types_are_named() {
        let arguments = RM.fit(named(json!({ "aor": {}, "table_name": "x" }))).unwrap();
        assert_eq!(data(arguments.text("aor")), "Bad type for parameter 'aor'");
        assert_eq!(data(arguments.number("table_name")), "Bad type for parameter 'table_name'");
        let list = |value| RM.fit(Given::InOrder(vec![value])).unwrap();
        assert_eq!(list(json!(["a", "b"])).list("statistics").unwrap(), ["a", "b"]);
        assert_eq!(data(list(json!([])).list("statistics")), "Empty array in parameter 'statistics'");
        assert_eq!(data(list(json!([1])).list("statistics")), "Bad type for array item in parameter 'statistics'");
        assert_eq!(data(list(json!("a")).list("statistics")), "Bad type for parameter 'statistics'");
    }

    #[test]
    fn a_command_is_called_by_either_name() {
        assert!(RM.is_called("usrloc:rm") && RM.is_called("ul_rm") && !RM.is_called("rm") && !RM.is_called(""));
    }
}
