/** The live machine of the page. */
import { signal } from '@preact/signals';
import { Machine, type MachineOptions, tinyGuest } from '../library/index.ts';
import { cpu, error, lapic, machineState, nic, nicBefore, openFiles } from './state.ts';

export type Guest = 'ping' | 'answer';

export const guest = signal<Guest>('ping');
/** Nanoseconds of the guest's time for one of real time, as a power of ten; 0: as fast as it goes. */
export const slowness = signal(0);
export const linkUp = signal(true);
export const exits = signal(0);

let machine: Machine | undefined;
const listeners = new Set<(bytes: Uint8Array) => void>();

/** Be told what the guest writes to its console. */
export const onConsole = (listener: (bytes: Uint8Array) => void): void => void listeners.add(listener);

const speed = (): number => (slowness.value === 0 ? Infinity : 10 ** -slowness.value);

async function guarded(work: () => Promise<void>): Promise<void> {
  try {
    await work();
    error.value = undefined;
  } catch (reason) {
    error.value = (reason as Error).message;
  }
}

/** Makes a machine and lets it run, or stand before its first instruction. */
export const start = (paused = false, own: Partial<MachineOptions> = {}): Promise<void> =>
  guarded(async () => {
    await machine?.destroy();
    exits.value = 0;
    linkUp.value = true;
    const made = new Machine({
      ...tinyGuest(guest.value === 'ping' ? { mode: 'ping', count: 3 } : { mode: 'answer', count: 3 }),
      nics: [{ model: 'rtl8139' }],
      records: { trace: true, log: true, capture: true },
      speed: speed(),
      ...own,
    });
    machine = made;
    // A terminal's own full reset.
    for (const listener of listeners) listener(new TextEncoder().encode('\x1bc'));
    nic.value = undefined;
    nicBefore.value = new Map();
    made.on('console', (bytes) => {
      for (const listener of listeners) listener(bytes);
    });
    made.on('exit', () => exits.value++);
    made.on('end', ({ text }) => {
      if (machine !== made) return;
      machineState.value = 'ended';
      for (const listener of listeners) listener(new TextEncoder().encode(`\r\n(${text})\r\n`));
      void readRecords();
    });
    if (paused) await made.step(1);
    else await made.run();
    machineState.value = made.state;
    if (paused) await look();
  });

export const pause = (): Promise<void> =>
  guarded(async () => {
    await machine!.pause();
    machineState.value = machine!.state;
    await look();
    await readRecords();
  });

export const go = (): Promise<void> =>
  guarded(async () => {
    if (machine === undefined || machineState.value === 'ended') return start();
    await machine.run();
    machineState.value = machine.state;
  });

/** To the next VM exits. */
export const step = (count: number): Promise<void> =>
  guarded(async () => {
    if (machine === undefined || machineState.value === 'ended') return start(true);
    await machine.step(count);
    machineState.value = machine.state;
    if (machineState.value === 'paused') await look();
  });

export const setLink = (up: boolean): Promise<void> =>
  guarded(async () => {
    await machine!.nic().setLink(up);
    linkUp.value = up;
    if (machineState.value === 'paused') await look();
  });

export const setSpeed = (value: number): Promise<void> =>
  guarded(async () => {
    slowness.value = value;
    if (machineState.value === 'running' || machineState.value === 'paused') await machine!.setSpeed(speed());
  });

export const type = (text: string): void => {
  if (machineState.value === 'running') machine?.send(text).catch(() => {});
};

/** Registers as they are now. */
async function look(): Promise<void> {
  nicBefore.value = new Map(nic.value?.registers.map(({ name, value }) => [name, value]) ?? []);
  nic.value = await machine!.nic().state();
  cpu.value = await machine!.registers();
  lapic.value = await machine!.chip('lapic');
}

/** Reads what the machine has recorded so far. */
async function readRecords(): Promise<void> {
  const { trace, log, capture, console } = await machine!.records();
  if (capture.length === 0) return;
  const blob = (part: BlobPart): Blob => new Blob([part]);
  await openFiles({
    kind: 'open',
    files: {
      trace: blob(trace as BlobPart),
      log: blob(log),
      capture: blob(capture as BlobPart),
      linear: await machine!.linearAddresses(),
      ...(console.length === 0 ? {} : { console: blob(console as BlobPart) }),
    },
  });
}
