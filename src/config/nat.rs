//! Phones behind NATs: what tells that one is, and how it is pinged.

use super::cluster::ClusterConfig;
use super::forms;
use super::key::{Key, Kind, Unit, Wrong};
use sipfed_proto::settings::{NatSettings, Ping, PingBytes, Sign, Signs};

/// The keys of the section `nat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NatConfig {
    /// All but what a ping is and does.
    settings: NatSettings,
    /// Whether a phone is pinged with requests, and not with bytes.
    pub(crate) sends_requests: bool,
    /// Whether a binding ends when its phone does not answer.
    pub(crate) remove_on_timeout: bool,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self { settings: NatSettings::default(), sends_requests: true, remove_on_timeout: false }
    }
}

impl NatConfig {
    /// For the shards.
    pub(crate) fn settings(&self) -> NatSettings {
        let mut settings = self.settings.clone();
        settings.ping.kind =
            if self.sends_requests { Ping::Request { ends_unanswered: self.remove_on_timeout } } else { Ping::Bytes };
        settings
    }
}

/// Its name in the file.
pub(super) const SECTION: &str = "nat";
/// Status codes that `ping_ignored_codes` may name.
const IGNORED_CODES_COUNT_MAX: usize = 16;

/// Every key of the section, and what the registrar tells phones that keep their NAT open themselves.
pub(super) const KEYS: &[Key<ClusterConfig>] = &[
    Key {
        section: SECTION,
        name: "tests",
        what: "The signs of a NAT that count, by the names of OpenSIPS's `nat_uac_test`; one is enough. A phone behind a NAT is \
               reached where its REGISTER came from, and not at its Contact.",
        kind: Kind::List {
            form: "\"private-contact\", \"diff-ip-src-via\", \"private-via\", \"private-sdp\", \"diff-port-src-via\", \
                   \"diff-ip-src-contact\", \"diff-port-src-contact\" or \"carrier-grade-nat\"",
            count_max: Sign::ALL.len(),
            get: |config| config.nat.settings.signs.iter().map(|sign| sign.word().to_owned()).collect(),
            clear: |config| config.nat.settings.signs = Signs::NONE,
            add: |config, text| {
                let sign = Sign::ALL.into_iter().find(|sign| sign.word() == text);
                let sign = sign.ok_or_else(|| {
                    let words = Sign::ALL.map(Sign::word).join(", ");
                    Wrong::new("not a sign of a NAT", format!("write one of {words}"))
                })?;
                config.nat.settings.signs = config.nat.settings.signs.with(sign);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "ping_interval_s",
        what: "Time from one ping of a phone to the next (OpenSIPS's `natping_interval`); 0 for no pings at all. They are spread \
               evenly over it, and are left out where the phone has sent something within half of it: so nothing rests longer \
               than one and a half.",
        kind: Kind::Number {
            min: 0,
            max: 3600,
            unit: Unit::Seconds,
            get: |config| Some(config.nat.settings.ping.interval_s.into()),
            set: |config, value| config.nat.settings.ping.interval_s = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "ping_interval_min_s",
        what: "The shortest interval that is learned for the phones of a network, where REGISTER requests from new ports tell that \
               NATs had closed between two pings; 0 for none shorter than `ping_interval_s`.",
        kind: Kind::Number {
            min: 0,
            max: 3600,
            unit: Unit::Seconds,
            get: |config| Some(config.nat.settings.ping.interval_min_s.into()),
            set: |config, value| config.nat.settings.ping.interval_min_s = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "ping_interval_max_s",
        what: "The longest interval that is learned for the phones of a network, where pings are answered; 0 for none longer than \
               `ping_interval_s`. To find out how long NATs hold, some mappings are lost.",
        kind: Kind::Number {
            min: 0,
            max: 3600,
            unit: Unit::Seconds,
            get: |config| Some(config.nat.settings.ping.interval_max_s.into()),
            set: |config, value| config.nat.settings.ping.interval_max_s = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "ping_natted_only",
        what: "Whether only phones behind a NAT are pinged (`ping_nated_only`).",
        kind: Kind::Flag {
            get: |config| config.nat.settings.ping.only_natted,
            set: |config, value| config.nat.settings.ping.only_natted = value,
        },
    },
    Key {
        section: SECTION,
        name: "ping_with",
        what: "What a phone is pinged with: a request, which it answers, or a few bytes, which only keep the NAT open (what \
               `sipping_bflag` decides). Over a stream, pings go over the connection that is there, and none is opened.",
        kind: Kind::Choice {
            words: &["request", "bytes"],
            get: |config| if config.nat.sends_requests { "request" } else { "bytes" },
            set: |config, word| config.nat.sends_requests = word == "request",
        },
    },
    Key {
        section: SECTION,
        name: "ping_method",
        what: "The method of these requests (`sipping_method`).",
        kind: Kind::Text {
            form: "a method, such as \"OPTIONS\"",
            get: |config| Some(config.nat.settings.ping.method.clone()),
            set: |config, text| {
                config.nat.settings.ping.method = forms::method(text)?;
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "ping_from",
        what: "The URI in their From (`sipping_from`).",
        kind: Kind::Text {
            form: "a SIP URI, such as \"sip:pinger@example.com\"",
            get: |config| Some(config.nat.settings.ping.from.clone()),
            set: |config, text| {
                config.nat.settings.ping.from = forms::sip_uri(text)?;
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "ping_bytes",
        what: "What these bytes are over UDP: four that are 0, as OpenSIPS sends them, or two line ends (RFC 5626 §3.5.1), which \
               some phones answer. Over a stream they are two line ends.",
        kind: Kind::Choice {
            words: &["zeros", "crlf"],
            get: |config| match config.nat.settings.ping.bytes {
                PingBytes::Zeros => "zeros",
                PingBytes::Crlf => "crlf",
            },
            set: |config, word| {
                config.nat.settings.ping.bytes = if word == "crlf" { PingBytes::Crlf } else { PingBytes::Zeros };
            },
        },
    },
    Key {
        section: SECTION,
        name: "remove_on_timeout",
        what: "Whether a binding ends when its phone has not answered `max_pings_lost` pings in a row (what \
               `remove_on_timeout_bflag` decides).",
        kind: Kind::Flag {
            get: |config| config.nat.remove_on_timeout,
            set: |config, value| config.nat.remove_on_timeout = value,
        },
    },
    Key {
        section: SECTION,
        name: "max_pings_lost",
        what: "Pings in a row that a phone may leave without an answer before its binding ends.",
        kind: Kind::Number {
            min: 1,
            max: 100,
            unit: Unit::Things,
            get: |config| Some(config.nat.settings.ping.lost_max.into()),
            set: |config, value| config.nat.settings.ping.lost_max = value as u8,
        },
    },
    Key {
        section: SECTION,
        name: "ping_threshold_ms",
        what: "How long the last of these pings is waited for (`ping_threshold`); the others are until the next one.",
        kind: Kind::Number {
            min: 100,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |config| Some(config.nat.settings.ping.threshold_ms.into()),
            set: |config, value| config.nat.settings.ping.threshold_ms = value as u32,
        },
    },
    Key {
        section: SECTION,
        name: "ping_ignored_codes",
        what: "Status codes that are no answer (`sipping_ignore_rpl_codes`): something before the phone says them.",
        kind: Kind::List {
            form: "status codes, such as \"503\"",
            count_max: IGNORED_CODES_COUNT_MAX,
            get: |config| config.nat.settings.ping.ignored_codes.iter().map(ToString::to_string).collect(),
            clear: |config| config.nat.settings.ping.ignored_codes.clear(),
            add: |config, text| {
                let code = text.parse().ok().filter(|code| (100..700).contains(code));
                let code = code.ok_or_else(|| Wrong::new("not a status code", "write a number from 100 to 699"))?;
                config.nat.settings.ping.ignored_codes.push(code);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "ping_packets_per_s_max",
        what: "Most pings that the node sends in a second; 0 for any number. What is too much is put off, and left out where no \
               place is free before the next turn.",
        kind: Kind::Number {
            min: 0,
            max: 10_000_000,
            unit: Unit::Things,
            get: |config| Some(config.nat.settings.ping.packets_per_s_max.into()),
            set: |config, value| config.nat.settings.ping.packets_per_s_max = value as u32,
        },
    },
    Key {
        section: "registrar",
        name: "flow_timer_s",
        what: "What phones that keep flows (RFC 5626) are told as the longest silence on them (Flow-Timer); 0 for nothing, so that they \
               take what the RFC says.",
        kind: Kind::Number {
            min: 0,
            max: 3600,
            unit: Unit::Seconds,
            get: |config| Some(config.registrar.flow_timer_s.into()),
            set: |config, value| config.registrar.flow_timer_s = value as u32,
        },
    },
];
