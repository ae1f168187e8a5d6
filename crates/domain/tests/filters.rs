//! Filters: which events pass, and which filters are refused.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use domain::{
    Timestamp,
    filter::{BYTES_MAX, CONDITIONS_MAX, Filter, FilterError, FilterView, parse_data},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn passes(filter: Value, data: &Value) -> bool {
    let view = FilterView {
        id: "order-17",
        event: "order.paid",
        timestamp: Timestamp::parse("2026-01-31T09:30:00Z").unwrap(),
        data,
    };
    Filter::parse(filter).unwrap().matches(&view)
}

fn refused(filter: Value) -> FilterError {
    Filter::parse(filter).unwrap_err()
}

#[test]
fn conditions_hold_or_do_not() {
    let data = json!({
        "amount": 100,
        "rate": 1.0,
        "currency": "EUR",
        "vip": true,
        "note": null,
        "items": [{ "sku": "A-1" }, { "sku": "B-2" }],
        "tags": ["new", "gift", 7],
        "a.b": { "c\\d": 1 },
        "7": "seven",
        "address": { "city": "Wien", "zip": "1010" },
    });
    for (filter, expected) in [
        (json!({}), true),
        (json!({"id": "order-17", "event": "order.paid"}), true),
        (json!({"event": {"$startsWith": "order."}}), true),
        (json!({"event": "order.failed"}), false),
        (json!({"data.amount": 100}), true),
        (json!({"data.amount": 100.0}), true),
        (json!({"data.amount": "100"}), false),
        (json!({"data.amount": {"$gte": 100, "$lt": 101}}), true),
        (json!({"data.amount": {"$gt": 100}}), false),
        (json!({"data.amount": {"$lte": 99.9}}), false),
        (json!({"data.amount": {"$gt": "1"}}), false),
        (json!({"data.rate": 1}), true),
        (json!({"data.currency": {"$in": ["EUR", "CHF"]}}), true),
        (json!({"data.currency": {"$nin": ["EUR", "CHF"]}}), false),
        (
            json!({"data.currency": {"$gt": "EUQ", "$endsWith": "R"}}),
            true,
        ),
        (json!({"data.vip": true}), true),
        (json!({"data.note": null}), true),
        (json!({"data.note": {"$exists": true}}), true),
        (json!({"data.items.0.sku": "A-1"}), true),
        (json!({"data.items.1.sku": "A-1"}), false),
        (json!({"data.items.2.sku": {"$exists": false}}), true),
        (json!({"data.items.00.sku": {"$exists": true}}), false),
        (json!({"data.items.-1.sku": {"$exists": true}}), false),
        (json!({"data.7": "seven"}), true),
        (json!({"data.tags": {"$contains": "gift"}}), true),
        (json!({"data.tags": {"$contains": 7.0}}), true),
        (json!({"data.tags": {"$contains": "gif"}}), false),
        (json!({"data.tags": ["new", "gift", 7]}), true),
        (json!({"data.currency": {"$contains": "U"}}), true),
        (json!({"data.currency": {"$contains": 7}}), false),
        (json!({"data.a\\.b.c\\\\d": 1}), true),
        (json!({"data.a.b": {"$exists": false}}), true),
        (
            json!({"data.address": {"zip": "1010", "city": "Wien"}}),
            true,
        ),
        (json!({"data.address": {"zip": "1010"}}), false),
        (json!({"data": {"$exists": true}}), true),
        // A missing path.
        (json!({"data.none": null}), false),
        (json!({"data.none": {"$ne": 1}}), true),
        (json!({"data.none": {"$nin": [1]}}), true),
        (json!({"data.none": {"$exists": false}}), true),
        (json!({"data.none": {"$lt": 1}}), false),
        (json!({"data.none": {"$startsWith": ""}}), false),
        (json!({"data.amount.deep": {"$exists": true}}), false),
        (json!({"data.none": {"$not": {"$eq": 1}}}), true),
        // Together.
        (json!({"data.vip": true, "data.amount": 1}), false),
        (
            json!({"$or": [{"data.amount": 1}, {"data.vip": true}]}),
            true,
        ),
        (
            json!({"$or": [{"data.amount": 1}, {"data.vip": false}]}),
            false,
        ),
        (
            json!({"$and": [{"data.amount": 100}, {"$not": {"data.vip": false}}]}),
            true,
        ),
        (json!({"$not": {"data.vip": true}}), false),
        (json!({"data.amount": {"$not": {"$gt": 1000}}}), true),
        // Times are compared as times.
        (json!({"timestamp": "2026-01-31T10:30:00+01:00"}), true),
        (
            json!({"timestamp": {"$gte": "2026-01-31T09:30:00Z", "$lt": "2026-02-01T00:00:00Z"}}),
            true,
        ),
        (
            json!({"timestamp": {"$in": ["2026-01-31T09:30:00.000Z"]}}),
            true,
        ),
        (json!({"timestamp": {"$gt": "2026-01-31T09:30:00Z"}}), false),
        (json!({"timestamp": {"$startsWith": "2026-01-31"}}), true),
    ] {
        let text = filter.to_string();
        assert_eq!(passes(filter, &data), expected, "{text}");
    }
}

#[test]
fn whole_numbers_are_compared_exactly() {
    let data = json!({ "n": 9_007_199_254_740_993_u64, "big": u64::MAX, "low": i64::MIN });
    assert!(!passes(json!({"data.n": 9_007_199_254_740_992_u64}), &data));
    assert!(passes(
        json!({"data.n": {"$gt": 9_007_199_254_740_992_u64}}),
        &data
    ));
    assert!(passes(json!({"data.big": {"$gt": -1}}), &data));
    assert!(passes(json!({"data.low": {"$lt": 1.5}}), &data));
}

#[test]
fn data_of_any_kind_can_be_filtered() {
    assert!(passes(json!({"data": "text"}), &json!("text")));
    assert!(passes(json!({"data.0": 1}), &json!([1])));
    assert!(!passes(json!({"data.x": 1}), &json!(null)));
}

#[test]
fn what_is_refused_says_where_and_why() {
    for (filter, path, told) in [
        (
            json!(".data.amount > 100"),
            "",
            "a text is not read as a filter",
        ),
        (json!([]), "", "expected an object"),
        (
            json!({"amount": 1}),
            "/amount",
            "did you mean `data.amount`",
        ),
        (
            json!({"order.amount": 1}),
            "/order.amount",
            "did you mean `data.order.amount`",
        ),
        (
            json!({"dta.amount": 1}),
            "/dta.amount",
            "did you mean `data.amount`",
        ),
        (json!({"id.x": 1}), "/id.x", "nothing lies below"),
        (json!({"data..x": 1}), "/data..x", "parts"),
        (json!({"data.x\\n": 1}), "/data.x\\n", "backslash"),
        (json!({"": 1}), "/", "parts"),
        (
            json!({"data.a/b": {"$gte": null}}),
            "/data.a~1b/$gte",
            "number or a text",
        ),
        (
            json!({"data.a": {"$gtr": 1}}),
            "/data.a/$gtr",
            "did you mean `$gt`",
        ),
        (
            json!({"data.a": {"$startswith": "x"}}),
            "/data.a/$startswith",
            "did you mean `$startsWith`",
        ),
        (json!({"data.a": {"$eq": 1, "b": 2}}), "/data.a/b", "mixed"),
        (json!({"data.a": {}}), "/data.a", "empty condition"),
        (json!({"data.a": {"$in": []}}), "/data.a/$in", "1 to"),
        (json!({"data.a": {"$in": 1}}), "/data.a/$in", "list"),
        (
            json!({"data.a": {"$exists": "yes"}}),
            "/data.a/$exists",
            "true or false",
        ),
        (
            json!({"data.a": {"$startsWith": 1}}),
            "/data.a/$startsWith",
            "text",
        ),
        (json!({"data.a": {"$not": 1}}), "/data.a/$not", "operators"),
        (json!({"$gte": 1}), "/$gte", "does not stand here"),
        (json!({"$nor": []}), "/$nor", "did you mean `$or`"),
        (json!({"$or": []}), "/$or", "at least one"),
        (json!({"$or": [{"data.a": 1}, 5]}), "/$or/1", "object"),
        (json!({"$not": []}), "/$not", "object"),
        (json!({"timestamp": "today"}), "/timestamp", "RFC 3339"),
        (
            json!({"timestamp": {"$gt": 5}}),
            "/timestamp/$gt",
            "RFC 3339",
        ),
        (json!({"event": 5}), "/event", "texts"),
    ] {
        let text = filter.to_string();
        let error = refused(filter);
        assert_eq!(error.path, path, "{text}: {error}");
        assert!(error.message.contains(told), "{text}: {error}");
    }
}

#[test]
fn size_depth_and_number_are_bounded() {
    let mut deep = json!({"data.a": 1});
    for _ in 0..40 {
        deep = json!({"$not": deep});
    }
    assert!(refused(deep).message.contains("nested"));
    let many: serde_json::Map<String, Value> = (0..=CONDITIONS_MAX)
        .map(|n| (format!("data.f{n}"), json!(n)))
        .collect();
    assert!(refused(Value::Object(many)).message.contains("conditions"));
    assert!(
        refused(json!({"data.a": "x".repeat(BYTES_MAX)}))
            .message
            .contains("bytes")
    );
}

#[test]
fn a_filter_is_kept_as_it_was_given() {
    let source = json!({"data.b": 1.0, "data.a": {"$in": [1, "x"]}});
    let filter: Filter = serde_json::from_value(source.clone()).unwrap();
    assert_eq!(serde_json::to_string(&filter).unwrap(), source.to_string());
    assert_eq!(filter.as_json(), &source);
    assert!(serde_json::from_value::<Filter>(json!({"nope": 1})).is_err());
}

#[test]
fn payloads_that_are_no_unicode_or_beyond_a_double_are_read_as_far_as_can_be() {
    for (text, value) in [
        (r#"{"a":1}"#, json!({ "a": 1 })),
        (
            r#"{"a":"\ud83d","b":"\\ud83d \n\udfff"}"#,
            json!({"a": "\u{fffd}", "b": "\\ud83d \n\u{fffd}"}),
        ),
        (r#"{"a":1e400}"#, json!(null)),
    ] {
        assert_eq!(parse_data(text.as_bytes()), value, "{text}");
    }
}

proptest! {
    #[test]
    fn a_value_equals_itself_and_not_its_opposite(amount in any::<i64>(), text in "\\PC{0,20}") {
        let data = json!({ "amount": amount, "text": text });
        for filter in [
            json!({"data.amount": amount, "data.text": {"$eq": text}}),
            json!({"data.amount": {"$gte": amount, "$lte": amount}}),
            json!({"data.text": {"$contains": text, "$startsWith": text}}),
        ] {
            prop_assert!(passes(filter.clone(), &data));
            let opposite = json!({ "$not": filter });
            prop_assert!(!passes(opposite, &data));
        }
    }
}
