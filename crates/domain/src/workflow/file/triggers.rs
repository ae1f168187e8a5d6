//! What starts a workflow, and the webhooks that it brings along.

use croner::parser::{CronParser, Seconds, Year};

use super::{
    kinds::is_http,
    model::{EventTrigger, ScheduleTrigger, TriggerFile, WebhookFile, WebhookTrigger},
    reader::{Path, Reader},
};
use crate::{
    pattern::EventPattern,
    workflow::definition::{TriggerSpec, WebhookSpec},
};

/// The most triggers of a workflow, and the most webhooks.
const MAX: usize = 50;
/// The longest cron expression, in bytes.
const CRON_LEN_MAX: usize = 200;

impl Reader<'_> {
    pub(super) fn triggers(&mut self, files: Option<Vec<TriggerFile>>) -> Vec<TriggerSpec> {
        let path = Path::root().key("triggers");
        let files = files.unwrap_or_default();
        self.not_many(files.len(), &path);
        let mut read = Vec::new();
        for (index, file) in files.into_iter().enumerate() {
            read.extend(self.trigger(file, &path.index(index)));
        }
        read
    }

    fn trigger(&mut self, file: TriggerFile, path: &Path) -> Option<TriggerSpec> {
        match (file.webhook, file.schedule, file.event) {
            (Some(webhook), None, None) => self.webhook_trigger(webhook, &path.key("webhook")),
            (None, Some(schedule), None) => self.schedule(schedule, &path.key("schedule")),
            (None, None, Some(event)) => Some(self.event_trigger(event, &path.key("event"))),
            (None, None, None) if self.refused() => None,
            _ => {
                let message = "a trigger has exactly one of `webhook`, `schedule`, `event`";
                self.error("trigger.what", message, path);
                None
            }
        }
    }

    fn webhook_trigger(&mut self, file: WebhookTrigger, path: &Path) -> Option<TriggerSpec> {
        let (source, filter, map, at) = match file {
            WebhookTrigger::Source(source) => (source, None, None, path.clone()),
            WebhookTrigger::Settings(file) => {
                (file.source, file.filter, file.map, path.key("source"))
            }
        };
        self.expressions(filter.as_deref(), map.as_deref(), path);
        Some(TriggerSpec::Webhook {
            source: self.short(&source, &at)?,
            filter,
            map,
        })
    }

    fn event_trigger(&mut self, file: EventTrigger, path: &Path) -> TriggerSpec {
        let (pattern, filter, map, at) = match file {
            EventTrigger::Pattern(pattern) => (pattern, None, None, path.clone()),
            EventTrigger::Settings(file) => {
                (file.pattern, file.filter, file.map, path.key("pattern"))
            }
        };
        self.expressions(filter.as_deref(), map.as_deref(), path);
        self.pattern(&pattern, &at);
        let message = "events start no workflows yet: until they do, deliver them to a source";
        self.warning("key.ignored", message, path);
        TriggerSpec::Event {
            pattern,
            filter,
            map,
        }
    }

    fn expressions(&mut self, filter: Option<&str>, map: Option<&str>, path: &Path) {
        for (key, text) in [("filter", filter), ("map", map)] {
            if let Some(text) = text {
                self.jq(text, &path.key(key));
            }
        }
    }

    fn schedule(&mut self, file: ScheduleTrigger, path: &Path) -> Option<TriggerSpec> {
        let (cron, timezone, at) = match file {
            ScheduleTrigger::Cron(cron) => (cron, None, path.clone()),
            ScheduleTrigger::Settings(file) => (file.cron, file.timezone, path.key("cron")),
        };
        if let Err(message) = check_cron(&cron) {
            self.error("value.cron", message, &at).help =
                Some("write such as `\"*/15 * * * *\"` or `\"0 9 * * MON-FRI\"`".to_owned());
            return None;
        }
        let timezone = timezone.unwrap_or_else(|| "UTC".to_owned());
        if !is_timezone(&timezone) {
            let message = format!("`{}` is no time zone", super::tree::cut(&timezone));
            self.error("value.timezone", message, &path.key("timezone"))
                .help = Some("write such as `Europe/Berlin`".to_owned());
            return None;
        }
        Some(TriggerSpec::Schedule { cron, timezone })
    }

    fn pattern(&mut self, pattern: &str, path: &Path) {
        if let Err(error) = EventPattern::parse(pattern) {
            self.error("value.pattern", error.to_string(), path);
        }
    }

    pub(super) fn webhooks(&mut self, files: Option<Vec<WebhookFile>>) -> Vec<WebhookSpec> {
        let path = Path::root().key("webhooks");
        let files = files.unwrap_or_default();
        self.not_many(files.len(), &path);
        let mut read = Vec::new();
        for (index, file) in files.into_iter().enumerate() {
            let path = path.index(index);
            if !is_http(&file.url) {
                let message = "`url` is an address that begins with http:// or https://";
                self.error("value.url", message, &path.key("url"));
            }
            let events = file.events.unwrap_or_else(|| vec!["workflow.*".to_owned()]);
            for (index, pattern) in events.iter().enumerate() {
                self.pattern(pattern, &path.key("events").index(index));
            }
            read.push(WebhookSpec {
                url: file.url,
                events,
            });
        }
        read
    }

    fn not_many(&mut self, count: usize, path: &Path) {
        if count > MAX {
            self.error(
                "value.too_many",
                format!("at most {MAX} are taken here"),
                path,
            );
        }
    }
}

/// Checks a cron expression of five or six parts (seconds first).
fn check_cron(text: &str) -> Result<(), String> {
    if text.len() > CRON_LEN_MAX {
        return Err(format!(
            "a cron expression has at most {CRON_LEN_MAX} bytes"
        ));
    }
    CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build()
        .parse(text)
        .map(|_| ())
        .map_err(|error| format!("this is no cron expression: {error}"))
}

/// Whether a text looks like the name of an IANA time zone. Whether there is one is known where
/// the zones are: this crate has no data of them.
fn is_timezone(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.split('/').all(|part| {
            part.starts_with(|first: char| first.is_ascii_alphabetic())
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
        })
}
