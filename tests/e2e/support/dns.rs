//! A little DNS server: it says what it is told to, over UDP on a port of the kernel's choice.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use tokio::net::UdpSocket;

const A: u16 = 1;
const NS: u16 = 2;
const SRV: u16 = 33;
const IN: u16 = 1;
const NO_SUCH_NAME: u16 = 3;
const SERVER_FAILURE: u16 = 2;

/// What is said about a name.
#[derive(Clone)]
enum Said {
    Records {
        kind: u16,
        ttl: u32,
        data: Vec<Vec<u8>>,
    },
    /// This code and nothing else.
    Code(u16),
    /// Another server knows, it says, and not which addresses.
    Referral,
    /// Nothing at all.
    Silence,
}

/// A name server of its own. A name of which it was told nothing does not exist.
#[derive(Clone)]
pub(crate) struct Dns {
    pub(crate) addr: SocketAddr,
    zone: Rc<RefCell<BTreeMap<String, Said>>>,
    asked: Rc<Cell<usize>>,
}

impl Dns {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let dns = Self { addr, zone: Rc::default(), asked: Rc::default() };
        let this = dns.clone();
        tokio::task::spawn_local(async move {
            let mut question = [0; 512];
            while let Ok((length, whom)) = socket.recv_from(&mut question).await {
                this.asked.set(this.asked.get() + 1);
                if let Some(answer) = this.answer(&question[..length]) {
                    let _gone = socket.send_to(&answer, whom).await;
                }
            }
        });
        dns
    }

    /// The name has these addresses.
    pub(crate) fn addresses(&self, name: &str, ttl: u32, ips: &[Ipv4Addr]) {
        let data = ips.iter().map(|ip| ip.octets().to_vec()).collect();
        self.say(name, Said::Records { kind: A, ttl, data });
    }

    /// The name has these targets: priority, weight, port and host.
    pub(crate) fn targets(&self, name: &str, ttl: u32, targets: &[(u16, u16, u16, &str)]) {
        let data = targets.iter().map(|(priority, weight, port, host)| {
            let numbers = [priority, weight, port].map(|number| number.to_be_bytes());
            let labels = host.split('.').filter(|label| !label.is_empty()).flat_map(|label| {
                let length = u8::try_from(label.len()).unwrap();
                std::iter::once(length).chain(label.bytes())
            });
            numbers.concat().into_iter().chain(labels).chain([0]).collect()
        });
        self.say(name, Said::Records { kind: SRV, ttl, data: data.collect() });
    }

    /// The server fails when it is asked about the name.
    pub(crate) fn fail(&self, name: &str) {
        self.answer_with(name, SERVER_FAILURE);
    }

    /// The server answers about the name with this code and nothing else.
    pub(crate) fn answer_with(&self, name: &str, code: u16) {
        self.say(name, Said::Code(code));
    }

    /// The server sends whoever asks about the name to another one.
    pub(crate) fn refer(&self, name: &str) {
        self.say(name, Said::Referral);
    }

    /// Nobody answers about the name.
    pub(crate) fn be_silent(&self, name: &str) {
        self.say(name, Said::Silence);
    }

    /// There is no such name.
    pub(crate) fn forget(&self, name: &str) {
        self.zone.borrow_mut().remove(name);
    }

    /// Questions so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.get()
    }

    fn say(&self, name: &str, said: Said) {
        self.zone.borrow_mut().insert(name.to_owned(), said);
    }

    /// RFC 1035 §4.1: the question once more, and the records after it.
    fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut name = String::new();
        let mut at = 12;
        while *message.get(at)? > 0 {
            let length = usize::from(message[at]);
            let label = std::str::from_utf8(message.get(at + 1..at + 1 + length)?).ok()?;
            name = if name.is_empty() { label.to_owned() } else { format!("{name}.{label}") };
            at += 1 + length;
        }
        let question = message.get(12..at + 5)?;
        let wanted = u16::from_be_bytes([message[at + 1], message[at + 2]]);
        let said = self.zone.borrow().get(&name.to_ascii_lowercase()).cloned();
        let (code, kind, ttl, data) = match said {
            Some(Said::Silence) => return None,
            Some(Said::Code(code)) => (code, A, 0, Vec::new()),
            // To `ns`, of the root.
            Some(Said::Referral) => (0, NS, 60, vec![b"\x02ns\0".to_vec()]),
            Some(Said::Records { kind, ttl, data }) if kind == wanted => (0, kind, ttl, data),
            Some(Said::Records { .. }) => (0, A, 0, Vec::new()),
            None => (NO_SUCH_NAME, A, 0, Vec::new()),
        };
        // A response that recursion is available for, as was desired.
        let flags = 0x8180 | code;
        let records = u16::try_from(data.len()).unwrap();
        let counts = if kind == NS { [1, 0, records, 0] } else { [1, records, 0, 0] };
        let mut answer = message[..2].to_vec();
        answer.extend(flags.to_be_bytes());
        answer.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        answer.extend(question);
        for data in data {
            let length = u16::try_from(data.len()).unwrap();
            answer.extend([0xc0, 12]); // the name of the question
            answer.extend([kind, IN].iter().flat_map(|number| number.to_be_bytes()));
            answer.extend(ttl.to_be_bytes());
            answer.extend(length.to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}
