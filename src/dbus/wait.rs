//! Waiting for the first of several things, and for the next item of two streams.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use futures_core::Stream;

/// A future without a result, wherever it lives.
pub(super) type Waiting<'a> = Pin<&'a mut (dyn Future<Output = ()> + 'a)>;

/// The place in `futures` of the first one that is over; the others may be dropped.
pub(super) async fn first<const N: usize>(mut futures: [Waiting<'_>; N]) -> usize {
    poll_fn(|context| {
        for (place, future) in futures.iter_mut().enumerate() {
            if future.as_mut().poll(context).is_ready() {
                return Poll::Ready(place);
            }
        }
        Poll::Pending
    })
    .await
}

/// Whether the one is over before the other.
pub(super) async fn before(one: impl Future<Output = ()>, other: impl Future<Output = ()>) -> bool {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending => other.as_mut().poll(context).map(|()| false),
    })
    .await
}

/// The next item of a stream; none when it ended.
pub(super) async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// The next item of either stream, of `one` if both have one; none when one of them ended.
pub(super) async fn next_of<S: Stream + Unpin>(one: &mut S, other: &mut S) -> Option<S::Item> {
    poll_fn(|context| match Pin::new(&mut *one).poll_next(context) {
        Poll::Pending => Pin::new(&mut *other).poll_next(context),
        ready => ready,
    })
    .await
}
