import { Socket } from 'node:net';
import { expect, inject, onTestFinished, test, vi } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';
import { until } from '../support/until.ts';
import { startWireProxy } from './wire-proxy.ts';

/**
 * The sockets of a killed server are destroyed a moment before their users hear of it. In this moment the driver writes to
 * one: it is told nothing, and waits for ever. `which` says of what it writes in this moment.
 */
function destroyWhenWritten(port: number, which: (message: string) => boolean): { readonly times: number } {
  const met = { times: 0 };
  const write = Reflect.get(Socket.prototype, 'write') as (...args: unknown[]) => boolean;
  const spy = vi.spyOn(Socket.prototype, 'write').mockImplementation(function (this: Socket, ...args) {
    if (this.remotePort === port && which(Buffer.from(args[0] as Uint8Array).toString('latin1'))) {
      met.times += 1;
      this.destroy();
    }
    return write.apply(this, args);
  });
  onTestFinished(() => spy.mockRestore());
  return met;
}

async function through(mongodb: object) {
  const proxy = await startWireProxy(inject('mongodb'));
  const { url } = proxy;
  const place = await mongoPlace({ mongodb: { url, ...mongodb } });
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  return { proxy, records: store.records, port: Number(new URL(url).port) };
}

describeMongodb('a driver that comes to stand still', () => {
  test('an operation that it waits for without an end is given up, and asked for again', async () => {
    const { records, port } = await through({ answer_seconds: 0.5 });
    let left = 1;
    const met = destroyWhenWritten(port, (message) => message.includes('longshore_notes') && left-- > 0);
    await records.setNote('a', 1);
    expect(met.times).toBe(1);
    expect(await records.note('a')).toBe(1);
  });

  test('a client whose monitor waits without an end finds the server again', async () => {
    const { proxy, records, port } = await through({});
    let spoilt = true;
    // What a new connection says first names the driver; what the monitor asks again and again does not.
    const isLook = (message: string): boolean =>
      /hello|ismaster/i.test(message) && !message.includes('nodejs');
    const met = destroyWhenWritten(port, (message) => spoilt && isLook(message));
    let lost = 0; // The first write from now on: opening the database writes, too.
    proxy.decide = () => (lost++ === 0 ? 'lose the answer' : 'pass');
    // Others who ask at the same time come through the closing and the new connection, too.
    const written = Promise.all(['a', 'b', 'c', 'd'].map((key) => records.setNote(key, key)));
    await until(() => met.times > 0, { what: 'the monitor to look for the server' });
    spoilt = false;
    const asked: Promise<unknown>[] = [];
    const asking = setInterval(() => asked.push(records.note('a')), 20);
    await written.finally(() => clearInterval(asking));
    expect(new Set(await Promise.all(asked))).toEqual(new Set(['a']));
    expect(await records.note('d')).toBe('d');
  });
});
