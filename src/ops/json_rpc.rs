//! JSON-RPC 2.0: texts read into calls, and answers written. Pure.
//!
//! As in OpenSIPS, a text without the member `jsonrpc` is read as well. What nests deeper than 128 levels is no JSON here.

use super::CALLS_COUNT_MAX;
use super::answer::Fault;
use super::parameters::Given;
use serde_json::{Map, Value, json};

/// The version that is spoken.
const MESSAGE_VERSION: &str = "2.0";

/// One call of a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// What its answer is known by; `None` where none is wanted.
    pub(super) id: Option<Value>,
    pub(super) method: String,
    pub(super) given: Given,
}

/// A call that could not be read, and what its answer is known by.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bad {
    pub(super) id: Value,
    pub(super) fault: Box<Fault>,
}

impl Bad {
    fn new(id: Value, fault: Fault) -> Self {
        Self { id, fault: Box::new(fault) }
    }
}

/// What a text holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Text {
    One(Result<Call, Bad>),
    Batch(Vec<Result<Call, Bad>>),
}

/// Reads a text.
pub(super) fn read(bytes: &[u8]) -> Text {
    let bad = |fault| Text::One(Err(Bad::new(Value::Null, fault)));
    match serde_json::from_slice(bytes) {
        Err(error) => bad(Fault::parse_error().with(error.to_string())),
        Ok(Value::Array(calls)) if calls.is_empty() => bad(Fault::invalid_request()),
        Ok(Value::Array(calls)) if calls.len() > CALLS_COUNT_MAX => {
            bad(Fault::invalid_request().with(format!("a batch has at most {CALLS_COUNT_MAX} calls")))
        }
        Ok(Value::Array(calls)) => Text::Batch(calls.into_iter().map(call).collect()),
        Ok(one) => Text::One(call(one)),
    }
}

fn call(value: Value) -> Result<Call, Bad> {
    let Value::Object(mut members) = value else {
        return Err(Bad::new(Value::Null, Fault::invalid_request()));
    };
    let id = members.remove("id");
    if id.as_ref().is_some_and(|id| !(id.is_string() || id.is_number() || id.is_null())) {
        return Err(Bad::new(Value::Null, Fault::invalid_request().with("id: a text or a number")));
    }
    match method_and_parameters(&mut members) {
        Ok((method, given)) => Ok(Call { id, method, given }),
        Err(what) => Err(Bad::new(id.unwrap_or_default(), Fault::invalid_request().with(what))),
    }
}

fn method_and_parameters(members: &mut Map<String, Value>) -> Result<(String, Given), &'static str> {
    if members.get("jsonrpc").is_some_and(|version| version != MESSAGE_VERSION) {
        return Err("jsonrpc: only \"2.0\" is spoken");
    }
    let Some(Value::String(method)) = members.remove("method") else {
        return Err("method: the name of a command");
    };
    let given = match members.remove("params") {
        None | Some(Value::Null) => Given::Nothing,
        Some(Value::Array(values)) if values.is_empty() => Given::Nothing,
        Some(Value::Object(named)) if named.is_empty() => Given::Nothing,
        Some(Value::Array(values)) => Given::InOrder(values),
        Some(Value::Object(named)) => Given::Named(named),
        Some(_) => return Err("params: an array or an object"),
    };
    Ok((method, given))
}

/// What stands before the result of a call.
pub(super) const RESULT_BEGIN: &str = "{\"jsonrpc\":\"2.0\",\"result\":";

/// What stands behind it.
pub(super) fn result_end(id: &Value) -> String {
    format!(",\"id\":{id}}}")
}

/// The answer to a call that was not done.
pub(super) fn error(id: &Value, fault: &Fault) -> String {
    let Fault { code, message, data } = fault;
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = Value::from(data.as_str());
    }
    format!("{{\"jsonrpc\":\"2.0\",\"error\":{error},\"id\":{id}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<Call, Bad> {
        match read(text.as_bytes()) {
            Text::One(one) => one,
            Text::Batch(batch) => panic!("{batch:?}"),
        }
    }

    fn code(text: &str) -> i64 {
        one(text).unwrap_err().fault.code
    }

    #[test]
    fn a_call_has_a_method_an_id_and_parameters() {
        let call = one(r#"{"jsonrpc":"2.0","id":"7","method":"ul_rm","params":["location","a@b"]}"#).unwrap();
        assert_eq!((call.id, call.method.as_str()), (Some(json!("7")), "ul_rm"));
        assert_eq!(call.given, Given::InOrder(vec![json!("location"), json!("a@b")]));
        let call = one(r#"{"method":"which","params":{"command":"ps"}}"#).unwrap();
        assert_eq!(call.id, None, "a notification");
        assert!(matches!(call.given, Given::Named(_)));
        for nothing in ["[]", "{}", "null"] {
            let call = one(&format!(r#"{{"id":1,"method":"ps","params":{nothing}}}"#)).unwrap();
            assert_eq!(call.given, Given::Nothing);
        }
    }

    #[test]
    fn what_is_no_json_and_what_is_no_call_are_told_apart() {
        for text in ["", "{", r#"{"jsonrpc": "2.0", "method"#, "\u{0}", "nul", r#"{"a":1}{"b":2}"#] {
            assert_eq!(code(text), -32700, "{text}");
        }
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(code(&deep), -32700);
        for text in [
            "[]",
            "1",
            "null",
            "{}",
            r#"{"id":1}"#,
            r#"{"id":1,"method":7}"#,
            r#"{"id":1,"method":"ps","params":"x"}"#,
            r#"{"id":{},"method":"ps"}"#,
            r#"{"id":true,"method":"ps"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ps"}"#,
        ] {
            assert_eq!(code(text), -32600, "{text}");
        }
        assert_eq!(one(r#"{"id":5,"method":7}"#).unwrap_err().id, json!(5));
    }

    #[test]
    fn a_batch_has_an_answer_for_each_call_and_an_end() {
        let Text::Batch(calls) = read(br#"[{"id":1,"method":"ps"},7]"#) else { panic!() };
        assert!(calls[0].is_ok() && calls[1].is_err());
        let many = format!("[{}7]", "7,".repeat(CALLS_COUNT_MAX));
        assert_eq!(code(&many), -32600);
    }

    #[test]
    fn an_error_is_json_whatever_its_texts_hold() {
        let fault = Fault::new(404, "AOR not found").with("\u{1b}[31m\"\n");
        let read: Value = serde_json::from_str(&error(&json!("a\"b"), &fault)).unwrap();
        assert_eq!(read["error"]["code"], 404);
        assert_eq!((&read["error"]["data"], &read["id"]), (&json!("\u{1b}[31m\"\n"), &json!("a\"b")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            read(&bytes);
        }
    }
}
