/** What a run has put out so far, counted as its files count it: bytes of the trace, lines of the log, frames of the capture. */
import type { MachineSinks } from '../machine/guest-side.ts';
import { TRACE_EXTRA_SHIFT, TRACE_EXTRA_MAX } from '../trace/events.ts';

export interface OutputCounts {
  readonly traceBytes: number;
  readonly logLines: number;
  readonly frames: number;
}

/** Block type of a frame in a pcapng file (draft-ietf-opsawg-pcapng, enhanced packet block). */
const ENHANCED_PACKET_BLOCK = 6;
const NEWLINE = 10;

/** A record of the trace that was looked for. */
export type FoundRecord =
  | { readonly tsc: number }
  /** No record begins at the offset; one begins at `near`. */
  | { readonly near: number };

export class OutputCounter {
  private traceBytes = 0;
  private logLines = 0;
  private frames = 0;
  private wanted = -1;
  private found: FoundRecord | undefined;

  get counts(): OutputCounts {
    const { traceBytes, logLines, frames } = this;
    return { traceBytes, logLines, frames };
  }

  set counts({ traceBytes, logLines, frames }: OutputCounts) {
    Object.assign(this, { traceBytes, logLines, frames });
  }

  /** The same sinks, with everything counted on its way. */
  counted(sinks: MachineSinks): MachineSinks {
    return {
      ...sinks,
      trace: (bytes) => {
        sinks.trace?.(bytes);
        const { traceBytes: begin, wanted } = this;
        this.traceBytes += bytes.length;
        if (wanted >= begin && wanted < this.traceBytes) this.found = recordAt(bytes, begin, wanted);
      },
      log: (text) => {
        sinks.log?.(text);
        for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) === NEWLINE) this.logLines++;
      },
      pcap: (bytes) => {
        sinks.pcap?.(bytes);
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        for (let at = 0; at + 12 <= bytes.length; at += view.getUint32(at + 4, true))
          if (view.getUint32(at, true) === ENHANCED_PACKET_BLOCK) this.frames++;
      },
    };
  }

  /** Look for the record at a byte offset of the trace; the answer comes as the trace does. */
  want(offset: number): void {
    this.wanted = offset;
    this.found = undefined;
  }

  get record(): FoundRecord | undefined {
    return this.found;
  }
}

/** The record at an offset of whole records, of which the first begins at `begin`; records that carry no TSC have that of the one before. */
function recordAt(bytes: Uint8Array, begin: number, offset: number): FoundRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let tsc = 0;
  for (let at = 0; ; ) {
    const header = view.getUint32(at, true);
    const hasTsc = header >>> 31 === 1;
    if (hasTsc) tsc = view.getUint32(at + 4, true) + view.getUint32(at + 8, true) * 2 ** 32;
    if (begin + at === offset) return { tsc };
    const next = at + 4 + (hasTsc ? 8 : 0) + 4 * ((header >>> TRACE_EXTRA_SHIFT) & TRACE_EXTRA_MAX);
    if (begin + next > offset || next + 4 > bytes.length) return { near: begin + at };
    at = next;
  }
}
