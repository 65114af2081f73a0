//! What a person should change, and why: read off the numbers and the configuration together.

use std::time::Duration;

use lb_core::config::{BreakerConfig, Policy, ServiceConfig, WhenAllUnfit};

use crate::scenario::FaultKind;

use super::battery::STORM;
use super::outlook::LONG;
use super::{Case, Outlook};

/// Something to do about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which case it showed.
    pub case: &'static str,
    /// What was seen.
    pub what: String,
    /// What to write, and where.
    pub remedy: String,
}

/// Errors that a client notices.
const ERRORS: f64 = 0.001;
/// Requests to backends for each of a client, beyond which retries are a load of their own.
const AMPLIFICATION: f64 = 1.3;
/// Errors of which a person is told, whether or not anything is known to help.
const MANY_ERRORS: f64 = 0.01;
/// Longer than anybody wants to wait for trouble to be noticed.
const SLOW: Duration = Duration::from_secs(3);

/// What follows from the outlook on each case for the configuration of the service. What shows several
/// times is said once: where it is never over, or else where it shows first.
pub fn advice(service: &ServiceConfig, cases: &[(Case, Outlook)]) -> Vec<Finding> {
    let mut findings: Vec<(Finding, bool)> = Vec::new();
    let all = || cases.iter().map(|(case, outlook)| Seen { service, case, outlook });
    // Where clients are let down though nothing is wrong, they are in every case, and by the same.
    let is_down = all().any(|seen| seen.is_calm() && seen.outlook.error_ratio > MANY_ERRORS);
    for seen in all().filter(|seen| seen.case.trouble.is_none() || !is_down) {
        let Seen { case, outlook, .. } = seen;
        let said = [
            seen.fails_in_calm(),
            seen.is_alone(),
            seen.does_not_retry(),
            seen.retries_without_bound(),
            seen.notices_nobody(),
            seen.waits_long(),
            seen.comes_back_late(),
            seen.rises_slowly(),
            seen.is_strict(),
            seen.takes_too_much(),
            seen.believes_checks(),
            seen.keeps_to_the_slow(),
            seen.counts_too_far(),
            seen.turns_away(),
            seen.adapts_too_low(),
            seen.gives_up_on_all(),
            seen.doubts_who_is_left(),
        ];
        let known = said.iter().any(Option::is_some);
        let unknown = (!known).then(|| seen.is_past_help()).flatten();
        for (what, remedy) in said.into_iter().chain([unknown]).flatten() {
            let is_for_ever = outlook.recover.is_none();
            let finding = Finding { case: case.name, what, remedy: remedy.to_owned() };
            match findings.iter_mut().find(|(known, _)| known.remedy == remedy) {
                None => findings.push((finding, is_for_ever)),
                Some(known) if is_for_ever && !known.1 => *known = (finding, true),
                Some(_) => {}
            }
        }
    }
    findings.into_iter().map(|(finding, _)| finding).collect()
}

/// What was seen, and what to write.
type Said = (String, &'static str);

/// A case, and what came of it.
struct Seen<'a> {
    service: &'a ServiceConfig,
    case: &'a Case,
    outlook: &'a Outlook,
}

impl Seen<'_> {
    fn fails(&self) -> bool {
        self.outlook.error_ratio > ERRORS && !self.case.faulty.is_empty()
    }

    fn percent(&self) -> f64 {
        self.outlook.error_ratio * 100.0
    }

    fn backends(&self) -> usize {
        self.service.pools.iter().map(|pool| pool.backends.len()).sum()
    }

    /// Whether somebody could answer in place of those that something is wrong with.
    fn has_sound(&self) -> bool {
        self.case.faulty.len() < self.backends()
    }

    fn lacks_limits(&self) -> bool {
        let limits = &self.service.limits;
        limits.per_service.is_none() && limits.per_backend.is_none() && limits.adaptive.is_none()
    }

    /// Whether nothing happens at all.
    fn is_calm(&self) -> bool {
        self.case.name == "steady"
    }

    /// What is wrong where nothing is: by the reason that most of those who are turned away are told.
    fn fails_in_calm(&self) -> Option<Said> {
        let adapts = self.service.limits.adaptive.is_some();
        if !self.is_calm() || self.outlook.error_ratio <= ERRORS {
            return None;
        }
        // Nobody is fit after something else went wrong, unless nothing did.
        let told = self.outlook.rejected.iter().filter(|(why, _)| !LIMITED.contains(*why));
        let first =
            told.clone().filter(|(why, _)| **why != NOBODY).max_by_key(|(_, count)| **count);
        let (why, _) = first.or_else(|| told.clone().next())?;
        let pools = &self.service.pools;
        let remedy = match *why {
            "overloaded" | "queue_timeout" if adapts => return None, // told below
            "overloaded" | "queue_timeout" => ROOM,
            "first_byte_timeout" => {
                "let [service.timeouts] have a first_byte of a few times the slowest good answer"
            }
            "deadline_passed" | "out_of_time" => {
                "let [service.timeouts] have an exchange of several times the slowest good answer"
            }
            NOBODY if pools.iter().flat_map(|pool| &pool.backends).all(|it| it.draining) => {
                "let a backend not be draining: those that are take nothing new"
            }
            _ => "no setting is known to help",
        };
        let percent = self.percent();
        Some((format!("{percent:.1} % of the requests fail, and nothing is wrong: {why}"), remedy))
    }

    fn is_alone(&self) -> Option<Said> {
        let what =
            || format!("{:.1} % of the requests fail: nobody else can answer them", self.percent());
        let alone = self.backends() == 1 && self.fails();
        alone.then(|| (what(), "add a second backend to the pool"))
    }

    fn does_not_retry(&self) -> Option<Said> {
        let retry = &self.service.retry;
        let may_help = self.case.scenario.faults.iter().any(|fault| match fault.kind {
            FaultKind::Status { code, .. } => retry.statuses.contains(code),
            _ => true,
        });
        let fails = self.fails() && self.has_sound() && may_help && retry.attempts_max < 2;
        let what = || {
            format!("{:.1} % of the requests fail, though others could answer them", self.percent())
        };
        fails.then(|| (what(), "let [service.retry] have attempts_max = 3"))
    }

    fn retries_without_bound(&self) -> Option<Said> {
        let asked = self.outlook.amplification;
        let too_often = asked > AMPLIFICATION && self.service.retry.budget.percent > BUDGET_MAX;
        let what = || format!("backends are asked {asked:.1} times for each request of a client");
        let remedy = "let [service.retry] have budget = { percent = 20 }, which is the default";
        too_often.then(|| (what(), remedy))
    }

    fn notices_nobody(&self) -> Option<Said> {
        let late = self.outlook.detect.is_none_or(|detect| detect > SLOW);
        let checks = self.service.probe.is_some();
        let blind = self.service.breaker.is_none() && late && (!checks || self.fails());
        let goes_on = blind && self.has_sound() && !self.case.faulty.is_empty();
        let what = || "a backend that fails goes on to get its share".to_owned();
        let remedy =
            if checks { BESIDE } else { "let [service.breaker] or [service.health] be enabled" };
        goes_on.then(|| (what(), remedy))
    }

    fn waits_long(&self) -> Option<Said> {
        let slowest = self.outlook.p999 / 1_000.0;
        let waits = self.case.name == "one vanishes"
            && self.service.timeouts.first_byte > LONG
            && slowest > SLOW.as_secs_f64();
        let what = || format!("clients wait {slowest:.0} s for a backend that will not answer");
        let remedy =
            "let [service.timeouts] have a first_byte of a few times the slowest good answer";
        waits.then(|| (what(), remedy))
    }

    /// How long it takes until all is as before, if that is too long.
    fn is_late(&self) -> Option<String> {
        let late = self.outlook.recover.is_none_or(|recover| recover > LONG);
        (late && !self.case.faulty.is_empty()).then(|| match self.outlook.recover {
            Some(recover) => {
                format!("it takes {:.0} s until all is as before", recover.as_secs_f64())
            }
            None => format!(
                "it is never as before: from its beginning on {:.1} % of the requests fail",
                self.percent()
            ),
        })
    }

    fn comes_back_late(&self) -> Option<Said> {
        let what = self.is_late()?;
        if self.case.name == "all are slow" || self.case.name == "impatient clients" {
            return self.lacks_limits().then_some((what, BOUND));
        }
        let waits = self.service.breaker.is_some_and(|breaker| breaker.open_for_max > LONG);
        let remedy = "let [service.breaker] have open_for = \"2s\" and open_for_max = \"5s\"";
        (waits && self.outlook.is_shut).then_some((what, remedy))
    }

    /// Who comes back gets his share by and by.
    fn rises_slowly(&self) -> Option<Said> {
        let window = self.service.slow_start.as_ref().map(|it| it.window)?;
        let is_it =
            window > LONG && !self.outlook.is_shut && self.outlook.recover != Some(Duration::ZERO);
        let remedy = "let [service.slow_start] have a window of a few seconds";
        Some((self.is_late().filter(|_| is_it)?, remedy))
    }

    /// Clients that may go nowhere else fail with their backend.
    fn is_strict(&self) -> Option<Said> {
        let strict = self.service.affinity.as_ref().is_some_and(|it| it.strict);
        let fails = strict && self.fails() && self.has_sound();
        let what = || {
            format!("{:.1} % of the requests fail with the backend they stick to", self.percent())
        };
        fails.then(|| (what(), "let [service.affinity] have strict = false"))
    }

    /// What is wrong where nothing was found that helps.
    fn is_past_help(&self) -> Option<Said> {
        let fails = self.outlook.error_ratio > MANY_ERRORS && self.fails() && self.has_sound();
        let fails = || fails.then(|| format!("{:.1} % of the requests fail", self.percent()));
        Some((self.is_late().or_else(fails)?, "no setting is known to help"))
    }

    fn takes_too_much(&self) -> Option<Said> {
        let late = self.outlook.p99 > 2_000.0;
        let too_much = self.case.name == "ten times the load" && late && self.lacks_limits();
        let seconds = self.outlook.p99 / 1_000.0;
        let what = || format!("beyond what backends can carry, answers take {seconds:.0} s");
        too_much.then(|| (what(), BOUND))
    }

    fn believes_checks(&self) -> Option<Said> {
        let blind = self.case.name == "checks are blind" && self.service.breaker.is_none();
        let what = || "health checks do not see that requests fail".to_owned();
        (blind && self.fails()).then(|| (what(), BESIDE))
    }
}

impl Seen<'_> {
    fn keeps_to_the_slow(&self) -> Option<Said> {
        let is_slow = self.case.name == "one is slow" && self.has_sound();
        let keeps = is_slow && self.outlook.detect.is_none();
        let what = || "a backend that takes ten times as long goes on to get its share".to_owned();
        let service = self.service;
        if service.policy.is_consistent() {
            let bounded = service.hash.load_percent.is_some();
            let remedy = "let [service.balance] have load_percent = 125: who has that much more \
                          than the average is passed over";
            return (keeps && !bounded).then(|| (what(), remedy));
        }
        let blind = matches!(service.policy, Policy::RoundRobin | Policy::WeightedRandom);
        let remedy = "let [service.balance] have policy = \"least-request\" or \"peak-ewma\", \
                      which go by what backends have in hand";
        (keeps && blind).then(|| (what(), remedy))
    }

    /// Good answers in between keep a count of failures in a row from getting far.
    fn counts_too_far(&self) -> Option<Said> {
        let half = self.case.name == "one half fails" && self.has_sound();
        let keeps = half && self.outlook.detect.is_none();
        let row = self.service.breaker.map(|breaker| breaker.consecutive_failures);
        let row =
            row.filter(|row| keeps && *row > BreakerConfig::default().consecutive_failures)?;
        let what = format!(
            "a backend that fails every other request goes on to get its share: {row} failures in a row \
             are never seen"
        );
        Some((what, "let [service.breaker] have consecutive_failures = 5, which is the default"))
    }

    fn gives_up_on_all(&self) -> Option<Said> {
        let errors = self.outlook.error_ratio;
        let opens = GIVES_UP.contains(&self.service.when_all_unfit) && self.outlook.opens;
        let worse = self.case.name == "retry storm" && opens && errors > STORM;
        let what = || {
            let (storm, errors) = (STORM * 100.0, errors * 100.0);
            format!(
                "{storm:.0} % of the answers fail, and {errors:.0} % of the requests: \
                 the breakers of all backends open"
            )
        };
        let remedy = "let the service have when_all_unfit = \"fail-open\", and bound what runs at \
                      once by [service.limits], or clients that ask again keep it down";
        worse.then(|| (what(), remedy))
    }

    /// Who is left has more to do, and answers checks too late.
    fn doubts_who_is_left(&self) -> Option<Said> {
        let told = self.outlook.rejected.iter().filter(|(why, _)| !LIMITED.contains(*why));
        let nobody = self.outlook.rejected.get(NOBODY).copied().unwrap_or_default();
        let is_that = 2 * nobody > told.map(|(_, count)| *count).sum();
        let closes = GIVES_UP.contains(&self.service.when_all_unfit);
        let is_trouble = self.case.trouble.is_some() && self.has_sound();
        let many = self.outlook.error_ratio > MANY_ERRORS && is_trouble;
        let what = || {
            let percent = self.percent();
            format!(
                "{percent:.1} % of the requests fail: checks take out who has more to do than before"
            )
        };
        let remedy = "let [service.health] have a timeout of several times the slowest good answer, or \
                      the service when_all_unfit = \"fail-open\"";
        (many && is_that && closes && self.service.probe.is_some()).then(|| (what(), remedy))
    }

    /// Answers that take now long and now short look to an adaptive limit as if somebody were slow.
    fn adapts_too_low(&self) -> Option<Said> {
        let errors = self.outlook.error_ratio;
        let adapts = self.service.limits.adaptive.is_some() && self.case.faulty.is_empty();
        let too_low = adapts && self.case.trouble.is_none() && errors > ERRORS;
        let what = || format!("{:.1} % of the requests fail, and nothing is wrong", self.percent());
        let remedy = "let adaptive of [service.limits] have a larger min or tolerance_percent, or \
                      bound what runs at once by per_service instead";
        too_low.then(|| (what(), remedy))
    }

    fn turns_away(&self) -> Option<Said> {
        let limited = self.outlook.limited;
        let too_many = self.case.name == "steady" && limited > ERRORS;
        let what = || {
            format!(
                "{:.1} % of the requests are answered 429, and nothing is wrong",
                limited * 100.0
            )
        };
        let remedy = "let [service.rate_limit] and per_client of [service.limits] allow what a \
                      client asks, or rehearse with your own --rate";
        too_many.then(|| (what(), remedy))
    }
}

/// Who has nobody left to ask, or not enough, answers 503.
const GIVES_UP: [WhenAllUnfit; 2] = [WhenAllUnfit::FailFast, WhenAllUnfit::AskAnswering];
/// The reason of those who find that nobody may be asked.
const NOBODY: &str = "no_fit_backend";
/// Reasons that come with 429, which is no error.
const LIMITED: [&str; 2] = ["rate_limited", "client_busy"];
const ROOM: &str = "let per_service and per_backend of [service.limits] be more than what runs at once, or \
                    rehearse with your own --rate and --latency";
const BESIDE: &str = "let [service.breaker] be enabled beside [service.health]";
const BOUND: &str = "bound what runs at once: let [service.limits] have per_service or per_backend";
/// Percent of the requests that may be repeated before it is a storm.
const BUDGET_MAX: u32 = 50;
