//! Names in the environment that are no settings and were meant as one: `BROKR=alpaca` must not leave the orders at
//! paper.
//!
//! The environment is everybody's, so a name is judged only by its shape. It is refused if it differs from a setting, or
//! from the `_FILE` of one, in
//! - its case alone, or
//! - one letter, or two (swapped neighbours are one) where its first letter is the setting's too, but no more than one for
//!   three letters of the setting's own (`APP_`, which half the world's programs begin with, is not its own). Of a
//!   setting with less than five letters (`LOT`, `CASH`) only one letter too many at its end.
//!
//! A name of [`USUAL`] is somebody else's whatever it looks like. An empty value says nothing and is not judged.

use super::problems::Problem;
use super::settings::{self, Setting};
use super::sources::Sources;
use crate::nearest::{SLIP_LETTERS_MAX, letters_between};

/// Common names of other programs that differ from a setting by so little.
const USUAL: [&str; 4] = ["BROWSER", "API_KEY", "API_SECRET", "LISTENER"];
/// A prefix that says nothing of whose a name is.
const NOBODYS_PREFIX: &str = "APP_";
/// A setting's letters for each letter that may be wrong.
const LETTERS_PER_SLIP: usize = 3;
/// Settings with fewer letters have too many words near them.
const SHORT_LETTERS: usize = 5;

/// One problem for each name in the environment that was probably meant as a setting.
pub(super) fn problems(sources: &dyn Sources) -> Vec<Problem> {
    let given = |name: &String| sources.variable(name).is_some_and(|value| !value.is_empty());
    let mut found: Vec<Problem> = sources
        .variable_names()
        .into_iter()
        .filter(given)
        .filter_map(|name| meant(&name).map(|(setting, right)| Problem::misspelt(setting, &name, &right)))
        .collect();
    found.sort_by(|one, other| one.wrong.cmp(&other.wrong));
    found
}

/// The setting that was meant by a name that is none, and how it is spelt (its own name, or that of its file).
fn meant(name: &str) -> Option<(&'static Setting, String)> {
    let upper = name.to_ascii_uppercase();
    let names = || {
        settings::all().flat_map(|setting| {
            let own = std::iter::once(setting.name.to_owned());
            own.chain(setting.file_variable()).map(move |right| (setting, right))
        })
    };
    if USUAL.contains(&upper.as_str()) || names().any(|(_, right)| right == name) {
        return None;
    }
    let slips = names().filter(|(_, right)| is_a_slip(&upper, right));
    slips.min_by_key(|(_, right)| letters_between(&upper, right))
}

fn is_a_slip(name: &str, right: &str) -> bool {
    if right.len() < SHORT_LETTERS {
        return name == right || (name.starts_with(right) && name.len() == right.len() + 1);
    }
    let own = right.strip_prefix(NOBODYS_PREFIX).unwrap_or(right).len();
    let allowed = (own / LETTERS_PER_SLIP).min(SLIP_LETTERS_MAX);
    let letters = letters_between(name, right);
    letters <= allowed.min(1) || (letters <= allowed && name.chars().next() == right.chars().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(name: &str) -> Option<String> {
        meant(name).map(|(_, right)| right)
    }

    #[test]
    fn a_slip_is_told_from_a_setting() {
        let rows = [
            ("BROKR", "BROKER"),
            ("BRKR", "BROKER"),
            ("BORKER", "BROKER"),
            ("broker", "BROKER"),
            ("Broker", "BROKER"),
            ("ORDER_OWNR", "ORDER_OWNER"),
            ("ORDER_OWNERS", "ORDER_OWNER"),
            ("ODER_OWNER", "ORDER_OWNER"),
            ("ORDERBOOKS", "ORDERBOOK"),
            ("ORDER_BOOK", "ORDERBOOK"),
            ("MAX_ORDER_SHARE", "MAX_ORDER_SHARES"),
            ("MAX_ORDER_NOTIONALS", "MAX_ORDER_NOTIONAL"),
            ("MAX_ORDERS_PER_MIN", ""),
            ("ALOW_SHORT", "ALLOW_SHORT"),
            ("CHAINID", "CHAIN_ID"),
            ("WS_RPC_URI", "WS_RPC_URL"),
            ("WS_RPC_URL_FIL", "WS_RPC_URL_FILE"),
            ("ALPACA_API_KEY_FLE", "ALPACA_API_KEY_FILE"),
            ("ALPACA_KEY", ""),
            ("LIVE_ACOUNT", "LIVE_ACCOUNT"),
            ("SYMBOL", "SYMBOLS"),
            ("LOTS", "LOT"),
            ("APP_TAGS", "APP_TAG"),
            ("DATABASE_URI", "DATABASE_URL"),
        ];
        for (name, meant) in rows {
            assert_eq!(right(name).unwrap_or_default(), meant, "{name}");
        }
    }

    #[test]
    fn no_setting_is_a_slip_of_another() {
        for setting in settings::all() {
            for name in [Some(setting.name.to_owned()), setting.file_variable()].into_iter().flatten() {
                assert_eq!(right(&name), None, "{name}");
            }
        }
    }

    /// What a login shell, systemd, container engines, Kubernetes, CI and other programs put into an environment.
    #[test]
    fn usual_environments_are_left_alone() {
        let usual = "
            PATH HOME USER LOGNAME SHELL TERM LANG LANGUAGE LC_ALL LC_CTYPE TZ PWD OLDPWD SHLVL EDITOR VISUAL PAGER LESS
            LS_COLORS LINES COLUMNS DISPLAY WAYLAND_DISPLAY XAUTHORITY XDG_RUNTIME_DIR XDG_SESSION_ID XDG_DATA_DIRS
            XDG_CONFIG_HOME XDG_SESSION_TYPE DBUS_SESSION_BUS_ADDRESS SSH_AUTH_SOCK SSH_AGENT_PID SSH_CLIENT
            SSH_CONNECTION SSH_TTY MAIL HOSTNAME HOSTTYPE OSTYPE MACHTYPE BROWSER COLORTERM TERM_PROGRAM TMUX STY WINDOWID
            MANPATH INFOPATH HISTFILE HISTSIZE PS1 PS4 PROMPT_COMMAND IFS _ SUDO_USER SUDO_UID SUDO_COMMAND TMPDIR TEMP TMP
            INVOCATION_ID JOURNAL_STREAM LISTEN_FDS LISTEN_PID LISTEN_FDNAMES NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID
            MAINPID MANAGERPID SYSTEMD_EXEC_PID SYSTEMD_LOG_LEVEL CREDENTIALS_DIRECTORY CONFIGURATION_DIRECTORY
            STATE_DIRECTORY CACHE_DIRECTORY LOGS_DIRECTORY RUNTIME_DIRECTORY EXIT_CODE EXIT_STATUS SERVICE_RESULT
            MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE container container_uuid DOCKER_HOST DOCKER_CONFIG
            DOCKER_CERT_PATH DOCKER_BUILDKIT COMPOSE_PROJECT_NAME COMPOSE_FILE BUILDKIT_HOST PODMAN_USERNS
            KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT KUBERNETES_PORT KUBERNETES_PORT_443_TCP POD_NAME POD_IP
            POD_NAMESPACE NODE_NAME NODE_ENV NODE_OPTIONS BROKER_SERVICE_HOST BROKER_SERVICE_PORT BROKER_PORT BROKER_URL
            CI GITHUB_ACTIONS GITHUB_TOKEN GITHUB_SHA GITHUB_REF GITHUB_WORKSPACE GITHUB_ENV RUNNER_OS RUNNER_TEMP
            GITLAB_CI CI_COMMIT_SHA CI_JOB_TOKEN BUILDKITE JENKINS_URL BUILD_ID BUILD_NUMBER BUILD_URL JOB_NAME WORKSPACE
            CARGO CARGO_HOME CARGO_MANIFEST_DIR CARGO_PKG_NAME CARGO_BUILD_JOBS CARGO_TERM_COLOR RUSTUP_HOME RUSTFLAGS
            RUSTC RUST_BACKTRACE RUST_LIB_BACKTRACE RUST_LOG_STYLE RUST_MIN_STACK RUST_TEST_THREADS LD_LIBRARY_PATH
            LD_PRELOAD NIX_PATH NIX_SSL_CERT_FILE NIX_STORE NIX_PROFILES NIX_REMOTE IN_NIX_SHELL name out src system shell
            builder stdenv phases buildInputs SSL_CERT_DIR SSLKEYLOGFILE CURL_CA_BUNDLE REQUESTS_CA_BUNDLE
            NODE_EXTRA_CA_CERTS HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY FTP_PROXY http_proxy https_proxy no_proxy
            all_proxy GIT_DIR GIT_EDITOR GIT_SSH_COMMAND PYTHONPATH PYTHONUNBUFFERED VIRTUAL_ENV PIP_INDEX_URL
            npm_config_cache GOPATH GOROOT JAVA_HOME DATABASE DATABASE_HOST DATABASE_NAME DB_URL REDIS_URL POSTGRES_URL
            API_KEY API_SECRET API_URL API_TOKEN APP_ENV APP_NAME APP_URL APP_PORT APP_DEBUG APP_HOME APP_ID APP_DATA
            APP_LANG APP_TZ APP_DIR APPDATA SECRET SECRET_KEY SECRET_KEY_BASE ACCESS_KEY BASE_DIR BASE_PATH BASE HOST PORT
            URL LOG LOGS LOG_LEVEL LOG_FILE LOG_DIR LOG_FORMATTER LOG_PATH LOG_TARGET LOCALE CHAIN CHAINS CHAIN_NAME
            NETWORK RPC_URL ETH_RPC_URL BASE_RPC_URL FOUNDRY_PROFILE ETHERSCAN_API_KEY INFURA_KEY ALCHEMY_KEY
            AWS_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY GOOGLE_APPLICATION_CREDENTIALS BOT BOTS JOBS WORKER WORKERS
            DOCKER CACHE DASH HASH SLOT PLOT ROOT LISTENER LISTEN_ADDR LISTEN_PORT OTEL_SERVICE_NAME SENTRY_DSN
            HEALTHCHECK_URL WEBHOOK_URL SLACK_WEBHOOK_URL ENVIRONMENT STAGE DEBUG VERBOSE HEAD VERSION
            LITESTREAM_ACCESS_KEY_ID MALLOC_ARENA_MAX GLIBC_TUNABLES TINI_VERSION S6_OVERLAY_VERSION FLY_APP_NAME DYNO
            COUNTERFILL_CASES_RUN_CLEAN";
        for name in usual.split_whitespace() {
            assert_eq!(right(name), None, "{name}");
        }
    }
}
