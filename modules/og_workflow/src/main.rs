//! The workflows: what to call next on which node.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_workflow::Workflows>()
}
