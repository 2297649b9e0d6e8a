//! Which nodes are lost: what the speaker says of its neighbours, by the names of nodes.
//!
//! A way of its own beside the other inputs: it needs no answer of the API and waits for nothing that
//! is derived from it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use tokio::sync::watch;
use viaduct_net::{LossCause, LostNeighbours, LostNodes};

use super::{bgp, cache::View, inputs};

/// Keeps `nodes` what it should be, until the speaker or the view ends.
pub(crate) async fn follow(
    mut neighbours: watch::Receiver<LostNeighbours>,
    mut view: watch::Receiver<Option<Arc<View>>>,
    nodes: watch::Sender<LostNodes>,
) {
    loop {
        let lost = neighbours.borrow_and_update().clone();
        let view_now = view.borrow_and_update().clone();
        let named = view_now.map(|view| names(&lost, &view)).unwrap_or_default();
        inputs::set(&nodes, Arc::new(named));
        let changed = tokio::select! {
            changed = neighbours.changed() => changed,
            changed = view.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// A node is lost with any of the addresses at which it is a neighbour. Neighbours that are no nodes,
/// such as routers and reflectors, are nobody's backends.
fn names(lost: &BTreeMap<IpAddr, LossCause>, view: &View) -> BTreeMap<String, LossCause> {
    // The view changes often, and almost never is anybody lost.
    if lost.is_empty() {
        return BTreeMap::new();
    }
    let cause =
        |node| bgp::internal_addresses(node).find_map(|address| lost.get(&address).copied());
    let nodes = view.nodes.iter().filter_map(|(name, node)| Some((name.clone(), cause(node)?)));
    nodes.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(nodes: &[(&str, &[&str])]) -> View {
        let mut view = View::default();
        for (name, addresses) in nodes {
            let addresses: Vec<_> = addresses
                .iter()
                .map(|address| json!({"type": "InternalIP", "address": address}))
                .chain([json!({"type": "Hostname", "address": name})])
                .collect();
            let node = json!({"metadata": {"name": name}, "status": {"addresses": addresses}});
            view.nodes.insert((*name).to_owned(), Arc::new(serde_json::from_value(node).unwrap()));
        }
        view
    }

    fn neighbours(all: &[&str]) -> LostNeighbours {
        let lost = all.iter().map(|address| (address.parse().unwrap(), LossCause::Bfd));
        Arc::new(lost.collect())
    }

    #[test]
    fn nodes_are_known_by_either_address_and_routers_are_no_nodes() {
        let view = view(&[
            ("a", &["192.0.2.1", "2001:db8::1"]),
            ("b", &["192.0.2.2", "2001:db8::2"]),
            ("c", &["192.0.2.3"]),
        ]);
        let lost = neighbours(&["192.0.2.1", "2001:db8::2", "198.51.100.1"]);
        let named: Vec<String> = names(&lost, &view).into_keys().collect();
        assert_eq!(named, ["a", "b"]);
    }

    #[tokio::test]
    async fn it_follows_the_speaker_and_the_view() {
        let (speaker, neighbours_receiver) = watch::channel(LostNeighbours::default());
        let (views, view_receiver) = watch::channel(None);
        let (sender, mut nodes) = watch::channel(LostNodes::default());
        let task = tokio::spawn(follow(neighbours_receiver, view_receiver, sender));
        speaker.send_replace(neighbours(&["192.0.2.1"]));
        views.send_replace(Some(Arc::new(view(&[("a", &["192.0.2.1"])]))));
        nodes.wait_for(|nodes| nodes.contains_key("a")).await.unwrap();
        // It has another address by now.
        views.send_replace(Some(Arc::new(view(&[("a", &["192.0.2.9"])]))));
        nodes.wait_for(|nodes| nodes.is_empty()).await.unwrap();
        speaker.send_replace(neighbours(&["192.0.2.9"]));
        nodes.wait_for(|nodes| nodes.contains_key("a")).await.unwrap();
        drop(speaker);
        task.await.unwrap();
    }
}
