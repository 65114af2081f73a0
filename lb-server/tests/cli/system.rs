//! What the system has to do with the process: inherited sockets, systemd, descriptors, the end.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;

use command_fds::{CommandFdExt, FdMapping};

use crate::load::backend;
use crate::process::{Process, ask, file, get, lb_server};

fn config(server: &str, bind: &str, backend: &str) -> String {
    format!(
        "[server]\nworkers = 2\n{server}\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nbind = \"{bind}\"\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         [[service.pool]]\nbackends = [{{ url = \"http://{backend}\" }}]\n"
    )
}

#[test]
fn a_listener_takes_the_inherited_socket_with_its_address() {
    #[expect(clippy::disallowed_methods, reason = "whoever starts services opens their sockets")]
    let [ours, other] = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let (addr, unwanted) = (ours.local_addr().unwrap(), other.local_addr().unwrap());
    let path = file("activated.toml", &config("", &addr.to_string(), &backend().to_string()));
    let mut command = lb_server(&["--config", &path]);
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "web:other");
    let mappings = vec![
        FdMapping { parent_fd: ours.into(), child_fd: 3 },
        FdMapping { parent_fd: other.into(), child_fd: 4 },
    ];
    command.fd_mappings(mappings).unwrap();
    // Whoever connects before the service runs waits for it.
    #[expect(clippy::disallowed_methods, reason = "a client is outside of the proxy")]
    let mut early = TcpStream::connect(addr).unwrap();
    let request = b"GET /early HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    std::io::Write::write_all(&mut early, request).unwrap();
    let mut process = Process::run(&mut command);
    drop(command);
    let said = process.says("listening at");
    assert!(said.contains(&format!("no listener is at {unwanted}")), "{said}");
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\n/early"), "{answer}");
    process.finish();
}

#[test]
fn systemd_is_told_when_it_asks_to_be() {
    let path = std::env::temp_dir().join(format!("lb-notify-{}.sock", std::process::id()));
    let systemd = UnixDatagram::bind(&path).unwrap();
    let heard = || {
        let mut text = [0; 512];
        let length = systemd.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let file = file("notify.toml", &config("", "127.0.0.1:0", "127.0.0.1:1"));
    let process = Process::run(lb_server(&["--config", &file]).env("NOTIFY_SOCKET", &path));
    assert_eq!(heard(), "READY=1\n");
    process.signal("-HUP");
    let reloading = heard();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(heard(), "READY=1\n");
    process.finish();
    assert_eq!(heard(), "STOPPING=1\n");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn accepting_pauses_when_there_are_no_descriptors_left() {
    let path = file("few.toml", &config("", "127.0.0.1:0", &backend().to_string()));
    let mut command = std::process::Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_lb-server");
    command.args(["-c", &format!("ulimit -n 60; exec {binary} --config {path}")]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut process = Process::run(&mut command);
    let said = process.says("warning: 60 open files are too few for connections_max = 10000");
    let workers = std::thread::available_parallelism().unwrap().get();
    let needed = format!("LimitNOFILE={}", 2 * 10_000 + 256 + 128 * workers);
    assert!(said.contains(&needed), "{said}");
    let proxy = process.addr("listening at http://");
    let admin = process.addr("admin at http://");
    #[expect(clippy::disallowed_methods, reason = "a client is outside of the proxy")]
    let mut crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(proxy).unwrap()).collect();
    // The last one waits in the kernel's queue until others have left.
    let last = crowd.pop().unwrap();
    drop(crowd);
    let answer = on(last, "/patient");
    assert!(answer.ends_with("\r\n\r\n/patient"), "{answer}");
    let metrics = get(admin, "/metrics");
    let pauses = metrics.lines().find_map(|line| line.strip_prefix("lb_accept_pauses_total "));
    assert!(pauses.unwrap().parse::<u64>().unwrap() > 0, "{metrics}");
    process.finish();
}

/// The whole answer to a GET on this connection.
fn on(mut stream: TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn listeners_stay_open_for_the_delay_and_readiness_goes_at_once() {
    let text = config("shutdown_delay = \"1h\"", "127.0.0.1:0", &backend().to_string());
    let mut process = Process::start_with(&["--config", &file("delay.toml", &text)]);
    let proxy = process.addr("listening at http://");
    let admin = process.addr("admin at http://");
    process.terminate();
    process.says("finishing what runs");
    while is_ready(admin) {}
    for count in 0..9 {
        assert!(get(proxy, &format!("/{count}")).ends_with(&format!("/{count}")));
    }
    process.terminate();
    assert!(process.says("at once").contains("stopping at once"));
    assert!(process.child.wait().unwrap().success());
}

fn is_ready(admin: SocketAddr) -> bool {
    let answer = ask(admin, "GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    answer.starts_with("HTTP/1.1 200 ")
}
