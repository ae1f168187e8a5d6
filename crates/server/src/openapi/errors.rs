//! The pages of the problem types: what each means, why, and what to do.

use super::{
    markdown::{escape, push, render},
    page::frame,
};
use crate::problem::Kind;

/// One problem type's page.
pub fn page(kind: Kind) -> String {
    let mut main = format!(
        "<article class=\"prose\">\n<p class=\"endpoint\"><span class=\"status\">{}</span> <code>{}</code></p>\n",
        kind.status().as_u16(),
        kind.type_path(),
    );
    main.push_str(&render(kind.page()));
    main.push_str("</article>\n");
    frame(kind.title(), &contents(Some(kind)), &main)
}

/// The list of all problem types.
pub fn index() -> String {
    let mut main = "<article class=\"prose\">\n<h1>Types of problems</h1>\n<p>Every refusal is an \
        <code>application/problem+json</code> document (RFC 9457). Its <code>type</code> is one of these.</p>\n\
        <dl class=\"fields\">\n"
        .to_owned();
    for kind in Kind::ALL {
        push(
            &mut main,
            format_args!(
                "<dt><a href=\"{0}\"><code>{0}</code></a> <span class=\"status\">{1}</span></dt>\n<dd>{2}</dd>\n",
                kind.type_path(),
                kind.status().as_u16(),
                escape(kind.title()),
            ),
        );
    }
    main.push_str("</dl>\n</article>\n");
    frame("Types of problems", &contents(None), &main)
}

fn contents(current: Option<Kind>) -> String {
    let mut nav = "<h2><a href=\"/errors\">Types of problems</a></h2>\n<ul>\n".to_owned();
    for kind in Kind::ALL {
        let mark = if current == Some(*kind) {
            " aria-current=\"page\""
        } else {
            ""
        };
        push(
            &mut nav,
            format_args!(
                "<li><a href=\"{}\"{mark}>{}</a></li>\n",
                kind.type_path(),
                escape(kind.slug())
            ),
        );
    }
    nav.push_str("</ul>\n");
    nav
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_type_has_a_page_that_says_what_to_do() {
        for kind in Kind::ALL {
            let page = page(*kind);
            assert!(
                page.contains(&format!("<h1>{}</h1>", escape(kind.title()))),
                "{kind:?}"
            );
            for part in ["<h2>Why</h2>", "<h2>What to do</h2>", "<li>"] {
                assert!(page.contains(part), "{kind:?} lacks {part}");
            }
            assert!(index().contains(kind.type_path()));
        }
    }
}
