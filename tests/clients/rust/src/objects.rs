use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap, core::v1::Pod};
use kube::api::{DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams};
use kube::api::{PostParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::discovery::{Discovery, Scope, verbs};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::{Done, config_map, refused};

pub async fn run(client: Client, namespace: &str) -> Done {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    written(&maps).await?;
    patched(&maps).await?;
    applied(&maps).await?;
    paged(&maps).await?;
    scaled(client.clone(), namespace).await?;
    discovered(client, namespace).await
}

async fn written(maps: &Api<ConfigMap>) -> Done {
    let made = maps.create(&PostParams::default(), &config_map("written", "k", "v")).await?;
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    let again = refused(maps.create(&PostParams::default(), &made).await);
    assert_eq!(again.message, "resourceVersion should not be set on objects to be created");
    let twice = config_map("written", "k", "v");
    assert!(refused(maps.create(&PostParams::default(), &twice).await).is_already_exists());

    let mut changed = made.clone();
    changed.data = config_map("written", "k", "w").data;
    let newer = maps.replace("written", &PostParams::default(), &changed).await?;
    assert_ne!(newer.resource_version(), made.resource_version());
    let stale = refused(maps.replace("written", &PostParams::default(), &changed).await);
    assert!(stale.is_conflict() && stale.code == 409, "{stale}");

    let mut entry = maps.entry("written").await?.and_modify(|held| {
        held.labels_mut().insert("by".into(), "entry".into());
    });
    let entry = match &mut entry {
        kube::api::entry::Entry::Occupied(entry) => entry,
        kube::api::entry::Entry::Vacant(_) => panic!("it is there"),
    };
    entry.commit(&PostParams::default()).await?;
    assert_eq!(maps.get_metadata("written").await?.labels()["by"], "entry");

    let another = Preconditions { uid: Some("another".into()), resource_version: None };
    let params = DeleteParams::default().preconditions(another);
    assert!(refused(maps.delete("written", &params).await).is_conflict());
    maps.delete("written", &DeleteParams::default()).await?;
    assert!(maps.get_opt("written").await?.is_none());
    assert!(refused(maps.get("written").await).is_not_found());
    Ok(())
}

async fn patched(maps: &Api<ConfigMap>) -> Done {
    maps.create(&PostParams::default(), &config_map("patched", "k", "v")).await?;
    let params = PatchParams::default();
    let strategic = json!({"data": {"l": "m", "$retainKeys": ["l"]}});
    maps.patch("patched", &params, &Patch::Merge(json!({"data": {"k": "w", "n": "o"}}))).await?;
    let kept = maps.patch("patched", &params, &Patch::Strategic(strategic)).await?;
    assert_eq!(kept.data, config_map("", "l", "m").data);
    let steps = json!([
        {"op": "test", "path": "/data/l", "value": "m"},
        {"op": "replace", "path": "/data/l", "value": "p"},
    ]);
    let steps = Patch::Json::<()>(serde_json::from_value(steps)?);
    assert_eq!(maps.patch("patched", &params, &steps).await?.data.unwrap()["l"], "p");
    let failed = refused(maps.patch("patched", &params, &steps).await);
    assert!(failed.is_invalid() && failed.code == 422, "{failed}");
    let dry =
        maps.patch("patched", &params.dry_run(), &Patch::Merge(json!({"data": null}))).await?;
    assert_eq!(dry.data, None);
    assert!(maps.get("patched").await?.data.is_some());
    Ok(())
}

async fn applied(maps: &Api<ConfigMap>) -> Done {
    let wanted = |value: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "applied"}, "data": {"k": value},
        });
        Patch::Apply(object)
    };
    maps.patch("applied", &PatchParams::apply("one"), &wanted("v")).await?;
    let two = PatchParams::apply("two");
    maps.patch("applied", &two, &wanted("v")).await?; // the same value: both own it
    let status = refused(maps.patch("applied", &two, &wanted("w")).await);
    assert!(status.is_conflict(), "{status}");
    assert!(status.message.contains(r#"conflict with "one": .data.k"#), "{status}");
    let cause = &status.details.as_ref().unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".data.k"));
    let forced = maps.patch("applied", &two.force(), &wanted("w")).await?;
    let owners: Vec<_> = forced.managed_fields().iter().flat_map(|held| &held.manager).collect();
    assert_eq!(owners, ["two"]);
    Ok(())
}

async fn paged(maps: &Api<ConfigMap>) -> Done {
    for number in 0..25 {
        let object = config_map(&format!("page-{number:02}"), "k", "v");
        maps.create(&PostParams::default(), &object).await?;
    }
    let mut params = ListParams::default().labels("x=y").limit(10);
    let (mut names, mut versions, mut sizes) = (vec![], vec![], vec![]);
    loop {
        let page = maps.list(&params).await?;
        sizes.push(page.items.len());
        versions.push(page.metadata.resource_version.clone());
        names.extend(page.items.iter().map(ResourceExt::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    names.retain(|name| name.starts_with("page-"));
    assert_eq!(names, (0..25).map(|n| format!("page-{n:02}")).collect::<Vec<_>>());
    assert_eq!(sizes, [10, 10, 6]);
    versions.dedup();
    assert_eq!(versions.len(), 1, "all pages are of one moment");
    let one = ListParams::default().fields("metadata.name=page-07");
    assert_eq!(maps.list_metadata(&one).await?.items.len(), 1);
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("x=y")).await?;
    assert!(maps.list(&ListParams::default().labels("x=y")).await?.items.is_empty());
    Ok(())
}

async fn scaled(client: Client, namespace: &str) -> Done {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let labels = json!({"app": "web"});
    let wanted = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(wanted)?).await?;
    let two = json!({"spec": {"replicas": 2}});
    deployments.patch_scale("web", &PatchParams::default(), &Patch::Merge(two)).await?;
    let scale = deployments.get_scale("web").await?;
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=web"));
    let complete = conditions::is_deployment_completed();
    let whole = await_condition(deployments.clone(), "web", complete).await?.unwrap();
    assert_eq!(whole.status.unwrap().replicas, Some(2));

    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let found = pods.list(&ListParams::default().labels("app=web")).await?;
    let (name, uid) = (found.items[0].name_any(), found.items[0].uid().unwrap());
    pods.evict(&name, &EvictParams::default()).await?;
    await_condition(pods, &name, conditions::is_deleted(&uid)).await?;
    Ok(())
}

async fn discovered(client: Client, namespace: &str) -> Done {
    let old = Discovery::new(client.clone()).run().await?;
    let new = Discovery::new(client.clone()).run_aggregated().await?;
    let all = |found: &Discovery| -> Vec<String> {
        let groups = found.groups_alphabetical().into_iter();
        groups
            .flat_map(|group| group.resources_by_stability().into_iter())
            .map(|(kind, can)| format!("{}/{} {:?}", kind.api_version, kind.plural, can.operations))
            .collect()
    };
    let (mut olds, mut news) = (all(&old), all(&new));
    olds.sort();
    news.sort();
    assert_eq!(olds, news, "both kinds of discovery tell the same");

    let wanted = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let (kind, can) = new.resolve_gvk(&wanted).expect("Deployments");
    assert_eq!((kind.plural.as_str(), &can.scope), ("deployments", &Scope::Namespaced));
    assert!(can.supports_operation(verbs::PATCH) && can.subresources.len() == 2, "{can:?}");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let paused = Patch::Merge(json!({"spec": {"paused": true}}));
    let web = api.patch("web", &PatchParams::default(), &paused).await?;
    assert_eq!(
        (&web.data["spec"]["paused"], web.types.unwrap().kind.as_str()),
        (&json!(true), "Deployment")
    );

    let nodes = GroupVersionKind::gvk("", "v1", "Node");
    let (kind, can) = kube::discovery::pinned_kind(&client, &nodes).await?;
    assert_eq!(can.scope, Scope::Cluster);
    let found = Api::<DynamicObject>::all_with(client, &kind).list(&ListParams::default()).await?;
    assert_eq!(found.items[0].name_any(), "here");
    Ok(())
}
