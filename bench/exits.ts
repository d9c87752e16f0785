/**
 * What an exit costs in a whole machine under real time: a guest in a tight loop reads a NIC register (an ioreq to the device
 * model and back), the local APIC or port 0x61 (served in the hypervisor), or calls xen_version. Microseconds of wall time
 * an access, with the device model inline and on its own thread, with the trace off and on. The difference of a long and
 * a short loop, so that building the machine does not count. Usage: npm run build && npx tsx bench/exits.ts [--json]
 */
import { launchMachine } from '../src/machine/launch-node.ts';
import { loadKernelImage } from '../src/machine/kernel.ts';

const LOAD_ADDRESS = 0x100000;
const SHORT = 2_000;
const LONG = 42_000;
const ROUNDS = 3;
const NIC = 0xf000_0040;
const LAPIC_ID = 0xfee0_0020;

const u32 = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24];
/** mov ecx, count; body; loop body; hlt (with interrupts off: the run ends). */
const loop = (count: number, body: readonly number[]): number[] => [
  0xb9,
  ...u32(count),
  ...body,
  0xe2,
  (256 - body.length - 2) & 255,
  0xf4,
];
const bodies: Readonly<Record<string, readonly number[]>> = {
  'NIC register read': [0xa1, ...u32(NIC)], // mov eax, [NIC]
  'local APIC read': [0xa1, ...u32(LAPIC_ID)],
  'port 0x61 read': [0xe4, 0x61], // in al, 0x61
  'hypercall xen_version': [0xb8, ...u32(17), 0x31, 0xdb, 0x0f, 0x01, 0xc1], // mov eax, 17; xor ebx, ebx; vmcall
};

/** A 32-bit ELF of one segment: Xen's flat protected-mode entry. */
function elf(code: readonly number[]): Uint8Array {
  const file = new Uint8Array(0x1000 + code.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  for (const [at, value] of [
    [16, 2],
    [18, 3],
    [40, 52],
    [42, 32],
    [44, 1],
  ] as const)
    view.setUint16(at, value, true);
  for (const [at, value] of [
    [20, 1],
    [24, LOAD_ADDRESS],
    [28, 52],
  ] as const)
    view.setUint32(at, value, true);
  [1, 0x1000, LOAD_ADDRESS, LOAD_ADDRESS, code.length, code.length, 7, 0x1000].forEach((value, i) =>
    view.setUint32(52 + i * 4, value, true),
  );
  file.set(code, 0x1000);
  return file;
}

/** Nanoseconds on the machine's clock when the loop is done. */
async function run(body: readonly number[], count: number, deviceModel: 'inline' | 'worker', trace: boolean): Promise<number> {
  const kernel = await loadKernelImage(elf(loop(count, body)), 'loop');
  const { result } = launchMachine(
    {
      name: 'loop',
      clock: 'host',
      deviceModel,
      seed: 1,
      capture: false,
      untilNs: 120e9,
      domain: { memoryMiB: 16, vcpus: 1, type: 'hvm', kernel, commandLine: '', hpet: true },
      nics: [{ model: 'rtl8139', mac: Uint8Array.of(0, 0x16, 0x3e, 0, 0, 1) }],
      ...(trace ? { traceMask: 0x0ffff000 } : {}),
    },
    () => {},
  );
  return (await result).ns;
}

async function microseconds(body: readonly number[], deviceModel: 'inline' | 'worker', trace: boolean): Promise<number> {
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const short = await run(body, SHORT, deviceModel, trace);
    const long = await run(body, LONG, deviceModel, trace);
    best = Math.min(best, (long - short) / (LONG - SHORT) / 1000);
  }
  return best;
}

const rows = [];
for (const [name, body] of Object.entries(bodies)) {
  const inline = await microseconds(body, 'inline', false);
  const inlineTraced = await microseconds(body, 'inline', true);
  // What never leaves the hypervisor is the same in both placements.
  const leaves = name.startsWith('NIC');
  const worker = leaves ? await microseconds(body, 'worker', false) : undefined;
  const workerTraced = leaves ? await microseconds(body, 'worker', true) : undefined;
  rows.push({ access: name, inline, inlineTraced, worker, workerTraced });
}

if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ unit: 'µs an access, best of rounds', rounds: ROUNDS, rows }));
} else {
  const cell = (value: number | undefined): string => (value === undefined ? '' : value.toFixed(2)).padStart(14);
  console.log(`µs an access, best of ${ROUNDS}      inline inline, traced        worker worker, traced`);
  for (const row of rows)
    console.log(row.access.padEnd(24) + cell(row.inline) + cell(row.inlineTraced) + cell(row.worker) + cell(row.workerTraced));
}
