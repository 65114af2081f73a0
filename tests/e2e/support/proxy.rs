//! The proxy, as the binary would start it, on ports of the kernel's choice.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use lb_config::Config;
use lb_config::config::Address;
use lb_core::Service;
use lb_server::platform::os::Os;
use lb_server::shutdown::{self, Shutdown, Trigger};
use lb_server::{
    AccessSink, Gateway, Listeners, Listening, Notices, Snapshot, StartError, WorkerOptions,
};
use tokio::task::JoinHandle;

use super::{Answer, Client};

/// A running proxy. Dropping it leaves it running until the test ends.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) trigger: Trigger,
    pub(crate) serving: JoinHandle<()>,
    shutdown: Shutdown,
    lines: Arc<Lines>,
    notices: Arc<Lines>,
}

/// What was said, a line each.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl AccessSink for Lines {
    fn line(&self, line: &[u8]) {
        let line = String::from_utf8(line.to_vec()).expect("access lines are text");
        self.0.lock().unwrap().push(line);
    }
}

impl Notices for Lines {
    fn say(&self, notice: &str) {
        self.0.lock().unwrap().push(notice.to_owned());
    }
}

impl Proxy {
    /// Starts one service over `backends`, with `policies` as its tables (`[service.retry]`, …).
    pub(crate) async fn start(backends: &[String], policies: &str) -> Self {
        let backends: Vec<String> =
            backends.iter().map(|url| format!("{{ url = \"{url}\" }}")).collect();
        let backends = backends.join(", ");
        Self::start_with(&format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n\
             [admin]\nbind = \"127.0.0.1:0\"\n\
             [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
             balance = {{ policy = \"round-robin\" }}\n\
             pool = [{{ backends = [{backends}] }}]\n\
             {policies}"
        ))
        .await
    }

    /// Starts what `config` says.
    pub(crate) async fn start_with(config: &str) -> Self {
        let (gateway, lines, notices) = gateway(config);
        let listening =
            Listening::open(Arc::clone(&gateway), WorkerOptions::default()).await.unwrap();
        let (trigger, shutdown) = shutdown::pair();
        let bound = listening.bound().clone();
        let serving = tokio::task::spawn_local(listening.serve(shutdown.clone()));
        let admin = bound.admin.expect("the tests' configurations have an admin listener");
        // What is asked by its path needs no port.
        let ip = |addr: &Address| addr.ip().unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
        let (addr, admin) = (ip(&bound.listeners[0]), ip(&admin));
        Self { addr, admin, gateway, trigger, shutdown, serving, lines, notices }
    }

    /// Why what `config` says cannot be started.
    pub(crate) async fn refused(config: &str) -> std::io::Error {
        let (gateway, ..) = gateway(config);
        let opened = Listening::open(gateway, WorkerOptions::default()).await;
        opened.err().expect("it cannot listen")
    }

    /// Starts another worker on the same port. It ends with this one's trigger.
    pub(crate) async fn join(&self, index: u16) -> JoinHandle<()> {
        let options = WorkerOptions { index, ..WorkerOptions::default() };
        let listening = Listening::open(Arc::clone(&self.gateway), options).await.unwrap();
        assert_eq!(listening.bound().listeners, [self.addr.into()]);
        tokio::task::spawn_local(listening.serve(self.shutdown.clone()))
    }

    /// The first service.
    pub(crate) fn service(&self) -> First {
        First(self.gateway.snapshot())
    }

    /// Serves by `config` from now on.
    pub(crate) fn reload(&self, config: &str) {
        self.try_reload(config).unwrap();
    }

    /// What this text says.
    pub(crate) fn config(text: &str) -> Config {
        read(text)
    }

    /// The same, if it can be served.
    pub(crate) fn try_reload(&self, config: &str) -> Result<(), StartError> {
        self.gateway.reload(read(config)).map(|_| ())
    }

    /// Attempts that hold a lease, over all backends.
    pub(crate) fn in_flight(&self) -> u32 {
        let snapshot = self.gateway.snapshot();
        let services = snapshot.services();
        services.flat_map(|it| it.backends()).map(|backend| backend.in_flight()).sum()
    }

    /// What the admin listener says of all that was counted.
    pub(crate) async fn metrics(&self) -> Answer {
        let ask = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        Client::ask(self.admin, ask).await
    }

    /// The access log so far.
    pub(crate) fn log(&self) -> Vec<serde_json::Value> {
        let lines = self.lines.0.lock().unwrap();
        lines.iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// What the operator was told so far.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.notices.0.lock().unwrap().clone()
    }
}

/// The first service of a snapshot.
pub(crate) struct First(Arc<Snapshot>);

impl std::ops::Deref for First {
    type Target = Service;

    fn deref(&self) -> &Service {
        self.0.services().next().expect("there is a service")
    }
}

fn read(config: &str) -> Config {
    let source = lb_config::Source { name: "test.toml", text: config };
    let (config, diagnostics) = lb_config::load(&source);
    config.unwrap_or_else(|| panic!("{diagnostics:#?}"))
}

/// A gateway, its access log and its notices.
fn gateway(config: &str) -> (Arc<Gateway>, Arc<Lines>, Arc<Lines>) {
    let config = read(config);
    let (lines, told) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
    let access = Some(Arc::clone(&lines) as Arc<dyn AccessSink>);
    let notices = Some(Arc::clone(&told) as Arc<dyn Notices>);
    let listeners = Listeners { access, notices, ..Listeners::default() };
    (Gateway::new(Arc::new(Os::with_seed(7)), config, listeners).unwrap(), lines, told)
}
