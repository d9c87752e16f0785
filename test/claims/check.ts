/**
 * Holds every sentence of a story against the raw files. A sentence is known by its words: one whose words are not known here is
 * a problem too, so that nothing is told unchecked. What a sentence says is computed anew from records, lines and frames
 * (raw.ts), never from the reader's own objects.
 */
import type { Story } from '../../src/analyze/index.ts';
import {
  exitOf,
  hypercallOf,
  injectionOf,
  ioOf,
  isEntry,
  macText,
  npfOf,
  p2mOf,
  runstateOf,
  type RawFrame,
  type RawLine,
  type RawLog,
  type RawRecord,
  type RawRequest,
} from './raw.ts';
import { strongRules } from './rules.ts';

/** Everything that is known of one set of files. */
export interface ClaimFiles {
  readonly records: readonly RawRecord[];
  /** True TSC rate. */
  readonly hz: number;
  /** The log that is truly of each domain's device model. */
  readonly logs: ReadonlyMap<number, RawLog>;
  readonly frames: readonly RawFrame[];
  /** True station addresses of each domain. */
  readonly stations: ReadonlyMap<number, readonly string[]>;
}

type Ref = Story['hops'][number]['refs'][number];
interface Said {
  readonly text: string;
  readonly strength: string;
  readonly refs: readonly Ref[];
}

/** RTL8139 registers by offset, C mode and C+ mode, as the data sheet and the drivers name them. */
const RTL8139: Readonly<Record<number, string>> = {
  16: 'TxStatus0|StatsAddr',
  20: 'TxStatus1|StatsAddrHI',
  24: 'TxStatus2',
  28: 'TxStatus3',
  32: 'TxAddr0|TxRingAddr',
  36: 'TxAddr1|TxRingAddrHI',
  40: 'TxAddr2|HiTxRingAddr',
  44: 'TxAddr3|HiTxRingAddrHI',
  48: 'RxBuf',
  55: 'ChipCmd',
  56: 'RxBufPtr',
  60: 'IntrMask',
  62: 'IntrStatus',
  64: 'TxConfig',
  68: 'RxConfig',
  76: 'RxMissed',
  80: 'Cfg9346',
  82: 'Config1',
  88: 'MediaStatus',
  90: 'Config4',
  98: 'BasicModeCtrl',
  100: 'BasicModeStatus',
  102: 'NWayAdvert',
  216: 'Config5',
  217: 'TxPoll',
  224: 'CpCmd',
  228: 'RxRingAddr',
  232: 'RxRingAddrHI',
  236: 'TxThresh',
};
/** 82540EM registers that a driver's packets meet. */
const E1000: Readonly<Record<number, string>> = {
  0: 'CTRL',
  8: 'STATUS',
  16: 'EECD',
  20: 'EERD',
  192: 'ICR',
  196: 'ITR',
  200: 'ICS',
  208: 'IMS',
  216: 'IMC',
  256: 'RCTL',
  1024: 'TCTL',
  10240: 'RDBAL',
  10244: 'RDBAH',
  10248: 'RDLEN',
  10256: 'RDH',
  10264: 'RDT',
  14336: 'TDBAL',
  14340: 'TDBAH',
  14344: 'TDLEN',
  14352: 'TDH',
  14360: 'TDT',
};
const BUFFERABLE = 0xfffff;
const MAPPING_CALLS = [1, 14, 22, 12, 20, 13];

/** A frame without an 802.1Q tag. */
const untagged = (data: Uint8Array): Uint8Array =>
  data[12] === 0x81 && data[13] === 0 ? Uint8Array.from([...data.subarray(0, 12), ...data.subarray(16)]) : data;

export class Checker {
  readonly problems: string[] = [];
  private readonly f: ClaimFiles;
  private readonly at = new Map<number, number>();
  private story!: Story;
  private name = '';
  private current!: Said;
  /** Rules that met a sentence, with how often. */
  readonly used = new Map<string, number>();
  private readonly strong = strongRules();

  constructor(files: ClaimFiles) {
    this.f = files;
    files.records.forEach((r, i) => this.at.set(r.offset, i));
  }

  private wrong(what: string): void {
    this.problems.push(`${this.name}: "${this.current.text}": ${what}`);
  }

  private same(what: string, told: unknown, found: unknown): void {
    if (String(told) !== String(found)) this.wrong(`${what} is ${String(found)}, not ${String(told)}`);
  }

  private ok(what: string, holds: boolean): void {
    if (!holds) this.wrong(what);
  }

  /** Records that a sentence refers to, in its order. */
  private records(): RawRecord[] {
    return this.current.refs
      .filter((r) => r.file === 'trace')
      .map((r) => this.f.records[this.at.get(r.at) ?? -1]!)
      .filter((r) => r !== undefined);
  }

  private get log(): RawLog | undefined {
    return this.story.domain === undefined ? [...this.f.logs.values()][0] : this.f.logs.get(this.story.domain);
  }

  private lines(): RawLine[] {
    return this.current.refs
      .filter((r) => r.file === 'dm-log')
      .map((r) => this.log?.lines.get(r.at))
      .filter((l) => l !== undefined);
  }

  private requestAt(line: number): RawRequest | undefined {
    return this.log?.requests.find((r) => r.line.line === line);
  }

  /** The request that a sentence refers to. */
  private request(): RawRequest | undefined {
    for (const l of this.lines()) {
      const r = this.requestAt(l.line);
      if (r !== undefined) return r;
    }
    return undefined;
  }

  private us(a: RawRecord, b: RawRecord): number {
    return (Number(b.tsc - a.tsc) / this.f.hz) * 1e6;
  }

  /** Microseconds as printed are right within the rate's error and rounding. */
  private time(what: string, told: string, found: number): void {
    const value = Number(told);
    if (!(Math.abs(value - found) <= 0.11 + Math.abs(found) * 5e-4)) this.wrong(`${what} is ${found.toFixed(2)} µs, not ${told}`);
  }

  /** The whole of one access, found anew from its record. */
  private accessAt(i: number): {
    exit: RawRecord | undefined;
    entry: RawRecord | undefined;
    blocked: RawRecord | undefined;
    woken: RawRecord | undefined;
    resumed: RawRecord | undefined;
  } {
    const r = this.f.records[i]!;
    const mine = (x: RawRecord): boolean => x.dom === r.dom && x.vcpu === r.vcpu;
    let from = i;
    while (from > 0 && !(mine(this.f.records[from]!) && exitOf(this.f.records[from]!) !== undefined)) from--;
    const found: ReturnType<Checker['accessAt']> = {
      exit: undefined,
      entry: undefined,
      blocked: undefined,
      woken: undefined,
      resumed: undefined,
    };
    if (exitOf(this.f.records[from]!) === undefined) return found;
    found.exit = this.f.records[from];
    for (let j = from + 1; j < this.f.records.length; j++) {
      const x = this.f.records[j]!;
      const s = runstateOf(x);
      if (s !== undefined && s.dom === r.dom && s.vcpu === r.vcpu) {
        if (s.to === 'offline') found.blocked ??= x;
        if (s.from === 'offline') found.woken = x;
        if (s.to === 'running') found.resumed = x;
      }
      if (!mine(x) || j === from) continue;
      if (exitOf(x) !== undefined) return found;
      if (isEntry(x)) {
        found.entry = x;
        return found;
      }
    }
    return found;
  }

  private accesses(): { i: number; r: RawRecord; io: NonNullable<ReturnType<typeof ioOf>> }[] {
    this.all ??= this.f.records.flatMap((r, i) => {
      const io = ioOf(r);
      return io === undefined ? [] : [{ i, r, io }];
    });
    return this.all.filter((x) => x.r.dom === this.story.domain);
  }
  private all: { i: number; r: RawRecord; io: NonNullable<ReturnType<typeof ioOf>> }[] | undefined;

  /** The name of the handler that this domain's own log has at an address. */
  private handlerAt(addr: number): string | undefined {
    return this.log?.requests.find((r) => r.addr === addr && r.region !== undefined)?.region;
  }

  /** Whether a register's name fits an address of this domain. */
  private register(name: string, addr: number): void {
    const handler = this.handlerAt(addr);
    const [table, size] =
      handler === 'rtl8139' ? [RTL8139, 0x100] : handler?.startsWith('e1000') === true ? [E1000, 0x20000] : [undefined, 1];
    if (handler !== undefined && name.startsWith(handler)) return;
    if (table === undefined) {
      if (handler !== undefined && !/^(serial|pci-conf|vga|ide|piix|acpi|hpet|apic)/.test(handler))
        this.ok(
          `${name} is a register's name, and the handler there is ${handler}`,
          name.includes(handler) || name.startsWith('guest-physical'),
        );
      return;
    }
    const word = /^[A-Za-z]\w*/.exec(name)?.[0] ?? name;
    const known = table[addr % size];
    if (known !== undefined)
      this.ok(`the register at ${addr.toString(16)} is ${known}`, known.split('|').includes(word) || known === word);
  }

  private frameText(n: number, text: string, bytes: number): void {
    const frame = this.f.frames[n - 1];
    if (frame === undefined) return this.wrong(`the capture has no frame ${n}`);
    this.same('length on the wire', bytes, frame.wire);
    const type = frame.data[12]! * 256 + frame.data[13]!;
    if (text.startsWith('ARP')) this.same('ethertype', 0x0806, type);
    else if (text.startsWith('ICMPv6')) this.same('ethertype', 0x86dd, type);
    else if (text.startsWith('ICMP')) {
      this.same('protocol', 1, frame.data[23]);
      this.same('ICMP type', text.includes('request') ? 8 : 0, frame.data[34]);
      const seq = /seq (\d+)/.exec(text)?.[1];
      this.same('sequence number', seq, frame.data[40]! * 256 + frame.data[41]!);
    } else if (text.startsWith('ethertype')) this.same('source', / (\S+) > /.exec(text)?.[1], macText(frame.data, 6));
  }

  private own(n: number): boolean | undefined {
    const stations =
      this.story.domain === undefined ? [...this.f.stations.values()].flat() : this.f.stations.get(this.story.domain);
    const frame = this.f.frames[n - 1];
    return frame === undefined || stations === undefined ? undefined : stations.includes(macText(frame.data, 6));
  }

  /** A frame that is told to have left with a request: it is the guest's, and was on the wire before the next request. */
  private left(n: number, request: RawRequest | undefined): void {
    this.ok(`frame ${n} is not this guest's`, this.own(n) !== false);
    const frame = this.f.frames[n - 1];
    if (request?.line.ns === undefined || frame === undefined) return;
    const all = this.log!.requests;
    const next = all[all.indexOf(request) + 1]?.line.ns;
    this.ok(`frame ${n} was captured before the request`, frame.ns + 2000n >= request.line.ns);
    this.ok(`frame ${n} was captured after the next request`, next === undefined || frame.ns <= next + 2000n);
    this.ok(`the request is not a write`, request.dir === 'write');
  }

  /** One map-cache question of the log. */
  private mapAt(line: number): RawLog['maps'][number] | undefined {
    return this.log?.maps.find((m) => m.line.line <= line && line <= m.until);
  }

  /** Map-cache questions behind a request, up to the next. */
  private mapsOf(request: RawRequest): RawLog['maps'][number][] {
    const all = this.log!.requests;
    const next = all[all.indexOf(request) + 1]?.line.line ?? Infinity;
    return this.log!.maps.filter((m) => m.line.line > request.line.line && m.line.line < next);
  }

  private readonly rules: readonly (readonly [RegExp, (m: readonly string[]) => void])[] = [
    // What happened.
    [
      /^The guest(?:'s vCPU d(\d+)v(\d+))? sent frame (\d+) of the capture, (.*), (\d+) bytes(?:, by a write of (0x\w+) to (.+) of its (.+))?\.$/,
      (m) => {
        const [, dom, vcpu, frame, what, bytes, data, register] = m;
        this.frameText(Number(frame), what!, Number(bytes));
        const request = this.request();
        this.left(Number(frame), request);
        const [record] = this.records();
        if (record !== undefined && dom !== undefined) this.same('vCPU', `d${dom}v${vcpu}`, `d${record.dom}v${record.vcpu}`);
        const io = record && ioOf(record);
        if (io !== undefined && data !== undefined) {
          this.same('data', BigInt(data), io.data);
          if (request !== undefined) this.same("the request's data", io.data, request.data);
          const plain = /guest-physical (0x\w+)/.exec(register!)?.[1];
          if (plain !== undefined) this.same('address', Number(plain), io.addr);
          else this.register(register!, io.addr);
        }
      },
    ],
    [
      /^The guest(?:'s vCPU d(\d+)v(\d+))? sent a frame(?: of (\d+) bytes)?(?:, by a write of (0x\w+) to (.+) of its (.+))?\.$/,
      (m) => {
        const io = this.records()
          .map(ioOf)
          .find((x) => x !== undefined);
        if (io !== undefined && m[4] !== undefined) this.same('data', BigInt(m[4]), io.data);
        if (io !== undefined && m[5] !== undefined) this.register(m[5], io.addr);
      },
    ],
    [
      /^Frame (\d+), (.*), (\d+) bytes, came to the guest from outside\.$/,
      (m) => {
        this.frameText(Number(m[1]), m[2]!, Number(m[3]));
        this.ok(`frame ${m[1]} has the guest's own source`, this.own(Number(m[1])) !== true);
      },
    ],
    [
      /^The guest sent frame (\d+), (.*), (\d+) bytes\.$/,
      (m) => {
        this.frameText(Number(m[1]), m[2]!, Number(m[3]));
        this.ok(`frame ${m[1]} is not this guest's`, this.own(Number(m[1])) !== false);
      },
    ],
    [/^The guest sent it: /, () => this.ok("the frame is not this guest's", this.own(this.refFrame()) !== false)],
    [
      /^It came (?:from outside|to the guest): /,
      () => this.ok("the frame has the guest's own source", this.own(this.refFrame()) !== true),
    ],
    [
      /^It is neither from this guest nor to it: /,
      () => this.ok("the frame is this guest's", this.own(this.refFrame()) !== true),
    ],
    [
      /^It was captured after the last request of the log\.$/,
      () => {
        const last = this.log!.requests.at(-1)!.line.ns!;
        this.ok('it was not', this.f.frames[this.refFrame() - 1]!.ns > last);
      },
    ],
    [
      /^It was captured before the first request of the log\.$/,
      () => this.ok('it was not', this.f.frames[this.refFrame() - 1]!.ns < this.log!.requests[0]!.line.ns!),
    ],
    [/^It was captured while the trace lost (\d+) records of pCPU (\d+)/, (m) => this.lost(m[1]!, m[2]!)],
    [
      /^(?:The|A) (?:received frame|write)?.*went to the device model through slot (\d+) of the synchronous ioreq page, not through the buffered one\.$/,
      (m) => this.synchronous(Number(m[1])),
    ],
    [/^The write(?: of .*)? went through the synchronous ioreq page, not the buffered one\.$/, () => this.synchronous(undefined)],
    [/^The write(?: of .*)? went to the device model through the buffered ioreq page\.$/, () => this.buffered()],
    [/^The write(?: of .*)? went through no page: Xen itself answered it\.$/, () => this.hypervisor()],
    [/^No ioreq page carried it: /, () => undefined],
    [
      /^Nobody translated an address for it: /,
      () => {
        const request = this.storyRequest();
        if (request === undefined) return this.wrong('no request is told of');
        const told = this.story.hops.flatMap((h) =>
          h.where === 'device model' ? [...h.text.matchAll(/0x\w+/g)].map((x) => Number(x[0])) : [],
        );
        for (const map of this.mapsOf(request)) if (told.includes(map.gpa)) this.hit(map);
      },
    ],
    [
      /^Xen translated guest-physical to machine addresses, through the p2m, when the device model had (?:a bucket|(\d+) buckets) of frames mapped for it\.$/,
      (m) => {
        const request = this.storyRequest();
        if (request === undefined) return this.wrong('no request is told of');
        const buckets = new Set(
          this.mapsOf(request)
            .filter((x) => x.remapped || this.before(x) === undefined)
            .map((x) => Math.floor(x.gpa / 2 ** 20)),
        );
        this.ok(`the log has new mappings for ${buckets.size} buckets`, buckets.size >= Number(m[1] ?? 1));
      },
    ],
    [/^No address was translated: the frame lay in the memory of the chip\.$/, () => undefined],
    [/^Its addresses are guest-physical; /, () => undefined],
    [
      /^The guest's vCPU was out of the guest for ([\d.]+) µs(?:, ([\d.]+) µs of it with the device model)?\.$/,
      (m) => {
        const [exit, entry] = this.records();
        this.ok(
          'its references are an exit and an entry',
          exit !== undefined && exitOf(exit) !== undefined && entry !== undefined && isEntry(entry),
        );
        if (exit !== undefined && entry !== undefined) {
          this.same('vCPU of the entry', `${exit.dom} ${exit.vcpu}`, `${entry.dom} ${entry.vcpu}`);
          this.same('domain', this.story.domain, exit.dom);
          this.time('the time from exit to entry', m[1]!, this.us(exit, entry));
        }
      },
    ],
    [/^Nothing that this story asks for is missing from the files\.$/, () => undefined],
    [
      /^Frame (\d+) is frame (\d+) once more, .*, ([\d.]+) (?:µs|s) later: its (doorbell|story) is that of frame (\d+)\.$/,
      (m) => {
        const [a, b] = [m[1], m[2]].map((n) => untagged(this.f.frames[Number(n) - 1]!.data));
        const common = Math.min(60, a!.length, b!.length);
        this.ok('the two differ', Buffer.compare(a!.subarray(0, common), b!.subarray(0, common)) === 0);
        this.same('frame', m[2], m[5]);
        this.same('a doorbell', m[4] === 'doorbell', this.own(Number(m[2])));
      },
    ],
    // What is told.
    [
      /^The (\S+)'s registers(?: of domain \d+(?: \(\S+\))?)? lie at (guest-physical|port) (0x\w+): (.*)\.$/,
      (m) => {
        const base = Number(m[3]);
        const requests = (this.log?.requests ?? []).filter(
          (r) => r.type === (m[2] === 'port' ? 0 : 1) && r.addr >= base && r.addr < base + 0x100 && r.region !== undefined,
        );
        for (const r of requests)
          if (!r.region!.toLowerCase().startsWith(m[1]!.toLowerCase()))
            return this.wrong(`the log's handler at ${r.addr.toString(16)} is ${r.region}`);
        if (m[4]!.includes('handler served requests')) this.ok('the log has no such line', requests.length > 0);
      },
    ],
    [
      /^The driver runs the chip in (C\+?) mode: (.*)\.$/,
      (m) => {
        const io =
          this.records()
            .map(ioOf)
            .find((x) => x !== undefined) ?? this.request();
        if (io === undefined) return;
        const offset = io.addr % 0x100;
        if (m[2]!.includes('CpCmd'))
          this.ok('the reference is no such write', offset === 0xe0 && io.dir === 'write' && (Number(io.data) & 3) !== 0);
        if (m[2]!.includes('TxPoll')) this.ok('the reference is no such write', offset === 0xd9 && io.dir === 'write');
        if (m[2]!.includes('TxStatus'))
          this.ok('the reference is no such write', offset >= 0x10 && offset < 0x20 && io.dir === 'write');
      },
    ],
    [
      /^The device is called (.+?)(?: of domain \d+(?: \(\S+\))?)?; its chip is not known here, so its registers have no names\.$/,
      (m) => {
        const name = this.lines()
          .map((l) => /name '([^']*)'/.exec(l.text)?.[1])
          .find((n) => n !== undefined);
        if (name !== undefined) this.same("the handler's name", m[1], name);
      },
    ],
    [/^The frame that left is number (\d+) of the capture: (.*)\.$/, (m) => this.left(Number(m[1]), this.request())],
    // The way.
    [
      /^leaves the guest at rip (0x\w+): (\S+)\.$/,
      (m) => {
        const [exit] = this.records();
        this.same('rip', BigInt(m[1]!), exit && exitOf(exit)?.rip);
      },
    ],
    [
      /^finds that it (writes|reads) (0x\w+|a value that no file shows) (?:to|from) (guest-physical|port) (0x\w+): (.*)$/,
      (m) => {
        const [record, fault] = this.records();
        const io = record && ioOf(record);
        if (io === undefined) return this.wrong('its reference is no I/O record');
        this.same('domain', this.story.domain, record!.dom);
        this.same('direction', m[1] === 'writes' ? 'write' : 'read', io.dir);
        this.same('address', Number(m[4]), io.addr);
        this.same('space', m[3] === 'port' ? 'pio' : 'mmio', io.space);
        if (io.data !== undefined) this.same('data', m[2], `0x${io.data.toString(16)}`);
        this.register(m[5]!.replace(/^a register of /, ''), io.addr);
        if (/The p2m has type/.test(m[5]!)) {
          const npf = fault && npfOf(fault);
          this.same('page of the fault', Math.floor(io.addr / 4096), npf && Math.floor(npf.gpa / 4096));
          this.same('p2m type', /\((\d+)\)/.exec(m[5]!.slice(m[5]!.indexOf('The p2m')))?.[1], npf?.type);
          this.same('no frame', m[5]!.includes('no machine frame'), npf?.mfn === 0xffffffffffffffffn);
        }
      },
    ],
    [
      /^fills slot (\d+) of the synchronous ioreq page, which is that of vCPU (\d+), and sets its state to STATE_IOREQ_READY: (.*)\.$/,
      (m) => {
        this.same('vCPU', m[2], m[1]);
        this.synchronous(Number(m[1]));
        const mfn = /machine frame (0x\w+)/.exec(m[3]!)?.[1];
        if (mfn !== undefined) this.same('machine frame of the page', Number(mfn), this.log?.serverMfn);
      },
    ],
    [
      /^notifies the device model's event channel: d(\d+)v(\d+) blocked→runnable\.$/,
      (m) => this.runstate(m, 'blocked', 'runnable'),
    ],
    [/^waits: running→offline\.$/, () => this.runstate(undefined, 'running', 'offline')],
    [/^runs\.$/, () => this.runstate(undefined, 'runnable', 'running')],
    [/^(\d+) records of pCPU (\d+) are lost/, (m) => this.lost(m[1]!, m[2]!)],
    [
      /^takes the request(?: out of slot (\d+) \(.*\))?: (port I\/O|COPY \(memory\)|type \d+), (?:(\d+) times )?(\d+) bytes?, address (0x\w+), data (at guest-physical )?(0x\w+)(?:, served by its (.+) handler)?\.$/,
      (m) => {
        const r = this.request();
        if (r === undefined) return this.wrong('its reference is no request');
        this.same('address', Number(m[5]), r.addr);
        this.same('size', m[4], r.size);
        this.same('count', m[3] ?? 1, Math.max(1, r.count));
        if (m[6] === undefined) this.same('data', BigInt(m[7]!), r.data ?? r.sent);
        if (m[8] !== undefined) this.same('handler', m[8], r.region);
        const io = this.storyIo();
        if (io !== undefined) {
          this.same("the access's address", r.addr, io.addr);
          if (io.data !== undefined && r.data !== undefined)
            this.same("the access's data", BigInt.asUintN(32, r.data), BigInt.asUintN(32, io.data));
        }
      },
    ],
    [
      /^reads (?:a descriptor|descriptor (\d+)) at guest-physical (0x\w+)(?: \(([0-9a-f ]{35}): (.*)\))?(?:, mapped at (0x\w+) in its own memory)?\.$/,
      (m) => {
        this.touched(Number(m[2]), m[5]);
        if (m[1] !== undefined) this.descriptor(Number(m[1]), Number(m[2]));
        if (m[3] !== undefined)
          this.ok(
            'no line prints these words',
            this.lines().some((l) => l.text.includes(m[3]!)),
          );
        const length = /(\d+) bytes$/.exec(m[4] ?? '')?.[1];
        if (length !== undefined) this.same('length in the descriptor', length, parseInt(m[3]!.slice(0, 8), 16) & 0xffff);
      },
    ],
    [
      /^fetches the frame(?:, (\d+) bytes,)? from guest-physical (0x\w+)(?:, mapped at (0x\w+) in its own memory)?\.$/,
      (m) => this.touched(Number(m[2]), m[3]),
    ],
    [
      /^asks its map cache for guest-physical (.*?)(?: and (\d+) more)?: descriptors and buffers of a chip that is not known here\.$/,
      (m) => {
        for (const gpa of m[1]!.split(', '))
          this.ok(
            `no line asks for ${gpa}`,
            this.log!.maps.some((x) => x.gpa === Number(gpa)),
          );
      },
    ],
    [/^carries frame (\d+): (.*), (\d+) bytes\.$/, (m) => this.frameText(Number(m[1]), m[2]!, Number(m[3]))],
    [
      /^raises the interrupt line: (.*)\.$/,
      () =>
        this.ok(
          'no line says so',
          this.lines().some((l) => /Set IRQ to 1/.test(l.text)),
        ),
    ],
    [
      /^makes (?:a dm_op hypercall|(\d+) dm_op hypercalls) while the guest waits/,
      () => this.same('hypercall', 41, hypercallOf(this.records()[0]!)),
    ],
    [
      /^has the answer (?:ready|in slot (\d+) \(STATE_IORESP_READY\)) and wakes the guest's vCPU(?: by its event channel port)?: d(\d+)v(\d+) offline→runnable\.$/,
      (m) => {
        this.runstate([m[0]!, m[2]!, m[3]!], 'offline', 'runnable');
        this.same('domain', this.story.domain, m[2]);
        if (m[1] !== undefined) this.same('slot', m[1], m[3]);
      },
    ],
    [/^is scheduled again: runnable→running\.$/, () => this.runstate(undefined, 'runnable', 'running')],
    [
      /^injects vector (0x\w+) into d(\d+)v(\d+)/,
      (m) => {
        const [r] = this.records();
        this.same('vector', Number(m[1]), r && injectionOf(r));
        this.same('vCPU', `d${m[2]}v${m[3]}`, `d${r?.dom}v${r?.vcpu}`);
        this.after(r);
      },
    ],
    [
      /^enters the guest again(?:, ([\d.]+) µs after it left)?\.$/,
      (m) => {
        const [r] = this.records();
        this.ok('its reference is no VM entry', r !== undefined && isEntry(r));
        this.same('domain', this.story.domain, r?.dom);
        const exit = this.storyRecord(/^leaves the guest/);
        if (m[1] !== undefined && exit !== undefined && r !== undefined)
          this.time('the time since the exit', m[1], this.us(exit, r));
      },
    ],
    [/^is not seen to enter the guest again: /, () => undefined],
    [/^has no log line that pairs with this access: its work is unknown\.$/, () => undefined],
    [
      /^reads (.+?) = (0x\w+): the (?:next|first) read of the interrupt cause/,
      (m) => {
        const io = this.records()
          .map(ioOf)
          .find((x) => x !== undefined);
        this.same('data', m[2], io?.data === undefined ? undefined : `0x${io.data.toString(16)}`);
        this.same('direction', 'read', io?.dir);
        this.same('domain', this.story.domain, this.records()[0]?.dom);
        this.after(this.records()[0]);
        if (io !== undefined) this.register(m[1]!, io.addr);
      },
    ],
    [
      /^looks at receive descriptor (\d+), guest-physical (0x\w+)\.$/,
      (m) => {
        this.ok(
          'no line asks for it',
          this.log!.maps.some((x) => x.gpa === Number(m[2])),
        );
        this.descriptor(Number(m[1]), Number(m[2]));
      },
    ],
    [
      /^writes the frame to guest-physical (0x\w+), the next address it asked its map cache for\.$/,
      (m) => this.touched(Number(m[1]), undefined),
    ],
    [/^touches guest memory (\d+) times?, from (0x\w+) on/, (m) => this.touched(Number(m[2]), undefined)],
    // Answers.
    [/^Through the synchronous ioreq page/, () => this.synchronous(undefined)],
    [/^Through the buffered ioreq page/, () => this.buffered()],
    [/^Through neither page: Xen itself answered/, () => this.hypervisor()],
    [
      /^The notification is visible: d(\d+)v(\d+) went blocked→runnable ([\d.]+) µs after the exit, while d(\d+)v(\d+) was still inside it\.$/,
      (m) => {
        const [exit, change] = this.records();
        this.ok('its reference is no exit', exit !== undefined && exitOf(exit) !== undefined);
        if (exit !== undefined && change !== undefined) this.time('the time since the exit', m[3]!, this.us(exit, change));
        this.same('vCPU', `${m[4]} ${m[5]}`, `${exit?.dom} ${exit?.vcpu}`);
      },
    ],
    [
      /^Of all (\d+) accesses to this device, (\d+) show the wait(?: \(.*?\))?(?:, (\d+) are in the device-model log with equal data)?, (\d+) may have been buffered\.$/,
      (m) => {
        const io = this.storyIo();
        const base = this.windowBase();
        if (io === undefined || base === undefined) return;
        const size = this.handlerAt(io.addr)?.startsWith('e1000') === true ? 0x20000 : 0x100;
        const own = this.accesses().filter((x) => x.io.space === io.space && x.io.addr >= base && x.io.addr < base + size);
        this.same('accesses', m[1], own.length);
        this.ok('more waits than accesses', Number(m[2]) <= own.length);
        const waits = own.filter((x) => this.accessAt(x.i).blocked !== undefined).length;
        this.ok(`the wait is recorded for ${waits}`, Math.abs(waits - Number(m[2])) <= own.length * 0.02);
        if (m[3] !== undefined) {
          const requests = this.log?.requests.filter((r) => r.addr >= base && r.addr < base + size).length ?? 0;
          this.ok(`the log has ${requests} requests there`, Number(m[3]) <= requests);
        }
      },
    ],
    [/^A received frame needs no request of the guest/, () => undefined],
    [
      /^The driver knows only guest-physical addresses: it wrote (0x\w+) into (\w+)(?:, and the device model (?:looked for descriptor (\d*) ?at (0x\w+), unchanged|asked its map cache for exactly that))?\.$/,
      (m) => {
        const base = Number(m[1]);
        const writes = [...this.records().map(ioOf), ...this.lines().map((l) => this.requestAt(l.line))].filter(
          (x) => x !== undefined,
        );
        this.ok(
          'no reference is a write of it',
          writes.some((w) => w.dir === 'write' && Number(BigInt.asUintN(32, w.data ?? 0n)) === base % 2 ** 32),
        );
        const low = writes.find((w) => Number(BigInt.asUintN(32, w.data ?? 0n)) === base % 2 ** 32);
        if (low !== undefined) this.register(m[2]!, low.addr);
        if (m[4] !== undefined && m[3] !== '') this.same('address of the descriptor', Number(m[4]), base + 16 * Number(m[3]));
      },
    ],
    [
      /^(0x\w+) is not the address of the frame: .*The frame lay at (0x\w+)(?:, the (\w+) word of the descriptor)?\.$/,
      (m) => {
        this.ok(
          'no line of the log names it',
          [...this.log!.lines.values()].some((l) => l.text.toLowerCase().includes(m[2]!.slice(2))),
        );
      },
    ],
    [
      /^The p2m, Xen's table, maps guest frame (0x\w+) to machine frame (0x\w+); /,
      (m) => {
        const [r] = this.records();
        const p2m = r && p2mOf(r);
        this.same('domain', this.story.domain, p2m?.dom);
        if (p2m !== undefined) this.same('machine frame', BigInt(m[2]!), p2m.mfn + BigInt(Number(m[1]) - p2m.gfn));
      },
    ],
    [
      /^(0x\w+) was in the map cache: (.*)\.$/,
      (m) => {
        const map = this.lines()
          .map((l) => this.mapAt(l.line))
          .findLast((x) => x?.gpa === Number(m[1]));
        if (map === undefined) return this.wrong('no reference asks for it');
        if (m[2]!.includes('the same mapping before')) this.hit(map);
        else this.ok('the log prints a remap for it', !map.remapped);
      },
    ],
    [
      /^(0x\w+) was not in the map cache: (.*)\.$/,
      (m) => {
        const map = this.lines()
          .map((l) => this.mapAt(l.line))
          .findLast((x) => x?.gpa === Number(m[1]));
        const before = map && this.before(map);
        this.ok(
          'it was mapped the same before',
          map !== undefined &&
            (map.remapped || before === undefined || before.pointer! - BigInt(before.gpa) !== map.pointer! - BigInt(map.gpa)),
        );
      },
    ],
    [
      /^Who translated them: Xen, through the p2m, when the device model had their buckets mapped \((.*)\); nobody for this packet\.$/,
      (m) => {
        for (const x of m[1]!.matchAll(/(0x\w+) at log line (\d+)/g)) {
          const map = this.mapAt(Number(x[2]));
          this.same('bucket of the line', Math.floor(Number(x[1]) / 2 ** 20), map && Math.floor(map.gpa / 2 ** 20));
        }
      },
    ],
    [
      /^In the whole log (\d+) memory accesses of the device model use (\d+) mappings?(?:, made by (\d+) remaps?)?: /,
      (m) => {
        const { maps } = this.log!;
        this.same('memory accesses', m[1], maps.length);
        const used = new Set(
          maps.filter((x) => x.pointer !== undefined).map((x) => `${Math.floor(x.gpa / 2 ** 20)} ${x.pointer! - BigInt(x.gpa)}`),
        );
        this.same('mappings', m[2], used.size);
        if (m[3] !== undefined) this.same('remaps', m[3], maps.filter((x) => x.remapped).length);
      },
    ],
    [
      /^Between exit and entry dom0 made (\d+) hypercalls \(iret not counted\), none of them one that maps memory/,
      (m) => {
        const [exit, end] = this.records();
        const calls = this.between(exit!, end!);
        this.ok(`one of them is ${calls.find((c) => MAPPING_CALLS.includes(c))}`, !calls.some((c) => MAPPING_CALLS.includes(c)));
        this.ok(`there are ${calls.length}`, Math.abs(calls.length - Number(m[1])) <= 2);
      },
    ],
    [
      /^Between exit and entry dom0 made .*: (?:none of them was needed|the mapping that the miss caused)/,
      () => {
        const seen = this.records().map(hypercallOf);
        this.ok(
          'a reference is no mapping call',
          seen.every((c) => c !== undefined && MAPPING_CALLS.includes(c)),
        );
      },
    ],
    [
      /^(?:One remap falls|(\d+) remaps fall) into this request: /,
      (m) => {
        const request = this.storyRequest();
        if (request !== undefined) this.same('remaps', m[1] ?? 1, this.mapsOf(request).filter((x) => x.remapped).length);
      },
    ],
    [
      /^The device model logs every remap of its map cache, and none falls into this request: /,
      () => {
        const request = this.storyRequest();
        if (request !== undefined) this.same('remaps', 0, this.mapsOf(request).filter((x) => x.remapped).length);
      },
    ],
    [/^The device model works with guest-physical addresses/, () => undefined],
    [
      /^Of ([\d.]+) µs from exit to entry: (.*)\.$/,
      (m) => {
        const rs = this.records();
        const exit = rs.find((r) => exitOf(r) !== undefined);
        const entry = rs.find((r) => isEntry(r));
        if (exit === undefined || entry === undefined) return this.wrong('its references are no exit and entry');
        this.same('domain', this.story.domain, exit.dom);
        this.time('the whole', m[1]!, this.us(exit, entry));
        const parts = [...m[2]!.matchAll(/([\d.]+) µs \(\d+%\)/g)].map((x) => Number(x[1]));
        this.ok('its parts are more than the whole', parts.reduce((n, x) => n + x, 0) <= Number(m[1]) + 0.5);
        const first = this.us(exit, rs[rs.indexOf(exit) + 1]!);
        if (m[2]!.includes('in Xen, which decodes')) this.time('the first part', String(parts[0]), first);
      },
    ],
    [
      /^([\d.]+) µs passed from exit to entry\. /,
      (m) => {
        const rs = this.records();
        this.time('the whole', m[1]!, this.us(rs[0]!, rs.at(-1)!));
      },
    ],
    [
      /^([\d.]+) µs from the exit to the notification; the rest is unknown: /,
      (m) => {
        const rs = this.records();
        this.time('the first part', m[1]!, this.us(rs[0]!, rs[1]!));
      },
    ],
    [
      /^The (?:other|(\d+) other) (write|read)s? of this register took ([\d.]+) µs(?: to ([\d.]+) µs(?:, ([\d.]+) µs in the median)?)?\.$/,
      (m) => {
        const io = this.storyIo();
        if (io === undefined) return;
        const times = this.accesses()
          .filter((x) => x.io.addr === io.addr && x.io.dir === io.dir && x.io.space === io.space)
          .map((x) => this.accessAt(x.i))
          .flatMap((x) => (x.exit === undefined || x.entry === undefined ? [] : [this.us(x.exit, x.entry)]));
        const near = (told: string | undefined): boolean =>
          told === undefined || times.some((t) => Math.abs(t - Number(told)) <= 0.11 + t * 5e-4);
        this.ok(`no ${io.dir} of it took ${m[3]} µs`, near(m[3]) && near(m[4]) && near(m[5]));
        this.ok(`there are ${times.length} with a time`, Number(m[1] ?? 1) <= times.length);
      },
    ],
    [
      /^The device model's lines for it span (\d+) µs by the log's clock/,
      (m) => {
        const ns = this.lines()
          .map((l) => l.ns)
          .filter((n) => n !== undefined);
        if (ns.length < 2) return;
        const span = Number(ns.reduce((a, b) => (a > b ? a : b)) - ns.reduce((a, b) => (a < b ? a : b))) / 1000;
        this.ok(`the lines it refers to span ${span} µs`, Math.abs(span - Number(m[1])) <= 1);
      },
    ],
    [/^Of ([\d.]+) µs from the wire to the last step above: /, () => undefined],
    // How the files were joined.
    [
      /^Trace and log pair (\d+) of (\d+) access(?:es)? with (\d+) requests?, one to one, in order, with equal data/,
      (m) => {
        this.same('accesses of this domain', m[2], this.accesses().length);
        this.same('requests', m[3], this.log?.requests.length);
        const rs = this.records()
          .map(ioOf)
          .filter((x) => x !== undefined);
        const requests = this.lines()
          .map((l) => this.requestAt(l.line))
          .filter((x) => x !== undefined);
        rs.forEach((io, i) => {
          const r = requests[i];
          if (r === undefined || Number(m[1]) === 0) return;
          if (r.type !== 2) this.same('address of the pair', io.addr, r.addr);
          if (r.data !== undefined && io.data !== undefined)
            this.same('data of the pair', BigInt.asUintN(32, io.data), BigInt.asUintN(32, r.data));
        });
      },
    ],
    [
      /^The log's clock is laid over the trace's by (\d+) pairs: trace time ([\d.]+) s is (\d+)\.(\d+) ±([\d.]+), drift (-?[\d.]+)/,
      (m) => {
        const zero = this.f.records.find((r) => r.tsc > 0n)!.tsc;
        const io = this.storyIo();
        const request = this.storyRequest();
        const exit = this.storyRecord(/^leaves the guest/);
        const woken = this.storyRecord(/^has the answer/);
        if (io === undefined || request?.line.ns === undefined || exit === undefined || woken === undefined) return;
        const wall = (r: RawRecord): number => {
          const s = Number(r.tsc - zero) / this.f.hz - Number(m[2]);
          return Number(BigInt(m[3]!) * 1_000_000_000n + BigInt(m[4]!.padEnd(9, '0')) - request.line.ns!) / 1000 + s * 1e6;
        };
        const error = Number(m[5]) * 1e6 + Math.abs(Number(exit.tsc - zero) / this.f.hz - Number(m[2])) * 1e6 * 3e-4 + 2;
        this.ok(`the exit would be ${wall(exit).toFixed(1)} µs after the request's line`, wall(exit) <= error);
        this.ok(`the answer would be ${(-wall(woken)).toFixed(1)} µs before it`, wall(woken) >= -error);
      },
    ],
    [
      /^The log's header says which of its times is TSC 0: trace time 0\.000000 s is (\d+)\.(\d+)(, exactly| ±[\d.]+ µs); (\d+) pairs agree\.$/,
      (m) => {
        const head = /TSC 0 at (\d+)\.(\d+), (\d+) Hz/.exec([...this.log!.lines.values()][0]!.text)!;
        const zero = this.f.records.find((r) => r.tsc > 0n)!.tsc;
        const ns =
          BigInt(head[1]!) * 1_000_000_000n + BigInt(head[2]!.padEnd(9, '0')) + (zero * 1_000_000_000n) / BigInt(head[3]!);
        const told = BigInt(m[1]!) * 1_000_000_000n + BigInt(m[2]!.padEnd(9, '0'));
        const off = Number(ns - told);
        this.ok(`it is ${off} ns off`, Math.abs(off) <= (m[3]!.includes('exactly') ? 1 : 1000));
      },
    ],
    [
      /^The trace's times are by a TSC of (\d+)(?: ±(\d+))? Hz/,
      (m) => this.ok(`it is ${this.f.hz}`, Math.abs(Number(m[1]) - this.f.hz) <= Number(m[2] ?? 0) + this.f.hz * 5e-4),
    ],
    [/^The capture's clock is /, () => undefined],
    [/^(\d+) records of pCPU (\d+) were lost/, (m) => this.lost(m[1]!, m[2]!)],
    [/^(\d+) more losses follow\.$/, () => undefined],
    [/^The capture is damaged: /, () => undefined],
  ];

  private refFrame(): number {
    return this.current.refs.find((r) => r.file === 'pcap')?.at ?? 0;
  }

  private lost(count: string, cpu: string): void {
    const r = this.records().find((x) => x.event === 0x0001f001);
    this.same('records lost', count, r?.words[0]);
    this.same('pCPU', cpu, r?.cpu);
  }

  private runstate(vcpu: readonly string[] | undefined, from: string, to: string): void {
    const [r] = this.records();
    const s = r && runstateOf(r);
    this.same('change', `${from}→${to}`, s && `${s.from}→${s.to}`);
    if (vcpu !== undefined) this.same('vCPU', `${vcpu[1]} ${vcpu[2]}`, `${s?.dom} ${s?.vcpu}`);
  }

  /** What follows from a doorbell comes after it. */
  private after(r: RawRecord | undefined): void {
    const exit = this.storyRecord(/^leaves the guest/);
    if (exit !== undefined && r !== undefined) this.ok('it comes before the doorbell', r.tsc >= exit.tsc);
  }

  /** A request on the synchronous page: its address does not fit a buffered slot, or the vCPU waited for it. */
  private synchronous(slot: number | undefined): void {
    const io = this.storyRecordIo();
    if (io === undefined) {
      const request = this.request();
      if (request !== undefined)
        this.ok('a buffered slot could hold the address', request.type === 0 || request.addr > BUFFERABLE);
      return;
    }
    const { i, r } = io;
    if (slot !== undefined) this.same("the access's vCPU", slot, r.vcpu);
    this.same('domain', this.story.domain, r.dom);
    const access = ioOf(r)!;
    const may = access.space === 'mmio' && access.dir === 'write' && access.addr <= BUFFERABLE;
    if (may) this.ok('the address may be buffered, and no wait is recorded', this.accessAt(i).blocked !== undefined);
    else if (this.log !== undefined)
      this.ok(
        'neither a wait nor a request of the log shows that it left Xen',
        this.accessAt(i).blocked !== undefined ||
          this.log.requests.some((q) => q.addr === access.addr) ||
          this.records().some((x) => runstateOf(x) !== undefined),
      );
  }

  private buffered(): void {
    const io = this.storyIo();
    if (io !== undefined)
      this.ok('its address does not fit a buffered slot', io.space === 'mmio' && io.addr <= BUFFERABLE && io.dir === 'write');
  }

  private hypervisor(): void {
    const io = this.storyIo();
    if (io !== undefined)
      this.ok(
        "this domain's log has a request there",
        this.log === undefined || !this.log.requests.some((r) => r.addr === io.addr),
      );
  }

  /** A record that a hop of the story refers to first. */
  private storyRecord(text: RegExp): RawRecord | undefined {
    const hop = this.story.hops.find((h) => text.test(h.text));
    const ref = hop?.refs.find((r) => r.file === 'trace');
    return ref && this.f.records[this.at.get(ref.at) ?? -1];
  }

  private storyRecordIo(): { i: number; r: RawRecord } | undefined {
    const r = this.storyRecord(/^finds that it/);
    return r === undefined || ioOf(r) === undefined ? undefined : { i: this.at.get(r.offset)!, r };
  }

  private storyIo(): ReturnType<typeof ioOf> {
    const found = this.storyRecordIo();
    return found && ioOf(found.r);
  }

  private storyRequest(): RawRequest | undefined {
    const hop = this.story.hops.find((h) => h.text.startsWith('takes the request'));
    for (const r of hop?.refs ?? []) {
      const found = r.file === 'dm-log' ? this.requestAt(r.at) : undefined;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  private windowBase(): number | undefined {
    const text = this.story.subject.find((s) => / lie at /.test(s.text))?.text;
    const m = /lie at (?:guest-physical|port) (0x\w+)/.exec(text ?? '');
    return m === null ? undefined : Number(m[1]);
  }

  /** Hypercalls of other domains from one record to another, iret left out. */
  private between(from: RawRecord, to: RawRecord): number[] {
    const calls: number[] = [];
    for (let i = this.at.get(from.offset)! + 1; i < this.at.get(to.offset)!; i++) {
      const r = this.f.records[i]!;
      const n = hypercallOf(r);
      if (n !== undefined && n !== 23 && r.dom !== from.dom) calls.push(n);
    }
    return calls;
  }

  private touched(gpa: number, pointer: string | undefined): void {
    const found = this.lines()
      .map((l) => this.mapAt(l.line))
      .filter((x) => x !== undefined);
    const printed = this.lines().some((l) => l.text.toLowerCase().includes(gpa.toString(16)));
    this.ok('no line that it refers to names the address', printed || found.some((x) => x.gpa === gpa));
    if (pointer !== undefined)
      this.ok(
        'no line maps it there',
        this.log!.maps.some((x) => x.gpa === gpa && x.pointer === BigInt(pointer)),
      );
  }

  /** Descriptor n of a ring of 16-byte descriptors whose base one of the references wrote. */
  private descriptor(n: number, gpa: number): void {
    const printed = this.lines().some((l) => new RegExp(`descriptor ${n}\\b`, 'i').test(l.text));
    const writes = [...this.records().map(ioOf), ...this.lines().map((l) => this.requestAt(l.line))].filter(
      (x) => x !== undefined && x.dir === 'write',
    );
    this.ok(
      'no reference writes the base of that ring',
      printed || writes.some((w) => Number(BigInt.asUintN(32, w!.data ?? 0n)) === (gpa - 16 * n) % 2 ** 32),
    );
  }

  /** The last answered question for the same bucket before one. */
  private before(map: RawLog['maps'][number]): RawLog['maps'][number] | undefined {
    return this.log!.maps.findLast(
      (x) =>
        x.line.line < map.line.line && x.pointer !== undefined && Math.floor(x.gpa / 2 ** 20) === Math.floor(map.gpa / 2 ** 20),
    );
  }

  private hit(map: RawLog['maps'][number]): void {
    const before = this.before(map);
    this.ok(
      `0x${map.gpa.toString(16)} is remapped, or was not mapped the same before`,
      !map.remapped &&
        before?.pointer !== undefined &&
        map.pointer !== undefined &&
        before.pointer - BigInt(before.gpa) === map.pointer - BigInt(map.gpa),
    );
  }

  /** Checks a whole story; problems gather in `problems`. */
  check(name: string, story: Story): void {
    this.story = story;
    this.name = name;
    const sections = [
      story.summary,
      story.subject,
      story.hops,
      story.route,
      story.translation,
      story.time,
      story.unknowns,
      story.joins,
    ];
    for (const said of sections.flat()) this.sentence(said);
    this.order(story);
    this.title(story);
    for (const row of story.addresses) this.address(row);
    if (story.summary.length !== 5) this.problems.push(`${name}: ${story.summary.length} sentences to begin with`);
  }

  private sentence(said: Said): void {
    this.current = said;
    for (const ref of said.refs) {
      if (ref.file === 'trace') this.ok(`there is no record at ${ref.at}`, this.at.has(ref.at));
      if (ref.file === 'dm-log') this.ok(`there is no line ${ref.at}`, this.log?.lines.has(ref.at) === true);
      if (ref.file === 'pcap') this.ok(`there is no frame ${ref.at}`, this.f.frames[ref.at - 1] !== undefined);
    }
    const rule = this.rules.find(([words]) => words.test(said.text));
    if (said.strength === 'unknown' && rule === undefined) {
      this.ok(
        'it is said to be unknown, and does not say so',
        /unknown|not show|No |no |none|neither|Which|What|The /i.test(said.text),
      );
      return;
    }
    if (said.strength !== 'unknown') this.ok('it rests on nothing', said.refs.length > 0);
    if (said.strength === 'strong')
      this.ok(
        'no rule of docs/trace.md makes it strong',
        this.strong.some((words) => words.test(said.text)),
      );
    if (rule === undefined) return this.wrong('no rule checks it');
    this.used.set(rule[0].source, (this.used.get(rule[0].source) ?? 0) + 1);
    if (said.strength !== 'unknown') rule[1](rule[0].exec(said.text)!);
  }

  /** Steps in the order of time, nothing of the device model's before the exit or after the entry. */
  private order(story: Story): void {
    let last = -Infinity;
    for (const hop of story.hops) {
      this.current = hop;
      if (hop.atNs === undefined) continue;
      this.ok('it comes after a later step', hop.atNs >= last);
      this.ok('its time is not a number', !Number.isNaN(hop.atNs) && !Number.isNaN(hop.errorNs));
      last = hop.atNs;
    }
    const entry = story.hops.find((h) => h.text.startsWith('enters the guest'))?.atNs;
    const wire = story.hops.find((h) => h.where === 'wire');
    const bell = story.hops.some((h) => h.text.startsWith('takes the request'));
    if (wire?.atNs === undefined) return;
    this.current = wire;
    if (bell && entry !== undefined)
      this.ok('the frame leaves outside the request', wire.atNs + wire.errorNs >= 0 && wire.atNs - wire.errorNs <= entry);
    for (const hop of story.hops) {
      if (!/receive descriptor|writes the frame/.test(hop.text) || hop.atNs === undefined) continue;
      this.current = hop;
      this.ok(
        'it comes before the frame',
        hop.atNs + hop.errorNs + wire.errorNs + 100_000 * Number(wire.errorNs > 0) >= wire.atNs,
      );
    }
  }

  private title(story: Story): void {
    this.current = { text: story.title, strength: 'proven', refs: [] };
    const m = /^Packet (\d+) of the capture: .*, (sent through|sent by the guest|received by)/.exec(story.title);
    if (m === null) return;
    const own = this.own(Number(m[1]));
    if (own !== undefined) this.same("the frame's source is the guest's", m[2]!.startsWith('sent'), own);
    const device = /an emulated (\S+)/.exec(story.title)?.[1];
    const request = this.storyRequest();
    if (device === undefined || request?.region === undefined) return;
    const plain = device.toLowerCase();
    this.ok(
      `the handler that served it is ${request.region}`,
      request.region.toLowerCase().startsWith(plain) || plain.startsWith(request.region.toLowerCase()) || plain === '82540em',
    );
  }

  private address(row: Story['addresses'][number]): void {
    const log = this.log;
    this.current = {
      text: `${row.what}: ${row.gpa.value} ${row.mfn.value} ${row.mapping.value}`,
      strength: 'proven',
      refs: row.mfn.refs,
    };
    const gpa = Number(row.gpa.value);
    if (row.mapping.value?.startsWith('0x') === true) {
      const pointer = BigInt(row.mapping.value);
      this.ok(
        'no line maps its page there',
        log!.maps.some(
          (x) =>
            x.pointer !== undefined &&
            Math.floor(x.gpa / 4096) === Math.floor(gpa / 4096) &&
            x.pointer - BigInt(x.gpa) === pointer - BigInt(gpa),
        ),
      );
    }
    if (row.mfn.value?.startsWith('0x') === true && !row.what.startsWith('register')) {
      const p2m = this.records()
        .map(p2mOf)
        .find((x) => x !== undefined);
      this.same('domain of the p2m entry', this.story.domain, p2m?.dom);
      this.same('machine frame', BigInt(row.mfn.value), p2m && p2m.mfn + BigInt(Math.floor(gpa / 4096) - p2m.gfn));
    }
  }
}
