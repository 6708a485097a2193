//! DNS messages: what a query asks, and false answers to it.

use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::{Message, MessageBuilder, Ttl};
use domain::rdata::{A, Aaaa};

/// What false answers say of how long they hold: not at all, so that none outlives its fault in a cache.
const TTL: Ttl = Ttl::from_secs(0);
/// The longest datagram that we take, as false answers say it (the usual value since the DNS flag day of 2020).
const UDP_PAYLOAD_BYTES: u16 = 1_232;

/// A query of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'m> {
    bytes: &'m [u8],
    /// Its number, chosen by who asks.
    pub id: u16,
    /// The name asked for, without the final dot, in the case that it was asked in; `.` for the root.
    pub name: String,
    /// The type of record asked for.
    kind: Rtype,
}

impl<'m> Query<'m> {
    /// The query that `bytes` are; nothing for what is none, or asks for something else than one name.
    pub fn read(bytes: &'m [u8]) -> Option<Self> {
        let message = Message::from_slice(bytes).ok()?;
        let header = message.header();
        if header.qr() || header.opcode() != Opcode::QUERY {
            return None;
        }
        let question = message.sole_question().ok()?;
        Some(Self { bytes, id: header.id(), name: question.qname().to_string(), kind: question.qtype() })
    }

    /// What tells it from others that are under way: its number, name and type.
    pub fn key(&self) -> (u16, String, u16) {
        (self.id, self.name.to_ascii_lowercase(), self.kind.to_int())
    }

    /// True if the answer is more than one message.
    pub fn is_transfer(&self) -> bool {
        matches!(self.kind, Rtype::AXFR | Rtype::IXFR)
    }

    /// True if it asks for addresses.
    pub fn asks_for_addresses(&self) -> bool {
        matches!(self.kind, Rtype::A | Rtype::AAAA)
    }

    /// The answer that there is no such name.
    pub fn nxdomain(&self) -> Option<Vec<u8>> {
        self.answer(Rcode::NXDOMAIN, &[]).ok()
    }

    /// The answer that the resolver failed.
    pub fn servfail(&self) -> Option<Vec<u8>> {
        self.answer(Rcode::SERVFAIL, &[]).ok()
    }

    /// The answer with those of `addresses` that are of the kind asked for; without any if there are none.
    pub fn addresses(&self, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        self.answer(Rcode::NOERROR, addresses).ok()
    }

    fn answer(&self, rcode: Rcode, addresses: &[IpAddr]) -> Result<Vec<u8>, PushError> {
        let query = Message::from_slice(self.bytes).expect("it was read before");
        let question = query.sole_question().expect("it was read before");
        let mut answer = MessageBuilder::new_vec().start_answer(query, rcode)?;
        answer.header_mut().set_ra(true);
        for address in addresses {
            match address {
                IpAddr::V4(addr) if self.kind == Rtype::A => {
                    answer.push((question.qname(), Class::IN, TTL, A::new(*addr)))?;
                }
                IpAddr::V6(addr) if self.kind == Rtype::AAAA => {
                    answer.push((question.qname(), Class::IN, TTL, Aaaa::new(*addr)))?;
                }
                _ => {}
            }
        }
        let mut additional = answer.additional();
        // Who speaks EDNS is answered in it.
        if query.opt().is_some() {
            additional.opt(|opt| {
                opt.set_udp_payload_size(UDP_PAYLOAD_BYTES);
                Ok(())
            })?;
        }
        Ok(additional.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::Name;
    use proptest::prelude::*;

    fn query(name: &str, kind: Rtype) -> Vec<u8> {
        let mut query = MessageBuilder::new_vec().question();
        query.header_mut().set_id(4_711);
        query.header_mut().set_rd(true);
        query.push((&name.parse::<Name<Vec<u8>>>().unwrap(), kind)).unwrap();
        let mut query = query.additional();
        query.opt(|_| Ok(())).unwrap();
        query.finish()
    }

    #[test]
    fn answers_are_of_the_query_in_its_own_case() {
        let bytes = query("Store-1.LAB", Rtype::A);
        let query = Query::read(&bytes).unwrap();
        assert_eq!((query.id, query.name.as_str()), (4_711, "Store-1.LAB"));
        let check = |answer: Option<Vec<u8>>, rcode: Rcode, answers: u16| {
            let answer = Message::from_octets(answer.unwrap()).unwrap();
            assert!(answer.is_answer(Message::from_slice(&bytes).unwrap()));
            assert_eq!((answer.header().rcode(), answer.header_counts().ancount()), (rcode, answers));
            assert!(answer.header().ra() && answer.header().rd() && answer.opt().is_some());
        };
        check(query.nxdomain(), Rcode::NXDOMAIN, 0);
        check(query.servfail(), Rcode::SERVFAIL, 0);
        let both = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        check(query.addresses(&both), Rcode::NOERROR, 1);
        check(query.addresses(&both[1..]), Rcode::NOERROR, 0);
    }

    #[test]
    fn answers_and_rubbish_are_no_queries() {
        let bytes = query("a.b", Rtype::AAAA);
        let answer = Query::read(&bytes).unwrap().nxdomain().unwrap();
        assert_eq!(Query::read(&answer), None);
        assert_eq!(Query::read(b"GET / HTTP/1.1"), None);
        assert_eq!(Query::read(&bytes[..20]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(query) = Query::read(&bytes) {
                let _ = query.nxdomain();
            }
        }
    }
}
