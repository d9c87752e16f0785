import { UserError } from '../../base/errors.ts';
import type { WallBase } from './dm-log.ts';

/**
 * Captures: pcap (both byte orders, microsecond and nanosecond) and pcapng (section header, interface, enhanced,
 * simple and old packet blocks, per-interface resolution, comments). Sources: pcap-savefile(5), the pcapng draft.
 */

/** One captured frame. */
export interface CapturedFrame {
  /** Number in the file, from 1, as other tools count. */
  readonly number: number;
  /** Wall clock in microseconds from the reader's base. */
  readonly timeUs: number;
  /** Microseconds that its time is cut to. */
  readonly resolutionUs: number;
  readonly data: Uint8Array;
  /** Length on the wire; more than data.length where the capture cut the frame. */
  readonly wireLength: number;
  readonly interfaceId: number;
  /** As the capture names it: `vif1.0-emu`. */
  readonly interfaceName?: string | undefined;
  readonly comments: readonly string[];
  /**
   * As pcapng's flags say, seen from the guest: in Xenolith's own captures. In others they are seen from the interface that was
   * captured on, and what the guest sends comes *in* at its vif; so they tell nothing.
   */
  readonly direction: 'inbound' | 'outbound' | undefined;
}

export interface Capture {
  readonly format: 'pcap' | 'pcapng';
  readonly frames: CapturedFrame[];
  /** Where reading stopped early, and why; undefined when the whole file was read. */
  readonly damage: string | undefined;
  /** Frames that are counted and not read, and why: one clause each. */
  readonly skipped: readonly string[];
}

const SECTION = 0x0a0d0d0a;
const BYTE_ORDER = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
const MAX_FRAME = 1 << 20;
/** shb_userappl of Xenolith's own captures. */
const APPLICATION = 'Xenolith';

/**
 * Reads a capture held in memory. A cut or damaged file gives the frames before the damage and `damage`.
 * @param base that times are made to count from
 * @throws UserError where the bytes are no capture at all or hold no Ethernet
 */
export function readCapture(bytes: Uint8Array, name: string, base: WallBase = { seconds: 0 }): Capture {
  if (bytes.length < 4)
    throw new UserError(`${name}: ${bytes.length} bytes are too short for a capture: expected pcap or pcapng`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0, true);
  if (magic === SECTION) return readPcapng(bytes, view, name, base);
  for (const little of [true, false]) {
    const m = view.getUint32(0, little);
    if (m === 0xa1b2c3d4 || m === 0xa1b23c4d) return readPcap(bytes, view, little, m === 0xa1b23c4d ? 1000 : 1, name, base);
  }
  throw new UserError(
    `${name}: starts with 0x${magic.toString(16)}, which is neither pcap nor pcapng: record one with tcpdump -w`,
  );
}

function readPcap(bytes: Uint8Array, view: DataView, little: boolean, perUs: number, name: string, base: WallBase): Capture {
  if (bytes.length < 24) throw new UserError(`${name}: cut inside the pcap header: ${bytes.length} of 24 bytes`);
  const [major, minor] = [view.getUint16(4, little), view.getUint16(6, little)];
  if (major !== 2) throw new UserError(`${name}: pcap of version ${major}.${minor}; expected 2.4`);
  const link = view.getUint32(20, little) & 0x0fffffff;
  if (link !== LINKTYPE_ETHERNET)
    throw new UserError(`${name}: link type ${link}, expected 1 (Ethernet): capture on the bridge or the vif`);
  const frames: CapturedFrame[] = [];
  let at = 24;
  let damage: string | undefined;
  while (at < bytes.length) {
    if (at + 16 > bytes.length) {
      damage = `offset ${at}: record header cut short`;
      break;
    }
    const captured = view.getUint32(at + 8, little);
    if (captured > MAX_FRAME || at + 16 + captured > bytes.length) {
      damage = `offset ${at}: frame of ${captured} bytes does not fit the file`;
      break;
    }
    frames.push({
      number: frames.length + 1,
      timeUs: sinceBase(base, view.getUint32(at, little), view.getUint32(at + 4, little) / perUs),
      resolutionUs: 1 / perUs,
      data: bytes.subarray(at + 16, at + 16 + captured),
      wireLength: view.getUint32(at + 12, little),
      interfaceId: 0,
      comments: [],
      direction: undefined,
    });
    at += 16 + captured;
  }
  return { format: 'pcap', frames, damage, skipped: [] };
}

/** Microseconds from the base; the first time seen sets it. */
function sinceBase(base: WallBase, seconds: number, us: number): number {
  base.seconds ??= seconds;
  return (seconds - base.seconds) * 1e6 + us;
}

interface Interface {
  readonly name: string | undefined;
  readonly link: number;
  readonly ticksPerSecond: bigint;
  /** Seconds to add. */
  readonly offset: number;
}

function readPcapng(bytes: Uint8Array, view: DataView, name: string, base: WallBase): Capture {
  const frames: CapturedFrame[] = [];
  let interfaces: Interface[] = [];
  let little = true;
  /** The section's flags are seen from the guest. */
  let own = false;
  let at = 0;
  let number = 0;
  let damage: string | undefined;
  let otherLinks = 0;
  /** Simple packet blocks. */
  let simple = 0;
  const decoder = new TextDecoder();

  const options = (from: number, to: number): Map<number, Uint8Array[]> => {
    const found = new Map<number, Uint8Array[]>();
    while (from + 4 <= to) {
      const code = view.getUint16(from, little);
      const length = view.getUint16(from + 2, little);
      if (code === 0 || from + 4 + length > to) break;
      const list = found.get(code) ?? [];
      list.push(bytes.subarray(from + 4, from + 4 + length));
      found.set(code, list);
      from += 4 + ((length + 3) & ~3);
    }
    return found;
  };

  while (at < bytes.length) {
    if (at + 12 > bytes.length) {
      damage = `offset ${at}: block header cut short`;
      break;
    }
    if (view.getUint32(at, true) === SECTION) {
      const order = view.getUint32(at + 8, true);
      if (order !== BYTE_ORDER && view.getUint32(at + 8, false) !== BYTE_ORDER) {
        damage = `offset ${at}: section header with byte-order magic 0x${order.toString(16)}`;
        break;
      }
      little = order === BYTE_ORDER;
      interfaces = [];
      own = false;
    }
    const type = view.getUint32(at, little);
    const length = view.getUint32(at + 4, little);
    if (length < 12 || length % 4 !== 0 || at + length > bytes.length || view.getUint32(at + length - 4, little) !== length) {
      damage = `offset ${at}: block of ${length} bytes does not fit the file`;
      break;
    }
    const end = at + length - 4;
    if (type === SECTION && length >= 28)
      own =
        options(at + 24, end)
          .get(4)
          ?.some((a) => decoder.decode(a) === APPLICATION) === true;
    else if (type === 1 && length >= 20) {
      const opts = options(at + 16, end);
      const resolution = opts.get(9)?.[0]?.[0] ?? 6;
      const offset = opts.get(14)?.[0];
      const title = opts.get(2)?.[0];
      interfaces.push({
        name: title === undefined ? undefined : decoder.decode(title),
        link: view.getUint16(at + 8, little),
        ticksPerSecond: resolution & 0x80 ? 1n << BigInt(resolution & 0x7f) : 10n ** BigInt(resolution),
        offset:
          offset !== undefined && offset.length === 8
            ? Number(new DataView(offset.buffer, offset.byteOffset, 8).getBigInt64(0, little))
            : 0,
      });
    } else if ((type === 6 || type === 2) && length >= 32) {
      number++;
      const id = type === 6 ? view.getUint32(at + 8, little) : view.getUint16(at + 8, little);
      const captured = view.getUint32(at + 20, little);
      const face = interfaces[id];
      if (face === undefined || at + 28 + captured > end) {
        damage = `offset ${at}: packet of ${captured} bytes on interface ${id} does not fit its block`;
        break;
      }
      if (face.link === LINKTYPE_ETHERNET) {
        const opts = options(at + 28 + ((captured + 3) & ~3), end);
        const ticks = (BigInt(view.getUint32(at + 12, little)) << 32n) | BigInt(view.getUint32(at + 16, little));
        const part = Number(((ticks % face.ticksPerSecond) * 1_000_000_000n) / face.ticksPerSecond) / 1000;
        frames.push({
          number,
          timeUs: sinceBase(base, Number(ticks / face.ticksPerSecond) + face.offset, part),
          resolutionUs: Math.max(0.001, 1e6 / Number(face.ticksPerSecond)),
          data: bytes.subarray(at + 28, at + 28 + captured),
          wireLength: view.getUint32(at + 24, little),
          interfaceId: id,
          interfaceName: face.name,
          comments: (opts.get(1) ?? []).map((c) => decoder.decode(c)),
          direction: own ? directionOf(opts.get(2)?.[0], little) : undefined,
        });
      } else otherLinks++;
    } else if (type === 3) {
      number++;
      simple++;
    }
    at += length;
  }
  if (frames.length === 0 && otherLinks > 0)
    throw new UserError(`${name}: no Ethernet interface, expected link type 1: capture on the bridge or the vif`);
  const skipped = [
    ...(simple > 0 ? [`${simple} in simple packet blocks, which carry no time to join them by`] : []),
    ...(otherLinks > 0 ? [`${otherLinks} of interfaces that are not Ethernet`] : []),
  ];
  return { format: 'pcapng', frames, damage, skipped };
}

/** Option epb_flags: bits 1:0 are 1 inbound, 2 outbound. */
function directionOf(flags: Uint8Array | undefined, little: boolean): CapturedFrame['direction'] {
  if (flags === undefined || flags.length !== 4) return undefined;
  const bits = flags[little ? 0 : 3]! & 3;
  return bits === 1 ? 'inbound' : bits === 2 ? 'outbound' : undefined;
}
