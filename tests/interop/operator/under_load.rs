//! Questions while many routes come and go over a real session. The promise is 100 ms with half a
//! million routes and an optimized build, which `make bench-bgp ARGS='--only admin'` measures; here it is
//! ten times that with few routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use viaduct_api::admin::{EventQuery, PathQuery};
use viaduct_net::{OriginSource, Origination};

use crate::lab::{
    node::{Node, prefix, v4},
    setup::{pair, with_addresses},
};

const BOUND: Duration = Duration::from_secs(1);
const ROUNDS: usize = 4;

/// `REPEAT` times as many for a longer look.
fn route_count() -> usize {
    let repeat = std::env::var("REPEAT").ok().and_then(|text| text.parse().ok());
    4_000 * repeat.unwrap_or(1_usize)
}

fn text(number: usize) -> String {
    format!("100.{}.{}.{}/32", number >> 16 & 0x3f | 0x40, number >> 8 & 0xff, number & 0xff)
}

fn originations(count: usize) -> BTreeSet<Origination> {
    let one = |number| Origination { prefix: prefix(&text(number)), source: OriginSource::Block };
    (0..count).map(one).collect()
}

/// The longest that each question has taken.
#[derive(Default)]
struct Worst(BTreeMap<&'static str, Duration>);

impl Worst {
    async fn timed<T>(&mut self, question: &'static str, answer: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let answer = answer.await;
        let worst = self.0.entry(question).or_default();
        *worst = begun.elapsed().max(*worst);
        answer
    }

    /// Asks everything once; gives how many prefixes the peer has told.
    async fn ask(&mut self, node: &Node) -> usize {
        let handle = &node.handle;
        let first = async |query: &PathQuery| handle.paths(query).unwrap().next().await.unwrap();
        let one = PathQuery { prefix: Some(text(7)), ..PathQuery::default() };
        let around = PathQuery { prefix: Some("100.64.0.7".to_owned()), ..PathQuery::default() };
        let of_peer = PathQuery { peer: Some(v4(2)), limit: Some(100), ..PathQuery::default() };
        self.timed("peer", handle.peer(v4(2))).await.unwrap();
        self.timed("policy", handle.policies(None)).await.unwrap();
        self.timed("routes", first(&PathQuery::default())).await;
        self.timed("routes PREFIX", first(&one)).await;
        self.timed("routes ADDRESS", first(&around)).await;
        self.timed("routes --peer", first(&of_peer)).await;
        self.timed("events", handle.events(&EventQuery::default()).next()).await.unwrap();
        self.timed("metrics", handle.metrics()).await.unwrap();
        self.timed("peers", handle.peers()).await.unwrap()[0].prefixes_received
    }
}

#[test]
fn answers_do_not_wait_for_the_table_to_settle() {
    with_addresses(&[1, 2], async || {
        let (a, b) = pair(v4).await;
        let (many, mut worst) = (originations(route_count()), Worst::default());
        for _ in 0..ROUNDS {
            b.originations.send_replace(many.clone());
            while worst.ask(&a).await < many.len() {}
            b.originations.send_replace(BTreeSet::new());
            while worst.ask(&a).await > 0 {}
        }
        println!("{:?}", worst.0);
        assert!(worst.0.values().all(|took| *took < BOUND), "{:?}", worst.0);
    });
}

#[test]
fn the_whole_table_comes_in_pieces() {
    with_addresses(&[1, 2], async || {
        let (a, b) = pair(v4).await;
        let many = originations(route_count());
        b.originations.send_replace(many.clone());
        let all = |count: usize| {
            async move |node: &Node| {
                node.handle.peers().await.unwrap()[0].prefixes_received == count
            }
        };
        a.wait("all of them", all(many.len())).await;
        let query = PathQuery { peer: Some(v4(2)), best: true, ..PathQuery::default() };
        let mut paths = a.handle.paths(&query).unwrap();
        let (mut met, mut pieces) = (BTreeSet::new(), 0);
        while let Some(some) = paths.next().await.unwrap() {
            assert!(some.len() <= 1000, "{}", some.len());
            pieces += 1;
            met.extend(some.iter().map(|path| path.prefix));
        }
        let told: BTreeSet<_> = many.iter().map(|one| one.prefix).collect();
        assert!(met == told && pieces > 3, "{} of {} in {pieces}", met.len(), told.len());
        let nobody = PathQuery { peer: Some(v4(9)), ..PathQuery::default() };
        assert!(a.handle.paths(&nobody).unwrap().next().await.is_err());
    });
}
