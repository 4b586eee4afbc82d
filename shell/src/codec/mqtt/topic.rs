//! Topic names and topic filters (§4.7).

/// A filter with `+` and `#` that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Filter {
    /// Accepts a filter whose wildcards are where they may be (§4.7.1).
    pub fn new(filter: &str) -> Option<Self> {
        let length_is_good = (1..=65_535).contains(&filter.len());
        let mut levels = filter.split('/').peekable();
        let mut is_good = length_is_good && !filter.contains('\0');
        while let Some(level) = levels.next() {
            is_good &= match level {
                "+" => true,
                "#" => levels.peek().is_none(),
                _ => !level.contains(['+', '#']),
            };
        }
        is_good.then(|| Self(filter.to_owned()))
    }

    /// Whether a topic name is one of those that the filter means.
    pub fn matches(&self, topic: &str) -> bool {
        // MQTT-4.7.2-1: names for a server's own use are not meant by a leading wildcard.
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for wanted in self.0.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

/// Whether a topic name may be published to: not empty, no wildcards (MQTT-3.3.2-2).
pub(super) fn is_name(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_mean_what_the_standard_says() {
        for (filter, topic, is_meant) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("#", "/", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/x", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/x", true),
            ("ACCOUNTS", "Accounts", false),
            ("a/b", "a/b/", false),
        ] {
            let parsed = Filter::new(filter).expect(filter);
            assert_eq!(parsed.matches(topic), is_meant, "{filter} {topic}");
        }
        for filter in ["", "sport/tennis#", "sport/tennis/#/ranking", "sport+", "a/b+/c", "#a"] {
            assert_eq!(Filter::new(filter), None, "{filter}");
        }
    }

    proptest::proptest! {
        #[test]
        fn another_implementation_agrees(filter in "[ab+#/]{1,6}", topic in "[ab/]{1,6}") {
            // It lets `+` stand within a level.
            let is_mixed = filter.split('/').any(|level| level.contains('+') && level.len() > 1);
            let ours = Filter::new(&filter);
            proptest::prop_assert_eq!(ours.is_some(), mqttbytes::valid_filter(&filter) && !is_mixed);
            if let Some(ours) = ours {
                proptest::prop_assert_eq!(ours.matches(&topic), mqttbytes::matches(&topic, &filter));
            }
        }
    }
}
