//! The stand-in for `gsql`; see [`og_lab::engine::postgres`].

fn main() -> std::process::ExitCode {
    og_lab::engine::postgres::gsql()
}
