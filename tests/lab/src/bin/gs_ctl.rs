//! The stand-in for `gs_ctl`; see [`og_lab::engine::postgres`].

fn main() -> std::process::ExitCode {
    og_lab::engine::postgres::gs_ctl()
}
