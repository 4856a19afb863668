//! `auth`: parse, install the TLS provider, dispatch, exit code.

fn main() {}
