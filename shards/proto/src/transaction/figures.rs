//! Every transition of every figure, stated apart from the tables, and that there is no other.

use super::{invite_client, invite_server, non_invite_client, non_invite_server};

/// For one machine: the rows are as many as expected, agree with `step`, and every pair without a row is ignored.
macro_rules! figure {
    ($name:ident, $machine:ident, [$($state:ident),+], [$($event:ident),+], $arrows:expr) => {
        #[test]
        fn $name() {
            use $machine::{Event, ROWS, State, step};
            let arrows: &[(State, Event, State)] = &$arrows;
            assert_eq!(ROWS.len(), arrows.len());
            for state in [$(State::$state),+] {
                for event in [$(Event::$event),+] {
                    let expected = arrows.iter().find(|a| a.0 == state && a.1 == event).map(|a| a.2);
                    assert_eq!(step(state, event).map(|s| s.0), expected, "{state:?} on {event:?}");
                }
            }
        }
    };
}

figure!(
    rfc6026_figure_5_invite_server,
    invite_server,
    [Proceeding, Accepted, Completed, Confirmed, Terminated],
    [Request, Ack, Provisional, Success, Failure, TimerG, TimerH, TimerI, TimerL],
    [
        (State::Proceeding, Event::Request, State::Proceeding),
        (State::Proceeding, Event::Provisional, State::Proceeding),
        (State::Proceeding, Event::Success, State::Accepted),
        (State::Proceeding, Event::Failure, State::Completed),
        (State::Accepted, Event::Request, State::Accepted),
        (State::Accepted, Event::Ack, State::Accepted),
        (State::Accepted, Event::Success, State::Accepted),
        (State::Accepted, Event::TimerL, State::Terminated),
        (State::Completed, Event::Request, State::Completed),
        (State::Completed, Event::TimerG, State::Completed),
        (State::Completed, Event::Ack, State::Confirmed),
        (State::Completed, Event::TimerH, State::Terminated),
        (State::Confirmed, Event::Request, State::Confirmed),
        (State::Confirmed, Event::Ack, State::Confirmed),
        (State::Confirmed, Event::TimerI, State::Terminated),
    ]
);

figure!(
    rfc3261_figure_8_non_invite_server,
    non_invite_server,
    [Trying, Proceeding, Completed, Terminated],
    [Request, Provisional, Final, TimerJ],
    [
        (State::Trying, Event::Request, State::Trying),
        (State::Trying, Event::Provisional, State::Proceeding),
        (State::Trying, Event::Final, State::Completed),
        (State::Proceeding, Event::Request, State::Proceeding),
        (State::Proceeding, Event::Provisional, State::Proceeding),
        (State::Proceeding, Event::Final, State::Completed),
        (State::Completed, Event::Request, State::Completed),
        (State::Completed, Event::TimerJ, State::Terminated),
    ]
);

figure!(
    rfc6026_figure_6_invite_client,
    invite_client,
    [Calling, Proceeding, Accepted, Completed, Terminated],
    [Provisional, Success, Failure, TimerA, TimerB, TimerD, TimerM, TransportError],
    [
        (State::Calling, Event::TimerA, State::Calling),
        (State::Calling, Event::TimerB, State::Terminated),
        (State::Calling, Event::TransportError, State::Terminated),
        (State::Calling, Event::Provisional, State::Proceeding),
        (State::Calling, Event::Success, State::Accepted),
        (State::Calling, Event::Failure, State::Completed),
        (State::Proceeding, Event::Provisional, State::Proceeding),
        (State::Proceeding, Event::Success, State::Accepted),
        (State::Proceeding, Event::Failure, State::Completed),
        (State::Accepted, Event::Success, State::Accepted),
        (State::Accepted, Event::TimerM, State::Terminated),
        (State::Completed, Event::Failure, State::Completed),
        (State::Completed, Event::TransportError, State::Terminated),
        (State::Completed, Event::TimerD, State::Terminated),
    ]
);

figure!(
    rfc3261_figure_6_non_invite_client,
    non_invite_client,
    [Trying, Proceeding, Completed, Terminated],
    [Provisional, Final, TimerE, TimerF, TimerK, TransportError],
    [
        (State::Trying, Event::TimerE, State::Trying),
        (State::Trying, Event::TimerF, State::Terminated),
        (State::Trying, Event::TransportError, State::Terminated),
        (State::Trying, Event::Provisional, State::Proceeding),
        (State::Trying, Event::Final, State::Completed),
        (State::Proceeding, Event::TimerE, State::Proceeding),
        (State::Proceeding, Event::TimerF, State::Terminated),
        (State::Proceeding, Event::TransportError, State::Terminated),
        (State::Proceeding, Event::Provisional, State::Proceeding),
        (State::Proceeding, Event::Final, State::Completed),
        (State::Completed, Event::TimerK, State::Terminated),
    ]
);
