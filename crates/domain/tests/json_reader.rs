//! The reader of envelopes.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::borrow::Cow;

use domain::json::{
    Canonical, JsonError, Kind, Limits, Numbers, Reader, canonicalize, elements, members,
};

fn reader(text: &str) -> Reader<'_> {
    Reader::new(text.as_bytes(), &Limits::default()).unwrap()
}

/// What a publish handler does with a body.
#[derive(Debug, Default, PartialEq)]
struct Published {
    event: Option<String>,
    data: Option<Canonical>,
}

fn publish(body: &str) -> Result<Published, JsonError> {
    let mut published = Published::default();
    let mut data = None;
    let mut numbers = Numbers::Exact;
    let mut reader = reader(body);
    reader.object(|key, reader| {
        match key {
            "event" | "type" => published.event = Some(reader.string()?.into_owned()),
            "numbers" if reader.string()? == "verbatim" => numbers = Numbers::Verbatim,
            "data" => {
                let exact = reader.canonical(Numbers::Exact);
                let raw = match &exact {
                    Ok(_) => None,
                    Err(JsonError::UnsafeNumber { .. }) => Some(reader.raw()?),
                    Err(error) => return Err(error.clone()),
                };
                data = Some((exact, raw));
            }
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    reader.finish()?;
    published.data = match data {
        Some((Err(_), Some(raw))) if numbers == Numbers::Verbatim => {
            Some(canonicalize(raw.as_bytes(), numbers, &Limits::default())?)
        }
        Some((exact, _)) => Some(exact?),
        None => None,
    };
    Ok(published)
}

#[test]
fn a_publish_body_is_read_in_one_pass() {
    let body = r#" { "id" : [1,{"x":2}], "event":"order.created", "data" : {"b":1.0,"1":[ ]} , "extra":null } "#;
    let published = publish(body).unwrap();
    assert_eq!(published.event.as_deref(), Some("order.created"));
    assert_eq!(published.data.unwrap().as_str(), r#"{"1":[],"b":1}"#);
    assert_eq!(publish("{}").unwrap(), Published::default());
}

#[test]
fn of_a_repeated_member_the_last_counts() {
    let published = publish(r#"{"event":"a","data":{"x":[1]},"\u0065vent":"b","data":2}"#).unwrap();
    assert_eq!(published.event.as_deref(), Some("b"));
    assert_eq!(published.data.unwrap().as_str(), "2");
}

#[test]
fn a_failed_read_can_be_made_in_another_way() {
    let verbatim = r#"{"data":{"n":[1.0,1e999]},"numbers":"verbatim"}"#;
    let published = publish(verbatim).unwrap();
    assert_eq!(published.data.unwrap().as_str(), r#"{"n":[1.0,1e999]}"#);
    let exact = publish(&verbatim.replace("verbatim", "exact")).unwrap_err();
    assert_eq!(exact.path(), Some("data.n[1]"));

    let mut reader = reader(r#"[{"a":1}]"#);
    let failed = reader.array(|_, reader| reader.object(|_, reader| reader.string().map(|_| ())));
    assert_eq!(failed.unwrap_err().path(), Some("[0].a"));
    assert_eq!(reader.raw().unwrap(), r#"[{"a":1}]"#);
    reader.finish().unwrap();
}

#[test]
fn paths_begin_at_the_root_of_the_body() {
    let body = r#"{"events":[{"event":"a"},{"event":"b","data":{"items":[0,{"id":12345678901234567890}]}}]}"#;
    let mut reader = reader(body);
    let error = reader
        .object(|_, reader| {
            reader.array(|_, reader| {
                reader.object(|key, reader| match key {
                    "data" => reader.canonical(Numbers::Exact).map(|_| ()),
                    _ => Ok(()),
                })
            })
        })
        .unwrap_err();
    assert_eq!(error.path(), Some("events[1].data.items[1].id"));
}

#[test]
fn each_kind_is_read_as_itself_only() {
    let text = r#"["a\u00e9\n\ud83d\ude00", -1.50e3, true, false, null, {}, []]"#;
    let mut seen = Vec::new();
    let mut whole = reader(text);
    let result: Result<(), JsonError> = whole.array(|index, reader| {
        assert_eq!(reader.path(), format!("[{index}]"));
        let kind = reader.kind()?;
        seen.push(kind);
        let wrong = if kind == Kind::String {
            reader.number().map(|_| ())
        } else {
            reader.string().map(|_| ())
        };
        assert!(
            matches!(wrong, Err(JsonError::WrongKind { found, .. }) if found == kind),
            "{kind}: {wrong:?}"
        );
        match kind {
            Kind::String => assert_eq!(reader.string()?, "a\u{e9}\n\u{1f600}"),
            Kind::Number => assert_eq!(reader.number()?, "-1.50e3"),
            Kind::Boolean => assert_eq!(reader.boolean()?, index == 2),
            Kind::Null => reader.skip()?,
            Kind::Object => assert_eq!(reader.raw()?, "{}"),
            Kind::Array => reader.array(|_, _| Ok::<(), JsonError>(()))?,
        }
        Ok(())
    });
    result.unwrap();
    whole.finish().unwrap();
    let kinds = [
        Kind::String,
        Kind::Number,
        Kind::Boolean,
        Kind::Boolean,
        Kind::Null,
        Kind::Object,
        Kind::Array,
    ];
    assert_eq!(seen, kinds);

    let error = reader(r#"{"a":1}"#).string().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the outermost value must be a string, not an object"
    );
}

#[test]
fn plain_strings_are_not_copied() {
    assert!(matches!(
        reader(r#""abc""#).string().unwrap(),
        Cow::Borrowed("abc")
    ));
    assert!(matches!(
        reader(r#""a\nc""#).string().unwrap(),
        Cow::Owned(_)
    ));
}

#[test]
fn half_a_surrogate_pair_is_not_text() {
    let mut whole = reader(r#"{"event":"a\ud800b"}"#);
    let error = whole
        .object(|_, reader| reader.string().map(|_| ()))
        .unwrap_err();
    assert_eq!(
        error,
        JsonError::LoneSurrogate {
            path: "event".to_owned()
        }
    );
    // In a key it is replaced, so that the object can be read at all.
    let found = members(br#"{"\ud800":1}"#, &Limits::default()).unwrap();
    assert_eq!(found.get("\u{fffd}"), Some(b"1".as_slice()));
}

#[test]
fn skipped_members_are_checked_too() {
    for body in [
        r#"{"x":[1,}"#,
        r#"{"x":"\q"}"#,
        r#"{"x":01}"#,
        r#"{"x":tru}"#,
        r#"{"x"}"#,
        r#"{"x":1,}"#,
        r#"{"x":1"#,
        r#"{,"x":1}"#,
        r#"{"x":1 "y":2}"#,
        r#"{"x":1}}"#,
        "{",
        "",
    ] {
        let error = publish(body).unwrap_err();
        assert!(
            matches!(
                error,
                JsonError::Syntax { .. } | JsonError::TrailingData { .. }
            ),
            "{body}: {error:?}"
        );
    }
}

#[test]
fn depth_counts_from_the_root() {
    let limits = Limits {
        depth_max: 3,
        ..Limits::default()
    };
    for (body, fits) in [(r#"{"a":[[]]}"#, true), (r#"{"a":[[[]]]}"#, false)] {
        let mut skipping = Reader::new(body.as_bytes(), &limits).unwrap();
        let skipped = skipping.object(|_, _| Ok::<(), JsonError>(()));
        assert_eq!(skipped.is_ok(), fits, "{body}");
        let mut writing = Reader::new(body.as_bytes(), &limits).unwrap();
        let written = writing.object(|_, it| it.canonical(Numbers::Exact).map(|_| ()));
        assert_eq!(written, skipped);
        assert_eq!(
            canonicalize(body.as_bytes(), Numbers::Exact, &limits).is_ok(),
            fits
        );
    }
    let none = Limits {
        depth_max: 0,
        ..Limits::default()
    };
    let mut flat = Reader::new(b"[]", &none).unwrap();
    let refused = flat.array(|_, _| Ok::<(), JsonError>(()));
    assert!(matches!(refused, Err(JsonError::TooDeep { .. })));
}

#[test]
fn members_are_split_by_their_decoded_keys() {
    let limits = Limits::default();
    let body = br#" {"a" : [ 1 , 2 ] ,"b":"x","\u0061": {"c":null} } "#;
    let found = members(body, &limits).unwrap();
    assert_eq!(found.get("a"), Some(br#"{"c":null}"#.as_slice()));
    assert_eq!(found.get("b"), Some(br#""x""#.as_slice()));
    assert_eq!(found.get("c"), None);
    let keys: Vec<&str> = found.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "b"]);

    assert!(matches!(
        members(b"[]", &limits),
        Err(JsonError::WrongKind { .. })
    ));
    assert!(matches!(
        members(b"{} {}", &limits),
        Err(JsonError::TrailingData { offset: 3 })
    ));
    assert!(members(br#"{"a":[1,]}"#, &limits).is_err());
    assert!(matches!(
        members(b"\xff", &limits),
        Err(JsonError::NotUtf8 { offset: 0 })
    ));
}

#[test]
fn elements_are_split() {
    let limits = Limits::default();
    let found = elements(br#" [ {"a":1} , "x",[ ]] "#, &limits).unwrap();
    assert_eq!(found, [br#"{"a":1}"#.as_slice(), b"\"x\"", b"[ ]"]);
    assert!(elements(b"[]", &limits).unwrap().is_empty());
    assert!(matches!(
        elements(b"{}", &limits),
        Err(JsonError::WrongKind { .. })
    ));
    assert!(elements(b"[1,]", &limits).is_err());
    assert!(elements(b"[1", &limits).is_err());
}
