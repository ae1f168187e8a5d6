//! "Did you mean": the known name that is nearest to a mistyped one.
//!
//! Used wherever a name is refused (event types, operators, fields). Does not decide whether a
//! name is wrong.

/// Names longer than this are not compared: nobody mistypes them by hand.
const NAME_CHARS_MAX: usize = 128;

/// The candidate nearest to `name`, if one is near enough to be what was meant: at most one
/// edit for each three characters. Case is ignored; an edit is an insertion, a deletion, a
/// substitution or a swap of neighbours. The first of equally near candidates wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name
        .chars()
        .take(NAME_CHARS_MAX + 1)
        .flat_map(char::to_lowercase)
        .collect();
    if name.is_empty() || name.len() > NAME_CHARS_MAX {
        return None;
    }
    let mut best = None;
    let mut edits_max = (name.len() / 3).max(1);
    for candidate in candidates {
        let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
        if letters.len().abs_diff(name.len()) > edits_max {
            continue;
        }
        let edits = distance(&name, &letters);
        if edits <= edits_max && edits < name.len().max(letters.len()) {
            best = Some(candidate);
            if edits == 0 {
                break;
            }
            edits_max = edits - 1;
        }
    }
    best
}

/// ` (did you mean `x`?)` for the end of a message, or nothing.
pub fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
}

/// Optimal string alignment: Damerau–Levenshtein in which no stretch is edited twice.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut row = vec![0; b.len() + 1];
    for (i, from) in a.iter().enumerate() {
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = last[j] + usize::from(from != to);
            row[j + 1] = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to;
            if swapped {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        std::mem::swap(&mut before, &mut last);
        std::mem::swap(&mut last, &mut row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = [
        "workflow.completed",
        "workflow.failed",
        "agent.completed",
        "webhook.test",
    ];

    #[test]
    fn the_nearest_name_is_found_and_nothing_far_is() {
        for (name, near) in [
            ("workflow.complete", Some("workflow.completed")),
            ("workflow.compelted", Some("workflow.completed")),
            ("Workflow.Failed", Some("workflow.failed")),
            ("workflows.faild", Some("workflow.failed")),
            ("webhook.tset", Some("webhook.test")),
            ("invoice.paid", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, NAMES), near, "{name}");
        }
        assert_eq!(nearest("x", ["y"]), None, "nothing is left of the name");
        assert_eq!(nearest(&"workflow".repeat(100), NAMES), None);
    }

    #[test]
    fn distances_are_those_of_optimal_string_alignment() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("abcd", "acbd", 1),
            ("ca", "abc", 3),
        ] {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!(distance(&a, &b), edits);
            assert_eq!(distance(&b, &a), edits);
        }
    }
}
