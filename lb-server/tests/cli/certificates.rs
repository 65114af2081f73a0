//! Certificates change, and disks fail, while the process serves.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::process::{Process, file, get, lb_server};

/// Writes certificate and key of a name, and says what the configuration says of them.
fn issue(name: &str) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let cert = file(&format!("{name}.pem"), &made.cert.pem());
    let key = file(&format!("{name}.key"), &made.signing_key.serialize_pem());
    format!("certificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]")
}

/// Serves with a certificate of this name, at a plain listener as well.
fn config(name: &str) -> String {
    let text = format!(
        "[server]\nkeep_alive_timeout = \"1h\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nbind = \"127.0.0.1:0\"\n\
         [[listener]]\nbind = \"127.0.0.1:0\"\n[listener.tls]\n{}\n\
         [[service]]\nname = \"web\"\nhosts = [\"*\"]\n\
         [[service.pool]]\nbackends = [{{ url = \"http://127.0.0.1:1\" }}]\n",
        issue(name)
    );
    file(&format!("{name}.toml"), &text)
}

fn path(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"))
}

#[test]
fn a_pipe_in_place_of_a_key_changes_nothing_and_the_process_hears_signals() {
    let config = config("piped");
    let mut process = Process::start_with(&["--config", &config]);
    let admin = process.addr("admin at http://");
    mkfifo(path("piped").as_str(), Mode::S_IRWXU).unwrap();
    fs::rename(path("piped"), path("piped.key")).unwrap();
    let said = process.says("served on");
    assert!(said.contains("piped.key is no file but a folder, a pipe or the like"), "{said}");
    let ready = get(admin, "/ready");
    assert!(ready.contains("piped.key is no file"), "{ready}");
    assert!(get(admin, "/metrics").contains("lb_reloads_failed_total 1\n"), "and once");
    process.finish();
    fs::remove_file(path("piped.key")).unwrap();
}

#[test]
fn what_could_not_be_read_is_read_again_though_no_file_changes_any_more() {
    const DESCRIPTORS: usize = 64;
    let config = config("again");
    let program = lb_server(&["--config", &config]);
    let mut limited = std::process::Command::new("sh");
    let line = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
    limited.args(["-c", &line]).arg(program.get_program()).args(program.get_args());
    limited.stdin(std::process::Stdio::null());
    limited.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut process = Process::run(&mut limited);
    let plain: SocketAddr = process.addr("listening at http://");
    let admin = process.addr("admin at http://");
    #[expect(clippy::disallowed_methods, reason = "a client is outside of the proxy")]
    let held: Vec<_> = (0..DESCRIPTORS).map(|_| TcpStream::connect(plain).unwrap()).collect();
    let open = format!("/proc/{}/fd", process.child.id());
    while fs::read_dir(&open).unwrap().count() < DESCRIPTORS {
        std::thread::yield_now();
    }
    issue("again");
    let said = process.says("served on");
    assert!(said.contains("raise the limit on open files"), "{said}");
    drop(held);
    process.says("the certificates are in force");
    let ready = get(admin, "/ready");
    assert!(ready.contains("\"refused\": null"), "{ready}");
    process.finish();
}

#[test]
fn renewed_certificates_do_not_make_a_bad_configuration_good() {
    let config = config("bad");
    let mut process = Process::start_with(&["--config", &config]);
    let admin = process.addr("admin at http://");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("keep_alive_timeout", "keep_alive")).unwrap();
    process.signal("-HUP");
    process.says("served on");
    issue("bad");
    process.says("the certificates are in force");
    let ready = get(admin, "/ready");
    assert!(ready.contains(&format!("at {config}:")), "where the mistake is: {ready}");
    fs::write(&config, good).unwrap();
    process.signal("-HUP");
    process.says("is in force");
    let ready = get(admin, "/ready");
    assert!(ready.contains("\"refused\": null"), "{ready}");
    process.finish();
}
