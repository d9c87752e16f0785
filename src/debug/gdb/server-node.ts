/** GDB's end of the line: a TCP port (of the loopback interface, unless another is named) or a Unix socket. One client at a time. */
import { createServer, type Server, type Socket } from 'node:net';
import { UserError } from '../../base/errors.ts';
import type { Debugger } from '../commands.ts';
import { packet, PacketReader } from './packets.ts';
import { GdbSession } from './session.ts';

/** `HOST:PORT`, `:PORT` or `unix:PATH`. Throws UserError for anything else. */
export function parseGdbAddress(text: string): { readonly path: string } | { readonly host: string; readonly port: number } {
  if (text.startsWith('unix:') && text.length > 'unix:'.length) return { path: text.slice('unix:'.length) };
  const [, host = '', port = ''] = /^(.*):(\d{1,5})$/.exec(text) ?? [];
  if (port === '' || Number(port) > 65535) throw new UserError(`--gdb ${text}: expected HOST:PORT, :PORT or unix:PATH`);
  return { host: host.replace(/^\[(.*)\]$/, '$1') || '127.0.0.1', port: Number(port) };
}

/** Serve clients until close() is called. `say` tells a person what happens. */
export function serveGdb(
  debug: Debugger,
  address: ReturnType<typeof parseGdbAddress>,
  say: (text: string) => void,
): Promise<{ readonly address: string; readonly done: Promise<void>; close(): void }> {
  let client: Socket | undefined;
  let finish = (): void => {};
  const done = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const server: Server = createServer((socket) => {
    if (client !== undefined) {
      say('gdb: a second client was refused; one is here already');
      socket.destroy();
      return;
    }
    client = socket;
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      client = undefined;
    });
    serve(debug, socket, say).then(
      (isOver) => {
        if (!isOver) return;
        server.close();
        finish();
      },
      (error: Error) => {
        say(`gdb: ${error.message}`);
        socket.destroy();
      },
    );
  });
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new UserError(`--gdb: cannot listen: ${error.message}`)));
    server.listen('path' in address ? { path: address.path } : address, () => {
      const at = server.address();
      const name = typeof at === 'string' ? `unix:${at}` : `${at!.address}:${at!.port}`;
      resolve({
        address: name,
        done,
        close: () => {
          client?.destroy();
          server.close();
          finish();
        },
      });
    });
  });
}

/** One client, packet by packet. True: it killed the machine; false: it went away. */
async function serve(debug: Debugger, socket: Socket, say: (text: string) => void): Promise<boolean> {
  const session = new GdbSession(debug);
  const reader = new PacketReader();
  const waiting: string[] = [];
  let last = '';
  let wake = (): void => {};
  let isOpen = true;
  socket.on('data', (bytes) => {
    const input = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
    for (const item of reader.take(input, session.noAck ? null : (text) => socket.write(text))) {
      if (item.kind === 'packet') waiting.push(item.data);
      else if (item.kind === 'interrupt') session.interrupt();
      else socket.write(last, 'latin1');
    }
    wake();
  });
  socket.on('close', () => {
    isOpen = false;
    session.interrupt();
    wake();
  });
  const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  say('gdb: a client is here');
  while (isOpen) {
    const data = waiting.shift();
    if (data === undefined) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
      continue;
    }
    const answer = await session.answer(data, breathe);
    if (answer === undefined) {
      socket.end();
      return true;
    }
    last = packet(answer);
    socket.write(last, 'latin1');
    if (data === 'D') socket.end();
  }
  say('gdb: the client has gone');
  return false;
}
