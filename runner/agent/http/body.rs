//! What becomes of an answer's body on its way: replaced, cut short, or slowed down.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::time::Instant;

use crate::agent::service::Stopping;

/// Why a body broke off.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;
/// A body of any make.
pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// Pieces of a slowed body in a second: small enough to look like a slow line, large enough to cost nothing.
const PIECES_PER_S: u64 = 20;

/// What is cut from its stream, as whoever reads it is told.
#[derive(Debug, thiserror::Error)]
#[error("the body was cut off on purpose")]
struct Cut;

/// The body as it came.
pub fn whole(body: Incoming) -> Body {
    body.map_err(Into::into).boxed_unsync()
}

/// A body of our own.
pub fn of(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Reads what is left of a body and throws it away, so that its connection can be used again.
pub async fn discard(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// The first `bytes` of `body`; if there are more, the rest is missing and the connection ends, after `cut`.
pub fn truncated(body: Body, bytes: u64, cut: impl FnOnce() + Send + 'static) -> Body {
    enum Left {
        Bytes(Body, u64, Box<dyn FnOnce() + Send>),
        Nothing(Box<dyn FnOnce() + Send>),
    }
    let step = |left: Left| async move {
        match left {
            Left::Bytes(mut body, left, cut) => {
                let frame = match body.frame().await? {
                    Ok(frame) => frame,
                    Err(broken) => return Some((Err(broken), Left::Bytes(body, left, cut))),
                };
                let Some(data) = frame.data_ref() else {
                    return Some((Ok(frame), Left::Bytes(body, left, cut)));
                };
                let len = data.len() as u64;
                if len <= left {
                    return Some((Ok(frame), Left::Bytes(body, left - len, cut)));
                }
                let kept = data.slice(..usize::try_from(left).unwrap_or(usize::MAX));
                Some((Ok(Frame::data(kept)), Left::Nothing(cut)))
            }
            Left::Nothing(cut) => {
                // What was kept must be on its way before the connection is told of the end.
                tokio::task::yield_now().await;
                cut();
                Some((Err(Broken::from(Cut)), Left::Nothing(Box::new(|| ()))))
            }
        }
    };
    StreamBody::new(stream::unfold(Left::Bytes(body, bytes, Box::new(cut)), step)).boxed_unsync()
}

/// `body` at `bytes_per_s`, in small pieces, until the proxy stops: then all that is left.
pub fn dripping(body: Body, bytes_per_s: u64, stopping: Stopping) -> Body {
    struct Drip {
        body: Body,
        pieces: VecDeque<Bytes>,
        due: Instant,
        stopping: Stopping,
    }
    let piece_bytes = usize::try_from((bytes_per_s / PIECES_PER_S).max(1)).unwrap_or(usize::MAX);
    let step = move |mut drip: Drip| async move {
        loop {
            if let Some(piece) = drip.pieces.pop_front() {
                let due = drip.due;
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    _ = drip.stopping.wait_for(|stopping| *stopping) => {}
                }
                let takes = Duration::from_secs_f64(piece.len() as f64 / bytes_per_s as f64);
                // A client that did not read does not get the lost time back at once.
                drip.due = due.max(Instant::now() - takes) + takes;
                return Some((Ok(Frame::data(piece)), drip));
            }
            match drip.body.frame().await? {
                Err(broken) => return Some((Err(broken), drip)),
                Ok(frame) => match frame.into_data() {
                    Ok(mut data) => {
                        while !data.is_empty() {
                            drip.pieces.push_back(data.split_to(piece_bytes.min(data.len())));
                        }
                    }
                    Err(trailers) => return Some((Ok(trailers), drip)),
                },
            }
        }
    };
    let drip = Drip { body, pieces: VecDeque::new(), due: Instant::now(), stopping };
    StreamBody::new(stream::unfold(drip, step)).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::sync::watch;

    async fn read(mut body: Body) -> (Vec<u8>, bool) {
        let mut seen = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => seen.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => return (seen, false),
            }
        }
        (seen, true)
    }

    #[tokio::test]
    async fn only_longer_bodies_are_cut() {
        for (bytes, expected, whole) in
            [(0, "", false), (3, "hel", false), (5, "hello", true), (9, "hello", true)]
        {
            let was_cut = Arc::new(AtomicBool::new(false));
            let cut = Arc::clone(&was_cut);
            let body = truncated(of("hello"), bytes, move || cut.store(true, Ordering::Relaxed));
            assert_eq!(read(body).await, (expected.as_bytes().to_vec(), whole), "{bytes}");
            assert_eq!(was_cut.load(Ordering::Relaxed), !whole, "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn drips_at_the_rate_asked_for_until_told_to_stop() {
        let (stop, stopping) = watch::channel(false);
        let began = Instant::now();
        let text = "x".repeat(1_000);
        assert_eq!(
            read(dripping(of(text.clone()), 100, stopping.clone())).await,
            (text.clone().into(), true)
        );
        let took = began.elapsed();
        assert!((Duration::from_millis(9_900)..Duration::from_millis(10_100)).contains(&took), "{took:?}");
        stop.send(true).unwrap();
        let began = Instant::now();
        assert!(read(dripping(of(text), 1, stopping)).await.1);
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}
