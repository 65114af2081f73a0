//! The same metrics for whoever does not read OpenMetrics: Prometheus' older text format, 0.0.4.
//!
//! The two differ in what is said about a metric, not in its samples: the older one names counters with
//! their `_total`, knows no units, and has no end.

/// OpenMetrics text as text of version 0.0.4.
pub(super) fn plain(text: &str) -> String {
    let mut counters = Vec::new();
    for line in text.lines() {
        let family = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter"));
        counters.extend(family);
    }
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let about = line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP "));
        let family = about.and_then(|rest| rest.split_once(' ')).map(|(family, _)| family);
        match family.filter(|family| counters.contains(family)) {
            Some(family) => {
                let (head, said) = line.split_at("# TYPE ".len() + family.len());
                out.extend([head, "_total", said, "\n"]);
            }
            None => out.extend([line, "\n"]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn counters_have_their_total_and_what_is_unknown_is_left_out() {
        let open = "# HELP lb_exchanges Exchanges.\n# TYPE lb_exchanges counter\n\
                    lb_exchanges_total{service=\"web\"} 3\n\
                    # HELP lb_took_seconds How long.\n# TYPE lb_took_seconds histogram\n\
                    # UNIT lb_took_seconds seconds\nlb_took_seconds_count 3\n# EOF\n";
        let expected = "# HELP lb_exchanges_total Exchanges.\n# TYPE lb_exchanges_total counter\n\
                        lb_exchanges_total{service=\"web\"} 3\n\
                        # HELP lb_took_seconds How long.\n# TYPE lb_took_seconds histogram\n\
                        lb_took_seconds_count 3\n";
        assert_eq!(plain(open), expected);
    }
}
