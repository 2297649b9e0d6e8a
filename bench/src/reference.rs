//! What the way of a packet is measured against: two namespaces joined as two pods of different
//! nodes are, by plain kernel forwarding and nothing else. The links are the same in kind and
//! number: veth, forwarding, veth to a bridge, veth, forwarding, veth.

use std::{net::IpAddr, path::Path, process::Command};

use anyhow::{Result, bail};
use viaduct_lab::Shell;

const PREFIX: &str = "bench-up-ref";

/// The namespaces; removed when dropped.
pub(crate) struct Reference(());

impl Reference {
    pub(crate) fn build() -> Result<Self> {
        let reference = Self(());
        for name in ["a", "ra", "net", "rb", "b"] {
            // What an earlier run may have left when it was killed.
            let _ = ip(&["netns", "delete", &format!("{PREFIX}-{name}")]);
            ip(&["netns", "add", &format!("{PREFIX}-{name}")])?;
            reference.configure(name, &["link set lo up"])?;
        }
        reference.configure(
            "net",
            &["link add segment type bridge mcast_snooping 0", "link set segment up"],
        )?;
        for (router, pod, number) in [("ra", "a", 1), ("rb", "b", 2)] {
            let other = 3 - number;
            reference.configure(
                "net",
                &[
                    &format!(
                        "link add {router} type veth peer name uplink netns {PREFIX}-{router}"
                    ),
                    &format!("link set {router} master segment up"),
                ],
            )?;
            reference.configure(
                router,
                &[
                    &format!("link add pod type veth peer name eth0 netns {PREFIX}-{pod}"),
                    "link set pod up",
                    "link set uplink up",
                    &format!("address add 192.0.2.{number}/24 dev uplink"),
                    &format!("address add 2001:db8:ff::{number}/64 dev uplink nodad"),
                    &format!("address add 198.18.{number}.1/24 dev pod"),
                    &format!("address add 2001:db8:{number}::1/64 dev pod nodad"),
                    &format!("route add 198.18.{other}.0/24 via 192.0.2.{other}"),
                    &format!("route add 2001:db8:{other}::/64 via 2001:db8:ff::{other}"),
                ],
            )?;
            let shell = reference.shell(router);
            let sysctls = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
            shell.run("sysctl", &["-q", "-w", sysctls[0], sysctls[1]])?;
            reference.configure(
                pod,
                &[
                    "link set eth0 up",
                    &format!("address add 198.18.{number}.2/24 dev eth0"),
                    &format!("address add 2001:db8:{number}::2/64 dev eth0 nodad"),
                    &format!("route add default via 198.18.{number}.1"),
                    &format!("route add default via 2001:db8:{number}::1"),
                ],
            )?;
        }
        Ok(reference)
    }

    pub(crate) fn client(&self) -> Shell {
        self.shell("a")
    }

    pub(crate) fn server(&self) -> (Shell, [IpAddr; 2]) {
        let addresses = [[198, 18, 2, 2].into(), [0x2001, 0xdb8, 2, 0, 0, 0, 0, 2].into()];
        (self.shell("b"), addresses)
    }

    fn shell(&self, name: &str) -> Shell {
        let netns = Path::new("/run/netns").join(format!("{PREFIX}-{name}"));
        Shell { netns, cgroup: None }
    }

    fn configure(&self, name: &str, commands: &[&str]) -> Result<()> {
        for command in commands {
            let namespace = format!("{PREFIX}-{name}");
            let v6 = if command.contains("via 2001:") { vec!["-6"] } else { Vec::new() };
            let words = ["-netns", &namespace].into_iter().chain(v6).chain(command.split(' '));
            ip(&words.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        for name in ["a", "ra", "net", "rb", "b"] {
            if let Err(error) = ip(&["netns", "delete", &format!("{PREFIX}-{name}")]) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", arguments.join(" "), why.trim());
    }
    Ok(())
}
