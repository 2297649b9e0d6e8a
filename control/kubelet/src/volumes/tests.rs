use serde_json::json;

use super::*;

fn contents(files: &[(&str, &str)]) -> Files {
    let file = |text: &str| File { content: text.as_bytes().to_vec(), mode: 0o644 };
    files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
}

#[test]
fn files_are_swapped_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("v");
    write_files(&root, &contents(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(root.join("sub/b")).unwrap(), "2");
    let first = fs::read_link(root.join("..data")).unwrap();

    write_files(&root, &contents(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
    assert_eq!(fs::read_link(root.join("..data")).unwrap(), first, "nothing changed");

    write_files(&root, &contents(&[("a", "3"), ("c", "4")]), None).unwrap();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "3");
    assert_eq!(fs::read_to_string(root.join("c")).unwrap(), "4");
    assert!(!root.join("sub").exists());
    assert!(!root.join(first).exists(), "the old version is gone");
    assert!(fs::symlink_metadata(root.join("a")).unwrap().is_symlink());
}

fn pod(volume: serde_json::Value) -> (Pod, Volume) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "n", "labels": { "a": "b" } },
        "spec": { "containers": [], "volumes": [volume] },
    }))
    .unwrap();
    let volume = pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0].clone();
    (pod, volume)
}

fn references() -> References {
    let map = serde_json::from_value(json!({ "data": { "x": "1", "y": "2" } })).unwrap();
    References { config_maps: [("m".to_owned(), map)].into(), ..References::default() }
}

#[test]
fn items_choose_and_rename() {
    let (pod, volume) = pod(json!({ "name": "v", "configMap": {
        "name": "m", "defaultMode": 256, "items": [{ "key": "y", "path": "d/z" }] } }));
    let files = files(&pod, &volume, &references(), &Downward::default()).unwrap().unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files["d/z"], File { content: b"2".to_vec(), mode: 0o400 });
}

#[test]
fn what_is_missing_is_named_unless_optional() {
    let missing = |optional: bool| {
        let (pod, volume) = pod(json!({ "name": "v", "secret": {
            "secretName": "s", "optional": optional } }));
        files(&pod, &volume, &references(), &Downward::default())
    };
    assert_eq!(missing(false).unwrap_err().to_string(), "secret \"s\" not found");
    assert_eq!(missing(true).unwrap().unwrap(), Files::new());
}

#[test]
fn no_path_leads_out_of_a_volume() {
    let (with_path, volume) = pod(json!({ "name": "v", "configMap": {
        "name": "m", "items": [{ "key": "y", "path": "../z" }] } }));
    let refused = files(&with_path, &volume, &references(), &Downward::default());
    assert!(matches!(refused, Err(VolumeError::Path { .. })));

    let dir = tempfile::tempdir().unwrap();
    let (pod, _) = pod(json!({ "name": "v", "emptyDir": {} }));
    let root = volume_dir(dir.path(), "v");
    fs::create_dir_all(&root).unwrap();
    symlink("/etc", root.join("link")).unwrap();
    let source = |sub| mount_source(dir.path(), &pod, "v", sub);
    assert!(matches!(source(Some("link")), Err(VolumeError::Path { .. })));
    assert!(matches!(source(Some("../x")), Err(VolumeError::Path { .. })));
    assert_eq!(source(Some("new")).unwrap(), root.join("new").canonicalize().unwrap());
    assert!(matches!(mount_source(dir.path(), &pod, "w", None), Err(VolumeError::Unknown(_))));
}

#[test]
fn a_path_of_the_node_is_what_the_pod_takes_it_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(dir.path().join("file"), b"").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    for (name, kind, what) in [
        ("file", "Directory", Some("a directory")),
        ("file", "DirectoryOrCreate", Some("a directory")),
        ("file", "File", None),
        ("file", "Socket", Some("a socket file")),
        ("socket", "Socket", None),
        ("socket", "File", Some("a file")),
        ("missing", "Directory", Some("a directory")),
        ("missing", "File", Some("a file")),
        ("missing", "", None),
        ("made", "DirectoryOrCreate", None),
        ("made", "Directory", None),
        ("created", "FileOrCreate", None),
        ("created", "File", None),
        ("created", "BlockDevice", Some("a block device")),
    ] {
        let result = host_path(&path(name), kind);
        match what {
            None => result.unwrap(),
            Some(what) => {
                let error = result.unwrap_err().to_string();
                let expected = format!("hostPath type check failed: {} is not {what}", path(name));
                assert!(error.ends_with(&expected), "{error}");
            }
        }
    }
    host_path("/dev/null", "CharDevice").unwrap();
    assert!(host_path("/dev/null", "Pipe").unwrap_err().to_string().contains("Pipe"));
}

#[test]
fn memory_of_a_volume_is_bounded_by_its_limit_and_the_pods() {
    assert!(nix::unistd::geteuid().is_root(), "mounting needs root");
    for (size, of_pod, expected) in
        [("8Mi", None, 8 << 20), ("8Mi", Some("4Mi"), 4 << 20), ("2Mi", Some("4Mi"), 2 << 20)]
    {
        let dir = tempfile::tempdir().unwrap();
        let source = json!({ "name": "v", "emptyDir": { "medium": "Memory", "sizeLimit": size } });
        let (mut pod, volume) = pod(source);
        if let Some(limit) = of_pod {
            let limits = json!([{ "name": "a", "resources": { "limits": { "memory": limit } } }]);
            pod.spec.as_mut().unwrap().containers = serde_json::from_value(limits).unwrap();
        }
        prepare(dir.path(), &pod, &volume, &references(), &Downward::default()).unwrap();
        let found = nix::sys::statvfs::statvfs(&volume_dir(dir.path(), "v")).unwrap();
        assert_eq!(found.blocks() * found.fragment_size(), expected);
        release(dir.path(), &pod).unwrap();
    }
}
