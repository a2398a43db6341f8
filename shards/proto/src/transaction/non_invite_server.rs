//! Non-INVITE server transaction: RFC 3261 §17.2.2, figure 8, with RFC 4320 §4.
//!
//! ```text
//!   request -> Trying --1xx--> Proceeding --200-699--> Completed --J--> Terminated
//!                |                 ^ request: send again   ^ request: send again
//!                +--200-699------------------------------->+
//! ```

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The request again.
    Request,
    Provisional,
    Final,
    TimerJ,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send the response that the event brought.
    Send,
    /// Send the last response again.
    SendLast,
    /// 64 * T1; zero over a reliable transport.
    StartJ,
}

super::table! { State, Event, Action;
    Trying, Request => Trying [];
    Trying, Provisional => Proceeding [Send];
    Trying, Final => Completed [Send, StartJ];
    Proceeding, Request => Proceeding [SendLast];
    Proceeding, Provisional => Proceeding [Send];
    Proceeding, Final => Completed [Send, StartJ];
    Completed, Request => Completed [SendLast];
    Completed, TimerJ => Terminated [];
}
