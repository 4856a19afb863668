//! The real `bot` process before a node that does every wrong thing a node can do.
//!
//! One test per fault. Each ends with a verdict that shares no code with the engine (`truth`), with `/readyz` at 200,
//! and with SIGTERM answered by exit 0. The process, the scripted node and the eyes are the floor's (`bench`).

mod answers;
mod connection;
mod listing;
mod measures;
mod operator;
mod pushes;
mod reorgs;
mod start;
