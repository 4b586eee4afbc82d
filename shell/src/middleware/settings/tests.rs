//! Routes as they are written: what is in effect, and what is refused and why.

use serde::Deserialize;

use super::*;
use crate::ring::RingTable;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    route: Vec<RouteTable>,
}

/// Two rings, `a` with the subscriptions `x` and `y`, and `b`.
fn rings(names: &[&str]) -> Vec<RingSettings> {
    let tables = names.iter().map(|name| RingTable::named(Given::by_default((*name).to_owned())));
    let mut rings = RingSettings::check(&tables.collect::<Vec<_>>()).expect("good");
    rings[0].subscriptions = vec!["x".to_owned(), "y".to_owned()];
    rings
}

fn tables(text: &str) -> Vec<RouteTable> {
    toml::from_str::<File>(text).expect("tables of routes").route
}

fn check(text: &str) -> Result<RouteSettings, String> {
    RouteSettings::check(&tables(text), &rings(&["a", "b"]), true)
        .map_err(|error| error.to_string())
}

/// A route of this path, ring `a` and these lines.
fn route(lines: &str) -> String {
    format!("[[route]]\npath = \"/p/{{id}}\"\nring = \"a\"\n{lines}\n")
}

/// A route of these units.
fn units(units: &str) -> String {
    route(&format!("units = [{units}]"))
}

/// The settings in effect of the only route, a line for each.
fn described(text: &str) -> String {
    let tables = tables(text);
    let settings = RouteSettings::check(&tables, &rings(&["a", "b"]), true).expect("good routes");
    let sections = settings.describe(&tables);
    assert_eq!(sections.len(), tables.len());
    let lines = sections[0].entries.iter().map(|entry| {
        assert_eq!(entry.change, Change::Live, "{}", entry.key);
        let given = if entry.origin == Origin::Default { " by default" } else { "" };
        format!("{} = {}{given}", entry.key, entry.value)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The line of the units in effect.
fn units_described(written: &str) -> String {
    let described = described(&units(written));
    let line = described.lines().find_map(|line| line.strip_prefix("units = "));
    line.expect("there always is one").to_owned()
}

#[test]
fn a_route_that_says_little_takes_posts_for_the_only_ring_and_answers_when_published() {
    let text = "[[route]]\npath = \"/p\"\nring = \"b\"\n";
    assert_eq!(
        described(text),
        "method = [\"POST\"] by default\npath = \"/p\"\nring = [\"b\"]\n\
         acknowledge = \"published\" by default\n\
         units = [] by default"
    );
    let tables = tables("[[route]]\npath = \"/p\"\n");
    let one = RouteSettings::check(&tables, &rings(&["a"]), true).expect("one ring");
    assert_eq!(one.routes[0].names, ["a"]);
    assert_eq!(one.routes[0].rings, [0]);
    let error = RouteSettings::check(&tables, &rings(&["a", "b"]), true).expect_err("which?");
    assert!(error.to_string().contains("one of the rings a, b"), "{error}");
}

#[test]
fn what_a_route_says_is_in_effect() {
    let text = "[[route]]\nmethod = [\"PUT\", \"PATCH\"]\nhost = \"CRM.example\"\n\
                path = \"/p/{id}\"\nring = \"a\"\ntype = 7\n\
                attributes = [\":path\", \":param.id\", \"x-a.b_c9\"]\n\
                acknowledge = \"consumed\"\nconsumed_by = \"y\"\n\
                acknowledge_timeout_ms = \"2s\"\nauthenticate = false\n";
    assert_eq!(
        described(text),
        "method = [\"PUT\", \"PATCH\"]\nhost = \"crm.example\"\npath = \"/p/{id}\"\n\
         ring = [\"a\"]\ntype = 7\nattributes = [\":path\", \":param.id\", \"x-a.b_c9\"]\n\
         acknowledge = \"consumed\"\nconsumed_by = \"y\"\nacknowledge_timeout_ms = \"2s\"\n\
         authenticate = false\nunits = [] by default"
    );
    let tables = tables(text);
    let settings = RouteSettings::check(&tables, &rings(&["a", "b"]), true).expect("good");
    assert_eq!(settings.describe(&tables)[0].name(), "route PUT,PATCH crm.example/p/{id}");
    let router = settings.router(None).expect("no credentials are wanted");
    let route = &router.routes()[0];
    assert_eq!(
        (&route.methods[..], &route.rings[..]),
        (&["PUT", "PATCH"][..], &["a".to_owned()][..])
    );
    assert_eq!(route.type_tag, Some(7));
    assert_eq!(route.attributes.as_deref().map(<[_]>::len), Some(3));
    let within = std::time::Duration::from_secs(2);
    assert_eq!(route.acknowledge, Acknowledge::Consumed { by: Some("y".to_owned()), within });
    assert!(route.units.is_empty());
    assert!(settings.keep(":path") && settings.keep("x-a.b_c9") && !settings.keep(":peer"));
    assert!(!settings.is_empty() && RouteSettings::default().is_empty());
}

#[test]
fn readers_have_five_seconds_to_release_unless_the_route_says_otherwise() {
    let settings = check(&route("acknowledge = \"consumed\"")).expect("good");
    let within = std::time::Duration::from_secs(5);
    assert_eq!(settings.routes[0].acknowledge, Acknowledge::Consumed { by: None, within });
}

#[test]
fn units_are_in_effect_as_they_are_written_and_with_what_they_leave_out() {
    for (written, effect) in [
        ("\"access_log\"", "\"access_log\""),
        ("{ unit = \"access_log\" }", "\"access_log\""),
        ("\"authenticate\"", "\"authenticate\""),
        (
            "{ unit = \"authenticate\", allow = [\"n\", \"m\"] }",
            "{ unit = \"authenticate\", allow = [\"n\", \"m\"] }",
        ),
        (
            "{ unit = \"body_limit\", max_bytes = 2048 }",
            "{ unit = \"body_limit\", max_bytes = \"2KiB\" }",
        ),
        ("\"json\"", "{ unit = \"json\", minify = false }"),
        ("{ unit = \"json\", minify = true }", "{ unit = \"json\", minify = true }"),
        (
            "{ unit = \"rate_limit\", rate = 2.5 }",
            "{ unit = \"rate_limit\", per = \"client\", rate = 2.5, burst = 3, \
             max_clients = 16384 }",
        ),
        (
            "{ unit = \"rate_limit\", rate = 0.001, per = \"client\", max_clients = 1048576 }",
            "{ unit = \"rate_limit\", per = \"client\", rate = 0.001, burst = 1, \
             max_clients = 1048576 }",
        ),
        (
            "\"authenticate\", { unit = \"rate_limit\", rate = 9.0, burst = 1, \
             per = \"credential\", max_clients = 1 }",
            "\"authenticate\", { unit = \"rate_limit\", per = \"credential\", rate = 9.0, \
             burst = 1, max_clients = 1 }",
        ),
        ("\"request_id\"", "{ unit = \"request_id\", keep = false }"),
        ("{ unit = \"request_id\", keep = true }", "{ unit = \"request_id\", keep = true }"),
    ] {
        assert_eq!(units_described(written), format!("[{effect}]"));
    }
}

#[cfg(feature = "decompress")]
#[test]
fn decompression_has_a_ratio_of_a_hundred_unless_the_route_says_otherwise() {
    for (written, effect) in [
        ("\"decompress\"", "{ unit = \"decompress\", max_ratio = 100 }"),
        (
            "{ unit = \"decompress\", max_bytes = 1, max_ratio = 7 }",
            "{ unit = \"decompress\", max_ratio = 7, max_bytes = 1 }",
        ),
    ] {
        assert_eq!(units_described(written), format!("[{effect}]"));
    }
    let error = check(&units("{ unit = \"decompress\", max_bytes = 0 }")).expect_err("nothing");
    assert!(error.contains("a size for `decompress`"), "{error}");
    let error = check(&units("{ unit = \"decompress\", max_ratio = 0 }")).expect_err("nothing");
    assert!(error.contains("1 to 100000"), "{error}");
}

#[cfg(all(feature = "xml", feature = "cbor", feature = "messagepack"))]
#[test]
fn conversions_are_told_apart_by_both_of_their_names() {
    for (from, to, _) in Conversion::ALL.iter().filter(|(from, ..)| *from != "protobuf") {
        let written = format!("{{ unit = \"convert\", from = \"{from}\", to = \"{to}\" }}");
        assert_eq!(units_described(&written), format!("[{written}]"));
        let settings = check(&units(&written)).expect("good");
        let router = settings.router(None).expect("good");
        assert!(router.routes()[0].changes_bodies(), "{written}");
    }
    for (written, allowed) in [
        ("from = \"json\", to = \"json\"", "json to xml, xml to json"),
        ("from = \"yaml\", to = \"xml\"", "json to xml, xml to json"),
        ("from = \"xml\"", "json to xml, xml to json"),
        ("from = \"json\", to = \"xml\", message = \"M\"", "this key with from = \"protobuf\""),
        ("from = \"json\", to = \"cbor\", drop_unknown = true", "this key with from"),
        ("from = \"xml\", to = \"json\", descriptors = \"/f\"", "this key with from"),
    ] {
        let error = check(&units(&format!("{{ unit = \"convert\", {written} }}")));
        let error = error.expect_err("no such conversion");
        assert!(error.contains(allowed), "{written}: {error}");
    }
}

#[cfg(feature = "protobuf")]
#[test]
fn protobuf_wants_a_file_of_descriptors_and_the_name_of_a_message() {
    let refused = |keys: &str| {
        let unit = format!("{{ unit = \"convert\", from = \"protobuf\", to = \"json\"{keys} }}");
        check(&units(&unit)).expect_err("refused")
    };
    for lacking in ["", ", descriptors = \"/f\"", ", message = \"M\""] {
        let error = refused(lacking);
        assert!(error.contains("descriptors = \"FILE\" and message"), "{lacking}: {error}");
    }
    let error = refused(", descriptors = \"/no/such/file\", message = \"M\"");
    assert!(error.contains("/no/such/file") && error.contains("can be read"), "{error}");
}

#[test]
fn units_that_make_no_sense_are_refused_and_told_what_does() {
    for (written, allowed) in [
        ("\"acces_log\"", "one of access_log, authenticate, body_limit"),
        ("{ unit = \"access_log\", keep = true }", "`keep` is not allowed; allowed: no key"),
        ("{ unit = \"authenticate\", allow = [] }", "route.units.allow: `[]` is not allowed"),
        ("{ unit = \"json\", allow = [] }", "`allow` is not allowed; allowed: for `json`: minify"),
        ("{ unit = \"request_id\", minify = true }", "for `request_id`: keep"),
        ("{ unit = \"json\", per = \"client\" }", "`per` is not allowed"),
        ("{ unit = \"json\", rate = 1.0 }", "`rate` is not allowed"),
        ("{ unit = \"json\", burst = 1 }", "`burst` is not allowed"),
        ("{ unit = \"json\", max_clients = 1 }", "`max_clients` is not allowed"),
        ("{ unit = \"json\", max_bytes = 1 }", "`max_bytes` is not allowed"),
        ("{ unit = \"json\", max_ratio = 1 }", "`max_ratio` is not allowed"),
        ("{ unit = \"json\", from = \"a\" }", "`from` is not allowed"),
        ("{ unit = \"json\", to = \"a\" }", "`to` is not allowed"),
        ("{ unit = \"json\", descriptors = \"a\" }", "`descriptors` is not allowed"),
        ("{ unit = \"json\", message = \"a\" }", "`message` is not allowed"),
        ("{ unit = \"json\", drop_unknown = true }", "`drop_unknown` is not allowed"),
        ("\"body_limit\"", "a size for `body_limit`"),
        ("{ unit = \"body_limit\", max_bytes = 0 }", "a size for `body_limit`"),
        ("\"rate_limit\"", "0.001 to 1000000000"),
        ("{ unit = \"rate_limit\", rate = 0.0009 }", "0.001 to 1000000000"),
        ("{ unit = \"rate_limit\", rate = nan }", "0.001 to 1000000000"),
        ("{ unit = \"rate_limit\", rate = 1.0, burst = 0 }", "at least 1"),
        ("{ unit = \"rate_limit\", rate = 1.0, max_clients = 0 }", "1 to 1048576"),
        ("{ unit = \"rate_limit\", rate = 1.0, max_clients = 1048577 }", "1 to 1048576"),
        ("{ unit = \"rate_limit\", rate = 1.0, per = \"host\" }", "\"client\" or \"credential\""),
        (
            "{ unit = \"rate_limit\", rate = 1.0, per = \"credential\" }, \"authenticate\"",
            "after the unit `authenticate`",
        ),
    ] {
        let error = check(&units(written)).expect_err(written);
        assert!(error.contains(allowed), "{written}: {error}");
        // It names its place, so it does not read like the default.
        assert!(error.starts_with("route.units") && !error.contains("(default)"), "{error}");
    }
}

#[test]
fn keys_of_the_wrong_shape_are_told_the_right_one() {
    for (lines, expected) in [
        ("units = [7]", "the name of a unit, or a table with the key `unit`"),
        ("units = [{ unit = \"json\", minfy = true }]", "unknown field `minfy`"),
        ("method = 7", "a text or a list of texts"),
        ("method = []", "a text or a list of texts"),
    ] {
        let error = toml::from_str::<File>(&route(lines)).map(|_| ()).expect_err(lines);
        assert!(error.to_string().contains(expected), "{lines}: {error}");
    }
}

#[test]
fn a_route_that_makes_no_sense_is_refused_by_key_value_and_what_may_be_given() {
    for (lines, refused) in [
        ("method = \"GET\"", "route.method: `GET` is not allowed; allowed: POST, PUT, PATCH"),
        ("host = \"\"", "route.host: `` is not allowed"),
        ("host = \"a b\"", "route.host: `a b`"),
        ("host = \"a:80\"", "route.host: `a:80`"),
        ("host = \"[]\"", "route.host: `[]`"),
        ("host = \"[::x]\"", "route.host: `[::x]`"),
        ("attributes = [\":peer\", \":peer\"]", "names that differ"),
        ("attributes = [\":other\"]", "route.attributes: `:other`"),
        ("attributes = [\":param.other\"]", "route.attributes: `:param.other`"),
        ("attributes = [\"\"]", "route.attributes: ``"),
        ("attributes = [\"Upper\"]", "route.attributes: `Upper`"),
        ("attributes = [\"a b\"]", "route.attributes: `a b`"),
        ("acknowledge = \"soon\"", "route.acknowledge: `soon` is not allowed; allowed: \"publ"),
        ("consumed_by = \"x\"", "route.consumed_by: `` is not allowed; allowed: this key with"),
        ("acknowledge_timeout_ms = 5", "route.acknowledge_timeout_ms: `` is not allowed"),
        (
            "acknowledge = \"consumed\"\nconsumed_by = \"z\"",
            "route.consumed_by: `z` is not allowed; allowed: one of the subscriptions of ring a: x, y",
        ),
        ("acknowledge = \"consumed\"\nacknowledge_timeout_ms = 0", "route.acknowledge_timeout_ms"),
    ] {
        let error = check(&route(lines)).expect_err(lines);
        assert!(error.contains(refused), "{lines}: {error}");
    }
    let long = format!("attributes = [\"{}\"]", "a".repeat(256));
    assert!(check(&route(&long)).is_err());
    let longest = format!("attributes = [\"{}\"]", "a".repeat(255));
    assert!(check(&route(&longest)).is_ok());
    for host in ["a-b_c.example", "10.0.0.1", "[::1]", "[fe80::A]"] {
        check(&route(&format!("host = \"{host}\""))).expect(host);
    }
    for (lines, refused) in [
        ("path = \"/v1/x\"\nring = \"a\"", "not the listener's own"),
        ("path = \"/metrics\"\nring = \"a\"", "not the listener's own"),
        ("path = \"p\"\nring = \"a\"", "route.path: `p` is not allowed; allowed: a path as"),
        ("path = \"/p\"\nring = \"c\"", "route.ring: `c` is not allowed; allowed: one of the"),
        ("path = \"/p\"\nring = [\"b\", \"a\", \"b\"]", "rings that differ"),
        (
            "path = \"/p\"\nring = [\"a\", \"b\"]\nacknowledge = \"consumed\"\nconsumed_by = \"x\"",
            "one of the subscriptions of ring b: default",
        ),
        (
            "path = \"/p\"\nring = \"a\"\nauthenticate = false\nunits = [\"authenticate\"]",
            "route.authenticate: `false` is not allowed; allowed: true with the unit",
        ),
    ] {
        let error = check(&format!("[[route]]\n{lines}\n")).expect_err(lines);
        assert!(error.contains(refused), "{lines}: {error}");
    }
}

#[test]
fn rings_of_a_route_are_in_the_order_in_which_they_are_locked() {
    let settings = check("[[route]]\npath = \"/p\"\nring = [\"b\", \"a\"]\n").expect("good");
    assert_eq!(settings.routes[0].rings, [0, 1]);
    assert_eq!(settings.routes[0].names, ["a", "b"]);
}

#[test]
fn two_routes_of_the_same_requests_and_too_many_are_refused() {
    let two = route("") + &route("method = [\"PUT\", \"POST\"]");
    let error = check(&two).expect_err("the same");
    assert!(error.contains("`/p/{id}` takes the same requests"), "{error}");
    let many = |count: usize| {
        let each = |n: usize| format!("[[route]]\npath = \"/p{n}\"\nring = \"a\"\n");
        (0..count).map(each).collect::<String>()
    };
    assert!(check(&many(ROUTES_MAX)).is_ok());
    let error = check(&many(ROUTES_MAX + 1)).expect_err("one too many");
    assert!(error.contains("at most 1024 routes"), "{error}");
}

#[test]
fn attributes_belong_to_the_rings_of_the_first_route_that_keeps_any() {
    let text = "[[route]]\npath = \"/1\"\nring = \"a\"\nattributes = []\n\
                [[route]]\npath = \"/2\"\nring = \"a\"\n\
                [[route]]\npath = \"/3\"\nring = \"a\"\nattributes = [\"x\"]\n";
    let settings = check(text).expect("good");
    assert_eq!(settings.brings_attributes_to_by(0), Some(2));
    assert_eq!(settings.brings_attributes_to_by(1), None);
    assert!(settings.brings_attributes_to(0) && !settings.brings_attributes_to(1));
}

#[test]
fn a_route_that_authenticates_wants_credentials() {
    let settings = check(&units("\"access_log\", \"authenticate\"")).expect("good");
    assert!(settings.wants_credentials());
    let error = settings.router(None).expect_err("there are none").to_string();
    assert!(error.contains("where there are credentials"), "{error}");
    let tables = tables(&units("\"access_log\", \"authenticate\""));
    let error = RouteSettings::check(&tables, &rings(&["a"]), false).expect_err("none at all");
    assert!(error.to_string().contains("where `credentials.file` is set"), "{error}");
    let plain = check(&units("\"access_log\", \"request_id\"")).expect("good");
    assert!(!plain.wants_credentials());
    let router = plain.router(None).expect("wants none");
    let names: Vec<_> = router.routes()[0].units.iter().map(|unit| unit.name()).collect();
    assert_eq!(names, ["access_log", "request_id"]);
}

#[test]
fn bodies_that_units_change_fit_into_half_of_what_is_kept() {
    let fits = |units: &str, kept: u64| {
        let text = self::units(units);
        let tables = tables(&text);
        let settings = RouteSettings::check(&tables, &rings(&["a"]), true).expect("good");
        settings.fit(&tables, kept).map_err(|error| error.to_string())
    };
    let both = "{ unit = \"body_limit\", max_bytes = 1000 }, \"json\"";
    assert_eq!(fits(both, 2000), Ok(()));
    let error = fits(both, 1999).expect_err("no room for it");
    assert!(error.contains("`1000` is not allowed; allowed: at most half of"), "{error}");
    assert!(error.contains("max_buffered_bytes, 999"), "{error}");
    // What changes nothing keeps nothing, and of several limits the least one counts.
    assert_eq!(fits("{ unit = \"body_limit\", max_bytes = 1000 }", 10), Ok(()));
    assert_eq!(fits("\"json\"", 10), Ok(()));
    assert_eq!(fits(&format!("{both}, {{ unit = \"body_limit\", max_bytes = 5 }}"), 10), Ok(()));
}

#[test]
fn of_routes_that_take_the_same_requests_the_later_one_is_named() {
    let route = |method: &str, path: &str, more: &str| {
        format!("[[route]]\nmethod = \"{method}\"\npath = \"{path}\"\nring = \"a\"\n{more}\n")
    };
    let text = [
        route("POST", "/p", ""),
        route("POST", "/p", ""),
        route("POST", "/q", ""),
        route("PUT", "/p", ""),
        route("POST", "/p", "host = \"h\""),
    ];
    let tables = tables(&text.concat());
    let refused = RouteSettings::check(&tables, &rings(&["a"]), true).expect_err("the same");
    let ConfigError::Value { origin, .. } = refused else { panic!("{refused}") };
    assert_eq!(origin, tables[1].path.origin);
}

#[test]
fn a_reload_keeps_what_limits_have_counted_that_are_as_they_were() {
    fn limits(settings: &RouteSettings) -> Vec<Arc<RateLimit>> {
        let all = settings.routes.iter().flat_map(|route| &route.units);
        let limits = all.filter_map(|unit| match unit {
            UnitSettings::RateLimit(limit) => Some(Arc::clone(limit)),
            _ => None,
        });
        limits.collect()
    }
    let two = |first: &str, second: &str| {
        let limit = |rate: &str| format!("{{ unit = \"rate_limit\", rate = {rate} }}");
        units(&format!("\"request_id\", {}, \"json\", {}", limit(first), limit(second)))
    };
    let before = check(&two("1.0", "2.0")).expect("good");
    for (text, kept) in [
        (two("1.0", "2.0"), [true, true]),
        (two("1.5", "2.0"), [false, true]),
        (two("1.0", "2.5"), [true, false]),
        (two("1.0", "2.0").replace("/p/", "/q/"), [false, false]),
    ] {
        let mut after = check(&text).expect("good");
        after.keep_counts(&before);
        let both = limits(&after).into_iter().zip(limits(&before));
        let found: Vec<_> = both.map(|(now, then)| Arc::ptr_eq(&now, &then)).collect();
        assert_eq!(found, kept, "{text}");
    }
}
