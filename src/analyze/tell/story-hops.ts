import { wallToTraceNs } from '../join/clock.ts';
import type { DeviceWindow } from '../join/devices.ts';
import type { Guest } from '../join/guest.ts';
import { CALLBACK_VECTOR, causeRead, injectionAfter, interruptVector } from '../join/interrupt.ts';
import type { IoAccess } from '../join/io.ts';
import { p2mTypeName, routeOf, stagesOf } from '../join/route.ts';
import type { Transmission } from '../join/transmit.ts';
import type { DmRequest } from '../sources/dm-lines.ts';
import { describeFrame } from '../sources/ethernet.ts';
import { logLine, type Ref, type Strength } from '../sources/evidence.ts';
import { Hypercall } from '../sources/events.ts';
import { registerText } from './registers.ts';
import { hex, us, vcpuName, type Hop } from './story-model.ts';

/** Collects the steps of a way, with times from its beginning. */
export interface Teller {
  readonly a: Guest;
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

/** Time of a log or capture without a trace: nanoseconds from its own first moment. */
export function fileTimeNs(a: Guest, timeUs: number): number {
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

/** Trace time of a captured frame, with its error. */
export function frameTime(t: Teller, frame: { readonly timeUs: number; readonly resolutionUs: number } | undefined): Moment {
  if (frame === undefined) return { timeNs: undefined, errorNs: 0 };
  const { clock, capture } = t.a;
  const cut = frame.resolutionUs <= EXACT_US ? 0 : frame.resolutionUs / 2;
  const errorUs = (clock?.errorUs ?? 0) + cut + capture.offsetErrorUs;
  return wallTime(t, frame.timeUs + (clock?.by === 'log header' ? cut : 0) - (capture.offset.value ?? 0), errorUs);
}

/** Stamps this fine hold every nanosecond. */
const EXACT_US = 0.001;

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

/**
 * Puts hops in the order of their times; a hop without a time stays behind the one it was told after. Where two times are equal,
 * cause comes before effect: as they were added.
 */
export function inTimeOrder(hops: Hop[]): void {
  const groups: Hop[][] = [];
  for (const hop of hops) {
    const last = groups.at(-1);
    if (hop.atNs === undefined && last !== undefined) last.push(hop);
    else groups.push([hop]);
  }
  groups.sort((p, q) => (p[0]!.atNs ?? -Infinity) - (q[0]!.atNs ?? -Infinity));
  hops.splice(0, hops.length, ...groups.flat());
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
  mode: string | undefined,
): void {
  exitHops(t, access, request, window, mode);
  requestHop(t, access, request);
  answerHops(t, access);
}

function exitHops(
  t: Teller,
  access: IoAccess,
  request: DmRequest | undefined,
  window: DeviceWindow | undefined,
  mode: string | undefined,
): void {
  const who = `guest ${vcpuName(access)}`;
  const { marks } = access;
  if (marks.exit !== undefined) {
    hopAt(t, marks.exit.timeNs, who, `leaves the guest at rip ${hex(access.rip ?? 0n)}: ${access.exitReason}.`, 'proven', [
      marks.exit.ref,
    ]);
  }
  const name = registerText(t.a, access, request, window, mode);
  const value = access.data ?? request?.data;
  const doing =
    access.dir === 'write'
      ? `writes ${value === undefined ? 'a value that no file shows' : hex(value)} to`
      : `reads ${value === undefined ? 'a value that no file shows' : hex(value)} from`;
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
    'proven',
    [access.record.ref, ...(npf ? [npf.ref] : []), ...(window?.found.refs ?? [])],
  );
  slotHop(t, access, request);
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
      `${access.lost.count} records of pCPU ${access.lost.pcpu} are lost${access.lost.untilNs > access.lost.timeNs ? ` from here on, for ${us(access.lost.untilNs - access.lost.timeNs)}` : ' here'}: the missing part below is unknown.`,
      'unknown',
      [access.lost.ref],
    );
  }
}

/** Whether an access went through the synchronous page, and how sure that is. */
const synchronous = (a: Guest, access: IoAccess): Strength | undefined => {
  const route = routeOf(access, a.pairing?.requestOf[access.index], a.log, a.pairing?.reasonOf(access));
  return route.value === 'synchronous ioreq' ? (route.strength === 'proven' ? 'strong' : route.strength) : undefined;
};

/** Xen's slot: one a vCPU, in the order of their numbers (public/hvm/ioreq.h, shared_iopage). */
function slotHop(t: Teller, access: IoAccess, request: DmRequest | undefined): void {
  const strength = synchronous(t.a, access);
  if (strength === undefined) return;
  const server = t.a.log?.servers.find((x) => x.vcpu === access.vcpu);
  const where =
    server === undefined
      ? "the page's machine frame and the port's number stand in no file"
      : `the page is machine frame ${hex(server.mfn)}, the port is number ${server.port} of the device model's domain`;
  hopAt(
    t,
    undefined,
    'Xen',
    `fills slot ${access.vcpu} of the synchronous ioreq page, which is that of vCPU ${access.vcpu}, and sets its state to STATE_IOREQ_READY: ${where}.`,
    strength,
    [
      access.record.ref,
      ...(request ? [logLine(request.request.line, t.a.log?.source)] : []),
      ...(server ? [logLine(server.line, t.a.log?.source)] : []),
    ],
  );
}

function requestHop(t: Teller, access: IoAccess | undefined, request: DmRequest | undefined): void {
  const { log } = t.a;
  if (request === undefined) {
    if (log !== undefined && access !== undefined) {
      hopAt(t, undefined, 'device model', 'has no log line that pairs with this access: its work is unknown.', 'unknown', [
        access.record.ref,
      ]);
    }
    return;
  }
  const r = request.request;
  const { timeNs, errorNs } = servedTime(t, lineTime(t, r.timeUs), access);
  const kind = r.type === 0 ? 'port I/O' : r.type === 1 ? 'COPY (memory)' : `type ${r.type}`;
  const strength = access === undefined ? undefined : synchronous(t.a, access);
  const taken =
    strength === undefined
      ? 'takes the request'
      : `takes the request out of slot ${access!.vcpu} (STATE_IOREQ_READY → STATE_IOREQ_INPROCESS)`;
  const handler = request.region !== undefined ? `, served by its ${request.region.name} handler` : '';
  hopAt(
    t,
    timeNs,
    'device model',
    `${taken}: ${kind}, ${r.count > 1 ? `${r.count} times ` : ''}${r.size} byte${r.size === 1 ? '' : 's'}, address ${hex(r.addr)}, data ${r.dataIsPtr ? `at guest-physical ${hex(r.data)}` : hex(request.data ?? r.data)}${handler}.`,
    strength ?? 'proven',
    [logLine(r.line, log?.source), ...(request.region ? [logLine(request.region.line, log?.source)] : [])],
    errorNs,
  );
}

function answerHops(t: Teller, access: IoAccess): void {
  const who = `guest ${vcpuName(access)}`;
  const { marks } = access;
  const strength = synchronous(t.a, access);
  if (marks.woken !== undefined) {
    hopAt(
      t,
      marks.woken.timeNs,
      marks.model ? placeOf(marks.model) : 'dom0',
      strength === undefined
        ? `has the answer ready and wakes the guest's vCPU: ${vcpuName(access)} offline→runnable.`
        : `has the answer in slot ${access.vcpu} (STATE_IORESP_READY) and wakes the guest's vCPU by its event channel port: ${vcpuName(access)} offline→runnable.`,
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
    exitHops(t, access, request, tx.window, tx.mode.value);
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
  if (tx.kind === 'inferred') touchedHop(t, tx, served);
  if (tx.kind === 'ring' && d.gpa.value !== undefined) {
    const at = dma(d.gpa.value);
    const { timeNs, errorNs } = served(lineTime(t, at?.timeUs));
    const words = d.words.value;
    hopAt(
      t,
      timeNs,
      'device model',
      `reads ${d.index.value === undefined ? 'a descriptor' : `descriptor ${d.index.value}`} at guest-physical ${hex(d.gpa.value)}${words === undefined ? '' : ` (${describeDescriptor(tx, words)})`}${at?.pointer === undefined ? '' : `, mapped at ${hex(BigInt('0x' + at.pointer))} in its own memory`}.`,
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
    const { timeNs, errorNs } = frameTime(t, frame);
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

/** What the device model touched for a chip that is not known here. */
function touchedHop(t: Teller, tx: Transmission, served: (moment: Moment) => Moment): void {
  const first = tx.dma[0];
  if (first === undefined) return;
  const { timeNs, errorNs } = served(lineTime(t, first.timeUs));
  const all = tx.dma.slice(0, MOST_LISTED).map((d) => hex(d.gpa));
  hopAt(
    t,
    timeNs,
    'device model',
    `asks its map cache for guest-physical ${all.join(', ')}${tx.dma.length > MOST_LISTED ? ` and ${tx.dma.length - MOST_LISTED} more` : ''}: ${tx.window === undefined ? 'descriptors and buffers of a chip that is not known here' : 'descriptors and buffers of rings that no file shows'}.`,
    'proven',
    [logLine(first.line, t.a.log?.source), logLine(tx.dma.at(-1)!.line, t.a.log?.source)],
    errorNs,
  );
}

const MOST_LISTED = 6;

function describeDescriptor(tx: Transmission, words: readonly number[]): string {
  const text = tx.window?.chip.descriptor('transmit', words, tx.mode.value).text;
  return `${words.map((w) => w.toString(16).padStart(8, '0')).join(' ')}${text === undefined ? '' : `: ${text}`}`;
}

function interruptRaised(t: Teller, tx: Transmission, served: (moment: Moment) => Moment): void {
  const { log } = t.a;
  const chip = tx.window?.chip;
  const line = tx.chip.find((c) => chip?.lines?.raised(c.text) !== undefined);
  if (line !== undefined && chip?.lines !== undefined) {
    const { timeNs, errorNs } = served(lineTime(t, line.timeUs));
    const { status, mask } = chip.lines.raised(line.text)!;
    hopAt(
      t,
      timeNs,
      'device model',
      `raises the interrupt line: ${chip.causeText(status)}, mask ${hex(mask)}.`,
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
  const found = causeRead(a, tx.window, access, 'transmitted');
  const read = found?.access;
  const inject = vector.value === undefined ? undefined : injectionAfter(a, access, read, vector.value);
  const readAt = read && (read.marks.exit ?? read.record).timeNs;
  if (inject !== undefined && vector.value !== undefined && (readAt === undefined || inject.timeNs <= readAt)) {
    hopAt(
      t,
      inject.timeNs,
      'Xen',
      `injects vector ${hex(vector.value)} into ${vcpuName(access)}${vector.value === CALLBACK_VECTOR ? ': the callback vector that all event channels share, so that it is this interrupt is inferred from the read of the interrupt cause below' : `, taken for the vector of this device: ${vector.why}`}.`,
      'inferred',
      [inject.ref, ...vector.refs],
    );
  }
  if (found !== undefined && read !== undefined) {
    const request = a.pairing?.requestOf[read.index];
    const text = registerText(a, read, request, tx.window, tx.mode.value);
    // Behind an index register only the story of the driver knows which register it was.
    const cause = text.includes(found!.register) ? text : tx.window.chip.causeText(Number(BigInt.asUintN(32, read.data!)));
    hopAt(
      t,
      read.record.timeNs,
      `guest ${vcpuName(read)}`,
      `reads ${cause} = ${hex(read.data!)}: the next read of the interrupt cause that says that a frame has left.`,
      'proven',
      [read.record.ref, ...(request ? [logLine(request.request.line, a.log?.source)] : [])],
    );
  }
}
