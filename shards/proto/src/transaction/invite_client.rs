//! INVITE client transaction: RFC 3261 §17.1.1 with RFC 6026 §7.2, figure 6 there.
//!
//! ```text
//!   INVITE sent -> Calling --1xx--> Proceeding --300-699--> Completed --D--> Terminated
//!     A: send again  |  |                |  |                 ^ 300-699: ACK again
//!                    |  +--300-699-------|--+
//!                    +--2xx--------------+--2xx--> Accepted --M--> Terminated
//!   Calling: B or a transport error -> Terminated
//! ```

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Calling,
    Proceeding,
    Accepted,
    Completed,
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Provisional,
    Success,
    Failure,
    TimerA,
    TimerB,
    TimerD,
    TimerM,
    TransportError,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send the request again.
    Resend,
    /// Send the ACK for the response that the event brought (§17.1.1.3).
    Ack,
    /// Hand the response to the TU.
    Pass,
    /// Tell the TU that no response will come.
    TimedOut,
    /// Tell the TU that the request could not be sent.
    Failed,
    /// Doubled each time; not over a reliable transport.
    StartA,
    /// Stop retransmitting and giving up: the TU's Timer C rules from here on (§16.8).
    StopAB,
    /// At least 32 s; zero over a reliable transport.
    StartD,
    /// 64 * T1.
    StartM,
}

super::table! { State, Event, Action;
    Calling, TimerA => Calling [Resend, StartA];
    Calling, TimerB => Terminated [TimedOut];
    Calling, TransportError => Terminated [Failed];
    Calling, Provisional => Proceeding [StopAB, Pass];
    Calling, Success => Accepted [StopAB, StartM, Pass];
    Calling, Failure => Completed [StopAB, Ack, StartD, Pass];
    Proceeding, Provisional => Proceeding [Pass];
    Proceeding, Success => Accepted [StartM, Pass];
    Proceeding, Failure => Completed [Ack, StartD, Pass];
    // RFC 6026 §7.2: each further 2xx goes to the TU.
    Accepted, Success => Accepted [Pass];
    Accepted, TimerM => Terminated [];
    Completed, Failure => Completed [Ack];
    Completed, TransportError => Terminated [];
    Completed, TimerD => Terminated [];
}
