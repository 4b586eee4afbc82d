//! The known name that a mistyped one is nearest to.

/// Returns which of the known names the unknown one was probably meant to be: one that begins or
/// ends as it does, or that at most a third of its letters tell from it.
pub fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|name| (distance(unknown, name), *name));
    let (edits, name) = near.min_by_key(|(edits, _)| *edits)?;
    if edits * 3 <= unknown.len().max(name.len()) {
        return Some(name);
    }
    let is_part = |name: &&&str| {
        unknown.len() >= 3
            && (name.contains(unknown) || name.len() >= 3 && unknown.contains(**name))
    };
    known.iter().find(is_part).copied()
}

/// Returns the known name that one slip makes of the unknown one.
pub fn misspelt<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let is_near = |name: &&&str| name.len() > 2 && distance(unknown, name) == 1;
    known.iter().find(is_near).copied()
}

/// Letters to insert, remove, replace or exchange with the next one until both are alike. Optimal
/// string alignment.
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, of_left) in left.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, of_right) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(of_left != of_right);
            let mut fewest = replaced.min(last[column + 1] + 1).min(next[column] + 1);
            let is_exchange = row > 0
                && column > 0
                && *of_left == right[column - 1]
                && left[row - 1] == *of_right;
            if is_exchange {
                fewest = fewest.min(before[column - 1] + 1);
            }
            next.push(fewest);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_a_guess_is_not_made() {
        let known = ["listen", "max_connections", "body_timeout_ms", "http2"];
        for (unknown, meant) in [
            ("lisetn", Some("listen")),
            ("listn", Some("listen")),
            ("max_conections", Some("max_connections")),
            ("maxconnections", Some("max_connections")),
            ("body_timeout", Some("body_timeout_ms")),
            ("http", Some("http2")),
            ("timeout", Some("body_timeout_ms")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, &known), meant, "{unknown}");
        }
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        for (left, right, edits) in
            [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("kitten", "sitting", 3), ("a", "b", 1)]
        {
            assert_eq!(distance(left, right), edits, "{left} {right}");
            assert_eq!(distance(right, left), edits, "{right} {left}");
        }
    }

    #[test]
    fn a_third_of_the_letters_may_differ_and_short_words_are_parts_of_none() {
        for (unknown, known, is_meant) in [
            ("abcxyz", "abcdef", false),
            ("abcdxy", "abcdef", true),
            ("abxxxf", "abcdef", false),
            ("tt", "max_http_tt", false),
            ("htt", "max_http_tt", true),
            ("a_name_with_ab_inside", "ab", false),
            ("a_name_with_abc_inside", "abc", true),
        ] {
            assert_eq!(nearest(unknown, &[known]), is_meant.then_some(known), "{unknown}");
        }
    }

    #[test]
    fn one_slip_is_a_misspelling_of_a_name_of_three_letters_or_more() {
        let known = ["ab", "abc", "http"];
        for (unknown, meant) in
            [("abx", Some("abc")), ("a", None), ("htpt", Some("http")), ("htpp", Some("http"))]
        {
            assert_eq!(misspelt(unknown, &known), meant, "{unknown}");
        }
        assert_eq!(misspelt("http", &known), None, "it is the name itself");
        assert_eq!(misspelt("hxxp", &known), None, "two slips");
        assert_eq!(misspelt("ax", &["ab"]), None, "too short to tell");
    }
}
