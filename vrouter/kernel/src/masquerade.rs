//! Pods that leave the cluster take the address of their node: one nftables table of our own,
//! replaced as a whole in one transaction.

use std::{collections::BTreeSet, fmt::Write as _, io, process::Stdio, time::Duration};

use ebpf_abi::SERVICE_MARK;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};
use viaduct_net::{Family, Prefix};

use crate::KernelError;

/// The table, of family inet. Nothing of another's is ever touched.
pub const TABLE: &str = "viaduct_masquerade";

/// nft(8) takes milliseconds; a hanging one must not hold up the routes for good.
const NFT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is masqueraded: from `pods` to anywhere but `cluster`. Both may overlap within themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masquerade {
    /// Pools of pod addresses whose pods are masqueraded.
    pub pod_cidrs: BTreeSet<Prefix>,
    /// Every network of the cluster: pods, services, nodes.
    pub cluster_cidrs: BTreeSet<Prefix>,
}

impl Masquerade {
    /// The transaction for nft(8): away with what is there, in with what is to be. A packet that
    /// bears the mark of service traffic is left alone: its addresses are what the other end
    /// expects.
    pub fn ruleset(&self) -> String {
        // Adding first makes the deletion succeed where there is no table yet.
        let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\n");
        if self.pod_cidrs.is_empty() {
            return text;
        }
        let _ = writeln!(text, "table inet {TABLE} {{");
        for (family, kind) in [(Family::V4, "ipv4_addr"), (Family::V6, "ipv6_addr")] {
            set(&mut text, "pods", family, kind, &self.pod_cidrs);
            set(&mut text, "cluster", family, kind, &self.cluster_cidrs);
        }
        let _ = write!(
            text,
            "\tchain postrouting {{\n\
             \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
             \t\tmeta mark & {SERVICE_MARK:#010x} == {SERVICE_MARK:#010x} return\n\
             \t\tip saddr @pods_ipv4 ip daddr != @cluster_ipv4 masquerade\n\
             \t\tip6 saddr @pods_ipv6 ip6 daddr != @cluster_ipv6 masquerade\n\
             \t}}\n}}\n"
        );
        text
    }

    /// Puts the rules in force in the network namespace of this thread. Connections that are
    /// masqueraded already stay so.
    pub async fn apply(&self) -> Result<(), KernelError> {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(KernelError::Nft)?;
        let mut stdin = child.stdin.take();
        let run = async {
            if let Some(stdin) = &mut stdin {
                stdin.write_all(self.ruleset().as_bytes()).await?;
            }
            drop(stdin);
            child.wait_with_output().await
        };
        let output = match timeout(NFT_TIMEOUT, run).await {
            Ok(result) => result.map_err(KernelError::Nft)?,
            Err(late) => {
                return Err(KernelError::Nft(io::Error::new(io::ErrorKind::TimedOut, late)));
            }
        };
        if output.status.success() {
            return Ok(());
        }
        Err(KernelError::NftRefused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// Prefixes that others cover are left out: a set of intervals refuses overlaps.
fn set(text: &mut String, name: &str, family: Family, kind: &str, all: &BTreeSet<Prefix>) {
    let mut elements: Vec<Prefix> = Vec::new();
    for prefix in all.iter().filter(|prefix| prefix.family() == family) {
        // A covering prefix sorts before what it covers.
        if !elements.last().is_some_and(|last| last.covers(*prefix)) {
            elements.push(*prefix);
        }
    }
    let _ = write!(text, "\tset {name}_{family} {{\n\t\ttype {kind}\n\t\tflags interval\n");
    if !elements.is_empty() {
        let texts: Vec<String> = elements.iter().map(Prefix::to_string).collect();
        let _ = writeln!(text, "\t\telements = {{ {} }}", texts.join(", "));
    }
    text.push_str("\t}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(all: &[&str]) -> BTreeSet<Prefix> {
        all.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn covered_prefixes_are_left_out_and_families_kept_apart() {
        let masquerade = Masquerade {
            pod_cidrs: prefixes(&["10.244.0.0/16", "fd00:10::/56"]),
            cluster_cidrs: prefixes(&["10.0.0.0/8", "10.244.0.0/16", "192.0.2.0/24"]),
        };
        let text = masquerade.ruleset();
        assert!(text.starts_with("table inet viaduct_masquerade\ndelete table inet"), "{text}");
        assert!(text.contains("elements = { 10.0.0.0/8, 192.0.2.0/24 }"), "{text}");
        assert!(text.contains("elements = { fd00:10::/56 }"), "{text}");
    }

    #[test]
    fn without_pods_the_table_goes() {
        let text = Masquerade::default().ruleset();
        assert_eq!(text.lines().count(), 2);
    }
}
