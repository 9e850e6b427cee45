//! Our reading of pg_hba.conf and postgresql.conf held against real servers: files are made at random, good and bad ones,
//! and what we say of each is compared with what the server does.
//!
//! * [`write`]: makes the files
//! * [`server`]: a server that takes them: openGauss, and PostgreSQL for what the two have in common
//! * [`wire`]: knocks at its door and asks it
//! * [`compare`]: our answer and its answer

pub mod compare;
pub mod server;
pub mod wire;
pub mod write;

/// What goes wrong outside of a comparison.
pub type Result<T = ()> = std::result::Result<T, String>;
