//! Who answers, from the environment that the downward API fills.

use std::net::SocketAddr;

use crate::{calls::Called, json::Object};

pub(crate) struct Identity {
    pub(crate) service: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) pod: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) namespace: Option<String>,
}

impl Identity {
    pub(crate) fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|v: &String| !v.is_empty());
        Self {
            service: variable("SERVICE"),
            version: variable("VERSION"),
            pod: variable("POD_NAME").or_else(|| variable("HOSTNAME")),
            node: variable("NODE_NAME"),
            namespace: variable("POD_NAMESPACE"),
        }
    }

    pub(crate) fn answer(
        &self,
        client: SocketAddr,
        server: Option<SocketAddr>,
        host: Option<&str>,
        called: Option<&Called>,
    ) -> String {
        let server = server.map(|s| SocketAddr::new(s.ip().to_canonical(), s.port()).to_string());
        let answer = Object::new()
            .optional("service", self.service.as_deref())
            .optional("version", self.version.as_deref())
            .string("pod", self.pod.as_deref().unwrap_or(""))
            .string("node", self.node.as_deref().unwrap_or(""))
            .string("namespace", self.namespace.as_deref().unwrap_or(""))
            .string("client", &client.ip().to_canonical().to_string())
            .raw("clientPort", &client.port().to_string())
            .optional("server", server.as_deref())
            .string("host", host.unwrap_or(""));
        match called {
            Some(called) => answer.raw("calls", &called.json).finish(),
            None => answer.finish(),
        }
    }
}
