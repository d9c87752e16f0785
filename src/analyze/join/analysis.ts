import { UserError } from '../../base/errors.ts';
import type { Trace } from '../../trace/index.ts';
import { AccessStore } from './access-store.ts';
import { alignClocks, type ClockAlignment } from './clock.ts';
import { findDevices } from './devices.ts';
import { parseDmLine } from '../sources/dm-lines.ts';
import { DmLogBuilder, readDmLog, type DmLog } from '../sources/dm-log.ts';
import { claim, logLine, optionRef, traceOffset, unknown, type Claim, type Ref } from '../sources/evidence.ts';
import type { LostEvent, TraceEvent } from '../sources/events.ts';
import { IoBuilder } from './io.ts';
import { pairRequests, type Pairing } from './pair.ts';
import type { Evidence } from './packet.ts';
import { readCapture, type CapturedFrame } from '../sources/pcap.ts';
import { scanTrace } from '../sources/trace-events.ts';
import { P2mTable } from '../sources/p2m-table.ts';
import { parseXenalyzeLine } from '../sources/xenalyze-text.ts';

export type Lines = AsyncIterable<string> | Iterable<string>;

/** What one analysis reads. At least one of `trace`, `text` and `dmLog` must be there. */
export interface AnalysisInput {
  /** An xentrace file (openTrace). */
  readonly trace?: Trace | undefined;
  /** Lines of xenalyze's text, or of a mail that quotes it; device-model log lines between them are read too. */
  readonly text?: Lines | undefined;
  /** Lines of the device model's log. */
  readonly dmLog?: Lines | undefined;
  /** A pcap or pcapng file in memory. */
  readonly pcap?: Uint8Array | undefined;
  /** Lines of the guest's console. */
  readonly console?: Lines | undefined;
  /** `rtl8139@0xf1000000`. */
  readonly devices?: readonly string[] | undefined;
  /** What the times are: a real machine's are measured, a virtual clock's are modelled. The log's own header wins. */
  readonly clock?: 'modelled' | 'measured' | undefined;
  /**
   * Guest-virtual address of a guest-physical one, where somebody knows it: the machine that wrote the files. No
   * record of Xen holds it.
   */
  readonly gvaOf?: ((gpa: number) => Claim<bigint>) | undefined;
  /** Called now and then while a trace is read, with about how many of its bytes are. */
  readonly progress?: ((bytes: number) => void) | undefined;
  /** Names for messages. */
  readonly names?: { readonly dmLog?: string; readonly pcap?: string; readonly text?: string } | undefined;
}

/** Everything the files give, joined. */
export interface Analysis extends Evidence {
  readonly p2m: P2mTable;
  readonly lost: readonly LostEvent[];
  /** Virtual interrupts injected, by vector. */
  readonly injections: ReadonlyMap<number, number>;
  /** Records of hypercalls seen at all: without them nothing follows from their absence. */
  readonly hypercallRecords: number;
  readonly clockKind: Claim<'modelled' | 'measured'>;
  readonly captureDamage: string | undefined;
  readonly gvaOf: (gpa: number) => Claim<bigint>;
  /** TSC frequency the trace's times were made with; undefined for a text. */
  readonly cpuHz: number | undefined;
  /** Nobody said that frequency: it is the one xenalyze takes. */
  readonly cpuHzGuessed: boolean;
}

/**
 * Reads all files and joins them. A trace streams; accesses, requests and frames are kept.
 * @throws UserError where an input is not what it should be
 */
export async function analyze(input: AnalysisInput): Promise<Analysis> {
  if (input.trace === undefined && input.text === undefined && input.dmLog === undefined) {
    throw new UserError('nothing to analyse: give an xentrace file, xenalyze text or a device-model log');
  }
  const builder = new IoBuilder();
  const store = new AccessStore();
  const p2m = new P2mTable();
  let hypercallRecords = 0;
  const take = (event: TraceEvent): void => {
    if (event.kind === 'p2m') p2m.add(event);
    const done = builder.add(event);
    if (done !== undefined) for (const access of done) store.add(access);
  };
  let log: DmLog | undefined;
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
  if (input.text !== undefined) {
    const mixed = new DmLogBuilder('text');
    let line = 0;
    for await (const raw of input.text) {
      const event = parseXenalyzeLine(raw, ++line);
      if (event?.kind === 'hypercall' && !event.hvm) hypercallRecords++;
      if (event !== undefined) take(event);
      else mixed.add(parseDmLine(raw, line));
    }
    if (mixed.log.requests.length > 0) log = mixed.log;
  }
  for (const access of builder.finish()) store.add(access);
  const { accesses } = store;
  if (input.dmLog !== undefined) log = await readDmLog(input.dmLog, input.names?.dmLog ?? 'device-model log');
  if (accesses.length === 0 && (log?.requests.length ?? 0) === 0) {
    throw new UserError(
      `${input.names?.text ?? input.trace?.source.name ?? 'the input'}: no I/O record and no request line found: expected an xentrace file with HVM events (xentrace -e all), xenalyze --dump-all text or a device-model log`,
    );
  }
  const capture = input.pcap === undefined ? undefined : readCapture(input.pcap, input.names?.pcap ?? 'capture');
  const console = input.console === undefined ? undefined : await collect(input.console);
  const pairing: Pairing | undefined = log === undefined ? undefined : pairRequests(accesses, log.requests);
  const clock: ClockAlignment | undefined =
    pairing === undefined ? undefined : alignClocks(accesses, pairing, declaredClock(input.trace, log));
  const frames: readonly CapturedFrame[] = capture?.frames ?? [];
  return {
    accesses,
    log,
    pairing,
    clock,
    frames,
    p2m,
    lost: builder.lost,
    injections: builder.injections,
    hypercallRecords,
    windows: findDevices({ log, accesses, console, options: input.devices }),
    clockKind: clockKindOf(input, log),
    captureDamage: capture?.damage,
    cpuHz: input.trace?.scale.hz,
    cpuHzGuessed: input.trace?.cpuHzTold === false,
    gvaOf: input.gvaOf ?? (() => unknown('no record of Xen holds a guest-virtual address of data')),
  };
}

/** What the log's header says of the clock of this very trace. A text has lost its TSCs. */
function declaredClock(trace: Trace | undefined, log: DmLog | undefined): Parameters<typeof alignClocks>[2] {
  if (trace === undefined || trace.firstTsc === 0 || log?.tsc === undefined) return undefined;
  return {
    tsc: log.tsc,
    modelled: log.clock === 'modelled',
    trace: { zeroTsc: Number(trace.tscBase + BigInt(trace.firstTsc)), nsPerTick: trace.scale.nsPerTick },
  };
}

function clockKindOf(input: AnalysisInput, log: DmLog | undefined): Claim<'modelled' | 'measured'> {
  if (log?.clock !== undefined) return claim(log.clock, 'proven', "the log's header says so", [logLine(1, log.source)]);
  if (input.clock !== undefined) return claim(input.clock, 'proven', 'whoever gave the files said so', [optionRef]);
  return claim('measured', 'strong', 'no file says that its clock is a modelled one', [] as Ref[]);
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
