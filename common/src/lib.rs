//! What all modules of the suite share. Each folder is one idea:
//!
//! * [`protocol`]: JSON arguments in, one JSON object out, check mode, diff, schemas, exit status
//! * [`files`]: read, lock, replace whole
//! * [`hba`], [`conf`]: lossless text of pg_hba.conf and postgresql.conf
//! * [`replconn`]: the value of one replconninfoN
//! * [`standby_names`]: the value of synchronous_standby_names
//! * [`cluster`]: nodes and instances; static config, dynamic config, cluster_config.xml
//! * [`gauss`]: the outside programs and files of one server
//! * [`remote`]: a program run on other machines over ssh
//! * [`clock`]: time of day as text

pub mod clock;
pub mod cluster;
pub mod conf;
pub mod files;
pub mod gauss;
pub mod hba;
pub mod protocol;
pub mod remote;
pub mod replconn;
pub mod standby_names;
