//! What containers may use, held by the kernel of this host.

use super::{
    lifecycle::{script, volumes},
    *,
};

/// A file of a group of cgroup v1, below the controller's hierarchy; `None` on a host without.
fn cgroup_file(controller: &str, group: &str, file: &str) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - cgroup ")?;
        let options = after.rsplit(' ').next()?;
        options.split(',').any(|one| one == controller).then(|| before.split(' ').nth(4))?
    })?;
    let path = format!("{root}{group}/{file}");
    Some(std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned())
}

#[tokio::test]
async fn a_container_that_takes_too_much_memory_is_killed_and_says_so() {
    let mut node = Node::new("oom");
    let work = node.dir.path().join("work");
    // It keeps the line without an end in memory.
    let mut hog = script("hog", "exec tail /dev/zero");
    hog["resources"] = json!({ "limits": { "memory": "32Mi" } });
    let pod = pod(
        "u-oom",
        json!({ "restartPolicy": "Never", "volumes": volumes(&work), "containers": [hog] }),
    );
    let _running = node.start(&pod);
    let status = node.status("failed", |s| s["phase"] == "Failed").await;
    let terminated = &container(&status)["state"]["terminated"];
    assert_eq!(
        (&terminated["exitCode"], &terminated["reason"]),
        (&json!(137), &json!("OOMKilled")),
        "{terminated}"
    );
}

#[tokio::test]
async fn requests_and_limits_are_set_on_the_container_and_on_the_pod() {
    let mut node = Node::new("limits");
    let resources = |cpu: &str| {
        json!({ "requests": { "cpu": cpu, "memory": "16Mi" },
                "limits": { "cpu": "500m", "memory": "64Mi" } })
    };
    let echo = |name: &str, cpu: &str| {
        json!({ "name": name, "image": "echo", "args": ["--port", "0"],
                "resources": resources(cpu) })
    };
    let pod = pod("u-limits", json!({ "containers": [echo("a", "250m"), echo("b", "100m")] }));
    let _running = node.start(&pod);
    let status = node.status("running", is_running).await;
    assert_eq!(status["qosClass"], "Burstable");
    let group = format!("{}/podu-limits", node.cgroup());
    for (group, controller, file, expected) in [
        (format!("{group}/a"), "cpu", "cpu.shares", "256"),
        (format!("{group}/a"), "cpu", "cpu.cfs_quota_us", "50000"),
        (format!("{group}/a"), "memory", "memory.limit_in_bytes", "67108864"),
        (group.clone(), "cpu", "cpu.shares", "358"),
        (group.clone(), "cpu", "cpu.cfs_quota_us", "100000"),
        (group.clone(), "memory", "memory.limit_in_bytes", "134217728"),
    ] {
        let found = cgroup_file(controller, &group, file);
        assert!(
            found.as_deref().is_none_or(|found| found == expected),
            "{group} {file}: {found:?}"
        );
    }
    let pid = node.pid(&pod, "a");
    let score: i32 = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!((2..1000).contains(&score), "{score}");
}
