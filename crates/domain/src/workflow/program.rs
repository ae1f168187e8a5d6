//! A definition prepared for running: names as numbers, conditions read, and which node can still
//! be reached from which.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::{
    condition::{Condition, ConditionError},
    definition::{Definition, END, Field, FieldType, Node, NodeKind, Output, Route, START},
    run::is_approval,
};
use crate::{execution::ExecutionError, nearest::nearest};

/// A node's number: its place in the definition.
pub type NodeIndex = usize;

/// A definition prepared for running.
#[derive(Debug)]
pub struct Program {
    definition: Definition,
    numbers: HashMap<String, NodeIndex>,
    /// What follows START.
    first: Vec<Exit>,
    /// What follows each node.
    exits: Vec<Vec<Exit>>,
    /// Which nodes can be reached from each, itself only by way of others.
    reach: Vec<BTreeSet<NodeIndex>>,
    /// How many edges lead to each.
    edges_in: Vec<usize>,
    conditions: Vec<Option<Condition>>,
}

/// Where a way leads: to a node, or to the end.
pub(super) type Target = Option<NodeIndex>;

/// What follows.
#[derive(Debug)]
pub(super) enum Exit {
    /// All of these.
    To(Vec<Target>),
    /// The first whose condition holds.
    Routes {
        cases: Vec<(Condition, Target)>,
        default: Target,
    },
    /// The same node again, until a field is true.
    Loop {
        until: String,
        max_iterations: u32,
        exit_to: Target,
    },
    /// A node for each item of a list.
    Map {
        items: String,
        node: NodeIndex,
        collect: String,
    },
}

impl Exit {
    fn targets(&self, from: Option<NodeIndex>) -> Vec<NodeIndex> {
        match self {
            Self::To(targets) => targets.iter().copied().flatten().collect(),
            Self::Routes { cases, default } => cases
                .iter()
                .map(|(_, target)| *target)
                .chain([*default])
                .flatten()
                .collect(),
            Self::Loop { exit_to, .. } => from.into_iter().chain(*exit_to).collect(),
            Self::Map { node, .. } => vec![*node],
        }
    }
}

/// Why a definition cannot be run. The reader finds all of this with its place in the file; this
/// is what is left to say of one that did not come from the reader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// An edge names a node that there is none of.
    #[error("an edge names the node `{0}`, which does not exist")]
    UnknownNode(String),
    /// A condition cannot be read.
    #[error("a condition cannot be read: {0}")]
    Condition(#[from] ConditionError),
}

impl Program {
    /// Prepares a definition.
    ///
    /// # Errors
    /// If an edge or a condition is none.
    pub fn new(definition: Definition) -> Result<Self, ProgramError> {
        let numbers: HashMap<String, NodeIndex> = definition
            .nodes
            .iter()
            .enumerate()
            .map(|(number, node)| (node.id.clone(), number))
            .collect();
        let count = definition.nodes.len();
        let mut first = Vec::new();
        let mut exits: Vec<Vec<Exit>> = (0..count).map(|_| Vec::new()).collect();
        for edge in &definition.edges {
            let exit = exit(&numbers, &edge.route)?;
            if edge.from == START {
                first.push(exit);
            } else {
                exits[number(&numbers, &edge.from)?].push(exit);
            }
        }
        let mut edges_in = vec![0; count];
        let direct: Vec<BTreeSet<NodeIndex>> = exits
            .iter()
            .enumerate()
            .map(|(from, exits)| {
                exits
                    .iter()
                    .flat_map(|exit| exit.targets(Some(from)))
                    .collect()
            })
            .collect();
        let from_start = first.iter().flat_map(|exit| exit.targets(None));
        for target in direct.iter().flatten().copied().chain(from_start) {
            edges_in[target] += 1;
        }
        let conditions = definition
            .nodes
            .iter()
            .map(|node| node.when.as_deref().map(Condition::parse).transpose())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            numbers,
            first,
            exits,
            reach: (0..count).map(|from| reachable(&direct, from)).collect(),
            edges_in,
            conditions,
            definition,
        })
    }

    /// What it was made of.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The node of this number.
    pub fn node(&self, number: NodeIndex) -> &Node {
        &self.definition.nodes[number]
    }

    /// The number of the node of this name.
    pub fn number(&self, id: &str) -> Option<NodeIndex> {
        self.numbers.get(id).copied()
    }

    pub(super) fn first(&self) -> &[Exit] {
        &self.first
    }

    pub(super) fn exits(&self, node: NodeIndex) -> &[Exit] {
        &self.exits[node]
    }

    pub(super) fn reaches(&self, from: NodeIndex, to: NodeIndex) -> bool {
        self.reach[from].contains(&to)
    }

    pub(super) fn edges_in(&self, node: NodeIndex) -> usize {
        self.edges_in[node]
    }

    pub(super) fn when(&self, node: NodeIndex) -> Option<&Condition> {
        self.conditions[node].as_ref()
    }

    /// The state that an execution begins with, made of its inputs and the fields' defaults.
    ///
    /// # Errors
    /// What is wrong with the inputs: where, and what is expected.
    pub fn initial_state(
        &self,
        input: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Vec<(String, String)>> {
        let fields = &self.definition.state;
        let open = self.definition.result_is_last_output;
        let mut wrong = Vec::new();
        let mut state = Map::new();
        for field in fields {
            match input.get(&field.name) {
                Some(value) if field.kind.accepts(value) => {
                    state.insert(field.name.clone(), value.clone());
                }
                // In the loose dialect types are hints.
                Some(value) if open => {
                    state.insert(field.name.clone(), value.clone());
                }
                Some(value) => wrong.push((
                    format!("inputs.{}", field.name),
                    format!("expected {}, found {}", field.kind, kind_of(value)),
                )),
                None if field.required => wrong.push((
                    format!("inputs.{}", field.name),
                    format!("is required: {}", field.kind),
                )),
                // As in S3: a field that nobody has set yet is null.
                None => {
                    let value = field.default.clone().unwrap_or(Value::Null);
                    state.insert(field.name.clone(), value);
                }
            }
        }
        for (name, value) in input {
            if fields.iter().any(|field| field.name == *name) {
                continue;
            }
            if open {
                state.insert(name.clone(), value.clone());
            } else {
                wrong.push((format!("inputs.{name}"), unknown_input(fields, name)));
            }
        }
        if wrong.is_empty() {
            Ok(state)
        } else {
            Err(wrong)
        }
    }

    /// Checks what a node came to against the fields that it goes to.
    ///
    /// # Errors
    /// With `output_invalid` if it does not fit.
    pub fn check_output(&self, node: &Node, output: &Value) -> Result<(), ExecutionError> {
        let fail = |message: String| {
            Err(ExecutionError {
                kind: "output_invalid".to_owned(),
                message,
                node: Some(node.id.clone()),
            })
        };
        for name in &node.outputs {
            let Some(value) = output_of(node, output, name) else {
                return fail(format!("its output has no field `{name}`"));
            };
            let field = self
                .definition
                .state
                .iter()
                .find(|field| field.name == *name);
            if let Some(field) = field
                && !field.kind.accepts(value)
            {
                return fail(format!(
                    "`{name}` must be {}, its output is {}",
                    field.kind,
                    kind_of(value)
                ));
            }
        }
        Ok(())
    }
}

/// What of a node's output goes to the field `name`.
pub(super) fn output_of<'v>(node: &Node, output: &'v Value, name: &str) -> Option<&'v Value> {
    let declared = match &node.kind {
        NodeKind::Llm(llm) => llm.output.as_ref(),
        NodeKind::Code(code) => code.output.as_ref(),
        _ => None,
    };
    match declared {
        Some(Output::Value(_)) => Some(output),
        // An approval's answer has fields of its own.
        None if node.outputs.len() == 1 && !is_approval(&node.kind) => Some(output),
        Some(Output::Fields(_)) | None => output.get(name),
    }
}

fn unknown_input(fields: &[Field], name: &str) -> String {
    let known = fields.iter().map(|field| field.name.as_str());
    match nearest(name, known) {
        Some(near) => format!("the workflow has no such field; did you mean `{near}`?"),
        None => "the workflow has no such field".to_owned(),
    }
}

fn number(numbers: &HashMap<String, NodeIndex>, name: &str) -> Result<NodeIndex, ProgramError> {
    numbers
        .get(name)
        .copied()
        .ok_or_else(|| ProgramError::UnknownNode(name.to_owned()))
}

fn target(numbers: &HashMap<String, NodeIndex>, name: &str) -> Result<Target, ProgramError> {
    if name == END {
        Ok(None)
    } else {
        number(numbers, name).map(Some)
    }
}

fn exit(numbers: &HashMap<String, NodeIndex>, route: &Route) -> Result<Exit, ProgramError> {
    Ok(match route {
        Route::To(names) => Exit::To(
            names
                .iter()
                .map(|name| target(numbers, name))
                .collect::<Result<_, _>>()?,
        ),
        Route::Routes { cases, default } => Exit::Routes {
            cases: cases
                .iter()
                .map(|(condition, name)| Ok((Condition::parse(condition)?, target(numbers, name)?)))
                .collect::<Result<_, ProgramError>>()?,
            default: target(numbers, default)?,
        },
        Route::Loop {
            until,
            max_iterations,
            exit_to,
        } => Exit::Loop {
            until: until.clone(),
            max_iterations: *max_iterations,
            exit_to: target(numbers, exit_to)?,
        },
        Route::Map {
            items,
            node,
            collect,
        } => Exit::Map {
            items: items.clone(),
            node: number(numbers, node)?,
            collect: collect.clone(),
        },
    })
}

fn reachable(direct: &[BTreeSet<NodeIndex>], from: NodeIndex) -> BTreeSet<NodeIndex> {
    let mut found = BTreeSet::new();
    let mut open: Vec<NodeIndex> = direct[from].iter().copied().collect();
    while let Some(node) = open.pop() {
        if found.insert(node) {
            open.extend(&direct[node]);
        }
    }
    found
}

impl FieldType {
    /// Whether the value is of this type; null is of every type, since a field may be unset.
    pub fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null)
            | (Self::Str, Value::String(_))
            | (Self::Float, Value::Number(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::List, Value::Array(_))
            | (Self::Dict, Value::Object(_)) => true,
            (Self::Int, Value::Number(number)) => {
                number.is_i64()
                    || number.is_u64()
                    || number.as_f64().is_some_and(|n| n.fract() == 0.0)
            }
            (Self::ListOf(kind), Value::Array(items)) => {
                items.iter().all(|item| kind.accepts(item))
            }
            (Self::DictOf(kind), Value::Object(fields)) => {
                fields.values().all(|value| kind.accepts(value))
            }
            (Self::Object(fields), Value::Object(values)) => fields
                .iter()
                .all(|(name, kind)| values.get(name).is_none_or(|value| kind.accepts(value))),
            _ => false,
        }
    }
}

impl std::fmt::Display for FieldType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Str => f.write_str("text (str)"),
            Self::Int => f.write_str("a whole number (int)"),
            Self::Float => f.write_str("a number (float)"),
            Self::Bool => f.write_str("true or false (bool)"),
            Self::List => f.write_str("a list"),
            Self::ListOf(kind) => write!(f, "a list, each item {kind}"),
            Self::Dict => f.write_str("an object (dict)"),
            Self::DictOf(kind) => write!(f, "an object, each value {kind}"),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

/// What a value is, for people.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
