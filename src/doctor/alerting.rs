//! The alert webhook: whether one is set, and on request whether it takes an alert. And whether the heartbeat's address
//! takes one.

use std::time::Duration;

use super::{Check, Finding, within};
use crate::alerts::{self, beat_now, post_now};

/// The longest that one POST can take: to find the host, to connect, to send, and twice to wait.
const LIMIT: Duration = Duration::from_secs(40);

pub(super) fn examine(options: Option<&alerts::Options>, test: bool) -> Check {
    let options = options.cloned();
    within("alerts", LIMIT, move || match options {
        None => Finding::warning(
            "ALERT_WEBHOOK_URL is not set: only the log is told when a person is needed",
            "Set ALERT_WEBHOOK_URL_FILE to a file with the webhook's address, or watch the log for ALERT",
        ),
        Some(options) if !test => {
            Finding::ok(format!("{} is set, and not tried; --test-alert posts one", options.url))
        }
        Some(options) => {
            match post_now(&options, "this is a test of `bot doctor --test-alert`; nothing is wrong") {
                Ok(()) => Finding::ok(format!("{} took a test alert", options.url)),
                Err(why) => Finding::failed(
                    format!("{} did not take a test alert: {why}", options.url),
                    "Look at ALERT_WEBHOOK_URL: make a new webhook at the receiver where this one was revoked",
                ),
            }
        }
    })
}

/// One heartbeat is sent: it says no more than that this machine is up now, which is so.
pub(super) fn heartbeat(watched: Option<&alerts::Watched>) -> Check {
    let watched = watched.cloned();
    within("heartbeat", LIMIT, move || match watched {
        None => Finding::ok("HEARTBEAT_URL is not set: nobody notices when this machine is dead"),
        Some(alerts::Watched { url, cert_file }) => match beat_now(&url, cert_file.as_deref()) {
            Ok(()) => {
                Finding::ok(format!("{url} took a heartbeat; a bot sends one a minute while it is ready"))
            }
            Err(why) => Finding::failed(
                format!("{url} did not take a heartbeat: {why}"),
                "Look at HEARTBEAT_URL: make a new check at the service where this one was deleted",
            ),
        },
    })
}
