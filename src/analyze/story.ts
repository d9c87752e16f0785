import { UserError } from '../base/errors.ts';
import { analyze, type Analysis, type AnalysisInput } from './analysis.ts';
import { wallToTraceNs } from './clock.ts';
import { driverMode, requestsOf, windowAt, type DeviceWindow } from './devices.ts';
import { describeFrame } from './ethernet.ts';
import { claim, logLine, pcapFrame, unknown } from './evidence.ts';
import type { IoAccess } from './io.ts';
import { MapCacheHistory } from './mapcache.ts';
import { descriptorGroups, intrStatusRead, receiveRing, registerText, timeOf, transmissions, type Transmission } from './packet.ts';
import type { CapturedFrame } from './pcap.ts';
import { addressesOf, gvaText, joinSentences, routeSentences, translationSentences, unknownSentences } from './story-answers.ts';
import { accessHops, doorbellHops, frameTime, hopAt, inTimeOrder, lineTime, type Teller } from './story-hops.ts';
import { hex, say, sayClaim, vcpuName, type Sentence, type Story } from './story-model.ts';

/** Which packet a story is about: a number (of the capture's frame, or of the transmission without one) or a trace time. */
export interface Subject {
  readonly packet?: number | undefined;
  /** Seconds of trace time. */
  readonly atSeconds?: number | undefined;
}

/**
 * Reads the files and tells the story of one packet.
 * @throws UserError where the files hold no packet, or not the one asked for
 */
export async function explainFiles(input: AnalysisInput & Subject): Promise<Story> {
  return tellStory(await analyze(input), input);
}

/** The story of one packet of an analysis. */
export function tellStory(a: Analysis, subject: Subject = {}): Story {
  const sent = transmissions(a);
  if (subject.packet !== undefined && a.frames.length > 0) {
    const own = sent.find((t) => t.frame.value?.number === subject.packet);
    if (own !== undefined) return transmitStory(a, own, sent);
    const frame = a.frames.find((f) => f.number === subject.packet);
    if (frame === undefined) throw new UserError(`--packet ${subject.packet}: the capture has frames ${a.frames[0]!.number} to ${a.frames[a.frames.length - 1]!.number}`);
    return receiveStory(a, frame, sent);
  }
  if (sent.length === 0) throw new UserError(whyNoPacket(a));
  if (subject.packet !== undefined) {
    const own = sent[subject.packet - 1];
    if (own === undefined) throw new UserError(`--packet ${subject.packet}: the files hold ${sent.length} transmissions; without a capture packets are numbered from 1 in their order`);
    return transmitStory(a, own, sent);
  }
  if (subject.atSeconds !== undefined) {
    const at = subject.atSeconds * 1e9;
    const distance = (t: Transmission): number => Math.abs((timeOf(a, t.access, t.request) ?? Infinity) - at);
    return transmitStory(a, sent.reduce((best, t) => (distance(t) < distance(best) ? t : best)), sent);
  }
  const whole = sent.find((t) => t.access !== undefined && t.request !== undefined && t.frame.value !== undefined && t.access.lost === undefined);
  return transmitStory(a, whole ?? sent.find((t) => t.access !== undefined) ?? sent[0]!, sent);
}

function whyNoPacket(a: Analysis): string {
  if (a.windows.length === 0) return `no known device in the files: ${a.accesses.length} I/O accesses, but no BAR write, region line or console names where a chip lies; give --device rtl8139@BASE or the device-model log`;
  const w = windowInUse(a)!;
  return `no transmission in the files: ${w.chip.name} at ${hex(w.base)} is known, but no write of TxPoll or TxStatus is recorded`;
}

/** The BAR that the driver uses: of a chip's two, the one with most accesses. */
function windowInUse(a: Analysis): DeviceWindow | undefined {
  const uses = (w: DeviceWindow): number => a.accesses.filter((x) => windowAt([w], x.space, x.addr) !== undefined).length + requestsOf(w, a.log?.requests ?? []).length;
  return a.windows.reduce<DeviceWindow | undefined>((best, w) => (best === undefined || uses(w) > uses(best) ? w : best), undefined);
}

/** The access the story walks along: the doorbell, or where no file has it the write of the ring's address. */
const walkedOf = (tx: Transmission): IoAccess | undefined => tx.access ?? (tx.request === undefined ? tx.ringAccess : undefined);

function transmitStory(a: Analysis, tx: Transmission, all: readonly Transmission[]): Story {
  const walked = walkedOf(tx);
  const clock = a.clockKind.value;
  const firstUs = (tx.request ?? tx.ring.value?.request)?.request.timeUs;
  const zeroNs = walked !== undefined ? (walked.marks.exit ?? walked.record).timeNs
    : firstUs === undefined ? undefined : a.clock !== undefined ? wallToTraceNs(a.clock, firstUs + a.clock.lineUs) : a.accesses.length === 0 ? firstUs * 1000 : undefined;
  const t: Teller = { a, hops: [], zeroNs, clock };
  const { window } = tx;

  if (tx.access === undefined && walked !== undefined) {
    accessHops(t, walked, a.pairing?.requestOf[walked.index], window, tx.mode);
  }
  doorbellHops(t, tx);
  inTimeOrder(t.hops);
  const history = a.log === undefined ? undefined : new MapCacheHistory(a.log);
  return {
    title: titleOf(a, tx, all), clock: a.clockKind,
    subject: subjectOf(a, tx), hops: t.hops, addresses: addressesOf(a, tx, walked),
    route: routeSentences(a, tx, walked), translation: translationSentences(a, tx, walked, history),
    unknowns: unknownSentences(a, tx, walked), joins: joinSentences(a),
  };
}

function titleOf(a: Analysis, tx: Transmission, all: readonly Transmission[]): string {
  const frame = tx.frame.value;
  const number = all.indexOf(tx) + 1;
  const what = frame !== undefined ? `${describeFrame(frame.data)}, ${frame.wireLength} bytes` : tx.descriptor.length.value !== undefined ? `a frame of ${tx.descriptor.length.value} bytes` : 'a frame';
  const which = frame !== undefined ? `Packet ${frame.number} of the capture` : `Transmission ${number} of ${all.length}`;
  return `${which}: ${what}, sent through an emulated ${tx.window?.chip.name.toUpperCase() ?? 'NIC'} in ${tx.mode} mode${a.accesses.length === 0 ? ' (from the log alone)' : ''}`;
}

function subjectOf(a: Analysis, tx: Transmission): Sentence[] {
  const out: Sentence[] = [];
  if (tx.window !== undefined) {
    const { found } = tx.window;
    out.push(say(`The ${tx.window.chip.name.toUpperCase()}'s registers lie at guest-physical ${hex(tx.window.base)}: ${found.why}.`, found.strength, found.refs));
    const mode = driverMode(tx.window, a.accesses, a.log);
    out.push(sayClaim(mode, (m) => `The driver runs the chip in ${m} mode: ${mode.why}.`, "The chip's mode"));
  }
  out.push(sayClaim(tx.frame, (f) => `The frame that left is number ${f.number} of the capture: ${tx.frame.why}.`, 'Which captured frame it is'));
  return out;
}

/** A frame that came in: DMA into the receive ring after its capture, the interrupt, the guest's read of IntrStatus. */
function receiveStory(a: Analysis, frame: CapturedFrame, sent: readonly Transmission[]): Story {
  const source = a.log?.source;
  const wall = a.clock === undefined ? undefined : wallToTraceNs(a.clock, frame.timeUs);
  const t: Teller = { a, hops: [], zeroNs: wall ?? (a.accesses.length === 0 ? frame.timeUs * 1000 : undefined), clock: a.clockKind.value };
  const at = frameTime(t, frame.timeUs);
  hopAt(t, at.timeNs, 'wire', `carries frame ${frame.number}: ${describeFrame(frame.data)}, ${frame.wireLength} bytes.`, 'proven', [pcapFrame(frame.number)], at.errorNs);
  const claimed = new Set(sent.flatMap((x) => x.doorbellDma.map((d) => d.line)));
  const next = a.frames.find((f) => f.timeUs > frame.timeUs)?.timeUs ?? Infinity;
  // A tap may write its block when the frame is already delivered.
  const since = Math.max(Math.floor(frame.timeUs) - TAP_DELAY_US, Math.floor(a.frames.findLast((f) => f.timeUs < frame.timeUs)?.timeUs ?? 0));
  const behind = (a.log === undefined ? [] : [...a.log.early.dma, ...a.log.requests.flatMap((r) => r.dma)])
    .filter((d) => d.timeUs !== undefined && d.timeUs >= since && d.timeUs < Math.min(next, frame.timeUs + RECEIVE_WINDOW_US) && !claimed.has(d.line));
  const window = windowInUse(a);
  const mode = window === undefined ? undefined : driverMode(window, a.accesses, a.log).value;
  const ring = window === undefined || mode === undefined ? unknown<number>('no device is known') : receiveRing(a, window, mode, wall);
  const groups = mode === 'C+' && ring.value !== undefined ? descriptorGroups(behind, ring.value) : [];
  const group = groups.find((g) => g.buffers.length > 0);
  if (group !== undefined && ring.value !== undefined) {
    const from = lineTime(t, group.all[0]!.timeUs);
    hopAt(t, from.timeNs, 'device model', `looks at receive descriptor ${(group.at - ring.value) / 16}, guest-physical ${hex(group.at)}.`, 'strong', [logLine(group.all[0]!.line, source), ...ring.refs], from.errorNs);
    const into = lineTime(t, group.buffers[0]!.timeUs);
    hopAt(t, into.timeNs, 'device model', `writes the frame to guest-physical ${hex(group.buffers[0]!.gpa)}, the next address it asked its map cache for.`, 'inferred', [logLine(group.buffers[0]!.line, source)], into.errorNs);
  } else if (behind.length > 0) {
    const from = lineTime(t, behind[0]!.timeUs);
    hopAt(t, from.timeNs, 'device model', `touches guest memory ${behind.length} times, from ${hex(behind[0]!.gpa)} on, outside any transmission: taking the frame in.`, 'inferred', [logLine(behind[0]!.line, source), logLine(behind[behind.length - 1]!.line, source)], from.errorNs);
  }
  const afterNs = wall === undefined ? undefined : wall - a.clock!.errorUs * 1000;
  const before = afterNs === undefined ? undefined : a.accesses.filter((x) => x.record.timeNs <= afterNs).at(-1);
  const read = window === undefined || before === undefined ? undefined : intrStatusRead(a, window, before, 0x1);
  if (read !== undefined && window !== undefined) {
    hopAt(t, read.record.timeNs, `guest ${vcpuName(read)}`, `learns of it: reads ${registerText(window, read.addr, 2, read.data, undefined)} = ${hex(read.data!)}.`, 'inferred', [read.record.ref]);
  }
  const dom = read?.dom;
  return {
    title: `Packet ${frame.number} of the capture: ${describeFrame(frame.data)}, ${frame.wireLength} bytes, not sent by a doorbell in the files`, clock: a.clockKind,
    subject: [say('No doorbell of the guest fits this frame: it came from outside, or its doorbell is not in the files.', 'inferred', [pcapFrame(frame.number)])],
    hops: t.hops,
    addresses: (group === undefined ? behind.slice(0, 2).map((d) => ['touched by the device model', d] as const) : [['receive descriptor', group.all[0]!] as const, ['frame buffer', group.buffers[0]!] as const]).map(([what, d]) => {
      const mfn = dom === undefined ? unknown<{ mfn: bigint; type: number }>('no trace record names this frame') : a.p2m.lookup(dom, Math.floor(d.gpa / 4096));
      return {
        what, gva: gvaText(a, d.gpa),
        gpa: claim(hex(d.gpa), 'proven', 'the log prints it', [logLine(d.line, source)]),
        mfn: mfn.value === undefined ? unknown(mfn.why) : claim(hex(mfn.value.mfn), 'proven', mfn.why, mfn.refs),
        mapping: d.pointer === undefined ? unknown('no return line follows') : claim(hex(BigInt('0x' + d.pointer)), 'proven', 'the log prints it', [logLine(d.line, source)]),
      };
    }),
    route: [say('A received frame needs no request of the guest: the device model writes it into guest memory on its own.', 'strong', behind.length > 0 ? [logLine(behind[0]!.line, source)] : [])],
    translation: behind.length > 0 ? [say(`The device model works with guest-physical addresses${ring.value === undefined ? '' : ` of the receive ring that the driver put at ${hex(ring.value)}`} and finds them through its map cache, as for a transmission.`, 'strong', [...ring.refs, logLine(behind[0]!.line, source)])] : [say('What memory the device model wrote is unknown: no map-cache line follows the frame.', 'unknown', [])],
    unknowns: [say('Which bytes were written where: map-cache lines carry addresses, not contents.', 'unknown', [])],
    joins: joinSentences(a),
  };
}

/** A received frame reaches guest memory within this, or something else did. */
const RECEIVE_WINDOW_US = 20_000;
/** How much earlier than its capture a frame may already have been taken in. */
const TAP_DELAY_US = 100;
