import { textLine } from './evidence.ts';
import type { Runstate, TraceEvent } from './events.ts';

/**
 * What `xenalyze --dump-all` prints, back into events: whole dumps, and excerpts quoted in a mail with prose
 * between them. xenalyze prints no record offsets, so references are line numbers.
 */
const LINE = /^\s*[\]!]?\s*(\d{1,9})\.(\d{9})\s+([-x|l. ]+?)\s*d(\d+|\?)v(\d+|\?)\s+(.*)$/;
/** No record prints more. */
const MAX_LINE = 1024;
const INVALID_MFN = 0xffffffffffffffffn;
const RUNSTATES: readonly string[] = ['running', 'runnable', 'blocked', 'offline'];

const hex = (text: string): number => parseInt(text, 16);

/**
 * One line as an event. Gives undefined for a line that is no xenalyze record or one of no use here.
 * `line` is its number in the file, from 1.
 */
export function parseXenalyzeLine(raw: string, line: number): TraceEvent | undefined {
  if (raw.length > MAX_LINE) return undefined;
  const m = LINE.exec(raw);
  if (m === null) return undefined;
  const column = m[3]!.indexOf('x');
  const base = {
    ref: textLine(line),
    timeNs: Number(m[1]) * 1e9 + Number(m[2]),
    pcpu: column < 0 ? 0 : column,
    dom: m[4] === '?' ? -1 : Number(m[4]),
    vcpu: m[5] === '?' ? -1 : Number(m[5]),
  };
  const body = m[6]!.trim();
  let b: RegExpExecArray | null;
  switch (body.slice(0, body.search(/\s|$/))) {
    case 'vmexit':
      b = /^vmexit exit_reason (\S+) eip ([0-9a-f]+)/i.exec(body);
      return (b && { ...base, kind: 'vmexit', reason: b[1]!, rip: BigInt('0x' + b[2]!) }) || undefined;
    case 'vmentry':
      return { ...base, kind: 'vmentry' };
    case 'npf':
      b = /^npf gpa ([0-9a-f]+) q ([0-9a-f]+) mfn ([0-9a-f]+) t (\d+)/i.exec(body);
      if (b === null) return undefined;
      return {
        ...base,
        kind: 'npf',
        gpa: hex(b[1]!),
        qualification: hex(b[2]!),
        mfn: validMfn(BigInt('0x' + b[3]!)),
        p2mType: Number(b[4]),
      };
    case 'mmio_assist':
      b = /^mmio_assist (?:([rw]) gpa )?(?:\[ )?([0-9a-f]+)(?: (?:data )?([0-9a-f]+))?/i.exec(body);
      return (
        (b && {
          ...base,
          kind: 'io',
          space: 'mmio',
          dir: direction(b[1]),
          addr: hex(b[2]!),
          data: b[3] === undefined ? undefined : BigInt('0x' + b[3]),
        }) ||
        undefined
      );
    case 'io':
      b = /^io (read|write) port ([0-9a-f]+) val ([0-9a-f]+)/i.exec(body);
      return (
        (b && {
          ...base,
          kind: 'io',
          space: 'pio',
          dir: b[1] as 'read' | 'write',
          addr: hex(b[2]!),
          data: BigInt('0x' + b[3]!),
        }) ||
        undefined
      );
    case 'io_assist':
      b = /^io_assist \[ ([0-9a-f]+)(?: ([0-9a-f]+))? \]/i.exec(body);
      return (
        (b && {
          ...base,
          kind: 'io',
          space: 'pio',
          dir: undefined,
          addr: hex(b[1]!),
          data: b[2] === undefined ? undefined : BigInt('0x' + b[2]),
        }) ||
        undefined
      );
    case 'runstate_change':
      b = /^runstate_change d(\d+)v(\d+) (\w+)->(\w+)/.exec(body);
      if (b === null || !RUNSTATES.includes(b[3]!) || !RUNSTATES.includes(b[4]!)) return undefined;
      return { ...base, kind: 'runstate', dom: Number(b[1]), vcpu: Number(b[2]), from: b[3] as Runstate, to: b[4] as Runstate };
    case 'inj_virq':
      b = /^inj_virq vec (\d+)/.exec(body);
      return (b && { ...base, kind: 'inject', vector: Number(b[1]) }) || undefined;
    case 'hypercall':
    case 'vmcall':
      b = /^(?:hypercall|vmcall)\s+([0-9a-f]+)/i.exec(body);
      return (b && { ...base, kind: 'hypercall', number: hex(b[1]!), hvm: body.startsWith('vmcall') }) || undefined;
    case 'lost_records':
      // The first lost record's time is printed as a raw TSC, which a text cannot place: the gap starts at the
      // last event before it.
      b = /^lost_records count (\d+)/.exec(body);
      return (b && { ...base, kind: 'lost', count: Number(b[1]), untilNs: base.timeNs }) || undefined;
    case 'set_p2m_entry':
      b = /^set_p2m_entry d(\d+) o(\d+) t (\d+) g ([0-9a-f]+) m ([0-9a-f]+)/i.exec(body);
      if (b === null) return undefined;
      return {
        ...base,
        kind: 'p2m',
        domid: Number(b[1]),
        order: Number(b[2]),
        p2mType: Number(b[3]),
        gfn: hex(b[4]!),
        mfn: validMfn(BigInt('0x' + b[5]!)),
      };
    default:
      return undefined;
  }
}

const direction = (letter: string | undefined): 'read' | 'write' | undefined =>
  letter === 'w' ? 'write' : letter === 'r' ? 'read' : undefined;

const validMfn = (mfn: bigint): bigint | undefined => (mfn === INVALID_MFN ? undefined : mfn);
