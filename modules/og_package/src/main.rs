//! openGauss's program files on this node.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_package::Package>()
}
