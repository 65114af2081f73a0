//! Routes that no request gets to, or fewer than it seems.

use std::collections::BTreeMap;

use lb_core::config::{Action, PathPattern};

use super::Said;
use crate::diagnostic::{At, Report};

/// Those of one host and path, in the order in which they are asked.
type Alike<'s> = BTreeMap<(&'s str, &'s PathPattern), Vec<&'s Said>>;

/// Routes that no request gets to, because another one goes before them and takes all that they do.
pub(super) fn report(report: &Report<'_>, all: &[Said]) {
    let mut alike: Alike<'_> = BTreeMap::new();
    for said in all {
        let mut hidden: Vec<(&str, At, &Said)> = Vec::new();
        for (host, at) in said.route.hosts.iter().zip(&said.hosts) {
            let before = alike.entry((host, &said.route.path)).or_default();
            match before.iter().find(|before| before.route.hides(&said.route)) {
                Some(by) => hidden.push((host, *at, by)),
                None => before.push(said),
            }
        }
        let whose = |by: &Said| format!("{} at {}", by.title, report.place(by.at));
        if hidden.len() == said.hosts.len()
            && let Some((.., by)) = hidden.first()
        {
            let what = format!("{}: {} takes all of it", said.unreached, whose(by));
            report.error(said.at, what, "remove one of the two, or tell them apart");
            continue;
        }
        for (host, at, by) in hidden {
            let what = format!("host {host:?} never leads here: {} takes all of it", whose(by));
            report.error(at, what, "remove it here, or tell the two apart");
        }
    }
    warn_of_overlaid(report, all, &alike);
}

/// Routes for `*` that look as if they were for all hosts, and are not asked for one that leads elsewhere
/// by itself: those that deny something, and those beside a service that has that host and `*` as well.
fn warn_of_overlaid(report: &Report<'_>, all: &[Said], alike: &Alike<'_>) {
    let takes_all =
        |said: &&Said| said.route.path == PathPattern::any() && said.route.conditions.count() == 0;
    let names = |said: &Said| said.route.hosts.iter().any(|host| host == "*");
    let overlays: Vec<&Said> = all.iter().filter(takes_all).collect();
    for said in all.iter().filter(|said| !takes_all(said)) {
        let any = said.route.hosts.iter().position(|host| host == "*");
        let Some(at) = any.map(|place| said.hosts[place]) else { continue };
        let denies = matches!(said.route.action, Action::Respond { status: 400.., .. });
        let overlays = overlays.iter().filter(|by| denies || names(by));
        let mut named = overlays.flat_map(|by| by.route.hosts.iter().map(move |host| (host, by)));
        // Whoever says something of that path there has thought of it.
        let is_overlaid =
            |host: &str| host != "*" && !alike.contains_key(&(host, &said.route.path));
        let Some((host, by)) = named.find(|(host, _)| is_overlaid(host)) else { continue };
        let (title, whose) = (&said.title, format!("{} at {}", by.title, report.place(by.at)));
        let what = format!("{title} is not asked for host {host:?}: {whose} takes all of it");
        let remedy = format!(
            "add {host:?} to these hosts, or a route for it that says what becomes of that path"
        );
        report.warn(at, what, remedy);
    }
}
