import type { Analysis } from './analysis.ts';
import { driverMode, explainRegisters, windowAt, type DeviceWindow } from './devices.ts';
import type { DmRequest } from '../sources/dm-lines.ts';
import { claim, logLine, unknown, type Claim } from '../sources/evidence.ts';
import { injectionAfter, interruptVector } from './interrupt.ts';
import type { IoAccess, Mark } from './io.ts';
import { MapCacheHistory, type MapCacheOutcome } from './mapcache.ts';
import { explainPlatform, platformDevice } from './platform.ts';
import { dmaOf, intrStatusRead, transmissions, type Transmission } from './packet.ts';
import type { AccessUnpaired } from './pair.ts';
import type { CapturedFrame } from '../sources/pcap.ts';
import type { Explained } from '../../base/registers.ts';
import { routeOf, stagesOf, type Route, type Stages } from './route.ts';

/** One guest I/O with all that the files say of it. */
export interface IoPath {
  readonly access: IoAccess;
  readonly request: DmRequest | undefined;
  /** Why no request of the log belongs to it, where a log was given. */
  readonly unpaired: AccessUnpaired | undefined;
  /** Bytes of the access: only the log holds it. */
  readonly width: Claim<number>;
  readonly window: DeviceWindow | undefined;
  /** The window's chip, or what every PC has at this address; `base` is where its registers begin. */
  readonly device: { readonly name: string; readonly base: number } | undefined;
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
  return names.join(',') || `+0x${(path.access.addr - path.device.base).toString(16)}`;
}

/** Every access of an analysis as a path, in trace order. */
export function* ioPaths(a: Analysis): Generator<IoPath> {
  const sent = new Map<IoAccess, Transmission[]>();
  for (const t of transmissions(a)) {
    if (t.access === undefined) continue;
    const list = sent.get(t.access);
    if (list === undefined) sent.set(t.access, [t]);
    else list.push(t);
  }
  const history = a.log === undefined ? undefined : new MapCacheHistory(a.log);
  const modes = new Map(a.windows.map((w) => [w, driverMode(w, a.accesses, a.log).value]));
  const latch = new DivisorLatches();
  const vectors = new Map(a.windows.map((w) => [w, interruptVector(a, w)]));
  for (let i = 0; i < a.accesses.length; i++) {
    const access = a.accesses[i]!;
    const request = a.pairing?.requestOf[i];
    const window = windowAt(a.windows, access.space, access.addr);
    const width: Claim<number> =
      request === undefined
        ? unknown('records of I/O hold no size; only a device-model log does')
        : claim(request.request.size, 'proven', 'the log prints it', [logLine(request.request.line, a.log!.source)]);
    const platform = window === undefined ? platformDevice(access.space, access.addr) : undefined;
    const transmitted = sent.get(access) ?? [];
    const dma = transmitted[0]?.doorbellDma ?? dmaOf(a, access, request).dma;
    yield {
      access,
      request,
      unpaired: a.pairing?.reasonOf(access),
      width,
      window,
      device: window !== undefined ? { name: window.chip.name, base: window.base } : platform,
      registers:
        window !== undefined
          ? explainRegisters(window, access.addr, width.value, access.data, modes.get(window))
          : platform !== undefined
            ? explainPlatform(platform, access.addr, width.value, access.data, access.dir, latch.mode(access))
            : [],
      route: routeOf(access, request, a.log, a.pairing?.reasonOf(access)),
      stages: stagesOf(access),
      dma: dma.map((d) => ({ gpa: d.gpa, pointer: d.pointer, line: d.line, outcome: history!.outcome(d) })),
      frames: transmitted.map((t) => t.frame).filter((f) => f.value !== undefined),
      interrupt:
        window === undefined || transmitted.length === 0
          ? unknown('not a doorbell of a transmission')
          : interruptOf(a, access, window, vectors.get(window)!),
    };
  }
}

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

const TX_BITS = 0x84;

function interruptOf(a: Analysis, access: IoAccess, window: DeviceWindow, vector: Claim<number>): IoPath['interrupt'] {
  const read = intrStatusRead(a, window, access, TX_BITS);
  const inject = vector.value === undefined ? undefined : injectionAfter(a, access, read, vector.value);
  if (read === undefined) return unknown('the guest is not seen to read a transmit bit from IntrStatus afterwards');
  const before = inject !== undefined && inject.timeNs <= (read.marks.exit ?? read.record).timeNs ? inject : undefined;
  return claim(
    { vector: before === undefined ? undefined : vector.value, injected: before, taken: read.record },
    'inferred',
    'the next read of IntrStatus that shows a transmit bit, and the injection before it',
    [...(before ? [before.ref] : []), read.record.ref],
  );
}
