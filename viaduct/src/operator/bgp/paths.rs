//! Paths on paper: for scripts, in a table, or one prefix in full.

use std::io::{self, BufWriter, Write};

use viaduct_api::admin::BgpPath;

use super::table::{columns, list, widths};

/// Up to so many paths are sorted and put into columns that fit; more are printed as they come.
const SMALL: usize = 2000;
const HEADER: [&str; 9] =
    ["NODE", "", "PREFIX", "NEXT HOP", "FROM", "AS PATH", "PREF", "COMMUNITIES", "WHY NOT"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// An array of nodes, with a line for each path.
    Json,
    /// A line for each path.
    Table,
    /// Some lines for each path of one prefix.
    Details,
}

/// Takes the paths of one node after another.
pub(super) struct Printer<W: Write> {
    style: Style,
    to: BufWriter<W>,
    node: String,
    nodes: usize,
    /// Of the present node.
    paths: usize,
    /// Rows of a table that may still turn out to be small.
    held: Vec<(usize, BgpPath, Vec<String>)>,
    /// Of a table that is not.
    widths: Option<Vec<usize>>,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(style: Style, to: W) -> Self {
        let to = BufWriter::with_capacity(64 << 10, to);
        let (node, held) = (String::new(), Vec::new());
        Self { style, to, node, nodes: 0, paths: 0, held, widths: None }
    }

    pub(super) fn begin_node(&mut self, node: &str) {
        node.clone_into(&mut self.node);
        (self.nodes, self.paths) = (self.nodes + 1, 0);
    }

    pub(super) fn path(&mut self, path: BgpPath) -> io::Result<()> {
        let is_first = self.paths == 0;
        self.paths += 1;
        match self.style {
            Style::Json => {
                if is_first {
                    self.begin_json()?;
                }
                let between = if is_first { "\n" } else { ",\n" };
                write!(self.to, "{between}{}", serde_json::to_string(&path)?)
            }
            Style::Table => self.row(path),
            Style::Details => {
                if is_first {
                    writeln!(self.to, "{} on {}:", path.prefix, self.node)?;
                }
                details(&mut self.to, &path)
            }
        }
    }

    /// `error`: why there is no answer, or not all of one.
    pub(super) fn end_node(&mut self, error: Option<&str>) -> io::Result<()> {
        match (self.style, error) {
            (Style::Json, error) => {
                if self.paths == 0 {
                    self.begin_json()?;
                }
                let error = error.map(serde_json::to_string).transpose()?;
                let error = error.map(|error| format!(",\"error\":{error}")).unwrap_or_default();
                write!(self.to, "]{error}}}")
            }
            (Style::Details, None) if self.paths == 0 => {
                writeln!(self.to, "no such path on {}", self.node)
            }
            (Style::Table | Style::Details, _) => Ok(()),
        }
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        match self.style {
            Style::Json if self.nodes == 0 => writeln!(self.to, "[]")?,
            Style::Json => writeln!(self.to, "\n]")?,
            Style::Table if self.widths.is_none() => {
                self.held.sort_by_key(|(node, path, _)| (*node, path.prefix, !path.best));
                let rows: Vec<_> = self.held.drain(..).map(|(_, _, row)| row).collect();
                writeln!(self.to, "{}", columns(&HEADER, &rows))?;
            }
            Style::Table | Style::Details => {}
        }
        self.to.flush()
    }

    fn begin_json(&mut self) -> io::Result<()> {
        let before = if self.nodes > 1 { ",\n" } else { "[\n" };
        write!(self.to, "{before}{{\"node\":{},\"answer\":[", serde_json::to_string(&self.node)?)
    }

    fn row(&mut self, path: BgpPath) -> io::Result<()> {
        let row = cells(&self.node, &path);
        if let Some(widths) = &self.widths {
            return line(&mut self.to, widths, row.iter().map(String::as_str));
        }
        self.held.push((self.nodes, path, row));
        if self.held.len() <= SMALL {
            return Ok(());
        }
        let rows: Vec<_> = self.held.drain(..).map(|(_, _, row)| row).collect();
        let widths = self.widths.insert(widths(&HEADER, &rows));
        line(&mut self.to, widths, HEADER.into_iter())?;
        rows.iter().try_for_each(|row| line(&mut self.to, widths, row.iter().map(String::as_str)))
    }
}

fn line<'a>(
    to: &mut impl Write,
    widths: &[usize],
    cells: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    let mut text = String::new();
    for (cell, width) in cells.zip(widths) {
        text += &format!("{cell:<width$}   ");
    }
    writeln!(to, "{}", text.trim_end())
}

fn from(path: &BgpPath) -> String {
    match (&path.replayed, path.peer_name(), path.originated) {
        (Some(file), ..) => file.clone(),
        (None, Some(peer), _) => peer,
        (None, None, Some(source)) => format!("{source:?}").to_lowercase(),
        (None, None, None) => "-".to_owned(),
    }
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn cells(node: &str, path: &BgpPath) -> Vec<String> {
    vec![
        node.to_owned(),
        if path.best { "*" } else { "" }.to_owned(),
        path.prefix.to_string(),
        or_dash(path.next_hop),
        from(path),
        if path.as_path.is_empty() { "-".to_owned() } else { path.as_path.clone() },
        or_dash(path.local_pref),
        list(&path.communities),
        match (&path.reason, path.stale) {
            (Some(reason), _) => reason.clone(),
            (None, true) => "stale".to_owned(),
            (None, false) => String::new(),
        },
    ]
}

/// One path in full, and what became of it.
fn details(to: &mut impl Write, path: &BgpPath) -> io::Result<()> {
    let mark = if path.best { '*' } else { ' ' };
    write!(to, "{mark} from {}", from(path))?;
    if path.path_id != 0 {
        write!(to, ", path id {}", path.path_id)?;
    }
    if let Some(next_hop) = path.next_hop {
        let over = path.resolved.iter().map(|hop| format!("{}%{}", hop.address, hop.interface));
        match list(over) {
            nowhere if nowhere == "-" => write!(to, ", next hop {next_hop} (unreachable)")?,
            over => write!(to, ", next hop {next_hop} (over {over})")?,
        }
    }
    writeln!(to, "{}", if path.stale { ", stale" } else { "" })?;
    let as_path = if path.as_path.is_empty() { "-" } else { &path.as_path };
    write!(to, "    AS path {as_path}, origin {}", path.origin)?;
    for (name, value) in [("local pref", path.local_pref), ("MED", path.med)] {
        if let Some(value) = value {
            write!(to, ", {name} {value}")?;
        }
    }
    writeln!(to)?;
    if !path.communities.is_empty() {
        writeln!(to, "    communities {}", path.communities.join(" "))?;
    }
    if let Some(originator) = &path.originator_id {
        writeln!(to, "    originator {originator}, clusters {}", list(&path.cluster_list))?;
    }
    writeln!(to, "    {}", path.reason.as_deref().unwrap_or("best"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn path(number: usize, best: bool) -> BgpPath {
        let reason = (!best).then_some("lost: longer AS_PATH");
        serde_json::from_value(json!({
            "prefix": format!("10.{}.{}.0/24", number / 256, number % 256),
            "peer": "192.0.2.1", "originated": null, "nextHop": "192.0.2.1", "resolved": [],
            "asPath": "65001", "origin": "IGP", "localPref": 100, "med": null,
            "communities": ["65000:1"], "best": best, "stale": false, "reason": reason,
        }))
        .unwrap()
    }

    fn printed(style: Style, nodes: &[(&str, Vec<BgpPath>, Option<&str>)]) -> String {
        let mut text = Vec::new();
        let mut printer = Printer::new(style, &mut text);
        for (node, paths, error) in nodes {
            printer.begin_node(node);
            paths.iter().for_each(|path| printer.path(path.clone()).unwrap());
            printer.end_node(*error).unwrap();
        }
        printer.end().unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn json_is_whole_whatever_the_nodes_answer() {
        for nodes in [
            vec![],
            vec![("a", vec![], None)],
            vec![("a", vec![path(1, true), path(1, false)], None), ("b", vec![], Some("dead"))],
            vec![
                ("a", vec![path(1, true)], Some("cut \"short\"")),
                ("b", vec![path(2, true)], None),
            ],
        ] {
            let text = printed(Style::Json, &nodes);
            let all: Vec<Value> = serde_json::from_str(&text).unwrap();
            assert_eq!(all.len(), nodes.len(), "{text}");
            for (value, (node, paths, error)) in all.iter().zip(&nodes) {
                assert_eq!(value["node"], *node);
                assert_eq!(value["answer"].as_array().unwrap().len(), paths.len());
                assert_eq!(value["error"].as_str(), *error);
            }
        }
    }

    #[test]
    fn a_small_table_is_sorted_and_a_large_one_is_not_held() {
        let few = printed(Style::Table, &[("a", vec![path(2, true), path(1, true)], None)]);
        let prefixes = |text: &str| -> Vec<String> {
            let second = |line: &str| line.split_whitespace().nth(2).unwrap_or_default().to_owned();
            text.lines().skip(1).map(second).collect()
        };
        assert_eq!(prefixes(&few), ["10.0.1.0/24", "10.0.2.0/24"]);
        let many: Vec<_> = (0..=SMALL + 5).rev().map(|number| path(number, true)).collect();
        let text = printed(Style::Table, &[("a", many, None)]);
        assert_eq!(prefixes(&text).len(), SMALL + 6);
        assert_eq!(prefixes(&text)[0], path(SMALL + 5, true).prefix.to_string());
    }

    #[test]
    fn one_prefix_is_told_in_full() {
        let text = printed(Style::Details, &[("a", vec![path(1, true), path(1, false)], None)]);
        assert_eq!(
            text,
            "10.0.1.0/24 on a:\n\
             * from 192.0.2.1, next hop 192.0.2.1 (unreachable)\n\
             \x20   AS path 65001, origin IGP, local pref 100\n\
             \x20   communities 65000:1\n\
             \x20   best\n\
             \x20 from 192.0.2.1, next hop 192.0.2.1 (unreachable)\n\
             \x20   AS path 65001, origin IGP, local pref 100\n\
             \x20   communities 65000:1\n\
             \x20   lost: longer AS_PATH\n"
        );
        assert_eq!(printed(Style::Details, &[("a", vec![], None)]), "no such path on a\n");
    }
}
