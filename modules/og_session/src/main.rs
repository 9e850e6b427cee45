//! Long transactions of clients on this node.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_session::Sessions>()
}
