import { analyze, type Analysis, type AnalysisInput } from './analysis.ts';
import { UserError } from '../base/errors.ts';
import { tscHzHint, wallToTraceNs } from './clock.ts';
import { driverMode, requestsOf, windowAt, type DeviceWindow } from './devices.ts';
import { describeFrame } from './ethernet.ts';
import { claim, logLine, pcapFrame, unknown, type Claim, type Ref, type Strength } from './evidence.ts';
import { Hypercall } from './events.ts';
import { CALLBACK_VECTOR, injectionAfter, interruptVector } from './interrupt.ts';
import type { IoAccess } from './io.ts';
import { MapCacheHistory, type MapCacheOutcome } from './mapcache.ts';
import { descriptorGroups, intrStatusRead, receiveRing, registerText, timeOf, transmissions, type Transmission } from './packet.ts';
import type { CapturedFrame } from './pcap.ts';
import type { DmRequest } from './dm-log.ts';
import { p2mTypeName, routeOf, stagesOf, type Route } from './route.ts';

/** One statement with what it rests on. */
export interface Sentence {
  readonly text: string;
  readonly strength: Strength;
  readonly refs: readonly Ref[];
}

/** One step of the way. */
export interface Hop extends Sentence {
  /** Nanoseconds from the first hop; undefined where nothing tells. */
  readonly atNs: number | undefined;
  /** Half width of the time, nanoseconds: not zero where the log's clock was laid over the trace's. */
  readonly errorNs: number;
  readonly clock: 'measured' | 'modelled' | undefined;
  /** Who does it: `guest d1v0`, `Xen`, `device model`, `wire`. */
  readonly where: string;
}

/** One thing with the number it has in each address space. */
export interface AddressRow {
  readonly what: string;
  readonly gva: Claim<string>;
  readonly gpa: Claim<string>;
  readonly mfn: Claim<string>;
  /** The device model's own mapping. */
  readonly mapping: Claim<string>;
}

export interface Story {
  readonly title: string;
  readonly clock: Claim<'modelled' | 'measured'>;
  readonly subject: readonly Sentence[];
  readonly hops: readonly Hop[];
  readonly addresses: readonly AddressRow[];
  /** "Through which page did the request go?" */
  readonly route: readonly Sentence[];
  /** "Why a guest-physical address, and who translates?" */
  readonly translation: readonly Sentence[];
  readonly unknowns: readonly Sentence[];
  /** How the clocks were laid over each other, what did not pair, what was lost. */
  readonly joins: readonly Sentence[];
}

/** Which packet a story is about: a number (of the capture's frame, or of the transmission without one) or a trace time. */
export interface Subject {
  readonly packet?: number | undefined;
  /** Seconds of trace time. */
  readonly atSeconds?: number | undefined;
}

const hex = (n: number | bigint): string => `0x${n.toString(16)}`;
const say = (text: string, strength: Strength, refs: readonly Ref[]): Sentence => ({ text, strength, refs });
const sayClaim = <T>(c: Claim<T>, text: (value: T) => string, otherwise: string): Sentence =>
  c.value === undefined ? say(`${otherwise}: unknown (${c.why}).`, 'unknown', c.refs) : say(text(c.value), c.strength, c.refs);
const vcpuName = (v: { dom: number; vcpu: number }): string => `d${v.dom}v${v.vcpu}`;
const us = (ns: number): string => `${(ns / 1000).toFixed(1)} µs`;

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

interface Teller {
  readonly a: Analysis;
  readonly hops: Hop[];
  readonly zeroNs: number | undefined;
  readonly clock: 'measured' | 'modelled' | undefined;
}

function hopAt(t: Teller, timeNs: number | undefined, where: string, text: string, strength: Strength, refs: readonly Ref[], errorNs = 0): void {
  t.hops.push({
    where, text, strength, refs, errorNs: timeNs === undefined ? 0 : errorNs,
    atNs: timeNs === undefined || t.zeroNs === undefined ? undefined : timeNs - t.zeroNs,
    clock: timeNs === undefined ? undefined : t.clock,
  });
}

/** Trace time of a wall-clock time, with its error; the log's own time where there is no trace to lay it over. */
function wallTime(t: Teller, timeUs: number | undefined): { timeNs: number | undefined; errorNs: number } {
  if (timeUs === undefined) return { timeNs: undefined, errorNs: 0 };
  const { clock, accesses } = t.a;
  if (clock !== undefined) return { timeNs: wallToTraceNs(clock, timeUs), errorNs: clock.errorUs * 1000 };
  return { timeNs: accesses.length === 0 ? timeUs * 1000 : undefined, errorNs: 0 };
}

function transmitStory(a: Analysis, tx: Transmission, all: readonly Transmission[]): Story {
  const walked = walkedOf(tx);
  const clock = a.clockKind.value;
  const firstUs = (tx.request ?? tx.ring.value?.request)?.request.timeUs;
  const zeroNs = walked !== undefined ? (walked.marks.exit ?? walked.record).timeNs
    : firstUs === undefined ? undefined : a.clock !== undefined ? wallToTraceNs(a.clock, firstUs) : a.accesses.length === 0 ? firstUs * 1000 : undefined;
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

/** The access the story walks along: the doorbell, or where no file has it the write of the ring's address. */
const walkedOf = (tx: Transmission): IoAccess | undefined => tx.access ?? (tx.request === undefined ? tx.ringAccess : undefined);

/**
 * Hops the trace times itself go in their order, each with those behind it that have no time or an aligned one: their
 * place is the cause's.
 */
function inTimeOrder(hops: Hop[]): void {
  const groups: Hop[][] = [];
  for (const hop of hops) {
    const own = hop.atNs !== undefined && hop.errorNs === 0;
    if (own || groups.length === 0) groups.push([hop]);
    else groups[groups.length - 1]!.push(hop);
  }
  const time = (group: Hop[]): number => (group[0]!.errorNs === 0 ? group[0]!.atNs : undefined) ?? -Infinity;
  groups.sort((p, q) => time(p) - time(q));
  hops.splice(0, hops.length, ...groups.flat());
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

/** The hops of one register write, from exit to entry, with the log's side of it. */
function accessHops(t: Teller, access: IoAccess, request: DmRequest | undefined, window: DeviceWindow | undefined, mode: string): void {
  exitHops(t, access, window, request?.request.size, mode);
  requestHop(t, access, request);
  answerHops(t, access);
}

function exitHops(t: Teller, access: IoAccess, window: DeviceWindow | undefined, width: number | undefined, mode: string): void {
  const who = `guest ${vcpuName(access)}`;
  const { marks } = access;
  if (marks.exit !== undefined) {
    hopAt(t, marks.exit.timeNs, who, `leaves the guest at rip ${hex(access.rip ?? 0n)}: ${access.exitReason}.`, 'proven', [marks.exit.ref]);
  }
  const name = window === undefined ? 'an unknown register' : registerText(window, access.addr, width, access.data, mode);
  const doing = access.dir === 'write' ? `writes ${hex(access.data ?? 0n)} to` : `reads ${hex(access.data ?? 0n)} from`;
  const { npf } = access;
  // The NPF record has no TSC of its own and stands behind the notification: told where it belongs, at the exit.
  const p2m = npf === undefined ? '' : ` The p2m has type ${p2mTypeName(npf.p2mType)} (${npf.p2mType}) there and ${npf.mfn === undefined ? 'no machine frame' : `machine frame ${hex(npf.mfn)}`}${npf.mfn === undefined && npf.p2mType === 4 ? ': the access is for a device model' : ''}.`;
  hopAt(t, access.record.timeNs, 'Xen', `finds that it ${doing} ${access.space === 'mmio' ? 'guest-physical' : 'port'} ${hex(access.addr)}: ${name}.${p2m}`, window === undefined ? 'unknown' : 'proven', [access.record.ref, ...(npf ? [npf.ref] : []), ...(window?.found.refs ?? [])]);
  if (marks.notified !== undefined && marks.model !== undefined) {
    hopAt(t, marks.notified.timeNs, 'Xen', `notifies the device model's event channel: ${vcpuName(marks.model)} blocked→runnable.`, 'strong', [marks.notified.ref]);
  }
  if (marks.blocked !== undefined) hopAt(t, marks.blocked.timeNs, who, 'waits: running→offline.', 'proven', [marks.blocked.ref]);
  if (marks.modelRuns !== undefined && marks.model !== undefined) {
    hopAt(t, marks.modelRuns.timeNs, `dom0 ${vcpuName(marks.model)}`, 'runs.', 'proven', [marks.modelRuns.ref]);
  }
  if (access.lost !== undefined) {
    hopAt(t, access.lost.timeNs, 'Xen', `${access.lost.count} records of pCPU ${access.lost.pcpu} are lost here: what is missing below is unknown.`, 'unknown', [access.lost.ref]);
  }
}

function requestHop(t: Teller, access: IoAccess | undefined, request: DmRequest | undefined): void {
  const { log } = t.a;
  if (request === undefined) {
    if (log !== undefined && access !== undefined) {
      hopAt(t, undefined, 'device model', 'has no log line that pairs with this access: what it did is unknown.', 'unknown', [access.record.ref]);
    }
    return;
  }
  const r = request.request;
  const { timeNs, errorNs } = wallTime(t, r.timeUs);
  const kind = r.type === 0 ? 'port I/O' : r.type === 1 ? 'COPY (memory)' : `type ${r.type}`;
  const handler = request.region !== undefined ? `, served by its ${request.region.name} handler` : '';
  hopAt(t, timeNs, 'device model', `takes the request: ${kind}, ${r.size} byte${r.size === 1 ? '' : 's'}, address ${hex(r.addr)}, data ${hex(request.data ?? r.data)}${handler}.`, 'proven',
    [logLine(r.line, log?.source), ...(request.region ? [logLine(request.region.line, log?.source)] : [])], errorNs);
}

function answerHops(t: Teller, access: IoAccess): void {
  const who = `guest ${vcpuName(access)}`;
  const { marks } = access;
  if (marks.woken !== undefined) {
    hopAt(t, marks.woken.timeNs, marks.model ? `dom0 ${vcpuName(marks.model)}` : 'dom0', `has the answer ready and notifies: ${vcpuName(access)} offline→runnable.`, marks.model ? 'strong' : 'inferred', [marks.woken.ref]);
  }
  if (marks.resumed !== undefined) hopAt(t, marks.resumed.timeNs, who, 'is scheduled again: runnable→running.', 'proven', [marks.resumed.ref]);
  if (marks.entry !== undefined) {
    const { total } = stagesOf(access);
    hopAt(t, marks.entry.timeNs, who, `enters the guest again${total === undefined ? '' : `, ${us(total)} after it left`}.`, 'proven', [marks.entry.ref]);
  } else if (access.unfinished !== undefined) {
    hopAt(t, undefined, who, `is not seen to enter the guest again: ${access.unfinished === 'trace ends' ? 'the excerpt or trace ends first' : access.unfinished}.`, 'unknown', [access.record.ref]);
  }
}

function doorbellHops(t: Teller, tx: Transmission): void {
  const { a } = t;
  const { access, request } = tx;
  const source = a.log?.source;
  if (access !== undefined) {
    exitHops(t, access, tx.window, request?.request.size, tx.mode);
    requestHop(t, access, request);
  } else if (request !== undefined) {
    requestHop(t, undefined, request);
  } else {
    const line = tx.chip[0];
    if (line !== undefined) {
      hopAt(t, undefined, 'device model', `${tx.doorbell} is written with ${hex(tx.data ?? 0n)}: the chip logs it. Neither the exit nor the ioreq that carried it is in the files.`, 'proven', [logLine(line.line, source)]);
    }
  }
  const d = tx.descriptor;
  const dma = (gpa: number | undefined): Transmission['dma'][number] | undefined => tx.dma.find((x) => x.gpa === gpa);
  if (tx.mode === 'C+' && d.gpa.value !== undefined) {
    const at = dma(d.gpa.value);
    const { timeNs, errorNs } = wallTime(t, at?.timeUs);
    const words = d.words.value;
    hopAt(t, timeNs, 'device model', `reads ${d.index.value === undefined ? 'a descriptor' : `descriptor ${d.index.value}`} at guest-physical ${hex(d.gpa.value)}${words === undefined ? '' : ` (${describeDescriptor(words)})`}${at?.pointer === undefined ? '' : `, mapped at ${hex(BigInt('0x' + at.pointer))} in its own memory`}.`,
      d.gpa.strength, [...d.gpa.refs, ...d.words.refs, ...(at ? [logLine(at.line, source)] : [])], errorNs);
  }
  if (d.buffer.value !== undefined) {
    const at = dma(d.buffer.value);
    const { timeNs, errorNs } = wallTime(t, at?.timeUs);
    hopAt(t, timeNs, 'device model', `fetches the frame${d.length.value === undefined ? '' : `, ${d.length.value} bytes,`} from guest-physical ${hex(d.buffer.value)}${at?.pointer === undefined ? '' : `, mapped at ${hex(BigInt('0x' + at.pointer))} in its own memory`}.`,
      d.buffer.strength, [...d.buffer.refs, ...d.length.refs], errorNs);
  }
  const frame = tx.frame.value;
  if (frame !== undefined) {
    const { timeNs, errorNs } = wallTime(t, frame.timeUs);
    hopAt(t, timeNs, 'wire', `carries frame ${frame.number}: ${describeFrame(frame.data)}, ${frame.wireLength} bytes.`, tx.frame.strength, tx.frame.refs, errorNs);
  }
  interruptRaised(t, tx);
  if (access !== undefined) {
    answerHops(t, access);
    interruptTaken(t, tx, access);
  }
}

function describeDescriptor(words: readonly number[]): string {
  const flags = words[0]!;
  const names = [flags >>> 31 ? 'OWN' : '', (flags >>> 30) & 1 ? 'end of ring' : '', (flags >>> 29) & 1 ? 'first' : '', (flags >>> 28) & 1 ? 'last' : ''].filter((n) => n !== '');
  return `${words.map((w) => w.toString(16).padStart(8, '0')).join(' ')}: ${names.length > 0 ? `${names.join(', ')}, ` : ''}${flags & 0x1fff} bytes`;
}

function interruptRaised(t: Teller, tx: Transmission): void {
  const { log } = t.a;
  const line = tx.chip.find((c) => /^Set IRQ to 1/i.test(c.text));
  const m = line && /\(([0-9a-f]+) ([0-9a-f]+)\)/i.exec(line.text);
  if (line !== undefined) {
    const { timeNs, errorNs } = wallTime(t, line.timeUs);
    const names = m && tx.window ? registerText(tx.window, tx.window.base + 0x3e, 2, BigInt('0x' + m[1]!), tx.mode) : undefined;
    hopAt(t, timeNs, 'device model', `raises the interrupt line${names ? `: ${names}, mask ${hex(parseInt(m![2]!, 16))}` : ''}.`, 'proven', [logLine(line.line, log?.source)], errorNs);
    return;
  }
  const calls = tx.access?.hypercalls.get(Hypercall.dmOp);
  if (calls !== undefined) {
    hopAt(t, calls.timeNs, 'device model', `makes ${calls.count === 1 ? 'a dm_op hypercall' : `${calls.count} dm_op hypercalls`} while the guest waits: the way an interrupt level is set; the record does not hold which operation.`, 'inferred', [calls.ref]);
  }
}

function interruptTaken(t: Teller, tx: Transmission, access: IoAccess): void {
  const { a } = t;
  if (tx.window === undefined) return;
  const vector = interruptVector(a, tx.window);
  const inject = vector.value === undefined ? undefined : injectionAfter(a, access, vector.value);
  const read = intrStatusRead(a, tx.window, access, 0x84);
  const readAt = read && (read.marks.exit ?? read.record).timeNs;
  if (inject !== undefined && vector.value !== undefined && (readAt === undefined || inject.timeNs <= readAt)) {
    hopAt(t, inject.timeNs, 'Xen', `injects vector ${hex(vector.value)} into ${vcpuName(access)}${vector.value === CALLBACK_VECTOR ? ': the callback vector all event channels share, so that it is this interrupt is inferred from the IntrStatus read below' : `, the vector of this device (${vector.why})`}.`, vector.value === CALLBACK_VECTOR ? 'inferred' : 'strong', [inject.ref, ...vector.refs]);
  }
  if (read !== undefined) {
    const request = a.pairing?.requestOf[read.index];
    hopAt(t, read.record.timeNs, `guest ${vcpuName(read)}`, `has taken it: reads ${registerText(tx.window, read.addr, 2, read.data, tx.mode)} = ${hex(read.data!)}.`, 'proven',
      [read.record.ref, ...(request ? [logLine(request.request.line, a.log?.source)] : [])]);
  }
}

function gvaText(a: Analysis, gpa: number | undefined): Claim<string> {
  if (gpa === undefined) return unknown('its guest-physical address is unknown');
  const gva = a.gvaOf(gpa);
  return gva.value === undefined ? unknown(gva.why) : claim(hex(gva.value), gva.strength as 'proven', gva.why, gva.refs);
}

function addressesOf(a: Analysis, tx: Transmission, walked: IoAccess | undefined): AddressRow[] {
  const rows: AddressRow[] = [];
  const dom = walked?.dom ?? tx.access?.dom;
  const ram = (what: string, gpa: Claim<number>): void => {
    const frame = gpa.value === undefined || dom === undefined ? undefined : a.p2m.lookup(dom, Math.floor(gpa.value / 4096));
    const dma = tx.dma.find((d) => d.gpa === gpa.value);
    rows.push({
      what, gva: gvaText(a, gpa.value),
      gpa: gpa.value === undefined ? unknown(gpa.why) : claim(hex(gpa.value), gpa.strength as 'proven', gpa.why, gpa.refs),
      mfn: frame === undefined ? unknown(gpa.value === undefined ? 'its guest-physical address is unknown' : 'no trace record names this frame')
        : frame.value === undefined ? unknown(frame.why) : claim(hex(frame.value.mfn), frame.strength as 'proven', frame.why, frame.refs),
      mapping: dma?.pointer === undefined ? unknown(a.log === undefined ? 'no device-model log was given' : 'the log has no map-cache line for it')
        : claim(hex(BigInt('0x' + dma.pointer)), 'proven', 'the log prints it', [logLine(dma.line, a.log!.source)]),
    });
  };
  const register = tx.access ?? walked;
  if (register !== undefined && register.space === 'mmio') {
    const npf = register.npf;
    rows.push({
      what: `register ${tx.window === undefined ? '' : registerText(tx.window, register.addr, undefined, 0n, tx.mode)}`.trim(), gva: gvaText(a, register.addr),
      gpa: claim(hex(register.addr), 'proven', 'the MMIO record holds it', [register.record.ref]),
      mfn: npf === undefined ? unknown('no NPF record stands beside it')
        : npf.mfn === undefined ? claim(`none: ${p2mTypeName(npf.p2mType)}`, 'proven', 'the NPF record says INVALID_MFN', [npf.ref]) : claim(hex(npf.mfn), 'proven', 'the NPF record holds it', [npf.ref]),
      mapping: claim('none: it is an address in the ioreq', 'strong', 'a register is served by a handler, not by memory', register.npf ? [register.npf.ref] : []),
    });
  }
  if (tx.mode === 'C+') {
    const { ring } = tx;
    ram('transmit ring', ring.value === undefined ? unknown(ring.why) : claim(ring.value.value, ring.strength as 'proven', ring.why, ring.refs));
    ram(`descriptor ${tx.descriptor.index.value ?? ''}`.trim(), tx.descriptor.gpa);
  }
  ram('frame buffer', tx.descriptor.buffer);
  return rows;
}

const ROUTE_ANSWER: Record<Route, string> = {
  'synchronous ioreq': 'Through the synchronous ioreq page ("shared memory page"), not the buffered one',
  'buffered ioreq': 'Through the buffered ioreq page',
  'in the hypervisor': 'Through neither page: Xen itself answered',
};

function routeFor(a: Analysis, access: IoAccess): Claim<Route> {
  return routeOf(access, a.pairing?.requestOf[access.index], a.log, a.pairing?.reasonOf.get(access));
}

function routeSentences(a: Analysis, tx: Transmission, walked: IoAccess | undefined): Sentence[] {
  const out: Sentence[] = [];
  if (walked === undefined) {
    const request = tx.request ?? tx.ring.value?.request;
    if (request !== undefined && request.request.type === 1 && request.request.addr > 0xfffff) {
      out.push(say(`Through the synchronous ioreq page: the log shows the request at ${hex(request.request.addr)}, which the 20 address bits of a buffered slot cannot hold.`, 'strong', [logLine(request.request.line, a.log?.source)]));
    } else out.push(say('Unknown: no trace was given, and the log marks no request as buffered.', 'unknown', []));
    return out;
  }
  const route = routeFor(a, walked);
  const what = tx.access === undefined ? `the write of ${tx.window === undefined ? hex(walked.addr) : registerText(tx.window, walked.addr, undefined, 0n, tx.mode)}` : `the ${tx.doorbell} write`;
  out.push(sayClaim(route, (r) => `${ROUTE_ANSWER[r]}, for ${what}: ${route.why}.`, `Which way ${what} went`));
  const { marks } = walked;
  if (marks.notified !== undefined && marks.exit !== undefined && marks.model !== undefined) {
    out.push(say(`The notification is visible: ${vcpuName(marks.model)} went blocked→runnable ${us(marks.notified.timeNs - marks.exit.timeNs)} after the exit, while ${vcpuName(walked)} was still inside it.`, 'proven', [marks.exit.ref, marks.notified.ref]));
  }
  if (tx.window !== undefined && a.accesses.length > 1) {
    const own = a.accesses.filter((x) => x.space === tx.window!.space && x.addr >= tx.window!.base && x.addr < tx.window!.base + tx.window!.chip.blockSize);
    const waited = own.filter((x) => x.marks.blocked !== undefined).length;
    const paired = own.filter((x) => a.pairing?.requestOf[x.index] !== undefined).length;
    const buffered = own.filter((x) => routeFor(a, x).value === 'buffered ioreq').length;
    if (own.length > 1) {
      out.push(say(`Of all ${own.length} accesses to this device, ${waited} show the wait${waited < own.length ? ` (${own.length - waited} ${own.length - waited === 1 ? 'does' : 'do'} not: the answer came before the vCPU was descheduled, or records are lost)` : ''}${a.log === undefined ? '' : `, ${paired} are in the device-model log with equal data`}, ${buffered} may have been buffered.`, 'proven', [own[0]!.record.ref, own[own.length - 1]!.record.ref]));
    }
  }
  return out;
}

function translationSentences(a: Analysis, tx: Transmission, walked: IoAccess | undefined, history: MapCacheHistory | undefined): Sentence[] {
  const out: Sentence[] = [];
  const source = a.log?.source;
  const { ring, descriptor: d } = tx;
  if (ring.value !== undefined && tx.mode === 'C+') {
    const touched = d.gpa.value !== undefined && d.gpa.value >= ring.value.value && d.gpa.value < ring.value.value + 1024;
    out.push(say(`The driver knows only guest-physical addresses: it wrote ${hex(ring.value.value)} into the register at offset 0x20${touched ? `, and the device model looked for descriptor ${d.index.value ?? ''} at ${hex(d.gpa.value!)}, unchanged` : ''}.`, touched ? 'proven' : ring.strength, [...ring.refs, ...(touched ? d.gpa.refs : [])]));
    if (d.buffer.value !== undefined) {
      out.push(say(`${hex(ring.value.value)} is not the address of the frame: in C+ mode offset 0x20 is TxRingAddr, the base of the descriptor ring. The frame lay at ${hex(d.buffer.value)}${d.words.value === undefined ? '' : ', the third word of the descriptor'}.`, d.buffer.strength, [...ring.refs, ...d.buffer.refs]));
    }
  } else if (ring.value !== undefined) {
    out.push(say(`The driver knows only guest-physical addresses: it wrote ${hex(ring.value.value)} into TxAddr${d.index.value}${tx.dma.some((x) => x.gpa === ring.value!.value) ? ', and the device model asked its map cache for exactly that' : ''}.`, ring.strength, [...ring.refs, ...d.buffer.refs]));
  }
  const mfns = [d.gpa, d.buffer].map((g) => (g.value === undefined || walked === undefined ? undefined : { gpa: g.value, frame: a.p2m.lookup(walked.dom, Math.floor(g.value / 4096)) })).filter((x) => x !== undefined);
  for (const { gpa, frame } of mfns) {
    if (frame.value !== undefined) out.push(say(`Behind guest frame ${hex(Math.floor(gpa / 4096))} stands machine frame ${hex(frame.value.mfn)}: the p2m, Xen's table, says so, and neither driver nor chip ever names it.`, frame.strength, frame.refs));
  }
  const calls = mappingCalls(a, tx, history);
  if (history !== undefined && tx.dma.length > 0) {
    const first = tx.dma.filter((x, i) => tx.dma.findIndex((y) => Math.floor(y.gpa / 4096) === Math.floor(x.gpa / 4096)) === i);
    for (const x of first) {
      const outcome = withHypercalls(history.outcome(x), calls);
      out.push(sayClaim(outcome, (o) => (o === 'hit'
        ? `${hex(x.gpa)} was in the map cache: ${outcome.why}; the access is a plain memory copy, without hypercall, exit or trace record.`
        : `${hex(x.gpa)} was not in the map cache: ${outcome.why}; here the device model asked Xen to map the guest frames, and Xen translated through the p2m.`), `Whether ${hex(x.gpa)} was already mapped`));
    }
    const totals = history.totals();
    out.push(say(`In the whole log ${totals.accesses} memory accesses of the device model use ${totals.mappings} mapping${totals.mappings === 1 ? '' : 's'}${totals.remaps > 0 ? `, made by ${totals.remaps} remaps` : ''}: translation happens once a bucket, not once an access.`, 'proven', [logLine(tx.dma[0]!.line, source)]));
  } else if (a.log !== undefined) {
    out.push(say(`${history !== undefined && history.totals().accesses > 0 ? 'No map-cache line of the log belongs to this frame' : 'The log holds no map-cache lines (xen_map_cache)'}: when these pages were mapped is unknown. The device model maps guest frames by a hypercall when its map cache misses, then copies memory; a hit leaves no trace.`, 'unknown', []));
  }
  out.push(calls.sentence);
  return out;
}

const MAPPING_CALLS: readonly [number, string][] = [
  [Hypercall.mmuUpdate, 'mmu_update'], [Hypercall.updateVaMapping, 'update_va_mapping'], [Hypercall.updateVaMappingOther, 'update_va_mapping_otherdomain'],
  [Hypercall.memoryOp, 'memory_op'], [Hypercall.grantTableOp, 'grant_table_op'], [Hypercall.multicall, 'multicall'],
];

interface MappingCalls {
  /** true: no hypercall that could map anything fell between exit and answer, and none can be missing. */
  readonly none: boolean;
  readonly sentence: Sentence;
}

/** The log alone may leave open whether a page was mapped before; the hypercalls then settle it. */
function withHypercalls(outcome: Claim<MapCacheOutcome>, calls: MappingCalls): Claim<MapCacheOutcome> {
  if (outcome.value !== undefined || !calls.none) return outcome;
  return claim('hit', 'strong', 'it is the first use of its bucket in this log, but between exit and answer dom0 made no hypercall that maps memory', [...outcome.refs, ...calls.sentence.refs]);
}

function mappingCalls(a: Analysis, tx: Transmission, history: MapCacheHistory | undefined): MappingCalls {
  const { access } = tx;
  const open = (text: string, refs: readonly Ref[] = []): MappingCalls => ({ none: false, sentence: say(text, 'unknown', refs) });
  if (a.hypercallRecords === 0 && history?.remapsLogged === true && tx.doorbellDma.length > 0) {
    const remaps = tx.doorbellDma.filter((d) => d.remapIndex !== undefined);
    const refs = [tx.doorbellDma[0]!, tx.doorbellDma[tx.doorbellDma.length - 1]!].map((d) => logLine(d.line, a.log?.source));
    return remaps.length > 0
      ? { none: false, sentence: say(`${remaps.length === 1 ? 'One remap falls' : `${remaps.length} remaps fall`} into this request: each is a hypercall of the device model that maps a bucket of guest frames, where Xen translates through the p2m.`, 'proven', remaps.map((d) => logLine(d.line, a.log?.source))) }
      : { none: true, sentence: say('The device model logs every remap of its map cache, and none falls into this request: no hypercall mapped or translated anything for this packet.', 'strong', refs) };
  }
  if (a.hypercallRecords === 0) return open('Whether a hypercall mapped or translated anything meanwhile is unknown: the files hold no hypercall records.');
  if (access?.marks.exit === undefined) return open('Whether a hypercall fell into this request is unknown: the doorbell is not in the trace.');
  const end = access.marks.woken ?? access.marks.entry;
  if (access.lost !== undefined || end === undefined) return open('Whether a hypercall fell into this request is unknown: records are lost, or the trace ends inside it.', [access.record.ref]);
  const seen = MAPPING_CALLS.map(([n, name]) => ({ name, call: access.hypercalls.get(n) })).filter((x) => x.call !== undefined);
  if (seen.length > 0) {
    return open(`Between exit and answer dom0 made ${seen.map((x) => `${x.call!.count} ${x.name}`).join(', ')}: whether one of them mapped guest frames is unknown, the records do not hold their operands.`, seen.map((x) => x.call!.ref));
  }
  const others = [...access.hypercalls.values()].reduce((n, c) => n + c.count, 0);
  return {
    none: true,
    sentence: say(`Between exit and answer dom0 made ${others} hypercalls (iret not counted), none of them one that maps memory (${MAPPING_CALLS.map(([, name]) => name).join(', ')}): nothing was mapped or translated for this packet.`, 'proven', [access.marks.exit.ref, end.ref]),
  };
}

const list = (names: readonly string[]): string => names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`;

function unknownSentences(a: Analysis, tx: Transmission, walked: IoAccess | undefined): Sentence[] {
  const out: Sentence[] = [];
  const all = addressesOf(a, tx, walked);
  const noGva = all.filter((r) => r.gva.value === undefined && r.gpa.value !== undefined);
  if (noGva.length > 0) out.push(say(`The guest-virtual address of ${list(noGva.map((r) => r.what))}: ${noGva[0]!.gva.why}.`, 'unknown', []));
  const rows = all.filter((r) => r.mfn.value === undefined && r.gpa.value !== undefined);
  if (rows.length > 0) out.push(say(`The machine frame of ${list(rows.map((r) => r.what))}: ${rows[0]!.mfn.why}.`, 'unknown', []));
  if (tx.mode === 'C+' && tx.descriptor.words.value === undefined) out.push(say(`The descriptor's contents: ${tx.descriptor.words.why}.`, 'unknown', []));
  if (tx.frame.value === undefined) out.push(say(`The frame on the wire: ${tx.frame.why}.`, 'unknown', []));
  if (walked !== undefined && walked.marks.blocked === undefined) out.push(say('Whether the vCPU waited: no running→offline record stands between exit and entry.', 'unknown', [walked.record.ref]));
  if (tx.window === undefined || a.log === undefined) out.push(say("What the device model did: no log of it was given.", 'unknown', []));
  return out;
}

function joinSentences(a: Analysis): Sentence[] {
  const out: Sentence[] = [];
  const { clock, pairing } = a;
  if (pairing !== undefined && a.accesses.length > 0) {
    const reasons = new Map<string, number>();
    const count = (what: string): void => {
      reasons.set(what, (reasons.get(what) ?? 0) + 1);
    };
    for (const u of pairing.unpairedAccesses) count(`access%s (${u.reason})`);
    for (const u of pairing.unpairedRequests) count(`request%s of the log (${u.reason})`);
    const rest = [...reasons].map(([what, n]) => `${n} ${what.replace('%s', n === 1 ? '' : what.startsWith('access') ? 'es' : 's')}`).join('; ');
    out.push(say(`Trace and log pair ${pairing.pairs} of ${a.accesses.length} accesses with ${a.log!.requests.length} requests, one to one, in order, with equal data${rest === '' ? '' : `; unpaired: ${rest}`}.`, 'proven', []));
  }
  if (clock !== undefined) {
    const drift = (clock.rate - 1) * 1e6;
    const hint = a.cpuHz === undefined ? undefined : tscHzHint(clock, a.cpuHz);
    out.push(say(`The log's clock is laid over the trace's by ${clock.pairsUsed} pairs: trace time ${(clock.centreNs / 1e9).toFixed(6)} s is ${(clock.offsetUs / 1e6).toFixed(6)} ±${(clock.errorUs / 1e6).toFixed(6)}, drift ${drift.toFixed(1)}${Number.isNaN(clock.rateError) ? '' : ` ±${(clock.rateError * 1e6).toFixed(1)}`} ppm${hint === undefined ? '' : ` (the TSC frequency was told wrong: --cpu-hz ${Math.round(hint)} fits)`}${clock.consistent ? '' : '; the pairs contradict each other, so the error is that of a median'}${clock.outliers.length > 0 ? `; ${clock.outliers.length} pairs contradict the rest and were left out` : ''}.`, clock.consistent ? 'strong' : 'inferred', []));
  }
  for (const lost of a.lost.slice(0, 3)) out.push(say(`${lost.count} records of pCPU ${lost.pcpu} were lost${lost.untilNs > lost.timeNs ? ` from ${(lost.timeNs / 1e9).toFixed(6)} to ${(lost.untilNs / 1e9).toFixed(6)} s` : ` before ${(lost.untilNs / 1e9).toFixed(6)} s`}.`, 'proven', [lost.ref]));
  if (a.lost.length > 3) out.push(say(`${a.lost.length - 3} more losses follow.`, 'proven', [a.lost[a.lost.length - 1]!.ref]));
  if (a.captureDamage !== undefined) out.push(say(`The capture is damaged: ${a.captureDamage}; frames before it were used.`, 'proven', []));
  return out;
}

/** A frame that came in: DMA into the receive ring after its capture, the interrupt, the guest's read of IntrStatus. */
function receiveStory(a: Analysis, frame: CapturedFrame, sent: readonly Transmission[]): Story {
  const source = a.log?.source;
  const wall = a.clock === undefined ? undefined : wallToTraceNs(a.clock, frame.timeUs);
  const t: Teller = { a, hops: [], zeroNs: wall ?? (a.accesses.length === 0 ? frame.timeUs * 1000 : undefined), clock: a.clockKind.value };
  const at = wallTime(t, frame.timeUs);
  hopAt(t, at.timeNs, 'wire', `carries frame ${frame.number}: ${describeFrame(frame.data)}, ${frame.wireLength} bytes.`, 'proven', [pcapFrame(frame.number)], at.errorNs);
  const claimed = new Set(sent.flatMap((x) => x.doorbellDma.map((d) => d.line)));
  const next = a.frames.find((f) => f.timeUs > frame.timeUs)?.timeUs ?? Infinity;
  // A tap may write its block when the frame is already delivered.
  const since = Math.max(Math.floor(frame.timeUs) - TAP_DELAY_US, a.frames.findLast((f) => f.timeUs < frame.timeUs)?.timeUs ?? 0);
  const behind = (a.log === undefined ? [] : [...a.log.early.dma, ...a.log.requests.flatMap((r) => r.dma)])
    .filter((d) => d.timeUs !== undefined && d.timeUs >= since && d.timeUs < Math.min(next, frame.timeUs + RECEIVE_WINDOW_US) && !claimed.has(d.line));
  const window = windowInUse(a);
  const mode = window === undefined ? undefined : driverMode(window, a.accesses, a.log).value;
  const ring = window === undefined || mode === undefined ? unknown<number>('no device is known') : receiveRing(a, window, mode, wall);
  const groups = mode === 'C+' && ring.value !== undefined ? descriptorGroups(behind, ring.value) : [];
  const group = groups.find((g) => g.buffers.length > 0);
  if (group !== undefined && ring.value !== undefined) {
    const from = wallTime(t, group.all[0]!.timeUs);
    hopAt(t, from.timeNs, 'device model', `looks at receive descriptor ${(group.at - ring.value) / 16}, guest-physical ${hex(group.at)}.`, 'strong', [logLine(group.all[0]!.line, source), ...ring.refs], from.errorNs);
    const into = wallTime(t, group.buffers[0]!.timeUs);
    hopAt(t, into.timeNs, 'device model', `writes the frame to guest-physical ${hex(group.buffers[0]!.gpa)}, the next address it asked its map cache for.`, 'inferred', [logLine(group.buffers[0]!.line, source)], into.errorNs);
  } else if (behind.length > 0) {
    const from = wallTime(t, behind[0]!.timeUs);
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
