/**
 * The device model's log, line by line, in the words of the catalogue (abi/dm-log-lines.ts, devices/nic/<chip>/log.ts): QEMU's trace-event
 * form (`pid@sec.usec:event …`), and the older form of a qemu-dm with DEBUG_RTL8139 and an ioreq print (`xen: I/O request: …`,
 * `RTL8139: …`). Any other line is `other` and counted, not an error.
 */
import {
  clockHeader,
  handleIoreq,
  handleIoreqRead,
  ioreqServerSlot,
  memoryRegionOpsRead,
  memoryRegionOpsWrite,
  pciCfgRead,
  pciCfgWrite,
  pciUpdateMappingsAdd,
  pciUpdateMappingsDel,
  plainRequest,
  xenMapCache,
  xenMapCacheReturn,
  xenRemapBucket,
} from '../../abi/dm-log-lines.ts';
import { nicReadings } from '../../devices/nic/readings.ts';

interface LineBase {
  /** Line number in the file, from 1. */
  readonly line: number;
  /** Wall clock in microseconds since 1970, undefined where the line carries none. */
  readonly timeUs: number | undefined;
  /** Nanoseconds beyond the microsecond, where the line carries them. */
  readonly ns?: number | undefined;
}

/** IOREQ_TYPE_*: 0 PIO, 1 COPY (MMIO), 2 PCI_CONFIG, 7 TIMEOFFSET, 8 INVALIDATE. */
export interface DmRequestLine extends LineBase {
  readonly kind: 'request';
  readonly type: number;
  /** undefined in the older form, which does not print the direction. */
  readonly dir: 'read' | 'write' | undefined;
  readonly dataIsPtr: boolean;
  /** Port, guest-physical address, or SBDF<<32 | register for PCI_CONFIG. */
  readonly addr: number;
  readonly data: bigint;
  readonly count: number;
  /** Bytes of one access. */
  readonly size: number;
  readonly form: 'event' | 'plain';
}

/** The request with its answer filled in (`handle_ioreq_read`). */
interface DmResponseLine extends LineBase {
  readonly kind: 'response';
  readonly addr: number;
  readonly data: bigint;
}

/** A step inside one request: `handle_ioreq_write`, `cpu_ioreq_pio`, `cpu_ioreq_move` … */
interface DmStepLine extends LineBase {
  readonly kind: 'step';
  readonly event: string;
}

/** `memory_region_ops_*`: the device whose handler ran, and the offset it saw. */
export interface DmRegionLine extends LineBase {
  readonly kind: 'region';
  readonly dir: 'read' | 'write';
  readonly name: string;
  readonly addr: number;
  readonly value: bigint;
  readonly size: number;
}

/** `pci_cfg_read` and `pci_cfg_write`. */
export interface DmConfigLine extends LineBase {
  readonly kind: 'config';
  readonly dir: 'read' | 'write';
  readonly name: string;
  /** `00:03.0`. */
  readonly bdf: string;
  readonly reg: number;
  readonly value: number;
}

/** `pci_update_mappings_add/del`: where the device model placed a BAR. */
export interface DmMappingLine extends LineBase {
  readonly kind: 'mapping';
  readonly added: boolean;
  readonly name: string;
  readonly bdf: string;
  readonly bar: number;
  readonly base: number;
  readonly size: number;
}

/** `xen_map_cache want GPA`: the device model asks its map cache for a guest-physical address. */
interface DmMapCacheLine extends LineBase {
  readonly kind: 'mapCache';
  readonly gpa: number;
}

/** `xen_map_cache_return POINTER`: where that address is in the device model's own mapping. */
interface DmMapReturnLine extends LineBase {
  readonly kind: 'mapReturn';
  /** Hexadecimal digits as logged: a host-virtual address. */
  readonly pointer: string;
}

/** `xen_remap_bucket`: a miss; the bucket is mapped anew by a foreign-map hypercall. */
interface DmRemapLine extends LineBase {
  readonly kind: 'remap';
  /** Bucket index: gpa / bucket size. */
  readonly index: number;
}

/** A line of the chip's own debug output. */
export interface DmChipLine extends LineBase {
  readonly kind: 'chip';
  /** `rtl8139` … lower case. */
  readonly chip: string;
  readonly text: string;
}

/**
 * A statement of the log about its own clock: `# clock: modelled` or `# clock: measured`, with
 * `, TSC 0 at 1704067200.000000, 1000000000 Hz` where whoever wrote it knows the TSC of the trace beside it.
 */
interface DmClockLine extends LineBase {
  readonly kind: 'clock';
  readonly clock: 'modelled' | 'measured';
  readonly tsc: DeclaredTsc | undefined;
}

/** How a log's clock and the trace's TSC hang together, as the log's header says. */
export interface DeclaredTsc {
  /** Line of the header. */
  readonly line: number;
  /** The log's time when the TSC was 0: microseconds since 1970. */
  readonly zeroUs: number;
  /** TSC ticks a second. */
  readonly hz: number;
}

/** `# ioreq server 0: vCPU 1 has slot 1 of the synchronous page, machine frame 0x3f2a, port 5`: Xenolith's own. */
export interface DmServerLine extends LineBase {
  readonly kind: 'server';
  readonly vcpu: number;
  readonly mfn: number;
  /** In the device model's domain. */
  readonly port: number;
}

interface DmOtherLine extends LineBase {
  readonly kind: 'other';
  /** Name of the trace event, or undefined for a line of no known form. */
  readonly event: string | undefined;
  readonly text: string;
}

export type DmLine =
  | DmRequestLine
  | DmResponseLine
  | DmStepLine
  | DmRegionLine
  | DmConfigLine
  | DmMappingLine
  | DmMapCacheLine
  | DmMapReturnLine
  | DmRemapLine
  | DmChipLine
  | DmClockLine
  | DmServerLine
  | DmOtherLine;

const MAX_LINE = 4096;

/** `pid@sec.usec:`: the stamp of QEMU's log backend up to 10.1. */
const STAMP = /^\s*(\d{1,10})@(\d{1,12})\.(\d{1,9}):\s*/;
/** What QEMU 10.2 and later, and error messages of all versions, put in front under `-msg timestamp=on`. */
const ISO_STAMP = /^\s*(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?\s+/;
/** A guest's name, a program's name and a thread's may follow (`-msg guest-name=on`). */
const CONTEXT = /^(?:\[[^\]\s]{1,64}\]\s+|[\w./+-]{1,64}(?:\([^)\s]{1,64}\)|\[\d{1,10}\])?:\s+)/;

/** Chips by what begins their lines: those that are read here, and others of QEMU, whose lines are told apart and counted. */
const chips = [
  ...nicReadings.flatMap(({ lines }) => (lines === undefined ? [] : [lines.prefix])),
  ...['e1000e', 'ee100', 'eepro100', 'vmxnet3'],
];
/** Events of the path of I/O, and any event of a chip. */
const EVENT_NAMES = String.raw`(?:handle_ioreq|cpu_ioreq_|cpu_get_ioreq|memory_region_ops_|xen_(?!version\b)|pci_cfg_|pci_update_mappings_|(?:${chips.join('|')}|e1000x|i82596|igb|igbvf|virtio)_)`;
/** As a chip's name stands before its debug lines. */
const CHIP_NAMES = `(?:${chips.flatMap((name) => [name.toUpperCase(), name]).join('|')})`;
/** What a line's own text begins with, though it looks like a program's name. */
const OWN_NAME = new RegExp(`^(?:xen|${CHIP_NAMES}): `, 'i');
/** An event's name, and its arguments behind it. */
const EVENT = /^([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?=\s|$)/;

/** What a line of a device model's log begins with. A stamp of another form needs the name of an event behind it. */
export const DM_START = new RegExp(
  String.raw`^\s*(?:\d{1,10}@\d{1,12}\.\d{1,9}:\s*[a-z_]|` +
    String.raw`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\s?(?:Z|[+-]\d\d:?\d\d)?\s+(?:\[[^\]\s]{1,64}\]\s+|[\w./+-]{1,64}(?:\([^)\s]{1,64}\))?:\s+){0,2}(?:${EVENT_NAMES}|xen: I\/O request|${CHIP_NAMES}: )|` +
    String.raw`${EVENT_NAMES}\w*(?:\s|$)|xen: I\/O request|${CHIP_NAMES}: |#.{0,80}\bclock: |# ioreq server )`,
);
const NEXT_EVENT = new RegExp(
  String.raw`\s{1,40}(?=\d{1,10}@\d{9,12}\.\d{6}:\s*[a-z]|xen: I\/O request: \d|${CHIP_NAMES}: |\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\s+[a-z0-9]+_)`,
  'g',
);

/** The lines of a log that stand on one line, one behind the other. */
export function splitDmEvents(text: string): string[] {
  if (!DM_START.test(text)) return [text];
  const parts: string[] = [];
  let from = 0;
  for (const m of text.matchAll(NEXT_EVENT)) {
    if (m.index <= from) continue;
    parts.push(text.slice(from, m.index));
    from = m.index;
  }
  parts.push(text.slice(from));
  return parts;
}

const CHIP = new RegExp(`^(${CHIP_NAMES}): (.*)$`, 'i');
/** A chip's own trace events; e1000x is what the two of Intel share. */
const CHIP_EVENT = new RegExp(String.raw`^(${chips.join('|')}|e1000x)_(\w+.*)$`);
/** What anybody may write into a log by hand. */
const CLOCK = /^#.*\bclock: ?(modelled|measured|virtual|host)\b/i;
const SECONDS = /^(\d{1,12})\.(\d{6})$/;
const RATE = /^\d{6,13}$/;

interface Stamped {
  readonly body: string;
  readonly timeUs: number | undefined;
  /** Nanoseconds beyond the microsecond, where the stamp has them. */
  readonly ns: number | undefined;
  readonly stamped: boolean;
}

/** Digits behind the microseconds. */
const nsOf = (fraction: string): number | undefined =>
  fraction.length > 6 ? Number(fraction.slice(6, 9).padEnd(3, '0')) : undefined;

/** The line's stamp, in any form, and what stands behind it. */
function takeStamp(text: string): Stamped {
  const pid = STAMP.exec(text);
  if (pid !== null) {
    const timeUs = Number(pid[2]) * 1e6 + Number(pid[3]!.padEnd(6, '0').slice(0, 6));
    return { body: text.slice(pid[0].length).trim(), timeUs, ns: nsOf(pid[3]!), stamped: true };
  }
  const iso = ISO_STAMP.exec(text);
  if (iso === null) return { body: text.trim(), timeUs: undefined, ns: undefined, stamped: false };
  let body = text.slice(iso[0].length);
  for (let i = 0; i < 2 && !OWN_NAME.test(body); i++) body = body.replace(CONTEXT, '');
  return { body: body.trim(), timeUs: isoMicroseconds(iso), ns: nsOf(iso[7] ?? ''), stamped: true };
}

function isoMicroseconds([, year, month, day, hour, minute, second, fraction, zone]: RegExpExecArray): number {
  const ms = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
  const m = /([+-])(\d\d):?(\d\d)/.exec(zone ?? '');
  const offsetMinutes = m === null ? 0 : (m[1] === '-' ? -1 : 1) * (Number(m[2]) * 60 + Number(m[3]));
  return ms * 1000 - offsetMinutes * 60e6 + Number((fraction ?? '').padEnd(6, '0').slice(0, 6));
}

/** Parses one line of the log. `line` is its number, from 1. Never throws: what has no known form is `other`. */
export function parseDmLine(raw: string, line: number): DmLine {
  const { body, timeUs, ns, stamped } = takeStamp(raw.length > MAX_LINE ? raw.slice(0, MAX_LINE) : raw);
  const parsed = parseBody(body, line, timeUs, stamped);
  return ns === undefined ? parsed : { ...parsed, ns };
}

/** Lines that stand for nothing when they are cut: all that hold values this reader needs. */
const CUTTABLE = new RegExp(
  `^(?:${[
    handleIoreq,
    handleIoreqRead,
    plainRequest,
    xenMapCache,
    xenMapCacheReturn,
    xenRemapBucket,
    memoryRegionOpsRead,
    memoryRegionOpsWrite,
    pciCfgRead,
    pciCfgWrite,
    pciUpdateMappingsAdd,
    pciUpdateMappingsDel,
  ]
    .map(({ name }) => name.replace(/:$/, ''))
    .join('|')})(?![a-z_])`,
);

/**
 * How much of a line of the log stands in a text that begins as one: `whole`, `cut` where words are missing at its end, `other`
 * for a line whose end nobody can tell, `none` for a text that is none.
 */
export function dmShape(text: string): 'whole' | 'cut' | 'other' | 'none' {
  if (text.length > MAX_LINE || !DM_START.test(text)) return 'none';
  const { body, timeUs, stamped } = takeStamp(text);
  if (!CUTTABLE.test(body)) return 'other';
  return parseBody(body, 0, timeUs, stamped).kind === 'other' ? 'cut' : 'whole';
}

function parseBody(body: string, line: number, timeUs: number | undefined, stamped: boolean): DmLine {
  let m: RegExpExecArray | null;
  // The events of a request's path first: they are nine lines in ten.
  if (body.startsWith('handle_ioreq ')) {
    const r = handleIoreq.read(body);
    if (r !== undefined)
      return { kind: 'request', line, timeUs, form: 'event', ...requestOf(r), dir: r.dir === 1 ? 'read' : 'write' };
  } else if (body.startsWith('handle_ioreq_read')) {
    const r = handleIoreqRead.read(body);
    if (r !== undefined) return { kind: 'response', line, timeUs, addr: r.port, data: r.data };
  } else if (body.startsWith('handle_ioreq_') || body.startsWith('cpu_ioreq_')) {
    return { kind: 'step', line, timeUs, event: body.slice(0, body.search(/\s|$/)) };
  } else if (body.startsWith('memory_region_ops_')) {
    const read = memoryRegionOpsRead.read(body);
    const r = read ?? memoryRegionOpsWrite.read(body);
    if (r !== undefined) {
      const { addr, value, size, name = '' } = r;
      return { kind: 'region', line, timeUs, dir: read === undefined ? 'write' : 'read', addr, value, size, name };
    }
  } else if (body.startsWith('xen_map_cache')) {
    const wanted = xenMapCache.read(body);
    if (wanted !== undefined) return { kind: 'mapCache', line, timeUs, gpa: wanted.gpa };
    const pointer = xenMapCacheReturn.read(body)?.pointer.toLowerCase().replace(/^0x/, '');
    if (pointer !== undefined && pointer !== '(nil)') return { kind: 'mapReturn', line, timeUs, pointer };
  } else if (body.startsWith('xen_remap_bucket')) {
    const r = xenRemapBucket.read(body);
    if (r !== undefined) return { kind: 'remap', line, timeUs, index: r.index };
  } else if (body.startsWith('pci_cfg_')) {
    const read = pciCfgRead.read(body);
    const r = read ?? pciCfgWrite.read(body);
    if (r !== undefined) return { kind: 'config', line, timeUs, dir: read === undefined ? 'write' : 'read', ...r };
  } else if (body.startsWith('pci_update_mappings_')) {
    const added = pciUpdateMappingsAdd.read(body);
    const r = added ?? pciUpdateMappingsDel.read(body);
    if (r !== undefined) {
      const { name = '', bdf, bar, base, size } = r;
      return { kind: 'mapping', line, timeUs, added: added !== undefined, name, bdf, bar, base, size };
    }
  } else if (body.startsWith('xen: I/O request')) {
    const r = plainRequest.read(body);
    if (r !== undefined) return { kind: 'request', line, timeUs, form: 'plain', ...requestOf(r), dir: undefined };
  } else if ((m = CHIP.exec(body)) !== null) {
    return { kind: 'chip', line, timeUs, chip: m[1]!.toLowerCase(), text: m[2]! };
  } else if ((m = CHIP_EVENT.exec(body)) !== null) {
    return { kind: 'chip', line, timeUs, chip: m[1]!.replace('e1000x', 'e1000'), text: m[2]! };
  } else if (body.startsWith('#')) {
    const slot = ioreqServerSlot.read(body);
    if (slot !== undefined) return { kind: 'server', line, timeUs, vcpu: slot.vcpu, mfn: slot.mfn, port: slot.port };
    const clock = CLOCK.exec(body)?.[1]?.toLowerCase();
    if (clock !== undefined) {
      const known = clock === 'modelled' || clock === 'virtual' ? 'modelled' : 'measured';
      return { kind: 'clock', line, timeUs, clock: known, tsc: declaredTsc(body, line) };
    }
  }
  const event = EVENT.exec(body)?.[1];
  const isEvent = event !== undefined && (stamped || DM_START.test(body));
  return { kind: 'other', line, timeUs, event: isEvent ? event : undefined, text: body };
}

/** A request's fields, as both of its lines have them. */
const requestOf = (r: {
  readonly type: number;
  readonly ptr: number;
  readonly port: number;
  readonly data: bigint;
  readonly count: number;
  readonly size: number;
}) => ({ type: r.type, dataIsPtr: r.ptr === 1, addr: r.port, data: r.data, count: r.count, size: r.size });

/** What a log's first line says of the trace beside it. */
function declaredTsc(body: string, line: number): DeclaredTsc | undefined {
  const { seconds = '', hz = '' } = clockHeader.read(body) ?? {};
  const m = SECONDS.exec(seconds);
  if (m === null || !RATE.test(hz)) return undefined;
  return { line, zeroUs: Number(m[1]) * 1e6 + Number(m[2]), hz: Number(hz) };
}

/** One DMA access of the device model: the guest-physical address asked for and where its map cache had it. */
export interface DmDma {
  readonly gpa: number;
  /** Host-virtual address as logged, or undefined where no return line followed. */
  readonly pointer: string | undefined;
  /** Bucket index of the remap logged between question and answer: a miss. */
  readonly remapIndex: number | undefined;
  readonly timeUs: number | undefined;
  readonly returnTimeUs: number | undefined;
  readonly line: number;
}

/** One request as the device model saw it, with every line up to the next request. */
export interface DmRequest {
  readonly index: number;
  readonly request: DmRequestLine;
  /** Data after service: the answer of a read, the request's data of a write; undefined for an unanswered read. */
  readonly data: bigint | undefined;
  /** The device whose handler ran first, and the offset it saw. */
  readonly region: Pick<DmRegionLine, 'name' | 'addr' | 'line'> | undefined;
  readonly dir: 'read' | 'write' | undefined;
  readonly dma: readonly DmDma[];
  readonly chip: readonly DmChipLine[];
  /**
   * Last line that belongs to the request by its form. Map-cache and chip lines after it may belong to the request
   * or to later work of the device model (a frame received, a timer): time decides where the clocks are aligned.
   */
  readonly endLine: number;
  readonly endTimeUs: number | undefined;
}
