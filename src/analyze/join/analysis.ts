import { UserError } from '../../base/errors.ts';
import type { Trace } from '../../trace/index.ts';
import { parseDmLine } from '../sources/dm-lines.ts';
import { DmLogBuilder, readDmLog, type DmLog, type WallBase } from '../sources/dm-log.ts';
import { claim, logLine, optionRef, textLine, traceOffset, unknown, type Claim, type Ref } from '../sources/evidence.ts';
import type { TraceEvent } from '../sources/events.ts';
import { P2mTable } from '../sources/p2m-table.ts';
import { readCapture, type Capture } from '../sources/pcap.ts';
import { scanTrace } from '../sources/trace-events.ts';
import { entityNames } from '../sources/text-decode.ts';
import { TextLayer } from '../sources/text-layer.ts';
import { parseXenalyzeLine } from '../sources/xenalyze-text.ts';
import { AccessStore } from './access-store.ts';
import { belonging, consoleBelongs } from './belong.ts';
import { alignClocks, implausible, tscHzOf, type ClockAlignment } from './clock.ts';
import { findDevices, LoggedRegions } from './devices.ts';
import { driverStory } from './driver.ts';
import { joinCapture } from './frames.ts';
import type { Guest, Shared, TscRate } from './guest.ts';
import { IoBuilder, type IoAccess } from './io.ts';
import { pairRequests, type Pairing } from './pair.ts';
import { draftsOf } from './transmit.ts';

export type Lines = AsyncIterable<string> | Iterable<string>;

/** A file of one guest. */
export interface GuestFile {
  readonly lines: Lines;
  /** Name for messages. */
  readonly name: string;
  /** The guest it is of, where somebody said so: a domain's number, or a name to call it by. */
  readonly guest?: string | undefined;
}

/** What one analysis reads. At least one of `trace`, `text` and `dmLogs` must be there. */
export interface AnalysisInput {
  /** An xentrace file (openTrace). */
  readonly trace?: Trace | undefined;
  /** Lines of xenalyze's text, or of a mail that quotes it; device-model log lines between them are read too. */
  readonly text?: Lines | undefined;
  /** Lines of the device model's log, where there is one. */
  readonly dmLog?: Lines | undefined;
  /** Device models' logs, each of one guest. */
  readonly dmLogs?: readonly GuestFile[] | undefined;
  /** A pcap or pcapng file in memory. */
  readonly pcap?: Uint8Array | undefined;
  /** Lines of the guest's console. */
  readonly console?: Lines | undefined;
  /** Consoles, each of one guest. */
  readonly consoles?: readonly GuestFile[] | undefined;
  /** `rtl8139@0xf1000000`, or `2:rtl8139@0xf1000000` for one domain of several. */
  readonly devices?: readonly string[] | undefined;
  /** What the times are: a real machine's are measured, a virtual clock's are modelled. A log's own header wins. */
  readonly clock?: 'modelled' | 'measured' | undefined;
  /**
   * Guest-virtual address of a guest-physical one, where somebody knows it: the machine that wrote the files. No
   * record of Xen holds it.
   */
  readonly gvaOf?: ((gpa: number) => Claim<bigint>) | undefined;
  /** A trace without any access is no error: there are no guests then. */
  readonly mayHoldNone?: boolean | undefined;
  /** Called now and then while a trace is read, with about how many of its bytes are. */
  readonly progress?: ((bytes: number) => void) | undefined;
  /** Names for messages. */
  readonly names?: { readonly dmLog?: string; readonly pcap?: string; readonly text?: string } | undefined;
}

/** Everything the files give, joined: guest by guest. */
export interface Analysis extends Shared {
  /** In the order of their domains. */
  readonly guests: readonly Guest[];
}

/** A device-model log with what is known of whose it is. */
interface ReadLog {
  readonly log: DmLog;
  readonly name: string;
  readonly guest: string | undefined;
}

/** Accesses of a whole trace, by domain. */
class Stores {
  readonly byDomain = new Map<number, AccessStore>();

  add(access: IoAccess): void {
    let store = this.byDomain.get(access.dom);
    if (store === undefined) this.byDomain.set(access.dom, (store = new AccessStore()));
    store.add(access);
  }

  get count(): number {
    let n = 0;
    for (const store of this.byDomain.values()) n += store.accesses.length;
    return n;
  }
}

/**
 * Reads all files and joins them. A trace streams; accesses, requests and frames are kept.
 * @throws UserError where an input is not what it should be
 */
export async function analyze(input: AnalysisInput): Promise<Analysis> {
  const given = [
    ...(input.dmLog === undefined ? [] : [{ lines: input.dmLog, name: input.names?.dmLog ?? 'device-model log' }]),
    ...(input.dmLogs ?? []),
  ];
  if (input.trace === undefined && input.text === undefined && given.length === 0) {
    throw new UserError('nothing to analyse: give an xentrace file, xenalyze text or a device-model log');
  }
  await entityNames;
  const base: WallBase = { seconds: undefined };
  const cutLines: Ref[] = [];
  const leftOut: string[] = [];
  const { builder, stores, p2m, hypercallRecords, inText } = await readTrace(input, base, cutLines, leftOut);
  const logs: ReadLog[] = inText === undefined ? [] : [{ log: inText, name: input.names?.text ?? 'the text', guest: undefined }];
  for (const file of given) {
    const { guest } = file as GuestFile;
    logs.push({
      log: await readDmLog(file.lines, file.name, base, (line) => void cutLines.push(logLine(line))),
      name: file.name,
      guest,
    });
  }
  if (input.mayHoldNone !== true && stores.count === 0 && logs.every((l) => l.log.requests.length === 0)) {
    throw new UserError(
      `${input.names?.text ?? input.trace?.source.name ?? 'the input'}: no I/O record and no request line found: expected an xentrace file with HVM events (xentrace -e all), xenalyze --dump-all text or a device-model log`,
    );
  }
  const capture = input.pcap === undefined ? undefined : readCapture(input.pcap, input.names?.pcap ?? 'capture', base);
  const consoles = [
    ...(input.console === undefined ? [] : [{ lines: await collect(input.console), name: 'console', guest: undefined }]),
    ...(await Promise.all(
      (input.consoles ?? []).map(async (c) => ({ lines: await collect(c.lines), name: c.name, guest: c.guest })),
    )),
  ];

  const joined = joinLogs(stores, logs, leftOut);
  const tscRate = settleRate(input, joined, stores, builder, p2m, consoles);
  for (const g of joined) {
    if (g.log === undefined || g.pairing === undefined) continue;
    g.clock = alignClocks(g.accesses, g.pairing, g.log.resolutionUs, declaredClock(input.trace, g.log, tscRate));
    const reason = stores.count === 0 || g.log.source === 'text' ? undefined : belonging(g.accesses, g.pairing, g.log, g.clock);
    if (reason === undefined) continue;
    leftOut.push(`${g.name} is left out: it is not of the same run as the trace (${reason})`);
    g.log = undefined;
    g.pairing = undefined;
    g.clock = undefined;
  }
  const shared: Shared = {
    frames: capture?.frames ?? [],
    p2m,
    lost: builder.lost,
    hypercallRecords,
    captureDamage: capture?.damage,
    cutLines,
    gvaOf: input.gvaOf ?? (() => unknown('no record of Xen holds a guest-virtual address of data')),
    tscRate,
    wallBase: base.seconds ?? 0,
    domains: [...stores.byDomain.keys()].sort((a, b) => a - b),
    leftOut,
  };
  if (capture !== undefined && capture.skipped.length > 0)
    leftOut.push(`frames of the capture that are not read: ${capture.skipped.join('; ')}`);
  const single = joined.length === 1;
  const guests = joined.map((g) => guestOf(g, shared, input, builder, capture, consoles, single, leftOut));
  settleCapture(guests, input.names?.pcap ?? 'the capture', leftOut);
  return { ...shared, guests };
}

async function readTrace(
  input: AnalysisInput,
  base: WallBase,
  cutLines: Ref[],
  leftOut: string[],
): Promise<{ builder: IoBuilder; stores: Stores; p2m: P2mTable; hypercallRecords: number; inText: DmLog | undefined }> {
  const builder = new IoBuilder();
  const stores = new Stores();
  const p2m = new P2mTable();
  let hypercallRecords = 0;
  const take = (event: TraceEvent): void => {
    if (event.kind === 'p2m') p2m.add(event);
    const done = builder.add(event);
    if (done !== undefined) for (const access of done) stores.add(access);
  };
  if (input.trace !== undefined) {
    await scanTrace(
      input.trace,
      {
        event: take,
        hypercall(dom, number, offset, timeNs) {
          hypercallRecords++;
          builder.hypercall(dom, number, offset, timeNs, traceOffset);
        },
      },
      input.progress,
    );
  }
  let inText: DmLog | undefined;
  if (input.text !== undefined) {
    const mixed = new DmLogBuilder('text', base);
    const layer = new TextLayer((text, line, cut, parsed) => {
      const event = parsed === undefined ? parseXenalyzeLine(text, line) : undefined;
      if (cut) cutLines.push(textLine(line));
      if (event?.kind === 'hypercall' && !event.hvm) hypercallRecords++;
      if (event !== undefined) take(event);
      else mixed.add(parsed ?? parseDmLine(text, line));
    });
    for await (const raw of input.text) layer.push(raw);
    layer.end();
    if (layer.repeated > 0)
      leftOut.push(`${layer.repeated} lines of the text repeat others, in another part of the mail or quoted: each is read once`);
    if (mixed.log.requests.length > 0) inText = mixed.log;
  }
  for (const access of builder.finish()) stores.add(access);
  return { builder, stores, p2m, hypercallRecords, inText };
}

/** A guest while its files are brought together. */
interface Joining {
  readonly dom: number | undefined;
  label: string | undefined;
  /** Name of its log. */
  name: string;
  readonly accesses: readonly IoAccess[];
  log: DmLog | undefined;
  pairing: Pairing | undefined;
  clock: ClockAlignment | undefined;
}

/** Gives each log to the domain whose accesses it pairs with most, or to the one that it was given for. */
function joinLogs(stores: Stores, logs: readonly ReadLog[], leftOut: string[]): Joining[] {
  const joined: Joining[] = [...stores.byDomain]
    .sort(([a], [b]) => a - b)
    .map(([dom, store]) => ({
      dom,
      label: undefined,
      name: '',
      accesses: store.accesses,
      log: undefined,
      pairing: undefined,
      clock: undefined,
    }));
  const give = (g: Joining, l: ReadLog, pairing: Pairing): void => {
    g.log = l.log;
    g.pairing = pairing;
    g.name = l.name;
    g.label = l.guest !== undefined && !/^\d+$/.test(l.guest) ? l.guest : undefined;
  };
  if (joined.length === 0) {
    // Logs alone: each tells of its own guest.
    return logs.map((l) => {
      const dom = l.guest !== undefined && /^\d+$/.test(l.guest) ? Number(l.guest) : undefined;
      const g: Joining = {
        dom,
        label: undefined,
        name: l.name,
        accesses: [],
        log: undefined,
        pairing: undefined,
        clock: undefined,
      };
      give(g, l, pairRequests([], l.log.requests));
      return g;
    });
  }
  const options: { g: Joining; l: ReadLog; pairing: Pairing }[] = [];
  for (const l of logs) {
    const number = l.guest !== undefined && /^\d+$/.test(l.guest) ? Number(l.guest) : undefined;
    const candidates = number === undefined ? joined : joined.filter((g) => g.dom === number);
    if (candidates.length === 0)
      throw new UserError(
        `--dm-log ${number}=…: the trace has no I/O of domain ${number}; it has domain${joined.length === 1 ? '' : 's'} ${joined.map((g) => g.dom).join(', ')}`,
      );
    for (const g of candidates) options.push({ g, l, pairing: pairRequests(g.accesses, l.log.requests) });
  }
  // The best pairing first; each domain has one device model's log, each log one domain.
  options.sort((a, b) => b.pairing.pairs - a.pairing.pairs);
  const placed = new Set<ReadLog>();
  for (const { g, l, pairing } of options) {
    // What one text quotes belongs together, even where nothing of it pairs.
    const together = l.log.source === 'text' && joined.length === 1;
    if (placed.has(l) || g.log !== undefined || (pairing.pairs === 0 && !together)) continue;
    placed.add(l);
    give(g, l, pairing);
  }
  for (const l of logs)
    if (!placed.has(l) && l.log.requests.length > 0)
      leftOut.push(
        `${l.name} is left out: none of its requests pairs with an access of the trace: it is of another run, or of another guest`,
      );
  return joined;
}

/** TSC rate that a kernel prints: `tsc: Detected 2596.090 MHz processor`. */
function consoleHz(consoles: readonly { readonly lines: readonly string[] }[]): number | undefined {
  for (const { lines } of consoles)
    for (const line of lines) {
      const mhz = /\btsc: (?:Detected|Refined TSC clocksource calibration:) (\d{2,5}\.\d{1,6}) MHz/.exec(line)?.[1];
      if (mhz !== undefined) return Math.round(Number(mhz) * 1e6);
    }
  return undefined;
}

/** Settles the TSC rate: where nobody told a plausible one and the files determine it, every time of the trace is made anew. */
function settleRate(
  input: AnalysisInput,
  joined: readonly Joining[],
  stores: Stores,
  builder: IoBuilder,
  p2m: P2mTable,
  consoles: readonly { readonly lines: readonly string[] }[],
): TscRate | undefined {
  const { trace } = input;
  if (trace === undefined) return undefined;
  const usedHz = trace.scale.hz;
  const told = trace.cpuHzTold;
  let best: { hz: number; errorHz: number; off: boolean } | undefined;
  for (const g of joined) {
    if (g.log === undefined || g.pairing === undefined) continue;
    if (told && declaredClock(trace, g.log, undefined) !== undefined && g.log.tsc!.hz === usedHz)
      return { hz: usedHz, by: 'log header', errorHz: undefined, insteadOf: undefined };
    const clock = alignClocks(g.accesses, g.pairing, g.log.resolutionUs);
    const found = clock === undefined ? undefined : tscHzOf(clock, usedHz);
    if (found !== undefined && (best === undefined || found.errorHz < best.errorHz))
      best = { ...found, off: implausible(clock!) };
  }
  const printed = consoleHz(consoles);
  const rescaled = (hz: number, by: 'pairs' | 'console', errorHz: number | undefined): TscRate => {
    const factor = usedHz / hz;
    for (const store of stores.byDomain.values()) store.rescale(factor);
    for (const lost of builder.lost) Object.assign(lost, { timeNs: lost.timeNs * factor, untilNs: lost.untilNs * factor });
    p2m.rescale(factor);
    return { hz, by, errorHz, insteadOf: usedHz };
  };
  if (best !== undefined && (!told || best.off)) {
    // A kernel's own figure, where the pairs agree with it, is finer.
    if (printed !== undefined && Math.abs(printed - best.hz) <= best.errorHz + printed * CLOCKS_DRIFT)
      return rescaled(printed, 'console', undefined);
    return rescaled(best.hz, 'pairs', best.errorHz);
  }
  if (told) return { hz: usedHz, by: 'told', errorHz: undefined, insteadOf: undefined };
  if (printed !== undefined) return rescaled(printed, 'console', undefined);
  return { hz: usedHz, by: 'assumed', errorHz: undefined, insteadOf: undefined };
}

/** Two clocks of one host drift apart by less. */
const CLOCKS_DRIFT = 1e-3;

/** What a log's header says of the clock of this very trace. A text has lost its TSCs. */
function declaredClock(
  trace: Trace | undefined,
  log: DmLog,
  rate: TscRate | undefined,
): { tsc: NonNullable<DmLog['tsc']>; modelled: boolean; trace: { zeroTsc: number; nsPerTick: number } } | undefined {
  if (trace === undefined || trace.firstTsc === 0 || log.tsc === undefined) return undefined;
  return {
    tsc: log.tsc,
    modelled: log.clock === 'modelled',
    trace: {
      zeroTsc: Number(trace.tscBase + BigInt(trace.firstTsc)),
      nsPerTick: 1e9 / (rate?.hz ?? trace.scale.hz),
    },
  };
}

interface ReadConsole {
  readonly lines: readonly string[];
  readonly name: string;
  readonly guest: string | undefined;
}

function guestOf(
  g: Joining,
  shared: Shared,
  input: AnalysisInput,
  builder: IoBuilder,
  capture: Capture | undefined,
  consoles: readonly ReadConsole[],
  single: boolean,
  leftOut: string[],
): Guest {
  const { accesses, log, pairing } = g;
  const mine = consoles.filter((c) => (c.guest === undefined ? single : c.guest === String(g.dom) || c.guest === g.label));
  const console: string[] = [];
  for (const c of mine) {
    const reason = consoleBelongs(c.lines, accesses, log);
    if (reason === undefined) console.push(...c.lines);
    else leftOut.push(`${c.name} is left out: it does not fit ${guestName(g)} (${reason})`);
  }
  const options = (input.devices ?? []).flatMap((option) => {
    const m = /^(\d+):(.*)$/.exec(option);
    if (m !== null) return Number(m[1]) === g.dom ? [m[2]!] : [];
    if (!single)
      throw new UserError(
        `--device ${option}: the trace has the domains ${shared.domains.join(', ')}: say which one's, for example --device ${shared.domains[0]}:${option}`,
      );
    return [option];
  });
  const windows = findDevices({ log, accesses, console, options });
  const sources = { accesses, log, pairing, windows, clock: g.clock };
  const driver = driverStory(sources);
  const regions = new LoggedRegions(log);
  const { join, transmissions } = joinCapture(
    {
      ...sources,
      modeOf: driver.modeOf,
      regions,
      frames: capture?.frames ?? [],
      console: console.length > 0 ? console : undefined,
    },
    draftsOf(sources, driver.bells),
  );
  return {
    ...shared,
    dom: g.dom,
    label: g.label,
    accesses,
    logName: log === undefined ? undefined : g.name,
    log,
    pairing,
    clock: g.clock,
    clockKind: clockKindOf(input, log),
    injections: (g.dom === undefined ? undefined : builder.injections.get(g.dom)) ?? new Map<number, number>(),
    windows,
    regions,
    driver,
    capture: join,
    transmissions,
  };
}

/** Says of a capture that fits no guest's doorbells that it is left out. */
function settleCapture(guests: readonly Guest[], name: string, leftOut: string[]): void {
  const reasons = guests.map((g) => g.capture.unrelated);
  const tried = guests.filter((g) => g.log !== undefined && g.frames.length > 0);
  if (tried.length > 0 && tried.every((g) => g.capture.unrelated !== undefined))
    leftOut.push(`${name} is left out: it is not of the same run as the log (${reasons.find((r) => r !== undefined)})`);
}

function clockKindOf(input: AnalysisInput, log: DmLog | undefined): Claim<'modelled' | 'measured'> {
  if (log?.clock !== undefined) return claim(log.clock, 'proven', "the log's header says so", [logLine(1, log.source)]);
  if (input.clock !== undefined) return claim(input.clock, 'proven', 'whoever gave the files said so', [optionRef]);
  return claim('measured', 'inferred', 'no file says that its clock is a modelled one', []);
}

const MAX_CONSOLE_LINES = 1_000_000;

async function collect(lines: Lines): Promise<string[]> {
  const all: string[] = [];
  for await (const line of lines) {
    if (all.length >= MAX_CONSOLE_LINES) break;
    all.push(line);
  }
  return all;
}

/** How a guest is called: `domain 2`, `domain 2 (ua)`, or by its label alone. */
export function guestName(g: Pick<Guest, 'dom' | 'label'>): string {
  if (g.dom === undefined) return g.label ?? 'the guest';
  return `domain ${g.dom < 0 ? '?' : g.dom}${g.label === undefined ? '' : ` (${g.label})`}`;
}

/**
 * The one guest that a question is about.
 * @param domain its number or label, where given; else the only guest, or the only one with a log
 * @throws UserError where there is no such guest, or several
 */
export function theGuest(a: Analysis, domain?: string): Guest {
  const names = a.guests.map((g) => guestName(g)).join(', ');
  if (domain !== undefined) {
    const found = a.guests.find((g) => String(g.dom) === domain || g.label === domain);
    if (found === undefined) throw new UserError(`--domain ${domain}: the files hold I/O of ${names}`);
    return found;
  }
  const logged = a.guests.filter((g) => g.log !== undefined);
  const chosen = a.guests.length === 1 ? a.guests[0] : logged.length === 1 ? logged[0] : undefined;
  if (chosen === undefined) throw new UserError(`the files hold I/O of ${names}: choose one with --domain`);
  return chosen;
}
