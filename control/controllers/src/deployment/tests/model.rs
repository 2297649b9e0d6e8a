//! Random walks: whatever happens in whatever order, the bounds hold and it comes to an end.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{bounds::Bounds, *};

/// One thing that happens next.
#[derive(Clone, Debug)]
enum Event {
    /// The Deployment's controller makes the first of its steps; after that it has been killed, or
    /// somebody else was faster.
    Deployment {
        steps: usize,
    },
    /// The same for a set's.
    Set {
        index: usize,
        steps: usize,
    },
    /// A pod becomes ready.
    Ready {
        index: usize,
    },
    Image {
        number: u8,
    },
    Replicas {
        count: u8,
    },
    Pause {
        paused: bool,
    },
    /// A pod fails its probe.
    Unready {
        index: usize,
    },
}

fn steady() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0usize..6).prop_map(|steps| Event::Deployment { steps }),
        4 => (any::<usize>(), 0usize..6).prop_map(|(index, steps)| Event::Set { index, steps }),
        3 => any::<usize>().prop_map(|index| Event::Ready { index }),
    ]
}

fn anything() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => steady(),
        2 => (0u8..3).prop_map(|number| Event::Image { number }),
        1 => (0u8..9).prop_map(|count| Event::Replicas { count }),
        1 => any::<bool>().prop_map(|paused| Event::Pause { paused }),
        2 => any::<usize>().prop_map(|index| Event::Unready { index }),
    ]
}

fn strategy() -> impl Strategy<Value = Value> {
    let rolling = |surge: Value, unavailable: Value| {
        json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    };
    prop_oneof![
        (0u8..5, 0u8..5)
            .prop_filter("neither", |(surge, unavailable)| surge + unavailable > 0)
            .prop_map(move |(surge, unavailable)| rolling(surge.into(), unavailable.into())),
        (0u8..=100, 0u8..=100).prop_map(move |(surge, unavailable)| {
            rolling(format!("{surge}%").into(), format!("{unavailable}%").into())
        }),
    ]
}

fn first_steps(outcome: Outcome, steps: usize) -> Outcome {
    Outcome { steps: outcome.steps.into_iter().take(steps).collect(), ..outcome }
}

fn happen(world: &mut World, event: &Event) {
    let pick = |index: usize, count: usize| if count == 0 { None } else { Some(index % count) };
    match *event {
        Event::Deployment { steps } => {
            let outcome = reconcile(&key(), world, NOW);
            apply(world, &first_steps(outcome, steps));
        }
        Event::Set { index, steps } => {
            let keys = world.objects.keys(Kind::ReplicaSet);
            let Some(index) = pick(index, keys.len()) else { return };
            let outcome = replica_set::reconcile(&keys[index], world, NOW);
            apply(world, &first_steps(outcome, steps));
        }
        Event::Ready { index } | Event::Unready { index } => {
            let Some(index) = pick(index, world.objects.pods.len()) else { return };
            let pod = world.objects.pods.values().nth(index).unwrap();
            let mut pod = (**pod).clone();
            set_ready(&mut pod, matches!(event, Event::Ready { .. }));
            world.observe(pod, NOW);
        }
        Event::Image { number } => change(world, image(&format!("echo:{number}"))),
        Event::Replicas { count } => change(world, json!({"spec": {"replicas": count}})),
        Event::Pause { paused } => change(world, json!({"spec": {"paused": paused}})),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_rollout_keeps_its_bounds_at_every_step(
        replicas in 1u8..12,
        strategy in strategy(),
        events in prop::collection::vec(steady(), 0..150),
    ) {
        let spec = json!({"spec": {"replicas": replicas, "strategy": strategy}});
        let mut world = with(deployment(spec));
        settle(&mut world);
        let bounds = Bounds::of(&world.objects.deployments[&key()]);
        change(&mut world, image("echo:2"));
        for (number, event) in events.iter().enumerate() {
            happen(&mut world, event);
            let (all, ready) = pods(&world);
            let [all, ready] = [all, ready].map(|count| i64::try_from(count).unwrap());
            prop_assert!(all <= bounds.most(), "{number} {event:?}: {all} of {bounds:?}");
            prop_assert!(ready >= bounds.fewest(), "{number} {event:?}: {ready} of {bounds:?}");
        }
        settle(&mut world);
        let expected = [set("echo:1", 0, "1"), set("echo:2", replicas.into(), "2")];
        prop_assert_eq!(sets(&world), expected);
        prop_assert_eq!(pods(&world), (replicas.into(), replicas.into()));
    }

    #[test]
    fn whatever_happens_it_comes_to_an_end_without_a_spare_set(
        recreate in any::<bool>(),
        rolling in strategy(),
        events in prop::collection::vec(anything(), 0..200),
    ) {
        let strategy = if recreate {
            json!({"type": "Recreate", "rollingUpdate": null})
        } else {
            rolling
        };
        let mut world = with(deployment(json!({"spec": {"strategy": strategy}})));
        let mut images = BTreeSet::from(["echo:1".to_owned()]);
        for event in &events {
            happen(&mut world, event);
            if let Event::Image { number } = event {
                images.insert(format!("echo:{number}"));
            }
            let made: Vec<_> = sets(&world).into_iter().map(|(image, ..)| image).collect();
            let distinct: BTreeSet<_> = made.iter().cloned().collect();
            prop_assert_eq!(made.len(), distinct.len(), "one set for each template");
            prop_assert!(distinct.is_subset(&images));
        }
        change(&mut world, json!({"spec": {"paused": null}}));
        settle(&mut world);
        let wanted = (*world.objects.deployments[&key()]).clone();
        let replicas = usize::try_from(wanted.spec.replicas.unwrap()).unwrap();
        prop_assert_eq!(pods(&world), (replicas, replicas));
        let image = wanted.spec.template.spec.unwrap().containers[0].image.clone().unwrap();
        for (other, size, _) in sets(&world) {
            let expected = if other == image { wanted.spec.replicas.unwrap() } else { 0 };
            prop_assert_eq!(size, expected, "{}", other);
        }
        let status = wanted.status.unwrap();
        prop_assert_eq!(status.observed_generation, wanted.metadata.generation);
        let complete = ["Progressing", "True", "NewReplicaSetAvailable"].map(str::to_owned);
        prop_assert!(conditions(&world).contains(&complete), "{:?}", conditions(&world));
    }
}
