//! The addresses at which the node's DNS is asked, on the loopback interface. They stay when the
//! daemon ends: queries that come meanwhile wait in a socket instead of being refused.

use std::net::IpAddr;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressScope, CacheInfo,
};
use rtnetlink::Handle;
use viaduct_net::Prefix;

const INTERFACE: &str = "lo";

/// Puts those there that are missing, and gives what went wrong.
pub(super) async fn place(addresses: &[IpAddr]) -> Vec<String> {
    let (netlink, loopback, connection) = match open().await {
        Ok(open) => open,
        Err(error) => return vec![format!("DNS: {error:#}")],
    };
    let mut problems = Vec::new();
    for address in addresses {
        let placed = place_one(&netlink, loopback, *address).await;
        if let Err(error) = placed.with_context(|| format!("put {address} on {INTERFACE}")) {
            problems.push(format!("DNS: {error:#}"));
        }
    }
    connection.abort();
    problems
}

async fn open() -> Result<(Handle, u32, tokio::task::JoinHandle<()>)> {
    let (connection, netlink, _) = rtnetlink::new_connection().context("open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let mut links = netlink.link().get().match_name(INTERFACE.to_owned()).execute();
    let link = links.try_next().await.context("look at the loopback interface")?;
    let link = link.context("there is no loopback interface")?;
    Ok((netlink.clone(), link.header.index, connection))
}

async fn place_one(netlink: &Handle, loopback: u32, address: IpAddr) -> Result<()> {
    let there = netlink.address().get().set_address_filter(address).execute();
    if there.try_collect::<Vec<_>>().await?.iter().any(|one| one.header.index == loopback) {
        return Ok(());
    }
    let len = Prefix::host(address).len();
    let mut request = netlink.address().add(loopback, address, len).replace();
    let message = request.message_mut();
    // The kernel must never choose it for packets of the node to others: of IPv4 it leaves out what
    // is of the host alone, of IPv6 what is deprecated.
    match address {
        IpAddr::V4(_) => message.header.scope = AddressScope::Host,
        IpAddr::V6(_) => {
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = 0;
            lifetime.ifa_valid = u32::MAX;
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
    }
    Ok(request.execute().await?)
}
