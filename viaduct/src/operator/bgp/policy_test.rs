//! A policy with one route, step by step.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use bgp_wire::{Community, ExtendedCommunity, LargeCommunity};
use serde::Serialize;
use viaduct_api::admin::{PolicyDirection, PolicyTrial, PolicyTrialQuery, TrialRoute};
use viaduct_net::Prefix;

use super::{Target, admin, check, question};
use crate::operator::Answer;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which of the two policies of the neighbour.
    direction: Direction,
    /// Whose policy: the neighbour's address, or the interface it is on; with --file also the name of
    /// its BGPPeer.
    neighbour: String,
    /// Of the route.
    prefix: Prefix,
    /// As in '65001 65002 {65003,65004}'. Where it is not given, the AS of an external neighbour on
    /// import, and else empty.
    #[arg(long, value_name = "PATH")]
    as_path: Option<String>,
    #[arg(long)]
    origin: Option<Origin>,
    /// The address of whoever has told the route where not given.
    #[arg(long, value_name = "ADDRESS")]
    next_hop: Option<IpAddr>,
    #[arg(long, value_name = "NUMBER")]
    local_pref: Option<u32>,
    #[arg(long, value_name = "NUMBER")]
    med: Option<u32>,
    /// As in 65000:1, or no-export; may be given again, as all communities.
    #[arg(long = "community", value_name = "COMMUNITY")]
    communities: Vec<Community>,
    /// As in 65000:1:2.
    #[arg(long = "large-community", value_name = "COMMUNITY")]
    large_communities: Vec<LargeCommunity>,
    /// As in rt:65000:1.
    #[arg(long = "extended-community", value_name = "COMMUNITY")]
    extended_communities: Vec<ExtendedCommunity>,
    /// On export, the neighbour that has told the route; the speaker itself where not given.
    #[arg(long, value_name = "NEIGHBOUR", conflicts_with = "from_table")]
    peer: Option<String>,
    /// Take what is not given from the speaker's table: on import as the neighbour has told PREFIX, on
    /// export as its best path is. With --file, the speaker's own policy is shown beside that of the
    /// file.
    #[arg(long)]
    from_table: bool,
    /// Try the policies of this file, as `viaduct reflector --config` reads it.
    #[arg(long)]
    file: Option<PathBuf>,
    /// With --file, the speaker's own address, one for each family, as it is given to the speaker.
    #[arg(long = "node-ip", value_name = "ADDRESS", requires = "file")]
    node_ips: Vec<IpAddr>,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Direction {
    /// What is taken from the neighbour.
    Import,
    /// What the neighbour is told.
    Export,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Origin {
    Igp,
    Egp,
    Incomplete,
}

pub(super) async fn print(args: &Args) -> Result<()> {
    let answers = match &args.file {
        Some(file) => {
            let answer = Some(of_file(args, file).await?);
            vec![Answer { node: file.display().to_string(), error: None, answer }]
        }
        None => {
            let path = question::path(PATH, &args.query())?;
            let answers = crate::operator::ask::<PolicyTrial>(&args.target, &path).await?;
            let alone = |trial| Outcome { trial, running: None };
            let answers = answers.into_iter();
            answers
                .map(|Answer { node, error, answer }| Answer {
                    node,
                    error,
                    answer: answer.map(alone),
                })
                .collect()
        }
    };
    crate::operator::print(&args.target, &answers, |nodes| {
        let all: Vec<_> = nodes.iter().map(|(node, outcome)| args.text(node, outcome)).collect();
        all.join("\n\n")
    })
}

const PATH: &str = "/v1/bgp/policy/test";

#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    trial: PolicyTrial,
    /// Beside the policy of a file, what the speaker's own makes of the same route.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<PolicyTrial>,
}

/// The same answer as a speaker that runs by the file would give.
async fn of_file(args: &Args, file: &Path) -> Result<Outcome> {
    let (documents, config) = check::read(file, &args.node_ips)?;
    // A speaker knows its neighbours by addresses and interfaces alone.
    let known_as = |name: &str| {
        let spec = documents.peers.get(name)?;
        let address = spec.address.map(|address| address.to_string());
        address.or_else(|| spec.interface.clone())
    };
    let mut query = args.query();
    query.peer = known_as(&query.peer).unwrap_or(query.peer);
    query.from = query.from.map(|from| known_as(&from).unwrap_or(from));
    let mut running = None;
    if args.from_table {
        let socket = admin::socket(&args.target)?;
        let found: PolicyTrial = admin::get(&socket, &question::path(PATH, &query)?).await?;
        query = as_found(query, &found);
        running = Some(found);
    }
    Ok(Outcome { trial: bgpd::trial(&config, &query)?, running })
}

/// The same question about the route that was found in a table.
fn as_found(query: PolicyTrialQuery, found: &PolicyTrial) -> PolicyTrialQuery {
    let TrialRoute { next_hop, as_path, origin, local_pref, med, communities } = &found.route;
    let told_by = found.from.map(|from| from.to_string());
    PolicyTrialQuery {
        from: told_by.filter(|_| query.direction == PolicyDirection::Export),
        from_table: false,
        next_hop: next_hop.as_ref().and_then(|hop| hop.parse().ok()),
        as_path: Some(as_path.clone()),
        origin: Some(origin.clone()),
        local_pref: *local_pref,
        med: *med,
        communities: Some(communities.join(" ")),
        ..query
    }
}

impl Args {
    fn query(&self) -> PolicyTrialQuery {
        let communities = self.communities.iter().map(ToString::to_string);
        let large = self.large_communities.iter().map(ToString::to_string);
        let extended = self.extended_communities.iter().map(ToString::to_string);
        let communities: Vec<_> = communities.chain(large).chain(extended).collect();
        PolicyTrialQuery {
            peer: self.neighbour.clone(),
            direction: match self.direction {
                Direction::Import => PolicyDirection::Import,
                Direction::Export => PolicyDirection::Export,
            },
            prefix: self.prefix.to_string(),
            as_path: self.as_path.clone(),
            origin: self.origin.map(|origin| format!("{origin:?}").to_lowercase()),
            next_hop: self.next_hop,
            local_pref: self.local_pref,
            med: self.med,
            communities: (!communities.is_empty()).then(|| communities.join(" ")),
            from: self.peer.clone(),
            from_table: self.from_table,
        }
    }

    fn text(&self, node: &str, Outcome { trial, running }: &Outcome) -> String {
        let direction = match self.direction {
            Direction::Import => "import from",
            Direction::Export => "export to",
        };
        let mut lines = vec![format!("{} {direction} {} on {node}", trial.prefix, self.neighbour)];
        lines.push(format!("      {}", route(&trial.route)));
        for rule in &trial.rules {
            lines.push(format!("{:>3}  {}", rule.number, rule.text));
            for change in &rule.changes {
                let value = |value: &Option<String>| value.clone().unwrap_or("-".to_owned());
                let (name, before) = (field(&change.field), value(&change.before));
                lines.push(format!("      {name}: {before} -> {}", value(&change.after)));
            }
        }
        lines.push(end(trial));
        lines.extend(trial.result.as_ref().map(|result| format!("      {}", route(result))));
        if let Some(running) = running {
            lines.push(format!("as the speaker runs: {}", end(running)));
            lines.extend(running.result.as_ref().map(|result| format!("      {}", route(result))));
        }
        lines.join("\n")
    }
}

fn end(trial: &PolicyTrial) -> String {
    match (trial.accepted, trial.decided_by) {
        (true, Some(rule)) => format!("accepted by rule {rule}"),
        (false, Some(rule)) => format!("rejected by rule {rule}"),
        _ => "rejected: no rule accepts it".to_owned(),
    }
}

/// How people call a field of [`TrialRoute`].
fn field(name: &str) -> &str {
    match name {
        "nextHop" => "next hop",
        "asPath" => "AS path",
        "localPref" => "local pref",
        "med" => "MED",
        other => other,
    }
}

fn route(route: &TrialRoute) -> String {
    // What there is of a route is what it has beyond one that has nothing.
    let parts = TrialRoute::default().changes(route);
    let parts = parts
        .iter()
        .map(|part| format!("{} {}", field(&part.field), part.after.as_deref().unwrap_or("-")));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &str) -> Args {
        let words = words.split_whitespace().map(|word| word.replace('_', " "));
        Whole::try_parse_from(std::iter::once("test".to_owned()).chain(words)).unwrap().args
    }

    fn file(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("speaker.yaml");
        let text = "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\n\
                    metadata: {name: default}\nspec: {asn: 64512}\n\
                    ---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\n\
                    metadata: {name: transit}\nspec:\n  address: 192.0.2.2\n  asn: 65001\n  \
                    import:\n    rules:\n    \
                    - {asPaths: [_65666_], action: Reject}\n    \
                    - prefixes: [{prefix: 10.0.0.0/8, maxLength: 24}]\n      \
                    set: {localPref: 200, communities: {add: ['64512:1']}}\n      \
                    action: Continue\n    \
                    - {communities: ['64512:1'], set: {med: {set: 5}}, action: Accept}\n";
        std::fs::write(&path, text).unwrap();
        path
    }

    fn shown(words: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let args = args(words);
        args.text("a file", &answer(&args, &file(&folder)).unwrap())
    }

    fn answer(args: &Args, file: &Path) -> Result<Outcome> {
        tokio::runtime::Runtime::new().unwrap().block_on(of_file(args, file))
    }

    #[test]
    fn each_rule_is_shown_with_what_it_changes() {
        let words = "import transit 10.1.0.0/16 --as-path 65001_65002 --large-community 65001:1:2 \
                     --community 65001:7";
        assert_eq!(
            shown(words),
            "10.1.0.0/16 import from transit on a file\n\
             \x20     next hop 192.0.2.2, AS path 65001 65002, origin igp, \
             communities 65001:7 65001:1:2\n\
             \x20 2  prefix 10.0.0.0/8 of /8 to /24: local preference 200, \
             communities more 64512:1; continue\n\
             \x20     local pref: - -> 200\n\
             \x20     communities: 65001:7 65001:1:2 -> 65001:7 64512:1 65001:1:2\n\
             \x20 3  community 64512:1: MED 5; accept\n\
             \x20     MED: - -> 5\n\
             accepted by rule 3\n\
             \x20     next hop 192.0.2.2, AS path 65001 65002, origin igp, local pref 200, MED 5, \
             communities 65001:7 64512:1 65001:1:2"
        );
    }

    #[test]
    fn the_end_is_shown_where_a_route_is_rejected() {
        let last = |words: &str| shown(words).lines().last().unwrap().to_owned();
        let refused = last("import 192.0.2.2 10.1.0.0/16 --as-path 65001_65666");
        assert_eq!(refused, "rejected by rule 1");
        let nobody = "rejected: no rule accepts it";
        assert_eq!(last("import 192.0.2.2 192.168.0.0/16"), nobody);
        assert_eq!(last("export transit 10.1.0.0/16"), nobody);
    }

    #[test]
    fn what_is_no_route_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        for (words, told) in [
            ("import nobody 10.1.0.0/16", "peer: `nobody` is neither"),
            ("import transit 10.1.0.0/16 --as-path x", "asPath: `x` is no AS path"),
            ("export transit 10.1.0.0/16 --peer nobody", "from: `nobody` is neither"),
        ] {
            let Err(error) = answer(&args(words), &file) else { panic!("{words}") };
            assert!(error.to_string().starts_with(told), "{error}");
        }
    }

    #[test]
    fn a_route_of_the_table_is_shown_as_it_is_and_as_it_would_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        let (_, config) = check::read(&file, &[]).unwrap();
        let asked =
            args("import 192.0.2.2 10.1.0.0/16 --med 7 --as-path 65001_65002 --community 1:1");
        // What the speaker finds has all that there is of the route.
        let found = bgpd::trial(&config, &asked.query()).unwrap();
        let bare = args("import 192.0.2.2 10.1.0.0/16 --from-table");
        let again = bgpd::trial(&config, &as_found(bare.query(), &found)).unwrap();
        assert_eq!(again, found);
        let outcome = Outcome { trial: again, running: Some(found) };
        let text = bare.text("new.yaml", &outcome);
        let (_, running) = text.split_once("as the speaker runs: ").unwrap();
        assert!(running.starts_with("accepted by rule 3\n      next hop 192.0.2.2"), "{text}");
        let json = serde_json::to_value(&outcome).unwrap();
        assert_eq!((&json["accepted"], &json["running"]["decidedBy"]), (&true.into(), &3.into()));
    }
}
