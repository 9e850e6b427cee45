//! Namespaces, and the wires between them. Nothing appears in the machine's own namespace but the names of the new ones.

use std::process::Command;

use crate::error::{Result, run};

/// `ip ARGS`.
fn ip(args: &[&str]) -> Result<String> {
    run(Command::new("ip").args(args))
}

/// Makes a namespace with its loopback up.
pub(crate) fn add_namespace(namespace: &str) -> Result<()> {
    ip(&["netns", "add", namespace])?;
    ip(&["-n", namespace, "link", "set", "lo", "up"])?;
    Ok(())
}

/// Makes the bridge in its namespace.
pub(crate) fn add_bridge(namespace: &str) -> Result<()> {
    ip(&["-n", namespace, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0"])?;
    ip(&["-n", namespace, "link", "set", "br0", "up"])?;
    Ok(())
}

/// Wires a namespace to the bridge: `eth0` with this address inside, `port` at the bridge.
pub(crate) fn plug_in(bridge: &str, port: &str, namespace: &str, address: &str) -> Result<()> {
    ip(&["-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", bridge])?;
    ip(&["-n", bridge, "link", "set", port, "master", "br0", "up"])?;
    ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
    ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
    Ok(())
}

/// Takes the wire at this port of the bridge up or down.
pub(crate) fn set_link(bridge: &str, port: &str, up: bool) -> Result<()> {
    ip(&["-n", bridge, "link", "set", port, if up { "up" } else { "down" }])?;
    Ok(())
}

/// The names of all namespaces that begin with `prefix`.
pub(crate) fn list(prefix: &str) -> Result<Vec<String>> {
    Ok(ip(&["netns", "list"])?
        .lines()
        .filter_map(|l| l.split_whitespace().next())
        .filter(|n| n.starts_with(prefix))
        .map(str::to_owned)
        .collect())
}

/// The processes inside a namespace.
pub(crate) fn pids(namespace: &str) -> Result<Vec<i32>> {
    Ok(ip(&["netns", "pids", namespace])?.lines().filter_map(|l| l.trim().parse().ok()).collect())
}

/// Removes a namespace and, with it, its wires.
pub(crate) fn delete(namespace: &str) -> Result<()> {
    ip(&["netns", "del", namespace])?;
    Ok(())
}
