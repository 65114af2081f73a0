//! What an exchange holds until its last byte: the lease, and the record.

use std::rc::Rc;

use lb_core::config::Timeouts;
use lb_core::{BodyEnd, Delivery};
use tokio::time::Instant;

use crate::observe::Journal;
use crate::view::View;

/// An exchange whose answer is on its way.
pub(crate) struct Held {
    view: Rc<View>,
    pub(crate) journal: Rc<Journal>,
    /// Until the last byte.
    delivery: Option<Delivery>,
}

impl Held {
    pub(crate) fn new(view: &Rc<View>, journal: &Rc<Journal>, delivery: Delivery) -> Self {
        Self { view: Rc::clone(view), journal: Rc::clone(journal), delivery: Some(delivery) }
    }

    /// How long its service lets things take, while it holds anything.
    pub(crate) fn timeouts(&self) -> Option<&Timeouts> {
        let delivery = self.delivery.as_ref()?;
        Some(self.view.site_of(delivery.backend()).service.timeouts())
    }

    /// Until when its last byte must have gone out, while it holds anything.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let delivery = self.delivery.as_ref()?;
        Some(self.view.gateway.clock.instant(delivery.deadline()))
    }

    /// Ends it; says whether it had not ended before.
    pub(crate) fn end(&mut self, end: BodyEnd) -> bool {
        let Some(delivery) = self.delivery.take() else { return false };
        let site = self.view.site_of(delivery.backend());
        delivery.end(end, &site.service, self.view.gateway.clock.now(), &*self.journal);
        site.line.call_next(&site.service);
        true
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end(BodyEnd::ClientLeft);
    }
}
