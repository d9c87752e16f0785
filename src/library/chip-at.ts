/** A chip's registers as the accesses of a file show them at a moment: what the driver wrote or read last. */
import { type Analysis, formatRef, ioPaths, type IoPath, type Ref } from '../analyze/index.ts';

/** A register as it was last seen before a moment. */
export interface SeenRegister {
  /** `rtl8139`. */
  readonly device: string;
  readonly name: string;
  readonly value: number;
  /** Bytes. */
  readonly width: number;
  /** Fields of the value, in words. */
  readonly fields: string;
  readonly doc: string;
  readonly dir: 'read' | 'write';
  /** Nanoseconds of trace time of that access, and its record. */
  readonly ns: number;
  readonly ref: Ref;
  /** Value before that access; undefined: it was not seen before. */
  readonly before: number | undefined;
}

/** All accesses of all guests in the order of time; made once. */
export class AccessList {
  private readonly paths: readonly IoPath[];

  constructor(analysis: Analysis) {
    const paths: IoPath[] = [];
    for (const guest of analysis.guests) for (const path of ioPaths(guest)) if (path.registers.length > 0) paths.push(path);
    this.paths = paths.sort((a, b) => a.access.record.timeNs - b.access.record.timeNs);
  }

  /** What was last seen of each register up to a moment, by device and then in the order of first accesses. */
  at(ns: number): SeenRegister[] {
    const seen = new Map<string, SeenRegister>();
    for (const { access, device, registers } of this.paths) {
      const { timeNs, ref } = access.record;
      if (timeNs > ns) break;
      if (device === undefined) continue;
      for (const { name, register, value, fields, doc } of registers) {
        const key = `${device.name} ${name}`;
        seen.set(key, {
          device: device.name,
          name,
          value,
          width: register.width,
          fields,
          doc,
          dir: access.dir,
          ns: timeNs,
          ref,
          before: seen.get(key)?.value,
        });
      }
    }
    return [...seen.values()].sort((a, b) => (a.device < b.device ? -1 : a.device > b.device ? 1 : 0));
  }

  /** Accesses whose registers, address or data hold a text, in order. */
  find(text: string, most: number): { readonly what: string; readonly ref: Ref; readonly ns: number }[] {
    const found: { what: string; ref: Ref; ns: number }[] = [];
    for (const { access, device, registers } of this.paths) {
      if (found.length >= most) break;
      const data = access.data === undefined ? '' : ` 0x${access.data.toString(16)}`;
      const names = registers.map(({ name, fields }) => (fields === '' ? name : `${name} (${fields})`)).join(' ');
      const what = `${device?.name ?? ''} ${access.dir} ${names}${data} at 0x${access.addr.toString(16)}`;
      if (what.toLowerCase().includes(text)) found.push({ what, ref: access.record.ref, ns: access.record.timeNs });
    }
    return found;
  }
}

/** A place in a file that holds what was searched for. */
export interface Hit {
  readonly what: string;
  readonly ref: Ref;
  readonly ns: number | undefined;
}

/** `trace+0x2a4c`, `log:9640`, `pcap#16`, as formatRef writes them; undefined: the text is none. */
export function parseRef(text: string): Ref | undefined {
  const found = /^(?:trace\+0x([0-9a-f]{1,12})|(text|log|console):(\d{1,12})|pcap#(\d{1,9}))$/.exec(text);
  if (found === null) return undefined;
  const [, offset, file, line, frame] = found;
  const ref: Ref =
    offset !== undefined
      ? { file: 'trace', unit: 'offset', at: Number.parseInt(offset, 16) }
      : line !== undefined
        ? { file: file === 'log' ? 'dm-log' : (file as 'text' | 'console'), unit: 'line', at: Number(line) }
        : { file: 'pcap', unit: 'frame', at: Number(frame) };
  // Leading zeros are nobody's.
  return formatRef(ref) === text ? ref : undefined;
}
