//! `pods/log`: handed through from the kubelet of the pod's node.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use http_body_util::{BodyExt, BodyStream, Empty, Limited, StreamBody};
use hyper::{Request, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    api::Call,
    http::{
        Response,
        body::{Body, BoxError},
        respond,
    },
    kinds,
    status_error::StatusError,
};

/// For the connection, the handshake and the head of the answer, each.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a kubelet's error text.
const MAX_ERROR_BYTES: usize = 4096;
const DEFAULT_KUBELET_PORT: u16 = 10250;
/// Parameters that the kubelet understands.
const PARAMETERS: [&str; 7] =
    ["follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "limitBytes", "previous"];

pub(crate) async fn log(call: &Call) -> Result<Response, StatusError> {
    let permit = call.api.stream(&call.identity)?;
    let (namespace, name) = (call.path.namespace.as_str(), call.path.name.as_str());
    let pod = call.registry().get(call.kind, namespace, name).await?;
    let container = container(&pod, name, call.query.text("container"))?;
    let node_name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node_name.is_empty() {
        return Err(StatusError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let nodes = kinds::find("", "v1", "nodes").ok_or_else(StatusError::unknown_path)?;
    let node = call.registry().get(nodes, "", node_name).await?;
    let address = kubelet(&node)
        .ok_or_else(|| StatusError::internal(format!("node \"{node_name}\" has no InternalIP")))?;
    let path = format!("/containerLogs/{namespace}/{name}/{container}?{}", parameters(call));
    let answer = ask(call, address, &path).await?;
    let code = answer.status();
    if code != StatusCode::OK {
        return Err(refusal(code, answer.into_body()).await);
    }
    let stopping = call.api.stopping.clone();
    let frames = BodyStream::new(answer.into_body())
        .map(move |frame| {
            // Held for as long as the stream is.
            let _permit = &permit;
            frame.map_err(BoxError::from)
        })
        .take_until(stopping.cancelled_owned());
    let body: Body = StreamBody::new(frames).boxed_unsync();
    Ok(respond::with_type(StatusCode::OK, "text/plain; charset=utf-8", body))
}

/// What of the query goes on to the kubelet.
fn parameters(call: &Call) -> String {
    let given = PARAMETERS
        .iter()
        .filter_map(|parameter| Some((parameter, call.query.all(parameter).next()?)));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish()
}

/// The container that is meant: the one that is named, or the only one.
fn container(pod: &Value, name: &str, asked: &str) -> Result<String, StatusError> {
    let names = |field: &str| -> Vec<&str> {
        let containers = pod["spec"][field].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str()).collect()
    };
    let (containers, init) = (names("containers"), names("initContainers"));
    if !asked.is_empty() {
        if containers.contains(&asked) || init.contains(&asked) {
            return Ok(asked.to_owned());
        }
        let why = format!("container {asked} is not valid for pod {name}");
        return Err(StatusError::bad_request(why));
    }
    match containers[..] {
        [only] => Ok(only.to_owned()),
        _ => Err(StatusError::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            containers.join(" ")
        ))),
    }
}

/// Where the kubelet of a node listens.
pub(crate) fn kubelet(node: &Value) -> Option<SocketAddr> {
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .unwrap_or(DEFAULT_KUBELET_PORT);
    node["status"]["addresses"]
        .as_array()?
        .iter()
        .filter(|address| address["type"] == "InternalIP")
        .find_map(|address| address["address"].as_str()?.parse::<IpAddr>().ok())
        .map(|ip| SocketAddr::new(ip, port))
}

async fn ask(
    call: &Call,
    address: SocketAddr,
    path: &str,
) -> Result<hyper::Response<Incoming>, StatusError> {
    let failed = |error: &dyn std::fmt::Display| {
        StatusError::internal(format!("cannot reach the kubelet at {address}: {error}"))
    };
    let stream = match tokio::time::timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|error| failed(&error))?,
        Err(elapsed) => return Err(failed(&elapsed)),
    };
    match &call.api.kubelet_tls {
        None => send(stream, address, path).await.map_err(|error| failed(&error)),
        Some(config) => {
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
            let name = ServerName::IpAddress(address.ip().into());
            let handshake = connector.connect(name, stream);
            let stream = match tokio::time::timeout(STEP_TIMEOUT, handshake).await {
                Ok(connected) => connected.map_err(|error| failed(&error))?,
                Err(elapsed) => return Err(failed(&elapsed)),
            };
            send(stream, address, path).await.map_err(|error| failed(&error))
        }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    path: &str,
) -> Result<hyper::Response<Incoming>, BoxError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body.
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<bytes::Bytes>::new())?;
    Ok(tokio::time::timeout(STEP_TIMEOUT, sender.send_request(request)).await??)
}

/// What the kubelet said instead of a log.
async fn refusal(code: StatusCode, body: Incoming) -> StatusError {
    let text = match Limited::new(body, MAX_ERROR_BYTES).collect().await {
        Ok(collected) => String::from_utf8_lossy(&collected.to_bytes()).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    match code {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => StatusError::bad_request(text),
        _ => StatusError::internal(format!("the kubelet answered {code}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_is_chosen_or_asked_for() {
        let one = json!({"spec": {"containers": [{"name": "a"}]}});
        let two = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(container(&one, "p", "").unwrap(), "a");
        assert_eq!(container(&two, "p", "b").unwrap(), "b");
        assert_eq!(
            container(&two, "p", "").unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        assert_eq!(
            container(&two, "p", "../x").unwrap_err().message,
            "container ../x is not valid for pod p"
        );
    }

    #[test]
    fn the_kubelet_is_found() {
        let mut node = json!({"status": {
            "addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "fd00::1"},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 1234}},
        }});
        assert_eq!(kubelet(&node), Some("[fd00::1]:1234".parse().unwrap()));
        node["status"]["daemonEndpoints"] = json!({});
        assert_eq!(kubelet(&node), Some("[fd00::1]:10250".parse().unwrap()));
        node["status"]["addresses"] = json!([]);
        assert_eq!(kubelet(&node), None);
    }
}
