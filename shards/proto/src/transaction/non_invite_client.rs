//! Non-INVITE client transaction: RFC 3261 §17.1.2, figure 6.
//!
//! ```text
//!   request sent -> Trying --1xx--> Proceeding --200-699--> Completed --K--> Terminated
//!     E: send again   |                | E: send again        ^ responses absorbed
//!                     +--200-699-------+
//!   Trying, Proceeding: F or a transport error -> Terminated
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
    Provisional,
    Final,
    TimerE,
    TimerF,
    TimerK,
    TransportError,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send the request again.
    Resend,
    /// Hand the response to the TU.
    Pass,
    /// Tell the TU that no response will come.
    TimedOut,
    /// Tell the TU that the request could not be sent.
    Failed,
    /// Doubled up to T2 while trying; not over a reliable transport.
    StartE,
    /// T2: once a provisional response came (§17.1.2.2).
    StartEAtT2,
    /// T4; zero over a reliable transport.
    StartK,
}

super::table! { State, Event, Action;
    Trying, TimerE => Trying [Resend, StartE];
    Trying, TimerF => Terminated [TimedOut];
    Trying, TransportError => Terminated [Failed];
    Trying, Provisional => Proceeding [StartEAtT2, Pass];
    Trying, Final => Completed [Pass, StartK];
    Proceeding, TimerE => Proceeding [Resend, StartEAtT2];
    Proceeding, TimerF => Terminated [TimedOut];
    Proceeding, TransportError => Terminated [Failed];
    Proceeding, Provisional => Proceeding [Pass];
    Proceeding, Final => Completed [Pass, StartK];
    Completed, TimerK => Terminated [];
}
