//! What a shard does, by section of the RFCs: messages in, messages out, virtual time.

mod behaviour {
    mod administer;
    mod call;
    mod dialog;
    mod edge;
    mod explain;
    mod failover;
    mod failure;
    mod federation;
    mod fork;
    mod gruu;
    mod inquiry;
    mod journal;
    mod limit;
    mod matching;
    mod names;
    mod nat;
    mod node;
    mod ordering;
    mod outbound;
    mod pair;
    mod passive;
    mod policy;
    mod register;
    mod replica;
    mod replica_frames;
    mod replica_full;
    mod replica_pace;
    mod secured;
    mod sips;
    mod steering;
    mod stream;
    mod twin;
    mod view;
    mod websocket;
}
