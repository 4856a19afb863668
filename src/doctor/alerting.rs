//! The alert webhook: whether one is set, and on request whether it takes an alert.

use std::time::Duration;

use super::{Check, Finding, within};
use crate::alerts::{self, post_now};

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
