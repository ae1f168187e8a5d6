//! What only the whole shows: circles that never end, nodes that nothing leads to, ways that lead
//! nowhere.

use std::collections::{HashMap, HashSet};

use super::{
    edges::{Way, targets},
    reader::{Path, Reader},
};
use crate::workflow::definition::{END, Route, START};

impl Reader<'_> {
    /// Checks where the ways lead. Circles are looked for in any case; what is missing only if
    /// everything could be read.
    pub(super) fn check_ways(&mut self, ids: &[String], ways: &[Way]) {
        let in_circles = self.check_circles(ids, ways);
        if !self.whole || ids.is_empty() {
            return;
        }
        if !ways.iter().any(|way| way.edge.from == START) {
            if in_circles.is_empty() {
                let path = Path::root().key("edges");
                let first = ids.first().map_or("first", String::as_str);
                self.error("graph.start", "nothing follows `START`", &path)
                    .help = Some(format!("add `- {{from: START, to: {first}}}`"));
            }
            return;
        }
        let forward = reachable([START], |name| {
            ways.iter()
                .filter(|way| way.edge.from == name)
                .flat_map(|way| targets(&way.edge.route))
                .collect()
        });
        let before = |name: &str| -> Vec<&str> {
            ways.iter()
                .filter(|way| targets(&way.edge.route).contains(&name))
                .map(|way| way.edge.from.as_str())
                .collect()
        };
        let backward = reachable([END], before);
        // A node that leads to a circle has no fault of its own.
        let before_circles = reachable(in_circles.iter().copied(), before);
        for (index, id) in ids.iter().enumerate() {
            let path = self.id_path(index);
            if !forward.contains(id.as_str()) {
                let message = format!("no edge leads to `{id}` from `START`");
                self.error("graph.unreachable", message, &path).help =
                    Some(format!("add an edge with `to: {id}`, or remove the node"));
            } else if !backward.contains(id.as_str()) && !before_circles.contains(id.as_str()) {
                let ends = !ways.iter().any(|way| way.edge.from == *id);
                let (message, help) = if ends {
                    (
                        format!("nothing follows `{id}`"),
                        format!("add `- {{from: {id}, to: END}}`"),
                    )
                } else {
                    (
                        format!("no way leads from `{id}` to `END`"),
                        "add a way out of the circle".to_owned(),
                    )
                };
                self.error("graph.no_end", message, &path).help = Some(help);
            }
        }
    }

    fn id_path(&self, index: usize) -> Path {
        let node = Path::root().key("nodes").index(index);
        let id = node.key("id");
        if self.part(&id).is_some() {
            id
        } else {
            node.key("name")
        }
    }

    /// Reports circles of ways that are always taken; answers the nodes in them.
    fn check_circles<'w>(&mut self, ids: &[String], ways: &'w [Way]) -> HashSet<&'w str> {
        let mut next: HashMap<&str, Vec<(&str, &Path)>> = HashMap::new();
        for way in ways {
            if matches!(way.edge.route, Route::Routes { .. }) {
                continue;
            }
            let follow = next.entry(&way.edge.from).or_default();
            follow.extend(
                targets(&way.edge.route)
                    .into_iter()
                    .map(|to| (to, &way.path)),
            );
        }
        let mut in_circles = HashSet::new();
        let mut done: HashSet<&str> = HashSet::new();
        for id in ids {
            let Some((start, _)) = next.get_key_value(id.as_str()) else {
                continue;
            };
            if let Some((circle, path)) = circle_from(start, &next, &mut done) {
                let names: Vec<&str> = circle
                    .iter()
                    .copied()
                    .chain(circle.first().copied())
                    .collect();
                let message = format!("this circle never ends: {}", names.join(" → "));
                self.error("graph.circle", message, path).help = Some(
                    "go back through `loop` or `routes`, so that a condition can end it".to_owned(),
                );
                in_circles.extend(circle);
            }
        }
        in_circles
    }
}

/// The first circle that is met from a node on, looking at no node twice.
fn circle_from<'w>(
    start: &'w str,
    next: &HashMap<&'w str, Vec<(&'w str, &'w Path)>>,
    done: &mut HashSet<&'w str>,
) -> Option<(Vec<&'w str>, &'w Path)> {
    let mut way: Vec<(&str, usize)> = Vec::new();
    if done.insert(start) {
        way.push((start, 0));
    }
    while let Some((node, at)) = way.last_mut() {
        let node = *node;
        let follow = next.get(node).map(Vec::as_slice).unwrap_or_default();
        let Some((to, path)) = follow.get(*at).copied() else {
            way.pop();
            continue;
        };
        *at += 1;
        if let Some(from) = way.iter().position(|(name, _)| *name == to) {
            return Some((way[from..].iter().map(|(name, _)| *name).collect(), path));
        }
        if done.insert(to) {
            way.push((to, 0));
        }
    }
    None
}

fn reachable<'w>(
    from: impl IntoIterator<Item = &'w str>,
    next: impl Fn(&str) -> Vec<&'w str>,
) -> HashSet<&'w str> {
    let mut found: HashSet<&str> = from.into_iter().collect();
    let mut open: Vec<&str> = found.iter().copied().collect();
    while let Some(name) = open.pop() {
        for name in next(name) {
            if found.insert(name) {
                open.push(name);
            }
        }
    }
    found
}
