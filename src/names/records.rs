//! Records of DNS, as the steps from a name to servers want them.

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup as Answer;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use sipfed_proto::names::{Found, Kind, Lookup, Naptr, Srv};
use std::net::IpAddr;
use std::time::Instant;

/// Asks for records. That there are none is no error.
pub(super) async fn look_up(resolver: &TokioResolver, lookup: &Lookup) -> Result<Found, NetError> {
    // What cannot be a name has no records.
    let Ok(mut name) = Name::from_ascii(&*lookup.name) else { return Ok(Found::Nothing(None)) };
    // Nothing is added to it.
    name.set_fqdn(true);
    let kind = match lookup.kind {
        Kind::Naptr => RecordType::NAPTR,
        Kind::Srv => RecordType::SRV,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
    };
    match resolver.lookup(name, kind).await {
        Ok(answer) => Ok(found(&answer, lookup.kind)),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Ok(Found::Nothing(none.negative_ttl)),
        Err(error) => Err(error),
    }
}

/// Whether nobody has answered at all.
pub(super) fn is_silence(error: &NetError) -> bool {
    matches!(error, NetError::Timeout | NetError::NoConnections | NetError::Io(_))
}

fn found(answer: &Answer, kind: Kind) -> Found {
    let ttl_s = answer.valid_until().saturating_duration_since(Instant::now()).as_secs_f64().round() as u32;
    let data = || answer.answers().iter().map(|record| &record.data);
    let text = |name: &Name| name.to_ascii().into_boxed_str();
    let bytes = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
    match kind {
        Kind::Naptr => {
            let records: Vec<Naptr> = data()
                .filter_map(|data| match data {
                    RData::NAPTR(record) => Some(Naptr {
                        order: record.order,
                        preference: record.preference,
                        flags: bytes(&record.flags),
                        service: bytes(&record.services),
                        replacement: text(&record.replacement),
                    }),
                    _ => None,
                })
                .collect();
            if records.is_empty() { Found::Nothing(None) } else { Found::Naptr(records, ttl_s) }
        }
        Kind::Srv => {
            let records: Vec<Srv> = data()
                .filter_map(|data| match data {
                    RData::SRV(record) => Some(Srv {
                        priority: record.priority,
                        weight: record.weight,
                        port: record.port,
                        target: text(&record.target),
                    }),
                    _ => None,
                })
                .collect();
            if records.is_empty() { Found::Nothing(None) } else { Found::Srv(records, ttl_s) }
        }
        Kind::A | Kind::Aaaa => {
            let addresses: Vec<IpAddr> = data()
                .filter_map(|data| match data {
                    RData::A(address) => Some(IpAddr::V4(address.0)),
                    RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                    _ => None,
                })
                .collect();
            if addresses.is_empty() { Found::Nothing(None) } else { Found::Addresses(addresses, ttl_s) }
        }
    }
}
