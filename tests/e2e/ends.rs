//! The end of a connection of HTTP/2 to a backend, and what it comes to for those that were on it.

use std::rc::Rc;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::http2::{H2, get};
use crate::support::h2::{connect, frame, next, read};
use crate::support::{Backend, Proxy, run, until};

/// One whose body is still to come.
fn begun(id: u32) -> Vec<u8> {
    [frame(1, 4, id, &[0x88]), frame(0, 0, id, b"half")].concat()
}

#[test]
fn answers_that_clients_take_back_end_nobody_elses_connection() {
    run(async {
        const TAKEN_BACK: usize = 1_500;
        let go = Rc::new(Notify::new());
        let told = Rc::clone(&go);
        let backend = Backend::raw(move |mut stream| {
            let go = Rc::clone(&told);
            Box::pin(async move {
                stream.read_exact(&mut [0; 24]).await.unwrap();
                stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
                let mut resets = 0;
                while resets < TAKEN_BACK {
                    let Some(came) = next(&mut stream, &[1, 3]).await else { return };
                    // The next piece of what is taken back crosses with that.
                    let said = match came.kind {
                        1 => begun(came.id),
                        _ => frame(0, 0, came.id, b"more"),
                    };
                    resets += usize::from(came.kind == 3);
                    stream.write_all(&said).await.unwrap();
                }
                go.notified().await;
                stream.write_all(&frame(0, 1, 1, b"whole")).await.unwrap();
                let _end = next(&mut stream, &[]).await;
            })
        })
        .await;
        let lines = "[server.http2]\nresets_per_second_max = 100_000";
        let proxy = Proxy::start(&[backend.url()], &format!("{H2}\n{lines}")).await;
        let mut client = connect(proxy.addr).await;
        let stays = client.send_request(get("/stays")).await.unwrap();
        for _ in 0..TAKEN_BACK / 50 {
            let taken_back = || async {
                let mut client = client.clone();
                drop(client.send_request(get("/")).await.unwrap());
            };
            join_all((0..50).map(|_| taken_back())).await;
        }
        until(|| proxy.in_flight() == 1).await;
        go.notify_one();
        assert_eq!(read(stays).await.unwrap().body, "halfwhole");
        assert_eq!(backend.connections(), 1);
    });
}
