//! What each connection is doing and since when, to find those that are too slow and the one to close at the limit.

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
/// From a response to the end of the next request's header: longer than most scrape intervals.
const IDLE: Duration = Duration::from_secs(90);
/// From a request to the end of its response, however slowly the client reads.
const RESPONDING: Duration = Duration::from_secs(60);

/// All connections, up to a limit.
pub(super) struct Connections {
    limit: usize,
    next: AtomicU64,
    all: Mutex<HashMap<u64, Arc<Activity>>>,
}

impl Connections {
    pub fn new(limit: usize) -> Self {
        Self { limit, next: AtomicU64::new(0), all: Mutex::default() }
    }

    /// Adds a connection. At the limit it replaces another one: a client that opens many connections and sends nothing
    /// cannot lock out others.
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

    /// Closes the connection that is needed least.
    pub fn evict(&self) {
        evict_one(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The connection that has been idle longest; if none is idle, the one whose response takes longest.
fn evict_one(all: &mut HashMap<u64, Arc<Activity>>) {
    let first = all.iter().min_by_key(|(_, activity)| {
        let state = activity.state.borrow();
        (!state.responding.is_empty(), state.since())
    });
    if let Some(id) = first.map(|(id, _)| *id)
        && let Some(activity) = all.remove(&id)
    {
        activity.evicted.notify_one();
    }
}

/// A connection, counted until it is dropped.
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
    /// Arrival times of requests whose responses have not been sent yet, oldest first.
    responding: VecDeque<Instant>,
    served: bool,
    /// When the connection was opened, or its last response ended.
    idle_since: Instant,
}

impl State {
    /// When the present state began. A response sent in time does not excuse an older one that is late.
    fn since(&self) -> Instant {
        self.responding.front().copied().unwrap_or(self.idle_since)
    }

    /// When to close it, and why.
    fn deadline(&self) -> (Instant, &'static str) {
        let (limit, why) = match self {
            Self { responding, .. } if !responding.is_empty() => {
                (RESPONDING, "the client reads its response too slowly")
            }
            Self { served: true, .. } => (IDLE, "no further request has come"),
            _ => (OPENING, "no whole request has come"),
        };
        (self.since() + limit, why)
    }
}

pub(super) struct Activity {
    state: watch::Sender<State>,
    evicted: Notify,
}

impl Activity {
    fn new() -> Self {
        let state = State { responding: VecDeque::new(), served: false, idle_since: Instant::now() };
        Self { state: watch::Sender::new(state), evicted: Notify::new() }
    }

    /// Waits until the connection must be closed. Returns why.
    pub async fn is_over(&self) -> &'static str {
        let mut changes = self.state.subscribe();
        loop {
            let (deadline, why) = changes.borrow_and_update().deadline();
            tokio::select! {
                () = self.evicted.notified() => return "there are too many connections",
                // `self` owns the sender.
                _ = changes.changed() => {}
                () = sleep_until(deadline) => return why,
            }
        }
    }

    /// Notes a request.
    pub fn begin(self: &Arc<Self>) -> Ticket {
        let began = Instant::now();
        self.state.send_modify(|state| {
            state.responding.push_back(began);
            state.served = true;
        });
        Ticket { activity: self.clone(), began }
    }
}

/// A request, until its response has been sent.
pub(super) struct Ticket {
    activity: Arc<Activity>,
    began: Instant,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.activity.state.send_modify(|state| {
            // Requests that arrived at the same moment are interchangeable.
            if let Some(index) = state.responding.iter().position(|began| *began == self.began) {
                state.responding.remove(index);
            }
            state.idle_since = Instant::now();
        });
    }
}

/// Held until a response has been sent: the request's ticket, and its permit if its path is limited.
type Held = (Ticket, Option<OwnedSemaphorePermit>);

/// A response body that notices when it has been sent: each of its parts keeps [`Held`] alive.
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
