//! The eBPF data plane of a node, loaded, pinned and adopted.
//!
//! [`DataPlane::load`] brings the programs into the kernel and their maps to the user side.
//! Everything that translates traffic is pinned under `PIN_DIR/v<ABI_VERSION>/`, so it outlives
//! this process: dropping a [`DataPlane`] detaches nothing, and loading it again adopts the maps
//! with all they hold and puts the new programs behind the old links in one step each.
//!
//! ```text
//! PIN_DIR/v2/maps/SERVICES …          the maps, by their names
//! PIN_DIR/v2/links/cgroup_connect4 …  one link per socket program
//! PIN_DIR/v2/links/uplink_IFINDEX     TCX at an uplink's ingress (kernels from 6.6 on)
//! PIN_DIR/v2/links/egress_IFINDEX     TCX at its egress
//! PIN_DIR/v2/links/pod_IFINDEX        TCX at the host side of a pod's veth
//! ```
//! On a kernel without TCX the programs sit on clsact under a fixed priority and handle, which
//! the next process replaces in place.
//!
//! What another version of the ABI has pinned beside is taken over: its maps shared or converted, its
//! links moved and given the new programs, and then its folder removed.

mod attach;
mod clsact;
mod error;
mod link;
mod maps;
mod object;
mod sys;
mod table;
mod takeover;
mod test_run;

pub use attach::{DataPlane, PodAddresses};
pub use error::{AttachError, LoadError, MapError};
pub use maps::{Maps, Sizes};
pub use object::{Options, probe};
pub use table::{Arena, Counters, Table};
pub use takeover::{Loss, Takeover};
pub use test_run::{Interface, TestRun};
