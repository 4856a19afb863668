//! Where a server is: its name looked up at a bounded rate, and never by a thread where it is a number.
//!
//! The library's own way with a bound on time is a thread for each call, and a question to the network for each. Here a
//! number is its own answer, and a name's is kept for [`KEPT`], or until a call fails. What has to be looked up is looked up
//! by the library, within its bound.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer holds: reads renew it, so that an order finds one.
const KEPT: Duration = Duration::from_secs(60);

/// The addresses of one server, known to everybody who calls it.
#[derive(Debug, Default)]
pub(super) struct Addresses<R = DefaultResolver> {
    known: Arc<Mutex<Option<Known>>>,
    resolver: R,
}

#[derive(Debug)]
struct Known {
    name: String,
    at: Instant,
    addresses: Vec<SocketAddr>,
}

impl Addresses {
    /// For another agent of the same server.
    pub(super) fn shared(&self) -> Self {
        Self { known: Arc::clone(&self.known), resolver: DefaultResolver::default() }
    }
}

impl<R> Addresses<R> {
    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call looks the name up: the server may have moved.
    pub(super) fn forget(&self) {
        *self.known() = None;
    }

    fn of(&self, name: &str) -> Option<Vec<SocketAddr>> {
        let known = self.known();
        let fresh = known.as_ref().filter(|known| known.name == name && known.at.elapsed() < KEPT)?;
        Some(fresh.addresses.clone())
    }
}

impl<R: Resolver> Resolver for Addresses<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let listed = |addresses: &[SocketAddr]| {
            let mut list = self.empty();
            addresses.iter().for_each(|address| list.push(*address));
            list
        };
        let Some(authority) = uri.authority() else { return self.resolver.resolve(uri, config, timeout) };
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if let Ok(number) = host.parse::<IpAddr>() {
            return Ok(listed(&[SocketAddr::new(number, authority.port_u16().unwrap_or(usual))]));
        }
        if let Some(addresses) = self.of(authority.as_str()) {
            return Ok(listed(&addresses));
        }
        let found = self.resolver.resolve(uri, config, timeout)?;
        let known = Known { name: authority.to_string(), at: Instant::now(), addresses: found.to_vec() };
        *self.known() = Some(known);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ureq::Timeout;

    use super::*;

    /// Knows one server, and counts who asks.
    #[derive(Debug, Default)]
    struct Counted(Arc<AtomicUsize>);

    impl Resolver for Counted {
        fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let mut list = self.empty();
            list.push("192.0.2.7:443".parse().unwrap());
            Ok(list)
        }
    }

    #[test]
    fn a_number_is_its_own_answer_and_a_name_is_looked_up_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let addresses = Addresses { known: Arc::default(), resolver: Counted(Arc::clone(&asked)) };
        let config = Config::builder().build();
        let find = |uri: &'static str| {
            let timeout = NextTimeout {
                after: Duration::from_secs(1).into(),
                reason: Timeout::Resolve,
                ..NextTimeout::default()
            };
            let found = addresses.resolve(&Uri::from_static(uri), &config, timeout).unwrap();
            (
                found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                asked.load(Ordering::SeqCst),
            )
        };
        let rows = [
            ("http://127.0.0.1:8080/v2", "127.0.0.1:8080", 0),
            ("https://[::1]/", "[::1]:443", 0),
            ("http://192.0.2.1/", "192.0.2.1:80", 0),
            ("https://broker.example/a", "192.0.2.7:443", 1),
            ("https://broker.example/b", "192.0.2.7:443", 1),
            ("https://other.example/", "192.0.2.7:443", 2),
        ];
        for (uri, found, asked) in rows {
            assert_eq!(find(uri), (found.to_owned(), asked), "{uri}");
        }
        addresses.forget();
        assert_eq!(find("https://other.example/").1, 3);
    }
}
