//! What phones are shown by the name of the server, what they have to show, and certificates that end.

use super::node::{Node, connect, connect_as, folder, register, request, write_certificate};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

/// Writes a certificate for `name` that ends in `year`, with its key, as `file`.
fn write(folder: &Path, file: &str, name: &str, year: i32) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    let made = params.self_signed(&key).unwrap();
    std::fs::write(folder.join(format!("{file}.pem")), made.pem()).unwrap();
    std::fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    made.der().clone()
}

fn domain(folder: &Path, file: &str, name: &str) -> String {
    let place = folder.display();
    format!(
        "[[tls.domain]]\nnames = [\"{name}\"]\ncertificate = \"{place}/{file}.pem\"\nkey = \"{place}/{file}.key\"\n"
    )
}

#[test]
fn rfc6066_a_phone_is_shown_the_certificate_of_the_server_that_it_names() {
    let folder = folder("names");
    let default = write_certificate(&folder);
    let exact = write(&folder, "exact", "voice.example", 2100);
    let wild = write(&folder, "wild", "*.example", 2100);
    let domains = domain(&folder, "exact", "voice.example") + &domain(&folder, "wild", "*.example");
    let node = Node::start_in(folder, "127.0.0.1", &domains, "");
    for (name, shown) in [
        ("voice.example", &exact),
        ("VOICE.example", &exact),
        ("other.example", &wild),
        ("a.b.example", &default),
        ("elsewhere.test", &default),
        // An address is not told to the server.
        ("127.0.0.1", &default),
    ] {
        let seen = connect_as(node.tls, name, None).unwrap().conn.peer_certificates().unwrap()[0].clone();
        assert_eq!(&seen, shown, "{name}");
    }
}

#[test]
fn a_phone_shows_a_good_certificate_where_one_is_asked_for() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let phone = |issued: bool| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["bob.phones.example".to_owned()]).unwrap();
        let made = if issued { params.signed_by(&key, &authority) } else { params.self_signed(&key) };
        (made.unwrap().der().clone(), PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))
    };
    for (client, without) in [("asked", true), ("required", false)] {
        let folder = folder(client);
        write_certificate(&folder);
        std::fs::write(folder.join("phones.pem"), authority.pem()).unwrap();
        let tls = format!("client = \"{client}\"\nclient_authorities = \"{}/phones.pem\"\n", folder.display());
        let mut node = Node::start_in(folder, "127.0.0.1", "", &tls);
        let refused = if without { 1 } else { 2 };
        for (shown, is_let_in) in [(Some(phone(true)), true), (Some(phone(false)), false), (None, without)] {
            let connected = connect_as(node.tls, "sip.example", shown);
            // Over TLS 1.3 a phone learns what became of its certificate behind its own end of the handshake.
            let answered = connected.is_ok_and(|mut phone| {
                let at = phone.sock.local_addr().unwrap();
                let contact = format!("Contact: <sip:bob@{at};transport=tls>\r\n");
                let register = request("REGISTER", "sip:sip.example", &format!("TLS {at}"), &contact);
                let mut first = [0; 12];
                phone.write_all(register.as_bytes()).is_ok()
                    && phone.read_exact(&mut first).is_ok()
                    && &first == b"SIP/2.0 200 "
            });
            assert_eq!(answered, is_let_in, "{client}");
        }
        assert_eq!(node.counter("tls_client_unverified"), refused, "{client}");
    }
}

#[test]
fn a_certificate_that_ends_is_shown_and_warned_of_and_replaced_by_command() {
    let folder = folder("expiry");
    write(&folder, "old", "sip.example", 2020);
    write(&folder, "new", "sip.example", 2100);
    let copy = |from: &str, folder: &Path| {
        std::fs::copy(folder.join(format!("{from}.pem")), folder.join("certificate.pem")).unwrap();
        std::fs::copy(folder.join(format!("{from}.key")), folder.join("key.pem")).unwrap();
    };
    copy("old", &folder);
    let fifo = folder.join("fifo");
    let more = format!("[ops]\nfifo = \"{}\"\n", fifo.display());
    let mut node = Node::start_in(folder, "127.0.0.1", &more, "");
    let line = node.daemon.seen("a certificate has expired");
    assert!(line.contains("2020-01-01T00:00:00Z") && line.contains("certificate.pem"), "{line}");
    let check = || {
        let config = node.folder.join("sipfed.toml");
        let check = Command::new(env!("CARGO_BIN_EXE_sipfed")).arg("check").arg(config).output().unwrap();
        assert!(check.status.success());
        String::from_utf8(check.stdout).unwrap()
    };
    assert!(check().contains("2020-01-01T00:00:00Z: IT HAS EXPIRED"), "{}", check());
    // Who does not look at dates is served, and keeps its connection.
    let mut phone = connect_as(node.tls, "sip.example", None).unwrap();
    assert!(register(&mut phone).starts_with("SIP/2.0 200 "));

    copy("new", &node.folder);
    assert!(check().contains("2100-01-01T00:00:00Z"), "{}", check());
    let ctl = |command: &str| {
        let tool = Command::new(env!("CARGO_BIN_EXE_sipfed")).args(["ctl", "--fifo"]).arg(&fifo).arg(command).output();
        let tool = tool.unwrap();
        (tool.status.success(), String::from_utf8_lossy(&[tool.stdout, tool.stderr].concat()).into_owned())
    };
    let (is_done, said) = ctl("tls_reload");
    assert!(is_done, "{said}");
    node.daemon.line_with("phones are shown the certificate that was read again");
    let new = CertificateDer::from_pem_file(node.folder.join("new.pem")).unwrap();
    connect(node.tls, &new).unwrap();
    assert!(register(&mut phone).starts_with("SIP/2.0 200 "), "the connection is kept");

    std::fs::write(node.folder.join("key.pem"), "nothing").unwrap();
    let (is_done, said) = ctl("tls_reload");
    assert!(!is_done && said.contains("tls.key"), "{said}");
    connect(node.tls, &new).unwrap();
}
