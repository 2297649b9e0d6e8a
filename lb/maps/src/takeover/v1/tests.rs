use super::*;

const RESERVED: u32 = 0xdead_beef;

fn octets(words: &[u32]) -> Vec<u8> {
    words.iter().copied().flat_map(u32::to_ne_bytes).collect()
}

fn ids(octets: &[u8]) -> Vec<u32> {
    octets.as_chunks::<ID>().0.iter().copied().map(u32::from_ne_bytes).collect()
}

fn key(number: u8) -> Vec<u8> {
    vec![number; 20]
}

fn hash<const N: usize>(entries: [(Vec<u8>, Vec<u8>); N]) -> Map {
    Map::Hash(entries.into())
}

fn services(contents: &Contents) -> BTreeMap<Vec<u8>, Vec<u32>> {
    let Map::Hash(services) = &contents[map::SERVICES] else { panic!("{contents:?}") };
    services.iter().map(|(key, value)| (key.clone(), ids(value))).collect()
}

fn arena(contents: &Contents) -> Vec<u32> {
    let Map::Array { value: 256, octets } = &contents[map::MAGLEV] else { panic!("{contents:?}") };
    ids(octets)
}

#[test]
fn tables_begin_with_a_chunk_and_are_shared_as_before() {
    let places: Vec<u32> = (0..1000).collect();
    let mut contents = Contents::from([
        (map::MAGLEV, Map::Array { value: ID, octets: octets(&places) }),
        (
            map::SERVICES,
            hash([
                (key(1), octets(&[256, 251, 7, 1])),
                (key(2), octets(&[100, 3, 8, 0])),
                (key(3), octets(&[256, 251, 9, 0])),
                (key(4), octets(&[0, 0, 2, 1])),
                (key(5), octets(&[997, 3, 1, 0])),
            ]),
        ),
    ]);
    assert_eq!(convert(&mut contents), []);
    let services = services(&contents);
    let arena = arena(&contents);
    for (number, length, generation, flags, first) in
        [(1, 251, 7, 1, 256), (2, 3, 8, 0, 100), (3, 251, 9, 0, 256), (5, 3, 1, 0, 997)]
    {
        let value = &services[&key(number)];
        let [offset, rest @ ..] = &value[..] else { panic!("{value:?}") };
        assert_eq!(rest, [length, generation, flags, 0, 0], "{number}");
        assert!(offset.is_multiple_of(64), "{offset}");
        let begin = *offset as usize;
        let table: Vec<u32> = (first..first + length).collect();
        assert_eq!(arena[begin..begin + length as usize], table, "{number}");
    }
    assert_eq!(services[&key(1)][0], services[&key(3)][0], "one table for both");
    assert_eq!(services[&key(4)][1..], [0, 2, 1, 0, 0], "nobody is ready");
    assert_eq!(arena.len(), 256 + 64 + 64);
}

#[test]
fn a_service_without_its_table_is_a_loss() {
    let mut contents = Contents::from([
        (map::MAGLEV, Map::Array { value: ID, octets: octets(&[1; 64]) }),
        (
            map::SERVICES,
            hash([
                (key(1), octets(&[0, 64, 1, 0])),
                (key(2), octets(&[60, 5, 1, 0])),
                (key(3), octets(&[u32::MAX, u32::MAX, 1, 0])),
                (key(4), octets(&[0, 64, 1])),
            ]),
        ),
    ]);
    let losses = convert(&mut contents);
    let [Loss { from: 1, map, entries: 3, .. }] = &losses[..] else { panic!("{losses:?}") };
    assert_eq!(map, "SERVICES");
    assert_eq!(services(&contents).into_keys().collect::<Vec<_>>(), [key(1)]);
}

#[test]
fn backends_keep_their_ids_and_what_stands_under_none() {
    let value = |first: u8| (first..first + 20).collect::<Vec<u8>>();
    let id = |id: u32| id.to_ne_bytes().to_vec();
    let ids = [(id(0), value(0)), (id(7), value(50)), (id(1 << 20), value(90))];
    let mut contents = Contents::from([(map::BACKENDS, hash(ids.clone()))]);
    assert_eq!(convert(&mut contents), []);
    let longer = |(id, value): (Vec<u8>, Vec<u8>)| (id, [value, vec![0; 4]].concat());
    assert_eq!(contents[map::BACKENDS], hash(ids.map(longer)));
}

#[test]
fn the_configuration_is_kept_and_new_limits_are_the_defaults() {
    let mut words = [0; 10];
    for (index, word) in words.iter_mut().enumerate() {
        *word = index as u32 + 1;
    }
    words[9] = RESERVED;
    let before = Map::Array { value: 40, octets: octets(&words) };
    let mut contents = Contents::from([(map::CONFIG, before)]);
    assert_eq!(convert(&mut contents), []);
    let after = [octets(&words[..9]), vec![0; 60]].concat();
    assert_eq!(contents[map::CONFIG], Map::Array { value: 96, octets: after });
}
