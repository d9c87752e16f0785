/** What the page shows: signals, and the one selection that all panes follow. */
import { computed, signal } from '@preact/signals';
import { formatRef, type MachineState, parseRef, type Place, type Ref, type SeenRegister, type Story } from '../library/index.ts';
import { Asked } from './asked.ts';
import type { ReaderAnswers, ReaderRequest, Summary } from './protocol.ts';

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
/** The packet beside it, and its story. */
export const compared = signal<{ readonly packet: number; readonly story: Story } | undefined>(undefined);
export const hop = signal<number | undefined>(undefined);
export const selection = signal<Selection>({ ref: undefined, ns: undefined });
export const place = signal<Place | undefined>(undefined);
/** Registers as the driver's accesses show them at the selected moment. */
export const seen = signal<readonly SeenRegister[]>([]);
export const error = signal<string | undefined>(undefined);
/** 0 to 1 while files are read. */
export const progress = signal<number | undefined>(undefined);
/** Whose the open files are. */
export const source = signal<'files' | 'live' | 'recording'>('files');
export const machineState = signal<MachineState | 'none'>('none');

/** Trace time of a step of the story: the frame's own time leads back to the first step. */
export const originOf = computed(() => {
  const frame = story.value?.hops.find(({ where }) => where === 'wire')?.atNs;
  const at = summary.value?.frames.find(({ number }) => number === packet.value)?.ns;
  return frame === undefined || at === undefined ? undefined : at - frame;
});

const reader = new Asked<ReaderRequest, ReaderAnswers & Record<ReaderRequest['kind'], unknown>>(
  new Worker(new URL('./reader-worker.ts', import.meta.url), { type: 'module' }),
);
export const ask = reader.ask.bind(reader) as typeof reader.ask;

/** What the address bar says: read once, when the first files are open. */
const wanted = new URLSearchParams(location.hash.slice(1));
export const wantedGuest = { guest: wanted.get('guest'), nic: wanted.get('nic') };
let wantedPlace = { packet: Number(wanted.get('packet')), at: parseRef(wanted.get('at') ?? '') };

/** More for the address bar: what the live machine is. */
export const liveAddress = signal<Readonly<Record<string, string>>>({});

function writeAddress(): void {
  const parts = new URLSearchParams(source.value === 'live' ? liveAddress.value : {});
  if (packet.value !== undefined) parts.set('packet', String(packet.value));
  const { ref } = selection.value;
  if (ref !== undefined && !(ref.unit === 'frame' && ref.at === packet.value)) parts.set('at', formatRef(ref));
  history.replaceState(null, '', `#${parts}`);
}

/** Opens files and shows the first echo request, else the first frame. */
export async function openFiles(
  request: Extract<ReaderRequest, { kind: 'open' | 'drop' }>,
  of: 'files' | 'live' | 'recording' = 'files',
): Promise<void> {
  error.value = undefined;
  progress.value = 0;
  try {
    const found = (await reader.ask(request as ReaderRequest & { kind: 'open' }, (part) => (progress.value = part))) as Summary;
    summary.value = found;
    source.value = of;
    const { packet: number, at } = wantedPlace;
    wantedPlace = { packet: 0, at: undefined };
    const first =
      found.frames.find((frame) => frame.number === number) ??
      found.frames.find(({ what }) => what.startsWith('ICMP echo request')) ??
      found.frames[0];
    story.value = undefined;
    compared.value = undefined;
    packet.value = undefined;
    place.value = undefined;
    seen.value = [];
    selection.value = { ref: undefined, ns: undefined };
    if (first !== undefined) await tell(first.number);
    progress.value = 0.8;
    const lanes = await reader.ask({ kind: 'timeline' });
    // Other files may have been opened meanwhile.
    if (summary.value !== found) return;
    summary.value = { ...found, ...lanes };
    if (at !== undefined) await select(at);
  } catch (reason) {
    error.value = (reason as Error).message;
  } finally {
    progress.value = undefined;
  }
}

/** Tells the story of a captured frame. */
export async function tell(number: number): Promise<void> {
  try {
    const told = await reader.ask({ kind: 'story', packet: number });
    packet.value = number;
    story.value = told;
    hop.value = undefined;
    error.value = undefined;
    await select({ file: 'pcap', unit: 'frame', at: number }, summary.value?.frames.find((f) => f.number === number)?.ns);
  } catch (reason) {
    error.value = (reason as Error).message;
  }
}

/** Puts the story of another packet beside the one that is told. */
export async function compare(number: number | undefined): Promise<void> {
  try {
    compared.value =
      number === undefined ? undefined : { packet: number, story: await reader.ask({ kind: 'story', packet: number }) };
  } catch (reason) {
    error.value = (reason as Error).message;
  }
}

/** Selects a place in a file, and the moment it belongs to where that is known. */
export async function select(ref: Ref | undefined, ns?: number): Promise<void> {
  const at = ns ?? momentOf(ref) ?? selection.value.ns;
  selection.value = { ref, ns: at };
  // A step of the story that rests on this is selected with it.
  const step = story.value?.hops.findIndex(
    ({ refs }) => ref !== undefined && refs.some((one) => formatRef(one) === formatRef(ref)),
  );
  // Several may rest on it: the one that is chosen stays.
  const chosen = hop.value === undefined ? undefined : story.value?.hops[hop.value];
  const isChosen = ref !== undefined && chosen?.refs.some((one) => formatRef(one) === formatRef(ref)) === true;
  if (step !== undefined && step >= 0 && ref?.unit !== 'frame' && !isChosen) hop.value = step;
  writeAddress();
  try {
    const [found, registers] = await Promise.all([
      ref === undefined ? undefined : reader.ask({ kind: 'place', ref }),
      at === undefined ? [] : reader.ask({ kind: 'registers', ns: at }),
    ]);
    // Something else may have been selected meanwhile.
    if (selection.value.ref !== ref) return;
    if (ref !== undefined) place.value = found;
    seen.value = registers;
  } catch (reason) {
    error.value = (reason as Error).message;
  }
}

/** The moment of a record or frame that the timeline or the story shows. */
function momentOf(ref: Ref | undefined): number | undefined {
  if (ref === undefined) return undefined;
  if (ref.unit === 'frame') return summary.value?.frames.find(({ number }) => number === ref.at)?.ns;
  const step = story.value?.hops.find(({ refs }) => refs.some((one) => one.file === ref.file && one.at === ref.at));
  if (step?.atNs !== undefined && originOf.value !== undefined) return originOf.value + step.atNs;
  if (ref.unit !== 'offset') return undefined;
  for (const lane of summary.value?.timeline?.lanes ?? []) {
    const i = lane.offset.indexOf(ref.at);
    if (i >= 0) return lane.start[i];
  }
  return undefined;
}
