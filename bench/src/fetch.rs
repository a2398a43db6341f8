//! Asks a registrar what is bound to some subscribers: a REGISTER without a Contact (RFC 3261 §10.2.3).
//!
//! One request at a time and each answer decoded with rsip: for looking after a sample, not for load.

use crate::branch::{BRANCH_PLACEHOLDER, Branch};
use crate::error::{Doing, Error};
use crate::register_load::coprime_stride;
use crate::register_message::{SUBSCRIBER_DIGITS, aor_uri, check_contact, domain_uri, via};
use crate::sockets::Sockets;
use crate::template::decimal;
use rsip::headers::UntypedHeader;
use rsip::{Headers, Method, Param, Version, typed};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// How long one transmission waits for its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
const TRANSMISSIONS_COUNT_MAX: usize = 5;
/// Subscribers that are asked for at most.
const SAMPLE_COUNT_MAX: u32 = 1000;

/// Fetches the bindings of a sample of the `count` subscribers from `first` on, which registered over `sockets`; fails at the
/// first that is missing or wrong. Says how many were asked for.
pub(crate) fn check_sample(
    server: SocketAddr,
    domain: &str,
    sockets: &Sockets,
    first: u32,
    count: u32,
) -> Result<u32, Error> {
    let asker = UdpSocket::bind((server.ip(), 0)).doing("binding the socket that asks")?;
    asker.connect(server).doing("connecting the socket that asks")?;
    asker.set_read_timeout(Some(ANSWER_TIMEOUT)).doing("bounding the wait for an answer")?;
    let local = asker.local_addr().doing("reading the port of the socket that asks")?;
    let (sample, stride) = (count.min(SAMPLE_COUNT_MAX), coprime_stride(count));
    for number in 0..sample {
        let offset = (u64::from(number) * stride % u64::from(count)) as u32;
        let branch = Branch { phase: local.port(), number };
        let request = request(local, domain, first + offset, branch)?;
        let answer = ask(&asker, server, request.as_bytes(), branch)?;
        let port = sockets.port(offset as usize % sockets.count());
        check(&answer, first + offset, port)?;
    }
    Ok(sample)
}

fn ask(asker: &UdpSocket, server: SocketAddr, request: &[u8], branch: Branch) -> Result<Vec<u8>, Error> {
    let mut room = [0; 4096];
    for _ in 0..TRANSMISSIONS_COUNT_MAX {
        asker.send(request).doing("asking for bindings")?;
        // What answers an earlier request is passed over; a timeout ends the waiting.
        while let Ok(length) = asker.recv(&mut room) {
            if Branch::find(&room[..length]) == Some(branch) {
                return Ok(room[..length].to_vec());
            }
        }
    }
    let waited_s = (ANSWER_TIMEOUT * TRANSMISSIONS_COUNT_MAX as u32).as_secs();
    Err(Error::Silent { server, waited_s, log: String::new() })
}

fn request(local: SocketAddr, domain: &str, subscriber: u32, branch: Branch) -> Result<String, Error> {
    let digits = decimal::<SUBSCRIBER_DIGITS>(subscriber);
    let aor = aor_uri(domain, &String::from_utf8_lossy(&digits))?;
    let tag = Param::Tag(rsip::param::Tag::new(format!("f-{}", branch.number)));
    let mut headers = Headers::default();
    headers.push(via(local, local.port()).into());
    headers.push(rsip::headers::MaxForwards::default().into());
    headers.push(typed::From { display_name: None, uri: aor.clone(), params: vec![tag] }.into());
    headers.push(typed::To { display_name: None, uri: aor, params: Vec::new() }.into());
    let call_id = format!("fetch-{}-{}@bench.invalid", local.port(), branch.number);
    headers.push(rsip::headers::CallId::new(call_id).into());
    headers.push(typed::CSeq { seq: 1, method: Method::Register }.into());
    headers.push(rsip::headers::ContentLength::default().into());
    let uri = domain_uri(domain)?;
    let request = rsip::Request { method: Method::Register, uri, version: Version::V2, headers, body: Vec::new() };
    Ok(request.to_string().replace(BRANCH_PLACEHOLDER, &String::from_utf8_lossy(&branch.to_bytes())))
}

/// Decodes an answer: 200, and the Contact that `subscriber` registered from `port`.
fn check(answer: &[u8], subscriber: u32, port: u16) -> Result<(), Error> {
    let wrong = |what: String| Error::WrongAnswer { what, answer: String::from_utf8_lossy(answer).into_owned() };
    let response = rsip::Response::try_from(answer).map_err(|error| wrong(error.to_string()))?;
    if response.status_code != rsip::StatusCode::OK {
        return Err(wrong(format!("subscriber {subscriber} cannot be asked for")));
    }
    let digits = decimal::<SUBSCRIBER_DIGITS>(subscriber);
    check_contact(&response, port, &String::from_utf8_lossy(&digits)).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsip::message::HeadersExt;

    const BRANCH: Branch = Branch { phase: 1, number: 7 };

    #[test]
    fn the_question_has_no_contact_and_is_one_that_rsip_reads() {
        let text = request("127.0.0.1:40000".parse().unwrap(), "127.0.0.1:15060", 42, BRANCH).unwrap();
        assert_eq!(Branch::find(text.as_bytes()), Some(BRANCH));
        let request = rsip::Request::try_from(text.as_str()).unwrap();
        assert_eq!(request.method, Method::Register);
        assert!(request.contact_header().is_err());
        assert!(request.to_header().unwrap().to_string().contains("000000042@127.0.0.1:15060"));
    }

    #[test]
    fn a_binding_that_is_missing_or_of_another_phone_is_found() {
        let answer = |contact: &str| format!("SIP/2.0 200 OK\r\n{contact}Content-Length: 0\r\n\r\n");
        let right = answer("Contact: <sip:c-000000042@127.0.0.1:40001;transport=UDP>;expires=3500\r\n");
        check(right.as_bytes(), 42, 40_001).unwrap();
        assert!(check(right.as_bytes(), 42, 40_002).is_err());
        assert!(check(right.as_bytes(), 43, 40_001).is_err());
        assert!(check(answer("").as_bytes(), 42, 40_001).is_err());
        assert!(check(right.replace("200 OK", "503 Wait").as_bytes(), 42, 40_001).is_err());
    }
}
