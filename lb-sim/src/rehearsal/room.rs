//! What the backends of a stage have room for, and how busy that leaves them.
//!
//! A backend works on so many requests at a time: it has places, and nobody has half of one. So a load can
//! be had exactly only of certain rates, of which [`Stage::fill`] finds one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_core::config::{BackendConfig, Policy, PoolConfig, SteeringPolicy};

use crate::model;

use super::{Setting, Stage, listed};

/// By so much a room may be more than whole before there is another place.
const A_HAIR: f64 = 1e-6;
/// Requests per second, and for each backend, by which is found out who is asked at all.
const CALM_RATE: f64 = 200.0;
const CALM_REQUESTS: f64 = 20.0;
/// The most requests per second that are rehearsed.
pub const RATE_MAX: f64 = 10_000.0;

impl Stage {
    /// Gives every backend room for its share of the load that is said, and for all of its pool's: whoever
    /// may have to carry everything has room for it.
    pub(super) fn equip(&mut self, setting: &Setting) {
        let busy = setting.rate * setting.latency.mean().as_secs_f64();
        let core = &self.scenario.config.services[self.service].core;
        let mut next = 0;
        for (nth, pool) in core.pools.iter().enumerate() {
            let total: f64 = weights(pool).iter().sum();
            // Who is asked before others has more to do, and whoever stands in for him as well.
            let more = total / self.asked(nth).iter().sum::<f64>();
            for backend in &pool.backends {
                let room = busy * more * f64::from(backend.weight) / total / setting.load;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "at least 1, and far below 2⁵²"
                )]
                let room = (room - A_HAIR).ceil().max(1.0) as usize;
                let origin = &mut self.scenario.origins[self.origins[next]];
                origin.concurrency = Some(origin.concurrency.unwrap_or(0).max(room));
                next += 1;
            }
        }
    }

    /// Puts the service on the machines of `before`: who has the same address is the same machine. Those
    /// that are new have as much room as the others on average.
    pub(super) fn take_over(&mut self, before: &Self) {
        let known = |at: usize| {
            let origin = &self.scenario.origins[at];
            let place = before.scenario.place(&origin.address())?;
            before.scenario.origins[place].concurrency
        };
        let (count, sum) =
            before.rooms().fold((0_usize, 0), |(count, sum), it| (count + 1, sum + it));
        let mean = (sum + count / 2).checked_div(count).unwrap_or(1).max(1);
        let rooms: BTreeMap<usize, Option<usize>> =
            self.origins.iter().map(|at| (*at, known(*at))).collect();
        let mut fresh = Vec::new();
        for (at, room) in rooms {
            let origin = &mut self.scenario.origins[at];
            origin.concurrency = Some(room.unwrap_or(mean));
            if room.is_none() {
                fresh.push(origin.address());
            }
        }
        if !fresh.is_empty() {
            let of_each = if mean == 1 { "1 place".to_owned() } else { format!("{mean} places") };
            self.notes.push(format!(
                "new, and with {of_each}, as the others have on average: {}",
                listed(&fresh.iter().map(String::as_str).collect::<Vec<_>>())
            ));
        }
        self.scenario.workload.rate = before.scenario.workload.rate;
    }

    /// By machine of the service: how many requests it works on at a time.
    fn rooms(&self) -> impl Iterator<Item = usize> {
        let machines: BTreeSet<usize> = self.origins.iter().copied().collect();
        machines.into_iter().filter_map(|at| self.scenario.origins[at].concurrency)
    }

    /// How many requests all backends work on at a time.
    pub fn places(&self) -> usize {
        self.rooms().sum()
    }

    /// Requests per second that the backends can carry, if everybody gets the share that is meant for him:
    /// then the busiest has no place left.
    pub fn capacity(&self) -> f64 {
        let mut shares = BTreeMap::<usize, f64>::new();
        for (at, share) in self.origins.iter().zip(self.shares()) {
            *shares.entry(*at).or_default() += share;
        }
        let carries = shares.into_iter().filter(|(_, share)| *share > 0.0).map(|(at, share)| {
            let origin = &self.scenario.origins[at];
            let room = origin.concurrency.unwrap_or(usize::MAX) as f64;
            room / origin.latency.mean().as_secs_f64() / share
        });
        carries.fold(f64::INFINITY, f64::min)
    }

    /// Finds out who is asked nothing while all is well and nobody is busy: who is in another zone than the
    /// proxy, or stands behind the first.
    pub(super) fn find_idle(&mut self) {
        let core = self.service();
        if core.steering.zone.is_none() && core.policy != Policy::First {
            return;
        }
        let mut calm = self.scenario.clone();
        calm.workload.rate = calm.workload.rate.max(CALM_RATE);
        let requests = CALM_REQUESTS * self.origins.len() as f64;
        calm.duration = Duration::from_secs_f64(requests / calm.workload.rate);
        let (_, facts) = model::measured(&calm, calm.seed);
        let attempts = facts.measure(&calm, &(Duration::ZERO..calm.duration)).attempts;
        let is_idle = |at: &usize| attempts[self.origins[*at]] == 0;
        self.idle = (0..self.origins.len()).filter(is_idle).collect();
    }

    /// What each backend of a pool counts for while all is well. Where none of them is asked, all are alike.
    fn asked(&self, pool: usize) -> Vec<f64> {
        let weights = weights(&self.service().pools[pool]);
        let places = &self.pools[pool];
        let asked =
            |(weight, at): (&f64, &usize)| if self.idle.contains(at) { 0.0 } else { *weight };
        let asked: Vec<f64> = weights.iter().zip(places).map(asked).collect();
        if asked.iter().sum::<f64>() > 0.0 { asked } else { weights }
    }

    /// By backend: the share of the requests that is meant for it while all is well.
    fn shares(&self) -> impl Iterator<Item = f64> {
        let core = &self.scenario.config.services[self.service].core;
        let said = |of: fn(&PoolConfig) -> f64| core.pools.iter().map(of).collect::<Vec<f64>>();
        let by_size = || said(|pool| pool.backends.len() as f64);
        let parts = match core.steering.policy {
            SteeringPolicy::Weighted => said(|pool| pool.weight.into()),
            SteeringPolicy::Random | SteeringPolicy::LeastOutstanding => by_size(),
            // One pool is chosen before the others, and which depends on clients: at worst it has them all.
            SteeringPolicy::Priority
            | SteeringPolicy::Geo
            | SteeringPolicy::Proximity
            | SteeringPolicy::Fastest => {
                (0..core.pools.len()).map(|at| f64::from(at == 0)).collect()
            }
        };
        let all: f64 = parts.iter().sum();
        parts.into_iter().enumerate().flat_map(move |(pool, part)| {
            let weights = self.asked(pool);
            let total: f64 = weights.iter().sum();
            weights.into_iter().map(move |weight| part / all * weight / total)
        })
    }

    /// The share of its places that the busiest backend needs while all is well.
    pub fn busy(&self) -> f64 {
        self.scenario.workload.rate / self.capacity()
    }

    /// Lets as many ask as make the busiest backend as busy as is said, to a whole request in a
    /// second and up to [`RATE_MAX`].
    pub fn fill(&mut self, load: f64) {
        self.scenario.workload.rate = self.fits(load).min(RATE_MAX);
    }

    /// Requests per second that make the busiest backend as busy as is said, and no busier.
    pub fn fits(&self, load: f64) -> f64 {
        (load * self.capacity()).floor().max(1.0)
    }
}

/// What each backend of a pool counts for. Who only finishes what he has gets nothing, if there is anybody
/// else.
fn weights(pool: &PoolConfig) -> Vec<f64> {
    let is_left = pool.backends.iter().all(|backend| backend.draining);
    let weight = |it: &BackendConfig| match it.draining && !is_left {
        true => 0.0,
        false => it.weight.into(),
    };
    pool.backends.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::Latency;

    /// How busy the busiest backend of this service is, as far as requests that reach it say.
    fn measured(about: &str) -> f64 {
        let text = format!(
            "[[listener]]\nbind = '127.0.0.1:80'\n[[service]]\nname = 'web'\nhosts = ['*']\n{about}"
        );
        let read = lb_config::load(&lb_config::Source { name: "lb.toml", text: &text });
        let config = read.0.unwrap_or_else(|| panic!("{:?}", read.1));
        let latency = Latency::Lognormal { median: Duration::from_millis(20), sigma: 0.6 };
        let setting = Setting { rate: 200.0, latency, load: 0.5 };
        let mut stage = Stage::new(&config, Path::new("lb.toml"), 0, &setting);
        stage.fill(0.5);
        assert!((stage.busy() - 0.5).abs() < 0.01, "{about}: {}", stage.busy());
        let (_, facts) = model::measured(&stage.scenario, 1);
        let lasts = stage.scenario.duration;
        let attempts = facts.measure(&stage.scenario, &(Duration::ZERO..lasts)).attempts;
        let busy = stage.origins.iter().map(|at| {
            let origin = &stage.scenario.origins[*at];
            let work = attempts[*at] as f64 * origin.latency.mean().as_secs_f64();
            work / lasts.as_secs_f64() / origin.concurrency.expect("everybody has places") as f64
        });
        busy.fold(0.0, f64::max)
    }

    #[test]
    fn the_busiest_backend_is_as_busy_as_is_said() {
        let one =
            "[[service.pool]]\nbackends = [{ url = 'http://a', weight = 3 }, { url = 'http://b' }]";
        let leaves = "[[service.pool]]\nbackends = [{ url = 'http://a', draining = true }, \
                      { url = 'http://b' }, { url = 'http://c' }]";
        let canary = "[service.steering]\npolicy = 'weighted'\n[[service.pool]]\nname = 'main'\nweight = 9\n\
                      backends = [{ url = 'http://a' }, { url = 'http://b' }]\n\
                      [[service.pool]]\nname = 'next'\nweight = 1\nbackends = [{ url = 'http://c' }]";
        let zone = "[service.steering]\nzone = 'x'\n[[service.pool]]\nbackends = [{ url = 'http://a', region = 'x' }, \
                    { url = 'http://b', region = 'y' }, { url = 'http://c', region = 'y' }]";
        let first = "[service.balance]\npolicy = 'first'\n[[service.pool]]\n\
                     backends = [{ url = 'http://a', draining = true }, { url = 'http://b' }, { url = 'http://c' }]";
        for about in [one, leaves, canary, zone, first] {
            let busy = measured(about);
            assert!((busy - 0.5).abs() < 0.03, "{busy} under {about}");
        }
    }
}
