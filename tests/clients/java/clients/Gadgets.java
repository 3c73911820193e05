package clients;

import static clients.Main.holds;
import static clients.Main.refused;
import static clients.Main.same;

import io.fabric8.kubernetes.api.model.Namespaced;
import io.fabric8.kubernetes.api.model.ObjectMetaBuilder;
import io.fabric8.kubernetes.api.model.apiextensions.v1.CustomResourceDefinition;
import io.fabric8.kubernetes.client.CustomResource;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.model.annotation.Group;
import io.fabric8.kubernetes.model.annotation.Version;
import java.util.concurrent.TimeUnit;

/** A kind of one's own, as a class. */
final class Gadgets {
    private static final String DEFINITION = """
            apiVersion: apiextensions.k8s.io/v1
            kind: CustomResourceDefinition
            metadata: {name: gadgets.java.example.com}
            spec:
              group: java.example.com
              scope: Namespaced
              names: {plural: gadgets, singular: gadget, kind: Gadget}
              versions:
              - name: v1
                served: true
                storage: true
                subresources:
                  status: {}
                  scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}
                schema:
                  openAPIV3Schema:
                    type: object
                    properties:
                      spec:
                        type: object
                        properties: {size: {type: integer, default: 3, maximum: 9}}
                      status:
                        type: object
                        properties: {size: {type: integer}}
            """;

    public static final class Size {
        public Integer size;
    }

    @Group("java.example.com")
    @Version("v1")
    public static final class Gadget extends CustomResource<Size, Size> implements Namespaced {
        @Override
        protected Size initSpec() {
            return new Size();
        }
    }

    private final KubernetesClient client;
    private final String namespace;

    Gadgets(KubernetesClient client, String namespace) {
        this.client = client;
        this.namespace = namespace;
    }

    void run() {
        var definition = client.resource(DEFINITION);
        definition.create();
        try {
            definition.waitUntilCondition(held -> established((CustomResourceDefinition) held),
                    20, TimeUnit.SECONDS);
            used();
        } finally {
            definition.delete();
        }
    }

    private static boolean established(CustomResourceDefinition definition) {
        return definition.getStatus() != null && definition.getStatus().getConditions().stream()
                .filter(one -> one.getType().equals("Established"))
                .anyMatch(one -> one.getStatus().equals("True"));
    }

    private void used() {
        var gadgets = client.resources(Gadget.class).inNamespace(namespace);
        Gadget gadget = new Gadget();
        gadget.setMetadata(new ObjectMetaBuilder().withName("g").build());
        Gadget made = gadgets.resource(gadget).create();
        same(made.getSpec().size, 3);
        KubernetesClientException refusal = refused(422, () -> gadgets.withName("g").edit(held -> {
            held.getSpec().size = 10;
            return held;
        }));
        same(refusal.getStatus().getDetails().getCauses().get(0).getField(), "spec.size");

        Gadget seen = gadgets.withName("g").editStatus(held -> {
            held.setStatus(new Size());
            held.getStatus().size = 2;
            held.getSpec().size = 9;
            return held;
        });
        same(seen.getStatus().size, 2);
        same(seen.getSpec().size, 3);
        same(seen.getMetadata().getGeneration(), 1L);
        same(gadgets.withName("g").scale().getStatus().getReplicas(), 2);
        same(gadgets.withName("g").scale(5).getSpec().size, 5);

        made.getMetadata().setManagedFields(null);
        refused(409, () -> gadgets.resource(made).updateStatus());
        var generic = client.genericKubernetesResources("java.example.com/v1", "Gadget")
                .inNamespace(namespace);
        same(generic.withName("g").get().get("spec", "size"), 5);
        gadgets.withName("g").edit(held -> {
            held.addFinalizer("java.example.com/last");
            return held;
        });
        gadgets.withName("g").delete();
        holds(gadgets.withName("g").get().isMarkedForDeletion(), "deletion waits");
        gadgets.withName("g").edit(held -> {
            held.removeFinalizer("java.example.com/last");
            return held;
        });
        gadgets.withName("g").waitUntilCondition(held -> held == null, 20, TimeUnit.SECONDS);
    }
}
