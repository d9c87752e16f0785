import type { NicReading, Place } from '../../devices/nic/reading.ts';
import type { DmChipLine, DmDma, DmRequest } from '../sources/dm-lines.ts';
import type { DmLog } from '../sources/dm-log.ts';
import { claim, logLine, unknown, type Claim, type Ref } from '../sources/evidence.ts';
import type { CapturedFrame } from '../sources/pcap.ts';
import type { ClockAlignment } from './clock.ts';
import { traceToWallUs, wallToTraceNs } from './clock.ts';
import type { DeviceWindow } from './devices.ts';
import { eventRefs, type Bell, type PlaceWrite } from './driver.ts';
import type { IoAccess } from './io.ts';

/** What sent a frame: the first descriptor of a ring that it came from, or a buffer that registers name. */
export interface TxDescriptor {
  readonly index: Claim<number>;
  /** Guest-physical address of the descriptor; a buffer of registers has none in memory. */
  readonly gpa: Claim<number>;
  /** Its words, where the chip printed them. */
  readonly words: Claim<readonly number[]>;
  readonly buffer: Claim<number>;
  /** Bytes of the frame as the driver gave them. */
  readonly length: Claim<number>;
}

/** One frame that a guest sent, from the doorbell on. */
export interface Transmission {
  /** undefined: the chip is not known, or no file tells. */
  readonly window: DeviceWindow | undefined;
  /** How to call the device: `RTL8139`, `e1000-mmio`, `NIC`. */
  readonly device: string;
  /** `inferred`: the chip is not known, and the request is the doorbell because the frame left in it. */
  readonly kind: 'ring' | 'buffer' | 'chip memory' | 'inferred';
  readonly mode: Claim<string>;
  /** The doorbell's access in the trace and its request in the log; either may be missing. */
  readonly access: IoAccess | undefined;
  readonly request: DmRequest | undefined;
  /** Its register; undefined where the chip is not known. */
  readonly doorbell: string | undefined;
  /** Data of the doorbell write. */
  readonly data: bigint | undefined;
  readonly descriptor: TxDescriptor;
  /** Device model's memory accesses for this frame. */
  readonly dma: readonly DmDma[];
  /** All it made for the doorbell: other frames, and the look at the descriptor after the last. */
  readonly doorbellDma: readonly DmDma[];
  readonly dmaStrength: Claim<'while the guest waited' | 'after the doorbell'>;
  readonly chip: readonly DmChipLine[];
  readonly frame: Claim<CapturedFrame>;
  /** The last write of the place in the trace, which may be another than the log's last. */
  readonly placeAccess: IoAccess | undefined;
  /** The ring or buffer, by the last write of its address. */
  readonly place: Claim<PlaceWrite>;
}

/** When a frame must have left: after its buffer was asked for, before the device model went on to other work. */
export interface Departure {
  readonly from: DmDma | undefined;
  readonly until: DmDma | undefined;
  /** Bytes, where they are known. */
  readonly length: number | undefined;
}

/** A transmission before its frame is looked for. */
export type Draft = Omit<Transmission, 'frame'> & { readonly departure: Departure };

/** What transmissions are read from. */
interface TransmitSources {
  readonly accesses: readonly IoAccess[];
  readonly log: DmLog | undefined;
  readonly clock: ClockAlignment | undefined;
}

/** Trace time of an access, or of a request by the aligned clocks; undefined where neither is known. */
export const timeOf = (
  s: Pick<TransmitSources, 'clock'>,
  access: IoAccess | undefined,
  request: DmRequest | undefined,
): number | undefined =>
  access !== undefined
    ? (access.marks.exit ?? access.record).timeNs
    : request?.request.timeUs !== undefined && s.clock !== undefined
      ? wallToTraceNs(s.clock, request.request.timeUs + s.clock.lineUs)
      : undefined;

/** Which of the DMA lines behind a request were made while the guest waited for it. */
export function dmaOf(
  s: TransmitSources,
  access: IoAccess | undefined,
  request: DmRequest | undefined,
): { dma: readonly DmDma[]; strength: Transmission['dmaStrength'] } {
  if (request === undefined || request.dma.length === 0)
    return { dma: [], strength: unknown('the log has no map-cache line for it') };
  const ref = (d: DmDma): Ref => logLine(d.line, s.log?.source);
  const end = access?.marks.woken ?? access?.marks.entry;
  if (end === undefined || s.clock === undefined || access?.lost !== undefined) {
    return {
      dma: request.dma,
      strength: claim(
        'after the doorbell',
        'inferred',
        'they follow the request in the log; without aligned clocks later work cannot be distinguished',
        [ref(request.dma[0]!), ref(request.dma.at(-1)!)],
      ),
    };
  }
  const limit = traceToWallUs(s.clock, end.timeNs) + s.clock.errorUs;
  const dma = request.dma.filter((d) => d.timeUs === undefined || d.timeUs <= limit);
  if (dma.length === 0) return { dma, strength: unknown('all map-cache lines after it come after the guest ran on') };
  return {
    dma,
    strength: claim('while the guest waited', 'strong', "the log times them before the wake-up, within the clocks' error", [
      ref(dma[0]!),
      ref(dma.at(-1)!),
      end.ref,
    ]),
  };
}

/** Whether an address lies in a ring, and not in another that begins behind it. */
const inRing = (gpa: number, ring: Place | undefined, other: Place | undefined): boolean =>
  ring?.descriptorBytes !== undefined &&
  gpa >= ring.base &&
  gpa < ring.base + (ring.count ?? MOST_DESCRIPTORS) * ring.descriptorBytes &&
  !(other !== undefined && other.base > ring.base && gpa >= other.base);

/** Descriptors taken to be in a ring whose driver does not say how many it has. */
const MOST_DESCRIPTORS = 4096;

/** Map-cache lines about one descriptor: its words read, the buffer, its status written back. */
interface DescriptorGroup {
  readonly at: number;
  readonly buffers: DmDma[];
  readonly all: DmDma[];
}

/** Splits map-cache lines of a descriptor ring by descriptor. `other`: the other direction's, where known. */
export function descriptorGroups(dma: readonly DmDma[], ring: Place, other?: Place): DescriptorGroup[] {
  const bytes = ring.descriptorBytes;
  if (bytes === undefined) return [];
  const groups: DescriptorGroup[] = [];
  for (const d of dma) {
    const current = groups.at(-1);
    if (!inRing(d.gpa, ring, other)) {
      current?.buffers.push(d);
      current?.all.push(d);
      continue;
    }
    const at = ring.base + Math.floor((d.gpa - ring.base) / bytes) * bytes;
    if (current === undefined || current.at !== at) groups.push({ at, buffers: [], all: [d] });
    else current.all.push(d);
  }
  return groups;
}

/** The frames that a driver's doorbells sent, in order. A doorbell that moved several gives one each, where the log tells them apart. */
export function draftsOf(s: TransmitSources, bells: readonly Bell[]): Draft[] {
  return bells.flatMap((bell) => (bell.doorbell.kind === 'ring' ? ringDrafts(s, bell) : [bufferDraft(s, bell)]));
}

const common = (
  bell: Bell,
): Pick<
  Draft,
  'window' | 'device' | 'kind' | 'mode' | 'access' | 'request' | 'doorbell' | 'data' | 'chip' | 'place' | 'placeAccess'
> => ({
  window: bell.event.window,
  device: bell.event.window.chip.title,
  kind: bell.doorbell.kind,
  mode: bell.mode,
  access: bell.lineOnly ? undefined : bell.event.access,
  request: bell.lineOnly ? undefined : bell.event.request,
  doorbell: bell.doorbell.register,
  data: bell.data,
  chip: bell.chip,
  place: bell.place,
  placeAccess: bell.placeAccess,
});

/** A buffer that registers name, or a frame in the chip's own memory. */
function bufferDraft(s: TransmitSources, bell: Bell): Draft {
  const { doorbell } = bell;
  const own = common(bell);
  const behind = dmaOf(s, own.access, own.request);
  const ref = (line: { readonly line: number }): Ref => logLine(line.line, s.log?.source);
  const bellRefs = eventRefs(bell.event, s.log);
  const length = doorbell.length;
  const lengthClaim: Claim<number> =
    length === undefined ? unknown('no write in the files gives it') : claim(length, 'proven', `the driver wrote it`, bellRefs);
  const inMemory: Claim<never> = unknown('the chip has no descriptor in memory: the frame is named by registers');
  const base = {
    ...own,
    doorbellDma: behind.dma,
    dmaStrength: behind.strength,
  };
  if (doorbell.kind === 'chip memory') {
    return {
      ...base,
      dma: [],
      descriptor: {
        index: unknown('the chip sends from its own memory'),
        gpa: inMemory,
        words: inMemory,
        buffer: unknown("the frame is in the chip's own memory, where the driver wrote it before"),
        length: lengthClaim,
      },
      departure: { from: undefined, until: undefined, length },
    };
  }
  const address = bell.place.value?.place.base;
  const dma =
    address === undefined
      ? behind.dma.slice(0, 1)
      : behind.dma.filter((d) => d.gpa >= address && d.gpa < address + Math.max(length ?? 1, 1));
  const touched = dma[0];
  const lines = bell.event.window.chip.lines;
  const line = bell.chip.find((c) => lines?.fetch(c.text) !== undefined);
  const shown = line === undefined ? undefined : lines!.fetch(line.text)!.gpa;
  const register = bell.place.value?.place.register ?? doorbell.place?.register ?? 'address register';
  const buffer: Claim<number> =
    shown !== undefined
      ? claim(shown, 'proven', 'the chip prints where it read the frame', [ref(line!)])
      : address !== undefined
        ? claim(
            address,
            touched !== undefined ? 'proven' : 'strong',
            `the driver wrote it into ${register}${touched !== undefined ? ', and the device model asked its map cache for it' : ''}`,
            [...bell.place.refs, ...(touched ? [ref(touched)] : [])],
          )
        : touched !== undefined
          ? claim(
              touched.gpa,
              'inferred',
              "the first address the device model asked for after the doorbell; the write of the buffer's address is not in the files",
              [ref(touched)],
            )
          : unknown("neither the write of the buffer's address nor a map-cache line is in the files");
  return {
    ...base,
    dma,
    doorbellDma: dma,
    descriptor: {
      index:
        doorbell.index === undefined
          ? unknown('the register does not tell')
          : claim(doorbell.index, 'proven', 'the register written is that of this buffer', bellRefs),
      gpa: inMemory,
      words: inMemory,
      buffer,
      length: lengthClaim,
    },
    departure: { from: touched, until: undefined, length },
  };
}

function ringDrafts(s: TransmitSources, bell: Bell): Draft[] {
  const own = common(bell);
  const behind = dmaOf(s, own.access, own.request);
  const ring = bell.place.value?.place;
  const ref = (line: { readonly line: number }): Ref => logLine(line.line, s.log?.source);
  // From the first look at the receive ring on, the device model is taking in a frame.
  const received = behind.dma.findIndex((d) => inRing(d.gpa, bell.receive, ring));
  const dma = received < 0 ? behind.dma : behind.dma.slice(0, received);
  const base = { ...own, doorbellDma: dma, dmaStrength: behind.strength };
  const printed = printedFrames(bell.event.window.chip, bell.chip);
  if (printed.length > 0) return printed.map((p) => printedDraft(s, base, dma, p));
  const all = ring === undefined ? [] : descriptorGroups(dma, ring, bell.receive);
  const groups = all.filter((g) => g.buffers.length > 0);
  if (ring === undefined || groups.length === 0) {
    const why = ring === undefined && dma.length > 0 ? "the ring's address is not in the files" : 'no map-cache line shows it';
    return [
      {
        ...base,
        dma,
        descriptor: {
          index: unknown(why),
          gpa: unknown(why),
          words: unknown('no line prints it'),
          buffer: unknown(why),
          length: unknown('it is in the descriptor, which no file shows'),
        },
        departure: { from: dma[0], until: undefined, length: undefined },
      },
    ];
  }
  return groups.map((group) => {
    const refs = [ref(group.all[0]!), ...bell.place.refs];
    return {
      ...base,
      dma: group.all,
      descriptor: {
        index: claim(
          (group.at - ring.base) / ring.descriptorBytes!,
          'strong',
          `its address less the ring base, in ${ring.descriptorBytes} bytes`,
          refs,
        ),
        gpa: claim(group.at, 'strong', 'an address within the ring that the device model asked for', refs),
        words: unknown('map-cache lines carry addresses, not contents'),
        buffer: claim(
          group.buffers[0]!.gpa,
          'strong',
          'the device model asked for it after the descriptor, at an address outside the ring',
          [ref(group.buffers[0]!)],
        ),
        length: unknown('it is in the descriptor, whose contents no file shows'),
      },
      departure: { from: group.buffers[0], until: all[all.indexOf(group) + 1]?.all[0], length: undefined },
    };
  });
}

/** The descriptors of one frame, as the chip printed them. */
interface PrintedFrame {
  readonly index: number;
  readonly gpa: number;
  readonly line: DmChipLine;
  readonly words: { readonly values: readonly number[]; readonly line: DmChipLine } | undefined;
  readonly buffer: { readonly gpa: number; readonly line: DmChipLine };
  readonly length: { readonly bytes: number; readonly line: DmChipLine };
  /** Every descriptor and buffer of the frame. */
  readonly pieces: readonly { readonly gpa: number; readonly buffer: number }[];
}

/** Frames whose descriptors the chip printed: those that were fetched, a frame of several descriptors being one. */
function printedFrames(chip: NicReading, lines: readonly DmChipLine[]): PrintedFrame[] {
  const printed = (chip.lines?.descriptors(lines.map((l) => l.text)) ?? []).filter((d) => d.buffer !== undefined);
  const frames: PrintedFrame[] = [];
  let pieces: (typeof printed)[number][] = [];
  printed.forEach((d, i) => {
    pieces.push(d);
    const words = d.words?.values;
    const last = d.sent !== undefined || words === undefined || chip.descriptor('transmit', words, undefined).last;
    if (!last && i + 1 < printed.length) return;
    const first = pieces[0]!;
    const bytes = pieces.reduce((n, p) => n + p.buffer!.bytes, 0);
    frames.push({
      index: first.index,
      gpa: first.gpa,
      line: lines[first.line]!,
      words: first.words && { values: first.words.values, line: lines[first.words.line]! },
      buffer: { gpa: first.buffer!.gpa, line: lines[first.buffer!.line]! },
      length: d.sent === undefined ? { bytes, line: lines[d.buffer!.line]! } : { bytes: d.sent.bytes, line: lines[d.sent.line]! },
      pieces: pieces.map((p) => ({ gpa: p.gpa, buffer: p.buffer!.gpa })),
    });
    pieces = [];
  });
  return frames;
}

function printedDraft(
  s: TransmitSources,
  base: Omit<Draft, 'dma' | 'descriptor' | 'departure'>,
  dma: readonly DmDma[],
  p: PrintedFrame,
): Draft {
  const ref = (line: { readonly line: number }): Ref => logLine(line.line, s.log?.source);
  const bytes = base.place.value?.place.descriptorBytes ?? 16;
  const own = dma.filter((d) => p.pieces.some((x) => d.gpa === x.buffer || (d.gpa >= x.gpa && d.gpa < x.gpa + bytes)));
  return {
    ...base,
    dma: own,
    descriptor: {
      index: claim(p.index, 'proven', 'the chip prints it', [ref(p.line)]),
      gpa: claim(p.gpa, 'proven', 'the chip prints where it read it', [ref(p.line)]),
      words:
        p.words === undefined
          ? unknown('the chip printed no words')
          : claim(p.words.values, 'proven', 'the chip prints its words', [ref(p.words.line)]),
      buffer: claim(p.buffer.gpa, 'proven', 'the chip prints where it read the frame', [ref(p.buffer.line)]),
      length: claim(p.length.bytes, 'proven', 'the chip prints how much it sent', [ref(p.length.line)]),
    },
    departure: { from: own.find((d) => d.gpa === p.buffer.gpa), until: undefined, length: p.length.bytes },
  };
}
