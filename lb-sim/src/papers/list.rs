//! The papers, in the order of their page.

/// A paper, and what is taken from it.
#[derive(Clone, Copy, Debug)]
pub struct Paper {
    /// How scenarios name it.
    pub key: &'static str,
    /// What the section is called.
    pub title: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// What it claims, in a sentence.
    pub claim: &'static str,
    /// How it was measured there, and how here where that differs.
    pub setup: &'static str,
}

/// All of them.
pub const PAPERS: [Paper; 14] = [
    Paper {
        key: "supermarket",
        title: "The supermarket model",
        source: "M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 1996 and TPDS 2001",
        claim: "to look at two servers and take the shorter queue makes the time in the system exponentially shorter; \
                a third look adds little",
        setup: "Poisson arrivals, exponential service, one request at a time at each server; figures are the limit for \
                infinitely many servers, sum of λ^((dⁱ-d)/(d-1)). Here 100 servers for one choice (which does not \
                depend on them) and 500 for more, the first 10 s left out",
    },
    Paper {
        key: "balls",
        title: "Balls into bins",
        source: "Y. Azar, A. Broder, A. Karlin, E. Upfal, Balanced Allocations, STOC 1994",
        claim: "the fullest of n bins has about ln n / ln ln n balls with one choice and ln ln n / ln d with d",
        setup: "there 65,536 bins, 12 trials (simulated; the theorem has no constants); here 16,384 bins, as many as a \
                service may have backends, and the mean of 12 trials",
    },
    Paper {
        key: "jiq",
        title: "Join-Idle-Queue",
        source: "Y. Lu et al., Join-Idle-Queue, Performance Evaluation 2011",
        claim: "a dispatcher that knows who is idle leaves a small part of the wait that two choices leave",
        setup: "100 servers at 90 % load; the figures beside ours are of a simulation of its model that was \
                made for this table, not the paper's. There is no policy of \
                that name here: a proxy sees every request end, so `least-request-exact` knows who is idle without \
                a queue of them, at the price of looking at all where few are",
    },
    Paper {
        key: "maglev",
        title: "Maglev hashing",
        source: "D. Eisenbud et al., Maglev: a fast and reliable software network load balancer, NSDI 2016",
        claim: "a table of permutations gives everybody his share, and moves few keys beyond those of who went",
        setup: "there tables of 65,537 entries (figures for k of 1,000 computed from the paper's algorithm); here 50,000 \
                keys. For 1,000 backends ours has 131,101 entries, so fewer keys move; that ours moves as many \
                in a table of the paper's size is a test of `lb-core`",
    },
    Paper {
        key: "bounded",
        title: "Consistent hashing with bounded loads",
        source: "V. Mirrokni, M. Thorup, M. Zadimoghaddam, SODA 2018",
        claim: "with a bound of c nobody has more than c times the average, rounded up, whatever keys are popular",
        setup: "50 backends, 1,000 requests in flight, 50,000 come and go; keys by Zipf's law (1.1) of 5,000",
    },
    Paper {
        key: "ewma",
        title: "Load balancing by latency",
        source: "linkerd, Beyond Round Robin, 2016",
        claim: "of 11 backends one turns 2 s slower, and clients wait 1 s: the more a policy knows of latency the fewer \
                notice",
        setup: "300 requests per second for 30 s of that fault, one attempt each, no breakers; the figures there are \
                from memory of a diagram of a whole experiment, here they are of the fault alone, in which round robin \
                sends one request of eleven to the slow one",
    },
    Paper {
        key: "prequal",
        title: "Prequal",
        source: "B. Wydrowski et al., Load is not what you should balance: Introducing Prequal, NSDI 2024",
        claim: "balanced by CPU, requests run into their deadline of 5 s as soon as the load exceeds the allocation; by \
                requests in flight and latency there is no error up to 1.74 times the allocation",
        setup: "there 100 clients and 100 servers with antagonists; here one proxy and 20 servers, of which ten have \
                what is allotted to them and ten three times as much, and a ramp of nine steps of 30 s. \
                One attempt each, no breakers; our Prequal sees its own requests and sends no probes \
                (docs/decisions/0014)",
    },
    Paper {
        key: "tail",
        title: "Hedged requests",
        source: "J. Dean, L. A. Barroso, The Tail at Scale, CACM 2013",
        claim: "a second request after 10 ms takes the 99.9th percentile from 1,800 to 74 ms for 2 % more requests",
        setup: "there a read of 1,000 keys from 100 servers, which is as late as the latest of them; here single \
                requests to 100 backends, 1.8 % of whose answers take 1.8 s, so that what is left of the tail is shorter",
    },
    Paper {
        key: "sinkhole",
        title: "Sinkholing",
        source: "Prequal (above)",
        claim: "a replica that fails at once looks fast and idle, and attracts traffic",
        setup: "ten backends of 50 ms, one of which fails everything in 1 ms for 30 s",
    },
    Paper {
        key: "sre",
        title: "Retry budgets",
        source: "B. Beyer et al., Site Reliability Engineering, 2016, chapters 21 and 22",
        claim: "three attempts of everything make three times the load; a budget of 10 % makes 1.1 times",
        setup: "all of three backends answer 503 for a minute. The book's other means, clients that throttle \
                themselves (at most K = 2 requests for each that is accepted), is not here: breakers do that",
    },
    Paper {
        key: "jitter",
        title: "Backoff and jitter",
        source: "M. Brooker, Exponential Backoff and Jitter, AWS 2015",
        claim: "among clients that contend, waits without jitter meet again; full jitter asks least",
        setup: "100 clients write one row on condition of its version, over a network of 10±2 ms; base 5 ms, at most 2 s; \
                means of 30 runs. The waits are ours, the rest is the paper's setting",
    },
    Paper {
        key: "panic",
        title: "Priorities and panic",
        source: "Envoy, documentation of priority levels and panic threshold",
        claim: "with overprovisioning of 1.4 a pool with 72 % of its hosts carries everything, and hands on what it \
                cannot carry below that; pools panic when all together cannot carry the load",
        setup: "two pools of 100 backends, some of which refuse connections until their breakers open; \
                `overprovision_percent = 140`, `panic_below = 50`; 50,000 requests",
    },
    Paper {
        key: "hotos",
        title: "Metastable failures",
        source: "N. Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021",
        claim: "a database for 300 queries per second with 280 and one retry of each fails for good after an outage of ten \
                seconds; it would take less than 20 retries per second to recover",
        setup: "one backend of 30 places and 100 ms, silent for 10 s; queries are given up on after 1 s, and worked on \
                nevertheless",
    },
    Paper {
        key: "osdi",
        title: "Metastable failures in the wild",
        source: "L. Huang et al., OSDI 2022: a replicated store",
        claim: "whether it stays down is a matter of a second, or of two percent, more of the trigger; and of the load",
        setup: "there 6,200 requests per second, given up on after 3 s, up to four retries; here a tenth of it, and one backend. \
                Its capacity is not in the paper: 1,667 per second is fitted (1,650 to 1,700 do), the four outcomes follow from it",
    },
];
