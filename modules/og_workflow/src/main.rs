//! What to call next on which node, to expand, drop or look at a cluster.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_workflow::Workflows>()
}
