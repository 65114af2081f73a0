//! "Did you mean": which known word somebody had in mind.

/// The word of `known` that `wrong` was probably meant to be.
pub(super) fn closest<'k>(
    wrong: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let wrong = normal(wrong);
    let budget = (wrong.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|word| (distance(&wrong, &normal(word)), word))
        .filter(|(distance, _)| *distance <= budget)
        .min()
        .map(|(_, word)| word)
}

/// `Max-Connections` and `connections_max` differ in habit, not in meaning: lower case, one kind of
/// separator, words in one order.
fn normal(word: &str) -> String {
    let lower = word.to_lowercase().replace(['-', ' ', '.'], "_");
    let mut parts: Vec<&str> = lower.split('_').collect();
    parts.sort_unstable();
    parts.join("_")
}

/// How many letters must be added, removed, changed or swapped with a neighbour (optimal string
/// alignment). Three rows of the usual table are enough.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["bind", "connections_max", "hosts", "least-request", "weight"];

    fn check(wrong: &str, meant: Option<&str>) {
        assert_eq!(closest(wrong, KNOWN), meant, "{wrong}");
    }

    #[test]
    fn slips_of_the_finger_are_understood_and_other_words_are_not() {
        check("wieght", Some("weight"));
        check("weights", Some("weight"));
        check("host", Some("hosts"));
        check("max_connections", Some("connections_max"));
        check("Least_Request", Some("least-request"));
        check("b", None);
        check("timeout", None);
        check("", None);
    }

    #[test]
    fn distance_counts_a_swap_of_neighbours_once() {
        assert_eq!(distance("timeuot", "timeout"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
