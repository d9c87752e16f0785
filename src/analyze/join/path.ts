import type { Explained } from '../../base/registers.ts';
import type { DmRequest } from '../sources/dm-lines.ts';
import { claim, logLine, unknown, type Claim } from '../sources/evidence.ts';
import type { CapturedFrame } from '../sources/pcap.ts';
import { windowAt, type DeviceWindow } from './devices.ts';
import { nicEvents, type EventReader, type NicEvent } from './driver.ts';
import type { Guest } from './guest.ts';
import { causeRead, injectionAfter, interruptVector } from './interrupt.ts';
import type { IoAccess, Mark } from './io.ts';
import { MapCacheHistory, type MapCacheOutcome } from './mapcache.ts';
import type { AccessUnpaired } from './pair.ts';
import { explainPlatform, platformDevice } from './platform.ts';
import { routeOf, stagesOf, type Route, type Stages } from './route.ts';
import { dmaOf, type Transmission } from './transmit.ts';

/** One guest I/O with all that the files say of it. */
export interface IoPath {
  readonly access: IoAccess;
  readonly request: DmRequest | undefined;
  /** Why no request of the log belongs to it, where a log was given. */
  readonly unpaired: AccessUnpaired | undefined;
  /** Bytes of the access: only the log holds it. */
  readonly width: Claim<number>;
  readonly window: DeviceWindow | undefined;
  /**
   * The window's chip, or what every PC has at this address, or what the log calls the handler that served it; `base` is where
   * its registers begin, where that is known.
   */
  readonly device: { readonly name: string; readonly base: number | undefined; readonly how: Claim<string> } | undefined;
  /** Times that a string instruction's access is repeated in one request; only the log holds it. */
  readonly count: number | undefined;
  /** Registers touched, with decoded fields; none where the device is not known. */
  readonly registers: readonly Explained[];
  readonly route: Claim<Route>;
  readonly stages: Stages;
  /** Guest memory the device model touched for it. */
  readonly dma: readonly {
    readonly gpa: number;
    readonly pointer: string | undefined;
    readonly line: number;
    readonly outcome: Claim<MapCacheOutcome>;
  }[];
  /** Frames it sent. */
  readonly frames: readonly Claim<CapturedFrame>[];
  /** The interrupt a transmission led to: injected, and read by the guest. */
  readonly interrupt: Claim<{
    readonly vector: number | undefined;
    readonly injected: Mark | undefined;
    readonly taken: Mark | undefined;
  }>;
}

/** Names of the registers an access touched: `TxPoll`, `TxConfig+1`, `MAR0-3`; undefined where the device is not known. */
export function registerNames(path: IoPath): string | undefined {
  if (path.device === undefined) return undefined;
  const names = path.registers.map((r) => r.name);
  const first = /^(\D+)(\d+)$/.exec(names[0] ?? '');
  if (names.length > 1 && first !== null && names.every((n, i) => n === `${first[1]}${Number(first[2]) + i}`)) {
    return `${names[0]}-${Number(first[2]) + names.length - 1}`;
  }
  if (names.length > 0) return names.join(',');
  const { base } = path.device;
  return base === undefined ? path.device.name : `+0x${(path.access.addr - base).toString(16)}`;
}

/** What is alike for all paths of one guest. */
class PathReader {
  private readonly g: Guest;
  private readonly sent = new Map<IoAccess, Transmission[]>();
  private readonly history: MapCacheHistory | undefined;
  private readonly latch = new DivisorLatches();
  private readonly vectors: Map<DeviceWindow, Claim<number>>;
  private readonly events: Iterator<NicEvent>;
  private readonly reader: EventReader;
  private next: NicEvent | undefined;

  constructor(g: Guest) {
    this.g = g;
    for (const t of g.transmissions) {
      if (t.access === undefined) continue;
      const list = this.sent.get(t.access);
      if (list === undefined) this.sent.set(t.access, [t]);
      else list.push(t);
    }
    this.history = g.log === undefined ? undefined : new MapCacheHistory(g.log);
    this.vectors = new Map(g.windows.map((w) => [w, interruptVector(g, w)]));
    this.events = nicEvents(g);
    this.reader = g.driver.reader();
    this.advance();
  }

  private advance(): void {
    const step = this.events.next();
    this.next = step.done === true ? undefined : step.value;
  }

  /** Registers of an access to a known NIC: events before it that only the log has are read on the way. */
  private registers(access: IoAccess): readonly Explained[] {
    while (this.next !== undefined) {
      const event = this.next;
      const { registers } = this.reader.take(event);
      this.advance();
      if (event.access === access) return registers;
    }
    return [];
  }

  path(access: IoAccess): IoPath {
    const { g } = this;
    const i = access.index;
    const request = g.pairing?.requestOf[i];
    const window = windowAt(g.windows, access.space, access.addr);
    const width: Claim<number> =
      request === undefined
        ? unknown('records of I/O hold no size; only a device-model log does')
        : claim(request.request.size, 'proven', 'the log prints it', [logLine(request.request.line, g.log!.source)]);
    const platform = window === undefined ? platformDevice(access.space, access.addr) : undefined;
    const region = window === undefined && platform === undefined ? g.regions.at(access.space, access.addr) : undefined;
    const transmitted = this.sent.get(access) ?? [];
    const dma = transmitted[0]?.doorbellDma ?? dmaOf(g, access, request).dma;
    const device: IoPath['device'] =
      window !== undefined
        ? { name: window.chip.name, base: window.base, how: { ...window.found, value: window.chip.name } }
        : platform !== undefined
          ? {
              name: platform.name,
              base: platform.base,
              how: claim(platform.name, 'strong', 'every PC has it at this address', []),
            }
          : region === undefined
            ? undefined
            : {
                name: region.name,
                base: region.base,
                how: claim(
                  region.name,
                  request?.region?.line === region.line ? 'proven' : 'strong',
                  'the log names the handler that served this address',
                  [logLine(request?.region?.line ?? region.line, g.log!.source)],
                ),
              };
    const mode = platform === undefined ? '' : this.latch.mode(access);
    return {
      access,
      request,
      unpaired: g.pairing?.reasonOf(access),
      width,
      count: request === undefined || request.request.count <= 1 ? undefined : request.request.count,
      window,
      device,
      registers:
        window !== undefined
          ? this.registers(access)
          : platform !== undefined
            ? explainPlatform(platform, access.addr, width.value, access.data, access.dir, mode)
            : [],
      route: routeOf(access, request, g.log, g.pairing?.reasonOf(access)),
      stages: stagesOf(access),
      dma: dma.map((d) => ({ gpa: d.gpa, pointer: d.pointer, line: d.line, outcome: this.history!.outcome(d) })),
      frames: transmitted.map((t) => t.frame).filter((f) => f.value !== undefined),
      interrupt:
        window === undefined || transmitted.length === 0
          ? unknown('not a doorbell of a transmission')
          : interruptOf(g, access, window, this.vectors.get(window)!),
    };
  }
}

/** Every access of a guest as a path, in trace order. */
function* guestPaths(g: Guest): Generator<IoPath> {
  const reader = new PathReader(g);
  for (const access of g.accesses) yield reader.path(access);
}

/** Every access of all guests as a path, in trace order. */
export function* ioPaths(of: { readonly guests: readonly Guest[] } | Guest): Generator<IoPath> {
  const ways = ('guests' in of ? of.guests : [of]).map((g) => guestPaths(g));
  const heads = ways.map((way) => way.next());
  for (;;) {
    let best = -1;
    heads.forEach((head, i) => {
      if (head.done === true) return;
      const first = heads[best];
      if (first === undefined || first.done === true || before(head.value.access, first.value.access)) best = i;
    });
    const head = heads[best];
    if (head === undefined || head.done === true) return;
    yield head.value;
    heads[best] = ways[best]!.next();
  }
}

const before = (a: IoAccess, b: IoAccess): boolean =>
  a.record.timeNs < b.record.timeNs || (a.record.timeNs === b.record.timeNs && a.record.ref.at < b.record.ref.at);

const LCR = 0x3fb;
const LCR_DLAB = 0x80n;

/** Which registers of a 16550A a guest's first two ports are: bit DLAB of LCR, as the trace last saw it written; at first clear. */
class DivisorLatches {
  private readonly set = new Set<number>();

  /** Takes accesses in trace order; the mode of one. */
  mode(access: IoAccess): string {
    if (access.space === 'pio' && access.addr === LCR && access.dir === 'write' && access.data !== undefined) {
      if ((access.data & LCR_DLAB) !== 0n) this.set.add(access.dom);
      else this.set.delete(access.dom);
    }
    return this.set.has(access.dom) ? 'DLAB=1' : 'DLAB=0';
  }
}

function interruptOf(g: Guest, access: IoAccess, window: DeviceWindow, vector: Claim<number>): IoPath['interrupt'] {
  const read = causeRead(g, window, access, 'transmitted')?.access;
  if (read === undefined) return unknown('the guest is not seen to read afterwards that the frame has left');
  const inject = vector.value === undefined ? undefined : injectionAfter(g, access, read, vector.value);
  const before = inject !== undefined && inject.timeNs <= (read.marks.exit ?? read.record).timeNs ? inject : undefined;
  return claim(
    { vector: before === undefined ? undefined : vector.value, injected: before, taken: read.record },
    'inferred',
    'the next read of the interrupt cause that says that a frame has left, and the injection before it',
    [...(before ? [before.ref] : []), read.record.ref],
  );
}
