//! Every bound of a shard, on one page, with the relations between them asserted.
//!
//! What an operator may want to change is a key of the configuration and stands in
//! [`crate::settings`]; its ceiling stands here.

/// Shards of one node. The shard's number has a byte in branches and flows.
pub const SHARDS_COUNT_MAX: usize = 128;
/// Bytes of one message, over any transport; a UDP datagram cannot carry more.
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// Contacts in one REGISTER (RFC 3261 §10.3 sets no bound).
pub const REGISTER_CONTACTS_COUNT_MAX: usize = 32;
/// Changes of bindings that one REGISTER may make.
pub const REGISTER_ACTS_COUNT_MAX: usize = AOR_BINDINGS_COUNT_MAX + 1;
/// Bindings of one AoR: the ceiling of `registrar.max_contacts`.
pub const AOR_BINDINGS_COUNT_MAX: usize = 64;
/// Bytes of a canonical AoR.
pub const AOR_BYTES_MAX: usize = 256;
/// Bytes of one AoR with all its bindings as stored, those that were removed apart, so that a 200 with all of them fits into
/// a datagram.
pub const AOR_RECORD_BYTES_MAX: usize = 32_768;
/// Bindings of one AoR that were removed and are remembered, beside those that it has; the oldest are given up first.
pub const AOR_REMOVALS_COUNT_MAX: usize = AOR_BINDINGS_COUNT_MAX;
/// Bytes of these as stored.
pub const AOR_REMOVALS_BYTES_MAX: usize = AOR_RECORD_BYTES_MAX;
/// Bytes of a Contact URI that is stored.
pub const CONTACT_BYTES_MAX: usize = 1024;
/// Bytes of a Contact's parameters that are stored.
pub const CONTACT_PARAMS_BYTES_MAX: usize = 1024;
/// Bytes of a Call-ID that is stored.
pub const CALL_ID_BYTES_MAX: usize = 256;
/// Bytes of a User-Agent that are stored; a longer one is cut.
pub const USER_AGENT_BYTES_MAX: usize = 128;
/// Bytes of a Path that is stored (RFC 3327).
pub const PATH_BYTES_MAX: usize = 1024;
/// Rules of a policy.
pub const RULES_COUNT_MAX: usize = 64;
/// Branches of one request, local contacts and other PoPs together.
pub const BRANCHES_COUNT_MAX: usize = 64;
/// Deadlines handled in one call of `handle_timeout`, so that a turn stays short.
pub const TIMEOUTS_PER_TURN_MAX: usize = 1024;
/// Seconds that a binding may live: the ceiling of `registrar.max_expires`.
pub const EXPIRES_S_MAX: u32 = 30 * 24 * 3600;
/// Seconds a removed binding's Call-ID and CSeq are remembered, so that a late retransmission of an
/// older REGISTER does not bring it back: RFC 3261 §17.2.2 Timer J, 64 times T1.
pub const REMOVED_REMEMBERED_S: u32 = 32;
/// Seconds for which a passive node keeps a binding whose time is over: its twin may know of a refresh that has not
/// arrived yet.
pub const PASSIVE_GRACE_S: u32 = 120;
/// Seconds after which a passive node looks at such a binding again, and so the longest time for which one that becomes
/// active keeps what is over.
pub const PASSIVE_LOOK_S: u32 = 10;
/// Bytes of challenges of other branches that are added to a 401 or 407 (RFC 3261 §16.7 step 7).
pub const CHALLENGES_BYTES_MAX: usize = 16_384;
/// Breadth granted to a request that names none, or more (RFC 5393 §5.3.3).
pub const MAX_BREADTH: u32 = 60;
/// Hops granted to a request without Max-Forwards (RFC 3261 §16.6 step 3).
pub const MAX_FORWARDS_DEFAULT: u32 = 70;
/// AoRs of one shard whose row in the directory is waiting to be changed.
pub const HOME_CHANGES_COUNT_MAX: usize = 262_144;
/// Bits of a hash that name its leaf.
pub const LEAVES_BITS: u32 = 12;
/// Ranges that the hash space of AoRs is cut into: what nodes compare with one another, and what shards share out.
pub const LEAVES_COUNT: usize = 1 << LEAVES_BITS;
/// Questions of one shard to the directory that are open at a time.
pub const QUESTIONS_COUNT_MAX: usize = 65_536;
/// Answers of the directory that one shard remembers, of each kind.
pub const ANSWERS_COUNT_MAX: usize = 65_536;
/// Bytes of messages of one shard that wait for names.
pub const PARKED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Parked messages that are handled in one turn once their names are known.
pub const PARKED_PER_TURN_MAX: usize = 64;
/// Ways to one target that are tried one after another.
pub const WAYS_COUNT_MAX: usize = 8;
/// Seconds for which a server is left alone at most that has said so by a 503 with Retry-After (RFC 3261 §21.5.4).
pub const AVOIDED_S_MAX: u32 = 300;
/// Names of peers within TLS that one shard knows at a time.
pub const PEER_NAMES_COUNT_MAX: usize = 4096;
/// Seconds named in Retry-After when a limit is reached.
pub const RETRY_AFTER_S: u32 = 5;

const _: () = {
    assert!(AOR_BINDINGS_COUNT_MAX <= BRANCHES_COUNT_MAX);
    assert!(REGISTER_CONTACTS_COUNT_MAX <= AOR_BINDINGS_COUNT_MAX);
    // The removals of all bindings, and of those that are not known here.
    assert!(AOR_BINDINGS_COUNT_MAX < REGISTER_ACTS_COUNT_MAX && AOR_BINDINGS_COUNT_MAX <= AOR_REMOVALS_COUNT_MAX);
    let texts_bytes_max = CONTACT_BYTES_MAX + CONTACT_PARAMS_BYTES_MAX + CALL_ID_BYTES_MAX + USER_AGENT_BYTES_MAX;
    // The length of a journal's entry has two bytes, and the numbers of a binding are far fewer than its texts.
    assert!(2 * (AOR_BYTES_MAX + texts_bytes_max + PATH_BYTES_MAX) <= u16::MAX as usize);
    assert!(CONTACT_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(SHARDS_COUNT_MAX <= 256);
    assert!(SHARDS_COUNT_MAX <= LEAVES_COUNT);
    assert!(PASSIVE_LOOK_S <= PASSIVE_GRACE_S);
    assert!(MESSAGE_BYTES_MAX <= PARKED_BYTES_MAX);
    assert!(2 * CHALLENGES_BYTES_MAX < MESSAGE_BYTES_MAX);
};
