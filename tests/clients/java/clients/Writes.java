package clients;

import static clients.Main.configMap;
import static clients.Main.holds;
import static clients.Main.refused;
import static clients.Main.same;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.api.model.ConfigMapList;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.ListOptionsBuilder;
import io.fabric8.kubernetes.api.model.ManagedFieldsEntry;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.Table;
import io.fabric8.kubernetes.api.model.apps.Deployment;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.dsl.NonNamespaceOperation;
import io.fabric8.kubernetes.client.dsl.Resource;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

final class Writes {
    private static final String MANIFEST = """
            apiVersion: v1
            kind: Service
            metadata: {name: web}
            spec: {selector: {app: web}, ports: [{port: 80}]}
            ---
            apiVersion: apps/v1
            kind: Deployment
            metadata: {name: web}
            spec:
              selector: {matchLabels: {app: web}}
              template:
                metadata: {labels: {app: web}}
                spec: {containers: [{name: web, image: "web:1"}]}
            """;

    private final KubernetesClient client;
    private final String namespace;
    private final NonNamespaceOperation<ConfigMap, ConfigMapList, Resource<ConfigMap>> maps;

    Writes(KubernetesClient client, String namespace) {
        this.client = client;
        this.namespace = namespace;
        this.maps = client.configMaps().inNamespace(namespace);
    }

    void run() {
        written();
        patched();
        applied();
        paged();
        loaded();
        discovered();
    }

    private void written() {
        ConfigMap made = maps.resource(configMap("written", "k", "v")).create();
        holds(made.getMetadata().getUid() != null, made);
        ManagedFieldsEntry owner = made.getMetadata().getManagedFields().get(0);
        same(owner.getManager(), "fabric8-kubernetes-client");
        ConfigMap twice = configMap("written", "k", "v");
        KubernetesClientException refusal = refused(409, () -> maps.resource(twice).create());
        same(refusal.getStatus().getReason(), "AlreadyExists");

        ConfigMap edited = maps.withName("written").edit(
                held -> new ConfigMapBuilder(held).addToData("l", "m").build());
        same(edited.getData(), Map.of("k", "v", "l", "m"));
        ConfigMap stale = new ConfigMapBuilder(made).addToData("k", "w").build();
        refused(409, () -> maps.resource(stale).update());
        refused(409, () -> maps.resource(stale).lockResourceVersion().update());
        same(maps.resource(stale).unlock().update().getData(), Map.of("k", "w"));
        ConfigMap old = configMap("written", "k", "x");
        String version = made.getMetadata().getResourceVersion();
        refused(409, () -> maps.resource(old).lockResourceVersion(version).delete());

        var metadata = maps.withName("written").getAsPartialObjectMetadata();
        same(metadata.getKind(), "PartialObjectMetadata");
        Table table = maps.withName("written").getAsTable();
        same(table.getColumnDefinitions().get(1).getName(), "Data");
        same(table.getRows().get(0).getCells().get(1).toString(), "1");
        same(maps.withName("written").delete().size(), 1);
        same(maps.withName("written").get(), null);
        same(maps.withName("written").delete().size(), 0);
    }

    private void patched() {
        maps.resource(configMap("patched", "k", "v")).create();
        Resource<ConfigMap> map = maps.withName("patched");
        map.patch(PatchContext.of(PatchType.JSON_MERGE), "{\"data\": {\"k\": null, \"l\": \"m\"}}");
        map.patch(PatchContext.of(PatchType.STRATEGIC_MERGE), "data: {n: o}");
        String steps = "[{\"op\": \"test\", \"path\": \"/data/n\", \"value\": \"o\"},"
                + " {\"op\": \"move\", \"from\": \"/data/n\", \"path\": \"/data/p\"}]";
        ConfigMap last = map.patch(PatchContext.of(PatchType.JSON), steps);
        same(last.getData(), Map.of("l", "m", "p", "o"));
        refused(422, () -> map.patch(PatchContext.of(PatchType.JSON), steps));
        map.dryRun().edit(held -> new ConfigMapBuilder(held).addToData("q", "r").build());
        same(map.get().getData(), Map.of("l", "m", "p", "o"));
    }

    private void applied() {
        ConfigMap one = configMap("applied", "k", "v");
        ConfigMap two = configMap("applied", "k", "w");
        maps.resource(one).fieldManager("one").serverSideApply();
        KubernetesClientException refusal = refused(
                409, () -> maps.resource(two).fieldManager("two").serverSideApply());
        var cause = refusal.getStatus().getDetails().getCauses().get(0);
        same(cause.getReason(), "FieldManagerConflict");
        holds(refusal.getMessage().contains("conflict with \"one\": .data.k"), refusal);
        ConfigMap forced =
                maps.resource(two).fieldManager("two").forceConflicts().serverSideApply();
        same(forced.getData(), Map.of("k", "w"));
        List<String> owners = forced.getMetadata().getManagedFields().stream()
                .map(ManagedFieldsEntry::getManager).sorted().toList();
        same(owners, List.of("one", "two"));
    }

    private void paged() {
        for (int number = 0; number < 25; number++) {
            maps.resource(configMap(String.format("page-%02d", number), "page", "v")).create();
        }
        List<String> names = new ArrayList<>();
        List<Integer> sizes = new ArrayList<>();
        String token = null;
        do {
            ConfigMapList page = maps.withLabel("x", "y").list(
                    new ListOptionsBuilder().withLimit(10L).withContinue(token).build());
            page.getItems().forEach(held -> names.add(held.getMetadata().getName()));
            sizes.add(page.getItems().size());
            token = page.getMetadata().getContinue();
        } while (token != null && !token.isEmpty());
        same(names.size(), 27);
        same(names, names.stream().sorted().distinct().toList());
        same(sizes, List.of(10, 10, 7));
        same(maps.withField("metadata.name", "page-07").list().getItems().size(), 1);
        same(maps.withLabelIn("x", "y", "z").withoutLabel("a").list().getItems().size(), 27);
        maps.withLabel("x", "y").delete();
        same(maps.withLabel("x", "y").list().getItems(), List.of());
    }

    private void loaded() {
        var bytes = new ByteArrayInputStream(MANIFEST.getBytes(StandardCharsets.UTF_8));
        var manifest = client.load(bytes).inNamespace(namespace);
        List<HasMetadata> made = manifest.serverSideApply();
        same(made.stream().map(HasMetadata::getKind).toList(), List.of("Service", "Deployment"));
        var deployments = client.apps().deployments().inNamespace(namespace);
        deployments.withName("web").scale(2);
        Deployment ready = deployments.withName("web").waitUntilCondition(
                web -> web.getStatus() != null
                        && Integer.valueOf(2).equals(web.getStatus().getReadyReplicas()),
                30, TimeUnit.SECONDS);
        same(ready.getSpec().getReplicas(), 2);
        deployments.withName("web").rolling().updateImage(Map.of("web", "web:2"));
        var pods = client.pods().inNamespace(namespace).withLabel("app", "web");
        Pod pod = pods.waitUntilCondition(
                held -> held.getSpec().getContainers().get(0).getImage().equals("web:2"),
                30, TimeUnit.SECONDS);
        holds(client.pods().resource(pod).evict(), "evicted");
        manifest.withGracePeriod(0).delete();
        same(client.services().inNamespace(namespace).withName("web").get(), null);
    }

    private void discovered() {
        holds(client.supports(Deployment.class), "Deployments");
        holds(client.hasApiGroup("apps", true), "apps");
        holds(!client.hasApiGroup("apps.example.com", true), "no such group");
        holds(client.getApiResources("apps/v1").getResources().stream()
                .anyMatch(kind -> kind.getName().equals("deployments/scale")), "scale");
        holds(client.rootPaths().getPaths().contains("/apis/apps/v1"), "paths");
        var node = client.genericKubernetesResources("v1", "Node").list().getItems().get(0);
        same(node.getMetadata().getName(), "here");
    }
}
