//! Parameters in postgresql.conf.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_guc::Guc>()
}
