//! One text in, its answer out in pieces: calls are done one after another.

use super::answer::{Answer, Cut, Pieces};
use super::json_rpc::{self, Bad, Call, RESULT_BEGIN, Text};
use super::registry::Registry;
use std::rc::Rc;

/// Does what `bytes` ask for. Without a piece there is nothing to answer: all of it were notifications.
pub(super) async fn answer(registry: Rc<Registry>, bytes: impl AsRef<[u8]>, out: Pieces) {
    let done = match json_rpc::read(bytes.as_ref()) {
        Text::One(call) => one(&registry, call, "", &out).await.map(|_| ()),
        Text::Batch(calls) => batch(&registry, calls, &out).await,
    };
    if let Err(Cut) = done {
        out.cut().await;
    }
}

async fn batch(registry: &Registry, calls: Vec<Result<Call, Bad>>, out: &Pieces) -> Result<(), Cut> {
    let mut before = "[";
    for call in calls {
        if one(registry, call, before, out).await? {
            before = ",";
        }
    }
    if before == "," { out.send("]").await } else { Ok(()) }
}

/// Does one call, and puts its answer behind `before`; whether it had one.
async fn one(registry: &Registry, call: Result<Call, Bad>, before: &str, out: &Pieces) -> Result<bool, Cut> {
    let Call { id, method, given } = match call {
        Ok(call) => call,
        Err(Bad { id, fault }) => {
            out.send(format!("{before}{}", json_rpc::error(&id, &fault))).await?;
            return Ok(true);
        }
    };
    let done = match registry.call(&method, given) {
        Ok(doing) => doing.await,
        Err(fault) => Err(fault),
    };
    let Some(id) = id else { return Ok(false) };
    match done {
        Ok(Answer::Value(value)) => {
            out.send(format!("{before}{RESULT_BEGIN}{value}{}", json_rpc::result_end(&id))).await?;
        }
        Ok(Answer::Pieces(write)) => {
            out.send(format!("{before}{RESULT_BEGIN}")).await?;
            write(out.clone()).await?;
            out.send(json_rpc::result_end(&id)).await?;
        }
        Err(fault) => out.send(format!("{before}{}", json_rpc::error(&id, &fault))).await?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Signature;
    use crate::ops::answer::Fault;
    use serde_json::{Value, json};

    static ECHO: Signature = Signature { name: "test:echo", old_name: "echo", forms: &[&["text"]], list: "", what: "" };
    static LONG: Signature = Signature { name: "test:long", old_name: "", forms: &[&[]], list: "", what: "" };
    static CUT: Signature = Signature { name: "test:cut", old_name: "", forms: &[&[]], list: "", what: "" };

    fn registry() -> Rc<Registry> {
        let mut registry = Registry::default();
        registry.add(&ECHO, |arguments| async move {
            match arguments.text("text")?.as_str() {
                "404" => Err(Fault::new(404, "not there")),
                text => Ok(Answer::Value(json!({ "text": text }))),
            }
        });
        registry.add(&LONG, |_| async {
            let write = async |out: Pieces| {
                out.send("[1").await?;
                out.send(",2]").await
            };
            Ok(Answer::Pieces(Box::new(move |out| Box::pin(write(out)))))
        });
        registry.add(&CUT, |_| async {
            Ok(Answer::Pieces(Box::new(|out| {
                Box::pin(async move {
                    out.send("[1").await?;
                    Err(Cut)
                })
            })))
        });
        Rc::new(registry)
    }

    /// The whole answer; `None` where it is cut.
    fn answered(text: &str) -> Option<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (out, mut pieces) = Pieces::channel();
            let gather = async {
                let mut whole = String::new();
                while let Some(piece) = pieces.recv().await {
                    whole.push_str(std::str::from_utf8(&piece.ok()?).unwrap());
                }
                Some(whole)
            };
            let (whole, ()) = tokio::join!(gather, answer(registry(), text.to_owned(), out));
            whole
        })
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(&answered(text).unwrap()).unwrap()
    }

    #[test]
    fn a_call_is_answered_with_its_id() {
        let answer = json(r#"{"jsonrpc":"2.0","method":"echo","params":["x"],"id":"7"}"#);
        assert_eq!(answer, json!({ "jsonrpc": "2.0", "result": { "text": "x" }, "id": "7" }));
        let answer = json(r#"{"method":"test:echo","params":["404"],"id":7}"#);
        assert_eq!(answer, json!({ "jsonrpc": "2.0", "error": { "code": 404, "message": "not there" }, "id": 7 }));
        assert_eq!(json(r#"{"method":"no","id":1}"#)["error"]["message"], "Method not found");
        assert_eq!(json(r#"{"method":"echo","id":1}"#)["error"]["code"], -32602);
        assert_eq!(json("{")["error"]["code"], -32700);
    }

    #[test]
    fn a_long_answer_comes_in_pieces_or_is_cut() {
        assert_eq!(json(r#"{"method":"test:long","id":1}"#)["result"], json!([1, 2]));
        assert_eq!(answered(r#"{"method":"test:cut","id":1}"#), None);
    }

    #[test]
    fn a_batch_is_answered_but_for_notifications() {
        let answer =
            json(r#"[{"method":"echo","params":["x"]},{"method":"test:long","id":1},9,{"method":"no","id":2}]"#);
        let answers = answer.as_array().unwrap();
        assert_eq!(answers.len(), 3);
        assert_eq!((&answers[0]["result"], &answers[1]["error"]["code"]), (&json!([1, 2]), &json!(-32600)));
        assert_eq!(answers[2]["id"], 2);
        assert_eq!(answered(r#"[{"method":"echo","params":["x"]}]"#).unwrap(), "");
        assert_eq!(answered(r#"{"method":"echo","params":["x"]}"#).unwrap(), "");
    }
}
