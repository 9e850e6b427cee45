//! Checkpoints of this node.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_checkpoint::Checkpoint>()
}
