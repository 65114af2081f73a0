//! The least that a relay can do: one read and one write a way, and who is asked is the next in turn.
//!
//! It reads no HTTP, chooses nothing and measures nothing, and takes whatever one read brings for a
//! whole request or a whole answer; so it serves for the pools alone. What it costs with
//! a thousand backends beside three is what the kernel takes for the connections, but for 0.2 µs.
//!
//! `bare-relay FILE WORKERS`: the address to listen at in the first line, then a backend's in each.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

const EVENTS_MAX: usize = 1024;
const PIECE_MAX: usize = 64 * 1024;
const ARRIVALS: Token = Token(usize::MAX);

type Arrivals = Arc<Mutex<VecDeque<TcpStream>>>;

/// A connection, and who is to have what it says.
struct End {
    stream: TcpStream,
    /// To a backend: which one.
    backend: Option<usize>,
    /// The connection that it speaks with just now.
    other: Option<usize>,
}

struct Worker {
    poll: Poll,
    ends: Vec<Option<End>>,
    free: Vec<usize>,
    backends: Vec<SocketAddr>,
    idle: Vec<Vec<usize>>,
    next: usize,
    piece: Vec<u8>,
}

impl Worker {
    fn add(&mut self, mut stream: TcpStream, backend: Option<usize>) -> io::Result<usize> {
        stream.set_nodelay(true)?;
        let at = self.free.pop().unwrap_or_else(|| {
            self.ends.push(None);
            self.ends.len() - 1
        });
        self.poll.registry().register(&mut stream, Token(at), Interest::READABLE)?;
        self.ends[at] = Some(End { stream, backend, other: None });
        Ok(at)
    }

    fn backend(&mut self) -> io::Result<usize> {
        let turn = self.next;
        self.next = (turn + 1) % self.backends.len();
        if let Some(kept) = self.idle[turn].pop() {
            return Ok(kept);
        }
        let stream = std::net::TcpStream::connect(self.backends[turn])?;
        stream.set_nonblocking(true)?;
        self.add(TcpStream::from_std(stream), Some(turn))
    }

    /// Hands on what there is to read; an end of either side ends both.
    fn hand_on(&mut self, at: usize) -> io::Result<()> {
        let Some(end) = &mut self.ends[at] else { return Ok(()) };
        let read = match end.stream.read(&mut self.piece) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) | Ok(0) => return self.drop_both(at),
            Ok(read) => read,
        };
        let (backend, other) = (end.backend, end.other.take());
        let to = match (backend, other) {
            (None, _) => self.backend()?,
            (Some(_), Some(client)) => client,
            (Some(_), None) => return self.drop_both(at),
        };
        let Some(target) = &mut self.ends[to] else { return self.drop_both(at) };
        if target.stream.write_all(&self.piece[..read]).is_err() {
            self.drop_both(to)?;
            return self.drop_both(at);
        }
        if let Some(backend) = backend {
            self.idle[backend].push(at);
            if let Some(client) = &mut self.ends[to] {
                client.other = None;
            }
        } else {
            target.other = Some(at);
            if let Some(client) = &mut self.ends[at] {
                client.other = Some(to);
            }
        }
        Ok(())
    }

    fn drop_both(&mut self, at: usize) -> io::Result<()> {
        let Some(mut end) = self.ends[at].take() else { return Ok(()) };
        self.poll.registry().deregister(&mut end.stream)?;
        self.free.push(at);
        end.backend.into_iter().for_each(|backend| self.idle[backend].retain(|kept| *kept != at));
        end.other.map_or(Ok(()), |other| self.drop_both(other))
    }

    fn run(mut self, arrivals: &Arrivals) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if event.token() == ARRIVALS {
                    let new: Vec<TcpStream> =
                        arrivals.lock().expect("nobody panics").drain(..).collect();
                    for stream in new {
                        let at = self.add(stream, None)?;
                        self.hand_on(at)?;
                    }
                } else {
                    self.hand_on(event.token().0)?;
                }
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arg = |nth| std::env::args().nth(nth).ok_or("usage: bare-relay FILE WORKERS");
    let (file, count) = (arg(1)?, arg(2)?.parse::<usize>()?.max(1));
    let text = std::fs::read_to_string(file)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let listener =
        TcpListener::bind(lines.next().ok_or("the first line is the address to listen at")?)?;
    let backends: Vec<SocketAddr> = lines.map(str::parse).collect::<Result<_, _>>()?;
    let mut workers = Vec::new();
    for worker in 0..count {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), ARRIVALS)?;
        let arrivals = Arrivals::default();
        let worker = Worker {
            poll,
            ends: Vec::new(),
            free: Vec::new(),
            idle: vec![Vec::new(); backends.len()],
            next: worker * backends.len() / count,
            backends: backends.clone(),
            piece: vec![0; PIECE_MAX],
        };
        let its_arrivals = Arc::clone(&arrivals);
        std::thread::spawn(move || worker.run(&its_arrivals).expect("sockets work"));
        workers.push((waker, arrivals));
    }
    for (turn, stream) in listener.incoming().enumerate() {
        let stream = stream?;
        stream.set_nonblocking(true)?;
        let (waker, arrivals) = &workers[turn % count];
        arrivals.lock().expect("nobody panics").push_back(TcpStream::from_std(stream));
        waker.wake()?;
    }
    Ok(())
}
