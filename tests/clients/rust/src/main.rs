//! What kube-rs does to a cluster: `clients objects|watches|controller|streams NAMESPACE`.
//! It says `all was so` at the end, or fails at the first surprise.

mod controller;
mod objects;
mod streams;
mod watches;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde_json::json;

pub type Done = Result<(), Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let words: Vec<String> = std::env::args().collect();
    let [_, part, namespace] = words.as_slice() else {
        return Err("which part, and in which namespace?".into());
    };
    let client = Client::try_default().await?;
    match part.as_str() {
        "objects" => objects::run(client, namespace).await?,
        "watches" => watches::run(Api::namespaced(client, namespace)).await?,
        "controller" => controller::run(client, namespace).await?,
        "streams" => streams::run(Api::namespaced(client, namespace)).await?,
        _ => return Err("no such part".into()),
    }
    println!("all was so");
    Ok(())
}

pub fn config_map(name: &str, key: &str, value: &str) -> ConfigMap {
    let object = json!({"metadata": {"name": name, "labels": {"x": "y"}}, "data": {key: value}});
    serde_json::from_value(object).expect("a ConfigMap")
}

/// The Status of a refusal; anything else is a surprise.
pub fn refused<T: std::fmt::Debug>(answer: kube::Result<T>) -> Box<kube::core::Status> {
    match answer {
        Err(kube::Error::Api(status)) => status,
        other => panic!("not refused: {other:?}"),
    }
}
