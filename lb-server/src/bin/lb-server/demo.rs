//! The demo: three backends of our own behind the proxy, so that there is something to see.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lb_config::Source;
use lb_server::Platform;
use lb_server::platform::os::Os;
use lb_server::platform::os::inheritance::Inheritance;
use lb_server::platform::{Accepted, Listen, Place};
use tokio::runtime;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::sleep;

use crate::{configuration, process, say};

/// The embedded configuration. It is read like any other.
const CONFIG: &str = r#"
[admin]
bind = "{admin}"

[[listener]]
bind = "{listen}"

[[service]]
name = "demo"
hosts = ["*"]

[service.balance]
policy = "round-robin"

[service.breaker]
consecutive_failures = 3
open_for = "1s"
open_for_max = "5s"

[[service.pool]]
backends = [
  { url = "http://{steady}" },
  { url = "http://{slow}" },
  { url = "http://{flaky}" },
]
"#;

/// How long the slow backend takes.
const SLOW: Duration = Duration::from_millis(80);
/// What the flaky backend does in turn, and for how long.
const MOODS: [(Mood, Duration); 3] = [
    (Mood::Fine, Duration::from_secs(8)),
    (Mood::Unreachable, Duration::from_secs(4)),
    (Mood::Refusing, Duration::from_secs(4)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// It answers.
    Fine,
    /// It answers 523, as an edge does whose origin cannot be reached.
    Unreachable,
    /// Nobody listens.
    Refusing,
}

/// Serves the demo until a signal says otherwise.
pub(crate) fn serve(
    listen: SocketAddr,
    admin: SocketAddr,
    inheritance: Inheritance,
) -> Result<(), String> {
    let [steady, slow, flaky] =
        start().map_err(|error| format!("cannot start the demo's backends: {error}"))?;
    let text = CONFIG
        .replace("{listen}", &listen.to_string())
        .replace("{admin}", &admin.to_string())
        .replace("{steady}", &steady.to_string())
        .replace("{slow}", &slow.to_string())
        .replace("{flaky}", &flaky.to_string());
    let config = configuration(&Source { name: "demo", text: &text })?;
    process::serve(config, None, inheritance, |bound| {
        let proxy = &bound.listeners[0];
        let admin = bound.admin.clone().unwrap_or(admin.into());
        say(&format!(
            "\nBehind it are three demo backends: steady ({steady}), slow ({slow}), and flaky ({flaky}),\n\
             which every 16 seconds answers 523 for 4 and refuses connections for 4.\n\n\
             Try, in another terminal:\n  \
             curl -s {proxy}/                    answered by one of the three; repeat it\n  \
             curl -s {admin}/metrics.json        what was learned about each backend\n  \
             for i in $(seq 200); do curl -s {proxy}/; done | sort | uniq -c\n\n\
             Each exchange is a line of JSON below. Ctrl-C ends it.\n"
        ));
    })
}

/// Starts the backends on a thread of their own, which ends with the process.
fn start() -> io::Result<[SocketAddr; 3]> {
    let (told, hear) = sync_channel(1);
    #[expect(clippy::disallowed_methods, reason = "the backends must not share a worker's thread")]
    Builder::new().name("demo".to_owned()).spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => LocalSet::new().block_on(&runtime, run(&told)),
            Err(error) => drop(told.send(Err(error))),
        }
    })?;
    hear.recv().map_err(|_| io::Error::other("their thread panicked"))?
}

async fn run(told: &SyncSender<io::Result<[SocketAddr; 3]>>) {
    match listen().await {
        Err(error) => drop(told.send(Err(error))),
        Ok((listeners, addrs)) => {
            let [steady, slow, flaky] = listeners;
            let always = Rc::new(Cell::new(Mood::Fine));
            spawn_local(accept(steady, "steady", Duration::ZERO, Rc::clone(&always)));
            spawn_local(accept(slow, "slow", SLOW, always));
            drop(told.send(Ok(addrs)));
            be_flaky(flaky, addrs[2]).await;
        }
    }
}

async fn listen() -> io::Result<([Box<dyn Listen>; 3], [SocketAddr; 3])> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let os = Os::new();
    let open = async || {
        let listener = os.listen(Place::new(any.into())).await?;
        let addr = listener.local_addr()?.ip().expect("an IP address was asked for");
        Ok::<_, io::Error>((listener, addr))
    };
    let (steady, slow, flaky) = (open().await?, open().await?, open().await?);
    Ok(([steady.0, slow.0, flaky.0], [steady.1, slow.1, flaky.1]))
}

/// Goes through the moods for ever. Refusing means that neither a listener nor a connection is left.
async fn be_flaky(listener: Box<dyn Listen>, addr: SocketAddr) {
    let mood = Rc::new(Cell::new(Mood::Fine));
    let accepting = |listener| {
        spawn_local(accept(listener, "flaky", Duration::from_millis(5), Rc::clone(&mood)))
    };
    let mut serving: Option<JoinHandle<()>> = Some(accepting(listener));
    for (next, lasts) in MOODS.into_iter().cycle() {
        mood.set(next);
        if next == Mood::Refusing {
            if let Some(serving) = serving.take() {
                serving.abort();
            }
        } else if serving.is_none() {
            // Somebody else may have taken the port meanwhile: then it refuses for another round.
            serving = Os::new().listen(Place::new(addr.into())).await.ok().map(&accepting);
        }
        sleep(lasts).await;
    }
}

async fn accept(
    mut listener: Box<dyn Listen>,
    name: &'static str,
    takes: Duration,
    mood: Rc<Cell<Mood>>,
) {
    // Connections end with the listener.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok(Accepted { io, .. }) = accepted else { return };
                let mood = Rc::clone(&mood);
                let service = service_fn(move |request| answer(request, name, takes, mood.get()));
                connections.spawn_local(
                    http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(io), service),
                );
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    name: &'static str,
    takes: Duration,
    mood: Mood,
) -> Result<Response<Full<Bytes>>, Infallible> {
    sleep(takes).await;
    let mut response = Response::new(Full::default());
    *response.body_mut() = if mood == Mood::Unreachable {
        *response.status_mut() = StatusCode::from_u16(523).expect("523 is a status");
        Full::from(format!("{name} is unreachable\n"))
    } else {
        Full::from(format!("hello from {name}: {} {}\n", request.method(), request.uri()))
    };
    Ok(response)
}
