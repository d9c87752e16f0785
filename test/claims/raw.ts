/**
 * The files of one analysis, read anew for the checker of stories: a parser of each format that knows only what a check needs,
 * and shares no code with the reader under test. Sources: xen/include/public/trace.h, QEMU's trace-events, pcap-savefile(5),
 * the pcapng draft.
 */

/** One trace record. */
export interface RawRecord {
  readonly offset: number;
  readonly event: number;
  readonly cpu: number;
  readonly tsc: bigint;
  readonly words: readonly number[];
  /** Current on the CPU when it was written; undefined where no record tells. */
  readonly dom: number | undefined;
  readonly vcpu: number | undefined;
}

const CPU_CHANGE = 0x0001f003;
const LOST = 0x0001f001;
const RUNSTATE = 0x00021001;
const RUNSTATE_MASK = 0x0ffff00f;
const STATES = ['running', 'runnable', 'blocked', 'offline'] as const;

/** `running→offline`; undefined for another record. */
export function runstateOf(r: RawRecord): { from: string; to: string; dom: number; vcpu: number } | undefined {
  const { event } = r;
  if ((event & RUNSTATE_MASK) !== RUNSTATE) return undefined;
  const from = STATES[(event >>> 8) & 15];
  const to = STATES[(event >>> 4) & 15];
  const word = r.words[0];
  return from === undefined || to === undefined || word === undefined
    ? undefined
    : { from, to, dom: word >>> 16, vcpu: word & 0xffff };
}

/** Every record of an xentrace file, in the order of time. */
export function rawTrace(bytes: Uint8Array): RawRecord[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const all: { -readonly [K in keyof RawRecord]: RawRecord[K] }[] = [];
  let cpu = 0;
  const last = new Map<number, bigint>();
  for (let at = 0; at + 4 <= bytes.length; ) {
    const header = view.getUint32(at, true);
    const event = header & 0x0fffffff;
    const extra = (header >>> 28) & 7;
    const hasTsc = header >>> 31 === 1;
    const size = 4 + (hasTsc ? 8 : 0) + 4 * extra;
    if (at + size > bytes.length) break;
    const words: number[] = [];
    for (let i = 0; i < extra; i++) words.push(view.getUint32(at + size - 4 * extra + 4 * i, true));
    if (event === CPU_CHANGE) {
      cpu = words[0]!;
      at += size;
      continue;
    }
    const tsc = hasTsc ? view.getBigUint64(at + 4, true) : (last.get(cpu) ?? 0n);
    last.set(cpu, tsc);
    all.push({ offset: at, event, cpu, tsc, words, dom: undefined, vcpu: undefined });
    at += size;
  }
  // A record without a time keeps its place behind the one before it on its CPU: a stable sort by time does that.
  all.sort((a, b) => (a.tsc < b.tsc ? -1 : a.tsc > b.tsc ? 1 : 0));
  const current = new Map<number, { dom: number; vcpu: number }>();
  for (const r of all) {
    const now = current.get(r.cpu);
    r.dom = now?.dom;
    r.vcpu = now?.vcpu;
    const change = runstateOf(r);
    if (change?.to === 'running') current.set(r.cpu, change);
    if (r.event === LOST) current.delete(r.cpu);
  }
  return all;
}

const HVM = 0x00082000;
const W64 = 0x100;

/** What an I/O record says; undefined for another record. */
export function ioOf(
  r: RawRecord,
): { space: 'mmio' | 'pio'; dir: 'read' | 'write'; addr: number; data: bigint | undefined } | undefined {
  const { words } = r;
  const wide = (r.event & W64) !== 0;
  const kind = r.event & ~W64;
  const names: Record<number, ['mmio' | 'pio', 'read' | 'write']> = {
    [HVM + 0x16]: ['pio', 'read'],
    [HVM + 0x216]: ['pio', 'write'],
    [HVM + 0x17]: ['mmio', 'read'],
    [HVM + 0x217]: ['mmio', 'write'],
  };
  const found = names[kind];
  if (found === undefined) return undefined;
  const [space, dir] = found;
  if (!wide || space === 'pio')
    return { space, dir, addr: words[0]!, data: words[1] === undefined ? undefined : BigInt(words[1]) };
  const addr = words[0]! + words[1]! * 2 ** 32;
  return { space, dir, addr, data: words[2] === undefined ? undefined : BigInt(words[2]) | (BigInt(words[3] ?? 0) << 32n) };
}

/** A VM exit's RIP; undefined for another record. */
export function exitOf(r: RawRecord): { rip: bigint } | undefined {
  if (r.event >>> 16 !== 8 || (r.event & 0xf000) !== 0x1000) return undefined;
  const low = r.event & 0xfff & ~W64;
  if (low !== 2 && low !== 3) return undefined;
  const wide = (r.event & W64) !== 0;
  return { rip: BigInt(r.words[1]!) | (wide ? BigInt(r.words[2]!) << 32n : 0n) };
}

export const isEntry = (r: RawRecord): boolean => (r.event & ~W64) === 0x00081001;

/** A nested page fault: page, machine frame, p2m type. */
export function npfOf(r: RawRecord): { gpa: number; mfn: bigint; type: number } | undefined {
  if ((r.event & ~W64) !== HVM + 0x21) return undefined;
  const w = r.words;
  return { gpa: w[0]! + w[1]! * 2 ** 32, mfn: BigInt(w[2]!) | (BigInt(w[3]!) << 32n), type: w[5]! };
}

export const injectionOf = (r: RawRecord): number | undefined =>
  (r.event & ~W64) === HVM + 0x04 ? r.words[0]! & 0xff : undefined;

/** Number of a PV domain's hypercall. */
export function hypercallOf(r: RawRecord): number | undefined {
  if ((r.event & ~W64) === 0x0020100d) return r.words[0]! & 0xfffff;
  if ((r.event & ~W64) === 0x00201001) return r.words[(r.event & W64) !== 0 ? 2 : 1];
  return undefined;
}

/** A p2m entry that was set. */
export function p2mOf(r: RawRecord): { gfn: number; mfn: bigint; dom: number; order: number } | undefined {
  if (r.event !== 0x0010f004 || r.words.length < 6) return undefined;
  const w = r.words;
  return { gfn: w[0]! + w[1]! * 2 ** 32, mfn: BigInt(w[2]!) | (BigInt(w[3]!) << 32n), dom: w[5]! & 0xffff, order: w[5]! >>> 16 };
}

/** A line of a device model's log. */
export interface RawLine {
  readonly line: number;
  readonly text: string;
  /** Nanoseconds since 1970. */
  readonly ns: bigint | undefined;
  /** How fine the stamp is. */
  readonly resolutionNs: number;
}

export interface RawRequest {
  readonly line: RawLine;
  readonly type: number;
  readonly dir: 'read' | 'write';
  readonly addr: number;
  readonly sent: bigint;
  readonly count: number;
  readonly size: number;
  /** Written, or answered. */
  data: bigint | undefined;
  /** Handler's name. */
  region: string | undefined;
  /** Lines of it, up to the next request. */
  readonly lines: RawLine[];
}

export interface RawLog {
  readonly lines: ReadonlyMap<number, RawLine>;
  readonly requests: readonly RawRequest[];
  /** Map-cache questions with their answers. */
  readonly maps: readonly {
    readonly line: RawLine;
    readonly gpa: number;
    readonly pointer: bigint | undefined;
    readonly remapped: boolean;
    readonly until: number;
  }[];
  readonly serverMfn: number | undefined;
}

export function rawLog(text: string): RawLog {
  const lines = new Map<number, RawLine>();
  const requests: RawRequest[] = [];
  const maps: { line: RawLine; gpa: number; pointer: bigint | undefined; remapped: boolean; until: number }[] = [];
  let serverMfn: number | undefined;
  text.split('\n').forEach((whole, i) => {
    const m = /^\d+@(\d+)\.(\d+):(.*)$/.exec(whole.trim());
    const line: RawLine = {
      line: i + 1,
      text: m === null ? whole.trim() : m[3]!,
      ns: m === null ? undefined : BigInt(m[1]!) * 1_000_000_000n + BigInt(m[2]!.padEnd(9, '0')),
      resolutionNs: m === null ? 0 : 10 ** (9 - m[2]!.length),
    };
    lines.set(i + 1, line);
    const words = new Map([...line.text.matchAll(/(\w+)=(\S+)/g)].map((x) => [x[1]!, x[2]!]));
    const request = requests.at(-1);
    if (line.text.startsWith('handle_ioreq ')) {
      const read = words.get('dir') === '1';
      const sent = BigInt(words.get('data')!);
      requests.push({
        line,
        type: Number(words.get('type')),
        dir: read ? 'read' : 'write',
        addr: Number(words.get('port')),
        sent,
        count: Number(words.get('count')),
        size: Number(words.get('size')),
        data: read ? undefined : sent,
        region: undefined,
        lines: [],
      });
    } else if (request !== undefined) {
      request.lines.push(line);
      if (line.text.startsWith('handle_ioreq_read ')) request.data = BigInt(words.get('data')!);
      const region = /^memory_region_ops_.* name '([^']*)'/.exec(line.text)?.[1];
      if (region !== undefined) request.region ??= region;
    }
    const want = /^xen_map_cache want 0x([0-9a-f]+)/.exec(line.text)?.[1];
    const answer = /^xen_map_cache_return 0x([0-9a-f]+)/.exec(line.text)?.[1];
    if (want !== undefined) maps.push({ line, gpa: parseInt(want, 16), pointer: undefined, remapped: false, until: i + 1 });
    else if (line.text.startsWith('xen_remap_bucket') && maps.length > 0) maps.at(-1)!.remapped = true;
    else if (answer !== undefined && maps.length > 0)
      Object.assign(maps.at(-1)!, { pointer: BigInt(`0x${answer}`), until: i + 1 });
    const mfn = /^# ioreq server .* machine frame 0x([0-9a-f]+)/.exec(line.text)?.[1];
    if (mfn !== undefined) serverMfn = parseInt(mfn, 16);
  });
  return { lines, requests, maps, serverMfn };
}

export interface RawFrame {
  readonly ns: bigint;
  readonly data: Uint8Array;
  readonly wire: number;
}

/** Frames of a pcap or pcapng file, from 1. */
export function rawCapture(bytes: Uint8Array): RawFrame[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frames: RawFrame[] = [];
  if (view.getUint32(0, true) === 0x0a0d0d0a) {
    const perSecond: bigint[] = [];
    for (let at = 0; at + 12 <= bytes.length; ) {
      const type = view.getUint32(at, true);
      const length = view.getUint32(at + 4, true);
      if (type === 1) {
        let ticks = 1_000_000n;
        for (let o = at + 16; o + 4 < at + length - 4; ) {
          const code = view.getUint16(o, true);
          const n = view.getUint16(o + 2, true);
          if (code === 0) break;
          if (code === 9) ticks = 10n ** BigInt(bytes[o + 4]!);
          o += 4 + ((n + 3) & ~3);
        }
        perSecond.push(ticks);
      } else if (type === 6) {
        const ticks = (BigInt(view.getUint32(at + 12, true)) << 32n) | BigInt(view.getUint32(at + 16, true));
        const n = view.getUint32(at + 20, true);
        const rate = perSecond[view.getUint32(at + 8, true)]!;
        frames.push({
          ns: (ticks * 1_000_000_000n) / rate,
          data: bytes.subarray(at + 28, at + 28 + n),
          wire: view.getUint32(at + 24, true),
        });
      }
      at += length;
    }
    return frames;
  }
  for (let at = 24; at + 16 <= bytes.length; ) {
    const n = view.getUint32(at + 8, true);
    frames.push({
      ns: BigInt(view.getUint32(at, true)) * 1_000_000_000n + BigInt(view.getUint32(at + 4, true)) * 1000n,
      data: bytes.subarray(at + 16, at + 16 + n),
      wire: view.getUint32(at + 12, true),
    });
    at += 16 + n;
  }
  return frames;
}

export const macText = (data: Uint8Array, at: number): string =>
  [...data.subarray(at, at + 6)].map((b) => b.toString(16).padStart(2, '0')).join(':');
