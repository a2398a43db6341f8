//! Messages as they are meant, and two ways of writing them: plainly, and as wildly as the grammar allows.

use crate::reading::{AddressReading, ParamList, Reading, UriReading, ViaReading};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::fmt::Write;

/// A message as it is meant. Its parts are texts in their plain form.
#[derive(Clone, Debug)]
pub(crate) struct Meant {
    pub(crate) method: String,
    pub(crate) uri: UriReading,
    pub(crate) vias: Vec<ViaReading>,
    pub(crate) from: AddressReading,
    pub(crate) to: AddressReading,
    pub(crate) contacts: Vec<AddressReading>,
    pub(crate) cseq: u32,
    pub(crate) call_id: String,
    pub(crate) max_forwards: Option<u8>,
    pub(crate) expires: Option<u32>,
    pub(crate) body: Vec<u8>,
}

fn host(ipv6: bool) -> BoxedStrategy<String> {
    let name = "[a-z0-9][a-z0-9-]{0,8}[a-z0-9]\\.[a-z]{2,5}";
    let v4 = any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string());
    if ipv6 {
        let v6 = any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string());
        prop_oneof![name, v4, v6].boxed()
    } else {
        prop_oneof![name, v4].boxed()
    }
}

/// Parameters with names of their own each, so that nobody reads one twice.
fn params(value: &'static str) -> impl Strategy<Value = ParamList> {
    let param = ("[a-z-]{1,8}", option::of(value));
    vec(param, 0..3).prop_map(|params| {
        let named = |(i, (name, value)): (usize, (String, Option<String>))| (format!("{name}{i}"), value);
        params.into_iter().enumerate().map(named).collect()
    })
}

/// `daring` URIs have what rsip cannot read.
fn uri(daring: bool) -> BoxedStrategy<UriReading> {
    if !daring {
        return sip_uri(daring).boxed();
    }
    let tel = "\\+?[0-9A-F*#().-]{0,6}[0-9]".prop_map(|number| UriReading {
        scheme: "tel".into(),
        host: number,
        ..UriReading::default()
    });
    prop_oneof![6 => sip_uri(daring), 1 => tel].boxed()
}

fn sip_uri(daring: bool) -> impl Strategy<Value = UriReading> {
    let user = if daring {
        "[a-zA-Z0-9._~&=+$,;?/-]{1,10}(%[0-9A-F]{2})?"
    } else {
        "[a-zA-Z0-9_~&=+$,;?/-]{1,10}(%[0-9A-F]{2})?"
    };
    let value = if daring { "[a-z0-9:/+$&\\[\\]]{1,6}" } else { "[a-z0-9!%*-]{1,6}" };
    // A percent sign is an escape in a URI and a character in a token.
    let params = params(value).prop_map(|params| {
        let clean =
            |(name, value): (String, Option<String>)| (name, value.map(|v| v.replace('%', "%41").to_lowercase()));
        params.into_iter().map(clean).collect::<ParamList>()
    });
    let lr = any::<bool>().prop_map(|lr| if lr { vec![("lr".to_owned(), None)] } else { Vec::new() });
    let scheme = prop_oneof![Just("sip"), Just("sips")];
    let password = option::weighted(0.2, "[a-z0-9&=+$,]{0,5}");
    (scheme, option::weighted(0.9, (user, password)), host(daring), option::of(any::<u16>()), params, lr).prop_map(
        |(scheme, user, host, port, mut params, lr)| {
            params.extend(lr);
            let (user, password) = user.map_or((None, None), |(user, password)| (Some(user), password));
            UriReading { scheme: scheme.into(), user, password, host, port, params }
        },
    )
}

fn display(daring: bool) -> impl Strategy<Value = String> {
    let quoted = if daring {
        "\"([ !#-\\[\\]-~äé]|\\\\[ -~]){0,12}\""
    } else {
        "\"([ !#-;=?-\\[\\]-~äé]|\\\\[ -;?-~]){0,12}\""
    };
    prop_oneof![Just(String::new()), "[a-zA-Z0-9.!%*_+`'~-]{1,6}( [a-zA-Z0-9.-]{1,6}){0,2}", quoted]
}

fn address(daring: bool, tag: bool) -> impl Strategy<Value = AddressReading> {
    let value = if daring { "\"([a-z,;<> ]|\\\\[ -~]){0,6}\"|[a-z0-9:\\[\\]]{1,6}" } else { "[a-z0-9.!%*_+`'~-]{1,6}" };
    let token = "[a-z0-9.!%*_+`'~-]{1,12}";
    let tag = if tag { token.prop_map(Some).boxed() } else { option::of(token).boxed() };
    (display(daring), uri(daring), params(value), tag).prop_map(|(display, uri, mut params, tag)| {
        params.extend(tag.map(|tag| ("tag".to_owned(), Some(tag))));
        AddressReading { display, uri, params }
    })
}

fn via(daring: bool) -> impl Strategy<Value = ViaReading> {
    let value = if daring { "\"([a-z,;<> ]|\\\\[ -~]){0,6}\"|[a-z0-9:\\[\\]]{1,6}" } else { "[a-z0-9.!%*_+`'~-]{1,6}" };
    let transport = prop_oneof![Just("UDP"), Just("TCP"), Just("TLS"), Just("WS"), Just("SCTP")];
    let branch = option::weighted(0.9, "z9hG4bK[a-zA-Z0-9.!%*_+`'~-]{1,12}");
    (transport, host(daring), option::of(any::<u16>()), params(value), branch).prop_map(
        |(transport, host, port, mut params, branch)| {
            params.extend(branch.clone().map(|branch| ("branch".to_owned(), Some(branch.to_lowercase()))));
            ViaReading { transport: transport.into(), host, port, branch, params }
        },
    )
}

/// Messages that rsip can read, or `daring` ones of which it cannot read everything.
pub(crate) fn meant(daring: bool) -> impl Strategy<Value = Meant> {
    let method = prop_oneof![Just("INVITE"), Just("REGISTER"), Just("OPTIONS"), Just("MESSAGE"), Just("PUBLISH")];
    let head = (method, uri(daring), vec(via(daring), 1..4), address(daring, true), address(daring, false));
    let word = "[a-zA-Z0-9.!%*_+`'~()<>:\\\\\"/\\[\\]?{}-]{1,20}";
    let call_id =
        (word, option::of(word)).prop_map(|(word, host)| host.map_or(word.clone(), |host| format!("{word}@{host}")));
    let rest = (
        vec(address(daring, false), 0..4),
        any::<u32>(),
        call_id,
        option::of(any::<u8>()),
        option::of(any::<u32>()),
        vec(any::<u8>(), 0..40),
    );
    (head, rest).prop_map(|((method, uri, vias, from, to), (contacts, cseq, call_id, max_forwards, expires, body))| {
        Meant { method: method.into(), uri, vias, from, to, contacts, cseq, call_id, max_forwards, expires, body }
    })
}

impl Meant {
    /// What must be read of it.
    pub(crate) fn reading(&self) -> Reading {
        let address = |address: &AddressReading| AddressReading { params: lower(&address.params), ..address.clone() };
        Reading {
            start: Some((self.method.clone(), self.uri.clone())),
            top_via: Some(ViaReading { params: lower(&self.vias[0].params), ..self.vias[0].clone() }),
            via_count: Some(self.vias.len()),
            from: Some(address(&self.from)),
            to: Some(address(&self.to)),
            contacts: Some(self.contacts.iter().map(address).collect()),
            cseq: Some((self.cseq, self.method.clone())),
            call_id: Some(self.call_id.clone()),
            max_forwards: self.max_forwards.map(u32::from),
            expires: self.expires,
            body: Some(self.body.clone()),
        }
    }

    /// One field on each line, long names, no white space but what must be.
    pub(crate) fn plain(&self) -> Vec<u8> {
        let mut out = format!("{} {} SIP/2.0\r\n", self.method, uri_text(&self.uri));
        for via in &self.vias {
            write!(out, "Via: {}\r\n", via_text(via, &mut plainly)).unwrap();
        }
        write!(out, "From: {}\r\n", address_text(&self.from, &mut plainly)).unwrap();
        write!(out, "To: {}\r\n", address_text(&self.to, &mut plainly)).unwrap();
        for contact in &self.contacts {
            write!(out, "Contact: {}\r\n", address_text(contact, &mut plainly)).unwrap();
        }
        self.rest(&mut out, "Call-ID: ", "CSeq: ", "Content-Length: ", " ");
        [out.as_bytes(), &self.body].concat()
    }

    /// Compact names in any case, lists, and white space and folds wherever they may stand, as `choices` has it.
    pub(crate) fn wild(&self, choices: &[u8]) -> Vec<u8> {
        let mut at = 0;
        let mut choose = move || {
            at += 1;
            choices[at % choices.len()]
        };
        let mut space = move |needed: bool| match (choose() % 6, needed) {
            (0, _) => "\r\n ",
            (1, _) => "\t",
            (2, _) => "  ",
            (3, _) => " \r\n\t ",
            (_, true) => " ",
            (_, false) => "",
        };
        let mut out = format!("{} {} SIP/2.0\r\n", self.method, uri_text(&self.uri));
        let pick = |names: &[&'static str], at: usize| names[choices[at % choices.len()] as usize % names.len()];
        let mut names = ["f:", "FROM:", "From :", "from\t:"].iter().cycle().skip(choices[0] as usize);
        write!(out, "{}{}{}\r\n", names.next().unwrap(), space(false), address_text(&self.from, &mut space)).unwrap();
        let lines =
            [("Via", pick(&["v:", "V :", "VIA:", "Via: "], 1)), ("Contact", pick(&["m:", "M  :", "contact:"], 2))];
        for (name, written) in lines {
            let values: Vec<String> = match name {
                "Via" => self.vias.iter().map(|via| via_text(via, &mut space)).collect(),
                _ => self.contacts.iter().map(|contact| address_text(contact, &mut space)).collect(),
            };
            for (i, value) in values.iter().enumerate() {
                match (i, choices[i % choices.len()] % 3) {
                    (0, _) => write!(out, "{written}{}{value}", space(false)).unwrap(),
                    (_, 0) => write!(out, "\r\n{written}{}{value}", space(true)).unwrap(),
                    _ => write!(out, "{},{}{value}", space(false), space(false)).unwrap(),
                }
            }
            if !values.is_empty() {
                out.push_str(space(false));
                out.push_str("\r\n");
            }
        }
        write!(out, "{}{}{}\r\n", pick(&["t:", "T :", "to:"], 3), space(false), address_text(&self.to, &mut space))
            .unwrap();
        let (call_id, length) = (pick(&["i:", "CALL-id: "], 4), pick(&["l : 0", "L:", "content-LENGTH:\r\n 00"], 5));
        self.rest(&mut out, call_id, "cseq\t:", length, space(true));
        [out.as_bytes(), &self.body, b"what follows the body"].concat()
    }

    fn rest(&self, out: &mut String, call_id: &str, cseq: &str, length: &str, space: &str) {
        write!(out, "{call_id}{}\r\n{cseq}{}{space}{}\r\n", self.call_id, self.cseq, self.method).unwrap();
        if let Some(hops) = self.max_forwards {
            write!(out, "Max-Forwards: {hops}\r\n").unwrap();
        }
        if let Some(expires) = self.expires {
            write!(out, "Expires: {expires}\r\n").unwrap();
        }
        write!(out, "{length}{}\r\n\r\n", self.body.len()).unwrap();
    }
}

fn lower(params: &ParamList) -> ParamList {
    params.iter().map(|(name, value)| (name.clone(), value.as_ref().map(|value| value.to_lowercase()))).collect()
}

fn plainly(needed: bool) -> &'static str {
    if needed { " " } else { "" }
}

fn host_text(host: &str, port: Option<u16>) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    port.map_or(host.clone(), |port| format!("{host}:{port}"))
}

fn uri_text(uri: &UriReading) -> String {
    let mut out = format!("{}:", uri.scheme);
    if let Some(user) = &uri.user {
        out.push_str(user);
        out.extend(uri.password.iter().flat_map(|password| [":", password.as_str()]));
        out.push('@');
    }
    out.push_str(&host_text(&uri.host, uri.port));
    for (name, value) in &uri.params {
        out.extend([";", name.as_str()]);
        out.extend(value.iter().flat_map(|value| ["=", value.as_str()]));
    }
    out
}

fn params_text(params: &ParamList, space: &mut dyn FnMut(bool) -> &'static str) -> String {
    let mut out = String::new();
    for (name, value) in params {
        write!(out, "{};{}{name}", space(false), space(false)).unwrap();
        if let Some(value) = value {
            write!(out, "{}={}{value}", space(false), space(false)).unwrap();
        }
    }
    out
}

fn address_text(address: &AddressReading, space: &mut dyn FnMut(bool) -> &'static str) -> String {
    let display = &address.display;
    let gap = if display.is_empty() { "" } else { space(true) };
    format!("{display}{gap}<{}>{}", uri_text(&address.uri), params_text(&address.params, space))
}

fn via_text(via: &ViaReading, space: &mut dyn FnMut(bool) -> &'static str) -> String {
    let branch = via.branch.as_ref();
    let params: ParamList = via
        .params
        .iter()
        .map(|(name, value)| match branch {
            Some(branch) if name == "branch" => (name.clone(), Some(branch.clone())),
            _ => (name.clone(), value.clone()),
        })
        .collect();
    let slash = |space: &mut dyn FnMut(bool) -> &'static str| format!("{}/{}", space(false), space(false));
    let protocol = format!("SIP{}2.0{}{}", slash(space), slash(space), via.transport);
    format!("{protocol}{}{}{}", space(true), host_text(&via.host, via.port), params_text(&params, space))
}
