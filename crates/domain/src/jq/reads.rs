//! What of its input a plain expression reads: so that nothing else need be handed to it.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Term},
    },
    path::Part,
};

/// The beginnings of the paths that the expression reads, at most two keys each; `None` if it may
/// read all of its input.
pub(super) fn reads(term: &Term<&str>) -> Option<Vec<Vec<String>>> {
    let mut paths = Vec::new();
    collect(term, &mut paths)?;
    paths.sort_unstable();
    paths.dedup();
    Some(paths)
}

fn collect(term: &Term<&str>, paths: &mut Vec<Vec<String>>) -> Option<()> {
    match term {
        Term::Num(_) | Term::Arr(None) => Some(()),
        Term::Str(_, parts) => parts.iter().try_for_each(|part| match part {
            StrPart::Term(term) => collect(term, paths),
            _ => Some(()),
        }),
        Term::Arr(Some(term)) | Term::Neg(term) => collect(term, paths),
        Term::Obj(fields) => fields.iter().try_for_each(|(key, value)| {
            if let Some(value) = value {
                collect(key, paths)?;
                return collect(value, paths);
            }
            paths.push(vec![literal(key)?]);
            Some(())
        }),
        // What stands behind a pipe reads what stands before it.
        Term::BinOp(left, BinaryOp::Pipe(None), _) => collect(left, paths),
        Term::BinOp(left, BinaryOp::Pipe(Some(_)), _) => {
            collect(left, paths)?;
            None
        }
        Term::BinOp(left, _, right) => {
            collect(left, paths)?;
            collect(right, paths)
        }
        Term::IfThenElse(cases, Some(default)) => {
            for (condition, then) in cases {
                collect(condition, paths)?;
                collect(then, paths)?;
            }
            collect(default, paths)
        }
        Term::Call(name, args) if args.is_empty() => {
            matches!(*name, "null" | "true" | "false" | "empty").then_some(())
        }
        Term::Path(head, path) if matches!(**head, Term::Id) => {
            let keys: Vec<String> = path
                .0
                .iter()
                .map_while(|(part, _)| match part {
                    Part::Index(index) => literal(index),
                    Part::Range(..) => None,
                })
                .take(2)
                .collect();
            if keys.is_empty() {
                return None;
            }
            paths.push(keys);
            Some(())
        }
        Term::Path(head, _) => collect(head, paths),
        _ => None,
    }
}

fn literal(term: &Term<&str>) -> Option<String> {
    match term {
        Term::Str(None, parts) => match parts.as_slice() {
            [StrPart::Str(text)] => Some((*text).to_owned()),
            _ => None,
        },
        _ => None,
    }
}
