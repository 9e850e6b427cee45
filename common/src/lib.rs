//! What all modules of the suite share, in layers: each folder uses only what stands above it in this list.
//!
//! * [`base`]: the call, its report and its error, secrets, time of day
//! * [`files`]: read, lock, replace whole
//! * [`hba`], [`conf`]: lossless text of pg_hba.conf and postgresql.conf
//! * [`replconn`]: the value of one replconninfoN
//! * [`standby_names`]: the value of synchronous_standby_names
//! * [`cluster`]: nodes and instances; static config, dynamic config, cluster_config.xml
//! * [`gauss`]: the outside programs and files of one server
//! * [`remote`]: a program run on other machines over ssh
//! * [`program`]: the command line of a module: JSON arguments in, one JSON object out, schemas, exit status, `--host`

pub mod base;
pub mod cluster;
pub mod conf;
pub mod files;
pub mod gauss;
pub mod hba;
pub mod program;
pub mod remote;
pub mod replconn;
pub mod standby_names;

pub use base::{clock, metrics};

/// The names that modules import, whichever layer has them.
pub mod protocol {
    pub use crate::base::*;
    pub use crate::program::*;
}
