//! The commands that a node has.
//!
//! Each is added with its signature and with what does it: a function of the arguments, called on the thread of the
//! management interface, whose future may wait there as long as it bounds that by itself.

use super::answer::{Answer, Fault};
use super::parameters::{Arguments, Signature};
use std::pin::Pin;

/// A command that is being done.
pub(super) type Doing = Pin<Box<dyn Future<Output = Result<Answer, Fault>>>>;

struct Command {
    signature: &'static Signature,
    run: Box<dyn Fn(Arguments) -> Doing + Send>,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Registry(Vec<Command>);

impl Registry {
    /// Adds a command.
    pub(crate) fn add<D>(&mut self, signature: &'static Signature, run: impl Fn(Arguments) -> D + Send + 'static)
    where
        D: Future<Output = Result<Answer, Fault>> + 'static,
    {
        debug_assert!(self.signatures().all(|other| !other.is_called(signature.name)), "{}", signature.name);
        self.0.push(Command { signature, run: Box::new(move |arguments| Box::pin(run(arguments))) });
    }

    /// What can be called, in the order in which it was added.
    pub(super) fn signatures(&self) -> impl Iterator<Item = &'static Signature> {
        self.0.iter().map(|command| command.signature)
    }

    /// Begins to do what is asked for.
    pub(super) fn call(&self, name: &str, given: super::parameters::Given) -> Result<Doing, Fault> {
        let command = self.0.iter().find(|command| command.signature.is_called(name));
        let command = command.ok_or_else(Fault::method_not_found)?;
        Ok((command.run)(command.signature.fit(given)?))
    }
}
