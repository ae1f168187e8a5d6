//! A turn with a real model: ask, call tools, ask again; check the answer, and have it repaired
//! once.

use domain::{
    execution::Usage,
    workflow::definition::{Llm, Output},
};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    Progress, Shared, Turn, TurnEnd, TurnError, TurnProgress, answer,
    error::{cut, trimmed},
    provider::{Ask, Call, CallResult, Message, Reply, Tokens, call::Line},
    provider_name, schema,
    tool::{Toolbox, Trouble},
};

/// The most rounds of calls in a turn.
const ROUNDS_MAX: u32 = 10;
/// The most calls in a round.
const CALLS_MAX: usize = 32;
/// What a model gets of a tool's result.
const RESULT_CHARS_MAX: usize = 8_000;
/// What the detail keeps of a tool's error.
const ERROR_CHARS_MAX: usize = 200;

/// Takes a turn.
///
/// # Errors
/// See [`crate::Models::turn`].
pub(crate) async fn turn(
    shared: &Shared,
    turn: &Turn<'_>,
    progress: &TurnProgress<'_>,
) -> Result<TurnEnd, TurnError> {
    let line = Line::open(turn.llm, &shared.settings)?;
    let tools = Toolbox::open(turn.tools, shared).await?;
    let mut rounds = Rounds {
        shared,
        llm: turn.llm,
        output: turn.output,
        line,
        tools,
        progress,
        messages: vec![Message::User(turn.prompt.clone())],
        usage: Usage::default(),
        priced: true,
        asked: 0,
        repaired: false,
        calls: Vec::new(),
    };
    let answered = rounds.run().await;
    let usage = rounds.usage;
    let (output, cut) = answered.map_err(|error| error.with_usage(usage))?;
    Ok(TurnEnd {
        output,
        usage,
        detail: rounds.detail(cut),
    })
}

struct Rounds<'a> {
    shared: &'a Shared,
    llm: &'a Llm,
    output: Option<&'a Output>,
    line: Line<'a>,
    tools: Toolbox<'a>,
    progress: &'a TurnProgress<'a>,
    messages: Vec<Message>,
    usage: Usage,
    /// Whether the model has a price.
    priced: bool,
    /// How often the model was asked.
    asked: u32,
    /// Whether the answer had to be repaired.
    repaired: bool,
    /// What the detail says of calls.
    calls: Vec<Value>,
}

impl Rounds<'_> {
    /// The output, and whether it was cut off.
    async fn run(&mut self) -> Result<(Value, bool), TurnError> {
        let schema = schema::of_output(self.output);
        let mut called = 0;
        loop {
            let may_call = called < ROUNDS_MAX && !self.repaired;
            let reply = self.ask(schema.as_ref(), may_call).await?;
            if !reply.calls.is_empty() && may_call {
                called += 1;
                self.messages.push(Message::Assistant(reply.message));
                let results = self.call(reply.calls).await?;
                self.messages.push(Message::Results(results));
                continue;
            }
            if !reply.calls.is_empty() {
                return Err(TurnError::output_invalid(format!(
                    "{} goes on calling tools where it was to answer ({ROUNDS_MAX} rounds of calls are the most)",
                    self.llm.model
                )));
            }
            match answer::read(&reply.text, self.output) {
                Ok(output) => return Ok((output, reply.cut)),
                Err(problem) if reply.cut => return Err(self.cut_off(&problem)),
                Err(problem) if self.repaired => return Err(self.misfit(&problem)),
                Err(problem) => self.have_repaired(reply, &problem),
            }
        }
    }

    async fn ask(&mut self, schema: Option<&Value>, may_call: bool) -> Result<Reply, TurnError> {
        let ask = Ask {
            llm: self.llm,
            messages: &self.messages,
            tools: self.tools.offers(),
            may_call,
            schema,
            strict: self.output.is_some_and(schema::is_closed),
            // Nobody wants to read JSON while it is being written.
            stream: schema.is_none(),
        };
        self.asked += 1;
        let reply = self.line.ask(self.shared, &ask, self.progress).await?;
        self.account(reply.tokens);
        Ok(reply)
    }

    fn account(&mut self, tokens: Tokens) {
        let price = self
            .shared
            .settings
            .prices
            .of(self.llm.provider, &self.llm.model);
        self.priced = price.is_some();
        self.usage += Usage {
            tokens_in: tokens.sent,
            tokens_out: tokens.received,
            cost_nanos: price.map_or(0, |price| {
                price.cost_nanos(tokens.sent, tokens.cached, tokens.received)
            }),
        };
    }

    /// Calls the tools of one round, one after the other.
    async fn call(&mut self, calls: Vec<Call>) -> Result<Vec<CallResult>, TurnError> {
        if calls.len() > CALLS_MAX {
            return Err(TurnError::output_invalid(format!(
                "{} asks for {} calls at once; {CALLS_MAX} are the most",
                self.llm.model,
                calls.len()
            )));
        }
        let mut results = Vec::with_capacity(calls.len());
        for call in calls {
            (self.progress)(Progress::Tool(call.name.clone()));
            let began = Instant::now();
            let came = self.tools.call(&call.name, &call.arguments).await;
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let mut detail = Map::new();
            detail.insert("name".to_owned(), json!(cut(&call.name, ERROR_CHARS_MAX)));
            detail.insert("ms".to_owned(), json!(ms));
            let (content, failed) = match came {
                Ok(content) => (content, false),
                Err(Trouble::Ends(error)) => return Err(error),
                Err(Trouble::Told(message)) => {
                    let shown = trimmed(&message, ERROR_CHARS_MAX);
                    detail.insert("error".to_owned(), Value::from(shown));
                    (message, true)
                }
            };
            self.calls.push(Value::Object(detail));
            results.push(CallResult {
                id: call.id,
                name: call.name,
                content: cut(&content, RESULT_CHARS_MAX),
                failed,
            });
        }
        Ok(results)
    }

    fn have_repaired(&mut self, reply: Reply, problem: &str) {
        self.repaired = true;
        self.messages.push(Message::Assistant(reply.message));
        self.messages.push(Message::User(format!(
            "Your answer cannot be used: {problem}. Answer again, whole and in the form that was asked for."
        )));
    }

    fn cut_off(&self, problem: &str) -> TurnError {
        TurnError::output_invalid(format!(
            "the answer of {} was cut off at its most tokens: {problem}; raise max_tokens",
            self.llm.model
        ))
    }

    fn misfit(&self, problem: &str) -> TurnError {
        TurnError::output_invalid(format!(
            "the answer of {} does not fit the output, and its repair neither: {problem}",
            self.llm.model
        ))
    }

    fn detail(&self, cut: bool) -> Value {
        let mut detail = json!({
            "provider": provider_name(self.llm.provider),
            "model": self.llm.model,
            "offline": false,
            "rounds": self.asked,
            "repaired": self.repaired,
            "toolCalls": self.calls,
        });
        if cut {
            detail["cut"] = json!(true);
        }
        if !self.priced {
            detail["priced"] = json!(false);
        }
        detail
    }
}
