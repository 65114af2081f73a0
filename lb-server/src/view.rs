//! What one worker serves by: the snapshot, and the worker's own connections to its backends.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use lb_core::config::Action;
use lb_core::{BackendId, Match};

use crate::doors::{Key, Kind};
use crate::gateway::Gateway;
use crate::pool::{Closed, Stack};
use crate::snapshot::{Endpoint, Site, Snapshot};
use crate::tls::ServerTls;

/// One worker's connections to the backends of one service.
type Stacks = Rc<[Rc<Stack>]>;

/// What one worker serves by. A request holds on to the one that it began with.
pub(crate) struct View {
    pub(crate) gateway: Arc<Gateway>,
    snapshot: Arc<Snapshot>,
    /// By site, by endpoint. Shared by views that share the site.
    stacks: Box<[Stacks]>,
    /// Whether what still runs is cut short, since the process ends.
    cutting: Rc<Cell<bool>>,
    /// Told of connections that backends close while they rest.
    pub(crate) closed: Arc<Closed>,
}

impl View {
    /// What a worker that starts serves by.
    pub(crate) fn first(gateway: Arc<Gateway>) -> Self {
        let snapshot = gateway.snapshot();
        Self::new(gateway, snapshot, None)
    }

    /// The view of `snapshot` in place of this one. Connections to backends that stay are kept.
    pub(crate) fn next(&self, snapshot: Arc<Snapshot>) -> Self {
        Self::new(Arc::clone(&self.gateway), snapshot, Some(self))
    }

    fn new(gateway: Arc<Gateway>, snapshot: Arc<Snapshot>, before: Option<&Self>) -> Self {
        let closed = before.map(|view| Arc::clone(&view.closed)).unwrap_or_default();
        let stacks = |(at, site): (usize, &Arc<Site>)| {
            let known = before.and_then(|view| view.stacks_of(site.service.name(), at));
            let same = known.filter(|(known, _)| Arc::ptr_eq(known, site));
            if let Some((_, stacks)) = same {
                return Rc::clone(stacks);
            }
            let (sites, stacks) = known.unzip();
            let names = sites.into_iter().flat_map(|known| known.service.backends());
            let places: BTreeMap<&str, usize> =
                names.enumerate().map(|(at, member)| (member.name(), at)).collect();
            let stack = |(place, member): (usize, lb_core::Member<'_>)| {
                let endpoint = &site.endpoints[place];
                let kept = sites.and_then(|known| {
                    let at = *places.get(member.name())?;
                    let before = &known.endpoints[at];
                    let same = before.leads_where(endpoint);
                    same.then(|| Rc::clone(&stacks.expect("they come together")[at]))
                });
                let new = || Rc::new(Stack::new(Arc::clone(&site.slots[place]), &closed));
                let stack = kept.unwrap_or_else(new);
                stack.allow(site.keep_alive);
                stack
            };
            site.service.backends().enumerate().map(stack).collect()
        };
        let stacks = snapshot.sites.iter().enumerate().map(stacks).collect();
        let cutting = before.map(|view| Rc::clone(&view.cutting)).unwrap_or_default();
        let view = Self { gateway, snapshot, stacks, cutting, closed };
        before.iter().for_each(|before| before.close_what_is_not_in(&view));
        view
    }

    /// Whether it is the view of `snapshot`.
    pub(crate) fn is_of(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    /// Whether what still runs is cut short, since the process ends.
    pub(crate) fn is_cutting(&self) -> bool {
        self.cutting.get()
    }

    /// What still runs is cut short from now on.
    pub(crate) fn cut(&self) {
        self.cutting.set(true);
    }

    /// The connections to a backend.
    pub(crate) fn stack(&self, backend: BackendId) -> &Rc<Stack> {
        &self.stacks[usize::from(backend.service)][usize::from(backend.backend)]
    }

    /// The service of a backend.
    pub(crate) fn site_of(&self, backend: BackendId) -> &Site {
        &self.snapshot.sites[usize::from(backend.service)]
    }

    /// Where a backend is.
    pub(crate) fn endpoint(&self, backend: BackendId) -> &Endpoint {
        &self.site_of(backend).endpoints[usize::from(backend.backend)]
    }

    /// The service that a route leads to, if it leads to one.
    pub(crate) fn site_behind(&self, found: &Match<'_>) -> Option<&Site> {
        match found.route().action {
            Action::Service(index) => Some(&self.sites[usize::from(index)]),
            Action::Redirect { .. } | Action::Respond { .. } => None,
        }
    }

    /// Whether every connection by `door` begins with a header of the PROXY protocol.
    pub(crate) fn is_for_proxies(&self, door: &Key) -> bool {
        self.listener(door).is_some_and(|at| self.config.listeners[at].proxy_protocol)
    }

    /// What the listener behind `door` shows to clients.
    pub(crate) fn tls(&self, door: &Key) -> Option<Arc<ServerTls>> {
        self.secured.listener(self.listener(door)?).cloned()
    }

    /// The place of the listener behind `door` in the configuration.
    fn listener(&self, door: &Key) -> Option<usize> {
        let listeners = self.config.listeners.iter().enumerate();
        let mut same = listeners.filter(|(_, listener)| listener.bind == door.said);
        same.nth(door.nth).filter(|_| door.kind == Kind::Client).map(|(place, _)| place)
    }

    /// All connections.
    pub(crate) fn stacks(&self) -> impl Iterator<Item = &Rc<Stack>> {
        self.stacks.iter().flat_map(|stacks| &**stacks)
    }

    fn stacks_of(&self, service: &str, likely: usize) -> Option<(&Arc<Site>, &Stacks)> {
        let at = self.snapshot.place(service, likely)?;
        Some((&self.snapshot.sites[at], &self.stacks[at]))
    }

    fn close_what_is_not_in(&self, next: &Self) {
        let kept: BTreeSet<_> = next.stacks_beside(self).map(Rc::as_ptr).collect();
        let gone = self.stacks_beside(next).filter(|stack| !kept.contains(&Rc::as_ptr(stack)));
        gone.for_each(|stack| stack.retire());
    }

    /// All connections but those to services that both views share.
    fn stacks_beside(&self, other: &Self) -> impl Iterator<Item = &Rc<Stack>> {
        let at = |stacks: &Stacks| Rc::as_ptr(stacks).cast::<()>();
        let shared: BTreeSet<_> = other.stacks.iter().map(at).collect();
        let own = self.stacks.iter().filter(move |stacks| !shared.contains(&at(stacks)));
        own.flat_map(|stacks| &**stacks)
    }
}

impl Deref for View {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}
