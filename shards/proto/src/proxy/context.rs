//! The response context of RFC 3261 §16.2: what is known of a request's branches, and the best response so far.

use super::target::Target;
use crate::hop::Source;
use crate::keys::AorHash;
use crate::limits;
use crate::location::RecordId;
use crate::time::Now;
use crate::transaction::client::ClientId;
use std::collections::VecDeque;

/// Between the arrival of a request and its final response.
#[allow(clippy::struct_excessive_bools, reason = "they have nothing to do with each other")]
#[derive(Debug)]
pub(crate) struct Context {
    /// The request as it came; empty once nothing more has to be made of it.
    pub(super) request: Box<[u8]>,
    pub(super) source: Source,
    /// The tag of responses that we make ourselves.
    pub(super) tag: [u8; 16],
    pub(super) is_invite: bool,
    pub(super) loop_hash: u32,
    /// Whether its Contact is written as where its sender was seen.
    pub(super) fixes_contact: bool,
    /// Whether a route of ours names the flow that it goes over.
    pub(super) goes_by_flow: bool,
    /// Whether another node has sent its INVITE, and its branches are only cancelled here.
    pub(super) is_taken_up: bool,
    /// Breadth that no open branch has (RFC 5393 §5.3.3).
    pub(super) breadth: u32,
    /// Targets that have not been tried.
    pub(super) targets: VecDeque<Target>,
    /// Branches that have not come to an end.
    pub(super) open: Vec<Open>,
    /// All branches ever started, so that none outlives this context believing in it.
    pub(super) started: Vec<ClientId>,
    best: Option<Best>,
    /// Challenge lines of 401 and 407 responses other than the best (§16.7 step 7).
    challenges: Vec<u8>,
    /// Whether no further branch is to be started: a CANCEL, a 2xx or a 6xx has come.
    pub(super) is_closed: bool,
    /// What is not known yet of other homes of the AoR; `None` where nobody is asked.
    pub(super) elsewhere: Option<Waiting>,
    /// What has become of other homes of the AoR.
    pub(super) homes: Homes,
    /// What is said when no branch comes of the request.
    pub(super) refusal: Option<(u16, &'static str)>,
    /// When the next q group is tried although this one rings.
    pub(super) next_group_at: Option<Now>,
    /// When a non-INVITE request is answered 100 (RFC 4320 §4.1).
    pub(super) trying_at: Option<Now>,
    /// When a request that is not answered at all is forgotten (RFC 4320 §4.2).
    pub(super) forget_at: Option<Now>,
}

/// A branch that has not come to an end.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) client: ClientId,
    /// The breadth that it was given.
    pub(super) breadth: u32,
    /// What it goes on with when it fails, where there is another way.
    pub(super) target: Option<Box<Target>>,
    /// The binding whose phone answers it, where nobody stands in between.
    pub(super) binding: Option<(RecordId, u64)>,
    /// Whether nothing but a connection leads to that phone.
    pub(super) is_flow: bool,
}

/// What has become of other homes of an AoR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Homes {
    /// None has been tried.
    Untried,
    /// All that there are were tried, and answer.
    Tried,
    /// Nobody could say which there are, or one of them does not answer: a 404 would be a guess.
    Unsure,
}

/// A request that waits for the directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) aor: AorHash,
    /// Then it goes on with what is known.
    pub(super) until: Now,
}

/// The response that would be sent if all branches had ended.
#[derive(Debug)]
pub(super) struct Best {
    pub(super) status: u16,
    /// As it goes upstream; empty when it is made here.
    pub(super) bytes: Box<[u8]>,
    /// Its own challenge lines.
    challenges: Vec<u8>,
}

impl Context {
    pub(super) fn new(request: &[u8], source: Source, tag: [u8; 16], is_invite: bool) -> Self {
        Self {
            request: request.into(),
            source,
            tag,
            is_invite,
            loop_hash: 0,
            fixes_contact: false,
            goes_by_flow: false,
            is_taken_up: false,
            breadth: 0,
            targets: VecDeque::new(),
            open: Vec::new(),
            started: Vec::new(),
            best: None,
            challenges: Vec::new(),
            is_closed: false,
            elsewhere: None,
            homes: Homes::Untried,
            refusal: None,
            next_group_at: None,
            trying_at: None,
            forget_at: None,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Now> {
        let until = self.elsewhere.as_ref().map(|waiting| waiting.until);
        [self.next_group_at, self.trying_at, self.forget_at, until].into_iter().flatten().min()
    }

    /// Whether every branch has ended and none is to follow.
    pub(super) fn is_done(&self) -> bool {
        self.open.is_empty() && (self.is_closed || self.targets.is_empty() && self.elsewhere.is_none())
    }

    /// A branch has come to its end, and its breadth is free again.
    pub(super) fn end(&mut self, client: ClientId) {
        if let Some(at) = self.open.iter().position(|open| open.client == client) {
            self.breadth += self.open.remove(at).breadth;
        }
    }

    /// Forgets the failures of branches: one has succeeded.
    pub(super) fn forget_failures(&mut self) {
        (self.best, self.challenges) = (None, Vec::new());
    }

    /// Adds a final response that is no 2xx.
    pub(super) fn add(&mut self, status: u16, bytes: &[u8], challenges: Vec<u8>) {
        if self.best.as_ref().is_some_and(|best| rank(best.status) <= rank(status)) {
            self.add_challenges(&challenges);
            return;
        }
        let new = Best { status, bytes: bytes.into(), challenges };
        if let Some(old) = self.best.replace(new) {
            self.add_challenges(&old.challenges);
        }
    }

    /// Those beyond the bound are left out: a response with all of them would fit into no datagram.
    fn add_challenges(&mut self, lines: &[u8]) {
        if self.challenges.len() + lines.len() <= limits::CHALLENGES_BYTES_MAX {
            self.challenges.extend_from_slice(lines);
        }
    }

    /// Takes the best response out, with the challenges of all others where it is a challenge itself.
    pub(super) fn take_best(&mut self) -> Option<Best> {
        let mut best = self.best.take()?;
        if matches!(best.status, 401 | 407) && !self.challenges.is_empty() {
            let end = best.bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 2);
            if let Some(end) = end {
                let mut bytes = best.bytes.to_vec();
                bytes.splice(end..end, self.challenges.drain(..));
                best.bytes = bytes.into();
            }
        }
        Some(best)
    }
}

/// §16.7 step 6: a 6xx above all, else the lowest class; within 4xx those first that tell the caller how to go on.
/// Of equals the first to come stays.
fn rank(status: u16) -> u16 {
    match status {
        600..=699 => 0,
        300..=399 => 1,
        401 | 407 => 2,
        415 | 420 | 484 => 3,
        // What one home says of itself, which does not know what a phone at another one has said.
        404 => 5,
        // Said by ourselves, by a branch that never answered, or since we have cancelled it for another group of q:
        // anything that was really said is better.
        408 | 487 => 6,
        400..=499 => 4,
        503 => 8,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hop::{FlowToken, Transport};

    fn context() -> Context {
        let address = "127.0.0.1:5060".parse().unwrap();
        let source = Source { transport: Transport::Udp, remote: address, local: address, flow: FlowToken::NONE };
        Context::new(b"", source, [0; 16], true)
    }

    #[test]
    fn rfc3261_16_7_6_best_response() {
        for (statuses, best) in [
            (&[486, 603, 200 + 204][..], 603),
            (&[503, 486, 500][..], 486),
            (&[486, 401, 302][..], 302),
            (&[486, 407, 480][..], 407),
            (&[408, 486][..], 486),
            (&[480, 486][..], 480),
            (&[487, 486][..], 486),
            (&[487, 500][..], 487),
            (&[503, 500][..], 500),
        ] {
            let mut context = context();
            for &status in statuses {
                context.add(status, b"", Vec::new());
            }
            assert_eq!(context.take_best().unwrap().status, best, "{statuses:?}");
        }
    }

    #[test]
    fn joined_challenges_are_bounded() {
        let mut context = context();
        context.add(401, b"SIP/2.0 401 A\r\n\r\n", Vec::new());
        for _ in 0..100 {
            context.add(401, b"", vec![b'x'; 1000]);
        }
        let best = context.take_best().unwrap();
        assert!((limits::CHALLENGES_BYTES_MAX - 1000..limits::CHALLENGES_BYTES_MAX + 100).contains(&best.bytes.len()));
    }

    #[test]
    fn rfc3261_16_7_7_challenges_of_all_branches_are_joined() {
        let mut context = context();
        context.add(407, b"SIP/2.0 407 A\r\nProxy-Authenticate: one\r\n\r\n", b"Proxy-Authenticate: one\r\n".to_vec());
        context.add(401, b"SIP/2.0 401 B\r\nWWW-Authenticate: two\r\n\r\n", b"WWW-Authenticate: two\r\n".to_vec());
        context.add(486, b"SIP/2.0 486 C\r\n\r\n", Vec::new());
        let best = context.take_best().unwrap();
        assert_eq!(
            std::str::from_utf8(&best.bytes).unwrap(),
            "SIP/2.0 407 A\r\nProxy-Authenticate: one\r\nWWW-Authenticate: two\r\n\r\n"
        );
    }
}
