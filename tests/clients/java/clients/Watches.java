package clients;

import static clients.Main.configMap;
import static clients.Main.heard;
import static clients.Main.holds;
import static clients.Main.same;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapList;
import io.fabric8.kubernetes.api.model.ListOptionsBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.Watch;
import io.fabric8.kubernetes.client.Watcher;
import io.fabric8.kubernetes.client.WatcherException;
import io.fabric8.kubernetes.client.dsl.NonNamespaceOperation;
import io.fabric8.kubernetes.client.dsl.Resource;
import io.fabric8.kubernetes.client.informers.ResourceEventHandler;
import io.fabric8.kubernetes.client.informers.SharedIndexInformer;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

final class Watches {
    private final NonNamespaceOperation<ConfigMap, ConfigMapList, Resource<ConfigMap>> maps;

    Watches(KubernetesClient client, String namespace) {
        this.maps = client.configMaps().inNamespace(namespace);
    }

    void run() throws Exception {
        watched();
        streamed();
        informed();
    }

    /** Tells what it hears; a watch that ended is begun again by the client. */
    private record Ear(BlockingQueue<String> told) implements Watcher<ConfigMap> {
        @Override
        public void eventReceived(Action action, ConfigMap map) {
            if (action != Action.BOOKMARK) {
                told.add(action + " " + map.getMetadata().getName());
            }
        }

        @Override
        public void onClose(WatcherException error) {
            told.add("closed by " + error);
        }
    }

    private void watched() throws Exception {
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        ConfigMap before = maps.resource(configMap("before", "k", "v")).create();
        maps.resource(configMap("after", "k", "v")).create();
        var since = new ListOptionsBuilder().withTimeoutSeconds(1L).withAllowWatchBookmarks(true)
                .withResourceVersion(before.getMetadata().getResourceVersion()).build();
        try (Watch watch = maps.withLabel("x", "y").watch(since, new Ear(told))) {
            heard(told, "ADDED after");
            same(told.poll(1500, TimeUnit.MILLISECONDS), null); // longer than one watch lasts
            maps.withName("after").patch("{\"data\": {\"k\": \"w\"}}");
            heard(told, "MODIFIED after");
            maps.withName("after").patch("{\"metadata\": {\"labels\": null}}");
            heard(told, "DELETED after");
            maps.withName("before").delete();
            heard(told, "DELETED before");
        }
        maps.withName("after").delete();
    }

    private void streamed() throws Exception {
        for (String name : List.of("a", "b", "c")) {
            maps.resource(configMap(name, "k", "v")).create();
        }
        List<String> held = new CopyOnWriteArrayList<>();
        String version = maps.withLabel("x", "y")
                .streamingList(map -> held.add(map.getMetadata().getName()))
                .get(20, TimeUnit.SECONDS);
        same(held.stream().sorted().toList(), List.of("a", "b", "c"));
        holds(!version.isEmpty(), version);
        maps.withLabel("x", "y").delete();
    }

    private record Handler(BlockingQueue<String> told) implements ResourceEventHandler<ConfigMap> {
        @Override
        public void onAdd(ConfigMap map) {
            told.add("add " + map.getMetadata().getName());
        }

        @Override
        public void onUpdate(ConfigMap old, ConfigMap map) {
            String change = old.getData() + " to " + map.getData();
            told.add(old.equals(map) ? "again " + map.getMetadata().getName() : change);
        }

        @Override
        public void onDelete(ConfigMap map, boolean unknown) {
            told.add("delete " + map.getMetadata().getName());
        }
    }

    private void informed() throws Exception {
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        BlockingQueue<String> repeated = new LinkedBlockingQueue<>();
        maps.resource(configMap("a", "k", "v")).create();
        try (SharedIndexInformer<ConfigMap> informer =
                maps.withLabel("x", "y").withLimit(1L).runnableInformer(1000)) {
            informer.addIndexers(Map.of("value", map -> List.copyOf(map.getData().values())));
            informer.addEventHandler(new Handler(told));
            informer.addEventHandlerWithResyncPeriod(new Handler(repeated), 1000);
            informer.start().toCompletableFuture().get(20, TimeUnit.SECONDS);
            heard(told, "add a");
            maps.resource(configMap("b", "k", "v")).create();
            heard(told, "add b");
            maps.withName("b").patch("{\"data\": {\"k\": \"w\"}}");
            heard(told, "{k=v} to {k=w}");
            same(informer.getIndexer().byIndex("value", "w").size(), 1);
            same(informer.getStore().list().size(), 2);
            maps.withName("b").delete();
            heard(told, "delete b");
            heard(repeated, "add a", "add b", "{k=v} to {k=w}", "delete b", "again a");
            holds(informer.isWatching() && informer.lastSyncResourceVersion() != null, informer);
        }
        maps.withName("a").delete();
    }
}
