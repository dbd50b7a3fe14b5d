//! Which names a browser may have used to get here.
//!
//! Invariant: a listener on loopback answers only for loopback and for addresses. A page from elsewhere, whose name was made
//! to lead to 127.0.0.1 (DNS rebinding), would count as ours in the browser, and could read the names of files; but its
//! requests carry its own name.

use std::net::{IpAddr, Ipv6Addr};

/// True for `localhost`, names below it, and addresses, with or without a port.
pub(super) fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || is_port(port) => return address.parse::<Ipv6Addr>().is_ok(),
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if is_port(&format!(":{port}")) => name,
            Some(_) => return false,
            None => host,
        },
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_addresses_are_local() {
        for host in [
            "localhost",
            "LocalHost:9464",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1",
            "127.0.0.1:9464",
            "[::1]:9464",
            "[::1]",
            "192.0.2.7:80",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":9464",
            "notlocalhost",
            "[::1",
            "[::1]x",
            "[localhost]",
            "localhost:port",
            "127.0.0.1:9464:1",
            "localhost@evil.example",
            "[127.0.0.1].evil.example",
            "0x7f.1.evil.example",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
