//! Basic authentication: which users are admitted, and how much the checks may cost.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{hmac, rand};
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// bcrypt has no lower costs; a check with a higher one takes many seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=18;

/// How many checks may wait, so that the last one still finishes within a usual scrape timeout.
const MAX_WAITING: usize = 64;
/// How many checks may wait per client address, so that one client cannot fill the queue.
const MAX_WAITING_OF_ONE: usize = 4;

/// The users, and each one's last correct password, as a tag. Rebuilt when the file changes.
pub(super) struct Users {
    users: BTreeMap<String, User>,
    /// Random per process, so that the stored tags are useless elsewhere.
    secret: hmac::Key,
}

struct User {
    hash: String,
    accepted: Mutex<Option<hmac::Tag>>,
}

/// The outcome of checking a request's credentials.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The credentials are correct or not needed.
    Admitted,
    /// Missing or wrong.
    Refused,
    /// Too many checks are waiting.
    Busy,
}

impl Users {
    /// Expects names and bcrypt hashes.
    ///
    /// # Errors
    /// Says which user's hash is unusable and why, without the hash.
    pub fn new(users: BTreeMap<String, String>) -> Result<Self, String> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
        let secret = secret.map_err(|_| "the operating system gives no random numbers".to_owned())?;
        let checked = users.into_iter().map(|(name, hash)| match hash.parse::<bcrypt::HashParts>() {
            _ if name.contains(':') => {
                Err(format!("basic_auth_users: the name `{name}` has a colon, which basic auth cannot send"))
            }
            Ok(parts) if !COSTS.contains(&parts.get_cost()) => Err(format!(
                "basic_auth_users.{name}: a bcrypt cost of {} is not supported; expected {} to {} \
                 (a check with a higher one takes many seconds)",
                parts.get_cost(),
                COSTS.start(),
                COSTS.end()
            )),
            Ok(_) => Ok((name, User { hash, accepted: Mutex::new(None) })),
            Err(_) => Err(format!(
                "basic_auth_users.{name}: expected a bcrypt hash (what `htpasswd -nBC 10 {name}` prints after the colon), \
                 not the password itself"
            )),
        });
        Ok(Self { users: checked.collect::<Result<_, _>>()?, secret })
    }

    /// Whether no password is needed.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Checks the `Authorization` header of a request.
    ///
    /// A password that was correct before costs one HMAC. Any other costs one bcrypt, whether or not the user exists.
    pub async fn judge(self: &Arc<Self>, header: Option<&HeaderValue>, peer: IpAddr, checks: &Checks) -> Verdict {
        if self.is_empty() {
            return Verdict::Admitted;
        }
        let Some((name, password)) = header.and_then(credentials) else { return Verdict::Refused };
        let tag = hmac::sign(&self.secret, &password);
        if self.was_accepted(&name, &password) {
            return Verdict::Admitted;
        }
        let Some(permit) = checks.begin(peer).await else { return Verdict::Busy };
        // An earlier check in the queue may have accepted the same password.
        if self.was_accepted(&name, &password) {
            return Verdict::Admitted;
        }
        let users = self.clone();
        let checked = tokio::task::spawn_blocking(move || {
            // Held until the check is over, even if the client has disconnected.
            let _permit = permit;
            users.check(&name, &password, tag)
        });
        if checked.await.unwrap_or(false) { Verdict::Admitted } else { Verdict::Refused }
    }

    fn was_accepted(&self, name: &str, password: &[u8]) -> bool {
        self.users.get(name).is_some_and(|user| {
            let accepted = user.accepted.lock().unwrap_or_else(PoisonError::into_inner);
            accepted.is_some_and(|tag| hmac::verify(&self.secret, password, tag.as_ref()).is_ok())
        })
    }

    /// Costs one bcrypt.
    fn check(&self, name: &str, password: &[u8], tag: hmac::Tag) -> bool {
        let user = self.users.get(name);
        let Some(compared) = user.or_else(|| self.stand_in(name)) else { return false };
        let right = bcrypt::verify(password, &compared.hash).unwrap_or(false);
        let Some(user) = user.filter(|_| right) else { return false };
        *user.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(tag);
        true
    }

    /// The user whose hash is used for an unknown name, so that the check takes as long. A name always gets the same
    /// one: otherwise hashes of different costs would reveal which names exist.
    fn stand_in(&self, name: &str) -> Option<&User> {
        let tag = hmac::sign(&self.secret, name.as_bytes());
        let number = tag.as_ref().iter().take(4).fold(0, |number, byte| number << 8 | usize::from(*byte));
        self.users.values().nth(number % self.users.len().max(1))
    }
}

fn credentials(header: &HeaderValue) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&decoded[..colon]).ok()?.to_owned();
    Some((name, Zeroizing::new(decoded[colon + 1..].to_vec())))
}

/// Running and waiting password checks: few are concurrent, however many requests arrive.
pub(super) struct Checks {
    running: Arc<Semaphore>,
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

impl Default for Checks {
    fn default() -> Self {
        // The other CPUs continue to poll and respond.
        let half = std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1));
        Self { running: Arc::new(Semaphore::new(half)), waiting: Mutex::default() }
    }
}

impl Checks {
    /// Waits until a check may run; `None` if too many are waiting.
    async fn begin(&self, peer: IpAddr) -> Option<OwnedSemaphorePermit> {
        let _waiting = self.wait(peer)?;
        self.running.clone().acquire_owned().await.ok()
    }

    fn wait(&self, peer: IpAddr) -> Option<Waiting<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = waiting.get(&peer).copied().unwrap_or_default();
        if of_peer >= MAX_WAITING_OF_ONE || waiting.values().sum::<usize>() >= MAX_WAITING {
            return None;
        }
        waiting.insert(peer, of_peer + 1);
        Some(Waiting { checks: self, peer })
    }
}

/// A waiting check, counted until it is dropped.
struct Waiting<'a> {
    checks: &'a Checks,
    peer: IpAddr,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.checks.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(text))).unwrap()
    }

    fn users(names: &[&str]) -> Arc<Users> {
        let users = names.iter().map(|name| ((*name).to_owned(), bcrypt::hash(name, 4).unwrap()));
        Arc::new(Users::new(users.collect()).unwrap())
    }

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn only_a_user_with_his_password_is_admitted() {
        let (users, checks) = (users(&["alice", "bob"]), Checks::default());
        for (credentials, verdict) in [
            ("alice:alice", Verdict::Admitted),
            ("alice:alice", Verdict::Admitted),
            ("alice:bob", Verdict::Refused),
            ("alice:", Verdict::Refused),
            (":", Verdict::Refused),
            ("alice", Verdict::Refused),
            // The password fits a stored hash, but there is no such user.
            ("carol:alice", Verdict::Refused),
            ("carol:bob", Verdict::Refused),
            ("bob:bob", Verdict::Admitted),
        ] {
            assert_eq!(users.judge(Some(&header(credentials)), PEER, &checks).await, verdict, "{credentials}");
        }
        assert_eq!(users.judge(None, PEER, &checks).await, Verdict::Refused);
        assert!(checks.waiting.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_password_that_was_right_before_needs_no_check() {
        let (users, checks) = (users(&["alice"]), Checks::default());
        assert_eq!(users.judge(Some(&header("alice:alice")), PEER, &checks).await, Verdict::Admitted);
        checks.running.close();
        assert_eq!(users.judge(Some(&header("alice:alice")), PEER, &checks).await, Verdict::Admitted);
        assert_eq!(users.judge(Some(&header("alice:wrong")), PEER, &checks).await, Verdict::Busy);
    }

    #[test]
    fn every_name_costs_a_check_of_one_of_the_hashes() {
        let users = users(&["alice", "bob", "carol"]);
        let mut compared = std::collections::BTreeSet::new();
        for number in 0..200 {
            let name = format!("nobody {number}");
            let hash = &users.stand_in(&name).unwrap().hash;
            assert_eq!(*hash, users.stand_in(&name).unwrap().hash, "the same one each time");
            compared.insert(hash.clone());
        }
        assert_eq!(compared.len(), 3, "unknown names cost what known ones do, also with hashes of different costs");
    }

    #[tokio::test]
    async fn few_checks_of_one_address_wait() {
        let checks = Checks::default();
        let waiting: Vec<_> = (0..MAX_WAITING_OF_ONE).map(|_| checks.wait(PEER).unwrap()).collect();
        assert!(checks.wait(PEER).is_none());
        assert!(checks.wait([10, 0, 0, 1].into()).is_some());
        drop(waiting);
        assert!(checks.wait(PEER).is_some());
    }
}
