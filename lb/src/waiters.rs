//! Who waits for addresses to leave the services.

use std::{collections::BTreeSet, net::IpAddr};

use tokio::sync::oneshot;
use viaduct_api::admin::Withdrawal;

/// Questions that wait at one time; one more goes unanswered, and its asker asks again at the end
/// of its time.
const WAITERS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Waiters(Vec<(BTreeSet<IpAddr>, oneshot::Sender<Withdrawal>)>);

impl Waiters {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, addresses: BTreeSet<IpAddr>, reply: oneshot::Sender<Withdrawal>) {
        self.0.retain(|(_, reply)| !reply.is_closed());
        if self.0.len() < WAITERS_MAX {
            self.0.push((addresses, reply));
        }
    }

    /// Answers those whose addresses are withdrawn, and forgets those who have gone.
    pub(crate) fn answer(&mut self, of: impl Fn(&BTreeSet<IpAddr>) -> Withdrawal) {
        let waiting = std::mem::take(&mut self.0);
        for (addresses, reply) in waiting.into_iter().filter(|(_, reply)| !reply.is_closed()) {
            let found = of(&addresses);
            if found.withdrawn {
                let _ = reply.send(found);
            } else {
                self.0.push((addresses, reply));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(withdrawn: bool) -> Withdrawal {
        Withdrawal { endpoint: true, withdrawn }
    }

    #[test]
    fn whoever_waits_is_told_once_and_whoever_left_is_forgotten() {
        let mut waiters = Waiters::default();
        let address = |last: u8| BTreeSet::from([IpAddr::from([10, 0, 0, last])]);
        let (first, mut told) = oneshot::channel();
        let (second, mut waits) = oneshot::channel();
        waiters.add(address(1), first);
        waiters.add(address(2), second);
        waiters.answer(|addresses| of(*addresses == address(1)));
        assert_eq!(told.try_recv().unwrap(), of(true));
        assert!(waits.try_recv().is_err());
        drop(waits);
        waiters.answer(|_| of(false));
        assert!(waiters.is_empty());
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut waiters = Waiters::default();
        let receivers: Vec<_> = (0..=WAITERS_MAX)
            .map(|_| {
                let (reply, answer) = oneshot::channel();
                waiters.add(BTreeSet::new(), reply);
                answer
            })
            .collect();
        assert_eq!(waiters.0.len(), WAITERS_MAX);
        drop(receivers);
    }
}
