//! What a cluster of `viaduct up` must show, on one cluster of three nodes that is raised once.
//!
//! Two test programs are made of this one file: `cluster`, with all nodes on one segment and in a
//! mesh, and `racks`, with two racks and reflectors, which has to show all of it and something more.
//!
//! The tests run one after another in this order: each leaves the cluster as it found it.

mod api_crash;
mod application;
mod dns;
mod failures;
mod isolation;
mod kubectl;
mod node_loss;
mod orderly_end;
mod page;
mod planned_restart;
mod racks;
mod reachability;
mod readiness;
mod restart;
mod routing;
mod services;

use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use viaduct_lab::{Cluster, Options};

type Test = fn(&Cluster) -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    ("routing::links_need_no_second_to_forward_v6", routing::links_need_no_second_to_forward_v6),
    ("routing::pod_to_pod_v4", routing::pod_to_pod_v4),
    ("routing::pod_to_pod_v6", routing::pod_to_pod_v6),
    ("routing::kernel_routes_are_what_bgp_said", routing::kernel_routes_are_what_bgp_said),
    ("services::cluster_ip_from_a_pod", services::cluster_ip_from_a_pod),
    ("services::cluster_ip_from_a_node", services::cluster_ip_from_a_node),
    ("services::virtual_ip_from_outside", services::virtual_ip_from_outside),
    ("services::node_port_from_outside", services::node_port_from_outside),
    ("services::no_backend_refuses", services::no_backend_refuses),
    ("readiness::unready_gets_no_connection", readiness::unready_gets_no_connection),
    ("orderly_end::pods_deleted_under_load", orderly_end::pods_deleted_under_load),
    ("orderly_end::pods_of_no_service", orderly_end::pods_of_no_service),
    ("dns::names_from_a_pod", dns::names_from_a_pod),
    ("dns::lookups_while_services_change", dns::lookups_while_services_change),
    ("dns::lookups_while_the_daemon_is_killed", dns::lookups_while_the_daemon_is_killed),
    ("dns::lookups_while_the_daemon_is_replaced", dns::lookups_while_the_daemon_is_replaced),
    ("dns::lookups_without_the_server", dns::lookups_without_the_server),
    ("page::shows_the_cluster", page::shows_the_cluster),
    ("page::keeps_a_picture", page::keeps_a_picture),
    ("page::counts_open_connections", page::counts_open_connections),
    ("page::follows_a_deployment", page::follows_a_deployment),
    ("page::shows_markup_as_text", page::shows_markup_as_text),
    ("page::shows_a_silent_node", page::shows_a_silent_node),
    ("page::shows_a_lost_session", page::shows_a_lost_session),
    ("page::says_that_the_server_is_lost", page::says_that_the_server_is_lost),
    ("page::refuses_others", page::refuses_others),
    ("restart::node_daemon_killed", restart::node_daemon_killed),
    ("restart::kubelet_killed", restart::kubelet_killed),
    ("planned_restart::under_traffic", planned_restart::under_traffic),
    ("planned_restart::while_pods_come_and_go", planned_restart::while_pods_come_and_go),
    ("planned_restart::a_successor_that_fails", planned_restart::a_successor_that_fails),
    ("api_crash::server_killed_amid_writes", api_crash::server_killed_amid_writes),
    ("isolation::api_without_credentials", isolation::api_without_credentials),
    ("isolation::no_bgp_from_a_pod", isolation::no_bgp_from_a_pod),
    ("isolation::source_address_is_verified", isolation::source_address_is_verified),
    ("isolation::sockets_of_others_are_unseen", isolation::sockets_of_others_are_unseen),
    ("kubectl::everyday_commands", kubectl::everyday_commands),
    ("kubectl::wrong_manifests", kubectl::wrong_manifests),
    ("failures::an_unknown_image", failures::an_unknown_image),
    ("failures::more_than_any_node_has", failures::more_than_any_node_has),
    ("failures::a_program_that_fails", failures::a_program_that_fails),
    ("failures::configuration_that_is_missing", failures::configuration_that_is_missing),
    ("failures::probes_that_fail", failures::probes_that_fail),
    ("failures::services_that_lead_nowhere", failures::services_that_lead_nowhere),
    ("node_loss::cut_off_node", node_loss::cut_off_node),
];

/// On one segment, where nodes are neighbours and watch each other.
const MESH_TESTS: &[(&str, Test)] = &[
    ("reachability::lost_node_is_masked", reachability::lost_node_is_masked),
    ("reachability::restarting_daemon_is_not", reachability::restarting_daemon_is_not),
];

/// On racks behind routers, with reflectors.
const RACK_TESTS: &[(&str, Test)] = &[
    ("racks::routes_lead_through_the_routers", racks::routes_lead_through_the_routers),
    ("racks::policies_are_as_documented", racks::policies_are_as_documented),
    ("racks::router_and_reflector_killed", racks::router_and_reflector_killed),
    ("racks::reflector_silent", racks::reflector_silent),
    ("application::changed_under_load", application::changed_under_load),
    ("application::killed_under_load", application::killed_under_load),
    ("application::drained_under_load", application::drained_under_load),
];

/// The cluster of this program, and its tests.
fn suite() -> (Options, Vec<(&'static str, Test)>) {
    if env!("CARGO_CRATE_NAME") == "racks" {
        let mut options = Options::new("e2e-racks", 18090);
        options.arguments = ["--racks", "2", "--reflector"].map(str::to_owned).into();
        (options, [TESTS, RACK_TESTS].concat())
    } else {
        (Options::new("e2e", 18080), [MESH_TESTS, TESTS].concat())
    }
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let (options, tests) = suite();
    let listing = arguments.list || tests.iter().all(|(name, _)| is_filtered(&arguments, name));
    let cluster = if listing {
        None
    } else {
        match Cluster::up(&options) {
            Ok(cluster) => Some(Arc::new(cluster)),
            Err(error) => {
                eprintln!("no cluster: {error:#}");
                std::process::exit(101);
            }
        }
    };
    let trials = tests.into_iter().map(|(name, test)| {
        let cluster = cluster.clone();
        Trial::test(name, move || run(cluster.as_deref(), test))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let (Some(cluster), true) = (&cluster, conclusion.has_failed()) {
        cluster.print_drops();
        cluster.print_logs();
    }
    // `exit` runs no destructor, and the cluster must go.
    drop(cluster);
    conclusion.exit();
}

fn run(cluster: Option<&Cluster>, test: Test) -> Result<(), Failed> {
    let cluster = cluster.ok_or("no cluster was made")?;
    test(cluster).map_err(|error| Failed::from(format!("{error:#}")))
}

fn is_filtered(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| {
        if arguments.exact { filter == name } else { name.contains(filter.as_str()) }
    };
    arguments.filter.as_ref().is_some_and(|filter| !matches(filter))
        || arguments.skip.iter().any(matches)
}
