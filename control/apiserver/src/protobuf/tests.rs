use serde_json::json;

use super::*;

/// A field of bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
    out.extend(content);
    out
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &type_meta), field(2, raw), field(3, b""), field(4, b"")].concat()
}

#[test]
fn a_config_map_is_read() {
    let metadata = [field(1, b"a"), field(3, b""), field(8, b"")].concat();
    let entry = [field(1, b"k"), field(2, b"v")].concat();
    let raw = [field(1, &metadata), field(2, &entry)].concat();
    let expected = json!({"metadata": {"name": "a"}, "data": {"k": "v"},
        "apiVersion": "v1", "kind": "ConfigMap"});
    assert_eq!(decode(&envelope("v1", "ConfigMap", &raw)).unwrap(), expected);
}

#[test]
fn numbers_and_ports_are_read() {
    // port 8080 (varint 0x90 0x3f), targetPort the text `web`, nodePort 0.
    let target = [vec![8, 1, 16, 0], field(3, b"web")].concat();
    let port = [vec![3 << 3, 0x90, 0x3f], field(4, &target), vec![5 << 3, 0]].concat();
    let spec = [field(1, &port), vec![13 << 3, 0]].concat();
    let service = decode(&envelope("v1", "Service", &field(2, &spec))).unwrap();
    assert_eq!(service["spec"], json!({"ports": [{"port": 8080, "targetPort": "web"}]}));
}

#[test]
fn what_is_not_known_is_refused() {
    assert_eq!(decode(b"{}").unwrap_err().code, 400);
    assert_eq!(decode(b"k8s\0\xff").unwrap_err().code, 400);
    assert_eq!(decode(&envelope("v1", "Node", b"")).unwrap_err().code, 415);
    let error = decode(&envelope("v1", "ConfigMap", &field(9, b""))).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (415, "field 9 of ConfigMap is not read in this form")
    );
    assert_eq!(decode(&envelope("v1", "ConfigMap", &[2 << 3, 1])).unwrap_err().code, 400);
    assert_eq!(decode(&envelope("v1", "ConfigMap", &[1 << 3 | 2, 200])).unwrap_err().code, 400);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        for kind in ["ConfigMap", "Service", "Namespace"] {
            let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
            let mut body = [MAGIC.to_vec(), field(1, &type_meta)].concat();
            let len = bytes.len().min(127);
            body.extend(field(2, &bytes[..len]));
            let _ = decode(&body);
        }
        let _ = decode(&[MAGIC, &bytes].concat());
    }
}
