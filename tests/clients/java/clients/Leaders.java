package clients;

import static clients.Main.heard;
import static clients.Main.same;

import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.extended.leaderelection.LeaderCallbacks;
import io.fabric8.kubernetes.client.extended.leaderelection.LeaderElectionConfigBuilder;
import io.fabric8.kubernetes.client.extended.leaderelection.resourcelock.LeaseLock;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;

/** Of two candidates one leads, and the other follows when it lets go. */
final class Leaders {
    private final KubernetesClient client;
    private final String namespace;
    private final BlockingQueue<String> told = new LinkedBlockingQueue<>();

    Leaders(KubernetesClient client, String namespace) {
        this.client = client;
        this.namespace = namespace;
    }

    void run() throws Exception {
        CompletableFuture<?> one = candidate("one");
        heard(told, "one leads");
        CompletableFuture<?> two = candidate("two");
        same(lease().getSpec().getHolderIdentity(), "one");
        one.cancel(true);
        heard(told, "one stops", "two leads");
        same(lease().getSpec().getHolderIdentity(), "two");
        same(lease().getSpec().getLeaseTransitions(), 1);
        two.cancel(true);
        heard(told, "two stops");
    }

    private Lease lease() {
        return client.leases().inNamespace(namespace).withName("lock").get();
    }

    private CompletableFuture<?> candidate(String name) {
        return client.leaderElector().withConfig(new LeaderElectionConfigBuilder()
                .withName(name)
                .withLock(new LeaseLock(namespace, "lock", name))
                .withLeaseDuration(Duration.ofSeconds(10))
                .withRenewDeadline(Duration.ofSeconds(5))
                .withRetryPeriod(Duration.ofMillis(200))
                .withReleaseOnCancel()
                .withLeaderCallbacks(new LeaderCallbacks(
                        () -> told.add(name + " leads"),
                        () -> told.add(name + " stops"),
                        leader -> { }))
                .build()).build().start();
    }
}
