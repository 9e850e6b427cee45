//! The server of this node.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_node_state::NodeStateModule>()
}
