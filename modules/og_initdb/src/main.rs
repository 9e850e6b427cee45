//! The data directory of this node.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_initdb::Initdb>()
}
