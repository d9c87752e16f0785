/**
 * The device model's log, line by line: QEMU's trace-event form (`pid@sec.usec:event …`, hw/i386/xen/trace-events,
 * hw/xen/trace-events, hw/pci/trace-events, softmmu/trace-events) and the older form of a qemu-dm with DEBUG_RTL8139
 * and an ioreq print (`xen: I/O request: …`, `RTL8139: …`). Any other line is `other` and counted, not an error.
 */

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

/** Events of the path of I/O, and any event of a chip. */
const EVENT_NAMES = String.raw`(?:handle_ioreq|cpu_ioreq_|cpu_get_ioreq|memory_region_ops_|xen_(?!version\b)|pci_cfg_|pci_update_mappings_|(?:e1000e?|e1000x|rtl8139|ne2000|pcnet|eepro100|i82596|vmxnet3|igb|igbvf|virtio)_)`;
const CHIP_NAMES = String.raw`(?:RTL8139|E1000E?|NE2000|PCNET|EE100|EEPRO100|VMXNET3)`;
/** What a line's own text begins with, though it looks like a program's name. */
const OWN_NAME = new RegExp(`^(?:xen|${CHIP_NAMES}): `, 'i');
/** An event's name, and its arguments behind it. */
const EVENT = /^([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?=\s|$)/;

/** What a line of a device model's log begins with. A stamp of another form needs the name of an event behind it. */
export const DM_START = new RegExp(
  String.raw`^\s*(?:\d{1,10}@\d{1,12}\.\d{1,9}:\s*[a-z_]|` +
    String.raw`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\s?(?:Z|[+-]\d\d:?\d\d)?\s+(?:\[[^\]\s]{1,64}\]\s+|[\w./+-]{1,64}(?:\([^)\s]{1,64}\))?:\s+){0,2}(?:${EVENT_NAMES}|xen: I\/O request|${CHIP_NAMES}: )|` +
    String.raw`${EVENT_NAMES}\w*(?:\s|$)|xen: I\/O request|(?:${CHIP_NAMES}|e1000e?|ne2000|pcnet): |#.{0,80}\bclock: |# ioreq server )`,
);
const NEXT_EVENT =
  /\s{1,40}(?=\d{1,10}@\d{9,12}\.\d{6}:\s*[a-z]|xen: I\/O request: \d|(?:RTL8139|NE2000|PCNET): |\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\s+[a-z0-9]+_)/g;

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

/** No digit or letter may follow a value at once, nor a word one blank away: a wrapped line could go on in prose. */
const END = String.raw`(?=\s*$|\s{2,}\S|\t|\s+[^\s\w])`;
const ends = (pattern: string): RegExp => new RegExp(`^${pattern}${END}`, 'i');
const X = '0x([0-9a-f]{1,16})';

const HANDLE = ends(
  String.raw`handle_ioreq I\/O=\S+ type=(\d{1,3}) dir=([01]) df=[01] ptr=([01]) port=${X} data=${X} count=(\d{1,10}) size=(\d{1,3})`,
);
const HANDLE_READ = ends(
  String.raw`handle_ioreq_read I\/O=\S+ read type=\d+ df=[01] ptr=[01] port=${X} data=${X}(?: count=\d{1,10} size=\d{1,3})?`,
);
const REGION = ends(
  String.raw`memory_region_ops_(read|write) cpu -?\d+ mr \S+ addr ${X} value ${X} size (\d{1,3})(?: name '([^']*)')?`,
);
const CONFIG = ends(String.raw`pci_cfg_(read|write) (\S+) ([0-9a-f:.]+) @${X} (?:->|<-) ${X}`);
/** Up to QEMU 6 the address had no bus or was two numbers (`03:0`). */
const MAPPING = ends(
  String.raw`pci_update_mappings_(add|del) (?:d=\S+ )?(\S+) ([0-9a-f:.]+) (?:bar )?(\d{1,2}),\s*0x([0-9a-f]{1,16})\+0x([0-9a-f]{1,16})`,
);
const MAP_CACHE = ends('xen_map_cache want (?:0x)?([0-9a-f]{1,16})');
const MAP_RETURN = ends('xen_map_cache_return (?:0x)?([0-9a-f]{1,16})');
const REMAP = ends(String.raw`xen_remap_bucket (?:index )?(?:0x)?([0-9a-f]{1,16})`);
const PLAIN_REQUEST = ends(
  String.raw`xen: I\/O request: (\d{1,3}), ptr: ([01]), port: ([0-9a-f]{1,16}), data: ([0-9a-f]{1,16}), count: (\d{1,10}), size: (\d{1,3})`,
);
const CHIP = new RegExp(String.raw`^(${CHIP_NAMES}): (.*)$`, 'i');
/** A chip's own trace events; e1000x is what the two of Intel share. */
const CHIP_EVENT = /^(e1000e?|e1000x|rtl8139|ne2000|pcnet|eepro100|vmxnet3)_(\w+.*)$/;
const CLOCK = /^#.*\bclock: ?(modelled|measured|virtual|host)\b(?:, TSC 0 at (\d{1,12})\.(\d{6}), (\d{6,13}) Hz)?/i;

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

const SERVER =
  /^# ioreq server \d+: vCPU (\d{1,4}) has slot \d{1,4} of the synchronous page, machine frame 0x([0-9a-f]{1,10}), port (\d{1,9})$/;

/** Parses one line of the log. `line` is its number, from 1. Never throws: what has no known form is `other`. */
export function parseDmLine(raw: string, line: number): DmLine {
  const { body, timeUs, ns, stamped } = takeStamp(raw.length > MAX_LINE ? raw.slice(0, MAX_LINE) : raw);
  const parsed = parseBody(body, line, timeUs, stamped);
  return ns === undefined ? parsed : { ...parsed, ns };
}

/** Lines that stand for nothing when they are cut, by how they begin. */
const CUTTABLE =
  /^(?:handle_ioreq(?:_read)?\b|memory_region_ops_(?:read|write)\b|pci_cfg_(?:read|write)\b|pci_update_mappings_|xen_map_cache\b|xen_remap_bucket\b|xen: I\/O request)/;

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
    if ((m = HANDLE.exec(body)) !== null) {
      return {
        kind: 'request',
        line,
        timeUs,
        form: 'event',
        type: Number(m[1]),
        dir: m[2] === '1' ? 'read' : 'write',
        dataIsPtr: m[3] === '1',
        addr: parseInt(m[4]!, 16),
        data: BigInt('0x' + m[5]!),
        count: Number(m[6]),
        size: Number(m[7]),
      };
    }
  } else if (body.startsWith('handle_ioreq_read')) {
    if ((m = HANDLE_READ.exec(body)) !== null) {
      return { kind: 'response', line, timeUs, addr: parseInt(m[1]!, 16), data: BigInt('0x' + m[2]!) };
    }
  } else if (body.startsWith('handle_ioreq_') || body.startsWith('cpu_ioreq_')) {
    return { kind: 'step', line, timeUs, event: body.slice(0, body.search(/\s|$/)) };
  } else if (body.startsWith('memory_region_ops_')) {
    if ((m = REGION.exec(body)) !== null) {
      return {
        kind: 'region',
        line,
        timeUs,
        dir: m[1] as 'read' | 'write',
        addr: parseInt(m[2]!, 16),
        value: BigInt('0x' + m[3]!),
        size: Number(m[4]),
        name: m[5] ?? '',
      };
    }
  } else if (body.startsWith('xen_map_cache')) {
    if ((m = MAP_CACHE.exec(body)) !== null) return { kind: 'mapCache', line, timeUs, gpa: parseInt(m[1]!, 16) };
    if ((m = MAP_RETURN.exec(body)) !== null) return { kind: 'mapReturn', line, timeUs, pointer: m[1]!.toLowerCase() };
  } else if (body.startsWith('xen_remap_bucket')) {
    if ((m = REMAP.exec(body)) !== null) return { kind: 'remap', line, timeUs, index: parseInt(m[1]!, 16) };
  } else if (body.startsWith('pci_cfg_')) {
    if ((m = CONFIG.exec(body)) !== null) {
      return {
        kind: 'config',
        line,
        timeUs,
        dir: m[1] as 'read' | 'write',
        name: m[2]!,
        bdf: m[3]!,
        reg: parseInt(m[4]!, 16),
        value: parseInt(m[5]!, 16),
      };
    }
  } else if (body.startsWith('pci_update_mappings_')) {
    if ((m = MAPPING.exec(body)) !== null) {
      return {
        kind: 'mapping',
        line,
        timeUs,
        added: m[1]!.toLowerCase() === 'add',
        name: m[2]!,
        bdf: m[3]!,
        bar: Number(m[4]),
        base: parseInt(m[5]!, 16),
        size: parseInt(m[6]!, 16),
      };
    }
  } else if (body.startsWith('xen: I/O request')) {
    if ((m = PLAIN_REQUEST.exec(body)) !== null) {
      return {
        kind: 'request',
        line,
        timeUs,
        form: 'plain',
        type: Number(m[1]),
        dir: undefined,
        dataIsPtr: m[2] === '1',
        addr: parseInt(m[3]!, 16),
        data: BigInt('0x' + m[4]!),
        count: Number(m[5]),
        size: Number(m[6]),
      };
    }
  } else if ((m = CHIP.exec(body)) !== null) {
    return { kind: 'chip', line, timeUs, chip: m[1]!.toLowerCase(), text: m[2]! };
  } else if ((m = CHIP_EVENT.exec(body)) !== null) {
    return { kind: 'chip', line, timeUs, chip: m[1]!.replace('e1000x', 'e1000'), text: m[2]! };
  } else if ((m = SERVER.exec(body)) !== null) {
    return { kind: 'server', line, timeUs, vcpu: Number(m[1]), mfn: parseInt(m[2]!, 16), port: Number(m[3]) };
  } else if ((m = CLOCK.exec(body)) !== null) {
    const clock = m[1]!.toLowerCase();
    return {
      kind: 'clock',
      line,
      timeUs,
      clock: clock === 'modelled' || clock === 'virtual' ? 'modelled' : 'measured',
      tsc: m[2] === undefined ? undefined : { line, zeroUs: Number(m[2]) * 1e6 + Number(m[3]), hz: Number(m[4]) },
    };
  }
  const event = EVENT.exec(body)?.[1];
  const isEvent = event !== undefined && (stamped || DM_START.test(body));
  return { kind: 'other', line, timeUs, event: isEvent ? event : undefined, text: body };
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
