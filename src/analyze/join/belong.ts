import type { DmRequest } from '../sources/dm-lines.ts';
import type { DmLog } from '../sources/dm-log.ts';
import { wallToTraceNs, type ClockAlignment } from './clock.ts';
import { consoleWindows, contradicted } from './devices.ts';
import type { IoAccess } from './io.ts';
import type { Pairing } from './pair.ts';

/** Of the accesses between the first pair and the last, at addresses that the log knows, so many must pair. */
const LEAST_SHARE = 0.8;
/** Pairs by chance: two runs of one guest share what every boot does. Fewer accesses than this are not judged by their share. */
const FEW = 8;

/**
 * Why a log is not of the same run as a trace; undefined where nothing speaks against it. Two runs share much of what a guest
 * does, so that many accesses pair: but not the times between, and not all of them.
 */
export function belonging(
  accesses: readonly IoAccess[],
  pairing: Pairing,
  log: DmLog,
  clock: ClockAlignment | undefined,
): string | undefined {
  if (pairing.pairs === 0) return 'none of its requests pairs with an access';
  if (clock !== undefined && !clock.consistent)
    return `by ${clock.pairsUsed} pairs of equal accesses the two clocks contradict each other by up to ${(clock.errorUs / 1000).toFixed(1)} ms`;
  if (clock?.by === 'log header' && clock.errorUs === 0) {
    const odd = contradiction(accesses, pairing, clock);
    if (odd !== undefined) return odd;
  }
  let first = -1;
  let last = -1;
  let paired = 0;
  accesses.forEach((_, i) => {
    if (pairing.requestOf[i] === undefined) return;
    if (first < 0) first = i;
    last = i;
    paired++;
  });
  const logged = new Set(log.requests.map((r) => `${r.request.type === 0 ? 'pio' : 'mmio'} ${r.request.addr}`));
  let known = 0;
  for (let i = first; i <= last; i++) {
    const a = accesses[i]!;
    if (a.lost === undefined && a.data !== undefined && logged.has(`${a.space} ${a.addr}`)) known++;
  }
  if (known >= FEW && paired < known * LEAST_SHARE)
    return `only ${paired} of ${known} accesses at addresses that it holds pair with its requests`;
  const strange = clock === undefined || accesses.length === 0 ? 0 : strangers(accesses, pairing, clock);
  if (paired + strange >= FEW && paired < (paired + strange) * LEAST_SHARE)
    return `only ${paired} of ${paired + strange} requests that fall into the trace's time pair with its accesses`;
  return undefined;
}

/**
 * An access and a request of one moment and one address that differ, where both clocks are one and exact: two runs that did the
 * same up to there, and from there on.
 */
function contradiction(accesses: readonly IoAccess[], pairing: Pairing, clock: ClockAlignment): string | undefined {
  const strange = new Map<number, { readonly request: DmRequest; readonly ns: number }[]>();
  for (const { request, reason } of pairing.unpairedRequests) {
    const { addr, timeUs } = request.request;
    if (timeUs === undefined || !OWN_FAULT.has(reason)) continue;
    const at = strange.get(addr) ?? [];
    at.push({ request, ns: wallToTraceNs(clock, timeUs) });
    strange.set(addr, at);
  }
  if (strange.size === 0) return undefined;
  for (let i = 0; i < accesses.length; i++) {
    const { addr, data, lost, marks } = accesses[i]!;
    const { exit, entry } = marks;
    if (pairing.requestOf[i] !== undefined || lost !== undefined || data === undefined || !exit || !entry) continue;
    const other = strange.get(addr)?.find(({ ns }) => exit.timeNs <= ns && ns <= entry.timeNs)?.request;
    if (other !== undefined && other.data !== undefined && other.data !== data)
      return `at line ${other.request.line} it has data 0x${other.data.toString(16)} for the very access that has 0x${data.toString(16)} in the trace`;
  }
  return undefined;
}

/** Requests that should be in the trace, by the clocks, and are not. */
function strangers(accesses: readonly IoAccess[], pairing: Pairing, clock: ClockAlignment): number {
  const errorNs = clock.errorUs * 1000;
  const from = accesses[0]!.record.timeNs + errorNs;
  const until = accesses.at(-1)!.record.timeNs - errorNs;
  return pairing.unpairedRequests.filter(({ request, reason }) => {
    const { timeUs } = request.request;
    if (timeUs === undefined || !OWN_FAULT.has(reason)) return false;
    const at = wallToTraceNs(clock, timeUs);
    return at > from && at < until;
  }).length;
}

/** Reasons for a request without an access that lost records and hypervisors do not explain. */
const OWN_FAULT: ReadonlySet<string> = new Set([
  'before the trace began',
  'after the trace ended',
  'no access with equal address, direction and data in this order',
]);

const THR = 0x3f8;
const LCR = 0x3fb;
const LCR_DLAB = 0x80n;
/** Lines of a console shorter than this stand in every console. */
const TELLING = 12;
/** So many lines must be comparable before a console is judged by them. */
const LINES = 3;
/** A console of the same run holds all but what a loss cut. */
const LINES_SHARE = 0.8;

/** Lines that a guest sent through its first serial port, as the trace holds them, or else its device model's log. */
function serialLines(accesses: readonly IoAccess[], log: DmLog | undefined): string[] {
  let text = '';
  let divisor = false;
  const take = (dir: string | undefined, port: number, data: bigint | undefined): void => {
    if (dir !== 'write' || data === undefined) return;
    if (port === LCR) divisor = (data & LCR_DLAB) !== 0n;
    else if (port === THR && !divisor) text += String.fromCharCode(Number(data & 0xffn));
  };
  if (accesses.length > 0) {
    for (const a of accesses) {
      // What is missing would make one line of two.
      if (a.lossBefore) text += '\n';
      if (a.space === 'pio') take(a.dir, a.addr, a.data);
    }
  } else for (const r of log?.requests ?? []) if (r.request.type === 0) take(r.dir, r.request.addr, r.data);
  // The first and the last may be cut.
  return text
    .split(/[\r\n]+/)
    .slice(1, -1)
    .filter((line) => line.length >= TELLING);
}

/** Why a console does not fit a guest; undefined where nothing speaks against it. */
export function consoleBelongs(
  lines: readonly string[],
  accesses: readonly IoAccess[],
  log: DmLog | undefined,
): string | undefined {
  const sent = serialLines(accesses, log);
  if (sent.length >= LINES) {
    const text = lines.join('\n');
    const found = sent.filter((line) => text.includes(line)).length;
    if (found < sent.length * LINES_SHARE)
      return `it holds ${found} of ${sent.length} lines that the guest sent through its serial port`;
  }
  for (const w of consoleWindows(lines)) {
    const place = `0x${w.base.toString(16)}`;
    if (contradicted(w, [], log)) return `it puts the ${w.chip.title} at ${place}, where the log has another device`;
    const own = accesses.filter((a) => a.space === w.space && a.addr >= w.base && a.addr < w.base + w.block.size);
    const known = own.filter((a) => w.chip.registerAt(w.block, a.addr - w.base, undefined) !== undefined);
    if (own.length >= FEW && known.length < own.length * LEAST_SHARE)
      return `it puts the ${w.chip.title} at ${place}, and ${own.length - known.length} of ${own.length} accesses there touch no register of it`;
  }
  return undefined;
}
