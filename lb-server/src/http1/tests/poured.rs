//! Which bodies are moved on unseen.

use std::borrow::Cow;
use std::future::poll_fn;
use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::super::{Asked, Http1, Limits};
use crate::body::Upload;
use crate::pulse::Patience;
use crate::slots::Slots;

/// How many bytes of the bodies of answers came in pipes, and how many were read.
async fn came(is_poured: bool, answers: &[(&str, &[u8])]) -> Vec<(usize, usize)> {
    let (near, mut far) = UnixStream::pair().unwrap();
    let slot = Slots::new(1).take().expect("nobody has taken it");
    let limits = Limits { fields_max: 32, head_bytes_max: 8_192 };
    let mut line = Http1::new(Box::new(near), slot, limits);
    let (method, uri) = (Method::GET, Uri::from_static("/"));
    let says = async {
        for (framing, body) in answers {
            while far.read_u8().await.unwrap() != b'\n' || far.read_u16().await.unwrap() != 0x0d0a {
            }
            let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
            far.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        }
    };
    let hears = async {
        let mut came = Vec::new();
        for _ in answers {
            let fields = Cow::Owned(HeaderMap::new());
            let patience = Patience { idle: Duration::ZERO, until: Instant::now() };
            let (uri, added, herald) = (&uri, None, None);
            let asked = Asked { method: &method, uri, fields, added, herald, patience, is_poured };
            line.ask(&asked, Upload::EMPTY).await.unwrap();
            came.push(body(&mut line).await);
            assert!(line.is_free(), "another may follow");
        }
        came
    };
    tokio::join!(says, hears).1
}

/// How many bytes of a body come in pipes, and how many are read.
async fn body(line: &mut Http1) -> (usize, usize) {
    let (mut poured, mut read) = (0, 0);
    while !line.is_ended() {
        let frame = poll_fn(|cx| match line.poll_pour(cx) {
            Some(pipe) => pipe.map(|pipe| {
                poured += pipe.unwrap().held();
                None
            }),
            None => line.poll_frame(cx).map(|frame| frame.transpose().unwrap()),
        });
        let data = frame.await.and_then(|frame| frame.into_data().ok());
        read += data.map_or(0, |data| data.len());
    }
    (poured, read)
}

#[tokio::test]
async fn what_is_left_of_a_large_body_of_known_length_is_poured() {
    const LARGE: usize = 150_000;
    let body = [b'x'; LARGE];
    let large = ("content-length: 150000", &body[..]);
    let middling = ("content-length: 40000", &body[..40_000]);
    let small = ("content-length: 10000", &body[..10_000]);
    let chunk = [b"10000\r\n", &body[..0x1_0000], b"\r\n0\r\n\r\n"].concat();
    let chunked = ("transfer-encoding: chunked", &chunk[..]);

    let copied = came(false, &[large, large]).await;
    assert_eq!(copied, [(0, LARGE); 2], "a client over TLS has to have it copied");
    let all = [large, large, small, large, middling, middling, large, large, chunked, large];
    let came = came(true, &all).await;
    for ((poured, read), (framing, body)) in came.iter().zip(all) {
        let data = if framing == chunked.0 { 0x1_0000 } else { body.len() };
        assert_eq!(poured + read, data);
    }
    let little = |&(poured, read): &(usize, usize)| poured > 0 && read < 20_000;
    assert!(little(&came[1]) && little(&came[3]) && little(&came[7]), "{came:?}");
    assert!([2, 4, 5, 8].iter().all(|at| came[*at].0 == 0), "{came:?}");
}
