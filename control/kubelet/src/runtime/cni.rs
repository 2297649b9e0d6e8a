//! CNI 1.1 from the runtime's side: one plugin, called with environment and standard input.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tokio::process::Command;

use super::{RuntimeError, command};

const LIMIT: Duration = Duration::from_secs(30);

/// The plugin to call and the network configuration it gets on standard input.
#[derive(Clone, Debug)]
pub struct CniConfig {
    pub plugin: PathBuf,
    pub conf: serde_json::Value,
}

/// The pod that a call is about.
#[derive(Clone, Debug)]
pub(crate) struct Attachment<'a> {
    /// Unique on the node and the same for ADD and DEL.
    pub(crate) container_id: &'a str,
    pub(crate) netns: &'a Path,
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) uid: &'a str,
}

#[derive(Deserialize)]
struct AddResult {
    #[serde(default)]
    ips: Vec<AssignedAddress>,
}

#[derive(Deserialize)]
struct AssignedAddress {
    /// With its prefix length.
    address: String,
}

#[derive(Deserialize)]
struct Failure {
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

impl CniConfig {
    /// Wires the pod and returns its addresses in the order of the result.
    pub(crate) async fn add(&self, pod: &Attachment<'_>) -> Result<Vec<IpAddr>, RuntimeError> {
        let stdout = self.call("ADD", pod).await?;
        parse_result(&stdout)
    }

    /// Unwires the pod; a pod that was never wired is no error.
    pub(crate) async fn del(&self, pod: &Attachment<'_>) -> Result<(), RuntimeError> {
        self.call("DEL", pod).await.map(drop)
    }

    async fn call(&self, verb: &str, pod: &Attachment<'_>) -> Result<Vec<u8>, RuntimeError> {
        let mut command = Command::new(&self.plugin);
        command.env("CNI_COMMAND", verb);
        command.env("CNI_CONTAINERID", pod.container_id);
        command.env("CNI_NETNS", pod.netns);
        command.env("CNI_IFNAME", "eth0");
        command.env("CNI_PATH", self.plugin.parent().unwrap_or(Path::new("/")));
        command.env("CNI_ARGS", arguments(pod));
        let conf = self.conf.to_string();
        let output = command::run(command, conf.as_bytes(), LIMIT).await?;
        if output.success {
            return Ok(output.stdout);
        }
        Err(failure(&output.stdout, output.complaint()))
    }
}

fn arguments(pod: &Attachment<'_>) -> String {
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
        pod.namespace, pod.pod, pod.container_id, pod.uid
    )
}

fn parse_result(stdout: &[u8]) -> Result<Vec<IpAddr>, RuntimeError> {
    let malformed = |message: String| RuntimeError::Cni { code: 6, message };
    let result: AddResult =
        serde_json::from_slice(stdout).map_err(|error| malformed(error.to_string()))?;
    result
        .ips
        .iter()
        .map(|ip| {
            let bare = ip.address.split('/').next().unwrap_or_default();
            bare.parse().map_err(|error| malformed(format!("{}: {error}", ip.address)))
        })
        .collect()
}

fn failure(stdout: &[u8], complaint: String) -> RuntimeError {
    match serde_json::from_slice::<Failure>(stdout) {
        Ok(failure) => {
            let details = if failure.details.is_empty() { "" } else { ": " };
            RuntimeError::Cni {
                code: failure.code,
                message: format!("{}{details}{}", failure.msg, failure.details),
            }
        }
        // CNI 1.1 reserves 1-99; 999 is what a plugin gets that died without a word.
        Err(_not_an_error_object) => RuntimeError::Cni { code: 999, message: complaint },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_gives_addresses_of_both_families() {
        let result = br#"{"cniVersion":"1.1.0","interfaces":[{"name":"eth0"}],
            "ips":[{"address":"10.1.0.5/32","interface":0},{"address":"fd00::5/128"}]}"#;
        let addresses = parse_result(result).unwrap();
        assert_eq!(addresses, ["10.1.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
        assert!(parse_result(b"").is_err());
        assert!(parse_result(br#"{"ips":[{"address":"x/32"}]}"#).is_err());
    }

    #[test]
    fn an_error_object_is_understood() {
        let text = br#"{"code":11,"msg":"try again","details":"no block yet"}"#;
        let error = failure(text, String::new()).to_string();
        assert_eq!(error, "CNI plugin: try again: no block yet (code 11)");
        assert!(failure(b"", "exit code 1".into()).to_string().contains("exit code 1"));
    }
}
