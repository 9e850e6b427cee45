//! A file on this node, received piece by piece.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_file::NodeFile>()
}
