//! The last stage of `up`: a request from `outside` to the example's virtual IPs.

use std::{
    fs::File,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use nix::sched::{CloneFlags, setns};

use super::{plan::ClusterPlan, progress::Progress, ready};

const TIMEOUT: Duration = Duration::from_millis(500);

/// The addresses that answered.
pub(crate) async fn services(
    client: &Client,
    plan: &ClusterPlan,
    progress: &Progress,
) -> Result<Vec<IpAddr>> {
    let api = Api::<Service>::namespaced(client.clone(), "default");
    let families = plan.vip_cidrs.len();
    ready::ask("the virtual IPs of the example", progress, async || {
        let vips = virtual_ips(&api.get("echo").await?);
        if vips.len() < families {
            bail!("service echo has {} virtual IPs so far", vips.len());
        }
        Ok(())
    })
    .await?;
    let vips = virtual_ips(&api.get("echo").await?);
    for vip in &vips {
        let namespace = Path::new("/run/netns").join(plan.netns("outside"));
        let target = SocketAddr::new(*vip, 80);
        ready::ask(&format!("http://{target} from outside"), progress, async || {
            let namespace = namespace.clone();
            tokio::task::spawn_blocking(move || get_from(&namespace, target)).await?.map(drop)
        })
        .await?;
    }
    Ok(vips)
}

fn virtual_ips(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref();
    let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    ingress
        .into_iter()
        .flatten()
        .filter_map(|ingress| ingress.ip.as_deref()?.parse().ok())
        .collect()
}

/// One HTTP request, sent inside a network namespace.
fn get_from(namespace: &Path, target: SocketAddr) -> Result<String> {
    let namespace =
        File::open(namespace).with_context(|| format!("open {}", namespace.display()))?;
    // A thread that ends here: entering a namespace cannot be undone on one that is used again.
    let request = std::thread::spawn(move || -> Result<String> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let mut stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET / HTTP/1.0\r\nHost: {target}\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(64 * 1024).read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.") || !answer.contains(" 200 ") {
            bail!("{target} answered: {}", answer.lines().next().unwrap_or("nothing"));
        }
        Ok(answer)
    });
    match request.join() {
        Ok(result) => result,
        Err(_panic) => bail!("the request to {target} panicked"),
    }
}
