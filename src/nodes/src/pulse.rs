//! Whether the node at the other end of a link lives. Pure: what is heard and what time it is come in; when to ping, and
//! that the other end is lost, come out.
//!
//! | state | event | next state |
//! | --- | --- | --- |
//! | Down | a connection is there | Up |
//! | Up | a ping is missed | Probe, or Down where that was `no_ping_retries` of them |
//! | Probe | anything is heard | Up |
//! | Probe | `no_ping_retries` pings are missed, one after another | Down |
//! | Up, Probe | the connection has ended | Down |
//!
//! One ping is under way at a time; the next one is sent an interval after it was, or at once where it is missed. So a node
//! that dies without a word is down after `ping_interval + no_ping_retries * ping_timeout` at most. Anything that is heard
//! stands for the answer.
//!
//! Who does not read, since nobody here takes what came before ([`Pulse::pause`]), misses nothing: no ping counts
//! meanwhile. It answers none of those of the other end either, so it pings often enough for that to count as life there.

use std::time::{Duration, Instant};

/// OpenSIPS's states of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The other end is there.
    Up,
    /// It has missed an answer.
    Probe,
    /// It is not there.
    Down,
}

impl State {
    /// OpenSIPS's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "Up",
            Self::Probe => "Probe",
            Self::Down => "Down",
        }
    }
}

/// How it is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// From one ping that is answered to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Pings in a row that may be missed; none at all is as good as one.
    pub retries: u32,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// To send a ping of this number.
    Ping(u64),
    /// To give the other end up; the state is Down.
    Lost,
}

/// See the module's documentation. Times never go backwards.
#[derive(Debug)]
pub struct Pulse {
    rhythm: Rhythm,
    state: State,
    /// Of the last ping.
    number: u64,
    sent: Option<Instant>,
    /// When that is missed, unless anything is heard before.
    due: Option<Instant>,
    next_ping: Instant,
    /// In a row.
    missed: u32,
    missed_total: u64,
    is_paused: bool,
    round_trip: Option<Duration>,
}

impl Pulse {
    /// Of a link that is down.
    pub fn new(rhythm: Rhythm, now: Instant) -> Self {
        Self {
            rhythm,
            state: State::Down,
            number: 0,
            sent: None,
            due: None,
            next_ping: now,
            missed: 0,
            missed_total: 0,
            is_paused: false,
            round_trip: None,
        }
    }

    /// How the link stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// How long the last answer took, of the present connection or of the one before.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// How many pings were missed since the start.
    pub fn missed_total(&self) -> u64 {
        self.missed_total
    }

    /// A connection is there.
    pub fn begin(&mut self, now: Instant) {
        *self = Self {
            state: State::Up,
            number: self.number,
            missed_total: self.missed_total,
            round_trip: self.round_trip,
            ..Self::new(self.rhythm, now)
        };
    }

    /// It has ended.
    pub fn end(&mut self) {
        self.state = State::Down;
    }

    /// Something has come from the other end; whether [`Self::deadline`] is another one for that.
    pub fn heard(&mut self) -> bool {
        self.missed = 0;
        if self.state == State::Probe {
            self.state = State::Up;
        }
        self.due.take().is_some()
    }

    /// The answer to the ping of this number has come.
    pub fn answered(&mut self, number: u64, now: Instant) {
        if number == self.number
            && let Some(sent) = self.sent.take()
        {
            self.round_trip = Some(now.saturating_duration_since(sent));
        }
    }

    /// From now on nothing is read.
    pub fn pause(&mut self, now: Instant) {
        self.is_paused = true;
        self.due = None;
        self.next_ping = self.next_ping.min(now + self.pause_interval());
    }

    /// It is read again.
    pub fn resume(&mut self, now: Instant) {
        self.is_paused = false;
        self.next_ping = now;
    }

    /// How often to ping while nothing is read: twice in the time that the other end waits for an answer.
    fn pause_interval(&self) -> Duration {
        self.rhythm.interval.min(self.rhythm.timeout / 2)
    }

    /// What has to be done now, until it is nothing.
    pub fn poll(&mut self, now: Instant) -> Option<Beat> {
        if self.state == State::Down {
            return None;
        }
        if self.due.is_some_and(|due| now >= due) {
            self.due = None;
            self.missed += 1;
            self.missed_total += 1;
            if self.missed >= self.rhythm.retries {
                self.state = State::Down;
                return Some(Beat::Lost);
            }
            self.state = State::Probe;
            self.next_ping = now;
        }
        if self.due.is_some() || now < self.next_ping {
            return None;
        }
        self.number += 1;
        self.sent = Some(now);
        self.due = (!self.is_paused).then(|| now + self.rhythm.timeout);
        self.next_ping = now + if self.is_paused { self.pause_interval() } else { self.rhythm.interval };
        Some(Beat::Ping(self.number))
    }

    /// When [`Self::poll`] has to be asked next, if nothing happens before.
    pub fn deadline(&self) -> Instant {
        self.due.unwrap_or(self.next_ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(4);
    const TIMEOUT: Duration = Duration::from_secs(1);

    fn pulse(retries: u32) -> (Pulse, Instant) {
        let now = Instant::now();
        let mut pulse = Pulse::new(Rhythm { interval: INTERVAL, timeout: TIMEOUT, retries }, now);
        assert_eq!((pulse.state(), pulse.poll(now)), (State::Down, None));
        pulse.begin(now);
        assert_eq!((pulse.state(), pulse.poll(now), pulse.poll(now)), (State::Up, Some(Beat::Ping(1)), None));
        (pulse, now)
    }

    /// Lets time pass until something has to be done.
    fn next(pulse: &mut Pulse) -> (Instant, Beat) {
        loop {
            let now = pulse.deadline();
            if let Some(beat) = pulse.poll(now) {
                return (now, beat);
            }
            assert!(pulse.deadline() > now, "it would never sleep");
        }
    }

    #[test]
    fn who_answers_is_pinged_an_interval_later() {
        let (mut pulse, start) = pulse(3);
        let answer = start + Duration::from_millis(300);
        assert!(pulse.heard(), "the next ping is due earlier than its answer would have been");
        assert!(!pulse.heard());
        pulse.answered(1, answer);
        assert_eq!(pulse.round_trip(), Some(Duration::from_millis(300)));
        assert_eq!(next(&mut pulse), (start + INTERVAL, Beat::Ping(2)));
        // The answer to another ping tells no time.
        pulse.answered(1, answer);
        assert_eq!(pulse.round_trip(), Some(Duration::from_millis(300)));
        assert_eq!(pulse.state(), State::Up);
    }

    #[test]
    fn who_answers_is_not_pinged_less_often_for_a_long_timeout() {
        let start = Instant::now();
        let mut pulse = Pulse::new(Rhythm { interval: TIMEOUT, timeout: INTERVAL, retries: 3 }, start);
        pulse.begin(start);
        assert_eq!(pulse.poll(start), Some(Beat::Ping(1)));
        assert_eq!((pulse.deadline(), pulse.poll(start + TIMEOUT)), (start + INTERVAL, None), "one at a time");
        assert!(pulse.heard());
        assert_eq!(next(&mut pulse), (start + TIMEOUT, Beat::Ping(2)));
    }

    #[test]
    fn pings_that_are_missed_make_probe_and_then_down() {
        let (mut pulse, start) = pulse(3);
        assert_eq!(next(&mut pulse), (start + TIMEOUT, Beat::Ping(2)));
        assert_eq!(pulse.state(), State::Probe);
        assert_eq!(next(&mut pulse), (start + 2 * TIMEOUT, Beat::Ping(3)));
        assert_eq!(pulse.state(), State::Probe);
        assert_eq!(next(&mut pulse), (start + 3 * TIMEOUT, Beat::Lost));
        assert_eq!((pulse.state(), pulse.missed_total()), (State::Down, 3));
        assert_eq!(pulse.poll(start + INTERVAL), None, "there is nobody to ping");
        pulse.begin(start + INTERVAL);
        assert_eq!((pulse.state(), pulse.missed_total()), (State::Up, 3));
        assert_eq!(pulse.poll(start + INTERVAL), Some(Beat::Ping(4)));
    }

    #[test]
    fn who_dies_in_silence_is_down_within_the_bound() {
        for retries in 0..5 {
            let (mut pulse, start) = pulse(retries);
            pulse.heard();
            loop {
                if let (now, Beat::Lost) = next(&mut pulse) {
                    assert_eq!(now, start + INTERVAL + TIMEOUT * retries.max(1));
                    break;
                }
            }
        }
    }

    #[test]
    fn anything_that_is_heard_makes_up_of_probe() {
        let (mut pulse, start) = pulse(2);
        for round in 1..4 {
            let (missed, _) = next(&mut pulse);
            assert_eq!(pulse.state(), State::Probe, "{round}");
            pulse.heard();
            assert_eq!(pulse.state(), State::Up);
            // None of those that were missed before counts.
            let (again, beat) = next(&mut pulse);
            assert_eq!((again, beat), (missed + INTERVAL, Beat::Ping(2 * round + 1)));
        }
        assert!(pulse.deadline() > start);
    }

    #[test]
    fn with_one_retry_or_none_there_is_no_probe() {
        for retries in [0, 1] {
            let (mut pulse, start) = pulse(retries);
            assert_eq!(next(&mut pulse), (start + TIMEOUT, Beat::Lost));
        }
    }

    #[test]
    fn who_does_not_read_misses_nothing_and_is_heard_by_the_other_end() {
        let (mut pulse, start) = pulse(1);
        let mut now = start + TIMEOUT / 2;
        pulse.pause(now);
        for _ in 0..20 {
            let (then, beat) = next(&mut pulse);
            assert!(matches!(beat, Beat::Ping(_)));
            assert!(then - now <= TIMEOUT / 2, "the other end would miss an answer");
            now = then;
        }
        pulse.resume(now);
        assert_eq!((pulse.state(), pulse.missed_total()), (State::Up, 0));
        let (then, beat) = next(&mut pulse);
        assert!(matches!(beat, Beat::Ping(_)));
        assert_eq!(then, now);
        assert_eq!(next(&mut pulse), (now + TIMEOUT, Beat::Lost), "from now on it counts");
    }

    #[test]
    fn a_connection_that_ends_makes_down_at_once() {
        let (mut pulse, start) = pulse(3);
        pulse.end();
        assert_eq!((pulse.state(), pulse.poll(start + INTERVAL)), (State::Down, None));
    }
}
