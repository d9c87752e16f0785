import type { Doorbell, InterruptCause, Meaning, ModeSign, NicFollower, NicReading, Place } from '../../devices/nic/reading.ts';
import type { DmChipLine, DmRequest } from '../sources/dm-lines.ts';
import type { DmLog } from '../sources/dm-log.ts';
import { claim, logLine, unknown, type Claim, type Ref } from '../sources/evidence.ts';
import { windowAt, type DeviceWindow } from './devices.ts';
import type { IoAccess } from './io.ts';
import type { Pairing } from './pair.ts';

/** What a driver's accesses are read from: one guest's part of the files. */
interface DriverSources {
  readonly accesses: readonly IoAccess[];
  readonly log: DmLog | undefined;
  readonly pairing: Pairing | undefined;
  readonly windows: readonly DeviceWindow[];
}

/** One thing the guest did to a NIC: seen in the trace, in the log, or in both. */
export interface NicEvent {
  /** Place among all of them, from 0. */
  readonly ordinal: number;
  readonly window: DeviceWindow;
  readonly access: IoAccess | undefined;
  readonly request: DmRequest | undefined;
  readonly dir: 'read' | 'write';
  readonly offset: number;
  readonly width: number | undefined;
  readonly data: bigint | undefined;
}

/** References to what shows an event. */
export const eventRefs = (
  e: { readonly access: IoAccess | undefined; readonly request: DmRequest | undefined },
  log: DmLog | undefined,
): Ref[] => [...(e.access ? [e.access.record.ref] : []), ...(e.request ? [logLine(e.request.request.line, log?.source)] : [])];

/**
 * All that a guest did to known NICs, each access with its request: in the trace's order where it has them, what only the log
 * has between.
 */
export function* nicEvents(s: DriverSources): Generator<NicEvent> {
  if (s.windows.length === 0) return;
  let ordinal = 0;
  const ofAccess = (access: IoAccess, request: DmRequest | undefined): NicEvent | undefined => {
    const window = windowAt(s.windows, access.space, access.addr);
    if (window === undefined) return undefined;
    const { dir, data } = access;
    return {
      ordinal: ordinal++,
      window,
      access,
      request,
      dir,
      offset: access.addr - window.base,
      width: request?.request.size,
      data: data ?? request?.data,
    };
  };
  const ofRequest = (request: DmRequest): NicEvent | undefined => {
    const { type, addr, size } = request.request;
    const window = type > 1 ? undefined : windowAt(s.windows, type === 0 ? 'pio' : 'mmio', addr);
    if (window === undefined || request.dir === undefined) return undefined;
    return {
      ordinal: ordinal++,
      window,
      access: undefined,
      request,
      dir: request.dir,
      offset: addr - window.base,
      width: size,
      data: request.data,
    };
  };
  const requests = s.log?.requests ?? [];
  let next = 0;
  for (let i = 0; i < s.accesses.length; i++) {
    const request = s.pairing?.requestOf[i];
    if (request !== undefined) {
      for (; next < request.index; next++) {
        if (s.pairing!.accessOf[next] !== undefined) continue;
        const event = ofRequest(requests[next]!);
        if (event !== undefined) yield event;
      }
      next = Math.max(next, request.index + 1);
    }
    const event = ofAccess(s.accesses[i]!, request);
    if (event !== undefined) yield event;
  }
  for (; next < requests.length; next++) {
    if (s.pairing?.accessOf[next] !== undefined) continue;
    const event = ofRequest(requests[next]!);
    if (event !== undefined) yield event;
  }
}

/** One device of a guest: its BARs together. */
interface Device {
  readonly chip: NicReading;
  /** Parts between resets, each in one mode. */
  readonly parts: { readonly from: number; mode: Claim<string> }[];
}

/** The devices behind windows: those of one PCI function, or of a chip that the guest has once. */
function devicesOf(windows: readonly DeviceWindow[]): Map<DeviceWindow, Device> {
  const devices = new Map<DeviceWindow, Device>();
  const byKey = new Map<string, Device>();
  for (const w of windows) {
    const once = windows.every((o) => o === w || o.chip !== w.chip || o.block !== w.block);
    const same = windows.filter((o) => o.chip === w.chip);
    const alone = once && same.every((o) => same.every((p) => p === o || p.block !== o.block));
    const key = alone ? w.chip.name : w.bdf !== undefined ? `${w.chip.name} ${w.bdf}` : `${w.chip.name} ${w.space} ${w.base}`;
    let device = byKey.get(key);
    if (device === undefined) byKey.set(key, (device = { chip: w.chip, parts: [] }));
    devices.set(w, device);
  }
  return devices;
}

/** A place with the accesses that put it there. */
export interface PlaceWrite {
  readonly place: Place;
  readonly access: IoAccess | undefined;
  readonly request: DmRequest | undefined;
}

/** A doorbell as the files hold it. */
export interface Bell {
  readonly event: NicEvent;
  readonly doorbell: Doorbell;
  readonly data: bigint | undefined;
  readonly mode: Claim<string>;
  /** The last write of the place it stands for. */
  readonly place: Claim<PlaceWrite>;
  /** The last such write that the trace holds, which may be another than the log's last. */
  readonly placeAccess: IoAccess | undefined;
  /** Where the driver's other direction lies: what is touched there is no transmission. */
  readonly receive: Place | undefined;
  /** Chip lines from the doorbell's own on. */
  readonly chip: readonly DmChipLine[];
  /** The doorbell's own request is not in the log: only the chip's line behind another tells of it. */
  readonly lineOnly: boolean;
}

/** What a guest's driver did to its NICs. */
export interface DriverStory {
  readonly bells: readonly Bell[];
  /** Reads of an interrupt cause. */
  readonly causes: readonly { readonly event: NicEvent; readonly cause: InterruptCause }[];
  /** Writes that placed what receptions fill, in order. */
  readonly places: readonly { readonly event: NicEvent; readonly place: Place; readonly refs: readonly Ref[] }[];
  /** The mode a driver runs a chip in, when an event happens; without one: at the end. */
  modeOf(window: DeviceWindow, ordinal?: number): Claim<string>;
  /** Whether two BARs are one device's. */
  sameDevice(a: DeviceWindow, b: DeviceWindow): boolean;
  /** A reader of the same events in the same order. */
  reader(): EventReader;
}

/** Tells what events mean, one after the other. */
export interface EventReader {
  take(event: NicEvent): Meaning;
}

/** Reads everything that a guest did to its NICs. */
export function driverStory(s: DriverSources): DriverStory {
  const devices = devicesOf(s.windows);
  findModes(s, devices);
  const modeOf = (window: DeviceWindow, ordinal = Infinity): Claim<string> => {
    const parts = devices.get(window)?.parts ?? [];
    const part = parts.findLast((p) => p.from <= ordinal) ?? parts[0];
    return part?.mode ?? unknown('no write of a register and no chip line names the mode');
  };
  const reader = (): EventReader => {
    const followers = new Map<Device, { follower: NicFollower; part: number }>();
    return {
      take(event) {
        const device = devices.get(event.window)!;
        let state = followers.get(device);
        if (state === undefined) {
          followers.set(device, (state = { follower: device.chip.follow(), part: -1 }));
          state.follower.mode = device.parts[0]?.mode.value;
        }
        while (state.part + 1 < device.parts.length && device.parts[state.part + 1]!.from <= event.ordinal)
          state.follower.mode = device.parts[++state.part]!.mode.value;
        // A log holds what the trace lost.
        if (s.log === undefined && event.access?.lossBefore === true) state.follower.lost();
        const { dir, offset, width, data } = event;
        return state.follower.take({ block: event.window.block, dir, offset, width, data });
      },
    };
  };

  const bells: Bell[] = [];
  const causes: { event: NicEvent; cause: InterruptCause }[] = [];
  const places: { event: NicEvent; place: Place; refs: Ref[] }[] = [];
  /** The writes that a place rests on: the last of each of its registers, by offset. */
  const last = new Map<string, { place: Place; parts: Map<number, NicEvent> }>();
  const lastAccess = new Map<string, IoAccess>();
  const numbers = new Map([...new Set(devices.values())].map((d, i) => [d, i]));
  const read = reader();
  for (const event of nicEvents(s)) {
    const meaning = read.take(event);
    const device = devices.get(event.window)!;
    const key = (place: string): string => `${numbers.get(device)} ${place}`;
    if (meaning.place !== undefined) {
      const parts = last.get(key(meaning.place.key))?.parts ?? new Map<number, NicEvent>();
      parts.set(event.offset, event);
      if (meaning.place.direction === 'receive') places.push({ event, place: meaning.place, refs: partRefs(parts, s.log) });
      last.set(key(meaning.place.key), { place: meaning.place, parts });
      if (event.access !== undefined && event.offset === Math.min(...parts.keys()))
        lastAccess.set(key(meaning.place.key), event.access);
    }
    if (meaning.cause !== undefined && event.dir === 'read') causes.push({ event, cause: meaning.cause });
    const mode = modeOf(event.window, event.ordinal);
    const { chip } = event.window;
    const bellOf = (doorbell: Doorbell, data: bigint | undefined, lines: readonly DmChipLine[], lineOnly: boolean): Bell => {
      const keys = chip.places('transmit', mode.value);
      const at =
        doorbell.kind === 'ring'
          ? keys[0]
          : (doorbell.place?.key ?? (doorbell.index === undefined ? undefined : keys[doorbell.index]));
      const put = at === undefined ? undefined : last.get(key(at));
      const receive = chip
        .places('receive', mode.value)
        .map((k) => last.get(key(k))?.place)
        .find((p) => p !== undefined);
      return {
        event,
        doorbell,
        data,
        mode,
        place:
          put === undefined
            ? unknown(`the write that places the ${at ?? 'buffer'} is not in the files`)
            : claim(
                { place: put.place, access: first(put.parts).access, request: first(put.parts).request },
                'proven',
                `last write of ${put.place.register}`,
                partRefs(put.parts, s.log),
              ),
        placeAccess: at === undefined ? undefined : lastAccess.get(key(at)),
        receive,
        chip: lines,
        lineOnly,
      };
    };
    const lines = event.request?.chip ?? [];
    if (meaning.doorbell !== undefined) {
      bells.push(bellOf(meaning.doorbell, event.data, lines, false));
      continue;
    }
    // A log without its request lines: the chip's own line is all there is of the doorbell.
    const at = lines.findIndex((line) => chip.lines?.prefix === line.chip && chip.lines.doorbell(line.text) !== undefined);
    if (at < 0) continue;
    const told = chip.lines!.doorbell(lines[at]!.text)!;
    const doorbell: Doorbell = {
      register: told.register,
      kind: 'ring',
      place: undefined,
      index: undefined,
      length: undefined,
      from: undefined,
      until: undefined,
    };
    bells.push(bellOf(doorbell, told.data, lines.slice(at), true));
  }
  return { bells, causes, places, modeOf, reader, sameDevice: (a, b) => devices.get(a) === devices.get(b) };
}

/** What shows a place's registers, the first first. */
const partRefs = (parts: ReadonlyMap<number, NicEvent>, log: DmLog | undefined): Ref[] =>
  [...parts].sort(([a], [b]) => a - b).flatMap(([, part]) => eventRefs(part, log));

/** The write of a place's first register. */
const first = (parts: ReadonlyMap<number, NicEvent>): NicEvent => parts.get(Math.min(...parts.keys()))!;

interface Sign {
  readonly sign: ModeSign;
  readonly refs: readonly Ref[];
}

/** Finds each device's mode, part by part between resets: by the best sign of the part, wherever in it that stands. */
function findModes(s: DriverSources, devices: ReadonlyMap<DeviceWindow, Device>): void {
  const signs = new Map<Device, { from: number; signs: Sign[] }[]>();
  const followers = new Map<Device, NicFollower>();
  for (const event of nicEvents(s)) {
    const device = devices.get(event.window)!;
    let parts = signs.get(device);
    if (parts === undefined) signs.set(device, (parts = [{ from: 0, signs: [] }]));
    let follower = followers.get(device);
    if (follower === undefined) followers.set(device, (follower = device.chip.follow()));
    const { dir, offset, width, data } = event;
    const meaning = follower.take({ block: event.window.block, dir, offset, width, data });
    if (meaning.reset === true) {
      parts.push({ from: event.ordinal, signs: [] });
      follower.mode = undefined;
    }
    const now = parts.at(-1)!;
    if (meaning.mode !== undefined) now.signs.push({ sign: meaning.mode, refs: eventRefs(event, s.log).slice(0, 1) });
    const { lines } = device.chip;
    for (const line of event.request?.chip ?? []) {
      const sign = line.chip === lines?.prefix ? lines.mode(line.text) : undefined;
      if (sign !== undefined) now.signs.push({ sign, refs: [logLine(line.line, s.log?.source)] });
    }
  }
  for (const [device, parts] of signs) {
    let mode: Claim<string> | undefined;
    for (const part of parts) {
      const best = part.signs.find((x) => x.sign.strength === 'proven') ?? mostFrequent(part.signs);
      const found = best && claim(best.sign.mode, best.sign.strength, best.sign.why, best.refs);
      mode = found ?? mode;
      if (mode !== undefined) device.parts.push({ from: part.from, mode });
    }
  }
}

function mostFrequent(signs: readonly Sign[]): Sign | undefined {
  const count = (mode: string): number => signs.filter((x) => x.sign.mode === mode).length;
  return signs.reduce<Sign | undefined>(
    (best, x) => (best === undefined || count(x.sign.mode) > count(best.sign.mode) ? x : best),
    undefined,
  );
}
