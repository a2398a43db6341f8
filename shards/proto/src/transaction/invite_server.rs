//! INVITE server transaction: RFC 3261 §17.2.1 with RFC 6026 §7.1, figure 5 there.
//!
//! ```text
//!   INVITE -> Proceeding --2xx--> Accepted --L--> Terminated
//!                |                 ^ 2xx and ACK pass, INVITE absorbed
//!                +--300-699--> Completed --ACK--> Confirmed --I--> Terminated
//!                               | G: send again      ^ ACK absorbed
//!                               +--H--> Terminated
//! ```

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Proceeding,
    Accepted,
    Completed,
    Confirmed,
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The INVITE again.
    Request,
    Ack,
    Provisional,
    Success,
    Failure,
    TimerG,
    TimerH,
    TimerI,
    TimerL,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send the response that the event brought.
    Send,
    /// Send the last response again.
    SendLast,
    /// T1 at first, then doubled up to T2; not over a reliable transport.
    StartG,
    /// 64 * T1.
    StartH,
    /// T4; zero over a reliable transport.
    StartI,
    /// 64 * T1.
    StartL,
    /// Hand the ACK to the TU, which routes it like one of its own transaction.
    PassAck,
}

super::table! { State, Event, Action;
    Proceeding, Request => Proceeding [SendLast];
    Proceeding, Provisional => Proceeding [Send];
    Proceeding, Success => Accepted [Send, StartL];
    Proceeding, Failure => Completed [Send, StartG, StartH];
    // RFC 6026 §7.1: retransmissions are absorbed, each ACK and each 2xx of the TU goes through.
    Accepted, Request => Accepted [];
    Accepted, Ack => Accepted [PassAck];
    Accepted, Success => Accepted [Send];
    Accepted, TimerL => Terminated [];
    Completed, Request => Completed [SendLast];
    Completed, TimerG => Completed [SendLast, StartG];
    Completed, Ack => Confirmed [StartI];
    Completed, TimerH => Terminated [];
    Confirmed, Request => Confirmed [];
    Confirmed, Ack => Confirmed [];
    Confirmed, TimerI => Terminated [];
}
