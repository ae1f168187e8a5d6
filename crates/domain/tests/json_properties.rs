//! The canonical form of arbitrary documents, against `serde_json`.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use domain::json::{
    Limits, Numbers, Reader, canonicalize, is_canonical, snake_case_keys, write_number,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn canonical(input: &[u8], numbers: Numbers) -> Option<String> {
    let canonical = canonicalize(input, numbers, &Limits::default()).ok()?;
    Some(canonical.as_str().to_owned())
}

/// Documents whose numbers are safe.
fn document() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
        (-1000_i64..1000).prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no other", |it| it.is_finite() && *it != 0.0)
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-z]{0,3}",
        "[0-9]{1,3}",
        "[a-zA-Z_]{1,9}",
        any::<String>()
    ];
    scalar.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Equal as JSON values: members in any order, numbers as doubles.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().unwrap().to_bits() == right.as_f64().unwrap().to_bits()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same(a, b))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, a)| right.get(key).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

/// Text that is nearly JSON.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"a\"",
        "\"1\":",
        "\"b\":",
        "1",
        "-",
        "0",
        "1.5",
        "1e9",
        "1e999",
        "9007199254740993",
        "true",
        "null",
        "fals",
        " ",
        "\n",
        "\\u0041",
        "\\ud83d",
        "\\ude00",
        "\u{e9}",
        "{\"a\":",
        "[1,",
        "\u{1}",
    ]);
    prop::collection::vec(fragment, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn the_value_stays(value in document(), pretty: bool) {
        let text = if pretty {
            serde_json::to_string_pretty(&value).unwrap()
        } else {
            value.to_string()
        };
        let canonical = canonical(text.as_bytes(), Numbers::JavaScript).unwrap();
        prop_assert!(same(&serde_json::from_str(&canonical).unwrap(), &value), "{}", canonical);
        prop_assert!(is_canonical(canonical.as_bytes()), "{}", canonical);
    }

    #[test]
    fn verbatim_text_is_a_fixed_point_of_verbatim(value in document()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let once = canonical(text.as_bytes(), Numbers::Verbatim).unwrap();
        prop_assert_eq!(canonical(once.as_bytes(), Numbers::Verbatim), Some(once));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let accepted = canonical(&bytes, Numbers::Verbatim).is_some();
        prop_assert_eq!(accepted, serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok());
        snake_case_keys(&bytes);
    }

    /// `RawValue` takes what is JSON without reading numbers or surrogates.
    #[test]
    fn near_json_is_accepted_as_serde_json_accepts_it(text in fragments()) {
        let expected = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        let verbatim = canonical(text.as_bytes(), Numbers::Verbatim);
        prop_assert_eq!(verbatim.is_some(), expected, "{}", text);
        let javascript = canonical(text.as_bytes(), Numbers::JavaScript);
        prop_assert_eq!(javascript.is_some(), expected, "{}", text);
        let skipped = Reader::new(text.as_bytes(), &Limits::default())
            .and_then(|mut reader| reader.skip().and_then(|()| reader.finish()));
        prop_assert_eq!(skipped.is_ok(), expected, "{}", text);
        if let Some(javascript) = javascript {
            prop_assert!(is_canonical(javascript.as_bytes()), "{}", text);
        }
        if let Some(exact) = canonical(text.as_bytes(), Numbers::Exact) {
            prop_assert!(is_canonical(exact.as_bytes()), "{}", text);
        }
    }

    /// The short cuts for common literals against the double they stand for.
    #[test]
    fn every_literal_is_printed_as_its_double(
        literal in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?(e[+-]?[0-9]{1,3})?"
    ) {
        let mut expected = Vec::new();
        write_number(literal.parse().unwrap(), &mut expected);
        let printed = canonical(literal.as_bytes(), Numbers::JavaScript).unwrap();
        prop_assert_eq!(printed.as_bytes(), &expected[..], "{}", literal);
    }

    #[test]
    fn small_decimals_are_printed_as_their_double(literal in "-?[0-9]\\.0{0,9}[0-9]{1,6}") {
        let mut expected = Vec::new();
        write_number(literal.parse().unwrap(), &mut expected);
        let printed = canonical(literal.as_bytes(), Numbers::JavaScript).unwrap();
        prop_assert_eq!(printed.as_bytes(), &expected[..], "{}", literal);
    }

    #[test]
    fn an_integer_is_refused_exactly_if_its_double_differs(integer: i128) {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the point")]
        let carried = (integer as f64) as i128 == integer;
        let accepted = canonical(integer.to_string().as_bytes(), Numbers::Exact).is_some();
        prop_assert_eq!(accepted, carried);
    }

    #[test]
    fn keys_of_few_letters_collide_as_in_a_map(keys in prop::collection::vec("[a-c0-2]{0,2}", 0..100)) {
        let members: Vec<String> = keys.iter().enumerate()
            .map(|(at, key)| format!("{}:{at}", json!(key))).collect();
        let text = format!("{{{}}}", members.join(","));
        let map: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let index = |key: &str| -> Option<u32> {
            key.parse().ok().filter(|index: &u32| index.to_string() == key)
        };
        let mut expected: Vec<(&String, &Value)> = map.iter().collect();
        expected.sort_by_key(|(key, _)| index(key).map_or(u64::MAX, u64::from));
        let expected: Vec<String> = expected.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
        prop_assert_eq!(
            canonical(text.as_bytes(), Numbers::Exact).unwrap(),
            format!("{{{}}}", expected.join(","))
        );
    }

    #[test]
    fn snake_case_changes_keys_only(value in document()) {
        let before = canonical(value.to_string().as_bytes(), Numbers::JavaScript).unwrap();
        let after = snake_case_keys(before.as_bytes());
        prop_assert!(is_canonical(&after));
        prop_assert_eq!(snake_case_keys(&after), after.clone());
        let values = |text: &[u8]| {
            let mut values = Vec::new();
            collect(&serde_json::from_slice(text).unwrap(), &mut values);
            values
        };
        prop_assert_eq!(values(&after), values(before.as_bytes()));
    }
}

/// All scalars and sizes, in order.
fn collect(value: &Value, values: &mut Vec<String>) {
    match value {
        Value::Array(elements) => {
            values.push(format!("array of {}", elements.len()));
            for element in elements {
                collect(element, values);
            }
        }
        Value::Object(members) => {
            values.push(format!("object of {}", members.len()));
            for member in members.values() {
                collect(member, values);
            }
        }
        scalar => values.push(scalar.to_string()),
    }
}
