//! Whom a container runs as: the pod's word, then the image's, looked up in the image's files.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::{Container, PodSpec};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) home: Option<String>,
}

const FILE_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn identity(
    spec: &PodSpec,
    container: &Container,
    image_user: Option<&str>,
    rootfs: &Path,
) -> Result<Identity, String> {
    let of_pod = spec.security_context.as_ref();
    let own = container.security_context.as_ref();
    let id = |value: i64| u32::try_from(value).map_err(|_e| format!("id {value} is out of range"));
    let (user, group) = split(image_user.unwrap_or_default());
    let wanted_uid = own.and_then(|c| c.run_as_user).or(of_pod.and_then(|c| c.run_as_user));
    let wanted_gid = own.and_then(|c| c.run_as_group).or(of_pod.and_then(|c| c.run_as_group));
    let passwd = read(rootfs, "etc/passwd");
    let groups = read(rootfs, "etc/group");
    let entry = match wanted_uid {
        Some(uid) => account(&passwd, &id(uid)?.to_string()),
        None => account(&passwd, if user.is_empty() { "0" } else { user }),
    };
    let uid = match (wanted_uid, &entry) {
        (Some(uid), _) => id(uid)?,
        (None, Some(entry)) => entry.uid,
        (None, None) if user.is_empty() => 0,
        (None, None) => {
            let text = user.parse();
            text.map_err(|_e| format!("the image's user {user:?} is not in its /etc/passwd"))?
        }
    };
    let gid = match (wanted_gid, group) {
        (Some(gid), _) => id(gid)?,
        // A user that was chosen instead of the image's does not keep the image's group.
        (None, Some(group)) if wanted_uid.is_none() => group_id(&groups, group)
            .ok_or_else(|| format!("the image's group {group:?} is not in its /etc/group"))?,
        (None, _) => entry.as_ref().map_or(0, |e| e.gid),
    };
    let must_not_be_root = own
        .and_then(|c| c.run_as_non_root)
        .or(of_pod.and_then(|c| c.run_as_non_root))
        .unwrap_or(false);
    if must_not_be_root && uid == 0 {
        return Err("container has runAsNonRoot and image will run as root".to_owned());
    }
    let mut additional_gids = entry.as_ref().map_or(Vec::new(), |e| memberships(&groups, &e.name));
    for &gid in of_pod.iter().flat_map(|c| c.supplemental_groups.iter().flatten()) {
        additional_gids.push(id(gid)?);
    }
    if let Some(gid) = of_pod.and_then(|c| c.fs_group) {
        additional_gids.push(id(gid)?);
    }
    additional_gids.sort_unstable();
    additional_gids.dedup();
    let home = entry.map(|e| e.home);
    Ok(Identity { uid, gid, additional_gids, home })
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// `user[:group]`.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (text, None),
    }
}

/// A file of the image; a link may lead anywhere on the node, so only a plain file counts.
fn read(rootfs: &Path, name: &str) -> String {
    let path = rootfs.join(name);
    let plain = |p: &Path| fs::symlink_metadata(p).ok().filter(|m| !m.is_symlink());
    let safe = plain(&rootfs.join("etc")).is_some_and(|m| m.is_dir())
        && plain(&path).is_some_and(|m| m.is_file() && m.len() <= FILE_BYTES_MAX);
    if safe { fs::read_to_string(path).unwrap_or_default() } else { String::new() }
}

/// By name or by number.
fn account(passwd: &str, user: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        if name != user && uid != user {
            return None;
        }
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        Some(Account { name: name.to_owned(), uid, gid, home: home.to_owned() })
    })
}

fn group_id(groups: &str, group: &str) -> Option<u32> {
    let by_name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    });
    by_name.or_else(|| group.parse().ok())
}

fn memberships(groups: &str, user: &str) -> Vec<u32> {
    groups
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, gid, members] = fields[..] else { return None };
            members.split(',').any(|m| m == user).then(|| gid.parse().ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rootfs() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/srv:/bin/sh\n";
        fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        fs::write(dir.path().join("etc/group"), "web:x:44:\nlog:x:55:web,x\n").unwrap();
        dir
    }

    fn of(pod: serde_json::Value, own: serde_json::Value, user: &str) -> Result<Identity, String> {
        let spec: PodSpec =
            serde_json::from_value(json!({ "containers": [], "securityContext": pod })).unwrap();
        let container: Container =
            serde_json::from_value(json!({ "name": "c", "securityContext": own })).unwrap();
        identity(&spec, &container, Some(user), rootfs().path())
    }

    #[test]
    fn the_images_user_is_looked_up() {
        let found = of(json!({}), json!({}), "web").unwrap();
        assert_eq!((found.uid, found.gid, found.additional_gids), (33, 44, vec![55]));
        assert_eq!(found.home.as_deref(), Some("/srv"));
        let found = of(json!({}), json!({}), "7:log").unwrap();
        assert_eq!((found.uid, found.gid), (7, 55));
        assert!(of(json!({}), json!({}), "nobody").is_err());
    }

    #[test]
    fn the_container_overrules_the_pod_and_both_the_image() {
        let found = of(json!({"runAsUser": 1, "fsGroup": 9}), json!({"runAsUser": 2}), "web");
        let found = found.unwrap();
        assert_eq!((found.uid, found.gid, found.additional_gids), (2, 0, vec![9]));
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        assert!(of(json!({"runAsNonRoot": true}), json!({}), "").is_err());
        assert!(of(json!({"runAsNonRoot": true}), json!({}), "web").is_ok());
    }
}
