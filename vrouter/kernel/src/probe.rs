//! Proof that the kernel has what the vRouter needs, before anything is changed.

use vrouter_plan::{NEXTHOP_IDS, NexthopId, OperationError};

use crate::{
    KernelError,
    connection::{Connection, NLM_F_CREATE, NLM_F_EXCL},
    encode::{build, delete_nexthop},
    nexthop::{NexthopAttribute, NexthopHeader, NexthopMember, NexthopMessage, RTM_NEWNEXTHOP},
};

const AF_INET: u8 = 2;
const EPERM: i32 = 1;
const EEXIST: i32 = 17;

const OBJECTS: &str = "nexthop objects (Linux 5.3, CONFIG_INET)";
const GROUPS: &str = "nexthop groups (Linux 5.3, CONFIG_IP_ROUTE_MULTIPATH)";

/// Makes a blackhole object and a group of it under the last ids of our range, which are given out
/// last, and takes them away again. An id in use proves the feature as well.
pub(crate) fn probe(connection: &mut Connection, protocol: u8) -> Result<(), KernelError> {
    let [object, group] = [1, 2].map(|back| NexthopId(NEXTHOP_IDS.end.0 - back));
    let header = NexthopHeader { protocol, ..NexthopHeader::default() };
    let blackhole = NexthopMessage {
        header: NexthopHeader { family: AF_INET, ..header },
        attributes: vec![NexthopAttribute::Id(object.0), NexthopAttribute::Blackhole],
    };
    let members = vec![NexthopMember { id: object.0, weight: 0 }];
    let of_it = NexthopMessage {
        header,
        attributes: vec![NexthopAttribute::Id(group.0), NexthopAttribute::Group(members)],
    };
    let create = NLM_F_CREATE | NLM_F_EXCL;
    let made = connection.change(&[
        build(RTM_NEWNEXTHOP, create, &blackhole),
        build(RTM_NEWNEXTHOP, create, &of_it),
    ]);
    // Only what we made ourselves; the object takes the group with it.
    if made.iter().any(Result::is_ok) {
        connection.change(&[delete_nexthop(group), delete_nexthop(object)]);
    }
    for (result, feature) in made.into_iter().zip([OBJECTS, GROUPS]) {
        judge(result, feature)?;
    }
    Ok(())
}

fn judge(result: Result<(), OperationError>, feature: &'static str) -> Result<(), KernelError> {
    match result {
        Err(error) if error.errno == EPERM => Err(KernelError::Permission(error)),
        Err(source) if source.errno != EEXIST => Err(KernelError::Missing { feature, source }),
        Ok(()) | Err(_) => Ok(()),
    }
}
