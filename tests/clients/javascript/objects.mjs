// Lists, watches, an informer and patches, by the JavaScript client: `node objects.mjs NAMESPACE`.
import assert from 'node:assert/strict';
import { once, EventEmitter } from 'node:events';
import * as k8s from '@kubernetes/client-node';

const namespace = process.argv[2];
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const data = (name, held) => ({ metadata: { name, labels: { x: 'y' } }, data: held });

// an informer, from the start on
const told = [];
const tells = new EventEmitter();
const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: 'x=y' });
const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list, 'x=y');
for (const verb of ['add', 'update', 'delete']) {
  informer.on(verb, (object) => {
    told.push(`${verb} ${object.metadata.name}`);
    tells.emit(told.at(-1));
  });
}
informer.on('error', (error) => error.type === 'aborted' || tells.emit('error', error)); // stop aborts
await informer.start();
const heard = async (words) => told.includes(words) || (await once(tells, words));

// writes
const made = await core.createNamespacedConfigMap({ namespace, body: data('a', { k: 'v' }) });
assert.ok(made.metadata.uid);
assert.ok(made.metadata.creationTimestamp instanceof Date);
await heard('add a');
await core.replaceNamespacedConfigMap({ namespace, name: 'a', body: data('a', { k: 'w' }) });
await assert.rejects(
  core.replaceNamespacedConfigMap({ namespace, name: 'a', body: made }),
  (error) => error.code === 409 && JSON.parse(error.body).reason === 'Conflict',
);

// patches
const patch = (body, strategy) =>
  core.patchNamespacedConfigMap({ namespace, name: 'a', body }, k8s.setHeaderOptions('Content-Type', strategy));
await patch([{ op: 'replace', path: '/data/k', value: 'x' }], k8s.PatchStrategy.JsonPatch);
await patch({ data: { l: 'm' } }, k8s.PatchStrategy.MergePatch);
const last = await patch({ data: { n: 'o' } }, k8s.PatchStrategy.StrategicMergePatch);
assert.deepEqual(last.data, { k: 'x', l: 'm', n: 'o' });
await heard('update a');
const applied = await objects.patch(
  { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b', namespace, labels: { x: 'y' } }, data: { p: 'q' } },
  undefined, undefined, 'me', true, k8s.PatchStrategy.ServerSideApply,
);
assert.equal(applied.data.p, 'q');
await heard('add b');
assert.deepEqual(informer.list(namespace).map((held) => held.metadata.name).sort(), ['a', 'b']);
assert.deepEqual(informer.get('a', namespace).data, last.data);

// a watch that goes on from where the list was
const since = (await list()).metadata.resourceVersion;
await core.deleteNamespacedConfigMap({ namespace, name: 'a' });
const seen = await new Promise((resolve, reject) => {
  const watch = new k8s.Watch(config);
  watch.watch(
    `/api/v1/namespaces/${namespace}/configmaps`, { resourceVersion: since, timeoutSeconds: 30 },
    (type, object) => resolve(`${type} ${object.metadata.name}`), reject,
  ).then((request) => tells.once('end', () => request.abort()));
});
assert.equal(seen, 'DELETED a');
await heard('delete a');
tells.emit('end');

// a custom kind, by the generic client
const definition = {
  apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition',
  metadata: { name: 'gadgets.javascript.example.com' },
  spec: {
    group: 'javascript.example.com', scope: 'Namespaced', names: { plural: 'gadgets', kind: 'Gadget' },
    versions: [{
      name: 'v1', served: true, storage: true, subresources: { status: {} },
      schema: { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { size: { type: 'integer', _default: 3 } } } } } },
    }],
  },
};
await objects.create(definition);
try {
  const gadget = { apiVersion: 'javascript.example.com/v1', kind: 'Gadget', metadata: { name: 'g', namespace }, spec: {} };
  for (let tries = 0; ; tries++) {
    try {
      assert.equal((await objects.create(gadget)).spec.size, 3);
      break;
    } catch (error) {
      if (tries === 50 || error.code !== 404) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  assert.equal((await objects.read(gadget)).spec.size, 3);
  const custom = config.makeApiClient(k8s.CustomObjectsApi);
  const place = { group: 'javascript.example.com', version: 'v1', namespace, plural: 'gadgets' };
  assert.equal((await custom.listNamespacedCustomObject(place)).items.length, 1);
} finally {
  await objects.delete(definition);
}
await informer.stop();
console.log('all was so');
