//! Rules as the file names them: `[[policy]]`, once for each, in their order.

use super::forms;
use super::key::{Key, Kind, Unit, Wrong};
use sipfed_proto::settings::{Matching, PathMode, Pattern, PingWith, Rule};
use sipfed_proto::{Transport, limits};
use sipfed_sip::{HeaderName, Method};

/// The section's name in messages and in the reference.
pub(super) const SECTION: &str = "policy";
/// Items of a condition that is a list.
const ITEMS_COUNT_MAX: usize = 64;
/// The longest name of a parameter to match by.
const PARAMETER_BYTES_MAX: usize = 64;

/// What one table has said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft(Rule);

impl Draft {
    pub(super) fn rule(self) -> Rule {
        self.0
    }
}

/// A key that is `true`, `false`, or left out.
macro_rules! optional_flag {
    ($name:literal, $what:expr, $($place:ident).+) => {
        Key {
            section: SECTION,
            name: $name,
            what: $what,
            kind: Kind::Wish { get: |draft| draft.0.$($place).+, set: |draft, value| draft.0.$($place).+ = Some(value) },
        }
    };
}

/// Every key of such a table: first what it holds for, then what it says.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key {
        section: SECTION,
        name: "name",
        what: "What explanations call it.",
        kind: Kind::Text {
            form: "any text",
            get: |draft| Some(draft.0.name.clone()).filter(|name| !name.is_empty()),
            set: |draft, text| {
                text.clone_into(&mut draft.0.name);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "methods",
        what: "It holds for requests of these methods.",
        kind: Kind::List {
            form: "methods, such as \"REGISTER\"",
            count_max: ITEMS_COUNT_MAX,
            get: |draft| {
                let set = draft.0.when.methods;
                let known = Method::KNOWN.into_iter().filter(|method| set & method.bit() != 0);
                known.map(|method| String::from_utf8_lossy(method.as_bytes()).into_owned()).collect()
            },
            clear: |draft| draft.0.when.methods = 0,
            add: |draft, text| {
                let method = Method::from_token(text.as_bytes());
                if matches!(method, Method::Other(_)) {
                    let known = Method::KNOWN.map(|method| String::from_utf8_lossy(method.as_bytes()).into_owned());
                    return Err(Wrong::new(
                        "not a method that is known here",
                        format!("write one of {}", known.join(", ")),
                    ));
                }
                draft.0.when.methods |= method.bit();
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "domains",
        what: "For these domains: of To in a REGISTER, else of the Request-URI.",
        kind: Kind::List {
            form: "host names or IP addresses",
            count_max: ITEMS_COUNT_MAX,
            get: |draft| draft.0.when.domains.clone(),
            clear: |draft| draft.0.when.domains.clear(),
            add: |draft, text| {
                draft.0.when.domains.push(forms::domain(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "sources",
        what: "For requests that come from these networks.",
        kind: Kind::List {
            form: "networks, such as \"192.0.2.0/24\" or \"2001:db8::/32\"",
            count_max: ITEMS_COUNT_MAX,
            get: |draft| draft.0.when.sources.iter().map(ToString::to_string).collect(),
            clear: |draft| draft.0.when.sources.clear(),
            add: |draft, text| {
                draft.0.when.sources.push(forms::network(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "transports",
        what: "For requests that come over these transports.",
        kind: Kind::List {
            form: "\"udp\", \"tcp\" or \"tls\"",
            count_max: ITEMS_COUNT_MAX,
            get: |draft| draft.0.when.transports.iter().map(|transport| transport.uri_token().to_owned()).collect(),
            clear: |draft| draft.0.when.transports.clear(),
            add: |draft, text| {
                draft.0.when.transports.push(transport(text)?);
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "user_agent",
        what: "For requests whose User-Agent is like this, in any case; `*` stands for anything, `?` for one character, and `|` \
               stands between patterns of which one is enough.",
        kind: Kind::Text {
            form: "a pattern, such as \"*snom*\" or \"snom*|yealink*\"",
            get: |draft| draft.0.when.user_agent.as_ref().map(Pattern::text),
            set: |draft, text| {
                draft.0.when.user_agent = Some(Pattern::new(text));
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "header",
        what: "For requests that have this header field with a value that is like this.",
        kind: Kind::Text {
            form: "a name, a colon and a pattern, such as \"X-Realm: wholesale*\"",
            get: |draft| draft.0.when.header.as_ref().map(|(name, like)| format!("{name}: {}", like.text())),
            set: |draft, text| {
                draft.0.when.header = Some(header(text)?);
                Ok(())
            },
        },
    },
    optional_flag!(
        "natted",
        "For phones that show a sign of a NAT (`nat.tests`), or for those that show none.",
        when.natted
    ),
    optional_flag!(
        "from_cluster",
        "For requests that another node of the federation has sent, or for all others.",
        when.from_cluster
    ),
    Key {
        section: SECTION,
        name: "refuse",
        what: "It refuses with this status code and reason phrase.",
        kind: Kind::Text {
            form: "a status code and a phrase, such as \"403 Forbidden\"",
            get: |draft| draft.0.then.refuse.as_ref().map(|(code, phrase)| format!("{code} {phrase}")),
            set: |draft, text| {
                draft.0.then.refuse = Some(refusal(text)?);
                Ok(())
            },
        },
    },
    optional_flag!(
        "fix_contact",
        "Whether the Contact of a phone behind a NAT is written as where it was seen, towards who is called (OpenSIPS's `fix_nated_contact`).",
        then.fix_contact
    ),
    Key {
        section: SECTION,
        name: "ping",
        what: "What the phone that registers is pinged with, instead of what `nat` says; `off` for nothing.",
        kind: Kind::MaybeChoice {
            words: &["off", "request", "bytes"],
            get: |draft| {
                draft.0.then.ping.map(|ping| match ping {
                    PingWith::Nothing => "off",
                    PingWith::Request => "request",
                    PingWith::Bytes => "bytes",
                })
            },
            set: |draft, word| {
                draft.0.then.ping = Some(match word {
                    "request" => PingWith::Request,
                    "bytes" => PingWith::Bytes,
                    _ => PingWith::Nothing,
                });
            },
        },
    },
    optional_flag!(
        "remove_on_timeout",
        "Whether its binding ends when it does not answer, instead of what `nat` says.",
        then.remove_on_timeout
    ),
    Key {
        section: SECTION,
        name: "path",
        what: "What becomes of the Path of a REGISTER: it is stored, stored where the phone says that it supports it and else \
               refused with 420 (OpenSIPS's `path-lazy`, `path-strict`), or passed over.",
        kind: Kind::MaybeChoice {
            words: &["lazy", "strict", "off"],
            get: |draft| {
                draft.0.then.path.map(|path| match path {
                    PathMode::Lazy => "lazy",
                    PathMode::Strict => "strict",
                    PathMode::Off => "off",
                })
            },
            set: |draft, word| {
                draft.0.then.path = Some(match word {
                    "strict" => PathMode::Strict,
                    "off" => PathMode::Off,
                    _ => PathMode::Lazy,
                });
            },
        },
    },
    optional_flag!(
        "path_received",
        "Whether a phone is behind a NAT, and was seen there, where the first URI of its Path has a parameter `received` \
         (OpenSIPS's `path-received`): for edge proxies that do not ping themselves.",
        then.path_received
    ),
    Key {
        section: SECTION,
        name: "matching_mode",
        what: "What a Contact without an instance is matched by with those that are bound: its URI, that and its Call-ID, or \
               this parameter of its URI (OpenSIPS's `matching-mode`, there 0, 1 and `<name>`).",
        kind: Kind::Text {
            form: "\"contact\", \"contact-callid\" or a parameter, such as \"<rinstance>\"",
            get: |draft| draft.0.then.matching.as_ref().map(matching_text),
            set: |draft, text| {
                draft.0.then.matching = Some(matching(text)?);
                Ok(())
            },
        },
    },
    optional_flag!(
        "force_registration",
        "Whether a contact too many takes the place of the oldest, instead of what `registrar.overflow` says (`force-registration`).",
        then.force_registration
    ),
    optional_flag!(
        "only_request_contacts",
        "Whether the 200 names only the contacts that the REGISTER has named (`only-request-contacts`).",
        then.only_request_contacts
    ),
    Key {
        section: SECTION,
        name: "max_contacts",
        what: "Most contacts of the AoR (`max-contacts`).",
        kind: Kind::Number {
            min: 1,
            max: limits::AOR_BINDINGS_COUNT_MAX as u64,
            unit: Unit::Things,
            get: |draft| draft.0.then.max_contacts.map(u64::from),
            set: |draft, value| draft.0.then.max_contacts = Some(value as u8),
        },
    },
    Key {
        section: SECTION,
        name: "min_expires_s",
        what: "Fewest seconds that are granted (`min-expires`): who asks for fewer is granted these, and not refused with 423.",
        kind: Kind::Number {
            min: 1,
            max: limits::EXPIRES_S_MAX as u64,
            unit: Unit::Seconds,
            get: |draft| draft.0.then.min_expires_s.map(u64::from),
            set: |draft, value| draft.0.then.min_expires_s = Some(value as u32),
        },
    },
    Key {
        section: SECTION,
        name: "max_expires_s",
        what: "Most seconds that are granted (`max-expires`).",
        kind: Kind::Number {
            min: 1,
            max: limits::EXPIRES_S_MAX as u64,
            unit: Unit::Seconds,
            get: |draft| draft.0.then.max_expires_s.map(u64::from),
            set: |draft, value| draft.0.then.max_expires_s = Some(value as u32),
        },
    },
    optional_flag!(
        "global",
        "Whether other homes of the AoR are asked for (lookup's `global`); they are unless this is false.",
        then.global
    ),
    optional_flag!(
        "no_branches",
        "Whether the request goes to the most wanted contact alone (`no-branches`).",
        then.no_branches
    ),
    optional_flag!(
        "sort_by_latency",
        "Whether of contacts with one q the one that answers pings fastest comes first (`sort-by-latency`).",
        then.sort_by_latency
    ),
    Key {
        section: SECTION,
        name: "max_ping_latency_ms",
        what: "Contacts whose last answer to a ping took longer are left out (`max-ping-latency`, there in microseconds).",
        kind: Kind::Number {
            min: 1,
            max: 60_000,
            unit: Unit::Milliseconds,
            get: |draft| draft.0.then.max_latency_ms.map(u64::from),
            set: |draft, value| draft.0.then.max_latency_ms = Some(value as u16),
        },
    },
    Key {
        section: SECTION,
        name: "contact_user_agent",
        what: "Contacts whose User-Agent is not like this, in any case, are left out (`ua-filtering`, `case-insensitive`).",
        kind: Kind::Text {
            form: "a pattern, such as \"*snom*\" or \"snom*|yealink*\"",
            get: |draft| draft.0.then.contact_agent.as_ref().map(Pattern::text),
            set: |draft, text| {
                draft.0.then.contact_agent = Some(Pattern::new(text));
                Ok(())
            },
        },
    },
    Key {
        section: SECTION,
        name: "last",
        what: "Whether no further rule is looked at.",
        kind: Kind::Flag { get: |draft| draft.0.then.is_last, set: |draft, value| draft.0.then.is_last = value },
    },
];

/// A transport, as a listener names it.
fn transport(text: &str) -> Result<Transport, Wrong> {
    let found = Transport::ALL.into_iter().find(|transport| transport.uri_token() == text);
    let known = Transport::ALL.map(Transport::uri_token).join(", ");
    found.ok_or_else(|| Wrong::new("not a transport", format!("write one of {known}")))
}

fn header(text: &str) -> Result<(String, Pattern), Wrong> {
    let right = "write a name, a colon and a pattern, such as \"X-Realm: wholesale*\"";
    let (name, like) = text.split_once(':').ok_or_else(|| Wrong::new("no header field with a pattern", right))?;
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(Wrong::new("not the name of a header field", right));
    }
    // A refresh is not looked at any further where it differs from the one before in these alone.
    if matches!(HeaderName::from_name(name.as_bytes()), HeaderName::Via | HeaderName::CSeq) {
        return Err(Wrong::new("every request has another one", "name a header field other than Via and CSeq"));
    }
    Ok((name.to_owned(), Pattern::new(like.trim())))
}

fn matching(text: &str) -> Result<Matching, Wrong> {
    let right = "write \"contact\", \"contact-callid\" or a parameter of the Contact's URI, such as \"<rinstance>\"";
    match text {
        "contact" => return Ok(Matching::Contact),
        "contact-callid" => return Ok(Matching::ContactAndCallId),
        _ => {}
    }
    let name = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    let name = name.ok_or_else(|| Wrong::new("nothing that a Contact is matched by", right))?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!*_+'~".contains(&byte);
    if name.is_empty() || name.len() > PARAMETER_BYTES_MAX || !name.bytes().all(is_token) {
        return Err(Wrong::new("not the name of a parameter of up to 64 characters", right));
    }
    Ok(Matching::Parameter(name.to_ascii_lowercase()))
}

fn matching_text(matching: &Matching) -> String {
    match matching {
        Matching::Contact => "contact".to_owned(),
        Matching::ContactAndCallId => "contact-callid".to_owned(),
        Matching::Parameter(name) => format!("<{name}>"),
    }
}

fn refusal(text: &str) -> Result<(u16, String), Wrong> {
    let right = "write a status code from 400 to 699 and a phrase, such as \"403 Forbidden\"";
    let (code, phrase) =
        text.trim().split_once(' ').ok_or_else(|| Wrong::new("no status code with a phrase", right))?;
    let code = code.parse().ok().filter(|code| (400..700).contains(code));
    let code = code.ok_or_else(|| Wrong::new("not the status code of a refusal", right))?;
    Ok((code, forms::header_text(phrase)?))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use sipfed_proto::Transport;
    use sipfed_proto::settings::{Matching, PathMode, PingWith, Rule};

    fn rules(text: &str) -> Vec<Rule> {
        Config::parse(text).unwrap().settings().policy
    }

    #[test]
    fn rules_are_read_in_their_order_with_all_that_they_say() {
        let rules = rules(
            "[[policy]]\nname = \"edge\"\nsources = [\"192.0.2.7/24\", \"2001:db8::1\"]\ntransports = [\"tcp\"]\n\
             header = \"X-Realm: Whole*\"\nnatted = false\nping = \"off\"\npath = \"strict\"\n\
             path_received = true\nmatching_mode = \"<RInstance>\"\nmax_contacts = 3\nlast = true\n\
             [[policy]]\nmatching_mode = \"contact-callid\"\n\
             methods = [\"INVITE\", \"MESSAGE\"]\ndomains = [\"Example.COM\"]\nrefuse = \"480 Not Now\"\n",
        );
        let [edge, other] = rules.as_slice() else { panic!("{rules:?}") };
        assert_eq!(edge.name, "edge");
        let sources: Vec<String> = edge.when.sources.iter().map(ToString::to_string).collect();
        assert_eq!(sources, ["192.0.2.0/24", "2001:db8::1/128"]);
        assert_eq!(edge.when.transports, [Transport::Tcp]);
        let (header, like) = edge.when.header.as_ref().unwrap();
        assert_eq!((header.as_str(), like.text().as_str(), edge.when.natted), ("X-Realm", "whole*", Some(false)));
        let then = &edge.then;
        assert_eq!((then.ping, then.path), (Some(PingWith::Nothing), Some(PathMode::Strict)));
        assert_eq!(then.matching, Some(Matching::Parameter("rinstance".to_owned())));
        assert_eq!((then.path_received, other.then.path_received), (Some(true), None));
        assert_eq!(other.then.matching, Some(Matching::ContactAndCallId));
        assert_eq!((then.max_contacts, then.is_last, then.force_registration), (Some(3), true, None));
        assert_eq!(other.when.domains, ["example.com"]);
        assert_eq!(other.then.refuse, Some((480, "Not Now".to_owned())));
        assert_eq!(other.when.methods.count_ones(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_told_with_what_would_be_right() {
        for (line, what, right) in [
            ("sources = [\"192.0.2.0/33\"]", "not a network", "192.0.2.0/24"),
            ("transports = [\"sctp\"]", "not a transport", "udp, tcp"),
            ("methods = [\"INVIT\"]", "not a method", "INVITE"),
            ("header = \"Via: *\"", "every request has another one", "other than Via"),
            ("header = \"X-Realm\"", "no header field with a pattern", "X-Realm: wholesale*"),
            ("refuse = \"200 OK\"", "not the status code of a refusal", "403 Forbidden"),
            ("refuse = \"403\"", "no status code with a phrase", "403 Forbidden"),
            ("matching_mode = \"1\"", "nothing that a Contact is matched by", "contact-callid"),
            ("matching_mode = \"<>\"", "not the name of a parameter", "<rinstance>"),
            ("matching_mode = \"<a;b>\"", "not the name of a parameter", "<rinstance>"),
            ("path = \"lax\"", "not one of its words", "lazy"),
            ("nated = true", "", "natted"),
        ] {
            let problems = Config::parse(&format!("[[policy]]\n{line}\n")).unwrap_err();
            let told = format!("{:?}", problems[0]);
            assert!(told.contains(what) && told.contains(right), "{line}: {told}");
        }
        let many = "[[policy]]\n".repeat(sipfed_proto::limits::RULES_COUNT_MAX + 1);
        assert!(Config::parse(&many).unwrap_err()[0].what.contains("too many rules"));
        assert!(Config::parse("[policy]\nname = \"x\"\n").unwrap_err()[0].right.contains("[[policy]]"));
    }
}
