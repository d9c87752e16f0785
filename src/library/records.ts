/** What a machine recorded, kept for the embedder and for stories. */
import { type Analysis, analyze, type Story, tellStory } from '../analyze/index.ts';
import { UserError } from '../base/errors.ts';
import { gvaOf } from '../machine/linear-claim.ts';
import type { GuestReport } from '../machine/report.ts';
import { memorySource, openTrace } from '../trace/index.ts';

/** Bytes that are kept at most, of all records together. */
const KEPT_LIMIT = 1 << 30;
/** The machine's time-stamp counter runs at this rate. */
const TSC_HZ = 1e9;

/** Files of a machine, whole. */
export interface RecordFiles {
  /** xentrace's format. */
  readonly trace: Uint8Array;
  /** The device model's log. */
  readonly log: string;
  /** pcapng. */
  readonly capture: Uint8Array;
  /** The guest's console. */
  readonly console: Uint8Array;
}

export class Records {
  private readonly parts: Record<'trace' | 'capture' | 'console', Uint8Array[]> = { trace: [], capture: [], console: [] };
  private log: string[] = [];
  private kept = 0;
  private full = false;

  add(kind: 'trace' | 'capture' | 'console', bytes: Uint8Array): void {
    if (this.room(bytes.length)) this.parts[kind].push(bytes);
  }

  addLog(text: string): void {
    if (this.room(text.length)) this.log.push(text);
  }

  files(): RecordFiles {
    if (this.full)
      throw new UserError(
        `the records of this machine are more than the ${KEPT_LIMIT} bytes that are kept; take them by the events 'trace', 'log' and 'capture'`,
      );
    return {
      trace: joined(this.parts.trace),
      log: this.log.join(''),
      capture: joined(this.parts.capture),
      console: joined(this.parts.console),
    };
  }

  private room(bytes: number): boolean {
    this.kept += bytes;
    if (this.kept > KEPT_LIMIT) this.full = true;
    return !this.full;
  }
}

function joined(parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** One whole read of what a machine recorded. */
export async function analyzeRecords(
  files: RecordFiles,
  linear: GuestReport['linear'],
  clock: 'virtual' | 'host',
  when: string,
): Promise<Analysis> {
  if (files.trace.length === 0 && files.log === '')
    throw new UserError(
      'the machine made no records to tell a story from; set records: { trace: true, log: true, capture: true }',
    );
  const trace = files.trace.length === 0 ? undefined : await openTrace(memorySource(files.trace), { cpuHz: TSC_HZ });
  return analyze({
    trace,
    ...(files.log === '' ? {} : { dmLog: lines(files.log) }),
    ...(files.capture.length === 0 ? {} : { pcap: files.capture }),
    ...(files.console.length === 0 ? {} : { console: lines(new TextDecoder().decode(files.console)) }),
    clock: clock === 'virtual' ? 'modelled' : 'measured',
    gvaOf: (gpa) => gvaOf(linear, gpa, when),
  });
}

const lines = (text: string): string[] => text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));

/** The story of one packet of the capture, or of each. */
export function storiesOf(analysis: Analysis, packet: number | undefined): Story[] {
  if (packet !== undefined) return [tellStory(analysis, { packet })];
  return analysis.frames.map((frame) => tellStory(analysis, { packet: frame.number }));
}
