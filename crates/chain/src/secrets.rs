//! What of a node's URL may never be shown: all but scheme and host, wherever it turns up again.
//!
//! A provider's key is a part of the path, of the query or of the login, and a node that refuses it likes to repeat it.
//! It refuses to know which part is the key. Invariant: no text that went through [`Secrets::hide`] holds the URL's path
//! and query, or a part of them of four characters or more, in any case and whether or not it is percent-encoded.

/// Shorter parts (`ws`, `v2`, `rpc`) are no keys, and stand in too many words.
const PART_BYTES_MIN: usize = 4;
/// What stands in a secret's place.
const HIDDEN: &str = "…";

/// The parts of a URL that may be a key.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    /// In lower case, the longest first.
    parts: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Those of this URL.
    pub(super) fn of(url: &str) -> Self {
        let rest = url.trim().split_once("://").map_or(url.trim(), |(_, rest)| rest);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, place) = rest.split_at(end);
        let mut parts: Vec<&str> = Vec::new();
        if let Some((login, _)) = authority.rsplit_once('@') {
            parts.push(login);
            parts.extend(login.split(':'));
        }
        parts.extend(place.split(['/', '?', '&', '=', '#', ';']));
        parts.retain(|part| part.len() >= PART_BYTES_MIN);
        // As a whole even where it is short: `/ws/k9`.
        parts.extend(
            [place, place.split(['?', '#']).next().unwrap_or_default()].iter().filter(|p| p.len() > 1),
        );
        let decoded =
            |part: &&str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().to_ascii_lowercase();
        let mut parts: Vec<String> =
            parts.iter().flat_map(|part| [part.to_ascii_lowercase(), decoded(part)]).collect();
        parts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        parts.dedup();
        Self { parts }
    }

    /// `text` without any of them.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for part in &self.parts {
            // Only ASCII changes its case, so that places are the same in both.
            let mut lower = text.to_ascii_lowercase();
            let mut from = 0;
            while let Some(at) = lower.get(from..).and_then(|rest| rest.find(part.as_str())) {
                let at = from + at;
                text.replace_range(at..at + part.len(), HIDDEN);
                lower.replace_range(at..at + part.len(), HIDDEN);
                from = at + HIDDEN.len();
            }
        }
        text
    }
}

/// Scheme and host of a URL: all of it that may be shown.
#[must_use]
pub fn shown(url: &str) -> String {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("ws", url.trim()));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_url_but_scheme_and_host_is_shown() {
        for (url, text) in [
            ("wss://user:pass@rpc.example:8443/v3/KEY?x=1", "wss://rpc.example:8443"),
            ("ws://127.0.0.1:8545", "ws://127.0.0.1:8545"),
            ("wss://rpc.example?key=KEY", "wss://rpc.example"),
        ] {
            assert_eq!(shown(url), text);
        }
    }

    #[test]
    fn no_part_of_a_url_that_may_be_a_key_is_shown() {
        let url = "wss://joe:pa%24word@node.example:8443/v3/KEY0123?apikey=Other99&x=1#frag";
        let secrets = Secrets::of(url);
        for (said, shown) in [
            ("invalid key KEY0123", "invalid key …"),
            ("invalid key key0123.", "invalid key …."),
            ("not found: /v3/KEY0123?apikey=Other99&x=1#frag", "not found: …"),
            ("GET /v3/KEY0123: no", "GET …: no"),
            ("login joe:pa%24word is over", "login … is over"),
            ("login pa$word is over", "login … is over"),
            ("node.example is closed, plan v3", "node.example is closed, plan v3"),
        ] {
            assert_eq!(secrets.hide(said), shown);
        }
        assert_eq!(Secrets::of("ws://127.0.0.1:8545").hide("as it is/"), "as it is/");
        assert_eq!(Secrets::of("ws://node.example/ws/k9").hide("no /ws/k9 here"), "no … here");
        assert_eq!(Secrets::of("ws://node.example/……").hide("……"), "…");
        assert_eq!(format!("{secrets:?}"), "Secrets { .. }");
    }
}
