//! Edges: what follows what, from both dialects into one form.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    model::{ConditionFile, EdgeFile, LoopFile, MapFile, OneOrMore, ParallelFile, RouteFile},
    nodes::OwnWay,
    reader::{Path, Reader},
};
use crate::workflow::definition::{END, Edge, FieldType, Route, START};

/// How often a loop's node runs at most where a file says nothing.
pub const ITERATIONS: u32 = 10;
/// The most edges of a workflow.
const EDGES_MAX: usize = 5_000;

/// An edge and where it stands.
pub struct Way {
    pub edge: Edge,
    pub path: Path,
}

/// A way with a condition of its own, which becomes a case of the node's routes.
struct Conditional {
    from: String,
    condition: String,
    to: String,
    path: Path,
}

#[derive(Default)]
struct Gathered {
    ways: Vec<Way>,
    conditional: Vec<Conditional>,
}

impl Gathered {
    fn to(&mut self, from: &str, to: Vec<String>, path: Path) {
        let edge = Edge {
            from: from.to_owned(),
            route: Route::To(to),
        };
        self.ways.push(Way { edge, path });
    }
}

impl Reader<'_> {
    /// All edges.
    pub(super) fn ways(
        &mut self,
        files: Option<Vec<Value>>,
        ids: &[String],
        own: Vec<OwnWay>,
    ) -> Vec<Way> {
        let path = Path::root().key("edges");
        let given = files.is_some();
        let files = files.unwrap_or_default();
        if files.len() > EDGES_MAX {
            self.error(
                "value.too_many",
                format!("a workflow has at most {EDGES_MAX} edges"),
                &path,
            );
        }
        let mut gathered = Gathered::default();
        for (index, value) in files.into_iter().take(EDGES_MAX).enumerate() {
            let path = path.index(index);
            match self.parse::<EdgeFile>(value, &path) {
                Some(file) => self.edge(file, ids, &path, &mut gathered),
                None => self.whole = false,
            }
        }
        self.whole &= given || self.tree.entry("edges").is_none();
        let mut ordered = given;
        let mut loops = Vec::new();
        for way in own {
            match way {
                OwnWay::Needs { node, names, path } => {
                    ordered = true;
                    for name in names {
                        if name == START || self.known(&name, ids, &path) {
                            gathered.to(&name, vec![node.clone()], path.clone());
                        }
                    }
                }
                OwnWay::Loop {
                    node,
                    until,
                    max_iterations,
                    path,
                } => {
                    loops.push((node, until, max_iterations, path));
                }
            }
        }
        self.merge_conditional(&mut gathered);
        let mut ways = gathered.ways;
        if self.loose {
            complete(&mut ways, ids, ordered);
        } else if !given && self.tree.get("edges").is_none() && !ids.is_empty() {
            self.whole = false;
            self.error("key.missing", "the workflow has no `edges`", &Path::root())
                .help = Some(
                "write such as `edges: [{from: START, to: first}, {from: first, to: END}]`"
                    .to_owned(),
            );
        }
        for (node, until, max_iterations, path) in loops {
            self.own_loop(&mut ways, node, &until, max_iterations, &path);
        }
        self.check_loops(&ways);
        ways
    }

    fn edge(&mut self, file: EdgeFile, ids: &[String], path: &Path, into: &mut Gathered) {
        let from = file.from;
        if from == END {
            let message = "nothing follows `END`";
            self.error("edge.from_end", message, &path.key("from"));
            return;
        }
        if from != START && !self.known(&from, ids, &path.key("from")) {
            return;
        }
        let given = [
            file.to.is_some(),
            file.routes.is_some(),
            file.r#loop.is_some(),
            file.parallel.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            let refused_before = ["to", "routes", "loop", "parallel"]
                .iter()
                .any(|key| self.part(&path.key(key)).is_some());
            if !given.contains(&true) && refused_before {
                self.whole = false;
                return;
            }
            self.whole = false;
            let message = "an edge has exactly one of `to`, `routes`, `loop`, `parallel`";
            self.error("edge.what", message, path);
            return;
        }
        if file.default.is_some() && file.routes.is_none() {
            let message = "`default` belongs to `routes`";
            self.error("key.misplaced", message, &path.key("default"));
        }
        if file.join.is_some() && !matches!(file.parallel, Some(ParallelFile::Nodes(_))) {
            let message = "`join` belongs to a `parallel` list of nodes";
            self.error("key.misplaced", message, &path.key("join"));
        }
        if file.condition.is_some() && file.to.is_none() {
            let message = "`condition` belongs to an edge with `to`";
            self.error("key.misplaced", message, &path.key("condition"));
        }
        if let Some(to) = file.to {
            self.to(&from, to, file.condition, ids, path, into);
        } else if let Some(routes) = file.routes {
            let route = self.routes(routes, file.default, ids, path);
            into.ways.extend(route.map(|route| Way {
                edge: Edge { from, route },
                path: path.clone(),
            }));
        } else if let Some(own) = file.r#loop {
            let route = self.loop_route(&from, own, ids, path);
            into.ways.extend(route.map(|route| Way {
                edge: Edge { from, route },
                path: path.clone(),
            }));
        } else {
            match file.parallel {
                Some(ParallelFile::Map(map)) => {
                    let route = self.map_route(map, ids, &path.key("parallel"));
                    into.ways.extend(route.map(|route| Way {
                        edge: Edge { from, route },
                        path: path.clone(),
                    }));
                }
                Some(ParallelFile::Nodes(nodes)) => {
                    self.side_by_side(&from, nodes, file.join, ids, path, into);
                }
                None => {}
            }
        }
    }

    /// Whether there is such a node.
    fn known(&mut self, name: &str, ids: &[String], path: &Path) -> bool {
        if ids.iter().any(|id| id == name) {
            return true;
        }
        self.whole = false;
        let known = ids.iter().map(String::as_str).chain([START, END]);
        self.unknown("node.unknown", "node", name, known, path);
        false
    }

    /// Whether an edge may lead there.
    fn target(&mut self, name: &str, ids: &[String], path: &Path) -> bool {
        if name == START {
            self.whole = false;
            self.error("edge.to_start", "nothing leads to `START`", path);
            return false;
        }
        name == END || self.known(name, ids, path)
    }

    fn to(
        &mut self,
        from: &str,
        to: OneOrMore,
        condition: Option<ConditionFile>,
        ids: &[String],
        path: &Path,
        into: &mut Gathered,
    ) {
        let to_path = path.key("to");
        let names = match to {
            OneOrMore::One(name) => {
                if !self.target(&name, ids, &to_path) {
                    return;
                }
                vec![name]
            }
            OneOrMore::More(names) => {
                if !self.fork(&names, ids, &to_path) {
                    return;
                }
                names
            }
        };
        let Some(condition) = condition else {
            into.to(from, names, path.clone());
            return;
        };
        let (condition, condition_path) = logic(condition, &path.key("condition"));
        if condition.trim() == "default" {
            into.to(from, names, path.clone());
            return;
        }
        self.condition(&condition, &condition_path);
        if let [to] = names.as_slice() {
            into.conditional.push(Conditional {
                from: from.to_owned(),
                condition,
                to: to.clone(),
                path: path.clone(),
            });
        } else {
            let message = "an edge with a `condition` leads to one node";
            self.error("edge.condition", message, &to_path);
        }
    }

    fn fork(&mut self, names: &[String], ids: &[String], path: &Path) -> bool {
        if names.len() < 2 {
            self.whole = false;
            let message = "a list of targets has at least two";
            let help = names.first().map(|name| format!("write `to: {name}`"));
            self.error("edge.fork", message, path).help = help;
            return false;
        }
        let mut all = true;
        for (index, name) in names.iter().enumerate() {
            let path = path.index(index);
            if name == END {
                all = false;
                self.error("edge.fork", "a fork leads to nodes, not to `END`", &path);
            } else if names[..index].contains(name) {
                all = false;
                let message = format!("`{name}` is here twice");
                self.error("name.duplicate", message, &path);
            } else {
                all &= self.target(name, ids, &path);
            }
        }
        self.whole &= all;
        all
    }

    fn routes(
        &mut self,
        files: Vec<RouteFile>,
        default: Option<String>,
        ids: &[String],
        path: &Path,
    ) -> Option<Route> {
        let mut default = default.map(|name| (name, path.key("default")));
        let mut cases = Vec::new();
        for (index, route) in files.into_iter().enumerate() {
            let path = path.key("routes").index(index);
            let known = self.target(&route.to, ids, &path.key("to"));
            let (condition, condition_path) = logic(route.condition, &path.key("condition"));
            if condition.trim() == "default" {
                if default.is_some() {
                    let message = "there are two defaults";
                    self.error("edge.default", message, &condition_path);
                }
                default = Some((route.to, path.key("to")));
                continue;
            }
            self.condition(&condition, &condition_path);
            if known {
                cases.push((condition, route.to));
            }
        }
        let Some((default, default_path)) = default else {
            self.whole = false;
            let message =
                "`routes` have no default: nothing says what follows if no condition holds";
            self.error("edge.default", message, &path.key("routes"))
                .help = Some("add `default: END`, or a node, beside `routes`".to_owned());
            return None;
        };
        self.target(&default, ids, &default_path)
            .then_some(Route::Routes { cases, default })
    }

    fn loop_route(
        &mut self,
        from: &str,
        file: LoopFile,
        ids: &[String],
        path: &Path,
    ) -> Option<Route> {
        let path = path.key("loop");
        if from == START {
            let message = "a loop begins at a node, not at `START`";
            self.error("edge.loop_start", message, &path);
            return None;
        }
        self.loop_field(&file.condition_field, &path.key("condition_field"));
        let exit_to = file.exit_to.unwrap_or_else(|| END.to_owned());
        self.target(&exit_to, ids, &path.key("exit_to"))
            .then(|| Route::Loop {
                until: file.condition_field,
                max_iterations: file.max_iterations.unwrap_or(ITERATIONS),
                exit_to,
            })
    }

    fn loop_field(&mut self, name: &str, path: &Path) {
        let kind = self.state_field(name, path);
        if !matches!(kind, None | Some(FieldType::Bool)) {
            let message = format!("`{name}` ends a loop once it is true: it is a `bool`");
            self.error("edge.loop_field", message, path);
        }
    }

    /// What the state holds under a name that has to be there.
    fn state_field(&mut self, name: &str, path: &Path) -> Option<FieldType> {
        let kind = self.state.iter().find(|field| field.name == name);
        let kind = kind.map(|field| field.kind.clone());
        if kind.is_none() && self.state_known {
            let fields: Vec<String> = self.state.iter().map(|field| field.name.clone()).collect();
            let known = fields.iter().map(String::as_str);
            self.unknown(
                "state.unknown",
                "field of the state called",
                name,
                known,
                path,
            );
        }
        kind.filter(|_| !self.untyped.contains(name))
    }

    fn map_route(&mut self, file: MapFile, ids: &[String], path: &Path) -> Option<Route> {
        for (name, key) in [
            (&file.items_field, "items_field"),
            (&file.collect_field, "collect_field"),
        ] {
            let path = path.key(key);
            let kind = self.state_field(name, &path);
            if !matches!(kind, None | Some(FieldType::List | FieldType::ListOf(_))) {
                let message = format!("`{name}` is no list in the state");
                self.error("edge.map_field", message, &path);
            }
        }
        self.known(&file.target_node, ids, &path.key("target_node"))
            .then_some(Route::Map {
                items: file.items_field,
                node: file.target_node,
                collect: file.collect_field,
            })
    }

    fn side_by_side(
        &mut self,
        from: &str,
        nodes: Vec<String>,
        join: Option<String>,
        ids: &[String],
        path: &Path,
        into: &mut Gathered,
    ) {
        if !self.fork(&nodes, ids, &path.key("parallel")) {
            return;
        }
        if let Some(join) = join
            && self.target(&join, ids, &path.key("join"))
        {
            for node in &nodes {
                into.to(node, vec![join.clone()], path.clone());
            }
        }
        into.to(from, nodes, path.clone());
    }

    /// Edges with conditions become the cases of one way; the edge without one is their default.
    fn merge_conditional(&mut self, gathered: &mut Gathered) {
        let mut open = std::mem::take(&mut gathered.conditional);
        while let Some(first) = open.first() {
            let from = first.from.clone();
            let path = first.path.clone();
            let (own, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|one| one.from == from);
            open = rest;
            let plain = gathered.ways.iter().position(|way| {
                way.edge.from == from
                    && matches!(&way.edge.route, Route::To(names) if names.len() == 1)
            });
            let default = if let Some(Route::To(mut names)) =
                plain.map(|at| gathered.ways.remove(at).edge.route)
            {
                names.remove(0)
            } else {
                let message = format!("if no condition holds, the workflow ends after `{from}`");
                self.warning("edge.default", message, &path).help = Some(format!(
                    "add `- {{from: {from}, to: END}}`, or where it shall lead"
                ));
                END.to_owned()
            };
            let cases = own.into_iter().map(|one| (one.condition, one.to)).collect();
            let edge = Edge {
                from,
                route: Route::Routes { cases, default },
            };
            gathered.ways.push(Way { edge, path });
        }
    }

    /// A node's own loop takes the place of the one edge that follows it.
    fn own_loop(
        &mut self,
        ways: &mut Vec<Way>,
        node: String,
        until: &str,
        max_iterations: u32,
        path: &Path,
    ) {
        let until = until.trim();
        let field = until.strip_prefix("state.").unwrap_or(until);
        let field = ["== true", "== True", "is true", "is True"]
            .iter()
            .find_map(|suffix| field.strip_suffix(suffix))
            .unwrap_or(field)
            .trim()
            .to_owned();
        self.loop_field(&field, &path.key("until"));
        let following: Vec<usize> = (0..ways.len())
            .filter(|at| ways[*at].edge.from == node)
            .collect();
        let exit_to = match following.as_slice() {
            [] => END.to_owned(),
            [only] => match &ways[*only].edge.route {
                Route::To(names) if names.len() == 1 => names[0].clone(),
                _ => return self.two_ways(&node, path),
            },
            _ => return self.two_ways(&node, path),
        };
        if let [only] = following.as_slice() {
            ways.remove(*only);
        }
        let route = Route::Loop {
            until: field,
            max_iterations,
            exit_to,
        };
        ways.push(Way {
            edge: Edge { from: node, route },
            path: path.clone(),
        });
    }

    fn two_ways(&mut self, node: &str, path: &Path) {
        let message = format!(
            "after `{node}` there is a loop and more: only one of them can say what follows"
        );
        self.error("edge.loop_and_more", message, path).help =
            Some("put what follows the loop into `exit_to`".to_owned());
    }

    fn check_loops(&mut self, ways: &[Way]) {
        let mut told = HashSet::new();
        for way in ways {
            let from = &way.edge.from;
            let others = ways.iter().filter(|other| other.edge.from == *from).count();
            let is_loop = matches!(way.edge.route, Route::Loop { .. });
            if is_loop && others > 1 && told.insert(from.clone()) {
                self.two_ways(from, &way.path);
            }
        }
    }
}

fn logic(condition: ConditionFile, path: &Path) -> (String, Path) {
    match condition {
        ConditionFile::Text(text) => (text, path.clone()),
        ConditionFile::Logic(logic) => (logic.logic, path.key("logic")),
    }
}

/// The loose dialect leaves out `START`, `END`, and, where nodes follow each other in the order of
/// the file, all edges.
fn complete(ways: &mut Vec<Way>, ids: &[String], ordered: bool) {
    let mut add = |from: &str, to: &str, path: Path| {
        let edge = Edge {
            from: from.to_owned(),
            route: Route::To(vec![to.to_owned()]),
        };
        ways.push(Way { edge, path });
    };
    let node = |index: usize| Path::root().key("nodes").index(index);
    if ids.is_empty() {
        add(START, END, Path::root());
        return;
    }
    if !ordered {
        let names: Vec<&str> = [START]
            .into_iter()
            .chain(ids.iter().map(String::as_str))
            .chain([END])
            .collect();
        for (index, pair) in names.windows(2).enumerate() {
            add(pair[0], pair[1], node(index.min(ids.len() - 1)));
        }
        return;
    }
    let mut entered: HashSet<String> = HashSet::new();
    let mut left: HashSet<String> = HashSet::new();
    for way in ways.iter() {
        left.insert(way.edge.from.clone());
        let from = way.edge.from.as_str();
        let targets = targets(&way.edge.route);
        entered.extend(
            targets
                .into_iter()
                .filter(|to| *to != from)
                .map(str::to_owned),
        );
    }
    let started = left.contains(START);
    let mut new = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        if !started && !entered.contains(id) {
            new.push((START, id.as_str(), index));
        }
        if !left.contains(id) {
            new.push((id.as_str(), END, index));
        }
    }
    for (from, to, index) in new {
        ways.push(Way {
            edge: Edge {
                from: from.to_owned(),
                route: Route::To(vec![to.to_owned()]),
            },
            path: node(index),
        });
    }
}

/// Where a way may lead, itself apart for a loop.
pub fn targets(route: &Route) -> Vec<&str> {
    match route {
        Route::To(names) => names.iter().map(String::as_str).collect(),
        Route::Routes { cases, default } => cases
            .iter()
            .map(|(_, to)| to.as_str())
            .chain([default.as_str()])
            .collect(),
        Route::Loop { exit_to, .. } => vec![exit_to],
        Route::Map { node, .. } => vec![node],
    }
}
