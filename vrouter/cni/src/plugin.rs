use std::{
    env,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};
use vrouter_ipam::Owner;

use crate::{
    attachment::{Attachment, PodName},
    config::{NetConf, VERSIONS},
    protocol::{MESSAGE_LIMIT, Request, Response},
    result::{self, CniError, code},
};

/// Longer than the daemon may take for one pod behind others; runtimes give up after minutes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
const CONTAINER_ID_LIMIT: usize = 256;
/// IFNAMSIZ without the final zero.
const IFNAME_LIMIT: usize = 15;

/// What the binary does when a runtime runs it as `viaduct-cni`: one command of the specification,
/// its result or error on stdout. Needs no runtime of async, and starts in a millisecond.
pub fn plugin_main() -> ExitCode {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let mut stdin = Vec::new();
    let read = io::stdin().lock().take(MESSAGE_LIMIT).read_to_end(&mut stdin);
    let outcome = match read {
        Ok(_) => run(variable, &stdin, ask),
        Err(error) => Err((
            newest().to_owned(),
            CniError::new(code::IO_FAILURE, "cannot read stdin").with(error),
        )),
    };
    let (output, exit) = match outcome {
        Ok(output) => (output, ExitCode::SUCCESS),
        Err((version, error)) => (Some(error.to_json(&version)), ExitCode::FAILURE),
    };
    match output.map_or(Ok(()), |output| writeln!(io::stdout(), "{output}")) {
        Ok(()) => exit,
        // Nobody reads what would say so.
        Err(_) => ExitCode::FAILURE,
    }
}

const fn newest() -> &'static str {
    VERSIONS[VERSIONS.len() - 1]
}

/// The version to answer in, and the error.
pub(crate) type Refusal = (String, CniError);

pub(crate) fn run(
    variable: impl Fn(&str) -> Option<String>,
    stdin: &[u8],
    ask: impl FnOnce(&NetConf, &Request) -> Result<Response, CniError>,
) -> Result<Option<Value>, Refusal> {
    let plain = |error| (newest().to_owned(), error);
    let command = required(&variable, "CNI_COMMAND").map_err(plain)?;
    if command == "VERSION" {
        return Ok(Some(version(stdin)));
    }
    let conf = NetConf::parse(stdin).map_err(plain)?;
    let refuse = |error| (conf.cni_version.clone(), error);
    let request = request(&command, &variable, &conf).map_err(refuse)?;
    let response = ask(&conf, &request).map_err(|error| refuse(unavailable(&request, error)))?;
    match (response, &request) {
        (Response::Error(error), _) => Err(refuse(error)),
        (Response::Attachment(attachment), Request::Add { .. }) => {
            Ok(Some(result::success(&attachment, &conf.cni_version)))
        }
        (Response::Attachment(attachment), Request::Check { .. }) => {
            compare(&attachment, &conf).map_err(refuse)?;
            Ok(None)
        }
        (Response::Attachment(_) | Response::Done, _) => Ok(None),
    }
}

/// STATUS has a code of its own for a daemon that is away. The pods that are go on without it.
fn unavailable(request: &Request, error: CniError) -> CniError {
    match request {
        Request::Status => CniError { code: code::NOT_AVAILABLE, ..error },
        _ => error,
    }
}

fn version(stdin: &[u8]) -> Value {
    // The answer bears the version of the question where we know it (SPEC §VERSION).
    let asked = serde_json::from_slice::<Value>(stdin).ok();
    let asked = asked.as_ref().and_then(|conf| conf.get("cniVersion")).and_then(Value::as_str);
    let version = asked.filter(|asked| VERSIONS.contains(asked)).unwrap_or(newest());
    json!({"cniVersion": version, "supportedVersions": VERSIONS})
}

fn request(
    command: &str,
    variable: &impl Fn(&str) -> Option<String>,
    conf: &NetConf,
) -> Result<Request, CniError> {
    let since = |version: &str| {
        conf.has(version).then_some(()).ok_or_else(|| {
            let msg = format!("{command} exists from cniVersion {version} on");
            CniError::new(code::INCOMPATIBLE_VERSION, msg)
        })
    };
    match command {
        "ADD" => {
            if conf.prev_result.is_some() {
                let msg = "viaduct-cni must be the first plugin of the list: there is a prevResult";
                return Err(CniError::new(code::INVALID_NETWORK_CONFIG, msg));
            }
            let pod = variable("CNI_ARGS").and_then(|args| pod_name(&args));
            Ok(Request::Add { owner: owner(variable)?, netns: netns(variable)?, pod })
        }
        // The namespace may be gone already, and CNI_NETNS with it.
        "DEL" => Ok(Request::Del { owner: owner(variable)? }),
        "CHECK" => {
            since("0.4.0")?;
            if conf.prev_result.is_none() {
                let msg = "CHECK needs the prevResult of ADD";
                return Err(CniError::new(code::INVALID_NETWORK_CONFIG, msg));
            }
            Ok(Request::Check { owner: owner(variable)?, netns: netns(variable)? })
        }
        "GC" => {
            since("1.1.0")?;
            // Without the list every pod would be taken for gone.
            let live = conf.valid_attachments.clone().ok_or_else(|| {
                let msg = "GC needs cni.dev/valid-attachments";
                CniError::new(code::INVALID_NETWORK_CONFIG, msg)
            })?;
            Ok(Request::Gc { live: live.into_iter().map(Owner::from).collect() })
        }
        "STATUS" => {
            since("1.1.0")?;
            Ok(Request::Status)
        }
        other => Err(CniError::new(
            code::INVALID_ENVIRONMENT,
            format!("CNI_COMMAND is {other}: expected ADD, DEL, CHECK, GC, STATUS or VERSION"),
        )),
    }
}

fn required(variable: &impl Fn(&str) -> Option<String>, name: &str) -> Result<String, CniError> {
    variable(name)
        .ok_or_else(|| CniError::new(code::INVALID_ENVIRONMENT, format!("{name} is not set")))
}

fn netns(variable: &impl Fn(&str) -> Option<String>) -> Result<PathBuf, CniError> {
    let path = PathBuf::from(required(variable, "CNI_NETNS")?);
    if path.is_absolute() {
        Ok(path)
    } else {
        let msg = format!("CNI_NETNS is {}: expected an absolute path", path.display());
        Err(CniError::new(code::INVALID_ENVIRONMENT, msg))
    }
}

/// Both become part of names of files and interfaces, so they are held to what the specification
/// and the kernel allow.
fn owner(variable: &impl Fn(&str) -> Option<String>) -> Result<Owner, CniError> {
    let container_id = required(variable, "CNI_CONTAINERID")?;
    let ifname = required(variable, "CNI_IFNAME")?;
    let wrong = |name, value: &str| {
        CniError::new(code::INVALID_ENVIRONMENT, format!("{name} is not allowed: {value:?}"))
    };
    let id_bytes = container_id.as_bytes();
    let id_ok = id_bytes.len() <= CONTAINER_ID_LIMIT
        && id_bytes[0].is_ascii_alphanumeric()
        && id_bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b));
    if !id_ok {
        return Err(wrong("CNI_CONTAINERID", &container_id));
    }
    let ifname_ok = ifname.len() <= IFNAME_LIMIT
        && ![".", "..", "lo", "all", "default"].contains(&ifname.as_str())
        && ifname.bytes().all(|b| b.is_ascii_graphic() && !b"/:%".contains(&b));
    if !ifname_ok {
        return Err(wrong("CNI_IFNAME", &ifname));
    }
    Ok(Owner { container_id, ifname })
}

fn pod_name(args: &str) -> Option<PodName> {
    let value = |key: &str| {
        let pairs = args.split(';').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).next()
    };
    Some(PodName { namespace: value("K8S_POD_NAMESPACE")?, name: value("K8S_POD_NAME")? })
}

/// What ADD answered, as the runtime remembers it, against what the daemon knows.
fn compare(attachment: &Attachment, conf: &NetConf) -> Result<(), CniError> {
    let expected = result::success(attachment, &conf.cni_version);
    let addresses = |result: &Value| -> Vec<String> {
        let ips = result.get("ips").and_then(Value::as_array);
        let mut all: Vec<String> = ips
            .into_iter()
            .flatten()
            .filter_map(|ip| Some(ip.get("address")?.as_str()?.to_owned()))
            .collect();
        all.sort();
        all
    };
    let before = conf.prev_result.as_ref().map(addresses).unwrap_or_default();
    let now = addresses(&expected);
    // Later plugins of a list may have added some of their own.
    match now.iter().find(|address| !before.contains(address)) {
        None => Ok(()),
        Some(address) => Err(CniError::new(
            code::CHECK_FAILED,
            format!("the pod has {address}, which is not in prevResult"),
        )),
    }
}

pub(crate) fn ask(conf: &NetConf, request: &Request) -> Result<Response, CniError> {
    let away = |error: io::Error| {
        let msg = format!("the network daemon does not answer on {}", conf.socket.display());
        CniError::new(code::TRY_AGAIN_LATER, msg).with(error)
    };
    let mut text = Vec::new();
    let mut exchange = || -> io::Result<()> {
        let mut stream = UnixStream::connect(&conf.socket)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.write_all(&serde_json::to_vec(request)?)?;
        stream.shutdown(Shutdown::Write)?;
        stream.take(MESSAGE_LIMIT).read_to_end(&mut text)?;
        Ok(())
    };
    exchange().map_err(away)?;
    // Empty when the daemon died over the request: whatever it did is settled when it starts.
    serde_json::from_slice(&text).map_err(|error| away(error.into()))
}

#[cfg(test)]
mod tests;
