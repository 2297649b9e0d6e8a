//! What a Service's spec asks to be given, by the rules of Kubernetes' Service strategy.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use viaduct_net::Family;

use super::{Allocator, Owner};
use crate::{object, validate::FieldError};

pub(super) fn owner(service: &Value) -> Owner {
    format!("{}/{}", object::namespace(service), object::name(service))
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub(super) fn addresses(service: &Value) -> Vec<IpAddr> {
    texts(&service["spec"]["clusterIPs"]).iter().filter_map(|text| text.parse().ok()).collect()
}

fn port_number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

pub(super) fn node_ports(service: &Value) -> Vec<u16> {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
    ports.chain([&spec["healthCheckNodePort"]]).filter_map(port_number).collect()
}

fn has_cluster_ip(spec: &Value) -> bool {
    spec["type"] != "ExternalName"
}

fn has_node_ports(spec: &Value) -> bool {
    spec["type"] == "NodePort" || spec["type"] == "LoadBalancer"
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_u64() == Some(0),
        _ => false,
    }
}

/// Puts what was given to `old` into an update that leaves it out, so that a manifest applied
/// again changes nothing. To be done before validation.
pub(crate) fn carry_over(new: &mut Value, old: &Value) {
    let before = &old["spec"];
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let is = |kind: &str, spec: &Map<String, Value>| spec.get("type").is_some_and(|t| t == kind);
    if is("ExternalName", spec) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if spec.get(field) == before.get(field) {
                spec.shift_remove(field);
            }
        }
        return;
    }
    if has_cluster_ip(before) {
        for field in ["ipFamilyPolicy", "ipFamilies", "clusterIP", "clusterIPs"] {
            if spec.get(field).is_none_or(is_empty) && !is_empty(&before[field]) {
                spec.insert(field.to_owned(), before[field].clone());
            }
        }
        if spec.get("ipFamilyPolicy").is_some_and(|policy| policy == "SingleStack") {
            for field in ["ipFamilies", "clusterIPs"] {
                if spec.get(field) == before.get(field)
                    && let Some(list) = spec.get_mut(field).and_then(Value::as_array_mut)
                {
                    list.truncate(1);
                }
            }
        }
    }
    let external = is("NodePort", spec) || is("LoadBalancer", spec);
    if !external || !has_node_ports(before) {
        return;
    }
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for port in ports.filter(|port| is_empty(&port["nodePort"])) {
        let same = before["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["port"] == port["port"] && one["protocol"] == port["protocol"]);
        if let Some(node_port) = same.map(|one| &one["nodePort"]).filter(|p| !is_empty(p)) {
            port["nodePort"] = node_port.clone();
        }
    }
    if !spec.contains_key("healthCheckNodePort")
        && wants_health_check(spec)
        && !is_empty(&before["healthCheckNodePort"])
    {
        spec.insert("healthCheckNodePort".to_owned(), before["healthCheckNodePort"].clone());
    }
}

fn wants_health_check(spec: &Map<String, Value>) -> bool {
    let is = |field: &str, text: &str| spec.get(field).is_some_and(|value| value == text);
    is("type", "LoadBalancer") && is("externalTrafficPolicy", "Local")
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn family_of_name(name: &str) -> Option<Family> {
    Family::ALL.into_iter().find(|family| family_name(*family) == name)
}

impl Allocator {
    /// Fills in what the service is to be given. Nothing is noted as taken yet.
    pub(crate) fn complete(&self, service: &mut Value) -> Vec<FieldError> {
        let owner = owner(service);
        let mut errors = Vec::new();
        let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else {
            return errors;
        };
        if spec.get("type").is_some_and(|kind| kind == "ExternalName") {
            return errors;
        }
        match self.families(spec) {
            Ok(families) => errors.extend(self.complete_addresses(spec, &families, &owner)),
            Err(error) => errors.push(*error),
        }
        errors.extend(self.complete_ports(spec, &owner));
        errors
    }

    /// Settles `ipFamilyPolicy` and `ipFamilies`, and makes `clusterIP` and `clusterIPs` agree.
    fn families(&self, spec: &mut Map<String, Value>) -> Result<Vec<Family>, Box<FieldError>> {
        let at = |field: &str| spec.get(field).cloned().unwrap_or_default();
        let mut requested = texts(&at("clusterIPs"));
        if let Some(first) = at("clusterIP").as_str().filter(|ip| !ip.is_empty())
            && requested.is_empty()
        {
            requested.push(first.to_owned());
        }
        let headless = requested.first().is_some_and(|ip| ip == "None");
        let mut families = Vec::new();
        for (index, name) in texts(&at("ipFamilies")).iter().enumerate() {
            let family = family_of_name(name).filter(|family| self.range(*family).is_some());
            families.push(family.ok_or_else(|| {
                let field = format!("spec.ipFamilies[{index}]");
                let why = "not configured on this cluster";
                Box::new(FieldError::invalid(field, name.as_str().into(), why))
            })?);
        }
        let is_dual = self.ranges.len() > 1;
        let selects =
            spec.get("selector").and_then(Value::as_object).is_some_and(|s| !s.is_empty());
        let policy = match at("ipFamilyPolicy").as_str() {
            Some(policy) if !policy.is_empty() => policy.to_owned(),
            _ if families.len() > 1 || requested.len() > 1 => "RequireDualStack".to_owned(),
            // Whoever writes the endpoints of such a service decides on the families.
            _ if headless && !selects && families.is_empty() && is_dual => {
                "RequireDualStack".to_owned()
            }
            _ => "SingleStack".to_owned(),
        };
        let invalid_policy = |why: &str| {
            let value = policy.as_str().into();
            Err(Box::new(FieldError::invalid("spec.ipFamilyPolicy", value, why)))
        };
        if policy == "RequireDualStack" && !is_dual {
            return invalid_policy("this cluster is not configured for dual-stack services");
        }
        if policy == "SingleStack" && (families.len() > 1 || requested.len() > 1) {
            return invalid_policy(
                "must be RequireDualStack or PreferDualStack when multiple IP families are \
                 specified",
            );
        }
        if families.is_empty() {
            let of_request = requested.iter().filter_map(|ip| ip.parse().ok().map(Family::of));
            families.extend(of_request);
        }
        if families.is_empty() {
            families.extend(self.ranges.first().map(|range| range.prefix.family()));
        }
        if policy != "SingleStack" && families.len() == 1 {
            let others = self.ranges.iter().map(|range| range.prefix.family());
            families.extend(others.filter(|family| *family != families[0]).collect::<Vec<_>>());
        }
        spec.insert("ipFamilyPolicy".to_owned(), policy.into());
        let names = families.iter().map(|family| family_name(*family)).collect::<Vec<_>>();
        spec.insert("ipFamilies".to_owned(), json!(names));
        if let Some(first) = requested.first() {
            spec.insert("clusterIP".to_owned(), first.as_str().into());
            spec.insert("clusterIPs".to_owned(), json!(requested));
        }
        Ok(families)
    }

    fn complete_addresses(
        &self,
        spec: &mut Map<String, Value>,
        families: &[Family],
        owner: &str,
    ) -> Option<FieldError> {
        let mut given = texts(spec.get("clusterIPs").unwrap_or(&Value::Null));
        if given.first().is_some_and(|ip| ip == "None") {
            return None;
        }
        for (index, family) in families.iter().enumerate() {
            let Some(range) = self.range(*family) else { continue };
            match given.get(index) {
                Some(text) => {
                    if let Err(error) = self.check_address(text, index, *family, owner) {
                        return Some(*error);
                    }
                }
                None => match range.free(|address| self.addresses.contains_key(&address)) {
                    Some(address) => given.push(address.to_string()),
                    None => {
                        return Some(FieldError::invalid(
                            "spec.clusterIPs",
                            json!(given),
                            "failed to allocate a serviceIP: range is full",
                        ));
                    }
                },
            }
        }
        if let Some(first) = given.first() {
            spec.insert("clusterIP".to_owned(), first.as_str().into());
            spec.insert("clusterIPs".to_owned(), json!(given));
        }
        None
    }

    fn check_address(
        &self,
        text: &str,
        index: usize,
        family: Family,
        owner: &str,
    ) -> Result<(), Box<FieldError>> {
        let field = format!("spec.clusterIPs[{index}]");
        let address: IpAddr = text.parse().map_err(|_e: std::net::AddrParseError| {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            Box::new(FieldError::invalid(field.clone(), text.into(), why))
        })?;
        if Family::of(address) != family {
            let name = family_name(family);
            let why = format!("expected an {name} value as indicated by `ipFamilies[{index}]`");
            return Err(Box::new(FieldError::invalid(field, text.into(), &why)));
        }
        let failed = |why: String| {
            let why = format!("failed to allocate IP {address}: {why}");
            Err(Box::new(FieldError::invalid("spec.clusterIPs", json!([text]), &why)))
        };
        if self.addresses.get(&address).is_some_and(|other| other == owner) {
            return Ok(());
        }
        match self.range(family) {
            Some(range) if range.offset(address).is_none() => failed(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is \
                 {}",
                range.prefix
            )),
            _ if self.addresses.contains_key(&address) => {
                failed("provided IP is already allocated".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn complete_ports(&self, spec: &mut Map<String, Value>, owner: &str) -> Vec<FieldError> {
        let is = |field: &str, value: Value| spec.get(field) == Some(&value);
        let external = is("type", "NodePort".into()) || is("type", "LoadBalancer".into());
        let on_request =
            is("type", "LoadBalancer".into()) && is("allocateLoadBalancerNodePorts", false.into());
        let health_check = wants_health_check(spec);
        let mut errors = Vec::new();
        if !external {
            return errors;
        }
        // Port of the service, protocol and node port, of those that have one.
        let mut mine: Vec<(Value, Value, u16)> = Vec::new();
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        let mut ports: Vec<&mut Value> = ports.into_iter().flatten().collect();
        for (index, port) in ports.iter().enumerate() {
            if let Some(number) = port_number(&port["nodePort"]) {
                errors.extend(self.check_port(
                    number,
                    &format!("spec.ports[{index}].nodePort"),
                    owner,
                ));
                mine.push((port["port"].clone(), port["protocol"].clone(), number));
            }
        }
        for (index, port) in ports.iter_mut().enumerate() {
            if on_request || port_number(&port["nodePort"]).is_some() {
                continue;
            }
            // One port for TCP and UDP has one node port for both.
            let shared = mine.iter().find(|(number, protocol, node_port)| {
                *number == port["port"]
                    && *protocol != port["protocol"]
                    && !mine.iter().any(|(_, p, n)| n == node_port && *p == port["protocol"])
            });
            let taken: Vec<u16> = mine.iter().map(|(.., node_port)| *node_port).collect();
            match shared.map(|(.., node_port)| *node_port).or_else(|| self.free_port(&taken)) {
                Some(number) => {
                    mine.push((port["port"].clone(), port["protocol"].clone(), number));
                    port["nodePort"] = number.into();
                }
                None => errors.push(FieldError::invalid(
                    format!("spec.ports[{index}].nodePort"),
                    0.into(),
                    "failed to allocate a nodePort: range is full",
                )),
            }
        }
        if health_check {
            let asked = spec.get("healthCheckNodePort").and_then(port_number);
            let taken: Vec<u16> = mine.iter().map(|(.., node_port)| *node_port).collect();
            match asked {
                Some(number) if taken.contains(&number) => errors.push(FieldError::invalid(
                    "spec.healthCheckNodePort",
                    number.into(),
                    "provided port is already allocated",
                )),
                Some(number) => {
                    errors.extend(self.check_port(number, "spec.healthCheckNodePort", owner));
                }
                None => match self.free_port(&taken) {
                    Some(number) => {
                        spec.insert("healthCheckNodePort".to_owned(), number.into());
                    }
                    None => errors.push(FieldError::invalid(
                        "spec.healthCheckNodePort",
                        0.into(),
                        "failed to allocate a nodePort: range is full",
                    )),
                },
            }
        }
        errors
    }

    fn check_port(&self, number: u16, field: &str, owner: &str) -> Option<FieldError> {
        let invalid = |why: &str| Some(FieldError::invalid(field, number.into(), why));
        match self.ports.get(&number) {
            Some(other) if other == owner => None,
            Some(_) => invalid("provided port is already allocated"),
            None if !self.node_ports.contains(&number) => invalid(&format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                self.node_ports.start(),
                self.node_ports.end()
            )),
            None => None,
        }
    }
}
