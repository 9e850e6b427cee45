//! Build this standby from its primary.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_build::Build>()
}
