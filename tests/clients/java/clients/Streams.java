package clients;

import static clients.Main.same;

import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.LocalPortForward;
import io.fabric8.kubernetes.client.dsl.ExecWatch;
import io.fabric8.kubernetes.client.dsl.LogWatch;
import io.fabric8.kubernetes.client.dsl.PodResource;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;

final class Streams {
    private static final String COMMAND =
            "echo started; mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www";

    private final PodResource pod;

    Streams(KubernetesClient client, String namespace) {
        var pods = client.pods().inNamespace(namespace);
        pods.resource(new PodBuilder().withNewMetadata().withName("web").endMetadata()
                .withNewSpec().withTerminationGracePeriodSeconds(0L)
                .addNewContainer().withName("web").withImage("busybox")
                .withCommand("sh", "-c", COMMAND).endContainer().endSpec().build()).create();
        this.pod = pods.withName("web");
    }

    void run() throws Exception {
        pod.waitUntilReady(30, TimeUnit.SECONDS);
        same(pod.getLog(), "started\n");
        try (LogWatch log = pod.watchLog();
                var text = new InputStreamReader(log.getOutput(), StandardCharsets.UTF_8)) {
            same(new BufferedReader(text).readLine(), "started");
        }
        executed();
        copied();
        try (LocalPortForward forward = pod.portForward(8080)) {
            URL page = new URL("http://127.0.0.1:" + forward.getLocalPort() + "/index.html");
            try (var body = page.openStream()) {
                same(new String(body.readAllBytes(), StandardCharsets.UTF_8), "hello\n");
            }
        }
    }

    private void executed() throws Exception {
        var out = new ByteArrayOutputStream();
        var err = new ByteArrayOutputStream();
        try (ExecWatch exec = pod.redirectingInput().writingOutput(out).writingError(err)
                .exec("sh", "-c", "read x; echo $x; echo bad >&2; exit 7")) {
            exec.getInput().write("words\n".getBytes(StandardCharsets.UTF_8));
            exec.getInput().flush();
            same(exec.exitCode().get(20, TimeUnit.SECONDS), 7);
        }
        same(out.toString(StandardCharsets.UTF_8), "words\n");
        same(err.toString(StandardCharsets.UTF_8), "bad\n");
    }

    /** As the client's own upload does it: send all, close at once, and then look. */
    private void copied() throws Exception {
        byte[] sent = "copied ".repeat(100_000).getBytes(StandardCharsets.UTF_8);
        var keeps = "cat > /tmp/whole && mv /tmp/whole /tmp/sent";
        try (ExecWatch exec = pod.redirectingInput().exec("sh", "-c", keeps)) {
            exec.getInput().write(sent);
            exec.getInput().close();
        }
        var waits = "until [ -f /tmp/sent ]; do sleep 0.05; done; wc -c < /tmp/sent";
        var size = new ByteArrayOutputStream();
        try (ExecWatch exec = pod.writingOutput(size).exec("sh", "-c", waits)) {
            same(exec.exitCode().get(20, TimeUnit.SECONDS), 0);
        }
        same(size.toString(StandardCharsets.UTF_8).strip(), String.valueOf(sent.length));
        try (InputStream file = pod.file("/tmp/sent").read()) {
            same(Arrays.equals(file.readAllBytes(), sent), true);
        }
    }
}
