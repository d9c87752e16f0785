/** What the page shows: signals, and the one selection that all panes follow. */
import { signal } from '@preact/signals';
import type { CpuRegisters, MachineState, NicState, Place, Ref, RegisterReading, Story } from '../library/index.ts';
import type { Summary } from './protocol.ts';
import { Reader } from './reader.ts';

/** What is selected: a place in a file, or a moment of the trace. */
export interface Selection {
  readonly ref: Ref | undefined;
  /** Nanoseconds of trace time. */
  readonly ns: number | undefined;
}

export const summary = signal<Summary | undefined>(undefined);
export const story = signal<Story | undefined>(undefined);
/** Number of the captured frame that the story is about. */
export const packet = signal<number | undefined>(undefined);
export const hop = signal<number | undefined>(undefined);
export const selection = signal<Selection>({ ref: undefined, ns: undefined });
export const place = signal<Place | undefined>(undefined);
export const error = signal<string | undefined>(undefined);
/** 0 to 1 while files are read. */
export const progress = signal<number | undefined>(undefined);

export const machineState = signal<MachineState | 'none'>('none');
export const nic = signal<NicState | undefined>(undefined);
/** Values of the NIC's registers at the look before. */
export const nicBefore = signal<ReadonlyMap<string, number>>(new Map());
export const cpu = signal<CpuRegisters | undefined>(undefined);
export const lapic = signal<readonly RegisterReading[]>([]);

const reader = new Reader();

/** Opens files and shows the first echo request, else the first frame. */
export async function openFiles(
  request: Parameters<typeof reader.ask<'open'>>[0] | Parameters<typeof reader.ask<'drop'>>[0],
): Promise<void> {
  error.value = undefined;
  progress.value = 0;
  try {
    const found = await reader.ask(request as Parameters<typeof reader.ask<'open'>>[0], (part) => (progress.value = part));
    summary.value = found;
    const wanted = Number(new URLSearchParams(location.hash.slice(1)).get('packet'));
    const first =
      found.frames.find(({ number }) => number === wanted) ??
      found.frames.find(({ what }) => what.startsWith('ICMP echo request')) ??
      found.frames[0];
    story.value = undefined;
    if (first !== undefined) await tell(first.number);
  } catch (reason) {
    error.value = (reason as Error).message;
  } finally {
    progress.value = undefined;
  }
}

/** Tells the story of a captured frame. */
export async function tell(number: number): Promise<void> {
  packet.value = number;
  try {
    story.value = await reader.ask({ kind: 'story', packet: number });
    hop.value = undefined;
    error.value = undefined;
    history.replaceState(null, '', `#packet=${number}`);
    await select({ file: 'pcap', unit: 'frame', at: number }, summary.value?.frames.find((f) => f.number === number)?.ns);
  } catch (reason) {
    error.value = (reason as Error).message;
  }
}

/** Selects a place in a file, and the moment it belongs to where that is known. */
export async function select(ref: Ref | undefined, ns?: number): Promise<void> {
  selection.value = { ref, ns: ns ?? selection.value.ns };
  if (ref === undefined) return;
  try {
    const found = await reader.ask({ kind: 'place', ref });
    // Something else may have been selected meanwhile.
    if (selection.value.ref === ref) place.value = found;
  } catch (reason) {
    error.value = (reason as Error).message;
  }
}
