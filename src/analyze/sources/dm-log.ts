import { UserError } from '../../base/errors.ts';
import { parseDmLine } from './dm-lines.ts';
import type { DmServerLine, DmConfigLine, DmMappingLine, DmChipLine, DeclaredTsc, DmLine, DmDma, DmRequest } from './dm-lines.ts';
import { RequestStore } from './request-store.ts';
import { TextLayer } from './text-layer.ts';

/** The lines of a device model's log, grouped into requests. */

/** Whole seconds since 1970 that wall-clock times count from, so that a double holds their nanoseconds. The first time seen sets it. */
export interface WallBase {
  seconds: number | undefined;
}

/** Microseconds from a base. @param ns beyond the microsecond */
function fromBase(base: WallBase, timeUs: number, ns = 0): number {
  base.seconds ??= Math.floor(timeUs / 1e6);
  return timeUs - base.seconds * 1e6 + ns / 1000;
}

/** A whole log in memory: bounded by the number of requests and DMA accesses, not by its size in bytes. */
export interface DmLog {
  /** `text` when the log's lines stand in a text among others (a mail with both excerpts). */
  readonly source: 'dm-log' | 'text';
  readonly requests: readonly DmRequest[];
  /** DMA and chip lines before the first request. */
  readonly early: { readonly dma: DmDma[]; readonly chip: DmChipLine[] };
  readonly mappings: DmMappingLine[];
  readonly configs: DmConfigLine[];
  /** Slots and ports of the synchronous page. */
  readonly servers: DmServerLine[];
  /** What the log says of its own clock. */
  clock: 'modelled' | 'measured' | undefined;
  /** What it says of the trace's TSC; its time counts from the base. */
  tsc: DeclaredTsc | undefined;
  /** Microseconds that a line's time is cut to. */
  resolutionUs: number;
  /** Events of no use here, by name; `(text)` counts lines of no known form. */
  readonly otherEvents: Map<string, number>;
  lines: number;
}

const NANOSECOND_US = 0.001;

/** Groups the lines of a log into requests. Feed lines in order, then take `log`. */
export class DmLogBuilder {
  readonly log: DmLog;
  private readonly store = new RequestStore();
  private readonly base: WallBase;
  private lastUs: number | undefined;
  private pendingDma: { -readonly [K in keyof DmDma]: DmDma[K] } | undefined;

  /** @param base that the log's times are made to count from */
  constructor(source: DmLog['source'] = 'dm-log', base: WallBase = { seconds: 0 }) {
    this.base = base;
    this.log = {
      source,
      requests: this.store.requests,
      early: { dma: [], chip: [] },
      mappings: [],
      configs: [],
      servers: [],
      clock: undefined,
      tsc: undefined,
      resolutionUs: NANOSECOND_US,
      otherEvents: new Map(),
      lines: 0,
    };
  }

  /** Takes one parsed line. */
  add(line: DmLine): void {
    const { log } = this;
    // A chip's debug line carries no time where QEMU prints it: it was written after the stamped line before it.
    let entry = line.kind === 'chip' && line.timeUs === undefined ? { ...line, timeUs: this.lastUs } : line;
    if (line.timeUs !== undefined) {
      if (line.ns === undefined) log.resolutionUs = 1;
      entry = { ...entry, timeUs: fromBase(this.base, line.timeUs, line.ns) };
    }
    this.lastUs = entry.timeUs ?? this.lastUs;
    log.lines = Math.max(log.lines, entry.line);
    const store = this.store;
    const current = log.requests[log.requests.length - 1];
    switch (entry.kind) {
      case 'request':
        this.pendingDma = undefined;
        store.begin(entry);
        break;
      case 'response':
        if (current !== undefined && current.request.addr === entry.addr) {
          store.setData(entry.data);
          store.end(entry);
        }
        break;
      case 'step':
        if (current !== undefined) store.end(entry);
        break;
      case 'region':
        if (current !== undefined && store.setRegion(entry)) store.end(entry);
        break;
      case 'config':
        log.configs.push(entry);
        if (current !== undefined && current.request.type === 2 && store.setConfig()) store.end(entry);
        break;
      case 'mapping':
        log.mappings.push(entry);
        break;
      case 'mapCache':
        this.pendingDma = {
          gpa: entry.gpa,
          pointer: undefined,
          remapIndex: undefined,
          timeUs: entry.timeUs,
          returnTimeUs: undefined,
          line: entry.line,
        };
        if (current !== undefined) store.addDma(this.pendingDma);
        else log.early.dma.push(this.pendingDma);
        break;
      case 'remap':
        if (this.pendingDma !== undefined) this.pendingDma.remapIndex = entry.index;
        break;
      case 'mapReturn':
        if (this.pendingDma !== undefined) {
          this.pendingDma.pointer = entry.pointer;
          this.pendingDma.returnTimeUs = entry.timeUs;
          this.pendingDma = undefined;
        }
        break;
      case 'chip':
        if (current === undefined) {
          log.early.chip.push(entry);
          break;
        }
        store.addChip(entry);
        // The older form prints neither direction nor region: the chip's own line says both.
        if (current.dir === undefined) {
          const dir = /\bwrite\b/i.test(entry.text) ? 'write' : /\bread\b/i.test(entry.text) ? 'read' : undefined;
          if (dir !== undefined) store.setDirection(dir);
        }
        break;
      case 'server':
        log.servers.push(entry);
        break;
      case 'clock':
        log.clock = entry.clock;
        log.tsc = entry.tsc && { ...entry.tsc, zeroUs: fromBase(this.base, entry.tsc.zeroUs) };
        break;
      case 'other': {
        const name = entry.event ?? '(text)';
        log.otherEvents.set(name, (log.otherEvents.get(name) ?? 0) + 1);
      }
    }
  }
}

/**
 * Reads a whole device-model log, as it was written or as somebody mailed it. `lines` gives its lines in order.
 * @param name stands in the error when no line of it is of use
 * @param base that its times are made to count from
 * @param cut is told of lines that begin as one of the log and end before its end
 */
export async function readDmLog(
  lines: AsyncIterable<string> | Iterable<string>,
  name: string,
  base?: WallBase,
  cut: (line: number) => void = () => {},
): Promise<DmLog> {
  const builder = new DmLogBuilder('dm-log', base);
  const { log } = builder;
  let number = 0;
  let regions = 0;
  const layer = new TextLayer((text, line, isCut, parsed) => {
    if (isCut) cut(line);
    const entry = parsed ?? parseDmLine(text, line);
    if (entry.kind === 'region') regions++;
    builder.add(entry);
  });
  for await (const line of lines) {
    number++;
    layer.push(line);
  }
  layer.end();
  log.lines = Math.max(log.lines, number);
  if (log.requests.length === 0 && log.configs.length === 0 && log.early.dma.length === 0 && log.early.chip.length === 0)
    throw new UserError(`${name}: ${withoutRequests(log, number, regions)}`);
  return log;
}

/** What a log without a request is, and what it lacks. */
function withoutRequests({ otherEvents, mappings, clock }: DmLog, lines: number, regions: number): string {
  if (lines === 0) return 'empty; expected a device-model log';
  const events = [...otherEvents.keys()].filter((event) => event !== '(text)');
  if (regions > 0) events.unshift('memory_region_ops');
  if (mappings.length > 0) events.unshift('pci_update_mappings');
  if (events.length > 0) {
    const shown = `${events.slice(0, 4).join(', ')}${events.length > 4 ? ' …' : ''}`;
    return `its lines are trace events (${shown}), but no request line (handle_ioreq) is among them; start QEMU with -trace handle_ioreq too`;
  }
  if (clock !== undefined) return 'a device-model log without a request; let the guest run until its driver uses the device';
  return `none of ${lines} lines is a device model's trace event or debug line: expected "pid@sec.usec:handle_ioreq …" or "xen: I/O request: …"; start QEMU with -trace handle_ioreq -D FILE`;
}
