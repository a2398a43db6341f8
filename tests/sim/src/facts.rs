//! What there was to check in a run.

use std::ops::AddAssign;

macro_rules! facts {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// What a run has come to, or several, so that a test can tell an empty one.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Facts {
            $($(#[$about])* pub $name: u64,)*
        }

        impl AddAssign for Facts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

facts! {
    /// Contacts that had to be found, and were looked for.
    found,
    /// Contacts that must not be found, and were looked for.
    absent,
    /// Calls whose branches were counted.
    calls,
    /// Of their branches, those between homes.
    crossings,
    /// Times that a node came to know all from another one.
    whole,
    /// Faults.
    troubles,
    /// Times that a node became the active one of its home.
    stints,
    /// Times that a node took another one for lost, since it answered no ping.
    lost,
    /// Times that a home that was lost was found to be left out.
    left_out,
    /// Homes that came later than the others.
    joins,
    /// Times that a node started by its copy of the table.
    copies,
    /// Times that a node that had started did not reach the store.
    unreached,
    /// Rows that were written anew while they were there.
    renewed,
    /// Pings that a phone has answered.
    pings,
    /// Contacts behind a NAT that pings alone have kept open to the end.
    kept_open,
    /// Times that a phone that lost its connection came again.
    returns,
    /// Contacts that were called over their connections.
    over_flows,
    /// Users of whom all that was bound had lost its connection, and who were called.
    unreachable,
    /// Contacts of phones that have fallen silent, and were bound then.
    silent,
    /// Times that one of two left its home to the other, which was active in a later term.
    yields,
}
