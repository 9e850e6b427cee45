//! cluster_static_config and cluster_config.xml.

fn main() -> std::process::ExitCode {
    og_common::protocol::main::<og_static_conf::StaticConf>()
}
