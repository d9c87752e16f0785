import type { ClockAlignment } from './clock.ts';
import { traceToWallUs, wallToTraceNs } from './clock.ts';
import { driverMode, explainRegisters, type DeviceWindow } from './devices.ts';
import type { DmChipLine, DmDma, DmRequest } from '../sources/dm-lines.ts';
import type { DmLog } from '../sources/dm-log.ts';
import { claim, logLine, pcapFrame, unknown, type Claim, type Ref } from '../sources/evidence.ts';
import type { IoAccess } from './io.ts';
import type { Pairing } from './pair.ts';
import type { CapturedFrame } from '../sources/pcap.ts';

/** All that one analysis of one set of files has: the input of packets and stories. */
export interface Evidence {
  readonly accesses: readonly IoAccess[];
  readonly log: DmLog | undefined;
  readonly pairing: Pairing | undefined;
  readonly clock: ClockAlignment | undefined;
  readonly frames: readonly CapturedFrame[];
  readonly windows: readonly DeviceWindow[];
}

/** A transmit descriptor or, in C mode, one of the four transmit buffers. */
interface TxDescriptor {
  readonly index: Claim<number>;
  /** C+: guest-physical address of the descriptor; C mode has none in memory. */
  readonly gpa: Claim<number>;
  /** C+: its four words, where the chip printed them. */
  readonly words: Claim<readonly number[]>;
  readonly buffer: Claim<number>;
  /** Bytes of the frame as the driver gave them. */
  readonly length: Claim<number>;
}

/** One frame that a driver sent, from the doorbell on. */
export interface Transmission {
  readonly window: DeviceWindow | undefined;
  readonly mode: 'C' | 'C+';
  /** The doorbell's access in the trace and its request in the log; either may be missing. */
  readonly access: IoAccess | undefined;
  readonly request: DmRequest | undefined;
  readonly doorbell: 'TxPoll' | 'TxStatus0' | 'TxStatus1' | 'TxStatus2' | 'TxStatus3';
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
  /** The last write of that register in the trace, which may be another than the log's last. */
  readonly ringAccess: IoAccess | undefined;
  /** The last write of the ring base (C+) or of this buffer's TxAddr (C). */
  readonly ring: Claim<{
    readonly value: number;
    readonly access: IoAccess | undefined;
    readonly request: DmRequest | undefined;
  }>;
}

const TX_STATUS = 0x10;
const TX_ADDR = 0x20;
const RX_BUF = 0x30;
const RX_RING = 0xe4;
const TX_POLL = 0xd9;
const TX_POLL_NPQ = 0x40;
const TX_STATUS_OWN = 1 << 13;
const TX_STATUS_SIZE = 0x1fff;
const DESCRIPTOR_BYTES = 16;
const RING_MAX = 64;

interface Doorbell {
  readonly name: Transmission['doorbell'];
  readonly window: DeviceWindow | undefined;
  readonly access: IoAccess | undefined;
  readonly request: DmRequest | undefined;
  readonly data: bigint;
  /** Chip lines from the doorbell's own on, where several stand behind one request. */
  readonly chip: readonly DmChipLine[];
}

/** Trace time of an access, or of a request by the aligned clocks; undefined where neither is known. */
export const timeOf = (e: Evidence, access: IoAccess | undefined, request: DmRequest | undefined): number | undefined =>
  access !== undefined
    ? (access.marks.exit ?? access.record).timeNs
    : request?.request.timeUs !== undefined && e.clock !== undefined
      ? wallToTraceNs(e.clock, request.request.timeUs + e.clock.lineUs)
      : undefined;

/** One thing the guest did to the device: seen in the trace, in the log, or in both. Ordered as it happened. */
interface DeviceWrite {
  readonly window: DeviceWindow;
  readonly access: IoAccess | undefined;
  readonly request: DmRequest | undefined;
  readonly offset: number;
  readonly data: bigint;
}

/** The last writes of address registers, by register. */
class Rings {
  private readonly last = new Map<string, DeviceWrite>();
  private readonly registerAccess = new Map<string, IoAccess>();

  set(write: DeviceWrite): void {
    const key = `${write.window.base} ${write.offset}`;
    this.last.set(key, write);
    if (write.access !== undefined) this.registerAccess.set(key, write.access);
  }

  get(window: DeviceWindow, register: number): DeviceWrite | undefined {
    return this.last.get(`${window.base} ${register}`);
  }

  /** The last write that the trace holds. */
  access(window: DeviceWindow, register: number): IoAccess | undefined {
    return this.registerAccess.get(`${window.base} ${register}`);
  }
}

/** All writes to known devices, each access with its request, in the log's order where one exists, else the trace's. */
function deviceWrites(e: Evidence): DeviceWrite[] {
  const writes: DeviceWrite[] = [];
  const windowOf = (space: 'mmio' | 'pio', addr: number): DeviceWindow | undefined =>
    e.windows.find((w) => w.space === space && addr >= w.base && addr < w.base + w.chip.blockSize);
  const pushAccess = (access: IoAccess, request: DmRequest | undefined): void => {
    const window = windowOf(access.space, access.addr);
    if (access.dir === 'write' && access.data !== undefined && window !== undefined) {
      writes.push({ window, access, request, offset: access.addr - window.base, data: access.data });
    }
  };
  const pushRequest = (request: DmRequest): void => {
    if (request.request.type > 1 || request.dir !== 'write' || request.data === undefined) return;
    const window = windowOf(request.request.type === 0 ? 'pio' : 'mmio', request.request.addr);
    if (window !== undefined)
      writes.push({ window, access: undefined, request, offset: request.request.addr - window.base, data: request.data });
  };
  const requests = e.log?.requests ?? [];
  let next = 0;
  e.accesses.forEach((access, i) => {
    const request = e.pairing?.requestOf[i];
    if (request !== undefined) {
      for (; next < request.index; next++) if (e.pairing!.accessOf[next] === undefined) pushRequest(requests[next]!);
      next = request.index + 1;
    }
    pushAccess(access, request);
  });
  for (; next < requests.length; next++) if (e.pairing?.accessOf[next] === undefined) pushRequest(requests[next]!);
  return writes;
}

/**
 * The frames that drivers sent, in order: every TxPoll (C+) or TxStatus write that hands a buffer over (C).
 * A doorbell that moved several frames gives one transmission each, where the log tells them apart.
 */
export function transmissions(e: Evidence): Transmission[] {
  const result: Transmission[] = [];
  const ring = new Rings();
  const modes = new Map(e.windows.map((w) => [w, driverMode(w, e.accesses, e.log).value ?? 'C']));
  const usedFrames = new Set<number>();
  for (const write of deviceWrites(e)) {
    const mode = modes.get(write.window)!;
    const chip = write.request?.chip ?? [];
    if ((write.offset >= TX_ADDR && write.offset < TX_ADDR + 16) || write.offset === RX_RING || write.offset === RX_RING + 4)
      ring.set(write);
    if (mode === 'C+' && write.offset === TX_POLL && (write.data & BigInt(TX_POLL_NPQ)) !== 0n) {
      addCplus(
        e,
        result,
        { name: 'TxPoll', window: write.window, access: write.access, request: write.request, data: write.data, chip },
        ring,
        usedFrames,
      );
    } else if (
      mode === 'C' &&
      write.offset >= TX_STATUS &&
      write.offset < TX_STATUS + 16 &&
      write.offset % 4 === 0 &&
      (write.data & BigInt(TX_STATUS_OWN)) === 0n
    ) {
      const n = (write.offset - TX_STATUS) / 4;
      addC(
        e,
        result,
        {
          name: `TxStatus${n}` as Doorbell['name'],
          window: write.window,
          access: write.access,
          request: write.request,
          data: write.data,
          chip,
        },
        n,
        ring,
        usedFrames,
      );
    } else {
      // A log without its request lines: the chip's own line is all there is of the doorbell.
      const at = chip.findIndex((c) => /^C\+ TxPoll write/.test(c.text));
      const data = /val=0x([0-9a-f]+)/i.exec(chip[at]?.text ?? '')?.[1];
      if (at >= 0 && data !== undefined) {
        addCplus(
          e,
          result,
          {
            name: 'TxPoll',
            window: write.window,
            access: undefined,
            request: undefined,
            data: BigInt('0x' + data),
            chip: chip.slice(at),
          },
          ring,
          usedFrames,
          write.request,
        );
      }
    }
  }
  return result;
}

const refOf = (e: Evidence, line: { readonly line: number }): Ref => logLine(line.line, e.log?.source);

/** Which of the DMA lines behind a request were made while the guest waited for it. */
export function dmaOf(
  e: Evidence,
  access: IoAccess | undefined,
  request: DmRequest | undefined,
): { dma: readonly DmDma[]; strength: Transmission['dmaStrength'] } {
  if (request === undefined || request.dma.length === 0)
    return { dma: [], strength: unknown('the log has no map-cache line for it') };
  const refs = [refOf(e, request.dma[0]!), refOf(e, request.dma[request.dma.length - 1]!)];
  const end = access?.marks.woken ?? access?.marks.entry;
  if (end === undefined || e.clock === undefined || access?.lost !== undefined) {
    return {
      dma: request.dma,
      strength: claim(
        'after the doorbell',
        'inferred',
        'they follow the request in the log; without aligned clocks later work cannot be told apart',
        refs,
      ),
    };
  }
  const limit = traceToWallUs(e.clock, end.timeNs) + e.clock.errorUs;
  const dma = request.dma.filter((d) => d.timeUs === undefined || d.timeUs <= limit);
  if (dma.length === 0) return { dma, strength: unknown('all map-cache lines behind it come after the guest ran on') };
  return {
    dma,
    strength: claim(
      'while the guest waited',
      'strong',
      `the log times them before the wake-up, within ±${Math.ceil(e.clock.errorUs)} µs`,
      [refOf(e, dma[0]!), refOf(e, dma[dma.length - 1]!), end.ref],
    ),
  };
}

/** How long after its last log line a frame may be captured where nothing tells the end of the request. */
const FRAME_SLACK_US = 2000;

/** When a frame must have left: after its buffer was asked for, before the device model went on to other work. */
interface FrameWindow {
  readonly from: DmDma | undefined;
  readonly until: DmDma | undefined;
  /** The doorbell's access: its answer ends the request where no line does. */
  readonly access: IoAccess | undefined;
}

/** The captured frame that left in the request's time, not taken by an earlier doorbell. */
function frameOf(
  e: Evidence,
  request: DmRequest | undefined,
  window: FrameWindow,
  length: number | undefined,
  used: Set<number>,
): Claim<CapturedFrame> {
  if (e.frames.length === 0) return unknown('no capture was given');
  const start = request?.request.timeUs;
  if (start === undefined) return unknown('the doorbell has no wall-clock time to find the frame by');
  const from = window.from?.timeUs ?? start;
  const next = e.log?.requests[request!.index + 1]?.request.timeUs;
  const answer = window.access?.marks.woken ?? window.access?.marks.entry;
  const answered =
    answer === undefined || e.clock === undefined ? undefined : traceToWallUs(e.clock, answer.timeNs) + e.clock.errorUs;
  const until =
    window.until?.timeUs ??
    answered ??
    Math.min(Math.max(request!.endTimeUs ?? from, window.from?.returnTimeUs ?? from) + FRAME_SLACK_US, next ?? Infinity);
  const inside = e.frames.filter(
    (f) => f.timeUs >= from && f.timeUs <= until && f.direction !== 'inbound' && !used.has(f.number),
  );
  // The model pads what is shorter than Ethernet allows; a capture may hold it before or after.
  const fits = (f: CapturedFrame): boolean =>
    length === undefined || f.wireLength === length || (length < MIN_FRAME && f.wireLength === MIN_FRAME);
  const fitting = inside.filter(fits);
  const named = fitting.find((f) => f.comments.some((c) => namesRequest(c, request!)));
  const frame = named ?? fitting[0];
  const line = logLine(request!.request.line, e.log?.source);
  if (frame === undefined) {
    return unknown(
      inside.length > 0
        ? `no captured frame of ${length} bytes left in the request's time`
        : "no frame was captured in the request's time",
      [line],
    );
  }
  used.add(frame.number);
  if (named !== undefined)
    return claim(
      named,
      'proven',
      `the capture's comment names the request that sent it, and it was captured in the request's time`,
      [pcapFrame(named.number), line],
    );
  const alone = inside.length === 1;
  return claim(
    frame,
    alone && (length !== undefined || window.until !== undefined) ? 'strong' : 'inferred',
    `captured ${Math.round(frame.timeUs - start)} µs after the request's first log line, ${alone ? 'the only one' : `one of ${inside.length}`} between ${window.from === undefined ? 'that line' : 'the fetch of its buffer'} and the ${window.until === undefined ? 'end of the request' : 'look at the next descriptor'}${length !== undefined ? ', of the length the driver gave' : ''}`,
    [
      pcapFrame(frame.number),
      line,
      ...(window.from ? [logLine(window.from.line, e.log?.source)] : []),
      ...(window.until ? [logLine(window.until.line, e.log?.source)] : []),
    ],
  );
}

/** `ioreq 17: vCPU 0 write of gpa 0xf00000d9, data 0x40, size 1`: as Xenolith's own captures say what sent a frame. */
function namesRequest(comment: string, request: DmRequest): boolean {
  const m = /\bwrite of (?:gpa|port) 0x([0-9a-f]+), data 0x([0-9a-f]+)/i.exec(comment);
  return m !== null && parseInt(m[1]!, 16) === request.request.addr && BigInt('0x' + m[2]!) === request.data;
}

/** Shortest Ethernet frame without its checksum. */
const MIN_FRAME = 60;

function addC(e: Evidence, result: Transmission[], bell: Doorbell, n: number, ring: Rings, used: Set<number>): void {
  const behind = dmaOf(e, bell.access, bell.request);
  const { strength } = behind;
  const written = ring.get(bell.window!, TX_ADDR + 4 * n);
  const bellRefs: Ref[] = [
    ...(bell.access ? [bell.access.record.ref] : []),
    ...(bell.request ? [refOf(e, bell.request.request)] : []),
  ];
  const length = Number(bell.data) & TX_STATUS_SIZE;
  const address = written === undefined ? undefined : Number(BigInt.asUintN(32, written.data));
  const dma =
    address === undefined
      ? behind.dma.slice(0, 1)
      : behind.dma.filter((d) => d.gpa >= address && d.gpa < address + Math.max(length, 1));
  const touched = dma[0];
  const line = bell.chip.find((c) => /transmit reading \d+ bytes from host memory at/i.test(c.text));
  const shown = /host memory at (?:0x)?([0-9a-f]+)/i.exec(line?.text ?? '')?.[1];
  const buffer: Claim<number> =
    shown !== undefined
      ? claim(parseInt(shown, 16), 'proven', 'the chip prints where it read the frame', [refOf(e, line!)])
      : address !== undefined
        ? claim(
            address,
            touched !== undefined ? 'proven' : 'strong',
            `the driver wrote it into TxAddr${n}${touched !== undefined ? ', and the device model asked its map cache for it' : ''}`,
            [
              ...(written!.access ? [written!.access.record.ref] : []),
              ...(written!.request ? [refOf(e, written!.request.request)] : []),
              ...(touched ? [refOf(e, touched)] : []),
            ],
          )
        : dma[0] !== undefined
          ? claim(
              dma[0].gpa,
              'inferred',
              `the first address the device model asked for after the doorbell; TxAddr${n}'s write is not in the files`,
              [refOf(e, dma[0])],
            )
          : unknown(`neither TxAddr${n}'s write nor a map-cache line is in the files`);
  result.push({
    window: bell.window,
    mode: 'C',
    access: bell.access,
    request: bell.request,
    doorbell: bell.name,
    data: bell.data,
    descriptor: {
      index: claim(n, 'proven', 'the register written is that of this buffer', bellRefs),
      gpa: unknown('C mode has no descriptor in memory: TxStatus and TxAddr are registers'),
      words: unknown('C mode has no descriptor in memory'),
      buffer,
      length: claim(length, 'proven', `the Size field of TxStatus${n}`, bellRefs),
    },
    dma,
    doorbellDma: dma,
    dmaStrength: strength,
    chip: bell.chip,
    frame: frameOf(e, bell.request, { from: touched, until: undefined, access: bell.access }, length, used),
    ringAccess: ring.access(bell.window!, TX_ADDR + 4 * n),
    ring:
      written === undefined
        ? unknown(`no write of TxAddr${n} is in the files`)
        : claim({ value: address!, access: written.access, request: written.request }, 'proven', `last write of TxAddr${n}`, [
            ...(written.access ? [written.access.record.ref] : []),
            ...(written.request ? [refOf(e, written.request.request)] : []),
          ]),
  });
}

/** Map-cache lines about one descriptor: its words read, the buffer, its status written back. */
interface DescriptorGroup {
  readonly at: number;
  readonly buffers: DmDma[];
  readonly all: DmDma[];
}

/** Whether an address lies in a ring of at most 64 descriptors that begins at `base`, and not in another that begins behind it. */
const inRing = (gpa: number, base: number | undefined, other: number | undefined): boolean =>
  base !== undefined &&
  gpa >= base &&
  gpa < base + RING_MAX * DESCRIPTOR_BYTES &&
  !(other !== undefined && other > base && gpa >= other);

/** Splits map-cache lines of a descriptor ring by descriptor. `base`: the ring's, `other`: the other direction's, where known. */
export function descriptorGroups(dma: readonly DmDma[], base: number | undefined, other?: number): DescriptorGroup[] {
  const first = dma[0];
  if (first === undefined) return [];
  const groups: DescriptorGroup[] = [];
  // Without the ring's base the first address is a descriptor: the chip always looks there first.
  const from = base ?? first.gpa - (first.gpa % DESCRIPTOR_BYTES);
  const isDescriptor = (gpa: number): boolean => inRing(gpa, from, other);
  for (const d of dma) {
    const current = groups[groups.length - 1];
    if (!isDescriptor(d.gpa)) {
      current?.buffers.push(d);
      current?.all.push(d);
      continue;
    }
    const at = from + Math.floor((d.gpa - from) / DESCRIPTOR_BYTES) * DESCRIPTOR_BYTES;
    if (current === undefined || current.at !== at) groups.push({ at, buffers: [], all: [d] });
    else current.all.push(d);
  }
  return groups;
}

function addCplus(e: Evidence, result: Transmission[], bell: Doorbell, ring: Rings, used: Set<number>, holder?: DmRequest): void {
  const address = (register: number): number | undefined => {
    const low = ring.get(bell.window!, register);
    const high = ring.get(bell.window!, register + 4);
    return low === undefined
      ? undefined
      : Number(BigInt.asUintN(32, low.data)) + Number(BigInt.asUintN(32, high?.data ?? 0n)) * 2 ** 32;
  };
  const low = ring.get(bell.window!, TX_ADDR);
  const base = address(TX_ADDR);
  const rxRing = address(RX_RING);
  const behind = dmaOf(e, bell.access, bell.request);
  // From the first look at the receive ring on, the device model is taking in a frame.
  const received = behind.dma.findIndex((d) => inRing(d.gpa, rxRing, base));
  const dma = received < 0 ? behind.dma : behind.dma.slice(0, received);
  const { strength } = behind;
  const ringRefs: Ref[] =
    low === undefined
      ? []
      : [...(low.access ? [low.access.record.ref] : []), ...(low.request ? [refOf(e, low.request.request)] : [])];
  const ringClaim: Transmission['ring'] =
    base === undefined
      ? unknown('no write of TxRingAddr is in the files')
      : claim({ value: base, access: low!.access, request: low!.request }, 'proven', 'last write of TxRingAddr', ringRefs);
  const printed = chipDescriptors(bell.chip);
  const common = {
    window: bell.window,
    mode: 'C+' as const,
    access: bell.access,
    request: bell.request ?? holder,
    doorbell: bell.name,
    data: bell.data,
    ring: ringClaim,
    ringAccess: ring.access(bell.window!, TX_ADDR),
  };
  const sentFrom = printed.filter((d) => d.buffer !== undefined);
  if (sentFrom.length > 0) {
    for (const p of sentFrom) {
      const own = dma.filter((d) => d.gpa === p.buffer?.gpa || (d.gpa >= p.gpa && d.gpa < p.gpa + DESCRIPTOR_BYTES));
      result.push({
        ...common,
        request: bell.request,
        dma: own,
        doorbellDma: dma,
        dmaStrength: strength,
        chip: bell.chip,
        descriptor: {
          index: claim(p.index, 'proven', 'the chip prints it', [refOf(e, p.lines[0]!)]),
          gpa: claim(p.gpa, 'proven', 'the chip prints where it read it', [refOf(e, p.lines[0]!)]),
          words:
            p.words === undefined
              ? unknown('the chip printed no words')
              : claim(p.words, 'proven', 'the chip prints its four words', [refOf(e, p.words.line)]),
          buffer: claim(p.buffer!.gpa, 'proven', 'the chip prints where it read the frame', [refOf(e, p.buffer!.line)]),
          length: claim(p.length ?? p.buffer!.bytes, 'proven', 'the chip prints how much it sent', [
            refOf(e, p.lengthLine ?? p.buffer!.line),
          ]),
        },
        frame: frameOf(
          e,
          bell.request,
          { from: own.find((d) => d.gpa === p.buffer!.gpa), until: undefined, access: bell.access },
          p.length ?? p.buffer!.bytes,
          used,
        ),
      });
    }
    return;
  }
  const all = descriptorGroups(dma, base, rxRing);
  const groups = all.filter((g) => g.buffers.length > 0);
  if (groups.length === 0) {
    result.push({
      ...common,
      request: bell.request,
      dma,
      doorbellDma: dma,
      dmaStrength: strength,
      chip: bell.chip,
      descriptor: {
        index: unknown('no map-cache line shows which'),
        gpa: unknown('no map-cache line shows it'),
        words: unknown('no line prints it'),
        buffer: unknown('no map-cache line shows it'),
        length: unknown('it stands in the descriptor, which no file shows'),
      },
      frame: frameOf(e, bell.request, { from: undefined, until: undefined, access: bell.access }, undefined, used),
    });
    return;
  }
  for (const group of groups) {
    const refs = [refOf(e, group.all[0]!)];
    const bufferRefs = [refOf(e, group.buffers[0]!)];
    result.push({
      ...common,
      request: bell.request,
      dma: group.all,
      doorbellDma: dma,
      dmaStrength: strength,
      chip: bell.chip,
      descriptor: {
        index:
          base === undefined
            ? unknown('the ring base is not in the files')
            : claim((group.at - base) / DESCRIPTOR_BYTES, 'strong', 'its address less the ring base, in 16 bytes', [
                ...refs,
                ...ringRefs,
              ]),
        gpa: claim(
          group.at,
          base === undefined ? 'inferred' : 'strong',
          base === undefined
            ? 'the first address the device model asked for after the doorbell'
            : 'an address within the ring that the device model asked for',
          [...refs, ...ringRefs],
        ),
        words: unknown('map-cache lines carry addresses, not contents'),
        buffer: claim(
          group.buffers[0]!.gpa,
          'strong',
          'the device model asked for it between reading the descriptor and writing its status back',
          bufferRefs,
        ),
        length: unknown('it stands in the descriptor, whose contents no file shows'),
      },
      frame: frameOf(
        e,
        bell.request,
        { from: group.buffers[0], until: all[all.indexOf(group) + 1]?.all[0], access: bell.access },
        undefined,
        used,
      ),
    });
  }
}

interface PrintedDescriptor {
  readonly index: number;
  readonly gpa: number;
  readonly lines: DmChipLine[];
  words: (readonly number[] & { line: DmChipLine }) | undefined;
  buffer: { gpa: number; bytes: number; line: DmChipLine } | undefined;
  length: number | undefined;
  lengthLine: DmChipLine | undefined;
}

/** Descriptors as an RTL8139 prints them: address (high and low word, then the sum), four words, buffer, bytes sent. */
function chipDescriptors(lines: readonly DmChipLine[]): PrintedDescriptor[] {
  const found: PrintedDescriptor[] = [];
  for (const line of lines) {
    let m = /C\+ mode reading TX descriptor (\d+) from host memory at .*= (?:0x)?([0-9a-f]+)/i.exec(line.text);
    if (m !== null) {
      found.push({
        index: Number(m[1]),
        gpa: parseInt(m[2]!, 16),
        lines: [line],
        words: undefined,
        buffer: undefined,
        length: undefined,
        lengthLine: undefined,
      });
      continue;
    }
    const current = found[found.length - 1];
    if (current === undefined) continue;
    current.lines.push(line);
    if ((m = /C\+ mode TX descriptor \d+ ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{8})/i.exec(line.text)) !== null) {
      current.words = Object.assign(
        [m[1]!, m[2]!, m[3]!, m[4]!].map((w) => parseInt(w, 16)),
        { line },
      );
    } else if ((m = /transmit reading (\d+) bytes from host memory at (?:0x)?([0-9a-f]+)/i.exec(line.text)) !== null) {
      current.buffer ??= { gpa: parseInt(m[2]!, 16), bytes: Number(m[1]), line };
    } else if ((m = /C\+ mode transmitting (\d+) bytes packet/i.exec(line.text)) !== null) {
      current.length = Number(m[1]);
      current.lengthLine = line;
    }
  }
  return found;
}

/**
 * Where the driver's receive ring lies: the last RxRingAddr (C+) or RxBuf (C) written before a time.
 * @param beforeNs trace time; the last write of all where undefined
 */
export function receiveRing(e: Evidence, window: DeviceWindow, mode: 'C' | 'C+', beforeNs: number | undefined): Claim<number> {
  let found: Claim<number> = unknown("no write of the receive ring's address is in the files");
  for (const w of deviceWrites(e)) {
    const at = timeOf(e, w.access, w.request);
    if (
      w.window !== window ||
      w.offset !== (mode === 'C+' ? RX_RING : RX_BUF) ||
      (beforeNs !== undefined && at !== undefined && at > beforeNs)
    )
      continue;
    found = claim(Number(BigInt.asUintN(32, w.data)), 'proven', 'the driver wrote it', [
      ...(w.access ? [w.access.record.ref] : []),
      ...(w.request ? [refOf(e, w.request.request)] : []),
    ]);
  }
  return found;
}

/** The first read of IntrStatus after a time that shows one of `bits`: how the guest learnt of it. */
export function intrStatusRead(e: Evidence, window: DeviceWindow, after: IoAccess, bits: number): IoAccess | undefined {
  for (let i = after.index + 1; i < e.accesses.length; i++) {
    const a = e.accesses[i]!;
    if (
      a.dom === after.dom &&
      a.dir === 'read' &&
      a.space === window.space &&
      a.addr === window.base + INTR_STATUS &&
      a.data !== undefined &&
      (Number(BigInt.asUintN(16, a.data)) & bits) !== 0
    )
      return a;
  }
  return undefined;
}

const INTR_STATUS = 0x3e;

/** Names of the registers an access touches, with what is set in them, for one line of text. */
export function registerText(
  window: DeviceWindow,
  addr: number,
  width: number | undefined,
  data: bigint | undefined,
  mode: string | undefined,
): string {
  const touched = explainRegisters(window, addr, width, data, mode);
  if (touched.length === 0)
    return `offset 0x${(addr - window.base).toString(16)} of the ${window.chip.name.toUpperCase()}, no register`;
  // A register without fields describes itself by its value alone: said already.
  return touched
    .map((r) => (r.fields === '' || r.fields === `0x${r.value.toString(16)}` ? r.name : `${r.name} (${r.fields})`))
    .join(', ');
}
