import type { Place } from '../../devices/nic/reading.ts';
import { traceToWallUs, wallToTraceNs } from '../join/clock.ts';
import { windowAt, type DeviceWindow } from '../join/devices.ts';
import { destinationOf, sourceOf } from '../join/frames.ts';
import type { Guest } from '../join/guest.ts';
import { CALLBACK_VECTOR, causeRead, interruptVector } from '../join/interrupt.ts';
import { descriptorGroups, dmaOf, timeOf } from '../join/transmit.ts';
import type { DmDma } from '../sources/dm-lines.ts';
import { describeFrame } from '../sources/ethernet.ts';
import { claim, logLine, pcapFrame, unknown, type Ref, type Strength } from '../sources/evidence.ts';
import type { CapturedFrame } from '../sources/pcap.ts';
import { registerText } from './registers.ts';
import { gvaText, joinSentences, missingAddresses } from './story-answers.ts';
import { fileTimeNs, frameTime, hopAt, inTimeOrder, lineTime, type Teller } from './story-hops.ts';
import { hex, say, us, vcpuName, type AddressRow, type Sentence, type Story } from './story-model.ts';
import { list } from './words.ts';

/** A received frame begins to reach guest memory within this, and goes on without a longer pause, or something else did. */
const RECEIVE_WINDOW_US = 20_000;
/** How much earlier than its capture a frame may already have been taken in. */
const TAP_DELAY_US = 100;

const frameText = (frame: CapturedFrame): string => `${describeFrame(frame.data)}, ${frame.wireLength} bytes`;
const titleOf = (frame: CapturedFrame, rest: string): string =>
  `Packet ${frame.number} of the capture: ${frameText(frame)}, ${rest}`;

/** Whether a frame is to a group of stations. */
const toGroup = (frame: CapturedFrame): boolean => (frame.data[0]! & 1) === 1;

/** By the log's clock. */
const logTimeUs = (g: Guest, frame: CapturedFrame): number => frame.timeUs - (g.capture.offset.value ?? 0);

/** A captured frame that no doorbell in the files sent. */
export function otherFrameStory(g: Guest, frame: CapturedFrame): Story {
  if (g.capture.unrelated !== undefined) return unrelatedStory(g, frame, g.capture.unrelated);
  const source = g.capture.stations.get(sourceOf(frame));
  if (source !== undefined || frame.direction === 'outbound') return ownFrameStory(g, frame);
  const known = g.capture.stations.size > 0;
  const to = g.capture.stations.get(destinationOf(frame));
  if (frame.direction === 'inbound' || (known && (to !== undefined || toGroup(frame)))) return receiveStory(g, frame);
  return strangeStory(g, frame, known);
}

function frameRefs(g: Guest, frame: CapturedFrame, station: string): Ref[] {
  return [pcapFrame(frame.number), ...(g.capture.stations.get(station)?.refs ?? [])];
}

/** What both tell the same of. */
function base(g: Guest, frame: CapturedFrame, rest: string): Pick<Story, 'notes' | 'domain' | 'title' | 'clock' | 'joins'> {
  return { notes: g.leftOut, domain: g.dom, title: titleOf(frame, rest), clock: g.clockKind, joins: joinSentences(g) };
}

/** A frame from the guest's own address without a doorbell: there is nothing to tell but why. */
function ownFrameStory(g: Guest, frame: CapturedFrame): Story {
  const t = tellerOf(g, frame);
  const station = g.capture.stations.get(sourceOf(frame));
  const sent =
    station === undefined
      ? say('The guest sent it: the capture marks it as outbound.', 'proven', [pcapFrame(frame.number)])
      : say(
          `The guest sent it: its source address is the guest's (${station.why}).`,
          station.strength,
          frameRefs(g, frame, sourceOf(frame)),
        );
  const why = whyNoDoorbell(g, frame);
  const route = say('Which way its doorbell went is unknown: no file holds it.', 'unknown', []);
  return {
    ...base(g, frame, 'sent by the guest, its doorbell not found in the files'),
    summary: [
      say(`The guest sent frame ${frame.number}, ${frameText(frame)}.`, sent.strength, sent.refs),
      route,
      say('Who translated its addresses is unknown: no file holds its doorbell.', 'unknown', []),
      say('How long the guest waited is unknown.', 'unknown', []),
      why,
    ],
    subject: [sent, why],
    hops: t.hops,
    addresses: [],
    route: [route],
    translation: [],
    time: [],
    unknowns: [],
  };
}

/** Without a log nothing shows that the capture is of this run: then an address is no more than likely. */
const ofThisRun = (g: Guest, strength: Strength): Strength => (g.log === undefined ? 'inferred' : strength);

/** Why no doorbell fits a frame of the guest's own: said only where the files prove it. */
function whyNoDoorbell(g: Guest, frame: CapturedFrame): Sentence {
  const at = logTimeUs(g, frame);
  const requests = g.log?.requests ?? [];
  const first = requests.find((r) => r.request.timeUs !== undefined)?.request;
  const last = requests.findLast((r) => r.request.timeUs !== undefined)?.request;
  const refs = (line: number): Ref[] => [pcapFrame(frame.number), logLine(line, g.log!.source)];
  if (g.log === undefined) return say('No log of its device model is used, and without one no doorbell is found.', 'unknown', []);
  if (last?.timeUs !== undefined && at > last.timeUs)
    return say('It was captured after the last request of the log.', 'proven', refs(last.line));
  if (first?.timeUs !== undefined && at < first.timeUs)
    return say('It was captured before the first request of the log.', 'proven', refs(first.line));
  if (g.clock !== undefined) {
    const gap = g.lost.find(
      (l) =>
        at >= traceToWallUs(g.clock!, l.timeNs) - g.clock!.errorUs && at <= traceToWallUs(g.clock!, l.untilNs) + g.clock!.errorUs,
    );
    if (gap !== undefined)
      return say(
        `It was captured while the trace lost ${gap.count} records of pCPU ${gap.pcpu}; whether its doorbell is among them is unknown.`,
        'proven',
        [pcapFrame(frame.number), gap.ref],
      );
  }
  return say('Why no doorbell of the files fits it is unknown.', 'unknown', [pcapFrame(frame.number)]);
}

/** A frame of a capture that is not of the same run: nothing else is told of it. */
function unrelatedStory(g: Guest, frame: CapturedFrame, why: string): Story {
  const t = tellerOf(g, frame);
  const what = say(
    `What this guest had to do with it is unknown: the capture is not of the same run as the log (${why}).`,
    'unknown',
    [pcapFrame(frame.number)],
  );
  return {
    ...base(g, frame, 'of another run'),
    summary: [
      what,
      say('Through which page a request for it went is unknown.', 'unknown', []),
      say('Who translated its addresses is unknown.', 'unknown', []),
      say('How long it took is unknown.', 'unknown', []),
      say('Nothing of it is in the other files.', 'unknown', []),
    ],
    subject: [what],
    hops: t.hops.map((h) => ({ ...h, atNs: undefined, errorNs: 0 })),
    addresses: [],
    route: [],
    translation: [],
    time: [],
    unknowns: [],
  };
}

/** A frame of which nothing tells whether this guest sent or received it. */
function strangeStory(g: Guest, frame: CapturedFrame, known: boolean): Story {
  const t = tellerOf(g, frame);
  const text = known
    ? `It is neither from this guest nor to it: its source ${sourceOf(frame)} and its destination ${destinationOf(frame)} are not addresses of this guest.`
    : "Whether this guest sent or received it is unknown: no file gives the guest's station address.";
  const what = say(
    text,
    known ? 'strong' : 'unknown',
    known ? [pcapFrame(frame.number), ...[...g.capture.stations.values()].flatMap((c) => c.refs)] : [],
  );
  return {
    ...base(g, frame, known ? "neither this guest's nor for it" : 'sent or received'),
    summary: [
      what,
      say('Through which page a request for it went is unknown.', 'unknown', []),
      say('Who translated its addresses is unknown.', 'unknown', []),
      say('How long it took is unknown.', 'unknown', []),
      say('Nothing more of it is in the files.', 'unknown', []),
    ],
    subject: [what],
    hops: t.hops,
    addresses: [],
    route: [],
    translation: [],
    time: [],
    unknowns: [],
  };
}

function tellerOf(a: Guest, frame: CapturedFrame): Teller {
  const wall = a.clock === undefined ? undefined : wallToTraceNs(a.clock, logTimeUs(a, frame));
  const t: Teller = {
    a,
    hops: [],
    zeroNs: wall ?? (a.accesses.length === 0 ? fileTimeNs(a, logTimeUs(a, frame)) : undefined),
    clock: a.clockKind.value,
  };
  const at = frameTime(t, frame);
  hopAt(
    t,
    at.timeNs,
    'wire',
    `carries frame ${frame.number}: ${frameText(frame)}.`,
    'proven',
    [pcapFrame(frame.number)],
    at.errorNs,
  );
  return t;
}

/** The ring that holds an address, of all that the driver had placed when a frame came in. */
function receiveRingAt(
  g: Guest,
  gpa: number,
  beforeNs: number | undefined,
): { place: Place; window: DeviceWindow; refs: readonly Ref[] } | undefined {
  const now = new Map<string, { place: Place; window: DeviceWindow; refs: readonly Ref[] }>();
  for (const { event, place, refs } of g.driver.places) {
    const at = timeOf(g, event.access, event.request);
    if (place.direction !== 'receive' || (beforeNs !== undefined && at !== undefined && at > beforeNs)) continue;
    now.set(`${event.window.chip.name} ${event.window.base} ${place.key}`, { place, window: event.window, refs });
  }
  return [...now.values()].find(({ place }) => {
    const bytes = place.descriptorBytes;
    return bytes !== undefined && gpa >= place.base && gpa < place.base + bytes * (place.count ?? 0);
  });
}

/** A frame that came in: DMA into the receive ring after its capture, the interrupt, the guest's read of the cause. */
function receiveStory(g: Guest, frame: CapturedFrame): Story {
  const source = g.log?.source;
  const wall = g.clock === undefined ? undefined : wallToTraceNs(g.clock, logTimeUs(g, frame));
  const t = tellerOf(g, frame);
  const behind = dmaAfter(g, frame);
  const ringAt = behind.findIndex((d) => receiveRingAt(g, d.gpa, wall) !== undefined);
  const ring = ringAt < 0 ? undefined : receiveRingAt(g, behind[ringAt]!.gpa, wall);
  const group =
    ring === undefined ? undefined : descriptorGroups(behind.slice(ringAt), ring.place).find((x) => x.buffers.length > 0);
  if (group !== undefined && ring !== undefined) {
    const from = lineTime(t, group.all[0]!.timeUs);
    hopAt(
      t,
      from.timeNs,
      'device model',
      `looks at receive descriptor ${(group.at - ring.place.base) / ring.place.descriptorBytes!}, guest-physical ${hex(group.at)}.`,
      'strong',
      [logLine(group.all[0]!.line, source), ...ring.refs],
      from.errorNs,
    );
    const into = lineTime(t, group.buffers[0]!.timeUs);
    hopAt(
      t,
      into.timeNs,
      'device model',
      `writes the frame to guest-physical ${hex(group.buffers[0]!.gpa)}, the next address it asked its map cache for.`,
      'inferred',
      [logLine(group.buffers[0]!.line, source)],
      into.errorNs,
    );
  } else if (behind.length > 0) {
    const from = lineTime(t, behind[0]!.timeUs);
    hopAt(
      t,
      from.timeNs,
      'device model',
      `touches guest memory ${behind.length} time${behind.length === 1 ? '' : 's'}, from ${hex(behind[0]!.gpa)} on, for no request that waits: most likely it is receiving the frame.`,
      'inferred',
      [logLine(behind[0]!.line, source), logLine(behind.at(-1)!.line, source)],
      from.errorNs,
    );
  }
  const learntBy = learnt(t, ring?.window ?? onlyNic(g), wall);
  inTimeOrder(t.hops);
  const dom = g.dom;
  const rows: (readonly [string, DmDma])[] =
    group === undefined
      ? behind.slice(0, 2).map((d) => ['touched by the device model', d] as const)
      : [['receive descriptor', group.all[0]!] as const, ['frame buffer', group.buffers[0]!] as const];
  const addresses: AddressRow[] = rows.map(([what, d]) => {
    const mfn =
      dom === undefined
        ? unknown<{ mfn: bigint; type: number }>('no trace record names this frame')
        : g.p2m.lookup(dom, Math.floor(d.gpa / 4096), wall);
    return {
      what,
      gva: gvaText(g, d.gpa),
      gpa: claim(hex(d.gpa), 'proven', 'the log prints it', [logLine(d.line, source)]),
      mfn: mfn.value === undefined ? unknown(mfn.why) : claim(hex(mfn.value.mfn), 'proven', mfn.why, mfn.refs),
      mapping:
        d.pointer === undefined
          ? unknown('no return line follows')
          : claim(hex(BigInt('0x' + d.pointer)), 'proven', 'the log prints it', [logLine(d.line, source)]),
    };
  });
  const came = arrival(g, frame);
  const time = timeOfReception(t);
  const unknowns = [
    ...missingAddresses(addresses),
    say('Which bytes were written where: map-cache lines carry addresses, not contents.', 'unknown', []),
  ];
  const route = say(
    'A received frame needs no request of the guest: the device model writes it into guest memory on its own.',
    'strong',
    behind.length > 0 ? [logLine(behind[0]!.line, source)] : [pcapFrame(frame.number)],
  );
  const translation =
    behind.length > 0
      ? say(
          `The device model works with guest-physical addresses${ring === undefined ? '' : ` of the receive ring that the driver put at ${hex(ring.place.base)}`} and finds them through its map cache, as for a transmission.`,
          'strong',
          [...(ring?.refs ?? []), logLine(behind[0]!.line, source)],
        )
      : say(
          `What memory the device model wrote is unknown: no map-cache line follows the frame within ${RECEIVE_WINDOW_US / 1000} ms.`,
          'unknown',
          [],
        );
  return {
    ...base(g, frame, 'received by the guest'),
    summary: [
      say(`Frame ${frame.number}, ${frameText(frame)}, came to the guest from outside.`, came.strength, came.refs),
      say(
        learntBy === undefined
          ? 'No ioreq page carried it: the device model put it into guest memory on its own. When the guest learnt of it is unknown.'
          : `No ioreq page carried it: the device model put it into guest memory on its own, and ${vcpuName(learntBy)} learnt of it by an interrupt.`,
        learntBy === undefined ? 'strong' : 'inferred',
        route.refs,
      ),
      behind.length > 0
        ? say(
            'Its addresses are guest-physical; the device model found them through its map cache, whose buckets Xen mapped through the p2m.',
            'strong',
            translation.refs,
          )
        : translation,
      time[0] ?? say('How long it took to reach the guest is unknown.', 'unknown', []),
      say(`Unknown here: ${list([...unknownAddresses(addresses), 'which bytes were written where'])}.`, 'unknown', []),
    ],
    subject: [came],
    hops: t.hops,
    addresses,
    route: [route],
    translation: [translation],
    time,
    unknowns,
  };
}

const unknownAddresses = (rows: readonly AddressRow[]): string[] => [
  ...(rows.some((r) => r.gva.value === undefined) ? ['the guest-virtual addresses'] : []),
  ...(rows.some((r) => r.mfn.value === undefined) ? ['the machine frames'] : []),
];

/** Why a frame is taken to have come in. */
function arrival(g: Guest, frame: CapturedFrame): Sentence {
  if (frame.direction === 'inbound')
    return say('It came to the guest: the capture marks it as inbound.', 'proven', [pcapFrame(frame.number)]);
  const to = g.capture.stations.get(destinationOf(frame));
  const [own] = g.capture.stations.values();
  // A guest may have a NIC that no file names: then a frame to a group could be its own.
  const strength = ofThisRun(g, to === undefined || to.strength === 'inferred' ? 'inferred' : 'strong');
  return say(
    to !== undefined
      ? `It came from outside: it is addressed to the guest (${to.why}), and its source is another station.`
      : `It came from outside: its source is not the guest's address, and it is addressed to ${frame.data.subarray(0, 6).every((b) => b === 0xff) ? 'all stations' : 'a group of stations'}.`,
    strength,
    [pcapFrame(frame.number), ...(to ?? own)!.refs],
  );
}

/** The BAR of a guest's only known NIC that it uses. */
function onlyNic(g: Guest): DeviceWindow | undefined {
  const [first] = g.windows;
  if (first === undefined || !g.windows.every((w) => g.driver.sameDevice(w, first))) return undefined;
  const uses = (w: DeviceWindow): number => g.accesses.filter((x) => windowAt([w], x.space, x.addr) !== undefined).length;
  return g.windows.reduce((best, w) => (uses(w) > uses(best) ? w : best));
}

/** Memory accesses of the device model, made for no request that waits, from a frame's capture to the next frame's. */
function dmaAfter(g: Guest, frame: CapturedFrame): DmDma[] {
  const claimed = new Set(g.transmissions.flatMap((x) => x.doorbellDma.map((d) => d.line)));
  const at = logTimeUs(g, frame);
  const others = g.frames.filter((f) => !g.capture.sightings.has(f.number)).map((f) => logTimeUs(g, f));
  const next = others.reduce((n, o) => (o > at && o < n ? o : n), Infinity);
  const before = others.reduce((n, o) => (o < at && o > n ? o : n), -Infinity);
  // A tap may write its block when the frame is already delivered.
  const since = Math.max(Math.floor(at) - TAP_DELAY_US, before);
  const found: DmDma[] = [];
  let until = freeAt(g, at) + RECEIVE_WINDOW_US;
  const take = (all: readonly DmDma[]): boolean => {
    for (const d of all) {
      if (d.timeUs === undefined || d.timeUs < since || claimed.has(d.line)) continue;
      if (d.timeUs >= Math.min(next, until)) return false;
      found.push(d);
      until = Math.max(until, d.timeUs + RECEIVE_WINDOW_US);
    }
    return true;
  };
  if (g.log === undefined || !take(g.log.early.dma)) return found;
  for (const r of g.log.requests) {
    if (r.dma.length === 0) continue;
    const access = g.pairing?.accessOf[r.index];
    const waited = access?.marks.blocked === undefined ? [] : dmaOf(g, access, r).dma;
    // What was begun for a request before the frame came is that request's.
    const own = waited[0]?.timeUs !== undefined && waited[0].timeUs < at - TAP_DELAY_US ? new Set(waited) : undefined;
    if (!take(own === undefined ? r.dma : r.dma.filter((d) => !own.has(d)))) break;
  }
  return found;
}

/** When the device model was free for a frame that came at a time: at once, or when it had answered the request it was serving. */
function freeAt(g: Guest, at: number): number {
  const serving = g.log?.requests.findLast((r) => r.request.timeUs !== undefined && r.request.timeUs <= at);
  if (serving === undefined || g.clock === undefined) return at;
  const access = g.pairing?.accessOf[serving.index];
  const answer = access?.lost === undefined ? access?.marks.woken : undefined;
  const logged = Math.max(serving.endTimeUs ?? at, ...serving.dma.map((d) => d.returnTimeUs ?? at).slice(0, 1));
  return Math.max(at, answer === undefined ? logged : traceToWallUs(g.clock, answer.timeNs));
}

/** The interrupt and the read of its cause by which the guest learns of a frame. Gives the vCPU, where it is seen. */
function learnt(
  t: Teller,
  window: DeviceWindow | undefined,
  wallNs: number | undefined,
): { dom: number; vcpu: number } | undefined {
  const { a } = t;
  if (window === undefined || wallNs === undefined) return undefined;
  const afterNs = wallNs - (a.clock!.errorUs + a.capture.offsetErrorUs) * 1000;
  const before = a.accesses.filter((x) => x.record.timeNs <= afterNs).at(-1);
  const read = causeRead(a, window, before, 'received')?.access;
  if (read === undefined) return undefined;
  const vector = interruptVector(a, window);
  const readAt = (read.marks.exit ?? read.record).timeNs;
  const injected = read.injected.findLast((x) => x.vector === vector.value && x.timeNs >= afterNs && x.timeNs <= readAt);
  if (injected !== undefined) {
    hopAt(
      t,
      injected.timeNs,
      'Xen',
      `injects vector ${hex(injected.vector)} into ${vcpuName(read)}, the last before the read of the interrupt cause below${injected.vector === CALLBACK_VECTOR ? '; it is the callback vector all event channels share' : ''}.`,
      'inferred',
      [injected.ref, ...vector.refs],
    );
  }
  hopAt(
    t,
    read.record.timeNs,
    `guest ${vcpuName(read)}`,
    `reads ${registerText(a, read, a.pairing?.requestOf[read.index], window, undefined)} = ${hex(read.data!)}: the first read of the interrupt cause after the frame that says that one has come in.`,
    'inferred',
    [read.record.ref],
  );
  return read;
}

/** From the wire to the guest's driver. */
function timeOfReception(t: Teller): Story['time'] {
  const timed = t.hops.filter((h) => h.atNs !== undefined);
  const at = timed.findIndex((h) => h.where === 'wire');
  const wire = timed[at];
  const rest = timed.slice(at + 1);
  const last = rest.at(-1);
  if (wire?.atNs === undefined || last?.atNs === undefined) return [];
  const parts = rest.map(
    (hop, i) =>
      `${us(hop.atNs! - (i === 0 ? wire : rest[i - 1]!).atNs!)} until ${hop.where === 'Xen' ? 'Xen injected the interrupt' : hop.where === 'device model' ? (hop.text.startsWith('writes') ? 'it wrote the frame' : 'the device model turned to it') : 'the guest read the interrupt cause'}`,
  );
  return [
    say(`Of ${us(last.atNs - wire.atNs)} from the wire to the last step above: ${parts.join('; ')}.`, 'inferred', [
      ...wire.refs,
      ...last.refs,
    ]),
  ];
}
