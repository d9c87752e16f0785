/**
 * What a machine's thread puts out, on its way to the thread that writes it: a ring of bounded size in shared memory. A producer
 * that finds no room waits, so that a guest which writes faster than its console, trace or log is taken runs slower and nothing
 * grows. One producer, one consumer; the cursors run modulo 2^32, the capacity is a power of two.
 */
import type { JobOutput, StreamedOutput } from './job.ts';

/** Index of words: bytes ever produced and consumed; 1 while the producer waits for room; 1 while the consumer is told already. */
const HEAD = 0;
const TAIL = 1;
const WAITING = 2;
const TOLD = 3;
const HEADER_BYTES = 64;

/** Bytes that a thread's output may lie before they are taken: the bound of what a slow reader makes the process hold. */
const OUTPUT_RING_BYTES = 1 << 22;
/** Bytes of a record before its payload: kind, and the payload's length. */
const RECORD_HEAD = 8;
/** Longer outputs are cut into records of this size. */
const LARGEST_PAYLOAD = 1 << 18;
/** What a consumer is handed at once, where many small records follow one another. */
const GATHER_BYTES = 1 << 16;

const KINDS = ['console', 'trace', 'pcap', 'log', 'debug', 'info', 'warn'] as const;
type Kind = (typeof KINDS)[number];

export const createOutputRing = (capacity = OUTPUT_RING_BYTES): SharedArrayBuffer =>
  new SharedArrayBuffer(HEADER_BYTES + capacity);

/** Whether the producer of a ring waits for its consumer. */
export function isHeldUp(buffer: SharedArrayBuffer): boolean {
  return Atomics.load(new Int32Array(buffer, 0, HEADER_BYTES / 4), WAITING) !== 0;
}

class RingView {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly data: Uint8Array;
  readonly capacity: number;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    this.data = new Uint8Array(buffer, HEADER_BYTES);
    this.capacity = this.data.length;
  }

  get used(): number {
    return (Atomics.load(this.words, HEAD) - Atomics.load(this.words, TAIL)) >>> 0;
  }

  /** Copies to or from the ring at a cursor, around its end. */
  copyIn(cursor: number, bytes: Uint8Array): void {
    const at = cursor & (this.capacity - 1);
    const first = Math.min(bytes.length, this.capacity - at);
    this.data.set(bytes.subarray(0, first), at);
    if (first < bytes.length) this.data.set(bytes.subarray(first), 0);
  }

  copyOut(cursor: number, bytes: Uint8Array): void {
    const at = cursor & (this.capacity - 1);
    const first = Math.min(bytes.length, this.capacity - at);
    bytes.set(this.data.subarray(at, at + first));
    if (first < bytes.length) bytes.set(this.data.subarray(0, bytes.length - first), first);
  }
}

export class OutputProducer {
  private readonly ring: RingView;
  private readonly tell: () => void;
  private readonly head = new Uint8Array(RECORD_HEAD);
  private readonly headView = new DataView(this.head.buffer);
  private readonly encoder = new TextEncoder();

  /** @param tell tells the consumer's thread that something lies in the ring, once until it has looked */
  constructor(buffer: SharedArrayBuffer, tell: () => void) {
    this.ring = new RingView(buffer);
    this.tell = tell;
  }

  /** Puts out; waits while there is no room. */
  put(output: StreamedOutput): void {
    switch (output.kind) {
      case 'log':
        this.putBytes('log', this.encoder.encode(output.text));
        break;
      case 'say':
        // One record, so that it stays one line.
        this.putBytes(output.level, this.encoder.encode(output.text).subarray(0, LARGEST_PAYLOAD));
        break;
      default:
        this.putBytes(output.kind, output.bytes);
    }
  }

  private putBytes(kind: Kind, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += LARGEST_PAYLOAD) this.putRecord(kind, bytes.subarray(at, at + LARGEST_PAYLOAD));
  }

  private putRecord(kind: Kind, payload: Uint8Array): void {
    const { ring } = this;
    const { words } = ring;
    const need = RECORD_HEAD + payload.length;
    while (ring.used + need > ring.capacity) {
      const tail = Atomics.load(words, TAIL);
      Atomics.store(words, WAITING, 1);
      this.announce();
      // The consumer may have taken something before it could see that somebody waits.
      if (ring.used + need > ring.capacity) Atomics.wait(words, TAIL, tail);
    }
    Atomics.store(words, WAITING, 0);
    const head = Atomics.load(words, HEAD) >>> 0;
    this.headView.setUint32(0, KINDS.indexOf(kind), true);
    this.headView.setUint32(4, payload.length, true);
    ring.copyIn(head, this.head);
    ring.copyIn((head + RECORD_HEAD) >>> 0, payload);
    Atomics.store(words, HEAD, (head + need) | 0);
    this.announce();
  }

  private announce(): void {
    if (Atomics.exchange(this.ring.words, TOLD, 1) === 0) this.tell();
  }
}

/** Takes what was put out. A promise says that it can take no more until it is settled. */
export type TakeOutput = (output: JobOutput) => void | Promise<void>;

type TakeStream = (output: StreamedOutput) => void | Promise<void>;

export class OutputConsumer {
  private readonly ring: RingView;
  private readonly take: TakeStream;
  private readonly head = new Uint8Array(RECORD_HEAD);
  private readonly headView = new DataView(this.head.buffer);
  /** A log's characters may be cut between two records. */
  private readonly logDecoder = new TextDecoder();
  private draining: Promise<void> | undefined;

  constructor(buffer: SharedArrayBuffer, take: TakeStream) {
    this.ring = new RingView(buffer);
    this.take = take;
  }

  /** Hands on all that lies in the ring; resolves when it is empty. */
  async drain(): Promise<void> {
    // Something may have come in while another drain ended.
    while (this.draining !== undefined) await this.draining;
    this.draining = this.drainOnce();
    try {
      await this.draining;
    } finally {
      this.draining = undefined;
    }
  }

  private async drainOnce(): Promise<void> {
    Atomics.store(this.ring.words, TOLD, 0);
    for (let output = this.next(); output !== undefined; output = this.next()) {
      const full = this.take(output);
      if (full !== undefined) await full;
    }
  }

  /** The next records of one kind, as one output. */
  private next(): StreamedOutput | undefined {
    const { ring } = this;
    const parts: Uint8Array[] = [];
    let kind: Kind | undefined;
    let gathered = 0;
    let cursor = Atomics.load(ring.words, TAIL) >>> 0;
    const end = Atomics.load(ring.words, HEAD) >>> 0;
    while (cursor !== end && gathered < GATHER_BYTES) {
      ring.copyOut(cursor, this.head);
      const found = KINDS[this.headView.getUint32(0, true)]!;
      if (kind !== undefined && (found !== kind || !isStream(kind))) break;
      kind = found;
      const payload = new Uint8Array(this.headView.getUint32(4, true));
      ring.copyOut((cursor + RECORD_HEAD) >>> 0, payload);
      parts.push(payload);
      gathered += payload.length;
      cursor = (cursor + RECORD_HEAD + payload.length) >>> 0;
    }
    if (kind === undefined) return undefined;
    Atomics.store(ring.words, TAIL, cursor | 0);
    Atomics.notify(ring.words, TAIL);
    const bytes = joined(parts, gathered);
    if (kind === 'console' || kind === 'trace' || kind === 'pcap') return { kind, bytes };
    if (kind === 'log') return { kind, text: this.logDecoder.decode(bytes, { stream: true }) };
    return { kind: 'say', level: kind, text: new TextDecoder().decode(bytes) };
  }
}

const isStream = (kind: Kind): boolean => kind === 'console' || kind === 'trace' || kind === 'pcap' || kind === 'log';

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
