import { wallToTraceNs } from '../join/clock.ts';
import type { Analysis } from '../join/analysis.ts';
import type { DeviceWindow } from '../join/devices.ts';
import type { DmRequest } from '../sources/dm-lines.ts';
import { describeFrame } from '../sources/ethernet.ts';
import { logLine, type Ref, type Strength } from '../sources/evidence.ts';
import { Hypercall } from '../sources/events.ts';
import { CALLBACK_VECTOR, injectionAfter, interruptVector } from '../join/interrupt.ts';
import type { IoAccess } from '../join/io.ts';
import { intrStatusRead, registerText, type Transmission } from '../join/packet.ts';
import { p2mTypeName, stagesOf } from '../join/route.ts';
import { hex, us, vcpuName, type Hop } from './story-model.ts';

/** Collects the steps of a way, with times from its beginning. */
export interface Teller {
  readonly a: Analysis;
  readonly hops: Hop[];
  readonly zeroNs: number | undefined;
  readonly clock: 'measured' | 'modelled' | undefined;
}

/** Adds a step. */
export function hopAt(
  t: Teller,
  timeNs: number | undefined,
  where: string,
  text: string,
  strength: Strength,
  refs: readonly Ref[],
  errorNs = 0,
): void {
  t.hops.push({
    where,
    text,
    strength,
    refs,
    errorNs: timeNs === undefined ? 0 : errorNs,
    atNs: timeNs === undefined || t.zeroNs === undefined ? undefined : timeNs - t.zeroNs,
    clock: timeNs === undefined ? undefined : t.clock,
  });
}

/** A moment of the trace's time, known up to `errorNs` either way. */
interface Moment {
  readonly timeNs: number | undefined;
  readonly errorNs: number;
}

/** Time of a log or capture without a trace: nanoseconds from its own first moment, for a double does not hold those since 1970. */
export function fileTimeNs(a: Analysis, timeUs: number): number {
  const zeroUs = a.log?.requests[0]?.request.timeUs ?? a.frames[0]?.timeUs ?? 0;
  return (timeUs - zeroUs) * 1000;
}

/** Trace time of a wall-clock time; the file's own time where there is no trace to lay it over. */
function wallTime(t: Teller, timeUs: number | undefined, errorUs: number): Moment {
  if (timeUs === undefined) return { timeNs: undefined, errorNs: 0 };
  const { clock, accesses } = t.a;
  if (clock !== undefined) return { timeNs: wallToTraceNs(clock, timeUs), errorNs: errorUs * 1000 };
  return { timeNs: accesses.length === 0 ? fileTimeNs(t.a, timeUs) : undefined, errorNs: 0 };
}

/** A double holds microseconds since 1970 to a quarter. */
const FRACTION_US = 0.125;

/** Trace time of a captured frame, with its error. */
export function frameTime(t: Teller, timeUs: number | undefined): Moment {
  const { clock } = t.a;
  const exact = clock?.by === 'log header' && clock.errorUs <= 0.5 && timeUs !== undefined && !Number.isInteger(timeUs);
  return wallTime(t, timeUs, exact ? FRACTION_US : (clock?.errorUs ?? 0));
}

/** Trace time of a log line, with its error. */
export function lineTime(t: Teller, timeUs: number | undefined): Moment {
  const { clock } = t.a;
  return wallTime(t, timeUs === undefined ? undefined : timeUs + (clock?.lineUs ?? 0), clock?.errorUs ?? 0);
}

/**
 * Trace time of what the device model did while an access waited: what the two clocks leave open, less what lies
 * before the device model ran, before the step told last, or after the answer.
 */
function servedTime(t: Teller, { timeNs, errorNs }: Moment, access: IoAccess | undefined): Moment {
  if (timeNs === undefined || access === undefined || access.lost !== undefined) return { timeNs, errorNs };
  const { exit, notified, modelRuns, woken, entry } = access.marks;
  const last = t.hops.at(-1);
  const told = last?.where === 'device model' || last?.where === 'wire' ? last : undefined;
  const from = Math.max(
    timeNs - errorNs,
    (modelRuns ?? notified ?? exit)?.timeNs ?? -Infinity,
    told?.atNs === undefined ? -Infinity : told.atNs - told.errorNs + t.zeroNs!,
  );
  const until = Math.min(timeNs + errorNs, (woken ?? entry)?.timeNs ?? Infinity);
  return from <= until ? { timeNs: (from + until) / 2, errorNs: (until - from) / 2 } : { timeNs, errorNs };
}

/** One hop with those behind it that have no time: their place is its own. */
interface Timed {
  readonly hops: Hop[];
  readonly place: number;
  /** Bounds of its time; without one of its own, of any. */
  readonly from: number;
  readonly until: number;
}

/**
 * Puts hops in the order of their times. Hops that the trace times itself and hops timed by the log's clock each keep to
 * their own order; where the error leaves open which of two comes first, cause comes before effect: as they were added.
 */
export function inTimeOrder(hops: Hop[]): void {
  const own: Timed[] = [];
  const aligned: Timed[] = [];
  let last: Timed | undefined;
  hops.forEach((hop, place) => {
    if (hop.atNs === undefined && last !== undefined) {
      last.hops.push(hop);
      return;
    }
    last = { hops: [hop], place, from: (hop.atNs ?? -Infinity) - hop.errorNs, until: (hop.atNs ?? -Infinity) + hop.errorNs };
    (hop.errorNs === 0 ? own : aligned).push(last);
  });
  own.sort((p, q) => p.from - q.from || p.place - q.place);
  const ordered: Hop[] = [];
  while (own.length > 0 || aligned.length > 0) {
    const [p] = own;
    const [q] = aligned;
    const ownFirst = q === undefined || (p !== undefined && (p.until < q.from || (p.from <= q.until && p.place < q.place)));
    ordered.push(...(ownFirst ? own : aligned).shift()!.hops);
  }
  hops.splice(0, hops.length, ...ordered);
}

/** Where a device model runs: dom0, or a stub domain. */
const placeOf = (model: { readonly dom: number; readonly vcpu: number }): string =>
  `${model.dom === 0 ? 'dom0' : 'stub domain'} ${vcpuName(model)}`;

/** The hops of one register write, from exit to entry, with the log's side of it. */
export function accessHops(
  t: Teller,
  access: IoAccess,
  request: DmRequest | undefined,
  window: DeviceWindow | undefined,
  mode: string,
): void {
  exitHops(t, access, window, request?.request.size, mode);
  requestHop(t, access, request);
  answerHops(t, access);
}

function exitHops(t: Teller, access: IoAccess, window: DeviceWindow | undefined, width: number | undefined, mode: string): void {
  const who = `guest ${vcpuName(access)}`;
  const { marks } = access;
  if (marks.exit !== undefined) {
    hopAt(t, marks.exit.timeNs, who, `leaves the guest at rip ${hex(access.rip ?? 0n)}: ${access.exitReason}.`, 'proven', [
      marks.exit.ref,
    ]);
  }
  const name = window === undefined ? 'an unknown register' : registerText(window, access.addr, width, access.data, mode);
  const doing = access.dir === 'write' ? `writes ${hex(access.data ?? 0n)} to` : `reads ${hex(access.data ?? 0n)} from`;
  const { npf } = access;
  // The NPF record has no TSC of its own and stands behind the notification: told where it belongs, at the exit.
  const p2m =
    npf === undefined
      ? ''
      : ` The p2m has type ${p2mTypeName(npf.p2mType)} (${npf.p2mType}) there and ${npf.mfn === undefined ? 'no machine frame' : `machine frame ${hex(npf.mfn)}`}${npf.mfn === undefined && npf.p2mType === 4 ? ': the access is for a device model' : ''}.`;
  hopAt(
    t,
    access.record.timeNs,
    'Xen',
    `finds that it ${doing} ${access.space === 'mmio' ? 'guest-physical' : 'port'} ${hex(access.addr)}: ${name}.${p2m}`,
    window === undefined ? 'unknown' : 'proven',
    [access.record.ref, ...(npf ? [npf.ref] : []), ...(window?.found.refs ?? [])],
  );
  if (marks.notified !== undefined && marks.model !== undefined) {
    hopAt(
      t,
      marks.notified.timeNs,
      'Xen',
      `notifies the device model's event channel: ${vcpuName(marks.model)} blocked→runnable.`,
      'strong',
      [marks.notified.ref],
    );
  }
  if (marks.blocked !== undefined) hopAt(t, marks.blocked.timeNs, who, 'waits: running→offline.', 'proven', [marks.blocked.ref]);
  if (marks.modelRuns !== undefined && marks.model !== undefined) {
    hopAt(t, marks.modelRuns.timeNs, placeOf(marks.model), 'runs.', 'proven', [marks.modelRuns.ref]);
  }
  if (access.lost !== undefined) {
    hopAt(
      t,
      access.lost.timeNs,
      'Xen',
      `${access.lost.count} records of pCPU ${access.lost.pcpu} are lost${access.lost.untilNs > access.lost.timeNs ? ` from here on, for ${us(access.lost.untilNs - access.lost.timeNs)}` : ' here'}: what is missing below is unknown.`,
      'unknown',
      [access.lost.ref],
    );
  }
}

function requestHop(t: Teller, access: IoAccess | undefined, request: DmRequest | undefined): void {
  const { log } = t.a;
  if (request === undefined) {
    if (log !== undefined && access !== undefined) {
      hopAt(t, undefined, 'device model', 'has no log line that pairs with this access: what it did is unknown.', 'unknown', [
        access.record.ref,
      ]);
    }
    return;
  }
  const r = request.request;
  const { timeNs, errorNs } = servedTime(t, lineTime(t, r.timeUs), access);
  const kind = r.type === 0 ? 'port I/O' : r.type === 1 ? 'COPY (memory)' : `type ${r.type}`;
  const handler = request.region !== undefined ? `, served by its ${request.region.name} handler` : '';
  hopAt(
    t,
    timeNs,
    'device model',
    `takes the request: ${kind}, ${r.size} byte${r.size === 1 ? '' : 's'}, address ${hex(r.addr)}, data ${hex(request.data ?? r.data)}${handler}.`,
    'proven',
    [logLine(r.line, log?.source), ...(request.region ? [logLine(request.region.line, log?.source)] : [])],
    errorNs,
  );
}

function answerHops(t: Teller, access: IoAccess): void {
  const who = `guest ${vcpuName(access)}`;
  const { marks } = access;
  if (marks.woken !== undefined) {
    hopAt(
      t,
      marks.woken.timeNs,
      marks.model ? placeOf(marks.model) : 'dom0',
      `has the answer ready and notifies: ${vcpuName(access)} offline→runnable.`,
      marks.model ? 'strong' : 'inferred',
      [marks.woken.ref],
    );
  }
  if (marks.resumed !== undefined)
    hopAt(t, marks.resumed.timeNs, who, 'is scheduled again: runnable→running.', 'proven', [marks.resumed.ref]);
  if (marks.entry !== undefined) {
    const { total } = stagesOf(access);
    hopAt(
      t,
      marks.entry.timeNs,
      who,
      `enters the guest again${total === undefined ? '' : `, ${us(total)} after it left`}.`,
      'proven',
      [marks.entry.ref],
    );
  } else if (access.unfinished !== undefined) {
    hopAt(
      t,
      undefined,
      who,
      `is not seen to enter the guest again: ${access.unfinished === 'trace ends' ? 'the excerpt or trace ends first' : access.unfinished}.`,
      'unknown',
      [access.record.ref],
    );
  }
}

/** The steps of a transmission, from the doorbell to the interrupt's end. */
export function doorbellHops(t: Teller, tx: Transmission): void {
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
      hopAt(
        t,
        undefined,
        'device model',
        `${tx.doorbell} is written with ${hex(tx.data ?? 0n)}: the chip logs it. Neither the exit nor the ioreq that carried it is in the files.`,
        'proven',
        [logLine(line.line, source)],
      );
    }
  }
  const d = tx.descriptor;
  const served = (moment: Moment): Moment =>
    tx.dmaStrength.value === 'while the guest waited' ? servedTime(t, moment, access) : moment;
  const dma = (gpa: number | undefined): Transmission['dma'][number] | undefined => tx.dma.find((x) => x.gpa === gpa);
  if (tx.mode === 'C+' && d.gpa.value !== undefined) {
    const at = dma(d.gpa.value);
    const { timeNs, errorNs } = served(lineTime(t, at?.timeUs));
    const words = d.words.value;
    hopAt(
      t,
      timeNs,
      'device model',
      `reads ${d.index.value === undefined ? 'a descriptor' : `descriptor ${d.index.value}`} at guest-physical ${hex(d.gpa.value)}${words === undefined ? '' : ` (${describeDescriptor(words)})`}${at?.pointer === undefined ? '' : `, mapped at ${hex(BigInt('0x' + at.pointer))} in its own memory`}.`,
      d.gpa.strength,
      [...d.gpa.refs, ...d.words.refs, ...(at ? [logLine(at.line, source)] : [])],
      errorNs,
    );
  }
  if (d.buffer.value !== undefined) {
    const at = dma(d.buffer.value);
    const { timeNs, errorNs } = served(lineTime(t, at?.timeUs));
    hopAt(
      t,
      timeNs,
      'device model',
      `fetches the frame${d.length.value === undefined ? '' : `, ${d.length.value} bytes,`} from guest-physical ${hex(d.buffer.value)}${at?.pointer === undefined ? '' : `, mapped at ${hex(BigInt('0x' + at.pointer))} in its own memory`}.`,
      d.buffer.strength,
      [...d.buffer.refs, ...d.length.refs],
      errorNs,
    );
  }
  const frame = tx.frame.value;
  if (frame !== undefined) {
    const { timeNs, errorNs } = frameTime(t, frame.timeUs);
    hopAt(
      t,
      timeNs,
      'wire',
      `carries frame ${frame.number}: ${describeFrame(frame.data)}, ${frame.wireLength} bytes.`,
      tx.frame.strength,
      tx.frame.refs,
      errorNs,
    );
  }
  interruptRaised(t, tx, served);
  if (access !== undefined) {
    answerHops(t, access);
    interruptTaken(t, tx, access);
  }
}

function describeDescriptor(words: readonly number[]): string {
  const flags = words[0]!;
  const names = [
    flags >>> 31 ? 'OWN' : '',
    (flags >>> 30) & 1 ? 'end of ring' : '',
    (flags >>> 29) & 1 ? 'first' : '',
    (flags >>> 28) & 1 ? 'last' : '',
  ].filter((n) => n !== '');
  return `${words.map((w) => w.toString(16).padStart(8, '0')).join(' ')}: ${names.length > 0 ? `${names.join(', ')}, ` : ''}${flags & 0x1fff} bytes`;
}

function interruptRaised(t: Teller, tx: Transmission, served: (moment: Moment) => Moment): void {
  const { log } = t.a;
  const line = tx.chip.find((c) => /^Set IRQ to 1/i.test(c.text));
  const m = line && /\(([0-9a-f]+) ([0-9a-f]+)\)/i.exec(line.text);
  if (line !== undefined) {
    const { timeNs, errorNs } = served(lineTime(t, line.timeUs));
    const names = m && tx.window ? registerText(tx.window, tx.window.base + 0x3e, 2, BigInt('0x' + m[1]!), tx.mode) : undefined;
    hopAt(
      t,
      timeNs,
      'device model',
      `raises the interrupt line${names ? `: ${names}, mask ${hex(parseInt(m![2]!, 16))}` : ''}.`,
      'proven',
      [logLine(line.line, log?.source)],
      errorNs,
    );
    return;
  }
  const calls = tx.access?.hypercalls.get(Hypercall.dmOp);
  if (calls !== undefined) {
    hopAt(
      t,
      calls.timeNs,
      'device model',
      `makes ${calls.count === 1 ? 'a dm_op hypercall' : `${calls.count} dm_op hypercalls`} while the guest waits: the way an interrupt level is set; the record does not hold which operation.`,
      'inferred',
      [calls.ref],
    );
  }
}

function interruptTaken(t: Teller, tx: Transmission, access: IoAccess): void {
  const { a } = t;
  if (tx.window === undefined) return;
  const vector = interruptVector(a, tx.window);
  const read = intrStatusRead(a, tx.window, access, 0x84);
  const inject = vector.value === undefined ? undefined : injectionAfter(a, access, read, vector.value);
  const readAt = read && (read.marks.exit ?? read.record).timeNs;
  if (inject !== undefined && vector.value !== undefined && (readAt === undefined || inject.timeNs <= readAt)) {
    hopAt(
      t,
      inject.timeNs,
      'Xen',
      `injects vector ${hex(vector.value)} into ${vcpuName(access)}${vector.value === CALLBACK_VECTOR ? ': the callback vector all event channels share, so that it is this interrupt is inferred from the IntrStatus read below' : `, the vector of this device (${vector.why})`}.`,
      vector.value === CALLBACK_VECTOR ? 'inferred' : 'strong',
      [inject.ref, ...vector.refs],
    );
  }
  if (read !== undefined) {
    const request = a.pairing?.requestOf[read.index];
    hopAt(
      t,
      read.record.timeNs,
      `guest ${vcpuName(read)}`,
      `has taken it: reads ${registerText(tx.window, read.addr, 2, read.data, tx.mode)} = ${hex(read.data!)}.`,
      'proven',
      [read.record.ref, ...(request ? [logLine(request.request.line, a.log?.source)] : [])],
    );
  }
}
