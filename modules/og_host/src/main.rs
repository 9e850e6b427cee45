//! What a node's operating system must have.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_host::Host>()
}
