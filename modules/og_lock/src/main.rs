//! One workflow at a time on a cluster.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_lock::Lock>()
}
