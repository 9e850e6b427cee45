//! Commits of a probe on this node.

fn main() -> std::process::ExitCode {
    // As long as this is who called it: as the node's user it may not be able to read its own file any more.
    og_probe::worker::open_own_program();
    og_common::protocol::main::<og_probe::CommitProbe>()
}
