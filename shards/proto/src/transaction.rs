//! The four transaction machines of RFC 3261 §17, as amended by RFC 6026, each a table under its figure.
//!
//! # Contract
//! A machine is a pure function: state and event in, next state and a list of actions out. It owns no timer, no
//! message and no address; [`server`] and [`client`] own those and carry the actions out. An event that has
//! no row in a table is ignored in that state.
//!
//! # Reliable transports
//! Timers whose value is zero over a reliable transport fire at once there; those that only retransmit are not
//! started (RFC 3261 §17 table 4).

pub(crate) mod client;
pub(crate) mod invite_client;
pub(crate) mod invite_server;
pub(crate) mod non_invite_client;
pub(crate) mod non_invite_server;
pub(crate) mod server;

#[cfg(test)]
mod figures;

/// The rows of a table: in this state, on this event, to that state, doing these.
macro_rules! table {
    ($state:ty, $event:ty, $action:ty; $($(#[$doc:meta])* $from:ident, $on:ident => $to:ident [$($act:ident),*];)+) => {
        /// Every transition, in the order of the figure.
        #[cfg(test)]
        pub(crate) const ROWS: &[($state, $event, $state, &[$action])] = &[
            $((<$state>::$from, <$event>::$on, <$state>::$to, &[$(<$action>::$act),*]),)+
        ];

        /// Where `event` leads from `state` and what is to be done; `None` when the figure has no such arrow.
        pub(crate) fn step(state: $state, event: $event) -> Option<($state, &'static [$action])> {
            match (state, event) {
                $($(#[$doc])* (<$state>::$from, <$event>::$on) => Some((<$state>::$to, &[$(<$action>::$act),*])),)+
                _ => None,
            }
        }
    };
}
use table;
