//! What happened in one shard, as plain integers of that shard; the control plane adds them up.
//!
//! Each name says what rose. Refusals and drops have a reason each, so that none is silent.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:ident;)+) => {
        /// The counters of one shard.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[doc = $doc])+ pub $name: u64,)+ }

        impl Counters {
            /// Every counter with its name and kind, in the order of this page.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, Kind, u64)> {
                [$((stringify!($name), Kind::$kind, self.$name),)+].into_iter()
            }

            /// Adds those of another shard.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

/// What a counter tells an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work done.
    Work,
    /// A request that was answered with a refusal.
    Refused,
    /// Something that was dropped without an answer.
    Dropped,
}

counters! {
    /// Messages taken from sockets of this shard.
    Work received;
    /// Messages that another shard received and handed over.
    Work steered_in;
    /// Messages received here and handed to their owner.
    Work steered_out;
    /// Messages written to the outbox.
    Work sent;
    /// REGISTER requests answered 200.
    Work registers_accepted;
    /// Of these, refreshes that changed only expiry and CSeq.
    Work registers_refreshed;
    /// Bindings created.
    Work bindings_created;
    /// Bindings removed by their user.
    Work bindings_removed;
    /// Bindings whose time ran out.
    Work bindings_expired;
    /// Bindings evicted to make room for a newer one of the same AoR.
    Work bindings_evicted;
    /// Bindings whose connection ended.
    Work bindings_flow_lost;
    /// Bindings whose phone has not answered `nat.max_pings_lost` pings in a row.
    Work bindings_unanswered;
    /// Pings sent to phones.
    Work pings_sent;
    /// Of these, requests that were answered.
    Work pings_answered;
    /// Answers that came later than `nat.ping_threshold_ms`, or after the next ping; the phone counts as heard.
    Work pings_answered_late;
    /// Answers that `nat.ping_ignored_codes` names: the ping stays open.
    Work pings_ignored;
    /// Requests that were not answered before the next ping, or before `nat.ping_threshold_ms` where that ended a binding.
    Work pings_lost;
    /// Pings that were left out since something had come from the phone within half of the interval.
    Work pings_spared;
    /// Networks whose phones are pinged more often than before, since their NATs had closed.
    Work ping_intervals_shortened;
    /// Networks whose phones are pinged less often than before, since their NATs had held.
    Work ping_intervals_lengthened;
    /// Pings that were put off since more would have left than `nat.ping_packets_per_s_max`.
    Work pings_put_off;
    /// Pings that could not be sent before their next turn, since more would have left than `nat.ping_packets_per_s_max`.
    Dropped pings_left_out;
    /// Pings to phones that no way leads to, or that registered at an address which the host does not have now.
    Dropped pings_without_way;
    /// Requests proxied.
    Work requests_proxied;
    /// Branches that requests were forked into.
    Work branches_created;
    /// Of these, branches to other homes of the AoR.
    Work branches_to_homes;
    /// Requests that came from another node of the federation and were looked up here alone.
    Work requests_from_peers;
    /// Requests that waited for the directory.
    Work lookups_asked;
    /// Of these, requests that joined a question which was open already.
    Work lookups_joined;
    /// Lookups that did without a question, since a moment ago nobody else had the AoR.
    Work lookups_remembered;
    /// Requests that waited for the name of a next hop.
    Work requests_parked;
    /// Names that were asked for.
    Work names_asked;
    /// Branches that went on to another server, or over another transport, since nothing had come of the one before.
    Work branches_failed_over;
    /// Branches that went over TCP since they were longer than `proxy.datagram_bytes_max`.
    Work branches_too_long;
    /// Retransmissions that a server transaction absorbed.
    Work retransmissions_absorbed;
    /// Retransmissions that a client transaction sent.
    Work retransmissions_sent;
    /// Client transactions that timed out.
    Work branches_timed_out;
    /// Responses to what another node of the same home has sent, passed on since the home has moved.
    Work responses_for_twins;
    /// CANCELs of what another node of the same home has sent, carried out since the home has moved.
    Work cancels_for_twins;
    /// Bindings written down whole for the log: new ones, and each once a generation.
    Work journal_bindings;
    /// Bytes of these.
    Work journal_binding_bytes;
    /// Refreshes written down for the log.
    Work journal_refreshes;
    /// Bytes of these.
    Work journal_refresh_bytes;
    /// Bindings that another node of the same home has made or replaced, and that were taken over.
    Work replica_bindings;
    /// Refreshes of another node of the same home that were taken over.
    Work replica_refreshes;
    /// Bindings that another node of the same home has removed, and that were removed here.
    Work replica_removals;
    /// Refreshes of another node of the same home whose binding was another one here; the binding itself follows.
    Work replica_gaps;
    /// Keep-alives (RFC 5626 §3.5.1, §4.4.1 and bare CRLF) seen.
    Work keepalives;
    /// Requests refused with 400: they break the grammar or miss a header field.
    Refused refused_malformed;
    /// Requests refused because of their content (403 to 485, 505 and such).
    Refused refused_request;
    /// REGISTER requests refused.
    Refused registers_refused;
    /// Requests refused with 503 since a limit of this shard was reached.
    Refused refused_overload;
    /// REGISTER requests refused with 503 since what they change could not be made durable.
    Refused refused_not_durable;
    /// Requests refused with 503 since the node is draining.
    Refused refused_draining;
    /// Requests that ran in a loop (482, 483) or had no breadth left (440).
    Refused refused_loop;
    /// Lookups that the directory did not answer in time: the request went on with what was known.
    Refused lookups_unanswered;
    /// Requests answered 480 with Retry-After since nobody could say whose home the AoR is.
    Refused refused_unknown_home;
    /// Names that were not answered within `names.timeout_ms`: requests went on without.
    Refused names_unanswered;
    /// Requests that could not wait for a name, since too many did or too many names were asked for.
    Refused names_refused;
    /// Next hops that said nothing for too long (`proxy.failover_ms`) while there was another one to try.
    Refused next_hops_given_up;
    /// Branches to homes that said nothing for too long (`directory.home_timeout_ms`).
    Refused homes_given_up;
    /// Homes that were left out since they had said nothing a moment ago.
    Refused homes_skipped;
    /// Homes that were left out since their nodes are known to be down.
    Refused homes_skipped_down;
    /// Homes named by the directory that no request can be sent to.
    Dropped homes_unusable;
    /// Changes that were not noted for the directory for want of room; a reconcile mends them.
    Dropped home_changes_forgotten;
    /// Messages that are not SIP, or too broken to answer.
    Dropped dropped_unparsable;
    /// Responses whose branch is not, or no longer, known here (RFC 6026 §7).
    Dropped dropped_stray_response;
    /// Responses that break the grammar.
    Dropped dropped_malformed_response;
    /// ACK requests that match nothing and lead nowhere.
    Dropped dropped_stray_ack;
    /// Messages longer than the limit, or cut by the kernel.
    Dropped dropped_too_long;
    /// Messages to an address that may not be sent to (multicast, broadcast, port 0).
    Dropped dropped_bad_destination;
    /// Datagrams that the kernel did not take although asked again.
    Dropped dropped_send_full;
    /// Datagrams that the kernel refused for another reason.
    Dropped dropped_send_error;
    /// Datagrams that the kernel dropped before they were read, its receive buffer being full.
    Dropped dropped_receive_full;
    /// Messages to another shard whose queue was full.
    Dropped dropped_mesh_full;
    /// Connections refused because of their limit.
    Dropped connections_refused;
    /// Connections closed since they sent what cannot be framed.
    Dropped connections_broken;
    /// Connections closed since nothing came for too long.
    Work connections_idled;
    /// Connections accepted.
    Work connections_accepted;
    /// Connections opened.
    Work connections_opened;
    /// Handshakes of TLS that were completed.
    Work tls_handshakes;
    /// Connections closed since what came was no TLS, or TLS that was not agreed on.
    Dropped tls_failed;
    /// Connections closed since the phone showed no certificate, or not a good one, where `tls.client` asks for it.
    Dropped tls_client_unverified;
    /// Connections closed since their handshake of TLS took too long.
    Dropped tls_timed_out;
    /// Connections refused since too many handshakes of TLS were under way.
    Dropped tls_refused;
    /// Connections within TLS that were opened to peers who are who they should be.
    Work tls_connects;
    /// Connections that were opened and came to no TLS: the handshake failed or took too long, or too many were under way.
    Dropped tls_connects_failed;
    /// Of connections that were opened, those to peers whose certificate is not what it should be; nothing was sent to them.
    Dropped tls_unverified;
    /// Connections that have become WebSockets.
    Work ws_upgrades;
    /// Connections closed since what came was no request of HTTP/1.1, or none that a WebSocket can begin with.
    Dropped ws_malformed;
    /// Connections closed since their request for a WebSocket was longer than 8 KiB, or had more than 64 header fields.
    Dropped ws_too_long;
    /// Requests of HTTP refused with 426 since they asked for no WebSocket, or for another version of it.
    Dropped ws_no_upgrade;
    /// Requests for a WebSocket refused with 400 since they did not offer the subprotocol `sip`.
    Dropped ws_no_subprotocol;
    /// Requests for a WebSocket refused with 403 since `ws.origins` does not name their Origin.
    Dropped ws_origin_refused;
    /// Connections closed since their request for a WebSocket took too long.
    Dropped ws_timed_out;
    /// Connections refused since too many were waiting for their request.
    Dropped ws_refused;
    /// Turns whose changes the log did not take at once, since the disk was behind.
    Dropped log_stalls;
    /// Turns whose changes the log refused: the disk is full, or has failed.
    Dropped log_failures;
    /// Replies to REGISTER requests that waited for the disk among too many.
    Dropped dropped_not_durable;
    /// Bindings of another node of the same home that were not taken over, since there is no room.
    Dropped replica_refused;
    /// Removed bindings that are remembered no more, since of one AoR too many were removed after them: a late REGISTER, or
    /// another node of the same home that has not heard of it, may bring one back.
    Dropped removals_given_up;
    /// Messages to a connection that was gone or could not take more.
    Dropped dropped_flow_gone;
}
