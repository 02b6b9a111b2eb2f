//! What each connection is doing and since when: who is too slow, and who has to go when there are too many.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

/// From the connection to the end of its first request's header, the TLS handshake included.
const OPENING: Duration = Duration::from_secs(10);
/// From an answer to the end of the next request's header: longer than most scrape intervals.
const IDLE: Duration = Duration::from_secs(90);
/// From a request to the moment when its answer has been sent, however slowly the client reads.
const ANSWERING: Duration = Duration::from_secs(60);

/// All connections, never more than a limit.
pub(super) struct Connections {
    limit: usize,
    next: AtomicU64,
    all: Mutex<HashMap<u64, Arc<Activity>>>,
}

impl Connections {
    pub fn new(limit: usize) -> Self {
        Self { limit, next: AtomicU64::new(0), all: Mutex::default() }
    }

    /// Counts a new connection. At the limit another one goes for it: somebody who opens many connections
    /// and says nothing does not keep out whoever comes last.
    pub fn enter(self: &Arc<Self>) -> Connection {
        let activity = Arc::new(Activity::new());
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= self.limit {
            evict_one(&mut all);
        }
        all.insert(id, activity.clone());
        Connection { id, activity, connections: self.clone() }
    }

    /// Ends the connection that can best be done without.
    pub fn evict(&self) {
        evict_one(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The one that has waited longest for a request; only if there is none, the one that has been answered longest.
fn evict_one(all: &mut HashMap<u64, Arc<Activity>>) {
    let first = all.iter().min_by_key(|(_, activity)| {
        let state = activity.state.borrow();
        (!state.answering.is_empty(), state.since())
    });
    if let Some(id) = first.map(|(id, _)| *id)
        && let Some(activity) = all.remove(&id)
    {
        activity.evicted.notify_one();
    }
}

/// One connection; dropping it counts it out.
pub(super) struct Connection {
    id: u64,
    pub activity: Arc<Activity>,
    connections: Arc<Connections>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

struct State {
    /// When each request came whose answer has not been sent yet, the oldest first.
    answering: VecDeque<Instant>,
    /// Whether there was a request.
    served: bool,
    /// When the connection began, or when it last ended an answer.
    rests: Instant,
}

impl State {
    /// Since when it does what it does. Answers that are sent in time do not excuse an older one that is not.
    fn since(&self) -> Instant {
        self.answering.front().copied().unwrap_or(self.rests)
    }

    /// When it has to be cut, and why.
    fn deadline(&self) -> (Instant, &'static str) {
        let (limit, why) = match self {
            Self { answering, .. } if !answering.is_empty() => (ANSWERING, "the client reads its answer too slowly"),
            Self { served: true, .. } => (IDLE, "no further request has come"),
            _ => (OPENING, "no whole request has come"),
        };
        (self.since() + limit, why)
    }
}

/// What one connection is doing.
pub(super) struct Activity {
    state: watch::Sender<State>,
    evicted: Notify,
}

impl Activity {
    fn new() -> Self {
        let state = State { answering: VecDeque::new(), served: false, rests: Instant::now() };
        Self { state: watch::Sender::new(state), evicted: Notify::new() }
    }

    /// Waits until the connection has to be cut; answers why.
    pub async fn is_over(&self) -> &'static str {
        let mut changes = self.state.subscribe();
        loop {
            let (deadline, why) = changes.borrow_and_update().deadline();
            tokio::select! {
                () = self.evicted.notified() => return "there are too many connections",
                // The sender lives as long as `self`.
                _ = changes.changed() => {}
                () = sleep_until(deadline) => return why,
            }
        }
    }

    /// A request has come.
    pub fn begin(self: &Arc<Self>) -> Ticket {
        let began = Instant::now();
        self.state.send_modify(|state| {
            state.answering.push_back(began);
            state.served = true;
        });
        Ticket { activity: self.clone(), began }
    }
}

/// One request, until its answer has been sent.
pub(super) struct Ticket {
    activity: Arc<Activity>,
    began: Instant,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.activity.state.send_modify(|state| {
            // Which of several of the same moment makes no difference.
            if let Some(index) = state.answering.iter().position(|began| *began == self.began) {
                state.answering.remove(index);
            }
            state.rests = Instant::now();
        });
    }
}

/// What is held until an answer has been sent: the request's ticket, and its place among those of its kind.
type Held = (Ticket, Option<OwnedSemaphorePermit>);

/// The body of an answer, which knows when it has been sent: its parts hold on to what is held for it.
pub(super) struct Followed {
    body: Body,
    held: Arc<Held>,
}

impl Followed {
    pub fn new(body: Body, ticket: Ticket, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { body, held: Arc::new((ticket, permit)) }
    }
}

/// A part of a body, which hyper drops when it has been written.
struct Part {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let held = &self.held;
        let follow = |bytes| Bytes::from_owner(Part { bytes, _held: held.clone() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(follow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
