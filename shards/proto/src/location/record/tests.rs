//! A record keeps what it is given, and its bindings apart.

use super::*;

#[test]
fn a_binding_comes_back_as_it_was_put() {
    let bind = Bind {
        contact_id: 77,
        uri: b"sip:a@h",
        params: b";+sip.instance=\"<urn:x>\";reg-id=3",
        instance: (16, 7),
        reg_id: 3,
        call_id: b"call",
        cseq: 9,
        branch_hash: 5,
        user_agent: b"phone",
        path: b"<sip:p;lr>",
        q_milli: 700,
        methods: 3,
        request_print: 8,
        granted_s: 60,
        transport: Transport::Tcp,
        remote: "192.0.2.1:5062".parse().unwrap(),
        local: 4,
        flow: FlowToken::from_bits(99),
        natted: true,
        supports_gruu: true,
        supports_path: false,
        ping: Ping::Request { ends_unanswered: true },
        known_by: KnownBy::Parameter,
        expires_at_s: 100,
        updated_at_s: 40,
        first_at_s: 30,
        stamp: Stamp::from_bits(50),
    };
    let mut packed = Vec::new();
    Record::begin(&mut packed, AorHash(1), b"a@d");
    Record::push(&mut packed, &Bind { contact_id: 1, remote: "[2001:db8::1]:1".parse().unwrap(), ..bind });
    Record::push(&mut packed, &bind);
    let mut record = Record::finish(&packed);
    assert_eq!((record.hash(), record.aor(), record.bindings().count()), (AorHash(1), b"a@d".as_slice(), 2));
    assert_eq!(record.binding(1).unwrap().remote(), "[2001:db8::1]:1".parse().unwrap());
    let b = record.binding(77).unwrap();
    assert_eq!((b.uri(), b.params(), b.instance()), (bind.uri, bind.params, b"<urn:x>".as_slice()));
    assert_eq!((b.call_id(), b.user_agent(), b.path()), (bind.call_id, bind.user_agent, bind.path));
    assert_eq!((b.cseq(), b.branch_hash(), b.reg_id(), b.q_milli(), b.methods()), (9, 5, 3, 700, 3));
    assert_eq!((b.remote(), b.local(), b.flow().bits(), b.transport()), (bind.remote, 4, 99, Transport::Tcp));
    assert!(b.flags().supports_gruu() && !b.flags().supports_path());
    assert_eq!((b.flags().ping(), b.flags().known_by()), (bind.ping, bind.known_by));
    assert!(b.flags().natted() && !b.flags().flow_lost() && b.is_live(99) && !b.is_live(100));
    assert!(record.refresh(&Refresh {
        contact_id: 77,
        expires_at_s: 200,
        updated_at_s: 150,
        cseq: 10,
        branch_hash: 6,
        request_print: 9,
        stamp: Stamp::from_bits(60),
    }));
    let removal = Removal { cseq: 11, branch_hash: 7, until_s: 132, stamp: Stamp::from_bits(61) };
    assert!(record.mark_flow_lost(77) && record.mark_removed(1, &removal) && !record.mark_flow_lost(2));
    let b = record.binding(77).unwrap();
    assert!(b.is_live(150) && b.flags().flow_lost() && b.first_at_s() == 30 && b.updated_at_s() == 150);
    assert_eq!(b.stamp(), Stamp::from_bits(60));
    assert!(!record.binding(1).unwrap().is_live(120));
    assert_eq!(record.binding(1).unwrap().stamp(), removal.stamp);
}
