//! The topics whose records a contract takes: by name, or by a pattern that a name has to match as a whole.

use std::fmt;

use regex::Regex;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topics {
    Named(Vec<String>),
    Matching(Pattern),
}

/// A regular expression over the whole of a topic's name.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    anchored: Regex,
}

impl Topics {
    pub fn contains(&self, topic: &str) -> bool {
        match self {
            Topics::Named(names) => names.iter().any(|name| name == topic),
            Topics::Matching(pattern) => pattern.matches(topic),
        }
    }

    /// The names, as far as the contract says them.
    pub fn names(&self) -> &[String] {
        match self {
            Topics::Named(names) => names,
            Topics::Matching(_) => &[],
        }
    }

    /// Why two contracts cannot have these both, as far as that can be known without a cluster.
    pub fn clash(&self, other: &Topics) -> Option<String> {
        if let (Topics::Matching(own), Topics::Matching(pattern)) = (self, other) {
            return (own == pattern).then(|| format!("the pattern `{pattern}`"));
        }
        let shared = self.names().iter().find(|name| other.contains(name));
        let shared = shared.or_else(|| other.names().iter().find(|name| self.contains(name)));
        shared.map(|name| format!("the topic `{name}`"))
    }
}

impl fmt::Display for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topics::Named(names) => f.write_str(&names.join(", ")),
            Topics::Matching(pattern) => pattern.fmt(f),
        }
    }
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        // By itself first: within the brackets, what is wrong could pass for something else.
        Regex::new(text)?;
        Ok(Pattern { text: text.to_owned(), anchored: Regex::new(&format!("^(?:{text})$"))? })
    }

    /// Kafka keeps topics of its own under names that begin with two underscores. No pattern means those.
    pub fn matches(&self, topic: &str) -> bool {
        !topic.starts_with("__") && self.anchored.is_match(topic)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(text: &str) -> Topics {
        Topics::Matching(Pattern::parse(text).unwrap())
    }

    fn named(names: &[&str]) -> Topics {
        Topics::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_pattern_matches_whole_names_only_and_never_kafkas_own() {
        let calls = matching(r"calls\..*|sms");
        for (topic, is_in) in [
            ("calls.east", true),
            ("calls.", true),
            ("sms", true),
            ("calls", false),
            ("my.calls.east", false),
            ("smsx", false),
        ] {
            assert_eq!(calls.contains(topic), is_in, "{topic}");
        }
        assert!(matching(".*").contains("_schemas") && !matching(".*").contains("__consumer_offsets"));
        assert!(Pattern::parse("a(").is_err() && Pattern::parse("a)|(b").is_err());
    }

    #[test]
    fn two_contracts_clash_over_a_name_that_both_take_or_over_one_pattern() {
        let clash = |one: &Topics, other: &Topics| {
            assert_eq!(one.clash(other), other.clash(one));
            one.clash(other)
        };
        assert_eq!(clash(&named(&["a", "b"]), &named(&["c", "b"])), Some("the topic `b`".to_owned()));
        assert_eq!(clash(&named(&["a.x"]), &matching(r"a\..*")), Some("the topic `a.x`".to_owned()));
        assert_eq!(clash(&matching("a+"), &matching("a+")), Some("the pattern `a+`".to_owned()));
        assert_eq!(clash(&named(&["a"]), &named(&["b"])), None);
        assert_eq!(clash(&named(&["a"]), &matching("b")), None);
        assert_eq!(clash(&matching("a+"), &matching("b")), None);
    }
}
