//! A call and its caller: an INVITE that enters at a home, and what comes back.

use crate::ledger::Contact;
use crate::sip::{DOMAIN, Request, Text};
use std::net::{Ipv4Addr, SocketAddr};

/// Milliseconds after which an INVITE is sent again while nothing has come.
pub(crate) const AGAIN_MS: [u64; 6] = [500, 1000, 2000, 4000, 8000, 16_000];

/// Whom the checks want to have answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing is said of it.
    Anything,
    /// One of these final responses, or any where there is none, with exactly these contacts and perhaps those called, each once.
    Final { statuses: &'static [u16], called: Vec<Contact>, perhaps: Vec<Contact> },
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) number: usize,
    pub(crate) user: String,
    /// Where it enters.
    pub(crate) home: usize,
    pub(crate) addr: SocketAddr,
    pub(crate) expected: Expected,
    /// When it began, and when the first final response came.
    pub(crate) began_at: u64,
    pub(crate) answered_at: Option<u64>,
    pub(crate) invite: Vec<u8>,
    pub(crate) sent_count: usize,
    pub(crate) has_response: bool,
    /// Final responses by status and tag, each once.
    pub(crate) finals: Vec<(u16, String)>,
    /// Contacts that it has come to, once for each branch.
    pub(crate) rung: Vec<String>,
    /// Branches from node to node, with the home that they lead to.
    pub(crate) crossings: Vec<(usize, String)>,
    branch: String,
    id: String,
    /// Whom it is with, once it was answered.
    dialog: Option<Dialog>,
}

/// The remote target of a dialog, its route set as a header field, and the tag of who has answered.
#[derive(Debug)]
struct Dialog {
    uri: String,
    route: String,
    to_tag: String,
}

impl Call {
    pub(crate) fn new(number: usize, user: String, home: usize, subject: &str, expected: Expected) -> Self {
        let addr = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 1), 10_000 + number as u16));
        let (id, branch) = (format!("call{number}"), format!("c{number}"));
        let invite = Request {
            transport: "UDP",
            method: "INVITE",
            uri: &format!("sip:{user}@{DOMAIN}"),
            sent_by: &addr.to_string(),
            branch: &branch,
            from: "caller",
            to: &user,
            to_tag: "",
            call_id: &id,
            cseq: 1,
            more: &format!("Contact: <sip:caller@{addr}>\r\nSubject: {subject}\r\n"),
        }
        .write();
        Self {
            number,
            user,
            home,
            addr,
            expected,
            began_at: 0,
            answered_at: None,
            invite,
            sent_count: 0,
            has_response: false,
            finals: Vec::new(),
            rung: Vec::new(),
            crossings: Vec::new(),
            branch,
            id,
            dialog: None,
        }
    }

    /// Something has come; gives what the caller sends.
    pub(crate) fn receive(&mut self, response: &Text) -> Option<Vec<u8>> {
        let status = response.status().filter(|_| response.method() == "INVITE")?;
        self.has_response = true;
        if status < 200 {
            return None;
        }
        let which = (status, response.to_tag().to_owned());
        if !self.finals.contains(&which) {
            self.finals.push(which);
        }
        let is_answer = status < 300;
        let uri = if is_answer {
            let contact = response.field("Contact").unwrap_or_default();
            contact.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned()
        } else {
            format!("sip:{}@{DOMAIN}", self.user)
        };
        // RFC 3261 §12.1.2: the route set is what was recorded, in reverse.
        let mut routes: Vec<&str> = response.fields("Record-Route").flat_map(|route| route.split(',')).collect();
        routes.reverse();
        let route =
            if is_answer && !routes.is_empty() { format!("Route: {}\r\n", routes.join(",")) } else { String::new() };
        let dialog = Dialog { uri, route, to_tag: response.to_tag().to_owned() };
        let branch = if is_answer { format!("{}ack", self.branch) } else { self.branch.clone() };
        let ack = self.within("ACK", &dialog, 1, &branch);
        if is_answer {
            self.dialog = Some(dialog);
        }
        Some(ack)
    }

    /// What ends it, where it was answered.
    pub(crate) fn bye(&self) -> Option<Vec<u8>> {
        let branch = format!("{}bye", self.branch);
        self.dialog.as_ref().map(|dialog| self.within("BYE", dialog, 2, &branch))
    }

    fn within(&self, method: &str, dialog: &Dialog, cseq: u32, branch: &str) -> Vec<u8> {
        Request {
            transport: "UDP",
            method,
            uri: &dialog.uri,
            sent_by: &self.addr.to_string(),
            branch,
            from: "caller",
            to: &self.user,
            to_tag: &dialog.to_tag,
            call_id: &self.id,
            cseq,
            more: &dialog.route,
        }
        .write()
    }
}
