//! An operator: each Report gets a ConfigMap, a status and an event, and leaves a farewell.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event as Told;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event as Telling, EventType, Recorder};
use kube::runtime::finalizer::{Error as Failed, Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Done, config_map, refused};

const GROUP: &str = "rust.example.com";

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "rust.example.com", version = "v1", kind = "Report", namespaced)]
#[kube(status = "ReportStatus", shortname = "rep")]
pub struct ReportSpec {
    text: String,
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 9))]
    copies: i32,
}

fn three() -> i32 {
    3
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct ReportStatus {
    printed: String,
    generation: i64,
}

struct Context {
    client: Client,
    recorder: Recorder,
}

pub async fn run(client: Client, namespace: &str) -> Done {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = Report::crd_name();
    definitions.patch(name, &PatchParams::apply(GROUP), &Patch::Apply(Report::crd())).await?;
    let established = conditions::is_crd_established();
    await_condition(definitions.clone(), name, established).await?;

    let reports: Api<Report> = Api::namespaced(client.clone(), namespace);
    let context =
        Context { client: client.clone(), recorder: Recorder::new(client.clone(), GROUP.into()) };
    let operator = Controller::new(reports.clone(), watcher::Config::default())
        .owns(Api::<ConfigMap>::namespaced(client.clone(), namespace), watcher::Config::default())
        .run(reconcile, retry, Arc::new(context))
        .for_each(|done| async move {
            if let Err(error) = done {
                eprintln!("reconcile: {error}");
            }
        });
    let used = tokio::select! {
        used = use_it(client, namespace, reports) => used,
        () = operator => Err("the operator ended".into()),
    };
    definitions.delete(name, &DeleteParams::default()).await?;
    used
}

fn retry(_: Arc<Report>, _: &Failed<kube::Error>, _: Arc<Context>) -> Action {
    Action::requeue(Duration::from_millis(100))
}

async fn reconcile(
    report: Arc<Report>,
    context: Arc<Context>,
) -> Result<Action, Failed<kube::Error>> {
    let namespace = report.namespace().unwrap_or_default();
    let reports: Api<Report> = Api::namespaced(context.client.clone(), &namespace);
    finalizer(&reports, "rust.example.com/farewell", report, |event| async {
        match event {
            Event::Apply(report) => print(&report, &reports, &context).await,
            Event::Cleanup(report) => {
                let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
                let farewell = config_map(&format!("{}-was-here", report.name_any()), "k", "v");
                match maps.create(&PostParams::default(), &farewell).await {
                    Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                    made => drop(made?),
                }
                Ok(Action::await_change())
            }
        }
    })
    .await
}

async fn print(report: &Report, reports: &Api<Report>, context: &Context) -> kube::Result<Action> {
    let name = report.name_any();
    let maps: Api<ConfigMap> =
        Api::namespaced(context.client.clone(), &report.namespace().unwrap_or_default());
    let wanted = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "ownerReferences": [report.controller_owner_ref(&())]},
        "data": {"text": report.spec.text.repeat(report.spec.copies as usize)},
    });
    let params = PatchParams::apply(GROUP).force();
    let map = maps.patch(&name, &params, &Patch::Apply(wanted)).await?;
    let status = ReportStatus {
        printed: map.data.unwrap_or_default()["text"].clone(),
        generation: report.metadata.generation.unwrap_or_default(),
    };
    let change = Patch::Merge(json!({"status": status}));
    reports.patch_status(&name, &PatchParams::default(), &change).await?;
    let telling = Telling {
        type_: EventType::Normal,
        reason: "Printed".into(),
        note: None,
        action: "Printing".into(),
        secondary: None,
    };
    context.recorder.publish(&telling, &report.object_ref(&())).await?;
    Ok(Action::await_change())
}

async fn use_it(client: Client, namespace: &str, reports: Api<Report>) -> Done {
    let printed = |text: &'static str| {
        move |report: Option<&Report>| {
            report.and_then(|r| r.status.as_ref()).is_some_and(|status| status.printed == text)
        }
    };
    let one: Report = serde_json::from_value(json!({
        "apiVersion": Report::api_version(&()), "kind": "Report",
        "metadata": {"name": "one"}, "spec": {"text": "ab"},
    }))?;
    reports.create(&PostParams::default(), &one).await?;
    let made = await_condition(reports.clone(), "one", printed("ababab")).await?.expect("one");
    assert_eq!(made.finalizers(), ["rust.example.com/farewell"]);
    assert_eq!((made.spec.copies, made.metadata.generation), (3, Some(1)));

    let ten = Patch::Merge(json!({"spec": {"copies": 10}}));
    let status = refused(reports.patch("one", &PatchParams::default(), &ten).await);
    assert!(status.is_invalid(), "{status}");
    assert_eq!(status.details.as_ref().unwrap().causes[0].field, "spec.copies");
    let two = Patch::Merge(json!({"spec": {"copies": 2}, "status": {"printed": "never"}}));
    reports.patch("one", &PatchParams::default(), &two).await?;
    let changed = await_condition(reports.clone(), "one", printed("abab")).await?.expect("one");
    let status = changed.status.as_ref().unwrap();
    assert_eq!((status.generation, changed.metadata.generation), (2, Some(2)));

    // what it owns comes back
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let owned = maps.get("one").await?;
    assert_eq!(owned.owner_references()[0].uid, changed.metadata.uid.clone().unwrap());
    maps.delete("one", &DeleteParams::default()).await?;
    let uid = owned.uid().unwrap();
    let again =
        move |map: Option<&ConfigMap>| map.is_some_and(|map| map.uid().as_ref() != Some(&uid));
    await_condition(maps.clone(), "one", again).await?;

    let about = ListParams::default().fields(&format!("regarding.uid={}", changed.uid().unwrap()));
    let events = Api::<Told>::namespaced(client, namespace).list(&about).await?;
    assert_eq!(events.items[0].reason.as_deref(), Some("Printed"));

    reports.delete("one", &DeleteParams::foreground()).await?;
    await_condition(reports, "one", conditions::is_deleted(&changed.uid().unwrap())).await?;
    assert!(maps.get_opt("one-was-here").await?.is_some());
    Ok(())
}
