import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/**
 * Stands between clients and a Redis, and can do what a firewall does that lost its table: connections stay open and
 * nothing comes through any more, in either direction.
 */
export interface HalfOpenProxy {
  /** With user and password of the Redis behind it. */
  readonly url: string;
  /** Connections whose first bytes match fall silent, those that stand and those that come later. */
  silence(matching: (opening: string) => boolean, options?: { new_ones?: boolean }): void;
  /** All are let through again; bytes that were swallowed are gone. */
  heal(): void;
  /** How many connections have been silenced. */
  silenced(): number;
  close(): Promise<void>;
}

interface Pair {
  opening: string;
  readonly sockets: readonly [Socket, Socket];
  silent: boolean;
}

export async function startHalfOpenProxy(target: string): Promise<HalfOpenProxy> {
  const { hostname, port } = new URL(target);
  const pairs: Pair[] = [];
  let rule: ((opening: string) => boolean) | null = null;
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    const pair: Pair = { opening: '', sockets: [client, upstream], silent: false };
    pairs.push(pair);
    client.on('data', (bytes) => {
      // What a client calls itself stands in its first command.
      if (pair.opening.length < 500) pair.opening += bytes.toString('latin1');
      if (rule?.(pair.opening)) pair.silent = true;
      if (!pair.silent) upstream.write(bytes);
    });
    upstream.on('data', (bytes) => {
      if (!pair.silent) client.write(bytes);
    });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => undefined);
      // The end of one side is news, too, and does not come through.
      one.on('close', () => pair.silent || other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: Object.assign(new URL(target), {
      hostname: '127.0.0.1',
      port: String((server.address() as AddressInfo).port),
    }).href,
    silence: (matching, { new_ones = false } = {}) => {
      for (const pair of pairs) if (matching(pair.opening)) pair.silent = true;
      rule = new_ones ? matching : null;
    },
    heal: () => {
      rule = null;
      for (const pair of pairs) pair.silent = false;
    },
    silenced: () => pairs.filter(({ silent }) => silent).length,
    close: async () => {
      for (const { sockets } of pairs) for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
