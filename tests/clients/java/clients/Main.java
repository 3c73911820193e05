package clients;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;

/** What fabric8's client does to a cluster: `java clients.Main PART NAMESPACE`. */
final class Main {
    public static void main(String[] words) throws Exception {
        try (KubernetesClient client = new KubernetesClientBuilder().build()) {
            String namespace = words[1];
            switch (words[0]) {
                case "objects" -> new Writes(client, namespace).run();
                case "watches" -> new Watches(client, namespace).run();
                case "gadgets" -> new Gadgets(client, namespace).run();
                case "leaders" -> new Leaders(client, namespace).run();
                case "streams" -> new Streams(client, namespace).run();
                default -> throw new IllegalArgumentException("no such part");
            }
        }
        System.out.println("all was so");
    }

    static ConfigMap configMap(String name, String key, String value) {
        return new ConfigMapBuilder().withNewMetadata().withName(name)
                .withLabels(Map.of("x", "y")).endMetadata().addToData(key, value).build();
    }

    static void same(Object found, Object expected) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError("found " + found + ", expected " + expected);
        }
    }

    static void holds(boolean condition, Object about) {
        if (!condition) {
            throw new AssertionError("not so: " + about);
        }
    }

    /** The refusal, which must have this code. */
    static KubernetesClientException refused(int code, Runnable request) {
        try {
            request.run();
        } catch (KubernetesClientException refusal) {
            same(refusal.getCode(), code);
            return refusal;
        }
        throw new AssertionError("not refused");
    }

    static void heard(BlockingQueue<String> told, String... expected) throws InterruptedException {
        for (String words : expected) {
            same(told.poll(20, TimeUnit.SECONDS), words);
        }
    }
}
