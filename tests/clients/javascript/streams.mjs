// Exec, logs and a forwarded port, by the JavaScript client: `node streams.mjs NAMESPACE`.
import assert from 'node:assert/strict';
import net from 'node:net';
import { PassThrough } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const namespace = process.argv[2];
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const command = 'echo started; mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www';
const body = {
  metadata: { name: 'web' },
  spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'web', image: 'busybox', command: ['sh', '-c', command] }] },
};
await core.createNamespacedPod({ namespace, body });
for (let pod; pod?.status.phase !== 'Running'; ) {
  pod = await core.readNamespacedPod({ namespace, name: 'web' });
  await new Promise((resolve) => setTimeout(resolve, 50));
}

const text = async (stream) => (await stream.toArray()).join('');
const run = async (command, input = null) => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  const status = await new Promise((resolve, reject) => {
    new k8s.Exec(config).exec(namespace, 'web', 'web', command, out, err, input, false, resolve).catch(reject);
  });
  out.end();
  err.end();
  return [await text(out), await text(err), status];
};
const [served, , fine] = await run(['cat', '/www/index.html']);
assert.equal(served, 'hello\n');
assert.equal(fine.status, 'Success');
const input = new PassThrough();
input.write('words\n');
const [out, err, failed] = await run(['sh', '-c', 'read x; echo $x; echo bad >&2; exit 7'], input);
assert.deepEqual([out, err], ['words\n', 'bad\n']);
assert.equal(failed.details.causes[0].message, '7');

const logged = new PassThrough();
const following = await new k8s.Log(config).log(namespace, 'web', 'web', logged, { follow: true });
for await (const chunk of logged) {
  assert.equal(String(chunk), 'started\n');
  break;
}
following.abort();

const forward = new k8s.PortForward(config);
const server = net.createServer((socket) => {
  forward.portForward(namespace, 'web', [8080], socket, null, socket);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const answer = await fetch(`http://127.0.0.1:${server.address().port}/`, { headers: { Connection: 'close' } });
assert.equal(await answer.text(), 'hello\n');
console.log('all was so');
process.exit(0);
