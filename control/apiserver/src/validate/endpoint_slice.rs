//! EndpointSlice.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::field_error::{Errors, Path};
use super::names;
use crate::kinds::Kind;

const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;
const MAX_ADDRESSES: usize = 100;

pub(crate) fn endpoint_slice(_: &Kind, slice: &Value, errors: &mut Errors) {
    let address_type = slice["addressType"].as_str().unwrap_or_default();
    let path = Path::root("addressType");
    if address_type.is_empty() {
        errors.required(&path, "");
    } else if !ADDRESS_TYPES.contains(&address_type) {
        errors.not_supported(&path, address_type, &ADDRESS_TYPES);
    }
    endpoints(&slice["endpoints"], address_type, errors);
    ports(&slice["ports"], errors);
}

pub(crate) fn endpoint_slice_update(new: &Value, old: &Value, errors: &mut Errors) {
    if new["addressType"] != old["addressType"] {
        let value = new["addressType"].clone();
        errors.invalid(&Path::root("addressType"), value, "field is immutable");
    }
}

fn endpoints(endpoints: &Value, address_type: &str, errors: &mut Errors) {
    let path = Path::root("endpoints");
    let endpoints = endpoints.as_array().map_or(&[][..], Vec::as_slice);
    if endpoints.len() > MAX_ENDPOINTS {
        return errors.too_many(&path, endpoints.len(), MAX_ENDPOINTS);
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(index);
        let path = path.child("addresses");
        let addresses = endpoint["addresses"].as_array().map_or(&[][..], Vec::as_slice);
        if addresses.is_empty() {
            errors.required(&path, "must contain at least 1 address");
        } else if addresses.len() > MAX_ADDRESSES {
            errors.too_many(&path, addresses.len(), MAX_ADDRESSES);
            continue;
        }
        for (index, address) in addresses.iter().enumerate() {
            let text = address.as_str().unwrap_or_default();
            if let Some(why) = address_problem(text, address_type) {
                errors.invalid(&path.index(index), text, &why);
            }
        }
    }
}

fn address_problem(text: &str, address_type: &str) -> Option<String> {
    match address_type {
        "IPv4" => match text.parse::<Ipv4Addr>() {
            Err(_) => Some("must be an IPv4 address".to_owned()),
            Ok(ip) => special(
                ip.is_unspecified(),
                ip.is_loopback(),
                ip.is_link_local(),
                ip.is_multicast() && ip.octets()[..3] == [224, 0, 0],
                ("127.0.0.0/8, ::1/128", "169.254.0.0/16, fe80::/10", "224.0.0.0/24, ff02::/10"),
            ),
        },
        "IPv6" => match text.parse::<Ipv6Addr>() {
            Err(_) => Some("must be an IPv6 address".to_owned()),
            Ok(ip) => special(
                ip.is_unspecified(),
                ip.is_loopback(),
                ip.is_unicast_link_local(),
                ip.segments()[0] & 0xff0f == 0xff02,
                ("127.0.0.0/8, ::1/128", "169.254.0.0/16, fe80::/10", "224.0.0.0/24, ff02::/10"),
            ),
        },
        "FQDN" => names::rfc1123_subdomain(text).into_iter().next(),
        _ => None,
    }
}

/// Addresses that lead nowhere, or to the node that dials them.
fn special(
    unspecified: bool,
    loopback: bool,
    link_local: bool,
    link_local_multicast: bool,
    ranges: (&str, &str, &str),
) -> Option<String> {
    if unspecified {
        Some("may not be unspecified (0.0.0.0 or ::)".to_owned())
    } else if loopback {
        Some(format!("may not be in the loopback range ({})", ranges.0))
    } else if link_local {
        Some(format!("may not be in the link-local range ({})", ranges.1))
    } else if link_local_multicast {
        Some(format!("may not be in the link-local multicast range ({})", ranges.2))
    } else {
        None
    }
}

fn ports(ports: &Value, errors: &mut Errors) {
    let path = Path::root("ports");
    let ports = ports.as_array().map_or(&[][..], Vec::as_slice);
    if ports.len() > MAX_PORTS {
        return errors.too_many(&path, ports.len(), MAX_PORTS);
    }
    let mut seen = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port["name"].as_str().unwrap_or_default();
        if !name.is_empty() {
            for why in names::rfc1123_label(name) {
                errors.invalid(&path.child("name"), name, &why);
            }
        }
        if seen.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        seen.push(name);
        let protocol = port["protocol"].as_str().unwrap_or_default();
        if !PROTOCOLS.contains(&protocol) {
            errors.not_supported(&path.child("protocol"), protocol, &PROTOCOLS);
        }
        if let Some(number) = port["port"].as_i64() {
            for why in names::port_number(number) {
                errors.invalid(&path.child("port"), number, &why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn problems(slice: Value) -> Vec<String> {
        let mut errors = Errors::default();
        let kind = kinds::find("discovery.k8s.io", "v1", "endpointslices").unwrap();
        endpoint_slice(kind, &slice, &mut errors);
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_of_their_family() {
        let slice = |family: &str, address: &str| {
            json!({"addressType": family, "endpoints": [{"addresses": [address]}],
                "ports": [{"name": "", "protocol": "TCP", "port": 80}]})
        };
        assert!(problems(slice("IPv4", "10.0.0.1")).is_empty());
        assert!(problems(slice("IPv6", "fd00::1")).is_empty());
        assert_eq!(
            problems(slice("IPv6", "10.0.0.1")),
            ["endpoints[0].addresses[0]: Invalid value: \"10.0.0.1\": must be an IPv6 address"]
        );
        assert_eq!(
            problems(slice("IPv6", "::1")),
            [
                "endpoints[0].addresses[0]: Invalid value: \"::1\": may not be in the loopback range \
              (127.0.0.0/8, ::1/128)"
            ]
        );
        assert_eq!(
            problems(slice("X", "a")),
            [
                "addressType: Unsupported value: \"X\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""
            ]
        );
    }

    #[test]
    fn ports_are_told_apart_by_name() {
        let slice = json!({"addressType": "IPv4", "ports": [
            {"name": "", "protocol": "TCP", "port": 0}, {"name": "", "protocol": "TCP"}]});
        assert_eq!(
            problems(slice),
            [
                "ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "ports[1].name: Duplicate value: \"\"",
            ]
        );
    }
}
