/** Going to and fro in the live machine's run, where nothing came into it from outside. */
import { effect, signal } from '@preact/signals';
import type { MachineOptions, StepKind, Who } from '../library/index.ts';
import { Asked } from './asked.ts';
import type { Standing, TravelAnswers, TravelRequest } from './protocol.ts';
import { error, openFiles, progress, selection, source, summary } from './state.ts';

type Asking = Asked<TravelRequest, TravelAnswers>;

let options: MachineOptions | undefined;
let asking: Asking | undefined;
let begun: Promise<Asking> | undefined;
let isRecorded = false;
/** Tells one run from another. */
const begunBy = (): unknown => (isRecorded ? begun : options);

/** The run can be gone through. */
export const canTravel = signal(false);
/** The machine at the selected moment. */
export const standing = signal<Standing | undefined>(undefined);
export const before = signal<ReadonlyMap<string, number>>(new Map());
/** The answer to "who wrote this?". */
export const who = signal<{ readonly what: string; readonly answer: Who | undefined } | undefined>(undefined);
export const isBusy = signal(false);

/** A run begins that can be gone through: with these options, and nothing else. */
export function beginTravel(run: MachineOptions): void {
  endTravel();
  options = run;
  canTravel.value = true;
}

/** Something came from outside, or another machine begins. */
export function endTravel(): void {
  asking?.terminate();
  asking = undefined;
  begun = undefined;
  isRecorded = false;
  options = undefined;
  canTravel.value = false;
  standing.value = undefined;
  who.value = undefined;
}

/** The Worker with the run; made when it is first wanted. */
function asked(): Promise<Asking> {
  begun ??= (async () => {
    asking = new Asked(new Worker(new URL('./travel-worker.ts', import.meta.url), { type: 'module' }));
    await asking.ask({ kind: 'begin', options: options! });
    return asking;
  })();
  return begun;
}

/** Opens a recording: its files, and its run. */
export async function beginRecording(file: File): Promise<void> {
  endTravel();
  progress.value = 0;
  const run: Asking = new Asked(new Worker(new URL('./travel-worker.ts', import.meta.url), { type: 'module' }));
  try {
    const files = await run.ask({ kind: 'recording', file, name: file.name });
    asking = run;
    begun = Promise.resolve(run);
    isRecorded = true;
    canTravel.value = true;
    await openFiles({ kind: 'open', files }, 'recording');
  } catch (reason) {
    run.terminate();
    error.value = (reason as Error).message;
  } finally {
    progress.value = undefined;
  }
}

async function guarded<T>(work: (asking: Asking) => Promise<T>): Promise<T | undefined> {
  if (!canTravel.value) return undefined;
  isBusy.value = true;
  const run = begunBy();
  try {
    return await work(await asked());
  } catch (reason) {
    if (begunBy() !== run) return undefined;
    error.value = (reason as Error).message;
    // Without a run there is nothing to go through.
    endTravel();
    return undefined;
  } finally {
    isBusy.value = false;
  }
}

function show(found: Standing | undefined): void {
  if (found === undefined) return;
  before.value = new Map(standing.value?.nic.registers.map(({ name, value }) => [name, value]) ?? []);
  standing.value = found;
}

const origin = (): number => summary.value?.timeline?.originNs ?? 0;

/** To a moment of trace time. */
const travelTo = (ns: number): Promise<void> =>
  guarded((run) => run.ask({ kind: 'goTo', ns: Math.max(0, ns + origin()) })).then(show);

/** On or back by one; the selection goes along. */
export async function travelStep(of: StepKind, direction: 1 | -1): Promise<void> {
  const found = await guarded((run) => run.ask({ kind: 'step', of, direction }));
  if (found === undefined) return;
  show(found);
  selection.value = { ref: undefined, ns: found.at.ns - origin() };
}

/** Who wrote these bytes of guest memory last, before the selected moment. */
export async function whoWrote(what: string, gpa: number, length: number): Promise<void> {
  const { ns } = selection.value;
  who.value = undefined;
  const answer = await guarded((run) =>
    run.ask({ kind: 'whoWrote', gpa, length, ns: ns === undefined ? Number.MAX_SAFE_INTEGER : ns + origin() }),
  );
  if (answer !== undefined) who.value = { what, answer };
}

export async function whoWroteRegister(name: string): Promise<void> {
  who.value = undefined;
  const answer = await guarded((run) => run.ask({ kind: 'whoWroteRegister', name }));
  who.value = { what: name, answer };
}

/** Where it was written. */
export function goToWriter(): void {
  const at = who.value?.answer?.at;
  if (at === undefined) return;
  selection.value = { ref: undefined, ns: at.ns - origin() };
}

// The registers follow the selection.
effect(() => {
  const { ns } = selection.value;
  // Until the lanes are read, nobody knows where trace time begins.
  if (source.value === 'files' || !canTravel.value || ns === undefined || summary.value?.timeline === undefined) return;
  if (standing.peek() !== undefined && Math.abs(standing.peek()!.at.ns - origin() - ns) < 0.5) return;
  void travelTo(ns);
});
