use std::pin::Pin;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher::watch_object};
use kube::{Api, ResourceExt, core::PartialObjectMeta};
use serde_json::json;

use crate::{Done, config_map};

type Events<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>>>>;

pub async fn run(maps: Api<ConfigMap>) -> Done {
    let config = watcher::Config::default().labels("x=y").timeout(1);
    reflected(&maps, config.clone().page_size(2)).await?;
    reflected(&maps, config.clone().streaming_lists()).await?;
    partial(&maps, config.streaming_lists()).await?;
    one(&maps).await
}

async fn told<K: ResourceExt>(events: &mut Events<K>) -> Result<String, watcher::Error> {
    Ok(match events.try_next().await?.expect("a watcher never ends") {
        Event::Init => "init".into(),
        Event::InitApply(object) => format!("held {}", object.name_any()),
        Event::InitDone => "done".into(),
        Event::Apply(object) => format!("set {}", object.name_any()),
        Event::Delete(object) => format!("gone {}", object.name_any()),
    })
}

/// A store is filled, and follows over the ends of watches without beginning anew.
async fn reflected(maps: &Api<ConfigMap>, config: watcher::Config) -> Done {
    for name in ["a", "b", "c"] {
        maps.create(&PostParams::default(), &config_map(name, "k", "v")).await?;
    }
    let (store, writer) = reflector::store();
    let stream = kube::runtime::watcher(maps.clone(), config).default_backoff().reflect(writer);
    let mut events: Events<ConfigMap> = Box::pin(stream);
    for words in ["init", "held a", "held b", "held c", "done"] {
        assert_eq!(told(&mut events).await?, words);
    }
    store.wait_until_ready().await?;
    assert_eq!(store.len(), 3);

    let change = Patch::Merge(json!({"data": {"k": "w"}}));
    maps.patch("b", &PatchParams::default(), &change).await?;
    assert_eq!(told(&mut events).await?, "set b");
    let held = store.get(&ObjectRef::new("b").within(&maps.namespace().unwrap())).expect("b");
    assert_eq!(held.data.as_ref().unwrap()["k"], "w");

    let longer = std::time::Duration::from_millis(1300); // than a watch lasts
    assert!(tokio::time::timeout(longer, told(&mut events)).await.is_err());
    let unlabelled = Patch::Merge(json!({"metadata": {"labels": {"x": null}}}));
    maps.patch("c", &PatchParams::default(), &unlabelled).await?;
    assert_eq!(told(&mut events).await?, "gone c");
    maps.delete("a", &DeleteParams::default()).await?;
    assert_eq!(told(&mut events).await?, "gone a");
    assert_eq!(store.state().iter().map(|held| held.name_any()).collect::<Vec<_>>(), ["b"]);
    maps.delete("b", &DeleteParams::default()).await?;
    maps.delete("c", &DeleteParams::default()).await?;
    Ok(())
}

async fn partial(maps: &Api<ConfigMap>, config: watcher::Config) -> Done {
    maps.create(&PostParams::default(), &config_map("p", "k", "v")).await?;
    let client = maps.clone().into_client();
    let metadata: Api<PartialObjectMeta<ConfigMap>> =
        Api::namespaced(client, &maps.namespace().unwrap());
    let stream = kube::runtime::watcher(metadata, config).applied_objects();
    let first = stream.boxed_local().try_next().await?.expect("p");
    assert_eq!((first.name_any().as_str(), &first.labels()["x"]), ("p", &"y".to_string()));
    assert_eq!(first.types.unwrap().kind, "PartialObjectMetadata");
    maps.delete("p", &DeleteParams::default()).await?;
    Ok(())
}

async fn one(maps: &Api<ConfigMap>) -> Done {
    let mut states = watch_object(maps.clone(), "one").boxed_local();
    assert!(states.try_next().await?.expect("a state").is_none());
    maps.create(&PostParams::default(), &config_map("one", "k", "v")).await?;
    maps.create(&PostParams::default(), &config_map("another", "k", "v")).await?;
    assert_eq!(states.try_next().await?.flatten().expect("one").name_any(), "one");
    maps.delete("one", &DeleteParams::default()).await?;
    assert!(states.try_next().await?.expect("a state").is_none());
    Ok(())
}
