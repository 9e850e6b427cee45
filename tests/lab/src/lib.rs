//! A cluster of openGauss nodes on one machine.
//!
//! Each node is a network namespace with its own address, host name and sshd, and a data directory with a real server in
//! it. A bridge in a namespace of its own joins them; a control namespace holds whoever manages the cluster. The
//! machine's own network is left alone.
//!
//! Two engines, one behaviour:
//! * [`Engine::OpenGauss`]: the real programs, of each installation that `OG_LAB_GAUSSHOME` names
//!   or that is found in /opt/openGauss* (see [`engine::opengauss`]);
//! * [`Engine::Postgres`]: a real PostgreSQL server behind stand-ins for `gs_ctl`, `gsql` and `gs_initdb` (see
//!   [`engine::postgres`]).
//!
//! ```no_run
//! use og_lab::{Engine, Lab, LabOptions, NodeSpec, Role};
//! # fn main() -> og_lab::Result<()> {
//! let lab = Lab::up(&LabOptions {
//!     name: "demo".into(),
//!     engine: Engine::Postgres,
//!     nodes: vec![
//!         NodeSpec::new("node1", Role::Primary),
//!         NodeSpec::new("node2", Role::Standby),
//!         NodeSpec::new("node3", Role::Spare),
//!     ],
//!     base_dir: None,
//!     programs: "target/debug".into(),
//! })?;
//! let status = lab
//!     .exec_ctl(["ansible-playbook", "-i"])
//!     .arg(lab.inventory_path())
//!     .arg("status.yml")
//!     .status();
//! lab.cut("node2")?;
//! lab.down()?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything here needs root (network namespaces, other users' processes).

mod cm;
pub mod engine;
mod error;
mod init;
mod inventory;
mod kills;
mod lab;
mod machine;
mod net;
mod node;
mod ssh;
pub mod wire;

pub use cm::cm_for;
pub use engine::Engine;
pub use engine::opengauss::{Installation, installations, none_installed};
pub use error::{Error, Result};
pub use kills::{KillPoints, has_turns, is_turn_of};
pub use lab::{Lab, LabOptions, checkout_tag, missing};
pub use machine::{machines_obstacle, systemd_obstacle};
pub use node::{LabNode, NodeKind, NodeSpec, Role};
