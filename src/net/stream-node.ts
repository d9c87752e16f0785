/**
 * QEMU's stream-socket netdev (`-netdev stream`): each frame is preceded by its length as a 32-bit big-endian
 * number. passt, another QEMU or another Xenolith can be the other end. The socket lives on a thread with an
 * event loop; frames travel to and from the device model through two rings. Padding stays on this side of the socket.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { UserError } from '../base/errors.ts';
import { silentLogger, type Logger } from '../base/logger.ts';
import { MAX_FRAME, withoutPadding } from './frame.ts';
import { FrameRingConsumer, FrameRingProducer, type RingBell } from './frame-ring.ts';

/** Where the peer is: a unix socket's path, or a TCP host and port. `listen`: wait for the peer to connect. */
export type StreamAddress =
  | { readonly path: string; readonly listen?: boolean }
  | { readonly host: string; readonly port: number; readonly listen?: boolean };

/** Parse `unix:PATH`, `tcp:HOST:PORT`, each optionally with `,server` as QEMU writes it. */
export function parseStreamAddress(text: string): StreamAddress {
  const [where, ...options] = text.split(',');
  const unknown = options.find((option) => option !== 'server' && option !== 'server=on');
  const listen = options.length > 0;
  const unix = /^unix:(.+)$/.exec(where!);
  const tcp = /^tcp:([^:]*):(\d{1,5})$/.exec(where!);
  if (unknown === undefined && unix) return { path: unix[1]!, listen };
  if (unknown === undefined && tcp && Number(tcp[2]) > 0 && Number(tcp[2]) <= 65_535)
    return { host: tcp[1] || '127.0.0.1', port: Number(tcp[2]), listen };
  throw new UserError(`network address '${text}': expected unix:PATH or tcp:HOST:PORT, with ,server to wait for the peer`);
}

export interface StreamNetdevOptions {
  readonly address: StreamAddress;
  /** Ring that carries frames from the machine to the peer. */
  readonly fromMachine: SharedArrayBuffer;
  /** Ring that carries frames from the peer to the machine. */
  readonly toMachine: SharedArrayBuffer;
  /** Wakes the device model after a frame was put into `toMachine`. */
  readonly wakeMachine: RingBell;
  readonly logger?: Logger;
}

const LENGTH_BYTES = 4;
/** Frames are written to the socket in pieces of about this size. */
const BATCH_BYTES = 1 << 16;
/** While the machine's ring is full the socket is not read, and looked at again after this time. */
const RETRY_MS = 1;

/** Takes a byte stream apart into frames. */
export class StreamDeframer {
  private pending: Uint8Array = new Uint8Array(0);

  /**
   * Add bytes from the peer. Throws UserError when a length field cannot be one of a frame: the stream is out of
   * step then and nothing after it can be trusted.
   */
  push(bytes: Uint8Array): void {
    if (this.pending.length === 0) {
      this.pending = bytes;
      return;
    }
    const joined = new Uint8Array(this.pending.length + bytes.length);
    joined.set(this.pending);
    joined.set(bytes, this.pending.length);
    this.pending = joined;
  }

  /** The next whole frame, left in place until advance(). */
  peek(): Uint8Array | undefined {
    if (this.pending.length < LENGTH_BYTES) return undefined;
    const length = new DataView(this.pending.buffer, this.pending.byteOffset).getUint32(0);
    if (length === 0 || length > MAX_FRAME) {
      throw new UserError(
        `network peer: a frame of ${length} bytes was announced, expected 1 to ${MAX_FRAME}; is the other end a QEMU stream socket?`,
      );
    }
    if (this.pending.length < LENGTH_BYTES + length) return undefined;
    return this.pending.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
  }

  advance(): void {
    const frame = this.peek();
    if (frame) this.pending = this.pending.subarray(LENGTH_BYTES + frame.length);
  }
}

export class StreamNetdev {
  private readonly options: StreamNetdevOptions;
  private readonly logger: Logger;
  private readonly out: FrameRingConsumer;
  private readonly in: FrameRingProducer;
  private socket: Socket | undefined;
  private server: Server | undefined;
  private closed = false;
  /** Ends a wait for room in the socket. */
  private resume = (): void => {};
  private readonly batch = new Uint8Array(BATCH_BYTES + LENGTH_BYTES + MAX_FRAME);

  constructor(options: StreamNetdevOptions) {
    this.options = options;
    this.logger = options.logger ?? silentLogger;
    this.out = new FrameRingConsumer(options.fromMachine);
    this.in = new FrameRingProducer(options.toMachine, options.wakeMachine);
  }

  /** Connect, or listen and wait for one peer. Resolves with the connection up; rejects with UserError. */
  async open(): Promise<void> {
    const { address } = this.options;
    this.socket = await (address.listen ? this.accept(address) : this.connect(address));
    this.socket.on('close', () => this.close());
    this.socket.on('error', (error) => this.logger.warn(`network peer: ${error.message}`));
    this.receive(this.socket);
    void this.transmit(this.socket);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.out.close();
    this.in.close();
    this.socket?.destroy();
    this.server?.close();
  }

  private connect(address: StreamAddress): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ ...address });
      socket.once('connect', () => resolve(socket));
      socket.once('error', (error) =>
        reject(new UserError(`network peer at ${describe(address)}: ${error.message}; start the peer first`)),
      );
    });
  }

  private accept(address: StreamAddress): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const server = createServer((socket) => {
        server.close();
        resolve(socket);
      });
      this.server = server;
      server.once('error', (error) => reject(new UserError(`cannot listen on ${describe(address)}: ${error.message}`)));
      server.listen({ ...address });
    });
  }

  private receive(socket: Socket): void {
    const deframer = new StreamDeframer();
    const drain = (): void => {
      try {
        for (let frame = deframer.peek(); frame; frame = deframer.peek()) {
          if (!this.in.push(frame)) {
            if (this.in.closed) return;
            socket.pause();
            setTimeout(drain, RETRY_MS);
            return;
          }
          deframer.advance();
        }
        socket.resume();
      } catch (error) {
        this.logger.warn(error instanceof Error ? error.message : String(error));
        this.close();
      }
    };
    socket.on('data', (bytes: Uint8Array) => {
      deframer.push(bytes);
      drain();
    });
  }

  private async transmit(socket: Socket): Promise<void> {
    const resume = (): void => this.resume();
    socket.on('drain', resume).on('close', resume);
    for (;;) {
      await this.out.waitForFrame();
      const batch = this.gather();
      const accepted = batch.length === 0 || socket.write(batch);
      if (this.out.closed && this.out.empty) break;
      if (!accepted) await new Promise<void>((resolve) => (this.resume = resolve));
      if (this.closed) break;
    }
  }

  /** What lies in the ring, as the peer's byte stream: one piece, at most BATCH_BYTES and a frame. */
  private gather(): Uint8Array {
    const batch = this.batch;
    const view = new DataView(batch.buffer);
    let length = 0;
    for (let frame = this.out.peek(); frame && length < BATCH_BYTES; frame = this.out.peek()) {
      const packet = withoutPadding(frame);
      view.setUint32(length, packet.length);
      batch.set(packet, length + LENGTH_BYTES);
      length += LENGTH_BYTES + packet.length;
      this.out.advance();
    }
    return batch.slice(0, length);
  }
}

const describe = (address: StreamAddress): string => ('path' in address ? address.path : `${address.host}:${address.port}`);
