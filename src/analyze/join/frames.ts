import type { DmRequest } from '../sources/dm-lines.ts';
import type { DmLog } from '../sources/dm-log.ts';
import { claim, consoleLine, logLine, pcapFrame, unknown, type Claim, type Ref } from '../sources/evidence.ts';
import type { CapturedFrame } from '../sources/pcap.ts';
import {
  between,
  countFits,
  LEAST_FITS,
  offsetOf,
  secondsText,
  whyUnrelated,
  type CaptureOffset,
  type Span,
} from './capture-clock.ts';
import { traceToWallUs, type ClockAlignment } from './clock.ts';
import { windowAt, type DeviceWindow, type LoggedRegions } from './devices.ts';
import { dataOf } from './driver.ts';
import type { IoAccess } from './io.ts';
import type { Pairing } from './pair.ts';
import { platformDevice } from './platform.ts';
import { MIN_FRAME, sightings, TAG } from './sightings.ts';
import { dmaOf, type Draft, type Transmission } from './transmit.ts';

/** One guest's part of the files, with the capture. */
interface CaptureSources {
  readonly accesses: readonly IoAccess[];
  readonly log: DmLog | undefined;
  readonly pairing: Pairing | undefined;
  readonly clock: ClockAlignment | undefined;
  readonly windows: readonly DeviceWindow[];
  /** The mode that a driver runs a chip in. */
  readonly modeOf: (window: DeviceWindow) => Claim<string>;
  readonly regions: LoggedRegions;
  readonly frames: readonly CapturedFrame[];
  /** Lines of the guest's console. */
  readonly console: readonly string[] | undefined;
}

/** How a capture lies over one guest's log. */
export interface CaptureJoin {
  /** Numbers of frames that are another interface's sight of one before, and that one. */
  readonly sightings: ReadonlyMap<number, CapturedFrame>;
  /** Microseconds by which the capture's clock is ahead of the log's; zero where the two agree. */
  readonly offset: Claim<number>;
  /** Half width of the offset, where it was estimated. */
  readonly offsetErrorUs: number;
  /** The guest's station addresses, as `00:16:3e:00:00:01`. */
  readonly stations: ReadonlyMap<string, Claim<string>>;
  /** Why no frame of the capture can be joined; undefined where some are. */
  readonly unrelated: string | undefined;
}

/** Fewer than one doorbell in so many with a frame: the clocks may be apart. */
const FEW = 5;
/** How long after its last log line a frame may be captured where nothing tells the end of the request. */
const FRAME_SLACK_US = 2000;
/** The capture's time of a frame may be so much off the device model's, beside the clocks' own error. */
const TAP_US = 1;
const FCS = 4;

const stationText = (data: Uint8Array, at: number): string =>
  Array.from(data.subarray(at, at + 6), (b) => b.toString(16).padStart(2, '0')).join(':');
export const sourceOf = (frame: CapturedFrame): string => stationText(frame.data, 6);
export const destinationOf = (frame: CapturedFrame): string => stationText(frame.data, 0);

function spanOf(s: CaptureSources, d: Draft): Span | undefined {
  const start = d.request?.request.timeUs;
  if (start === undefined) return undefined;
  const { from, until } = d.departure;
  const fromUs = from?.timeUs ?? start;
  const next = s.log?.requests[d.request!.index + 1]?.request.timeUs;
  const answer = d.access?.marks.woken ?? d.access?.marks.entry;
  const answered =
    answer === undefined || s.clock === undefined || d.access?.lost !== undefined
      ? undefined
      : traceToWallUs(s.clock, answer.timeNs) + s.clock.errorUs;
  const last = Math.max(d.request!.endTimeUs ?? fromUs, from?.returnTimeUs ?? fromUs) + FRAME_SLACK_US;
  const untilUs = until?.timeUs ?? answered ?? Math.min(last, next ?? Infinity);
  return { fromUs, untilUs: Math.max(fromUs, untilUs) };
}

/** Wall-clock times of a log's first and last request. */
function logTimes(s: CaptureSources): [first: number, last: number] | undefined {
  const times = (s.log?.requests ?? []).map((r) => r.request.timeUs).filter((t) => t !== undefined);
  return times.length === 0 ? undefined : [times[0]!, times.at(-1)!];
}

/** Writes behind which the device model touched guest memory, as times in which a frame may have left. */
function touchingSpans(s: CaptureSources): Span[] {
  const found: Span[] = [];
  for (const r of s.log?.requests ?? []) {
    const from = r.dma[0]?.timeUs;
    if (r.dir !== 'write' || r.request.type > 1 || from === undefined) continue;
    const next = s.log!.requests[r.index + 1]?.request.timeUs ?? Infinity;
    const last = r.dma.at(-1)!;
    found.push({
      fromUs: from,
      untilUs: Math.max(from, Math.min(next, (last.returnTimeUs ?? last.timeUs ?? from) + FRAME_SLACK_US)),
    });
  }
  return found;
}

/** Whether a captured frame can have the length that the driver gave: padded, tagged or with its checksum. */
function fits(frame: CapturedFrame, length: number | undefined): boolean {
  if (length === undefined) return true;
  return [length, length + TAG].some(
    (n) =>
      frame.wireLength === n ||
      frame.wireLength === n + FCS ||
      (n < MIN_FRAME + TAG &&
        (frame.wireLength === MIN_FRAME || frame.wireLength === MIN_FRAME + TAG || frame.wireLength === MIN_FRAME + FCS)),
  );
}

/** `ioreq 17: vCPU 0 write of gpa 0xf00000d9, data 0x40, size 1`: as Xenolith's own captures say what sent a frame. */
function namesRequest(comment: string, request: DmRequest): boolean {
  const m = /\bwrite of (?:gpa|port) 0x([0-9a-f]{1,13}), data 0x([0-9a-f]{1,16})/i.exec(comment);
  return m !== null && parseInt(m[1]!, 16) === request.request.addr && BigInt(`0x${m[2]!}`) === request.data;
}

/** Joins a capture with what a guest's doorbells sent. */
export function joinCapture(s: CaptureSources, drafts: readonly Draft[]): { join: CaptureJoin; transmissions: Transmission[] } {
  const again = sightings(s.frames);
  const frames = s.frames.filter((f) => !again.has(f.number)).sort((a, b) => a.timeUs - b.timeUs || a.number - b.number);
  const told = stationsOfConsole(s.console);
  const spans = drafts.map((d) => spanOf(s, d));
  const bellsKnown = drafts.length > 0;
  // Without a known doorbell, any write that made the device model touch memory may be one.
  const rung = bellsKnown ? spans : touchingSpans(s);
  let offset: CaptureOffset = {
    us: 0,
    errorUs: 0,
    claim: claim(0, 'inferred', 'the capture is taken to have the same clock as the log', []),
  };
  let unrelated: string | undefined;
  let found = assign(drafts, spans, frames, told, offset.us);
  const joined = found.taken.filter((t) => t !== undefined).length;
  const fitting = bellsKnown ? joined : countFits(rung, frames, 0, TAP_US);
  if (frames.length > 0 && fitting * FEW < Math.min(rung.length, frames.length)) {
    const estimated = offsetOf(rung, frames, fitting, bellsKnown);
    if (estimated !== undefined) {
      offset = estimated;
      found = assign(drafts, spans, frames, told, offset.us, offset.errorUs);
    } else unrelated = whyUnrelated(logTimes(s), rung, frames, fitting, bellsKnown);
  } else if (frames.length > 0 && rung.length === 0) unrelated = whyUnrelated(logTimes(s), rung, frames, 0, false);
  // What fits by chance is nothing.
  if (unrelated !== undefined) found = assign(drafts, spans, [], told, 0);
  const stations = new Map(told);
  // A console may name the station of one NIC and not that of another.
  const open = told.size === 0 ? found : assign(drafts, spans, frames, new Map(), offset.us, offset.errorUs);
  for (const [station, how] of votes(drafts, open.inside, told)) stations.set(station, how);
  // What left is from the guest: frames of other stations were there by chance.
  if (stations.size > 0) found = assign(drafts, spans, frames, stations, offset.us, offset.errorUs);
  const known = stations.size > 0;
  const transmissions: Transmission[] = drafts.map((d, i) => {
    const { departure, ...rest } = d;
    const frame: Claim<CapturedFrame> =
      unrelated === undefined
        ? frameClaim(s, d, spans[i], found.taken[i], found.inside[i]!, known, offset)
        : unknown(`the capture is not of the same run as the log: ${unrelated}`);
    return { ...rest, frame };
  });
  if (unrelated === undefined) {
    const sent = new Set(found.taken.map((f) => f?.number));
    // A NIC whose chip is not known has a station too.
    const rest = frames.filter((f) => !sent.has(f.number) && !stations.has(sourceOf(f)) && f.direction !== 'inbound');
    const rung = new Set(drafts.map((d) => d.request));
    for (const [station, how] of stationsBySpans(s, frames, rest, rung, offset.us)) stations.set(station, how);
    for (const frame of frames) {
      if (sent.has(frame.number) || !stations.has(sourceOf(frame))) continue;
      const t = inferredDoorbell(s, frame, offset.us);
      if (t !== undefined && !transmissions.some((x) => x.request === t.request)) transmissions.push(t);
    }
    transmissions.sort((a, b) => (a.request?.index ?? a.access?.index ?? 0) - (b.request?.index ?? b.access?.index ?? 0));
  }
  return {
    join: { sightings: again, offset: offset.claim, offsetErrorUs: offset.errorUs, stations, unrelated },
    transmissions,
  };
}

/** Gives each draft a frame that left in its time, each frame once. */
function assign(
  drafts: readonly Draft[],
  spans: readonly (Span | undefined)[],
  frames: readonly CapturedFrame[],
  stations: ReadonlyMap<string, unknown>,
  offsetUs: number,
  errorUs = 0,
): { taken: (CapturedFrame | undefined)[]; inside: (readonly CapturedFrame[])[] } {
  const used = new Set<number>();
  const inside: (readonly CapturedFrame[])[] = [];
  const taken = drafts.map((d, i) => {
    const span = spans[i];
    const here =
      span === undefined
        ? []
        : between(frames, span.fromUs + offsetUs - errorUs - TAP_US, span.untilUs + offsetUs + errorUs + TAP_US).filter(
            (f) => f.direction !== 'inbound' && !used.has(f.number) && (stations.size === 0 || stations.has(sourceOf(f))),
          );
    inside.push(here);
    const fitting = here.filter((f) => fits(f, d.departure.length));
    const frame =
      fitting.find((f) => d.request !== undefined && f.comments.some((c) => namesRequest(c, d.request!))) ?? fitting[0];
    if (frame !== undefined) used.add(frame.number);
    return frame;
  });
  return { taken, inside };
}

function frameClaim(
  s: CaptureSources,
  d: Draft,
  span: Span | undefined,
  frame: CapturedFrame | undefined,
  inside: readonly CapturedFrame[],
  stationKnown: boolean,
  offset: { readonly us: number; readonly claim: Claim<number> },
): Claim<CapturedFrame> {
  if (s.frames.length === 0) return unknown('no capture was given');
  if (span === undefined) return unknown('the doorbell has no wall-clock time to find the frame by');
  const line = logLine(d.request!.request.line, s.log?.source);
  const { from, until, length } = d.departure;
  if (frame === undefined) {
    return unknown(
      inside.length > 0
        ? `no captured frame of ${length} bytes left in the request's time`
        : "no frame was captured in the request's time",
      [line],
    );
  }
  if (frame.comments.some((c) => namesRequest(c, d.request!)))
    return claim(
      frame,
      'proven',
      "the capture's comment names the request that sent it, and it was captured in the request's time",
      [pcapFrame(frame.number), line],
    );
  if (!stationKnown && new Set(inside.map(sourceOf)).size > 1)
    return unknown(
      `${inside.length} frames of several stations were captured in the request's time, and no file says which is the guest's`,
      [line, pcapFrame(frame.number)],
    );
  const alone = inside.length === 1;
  const after = frame.timeUs - offset.us - d.request!.request.timeUs!;
  const strong = alone && stationKnown && (length !== undefined || from !== undefined);
  const limits = `between ${from === undefined ? 'that line' : 'the fetch of its buffer'} and the ${until === undefined ? 'end of the request' : 'look at the next descriptor'}`;
  const clocks =
    offset.us === 0
      ? ''
      : `, the capture's clock set ${offset.us > 0 ? 'back' : 'forward'} by ${secondsText(Math.abs(offset.us))}`;
  return claim(
    frame,
    strong ? 'strong' : 'inferred',
    `captured ${Math.round(after)} µs after the request's first log line, ${alone ? 'the only one' : `one of ${inside.length}`} ${stationKnown ? 'of this guest ' : ''}${limits}${length !== undefined ? ', of the length the driver gave' : ''}${clocks}`,
    [
      pcapFrame(frame.number),
      line,
      ...(from ? [logLine(from.line, s.log?.source)] : []),
      ...(until ? [logLine(until.line, s.log?.source)] : []),
    ],
  );
}

/** One station's frames in the times of one device's doorbells. */
interface Ballot {
  readonly frames: CapturedFrame[];
  /** Doorbells in whose time it has the first frame that fits: answers come later. */
  firsts: number;
}

/**
 * Station addresses of frames that left with doorbells: of each device's the one with a frame in the time of most of its doorbells,
 * two at least. Strangers' frames are there by chance, and answers behind what they answer.
 * @param told stations known already: a device with frames of one of them needs no other
 */
function votes(
  drafts: readonly Draft[],
  inside: readonly (readonly CapturedFrame[])[],
  told: ReadonlyMap<string, unknown>,
): Map<string, Claim<string>> {
  const byDevice = new Map<DeviceWindow | undefined, { rung: number; stations: Map<string, Ballot> }>();
  inside.forEach((frames, i) => {
    const fitting = frames.filter((f) => fits(f, drafts[i]!.departure.length));
    if (fitting.length === 0) return;
    const device = drafts[i]!.window;
    let box = byDevice.get(device);
    if (box === undefined) byDevice.set(device, (box = { rung: 0, stations: new Map() }));
    box.rung++;
    fitting.forEach((frame, n) => {
      if (fitting.findIndex((f) => sourceOf(f) === sourceOf(frame)) !== n) return;
      let ballot = box.stations.get(sourceOf(frame));
      if (ballot === undefined) box.stations.set(sourceOf(frame), (ballot = { frames: [], firsts: 0 }));
      ballot.frames.push(frame);
      if (n === 0) ballot.firsts++;
    });
  });
  const found = new Map<string, Claim<string>>();
  for (const { rung, stations } of byDevice.values()) {
    if ([...stations].some(([station, { frames }]) => told.has(station) && frames.length * 3 >= rung * 2)) continue;
    const [best, next] = [...stations].sort(([, p], [, q]) => q.frames.length - p.frames.length || q.firsts - p.firsts);
    if (best === undefined) continue;
    const [station, { frames, firsts }] = best;
    const tied = next !== undefined && next[1].frames.length === frames.length && next[1].firsts * 2 > firsts;
    if (tied || frames.length < 2 || frames.length * 3 < rung * 2) continue;
    found.set(
      station,
      claim(
        station,
        'strong',
        `it is the source of ${frames.length} frames that left with doorbells of this guest`,
        frames.slice(0, 2).map((f) => pcapFrame(f.number)),
      ),
    );
  }
  return found;
}

/** Station addresses that a guest's console names for its own interfaces. */
function stationsOfConsole(lines: readonly string[] | undefined): Map<string, Claim<string>> {
  const found = new Map<string, Claim<string>>();
  lines?.forEach((line, i) => {
    const m = /(?:\b(?:eth\d+|en[ops]\w+): .*?|\blink\/ether )\b((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\b/i.exec(line);
    const station = m?.[1]?.toLowerCase();
    if (station !== undefined && !found.has(station))
      found.set(station, claim(station, 'strong', "the guest's console names it as its interface's", [consoleLine(i + 1)]));
  });
  return found;
}

/** The write that was being served when a frame left, with the device model's memory accesses in it. */
function servingWrite(
  s: CaptureSources,
  frame: CapturedFrame,
  offsetUs: number,
): { request: DmRequest; access: IoAccess | undefined; behind: ReturnType<typeof dmaOf> } | undefined {
  const requests = s.log?.requests ?? [];
  const at = frame.timeUs - offsetUs;
  let lo = 0;
  let hi = requests.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if ((requests[mid]!.request.timeUs ?? -Infinity) <= at + TAP_US) lo = mid + 1;
    else hi = mid;
  }
  const request = requests[lo - 1];
  if (request === undefined || request.dir !== 'write' || request.request.type > 1) return undefined;
  if (platformDevice(request.request.type === 0 ? 'pio' : 'mmio', request.request.addr) !== undefined) return undefined;
  const access = s.pairing?.accessOf[request.index];
  const behind = dmaOf(s, access, request);
  const [first] = behind.dma;
  const last = behind.dma.at(-1);
  const answer = access?.lost === undefined ? (access?.marks.woken ?? access?.marks.entry) : undefined;
  const until =
    answer !== undefined && s.clock !== undefined
      ? traceToWallUs(s.clock, answer.timeNs) + s.clock.errorUs
      : (last?.returnTimeUs ?? last?.timeUs ?? -Infinity) + FRAME_SLACK_US;
  return first?.timeUs !== undefined && first.timeUs <= at + TAP_US && at <= until ? { request, access, behind } : undefined;
}

/** Stations whose frames leave while writes with memory accesses are served, and others' frames do not: the guest's. */
function stationsBySpans(
  s: CaptureSources,
  all: readonly CapturedFrame[],
  frames: readonly CapturedFrame[],
  rung: ReadonlySet<DmRequest | undefined>,
  offsetUs: number,
): Map<string, Claim<string>> {
  // The first frame in a request's time is what it sent; those behind it may be answers.
  const first = new Map<DmRequest, CapturedFrame>();
  for (const frame of all) {
    const request = servingWrite(s, frame, offsetUs)?.request;
    if (request !== undefined && !first.has(request)) first.set(request, frame);
  }
  const counts = new Map<string, { all: number; served: CapturedFrame[] }>();
  for (const frame of frames) {
    const key = sourceOf(frame);
    let c = counts.get(key);
    if (c === undefined) counts.set(key, (c = { all: 0, served: [] }));
    c.all++;
    const serving = servingWrite(s, frame, offsetUs);
    if (serving !== undefined && !rung.has(serving.request) && first.get(serving.request) === frame) c.served.push(frame);
  }
  const found = new Map<string, Claim<string>>();
  for (const [station, c] of counts)
    if (c.served.length >= LEAST_FITS && c.served.length * 5 >= c.all * 4)
      found.set(
        station,
        claim(
          station,
          'inferred',
          `${c.served.length} of its ${c.all} frames were captured while a write of this guest was served that touched guest memory`,
          c.served.slice(0, 2).map((f) => pcapFrame(f.number)),
        ),
      );
  return found;
}

/** A frame of the guest's own: the write with memory accesses that was being served when it left sent it, whatever the chip. */
function inferredDoorbell(s: CaptureSources, frame: CapturedFrame, offsetUs: number): Transmission | undefined {
  const serving = servingWrite(s, frame, offsetUs);
  if (serving === undefined) return undefined;
  const { request, access, behind } = serving;
  const space = request.request.type === 0 ? 'pio' : 'mmio';
  const window = windowAt(s.windows, space, request.request.addr);
  const region = request.region?.name ?? s.regions.at(space, request.request.addr)?.name;
  const refs: Ref[] = [
    pcapFrame(frame.number),
    logLine(request.request.line, s.log?.source),
    ...behind.dma.slice(0, 1).map((d) => logLine(d.line, s.log?.source)),
  ];
  const mode: Claim<string> = window === undefined ? unknown('the chip is not known here') : s.modeOf(window);
  const chipUnknown: Claim<never> = unknown(
    window === undefined
      ? 'how this chip names its buffers is not known here'
      : `no doorbell of the ${window.chip.title} was written, and no file shows the ring that it looked at`,
  );
  return {
    window,
    device: window?.chip.title ?? region ?? 'NIC',
    kind: 'inferred',
    polled: window !== undefined,
    mode,
    access,
    request,
    doorbell: window?.chip.registerAt(window.block, request.request.addr - window.base, mode.value),
    data: access?.data ?? dataOf(request),
    descriptor: {
      index: chipUnknown,
      gpa: chipUnknown,
      words: unknown('map-cache lines carry addresses, not contents'),
      buffer: chipUnknown,
      length: claim(frame.wireLength, 'strong', 'the captured frame has it', [pcapFrame(frame.number)]),
    },
    dma: behind.dma,
    doorbellDma: behind.dma,
    dmaStrength: behind.strength,
    chip: request.chip,
    frame: claim(
      frame,
      'inferred',
      `it is the guest's own, and was captured while the device model served this write and had touched guest memory for it`,
      refs,
    ),
    placeAccess: undefined,
    place: unknown(window === undefined ? 'the chip is not known here' : 'no file shows it'),
  };
}
