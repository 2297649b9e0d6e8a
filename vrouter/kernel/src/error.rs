use std::{io, path::PathBuf};

use vrouter_plan::OperationError;

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    #[error("the kernel lacks {feature}: {source}")]
    Missing { feature: &'static str, source: OperationError },
    #[error("changing routes needs CAP_NET_ADMIN in this network namespace: {0}")]
    Permission(OperationError),
    #[error("the kernel refused to list its {what}: {source}")]
    Dump { what: &'static str, source: OperationError },
    #[error("the list of {what} changed on every one of {tries} tries to read it")]
    Unsteady { what: &'static str, tries: u32 },
    #[error("sysctl {name} is {found}, has to be {wanted}, and cannot be set: {source}")]
    Sysctl { name: String, found: String, wanted: String, source: io::Error },
    #[error("sysctl {}: {source}", path.display())]
    SysctlRead { path: PathBuf, source: io::Error },
    #[error("cannot run `nft`, which masquerading needs (package nftables): {0}")]
    Nft(io::Error),
    #[error("`nft` refused the masquerade table: {0}")]
    NftRefused(String),
}
