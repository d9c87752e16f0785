/** The live machine of the page. */
import { computed, signal } from '@preact/signals';
import {
  type CpuRegisters,
  debianCommandLine,
  echoRequestFrame,
  type ImageSource,
  Machine,
  type MachineOptions,
  type NicConfig,
  nicDrivers,
  type NicState,
  recogniseImage,
  type RegisterReading,
  tinyGuest,
} from '../library/index.ts';
import { error, liveAddress, machineState, openFiles, wantedGuest } from './state.ts';
import { beginTravel, endTravel } from './travel.ts';

/** A guest that can be chosen. */
interface Guest {
  readonly id: string;
  readonly name: string;
  /** It drives the RTL8139 alone, in C+ mode. */
  readonly isTiny: boolean;
  options(driver: string): Promise<MachineOptions>;
}

/** What `guests.json` of the server names. */
interface ServedGuest {
  readonly name: string;
  readonly kernel: string;
  readonly initrd?: string;
  readonly commandLine?: string;
}

const DEBIAN_MEMORY = 128;
const OWN_MEMORY = 256;
export const TINY_DRIVER = '8139cp';

const tiny = (mode: 'ping' | 'answer', name: string): Guest => ({
  id: mode,
  name,
  isTiny: true,
  options: async () => tinyGuest({ mode, count: 3 }),
});

export const guests = signal<readonly Guest[]>([
  tiny('ping', 'tiny guest: pings the host'),
  tiny('answer', 'tiny guest: answers your pings'),
]);
export const guest = signal('ping');
export const driver = signal(TINY_DRIVER);
export const drivers = nicDrivers;
export const chosen = computed(() => guests.value.find(({ id }) => id === guest.value) ?? guests.value[0]!);

/** Nanoseconds of the guest's time for one of real time, as a power of ten; 0: as fast as it goes. */
export const slowness = signal(0);
export const linkUp = signal(true);
export const exits = signal(0);
export const nic = signal<NicState | undefined>(undefined);
/** Values of the NIC's registers at the look before. */
export const nicBefore = signal<ReadonlyMap<string, number>>(new Map());
export const cpu = signal<CpuRegisters | undefined>(undefined);
export const lapic = signal<readonly RegisterReading[]>([]);

let machine: Machine | undefined;
const listeners = new Set<(bytes: Uint8Array) => void>();

/** Be told what the guest writes to its console. */
export const onConsole = (listener: (bytes: Uint8Array) => void): void => void listeners.add(listener);

const speed = (): number => (slowness.value === 0 ? Infinity : 10 ** -slowness.value);
const write = (text: string): void => {
  for (const listener of listeners) listener(new TextEncoder().encode(text));
};

async function guarded(work: () => Promise<void>): Promise<void> {
  try {
    await work();
    error.value = undefined;
  } catch (reason) {
    error.value = (reason as Error).message;
  }
}

/** Guests that the server has at hand; a folder of static files has none. */
async function findGuests(): Promise<void> {
  const served = (await fetch('guests.json').then((answer) => (answer.ok ? answer.json() : []))) as ServedGuest[];
  const more = served.flatMap(({ name, kernel, initrd, commandLine }, i): Guest[] => {
    const images = {
      kernel: new URL(kernel, location.href).href,
      ...(initrd === undefined ? {} : { initrd: new URL(initrd, location.href).href }),
    };
    if (commandLine !== undefined)
      return [{ id: `served${i}`, name, isTiny: false, options: async () => ({ ...images, commandLine, memory: OWN_MEMORY }) }];
    return (['ping', 'shell'] as const).map((mode) => ({
      id: `debian-${mode}`,
      name: `${name}: ${mode === 'ping' ? 'pings the host' : 'a shell'}`,
      isTiny: false,
      options: async (by) => ({ ...images, commandLine: debianCommandLine(by, mode), memory: DEBIAN_MEMORY }),
    }));
  });
  guests.value = [...guests.value, ...more];
}

let ownKernel: Blob | undefined;
let ownInitrd: Blob | undefined;

/** Takes kernels and initramfs out of what was dropped, and boots them. Gives the files that are none. */
export async function takeImages(files: readonly File[]): Promise<File[]> {
  const rest: File[] = [];
  let found = false;
  for (const file of files) {
    const kind = recogniseImage(new Uint8Array(await file.slice(0, 1024).arrayBuffer()));
    if (kind === undefined) rest.push(file);
    else found = true;
    if (kind === 'kernel') ownKernel = file;
    if (kind === 'initrd') ownInitrd = file;
  }
  if (found && ownKernel !== undefined) {
    const kernel: ImageSource = ownKernel;
    const initrd = ownInitrd;
    const own: Guest = {
      id: 'own',
      name: 'your kernel',
      isTiny: false,
      options: async (by) => ({
        kernel,
        ...(initrd === undefined ? {} : { initrd }),
        commandLine: debianCommandLine(by, 'shell'),
        memory: OWN_MEMORY,
      }),
    };
    guests.value = [...guests.value.filter(({ id }) => id !== 'own'), own];
    guest.value = 'own';
    await start();
  } else if (found) error.value = 'an initramfs alone boots nothing; drop a kernel too';
  return rest;
}

function nicOf(): NicConfig {
  const by = chosen.value.isTiny ? TINY_DRIVER : driver.value;
  const { model, revision } = drivers.find((one) => one.driver === by) ?? drivers[0]!;
  return { model, ...(revision === undefined ? {} : { revision }) };
}

/** Makes a machine and lets it run, or stand before its first instruction. */
export const start = (paused = false): Promise<void> =>
  guarded(async () => {
    await machine?.destroy();
    endTravel();
    machineState.value = 'none';
    exits.value = 0;
    linkUp.value = true;
    const { isTiny, id } = chosen.value;
    const options: MachineOptions = {
      ...(await chosen.value.options(driver.value)),
      nics: [nicOf()],
      records: { trace: true, log: true, capture: true },
      exact: isTiny,
    };
    liveAddress.value = { guest: id, ...(isTiny ? {} : { nic: driver.value }) };
    const made = new Machine({ ...options, speed: speed() });
    machine = made;
    // A terminal's own full reset.
    write('\x1bc');
    nic.value = undefined;
    nicBefore.value = new Map();
    made.on('console', (bytes) => {
      for (const listener of listeners) listener(bytes);
    });
    made.on('exit', () => exits.value++);
    made.on('end', ({ text }) => {
      if (machine !== made) return;
      machineState.value = 'ended';
      write(`\r\n(${text})\r\n`);
      void readRecords();
    });
    // Whatever the run is, it can be gone through again: nothing has come from outside yet.
    if (isTiny) beginTravel({ ...options, kernel: String(options.kernel) });
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
    if (machine === undefined || machineState.value === 'ended' || machineState.value === 'none') return start();
    await machine.run();
    machineState.value = machine.state;
  });

/** To the next VM exits. */
export const step = (count: number): Promise<void> =>
  guarded(async () => {
    if (machine === undefined || machineState.value === 'ended' || machineState.value === 'none') return start(true);
    await machine.step(count);
    machineState.value = machine.state;
    if (machineState.value === 'paused') await look();
  });

export const setLink = (up: boolean): Promise<void> =>
  guarded(async () => {
    endTravel();
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
  if (machineState.value !== 'running') return;
  endTravel();
  machine?.send(text).catch(() => {});
};

/** Has the shell of a Debian guest ping the host, or asks a guest that answers. */
export const ping = (): Promise<void> =>
  guarded(async () => {
    endTravel();
    if (chosen.value.id === 'answer') await machine!.injectFrame(echoRequest());
    else await machine!.send('ping -c 1 10.0.2.2\n');
  });

export const canPing = computed(
  () => machineState.value === 'running' && (chosen.value.id === 'answer' || /shell|own|served/.test(chosen.value.id)),
);

let sequence = 0;
/** Somebody else on the wire asks 10.0.2.2, whom the guest plays, for an echo. */
const echoRequest = (): Uint8Array =>
  echoRequestFrame(
    { mac: Uint8Array.of(2, 0, 0, 0, 0, 1), ip: 0x0a00_0263 },
    { mac: new Uint8Array(6).fill(0xff), ip: 0x0a00_0202 },
    1,
    ++sequence,
    Uint8Array.from({ length: 56 }, (_, i) => i),
  );

/** Registers as they are now. */
async function look(): Promise<void> {
  nicBefore.value = new Map(nic.value?.registers.map(({ name, value }) => [name, value]) ?? []);
  nic.value = await machine!.nic().state();
  cpu.value = await machine!.registers();
  lapic.value = await machine!.chip('lapic');
}

/** The live machine's files, as they are so far. */
export async function liveFiles(): Promise<Readonly<Record<string, Blob>>> {
  if (machine === undefined) return {};
  const { trace, log, capture, console } = await machine.records();
  const blob = (part: BlobPart): Blob => new Blob([part]);
  return {
    'trace.trc': blob(trace as BlobPart),
    'qemu-dm.log': blob(log),
    'net.pcapng': blob(capture as BlobPart),
    'console.log': blob(console as BlobPart),
  };
}

/** Reads what the machine has recorded so far. */
async function readRecords(): Promise<void> {
  const files = await liveFiles();
  if (files['net.pcapng']!.size === 0) return;
  const set = {
    trace: files['trace.trc']!,
    log: files['qemu-dm.log']!,
    capture: files['net.pcapng']!,
    linear: await machine!.linearAddresses(),
    ...(files['console.log']!.size === 0 ? {} : { console: files['console.log']! }),
  };
  await openFiles({ kind: 'open', files: set }, 'live');
}

/** Reads the running machine's records again, without a pause. */
export const refresh = (): Promise<void> => guarded(readRecords);

/** The first machine: the one that the address names, else the tiny guest. */
export async function begin(): Promise<void> {
  if (wantedGuest.guest === 'answer') guest.value = 'answer';
  const early = start();
  await findGuests().catch(() => {});
  const { guest: id, nic: by } = wantedGuest;
  if (by !== null && drivers.some((one) => one.driver === by)) driver.value = by;
  if (id === null || id === guest.value || !guests.value.some((one) => one.id === id)) return early;
  await early;
  guest.value = id;
  await start();
}
