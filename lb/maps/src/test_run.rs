use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions};
use viaduct_net::IfIndex;

use crate::{
    AttachError, DataPlane,
    object::{EGRESS_PROGRAM, POD_PROGRAM, UPLINK_PROGRAM},
};

/// The kind of interface at which a packet arrives, or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    Uplink,
    /// An uplink by which a packet leaves.
    Egress,
    Pod,
}

/// What a classifier did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// `TC_ACT_*`.
    pub action: i32,
    pub frame: Vec<u8>,
    pub mark: u32,
}

/// `struct __sk_buff`, by offsets of its fields.
const CONTEXT_LENGTH: usize = 192;
const CONTEXT_MARK: usize = 8;
const CONTEXT_IFINDEX: usize = 40;

/// More than any frame becomes.
const FRAME_MAX: usize = 9216;

impl DataPlane {
    /// Runs a classifier on a frame as if it had come by `ifindex`; nothing is sent
    /// (BPF_PROG_TEST_RUN). The interface is looked up in the network namespace of the calling
    /// thread, and the maps are those at work.
    pub fn test_run(
        &mut self,
        interface: Interface,
        ifindex: IfIndex,
        frame: &[u8],
    ) -> Result<TestRun, AttachError> {
        let program = match interface {
            Interface::Uplink => UPLINK_PROGRAM,
            Interface::Egress => EGRESS_PROGRAM,
            Interface::Pod => POD_PROGRAM,
        };
        let error = |source| AttachError::Program { program, source: Box::new(source) };
        let classifier = self.classifier(program).map_err(error)?;
        let mut context = [0; CONTEXT_LENGTH];
        context[CONTEXT_IFINDEX..CONTEXT_IFINDEX + 4].copy_from_slice(&ifindex.0.to_ne_bytes());
        let mut context_after = [0; CONTEXT_LENGTH];
        let mut after = vec![0; FRAME_MAX];
        let result = classifier
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut after),
                ctx_in: Some(&context),
                ctx_out: Some(&mut context_after),
                ..TestRunOptions::default()
            })
            .map_err(error)?;
        after.truncate(result.data_size_out as usize);
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| context_after[CONTEXT_MARK + index]);
        Ok(TestRun {
            action: result.return_value as i32,
            frame: after,
            mark: u32::from_ne_bytes([a, b, c, d]),
        })
    }

    pub(crate) fn classifier(
        &mut self,
        program: &str,
    ) -> Result<&mut SchedClassifier, ProgramError> {
        self.loaded.object.program_mut(program).ok_or(ProgramError::NotLoaded)?.try_into()
    }
}
