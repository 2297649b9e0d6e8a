use std::{fs, io, os::unix::fs::FileTypeExt, path::Path};

use serde_json::json;

use super::*;

fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A `docker save` archive with the layers given.
fn docker_archive(path: &Path, layers: &[Vec<u8>], diff_ids: &[String]) {
    let config = serde_json::to_vec(&json!({
        "os": "linux", "architecture": archive::host_architecture(),
        "config": { "Cmd": ["/run"] }, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    }))
    .unwrap();
    let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let manifest = serde_json::to_vec(&json!([
        { "Config": "config.json", "RepoTags": ["demo:1"], "Layers": names }
    ]))
    .unwrap();
    let mut entries: Vec<(&str, &[u8])> =
        vec![("manifest.json", &manifest), ("config.json", &config)];
    entries.extend(names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice)));
    fs::write(path, tar_of(&entries)).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn diff_id(layer: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(layer))
}

#[test]
fn a_packed_binary_is_imported_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let (binary, archive) = (dir.path().join("prog"), dir.path().join("prog.tar"));
    fs::write(&binary, b"\x7fELF not really").unwrap();
    pack_static(&binary, "demo", &archive).unwrap();
    let first = fs::read(&archive).unwrap();
    pack_static(&binary, "demo", &archive).unwrap();
    assert_eq!(first, fs::read(&archive).unwrap(), "deterministic");

    let store = dir.path().join("store");
    let references = import(&archive, &store).unwrap();
    assert_eq!(references, ["docker.io/library/demo:latest"]);
    let image = find(&store, "demo").unwrap().unwrap();
    assert_eq!(image.config.entrypoint.as_deref(), Some(&["/prog".to_owned()][..]));
    let layers = layer_paths(&store, &image);
    assert_eq!(fs::read(layers[0].join("prog")).unwrap(), b"\x7fELF not really");
    assert_eq!(import(&archive, &store).unwrap(), references, "again");
    assert_eq!(list(&store).unwrap(), [image]);
    assert_eq!(find(&store, "other").unwrap(), None);
    assert!(fs::read_dir(store.join("tmp")).unwrap().next().is_none(), "nothing left over");
}

#[test]
fn a_docker_archive_with_gzip_and_whiteouts() {
    let dir = tempfile::tempdir().unwrap();
    let lower = tar_of(&[("etc/a", b"1"), ("etc/b", b"2"), ("data/c", b"3")]);
    let upper = tar_of(&[("etc/.wh.a", b""), ("data/.wh..wh..opq", b""), ("data/d", b"4")]);
    let archive = dir.path().join("demo.tar");
    docker_archive(&archive, &[lower.clone(), gzip(&upper)], &[diff_id(&lower), diff_id(&upper)]);
    let store = dir.path().join("store");
    assert_eq!(import(&archive, &store).unwrap(), ["docker.io/library/demo:1"]);
    let image = find(&store, "demo:1").unwrap().unwrap();
    let layers = layer_paths(&store, &image);
    assert_eq!(fs::read(layers[0].join("etc/a")).unwrap(), b"1");
    let removed = fs::symlink_metadata(layers[1].join("etc/a")).unwrap();
    assert!(removed.file_type().is_char_device());
    let opaque = xattr::get(layers[1].join("data"), "trusted.overlay.opaque").unwrap();
    assert_eq!(opaque.as_deref(), Some(&b"y"[..]));
}

#[test]
fn a_layer_that_is_not_what_it_says_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let layer = tar_of(&[("a", b"1")]);
    let archive = dir.path().join("demo.tar");
    docker_archive(&archive, &[layer], &[diff_id(b"else")]);
    let store = dir.path().join("store");
    assert!(matches!(import(&archive, &store), Err(ImageError::Digest { .. })));
    assert_eq!(list(&store).unwrap(), []);
}

#[test]
fn a_layer_cannot_write_outside_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    // The tar crate writes no such path itself, so the name is put into the header by hand.
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..9].copy_from_slice(b"../escape");
    header.set_size(1);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b"x"[..]).unwrap();
    let layer = builder.into_inner().unwrap();
    let archive = dir.path().join("demo.tar");
    docker_archive(&archive, std::slice::from_ref(&layer), &[diff_id(&layer)]);
    assert!(matches!(import(&archive, &dir.path().join("store")), Err(ImageError::Format(_))));
}

#[test]
fn what_is_no_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("x.tar");
    fs::write(&archive, tar_of(&[("readme", b"hello")])).unwrap();
    assert!(matches!(import(&archive, dir.path()), Err(ImageError::Format(_))));
    fs::write(&archive, b"garbage").unwrap();
    assert!(import(&archive, dir.path()).is_err());
}
