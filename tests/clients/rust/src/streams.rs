use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Done;

const COMMAND: &str =
    "echo started; mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www";

pub async fn run(pods: Api<Pod>) -> Done {
    let container = json!({"name": "web", "image": "busybox", "command": ["sh", "-c", COMMAND]});
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    await_condition(pods.clone(), "web", conditions::is_pod_running()).await?;

    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut lines = pods.log_stream("web", &follow).await?.lines();
    assert_eq!(lines.try_next().await?.as_deref(), Some("started"));
    assert_eq!(pods.logs("web", &LogParams::default()).await?, "started\n");
    executed(&pods).await?;
    forwarded(&pods).await
}

async fn executed(pods: &Api<Pod>) -> Done {
    let words = ["sh", "-c", "read x; echo $x; echo bad >&2; exit 7"];
    let mut process = pods.exec("web", words, &AttachParams::default().stdin(true)).await?;
    let mut input = process.stdin().unwrap();
    let (mut out, mut err) = (process.stdout().unwrap(), process.stderr().unwrap());
    let status = process.take_status().unwrap();
    input.write_all(b"words\n").await?;
    let (mut said, mut complained) = (String::new(), String::new());
    tokio::try_join!(out.read_to_string(&mut said), err.read_to_string(&mut complained))?;
    assert_eq!((said.as_str(), complained.as_str()), ("words\n", "bad\n"));
    let status = status.await.expect("a status");
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status.details.unwrap().causes.unwrap();
    assert_eq!(causes[0].message.as_deref(), Some("7"));
    drop(input);
    process.join().await?;
    Ok(())
}

async fn forwarded(pods: &Api<Pod>) -> Done {
    let mut forward = pods.portforward("web", &[8080]).await?;
    let mut stream = forward.take_stream(8080).unwrap();
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.contains(" 200 OK\r\n") && answer.ends_with("\r\n\r\nhello\n"), "{answer}");
    Ok(())
}
