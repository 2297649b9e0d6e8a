//! What another file would change of a speaker that runs by one, before it is read.

use std::collections::BTreeMap;

use bgp_speaker::{Config, LocalAddresses, PeerConfig};
use serde::Serialize;
use serde_norway::Value;
use viaduct_api::v1alpha1::BGPPeerSpec;
use viaduct_net::RouterId;

use super::{Passwords, documents::Documents, password_sources, standalone};

/// Stands among the fields of a peer for what its `passwordFile` holds.
const PASSWORD: &str = "password";

/// Two good files, and the speaker that reads them.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    pub before: &'a Documents,
    pub after: &'a Documents,
    pub router_id: RouterId,
    pub addresses: LocalAddresses,
    /// Those that the speaker runs with, and those that it would find now. They are compared and
    /// shown to nobody, so anything may stand for them that differs where they do.
    pub passwords_before: &'a Passwords,
    pub passwords_after: &'a Passwords,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Fields that a running speaker does not take over: it has to be started anew.
    pub needs_restart: Vec<String>,
    /// Other fields of the BGPConfiguration.
    pub configuration: Vec<String>,
    pub added: Vec<PeerName>,
    pub removed: Vec<PeerName>,
    pub changed: Vec<PeerChange>,
    /// Names of what is replayed anew, or no more.
    pub replays: Vec<String>,
}

/// A neighbour is another where its address is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerName {
    pub name: String,
    /// Its address, the interface that it is behind, or the prefix that it comes from.
    pub at: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerChange {
    #[serde(flatten)]
    pub peer: PeerName,
    /// What is written otherwise; `import` and `export` are the policies, `password` is what the
    /// file of one holds.
    pub fields: Vec<String>,
    /// Those of them for which the session ends and comes up anew; none where it goes on.
    pub ends_session: Vec<String>,
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Comparison<'_> {
    pub fn difference(&self) -> Difference {
        let mut difference = Difference::default();
        let fields = differing(&self.before.configuration, &self.after.configuration);
        for field in fields {
            let list = match field.as_str() {
                "asn" | "listenPort" => &mut difference.needs_restart,
                _ => &mut difference.configuration,
            };
            list.push(format!("spec.{field}"));
        }
        let (old, new) = (&self.before.peers, &self.after.peers);
        let name =
            |name: &String, spec: &BGPPeerSpec| PeerName { name: name.clone(), at: place(spec) };
        let is_in = |peers: &BTreeMap<String, BGPPeerSpec>, at: String| {
            peers.values().any(|spec| place(spec) == at)
        };
        let only = |these: &BTreeMap<String, BGPPeerSpec>, others| {
            let alone = these.iter().filter(|(_, spec)| !is_in(others, place(spec)));
            alone.map(|(one, spec)| name(one, spec)).collect()
        };
        difference.removed = only(old, new);
        difference.added = only(new, old);
        difference.replays = differing(&self.before.replays, &self.after.replays);
        let config = self.config(old, self.passwords_before);
        let wanted = self.config(new, self.passwords_after);
        for (one, spec) in new {
            let Some((_, before)) = old.iter().find(|(_, old)| place(old) == place(spec)) else {
                continue;
            };
            let mut fields = differing(before, spec);
            if self.has_other_password(before, spec) {
                fields.push(PASSWORD.to_owned());
            }
            let (was, is) = (peer(&config, spec), peer(&wanted, spec));
            // A hold time may come from the BGPConfiguration, and then no field of the peer says so.
            if fields.is_empty() && was == is {
                continue;
            }
            let survives = was.zip(is).is_none_or(|(was, is)| was.session_survives(is));
            let ends_session =
                if survives { Vec::new() } else { self.reasons(one, before, spec, &fields) };
            difference.changed.push(PeerChange { peer: name(one, spec), fields, ends_session });
        }
        difference
    }

    /// Each field by itself: is the session another for it? All where it is for none alone.
    fn reasons(
        &self,
        name: &str,
        before: &BGPPeerSpec,
        after: &BGPPeerSpec,
        fields: &[String],
    ) -> Vec<String> {
        let plain = |spec: &BGPPeerSpec| BGPPeerSpec { import: None, export: None, ..spec.clone() };
        let (before, after) = (plain(before), plain(after));
        let of = |spec: BGPPeerSpec, passwords| {
            let config = self.config(&BTreeMap::from([(name.to_owned(), spec)]), passwords)?;
            peer(&Some(config), &before).cloned()
        };
        let Some(was) = of(before.clone(), self.passwords_before) else { return fields.to_vec() };
        // A source that both name is as it was: what it holds is a reason of its own.
        let mut passwords = self.passwords_after.clone();
        passwords.extend(self.passwords_before.clone());
        let ends = |field: &&String| {
            let one = match field.as_str() {
                PASSWORD => of(before.clone(), self.passwords_after),
                field => with_field(&before, &after, field).and_then(|spec| of(spec, &passwords)),
            };
            one.is_some_and(|is| !was.session_survives(&is))
        };
        let reasons: Vec<_> = fields.iter().filter(ends).cloned().collect();
        if reasons.is_empty() { fields.to_vec() } else { reasons }
    }

    /// By the configuration of the file as it is to be: what only that says is no peer's doing.
    fn config(
        &self,
        peers: &BTreeMap<String, BGPPeerSpec>,
        passwords: &Passwords,
    ) -> Option<Config> {
        let configuration = &self.after.configuration;
        standalone(configuration, self.router_id, self.addresses, peers, passwords).ok()
    }

    /// Whether the same source holds another now.
    fn has_other_password(&self, before: &BGPPeerSpec, after: &BGPPeerSpec) -> bool {
        let before: Vec<_> = password_sources(before).collect();
        let is_other = |source| {
            let (was, is) = (self.passwords_before.get(&source), self.passwords_after.get(&source));
            was.is_some() && was != is
        };
        password_sources(after).any(|source| before.contains(&source) && is_other(source))
    }
}

/// A neighbour is another where this is.
fn place(spec: &BGPPeerSpec) -> String {
    let address = spec.address.map(|address| address.to_string());
    let prefix = || spec.address_range.map(|prefix| prefix.to_string());
    address.or_else(|| spec.interface.clone()).or_else(prefix).unwrap_or_default()
}

fn peer<'a>(config: &'a Option<Config>, spec: &BGPPeerSpec) -> Option<&'a PeerConfig> {
    let config = config.as_ref()?;
    match (spec.address, &spec.interface) {
        (Some(address), _) => config.peers.get(&address),
        (None, Some(interface)) => config.interfaces.get(interface),
        (None, None) => config.ranges.get(&spec.address_range?).map(|range| &range.peer),
    }
}

fn fields_of(spec: &impl Serialize) -> BTreeMap<String, Value> {
    let value = serde_norway::to_value(spec).unwrap_or_default();
    let Value::Mapping(fields) = value else { return BTreeMap::new() };
    fields.into_iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value))).collect()
}

/// The fields that are not the same, by name.
fn differing(before: &impl Serialize, after: &impl Serialize) -> Vec<String> {
    let (before, after) = (fields_of(before), fields_of(after));
    let mut names: Vec<_> = before.keys().chain(after.keys()).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| before.get(name) != after.get(name));
    names
}

/// A spec with one field of another.
fn with_field(before: &BGPPeerSpec, after: &BGPPeerSpec, field: &str) -> Option<BGPPeerSpec> {
    let mut fields = fields_of(before);
    match fields_of(after).remove(field) {
        Some(value) => fields.insert(field.to_owned(), value),
        None => fields.remove(field),
    };
    serde_norway::from_value(serde_norway::to_value(fields).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::{
        super::documents::{self, parse},
        *,
    };

    fn file(configuration: &str, peers: &[(&str, &str)]) -> String {
        let mut text = format!(
            "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\n\
             metadata: {{name: default}}\nspec: {{{configuration}}}\n"
        );
        for (name, spec) in peers {
            text += &format!(
                "---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\n\
                 metadata: {{name: {name}}}\nspec: {{{spec}}}\n"
            );
        }
        text
    }

    fn difference(before: &str, after: &str) -> Difference {
        let (before, after) = (parse(before).unwrap(), parse(after).unwrap());
        let comparison = Comparison {
            before: &before,
            after: &after,
            router_id: "192.0.2.1".parse().unwrap(),
            addresses: LocalAddresses { v4: Some([192, 0, 2, 1].into()), v6: None },
            passwords_before: &Passwords::new(),
            passwords_after: &Passwords::new(),
        };
        comparison.difference()
    }

    #[test]
    fn a_file_differs_by_what_a_session_feels() {
        let before = file(
            "asn: 64512",
            &[
                ("a", "address: 192.0.2.2, asn: 64512"),
                ("b", "address: 192.0.2.3, asn: 65001, import: {rules: []}"),
                ("c", "address: 192.0.2.4, asn: 65001"),
                ("d", "address: 192.0.2.5, asn: 65001"),
            ],
        );
        assert!(difference(&before, &before).is_empty());
        let after = file(
            "asn: 64512, listenPort: 1179, gracefulRestartSeconds: 60",
            &[
                ("a", "address: 192.0.2.2, asn: 64512, holdTimeSeconds: 30"),
                ("b", "address: 192.0.2.3, asn: 65001, import: {rules: [{action: Accept}]}"),
                ("c", "address: 192.0.2.4, asn: 65002, ttlSecurity: 1, passive: true"),
                ("e", "address: 192.0.2.6, asn: 65001"),
            ],
        );
        let found = difference(&before, &after);
        assert_eq!(found.needs_restart, ["spec.listenPort"]);
        assert_eq!(found.configuration, ["spec.gracefulRestartSeconds"]);
        let names = |peers: &[PeerName]| -> Vec<String> {
            peers.iter().map(|peer| format!("{} {}", peer.name, peer.at)).collect()
        };
        assert_eq!(names(&found.added), ["e 192.0.2.6"]);
        assert_eq!(names(&found.removed), ["d 192.0.2.5"]);
        let changed: Vec<_> = found
            .changed
            .iter()
            .map(|one| (one.peer.name.as_str(), one.fields.join(" "), one.ends_session.join(" ")))
            .collect();
        let text = |text: &str| text.to_owned();
        assert_eq!(
            changed,
            [
                ("a", text("holdTimeSeconds"), text("")),
                ("b", text("import"), text("")),
                ("c", text("asn passive ttlSecurity"), text("asn ttlSecurity")),
            ]
        );
    }

    #[test]
    fn a_password_is_another_though_its_file_is_the_same() {
        let spec = "address: 192.0.2.2, asn: 65001, passwordFile: /p";
        let before = file("asn: 64512", &[("a", spec)]);
        let after = file("asn: 64512", &[("a", &format!("{spec}, holdTimeSeconds: 30"))]);
        let (before, after) = (parse(&before).unwrap(), parse(&after).unwrap());
        let passwords = |one: &str| -> Passwords {
            let source = password_sources(&before.peers["a"]).next().unwrap();
            [(source, Ok(one.as_bytes().to_owned()))].into()
        };
        for (now, fields, ends) in [
            ("one", &["holdTimeSeconds"][..], &[][..]),
            ("other", &["holdTimeSeconds", "password"], &["password"]),
        ] {
            let comparison = Comparison {
                before: &before,
                after: &after,
                router_id: "192.0.2.1".parse().unwrap(),
                addresses: LocalAddresses { v4: Some([192, 0, 2, 1].into()), v6: None },
                passwords_before: &passwords("one"),
                passwords_after: &passwords(now),
            };
            let [change] = &comparison.difference().changed[..] else { panic!("one change") };
            assert_eq!(
                (&change.fields[..], &change.ends_session[..]),
                (&to_owned(fields)[..], &to_owned(ends)[..])
            );
        }
    }

    fn to_owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn every_document_is_read_whatever_the_others_say() {
        let text = file("asn: 64512", &[("a", "address: here, asn: 1"), ("b", "asn: x")])
            + &file(
                "asn: 1",
                &[("c", "address: 192.0.2.2, asn: 1"), ("c", "address: 192.0.2.3, asn: 1")],
            )
            .replace("apiVersion", "---\napiVersion")
            .replace("---\n---\n", "---\n");
        let reading = documents::read(&text);
        let errors: Vec<_> = reading.errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(errors[0].starts_with("BGPPeer a: address: "), "{errors:?}");
        assert!(errors[1].starts_with("BGPPeer b: asn: "), "{errors:?}");
        assert!(errors[2].contains("already") && errors[3].contains("already"), "{errors:?}");
        assert_eq!(documents::read("a: [\n---\nb: [\n").errors.len(), 1, "no YAML from there on");
        let many = "---\nkind: a\n".repeat(1000);
        assert!(documents::read(&many).errors.len() <= documents::MAX_ERRORS);
    }
}
