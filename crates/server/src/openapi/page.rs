//! The reference as a page for people: one document, no scripts, a place for each operation.
//!
//! Rendered once at start from the very document that programs read, so the two cannot differ.
//! The pages of the problem types ([`super::errors`]) are in the same frame.

use serde_json::Value;

use super::{
    example::curl,
    markdown::{escape, inline, push, render},
};

/// How deep nested fields are shown.
const DEPTH_MAX: usize = 4;

/// One operation of the document.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    value: &'a Value,
}

impl Operation<'_> {
    fn id(&self) -> &str {
        self.value["operationId"].as_str().unwrap_or(self.path)
    }

    fn summary(&self) -> &str {
        self.value["summary"].as_str().unwrap_or(self.path)
    }

    fn tag(&self) -> &str {
        self.value["tags"][0].as_str().unwrap_or("Other")
    }
}

/// The whole reference.
pub fn reference(document: &Value) -> String {
    let paths = operations(&document["paths"]);
    let hooks = operations(&document["webhooks"]);
    let mut nav = String::new();
    let mut main = String::new();
    intro(&mut main, document);
    for (tag, about) in tags(document, &paths) {
        let of_tag: Vec<_> = paths
            .iter()
            .filter(|operation| operation.tag() == tag)
            .collect();
        if of_tag.is_empty() {
            continue;
        }
        let anchor = anchor(&tag);
        push(
            &mut nav,
            format_args!(
                "<h2><a href=\"#{anchor}\">{}</a></h2>\n<ul>\n",
                escape(&tag)
            ),
        );
        push(
            &mut main,
            format_args!(
                "<section class=\"tag\" id=\"{anchor}\">\n<h2>{}</h2>\n<p>{}</p>\n",
                escape(&tag),
                inline(&about)
            ),
        );
        for operation in of_tag {
            nav_item(&mut nav, operation);
            show_operation(&mut main, document, operation);
        }
        nav.push_str("</ul>\n");
        main.push_str("</section>\n");
    }
    show_webhooks(&mut nav, &mut main, document, &hooks);
    frame("API reference", &nav, &main)
}

fn intro(main: &mut String, document: &Value) {
    let info = &document["info"];
    push(
        main,
        format_args!(
            "<header class=\"intro\">\n<h1>{} API</h1>\n<p class=\"lead\">{}</p>\n\
         <p>Version {} · <a href=\"{}\">OpenAPI document</a> · <a href=\"/errors\">Types of problems</a></p>\n</header>\n",
            escape(info["title"].as_str().unwrap_or_default()),
            inline(info["description"].as_str().unwrap_or_default()),
            escape(info["version"].as_str().unwrap_or_default()),
            super::DOCUMENT_PATH,
        ),
    );
    main.push_str(&render(include_str!("introduction.md")));
}

fn operations(paths: &Value) -> Vec<Operation<'_>> {
    let items = paths.as_object().into_iter().flatten();
    items
        .flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods.map(move |(method, value)| Operation {
                method,
                path,
                value,
            })
        })
        .collect()
}

/// The tags in the document's order, then those that it does not describe.
fn tags(document: &Value, operations: &[Operation<'_>]) -> Vec<(String, String)> {
    let described = document["tags"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut tags: Vec<_> = described
        .map(|tag| (text(&tag["name"]), text(&tag["description"])))
        .collect();
    for operation in operations {
        if !tags.iter().any(|(name, _)| name == operation.tag()) {
            tags.push((operation.tag().to_owned(), String::new()));
        }
    }
    tags
}

fn nav_item(nav: &mut String, operation: &Operation<'_>) {
    push(
        nav,
        format_args!(
            "<li><a href=\"#{}\"><span class=\"method {}\">{}</span> {}</a></li>\n",
            escape(operation.id()),
            escape(operation.method),
            escape(&operation.method.to_uppercase()),
            escape(operation.summary()),
        ),
    );
}

fn show_operation(main: &mut String, document: &Value, operation: &Operation<'_>) {
    let id = escape(operation.id());
    push(
        main,
        format_args!(
            "<article id=\"{id}\">\n<h3><a class=\"anchor\" href=\"#{id}\">{}</a></h3>\n\
         <p class=\"endpoint\"><span class=\"method {}\">{}</span> <code>{}</code></p>\n",
            escape(operation.summary()),
            escape(operation.method),
            escape(&operation.method.to_uppercase()),
            escape(operation.path).replace('/', "/<wbr>"),
        ),
    );
    if let Some(description) = operation.value["description"].as_str() {
        main.push_str(&render(description));
    }
    if let Some(security) = operation.value["security"].as_array()
        && security
            .iter()
            .all(|entry| entry.as_object().is_some_and(serde_json::Map::is_empty))
    {
        main.push_str("<p class=\"note\">No credentials needed.</p>\n");
    }
    parameters(main, operation.value);
    if let Some(schema) = body_schema(&operation.value["requestBody"]) {
        main.push_str("<h4>Body</h4>\n");
        fields(main, document, schema);
    }
    push(
        main,
        format_args!(
            "<h4>Example</h4>\n<pre tabindex=\"0\"><code>{}</code></pre>\n",
            escape(&curl(
                document,
                operation.method,
                operation.path,
                operation.value
            )),
        ),
    );
    answers(main, document, operation.value);
    main.push_str("</article>\n");
}

fn parameters(main: &mut String, operation: &Value) {
    let Some(parameters) = operation["parameters"]
        .as_array()
        .filter(|list| !list.is_empty())
    else {
        return;
    };
    main.push_str("<h4>Parameters</h4>\n<dl class=\"fields\">\n");
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let place = parameter["in"].as_str().unwrap_or_default();
        let required = if parameter["required"] == true {
            " · required"
        } else {
            ""
        };
        push(
            main,
            format_args!(
                "<dt><code>{}</code> <span class=\"type\">{} · {}{required}</span></dt>\n<dd>{}</dd>\n",
                escape(name),
                escape(place),
                escape(&type_name(&parameter["schema"])),
                inline(parameter["description"].as_str().unwrap_or_default()),
            ),
        );
    }
    main.push_str("</dl>\n");
}

fn answers(main: &mut String, document: &Value, operation: &Value) {
    main.push_str("<h4>Answers</h4>\n");
    let responses = operation["responses"].as_object().into_iter().flatten();
    let mut refusals = Vec::new();
    for (status, response) in responses {
        let response = resolve(document, response);
        let description = response["description"].as_str().unwrap_or_default();
        if status.starts_with('2') {
            push(
                main,
                format_args!(
                    "<p><span class=\"status\">{}</span> {}</p>\n",
                    escape(status),
                    inline(description),
                ),
            );
            if let Some(schema) = body_schema(response) {
                fields(main, document, schema);
            }
        } else {
            refusals.push((status, description));
        }
    }
    if refusals.is_empty() {
        return;
    }
    refusals.sort();
    let list: Vec<_> = refusals.iter().map(|(status, _)| escape(status)).collect();
    push(
        main,
        format_args!(
            "<details>\n<summary>Refusals: {}</summary>\n<dl class=\"fields\">\n",
            list.join(", ")
        ),
    );
    for (status, description) in refusals {
        push(
            main,
            format_args!(
                "<dt><span class=\"status\">{}</span></dt>\n<dd>{}</dd>\n",
                escape(status),
                inline(description)
            ),
        );
    }
    main.push_str("</dl>\n</details>\n");
}

fn show_webhooks(nav: &mut String, main: &mut String, document: &Value, hooks: &[Operation<'_>]) {
    nav.push_str("<h2><a href=\"#sent\">What Signpost sends</a></h2>\n<ul>\n");
    main.push_str(
        "<section class=\"tag\" id=\"sent\">\n<h2>What Signpost sends</h2>\n\
         <p>Each event of the catalogue, as it is POSTed to webhooks of the default format. \
         Answer any 2xx within the timeout; the <code>webhook-id</code> is the same on every attempt.</p>\n",
    );
    for hook in hooks {
        let id = escape(hook.id());
        push(
            nav,
            format_args!("<li><a href=\"#{id}\">{}</a></li>\n", escape(hook.path)),
        );
        push(
            main,
            format_args!(
                "<article id=\"{id}\">\n<h3><a class=\"anchor\" href=\"#{id}\"><code>{}</code></a></h3>\n{}",
                escape(hook.path),
                render(hook.value["description"].as_str().unwrap_or_default()),
            ),
        );
        if let Some(schema) = body_schema(&hook.value["requestBody"]) {
            main.push_str("<details>\n<summary>Fields of <code>data</code></summary>\n");
            fields(main, document, &schema["properties"]["data"]);
            main.push_str("</details>\n");
        }
        let example = &hook.value["requestBody"]["content"]["application/json"]["example"];
        let example = serde_json::to_string_pretty(example).unwrap_or_default();
        push(
            main,
            format_args!(
                "<pre tabindex=\"0\"><code>{}</code></pre>\n</article>\n",
                escape(&example)
            ),
        );
    }
    nav.push_str("</ul>\n");
    main.push_str("</section>\n");
}

/// The schema of the first body that a request or response has.
fn body_schema(holder: &Value) -> Option<&Value> {
    let content = holder["content"].as_object()?;
    content.values().next().map(|body| &body["schema"])
}

/// Follows a `$ref` inside the document.
pub(super) fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"]
        .as_str()
        .and_then(|target| target.strip_prefix('#'));
    target
        .and_then(|pointer| document.pointer(pointer))
        .unwrap_or(value)
}

fn fields(main: &mut String, document: &Value, schema: &Value) {
    let mut rows = String::new();
    field_rows(&mut rows, document, schema, "", 0);
    if rows.is_empty() {
        push(
            main,
            format_args!(
                "<p><span class=\"type\">{}</span></p>\n",
                escape(&type_name(schema))
            ),
        );
    } else {
        push(main, format_args!("<dl class=\"fields\">\n{rows}</dl>\n"));
    }
}

fn field_rows(rows: &mut String, document: &Value, schema: &Value, prefix: &str, depth: usize) {
    if depth >= DEPTH_MAX {
        return;
    }
    let schema = resolve(document, schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        field_rows(rows, document, part, prefix, depth);
    }
    for part in schema["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|part| part["type"] != "null")
    {
        field_rows(rows, document, part, prefix, depth + 1);
    }
    if schema.get("items").is_some() && depth > 0 {
        field_rows(
            rows,
            document,
            &schema["items"],
            &format!("{prefix}[]"),
            depth,
        );
    }
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = required.iter().any(|known| *known == name);
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        let shown = resolve(document, field);
        let description = field["description"]
            .as_str()
            .or(shown["description"].as_str());
        push(
            rows,
            format_args!(
                "<dt><code>{}</code> <span class=\"type\">{}{}</span></dt>\n<dd>{}</dd>\n",
                escape(&path),
                escape(&type_name(shown)),
                if is_required { " · required" } else { "" },
                inline(description.unwrap_or_default()),
            ),
        );
        field_rows(rows, document, field, &path, depth + 1);
    }
}

fn type_name(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        return target.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(options) = schema["enum"].as_array() {
        let options: Vec<_> = options
            .iter()
            .map(|option| option.as_str().map_or(option.to_string(), str::to_owned))
            .collect();
        return options.join(" | ");
    }
    if let Some(options) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        return options
            .iter()
            .map(type_name)
            .collect::<Vec<_>>()
            .join(" or ");
    }
    let base = match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    };
    match (base.as_str(), schema["format"].as_str()) {
        ("array", _) => format!("array of {}", type_name(&schema["items"])),
        (_, Some(format)) => format!("{base} ({format})"),
        _ => base,
    }
}

fn anchor(text: &str) -> String {
    let kept = text.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    });
    kept.collect()
}

/// The frame of every page: head, contents at the side, the page itself.
pub(super) fn frame(title: &str, nav: &str, main: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} · Signpost</title>\n<link rel=\"stylesheet\" href=\"/api/docs/style.css\">\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#content\">Skip to the content</a>\n\
         <nav aria-label=\"Contents\">\n<p class=\"brand\"><a href=\"/api/docs\">Signpost</a></p>\n{nav}</nav>\n\
         <main id=\"content\">\n{main}</main>\n</body>\n</html>\n",
        title = escape(title),
    )
}
