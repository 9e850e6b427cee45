//! Client authentication rules in pg_hba.conf.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_hba::Hba>()
}
