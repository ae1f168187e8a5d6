use std::sync::Mutex;

use domain::Timestamp;
use store::{Accepted, NewEvent, Page};
use testkit::{FakeClock, TestStore};

use super::*;
use crate::outbox::Planned;

/// Remembers what was planned, and how it ended; stores no events.
#[derive(Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

struct Note(Arc<Mutex<Vec<String>>>, String);

impl Outbox for Noted {
    fn wants(&self, _: WorkspaceId, _: &EventType) -> bool {
        true
    }

    fn plan(&self, _: WorkspaceId, occurrences: Vec<Occurrence>) -> Box<dyn Planned> {
        let one = &occurrences[0];
        let data = String::from_utf8(one.data.to_vec()).unwrap();
        Box::new(Note(
            Arc::clone(&self.0),
            format!("{} {data}", one.event_type.as_str()),
        ))
    }
}

impl Planned for Note {
    fn take_events(&mut self) -> Vec<NewEvent> {
        Vec::new()
    }

    fn stored(self: Box<Self>, _: Vec<Accepted>) {
        self.0.lock().unwrap().push(self.1.clone());
    }

    fn left_out(self: Box<Self>) {
        self.0.lock().unwrap().push(format!("left out: {}", self.1));
    }
}

fn flow(name: &str, prompt: &str, more: &str) -> Source {
    Source::File(format!("name: {name}\nnodes: [{{name: a, prompt: '{prompt}'}}]\n{more}").into())
}

fn ten<Id>() -> Page<Id> {
    Page {
        after: None,
        limit: 10,
    }
}

struct Scene {
    _place: TestStore,
    store: SharedStore,
    clock: Arc<FakeClock>,
    edge: Edge,
    outbox: Noted,
}

const HOME: WorkspaceId = WorkspaceId::DEFAULT;

impl Scene {
    async fn new() -> Self {
        let place = TestStore::chosen();
        let now = Timestamp::from_ms(1_900_000_000_000);
        let clock = FakeClock::at(now);
        Self {
            store: place.open(now).await,
            edge: testkit::edge(&clock, 7),
            clock,
            _place: place,
            outbox: Noted::default(),
        }
    }

    fn registry(&self) -> Registry<'_> {
        Registry::new(&self.store, &self.edge, &self.outbox)
    }

    async fn register(&self, target: Target, source: Source) -> Result<Registered, RegisterError> {
        self.registry().register(HOME, target, source).await
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.outbox.0.lock().unwrap())
    }
}

#[tokio::test]
async fn a_workflow_is_made_gets_versions_and_is_removed_and_each_is_told() {
    let scene = Scene::new().await;
    let made = scene
        .register(Target::ByName, flow("w", "x", ""))
        .await
        .unwrap();
    assert_eq!((made.outcome, made.workflow.version), (Outcome::Created, 1));
    let id = made.workflow.id;
    assert_eq!(
        scene.told(),
        [format!(
            r#"workflow.definition.created {{"id":"{id}","name":"w","version":"1.0.0"}}"#
        )]
    );

    let same = scene
        .register(Target::ByName, flow("w", "x", ""))
        .await
        .unwrap();
    assert_eq!(
        (same.outcome, same.workflow.version),
        (Outcome::Unchanged, 1)
    );
    assert_eq!(scene.told(), [""; 0]);

    let next = scene
        .register(Target::Existing(id), flow("w", "y", ""))
        .await
        .unwrap();
    assert_eq!((next.outcome, next.workflow.version), (Outcome::Updated, 2));
    assert_eq!(next.workflow.label, "1.0.1");
    let named = flow("w", "z", "version: spring\n");
    let next = scene.register(Target::ByName, named).await.unwrap();
    assert_eq!(next.workflow.label, "spring");
    scene.told();

    let versions = scene
        .store
        .workflow_versions(HOME, id, ten())
        .await
        .unwrap();
    let numbers: Vec<u32> = versions.iter().map(|version| version.number).collect();
    assert_eq!(numbers, [3, 2, 1]);
    let stored: Definition = serde_json::from_slice(&versions[0].definition).unwrap();
    assert_eq!(stored, *next.definition);

    scene.registry().remove(HOME, id).await.unwrap();
    assert_eq!(
        scene.told(),
        [format!(
            r#"workflow.definition.deleted {{"id":"{id}","name":"w","version":"spring"}}"#
        )]
    );
    assert!(matches!(
        scene.registry().remove(HOME, id).await,
        Err(RegisterError::Unknown)
    ));
}

#[tokio::test]
async fn names_are_unique_and_a_workflow_can_take_another() {
    let scene = Scene::new().await;
    let one = scene
        .register(Target::New, flow("one", "x", ""))
        .await
        .unwrap();
    scene
        .register(Target::New, flow("two", "x", ""))
        .await
        .unwrap();
    let again = scene.register(Target::New, flow("one", "y", "")).await;
    assert!(matches!(again, Err(RegisterError::NameTaken(name)) if name == "one"));
    let taken = scene
        .register(Target::Existing(one.workflow.id), flow("two", "x", ""))
        .await;
    assert!(matches!(taken, Err(RegisterError::NameTaken(name)) if name == "two"));
    let renamed = scene
        .register(Target::Existing(one.workflow.id), flow("three", "x", ""))
        .await;
    assert_eq!(renamed.unwrap().workflow.name, "three");
}

#[tokio::test]
async fn triggers_come_with_the_file_and_schedules_know_when() {
    let scene = Scene::new().await;
    let with = "triggers:\n  - schedule: '0 9 * * *'\n  - webhook: github\n";
    let made = scene
        .register(Target::New, flow("w", "x", with))
        .await
        .unwrap();
    let triggers = scene
        .store
        .triggers(HOME, Some(made.workflow.id), ten())
        .await
        .unwrap();
    assert_eq!(triggers.len(), 2);
    let at = triggers.iter().find_map(|trigger| trigger.next_at).unwrap();
    assert!(at > scene.edge.clock.now());
    assert!(triggers.iter().all(|trigger| trigger.of_definition));

    scene.clock.advance(std::time::Duration::from_mins(1));
    let without = flow("w", "x", "");
    scene.register(Target::ByName, without).await.unwrap();
    let triggers = scene
        .store
        .triggers(HOME, Some(made.workflow.id), ten())
        .await
        .unwrap();
    assert_eq!(triggers.len(), 0);
}

#[tokio::test]
async fn what_cannot_be_run_is_not_stored() {
    let scene = Scene::new().await;
    for more in [
        "noodes: 1\n",
        "triggers: [{schedule: {cron: '0 9 * * *', timezone: Nowhere/Atall}}]\n",
        "triggers: [{schedule: '0 0 30 2 *'}]\n",
    ] {
        let refused = scene.register(Target::New, flow("w", "x", more)).await;
        let Err(RegisterError::Invalid(found)) = refused else {
            panic!("{more}: {refused:?}")
        };
        assert!(found.iter().any(Diagnostic::is_error));
    }
    assert!(
        scene
            .store
            .workflow_by_name(HOME, "w")
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(scene.told(), [""; 0]);
    let json = Source::Json {
        name: "Of the API".into(),
        config: json!({"nodes": [{"name": "a", "prompt": "x"}]}),
    };
    let made = scene.register(Target::New, json).await.unwrap();
    assert_eq!(made.workflow.name, "Of the API");
}
