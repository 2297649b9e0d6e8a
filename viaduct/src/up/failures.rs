//! Processes that end when they should run: the supervisor notes them, `up` reads the notes and
//! tells of them instead of waiting for what will not come.

use std::{fs, io, path::Path, process::Child, time::Duration};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::paths::{ClusterPaths, write_atomically};

/// A process that ended so often while its cluster came up will not stay.
const ENDS_MAX: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const LOG_LINES: usize = 8;
/// More logs than these say the same again: every node fails alike.
const LOGS_MAX: usize = 3;

pub(crate) const SUPERVISOR: &str = "supervisor";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    times: u32,
    last: String,
}

/// Notes that a process ended or could not be started.
pub(crate) fn note(folder: &Path, process: &str, last: String) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(process);
    let before: Note = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Note::default(),
        Err(error) => return Err(error),
    };
    let note = Note { times: before.times.saturating_add(1), last };
    write_atomically(&path, &serde_json::to_vec(&note)?, 0o644)
}

/// The processes that ended, by name.
fn read(folder: &Path) -> Result<Vec<(String, Note)>> {
    let mut notes = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(notes),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Such a file is about to be renamed over the note.
        if !name.ends_with(".new") {
            notes.push((name, serde_json::from_slice(&fs::read(entry.path())?)?));
        }
    }
    notes.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(notes)
}

/// Returns why the cluster cannot come up, as soon as that is certain.
pub(crate) async fn watch(paths: &ClusterPaths, supervisor: &mut Child) -> Result<String> {
    loop {
        if let Some(status) = supervisor.try_wait().context("look after the supervisor")? {
            return Ok(format!("the supervisor ended: {status}"));
        }
        let notes = read(&paths.ended())?;
        if let Some((name, note)) = notes.iter().find(|(_, note)| note.times >= ENDS_MAX) {
            return Ok(format!("{name} ended {} times, at last with {}", note.times, note.last));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The ends of the logs of what failed, for people.
pub(crate) fn logs(paths: &ClusterPaths) -> String {
    // This is an error's explanation: what cannot be read of it is left out.
    let notes = read(&paths.ended()).unwrap_or_default();
    let mut names: Vec<_> = notes.into_iter().map(|(name, _)| name).collect();
    if !paths.is_supervised() {
        names.push(SUPERVISOR.to_owned());
    }
    let mut text = String::new();
    for name in names.into_iter().take(LOGS_MAX) {
        let path = paths.log(&name);
        let log = fs::read(&path).unwrap_or_default();
        let tail = tail(&String::from_utf8_lossy(&log));
        if !tail.is_empty() {
            text += &format!("--- {}\n{tail}\n", path.display());
        }
    }
    text
}

fn tail(log: &str) -> String {
    let mut lines: Vec<&str> = log.lines().collect();
    // A process that is started again and again says the same each time.
    lines.dedup();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_count_and_keep_the_last_words() {
        let folder = std::env::temp_dir().join(format!("viaduct-notes-{}", std::process::id()));
        assert_eq!(read(&folder).unwrap(), []);
        note(&folder, "node-1.node", "exit status: 1".to_owned()).unwrap();
        note(&folder, "node-1.node", "exit status: 2".to_owned()).unwrap();
        note(&folder, "node-1.kubelet", "signal: 9".to_owned()).unwrap();
        let notes = read(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let note = |name: &str, times, last: &str| {
            (name.to_owned(), Note { times, last: last.to_owned() })
        };
        let kubelet = note("node-1.kubelet", 1, "signal: 9");
        assert_eq!(notes, [kubelet, note("node-1.node", 2, "exit status: 2")]);
    }

    #[test]
    fn a_tail_is_the_end_of_a_log() {
        let log: String = (0..20).map(|line| format!("{line}\n")).collect();
        assert!(tail(&log).starts_with("12\n") && tail(&log).ends_with("19"));
        assert_eq!(tail("a\na\nb\n"), "a\nb");
        assert_eq!(tail(""), "");
    }
}
