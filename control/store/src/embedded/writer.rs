//! The one thread that writes. Whatever waits when it looks goes into one transaction, so the
//! price of a sync to disk is shared by all that were waiting for one.

use std::sync::{Arc, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::{
    Shared,
    disk::Disk,
    state::{Op, Staged},
};
use crate::{Revision, StoreError};

/// Bounds of one transaction: more waits for the next.
const BATCH_OPS: usize = 512;
const BATCH_BYTES: usize = 8 << 20;

pub(super) enum Request {
    Write { op: Op, reply: oneshot::Sender<Staged> },
    Compact { up_to: Revision, reply: oneshot::Sender<Result<(), StoreError>> },
}

fn size(op: &Op) -> usize {
    match op {
        Op::Create { value, .. } | Op::Update { value, .. } => value.len(),
        Op::Delete { .. } => 0,
    }
}

/// Runs until every sender of `requests` is gone.
pub(super) fn run(shared: &Arc<Shared>, mut disk: Disk, mut requests: mpsc::Receiver<Request>) {
    while let Some(first) = requests.blocking_recv() {
        let mut writes = Vec::new();
        let mut replies = Vec::new();
        let mut compact = None;
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Write { op, reply } => {
                    bytes += size(&op);
                    writes.push(op);
                    replies.push(reply);
                }
                Request::Compact { up_to, reply } => compact = Some((up_to, reply)),
            }
            let full = compact.is_some() || writes.len() >= BATCH_OPS || bytes >= BATCH_BYTES;
            next = if full { None } else { requests.try_recv().ok() };
        }
        let up_to = compact.as_ref().map_or(0, |(up_to, _)| *up_to);
        match transact(shared, &mut disk, writes, up_to) {
            Ok(results) => {
                // A caller that has gone away does not want to know.
                for (reply, result) in replies.into_iter().zip(results) {
                    let _gone = reply.send(result);
                }
                if let Some((_, reply)) = compact {
                    let _gone = reply.send(Ok(()));
                }
            }
            Err(failure) => {
                error!(%failure, writes = replies.len(), "commit");
                for reply in replies {
                    let _gone = reply.send(Err(failure.clone()));
                }
                if let Some((_, reply)) = compact {
                    let _gone = reply.send(Err(failure));
                }
            }
        }
    }
}

fn transact(
    shared: &Shared,
    disk: &mut Disk,
    ops: Vec<Op>,
    up_to: Revision,
) -> Result<Vec<Staged>, StoreError> {
    if !disk.is_open() {
        recover(shared, disk)?;
    }
    let (results, events, compacted, floor) = {
        let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
        let (results, events) = state.stage(ops, shared.options.quota_bytes);
        let newest = state.revision() + events.len() as u64;
        let floor = state.floor_with(&events, shared.options.window()).max(up_to.min(newest));
        (results, events, state.compacted(), floor)
    };
    if events.is_empty() && floor == compacted {
        return Ok(results);
    }
    disk.commit(&events, compacted, floor)?;
    let revision = {
        let mut state = shared.state.write().unwrap_or_else(PoisonError::into_inner);
        state.apply(events, floor);
        state.revision()
    };
    shared.newest.send_replace(revision);
    Ok(results)
}

/// After a commit that failed: what is in the file counts. That may be the commit, all of it, whose
/// writers were told of an error; they and all who watch see it now.
fn recover(shared: &Shared, disk: &mut Disk) -> Result<(), StoreError> {
    let found = disk.reopen()?;
    let revision = found.revision();
    {
        let mut state = shared.state.write().unwrap_or_else(PoisonError::into_inner);
        if revision < state.revision() {
            return Err(StoreError::Corrupt(format!(
                "it holds revision {revision}, and {} was committed",
                state.revision()
            )));
        }
        *state = found;
    }
    info!(revision, "the store's file is open again");
    shared.newest.send_replace(revision);
    Ok(())
}
