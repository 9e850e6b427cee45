//! Whether a host is this machine.

use std::net::{IpAddr, TcpListener, ToSocketAddrs};

use super::ChannelHost;

/// Whether a server here can listen on this host: what it tries when it starts, and dies of when it cannot.
///
/// # Errors
/// The resolver's words when the host is a name that has no address.
pub fn is_local(host: &ChannelHost) -> Result<bool, String> {
    // Both the address given and any free port are the server's own way in; a link-local address needs its scope.
    let place = (host.text(), 0_u16);
    let addresses = place.to_socket_addrs().map_err(|error| error.to_string())?;
    // An address family the kernel lacks cannot be listened on either.
    Ok(addresses.into_iter().any(|address| TcpListener::bind(address).is_ok()))
}

/// The addresses of this machine's interfaces, for people to choose from; loopback left out.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else { continue };
        let address = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            (_, Some(v6)) => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        if !address.is_loopback() && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_others() {
        assert_eq!(is_local(&ChannelHost::new("127.0.0.1")), Ok(true));
        assert_eq!(is_local(&ChannelHost::new("localhost")), Ok(true));
        // Set aside for documents (RFC 5737): nobody's.
        assert_eq!(is_local(&ChannelHost::new("192.0.2.77")), Ok(false));
        assert!(
            addresses().iter().all(|address| is_local(&ChannelHost::new(address.to_string())) != Ok(false)
                || matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        );
    }
}
