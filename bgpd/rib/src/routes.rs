//! The distinct routes of the FIB: a table has many prefixes and few ways.

use std::{collections::HashMap, num::NonZeroU32};

use viaduct_net::Route;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteId(NonZeroU32);

#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// With the number of prefixes that have it.
    entries: Vec<Option<(Route, u32)>>,
    free: Vec<RouteId>,
    ids: HashMap<Route, RouteId>,
}

impl RouteId {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Routes {
    pub(crate) fn at(&self, id: RouteId) -> &Route {
        &self.entries[id.index()].as_ref().expect("ids are held by reference counts").0
    }

    /// The id of a route, with one more reference. `None` is no route, and what every number being
    /// taken would mean.
    pub(crate) fn acquire(&mut self, route: Option<Route>) -> Option<RouteId> {
        let route = route?;
        if let Some(&id) = self.ids.get(&route) {
            if let Some((_, references)) = &mut self.entries[id.index()] {
                *references += 1;
            }
            return Some(id);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.entries.push(None);
                RouteId(NonZeroU32::new(u32::try_from(self.entries.len()).ok()?)?)
            }
        };
        self.entries[id.index()] = Some((route.clone(), 1));
        self.ids.insert(route, id);
        Some(id)
    }

    pub(crate) fn release(&mut self, id: RouteId) {
        let Some((route, references)) = &mut self.entries[id.index()] else { return };
        *references -= 1;
        if *references == 0 {
            self.ids.remove(route);
            self.entries[id.index()] = None;
            self.free.push(id);
        }
    }
}
