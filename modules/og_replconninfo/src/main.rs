//! This node's replication channels.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_replconninfo::ReplConnInfo>()
}
