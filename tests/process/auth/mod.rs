//! The login as a person meets it: `auth` as a process, the double behind TLS with an authority of its own, a browser that
//! is played by the test, and a bot beside them that is never started again. Every test ends with a look through all that
//! was printed, logged, served and written for what must be nowhere.

mod beside;
mod desk;
mod listening;
mod pasting;
mod status;
