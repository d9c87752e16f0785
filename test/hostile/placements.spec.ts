/** Hostile guests as a user runs them: the built program, its device model inline and in a Worker; and hostile hands in its memory meanwhile. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, it } from 'vitest';
import { IOREQ_SIZE, IOREQ_STATE_WORD } from '../../src/abi/ioreq.ts';
import { ShutdownReason } from '../../src/abi/sched.ts';
import { readElf } from '../../src/hypervisor/domain-builder/elf.ts';
import { MachineMemory } from '../../src/hypervisor/mm/memory.ts';
import { RUN_OUTCOMES, type RunOutcome } from '../../src/machine/exit-status.ts';
import type { JobMessage, JobPart, MachineJob, SplitMemory } from '../../src/machine/job.ts';
import { MachineRun } from '../../src/machine/launch.ts';
import { parseMac } from '../../src/net/frame.ts';
import { entry as cli, lackOf, PATIENCE_MS } from '../needs.ts';
import { idtBehind, lapicTimer, longGuest, LVTT_PERIODIC, plainGuest, powerOff, shutDown } from '../plain-guest.ts';
import { BAR, MEMORY_MIB, RAM_END } from './machine.ts';
import {
  attack,
  decrease,
  descriptor,
  doorbell,
  everyRole,
  own,
  OWN_FIRST_LAST,
  RING,
  rings,
  RX_RING,
  startCplus,
} from './nic-guest.ts';

const root = join(import.meta.dirname, '../..');
const entry = join(root, 'dist/machine/machine-worker-node.js');
const lack = await lackOf('built');

const folder = mkdtempSync(join(tmpdir(), 'xenolith-hostile-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

const placements = [
  ['inline', '--device-model', 'inline'],
  ['worker', '--clock', 'host', '--device-model', 'worker'],
] as const;

/** Runs the guest to the end of the process. A failure of the program itself would show as another status, a signal or a stack. */
function boot(guest: Uint8Array, placement: readonly string[], ...args: string[]) {
  const kernel = join(folder, `guest${files++}`);
  writeFileSync(kernel, guest);
  const config = `${kernel}.cfg`;
  writeFileSync(
    config,
    `name = 'hostile'\nmemory = ${MEMORY_MIB}\nkernel = '${kernel}'\nvif = ['type=ioemu,model=rtl8139,mac=00:16:3e:00:00:01']\n`,
  );
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [cli, 'run', config, ...placement.slice(1), ...args], {
    encoding: 'utf8',
    timeout: PATIENCE_MS,
  });
  expect(signal).toBe(null);
  expect(stderr).not.toMatch(/^\s+at .*\(/m);
  return { status, stdout, stderr };
}

describe.skipIf(lack.skip)(lack.title("the process outlives the guest and ends with the table's status"), () => {
  const guests: [string, RunOutcome, string, Uint8Array, string[]][] = [
    ['a NIC pointed outside RAM', 'poweroff', 'alive\n', attack(everyRole([0x70000000, 0])), []],
    ['a NIC pointed at itself', 'poweroff', 'alive\n', attack(everyRole([BAR + 0xd9 - 9, 0])), []],
    ['a NIC pointed across the end of RAM', 'poweroff', 'alive\n', attack(everyRole([RAM_END - 8, 0])), []],
    [
      'decrease_reservation of a page that DMA has in its map cache',
      'poweroff',
      'alive\n',
      attack(
        `${startCplus()}${rings(own(RING), own(RX_RING))}${descriptor(RING, OWN_FIRST_LAST + 64, own(0x300000))}${doorbell}${decrease(0x300)}${everyRole([0x300000, 0])}`,
      ),
      [],
    ],
    ['page tables at the NIC', 'crash', '', longGuest(`mov eax, ${BAR}\nmov cr3, rax\n`), []],
    ['the IDT behind a page table at the NIC', 'crash', '', longGuest(idtBehind(BAR)), []],
    ['a crash the guest reports', 'crash', '', longGuest(shutDown(ShutdownReason.crash)), []],
    [
      'a timer of one tick, and nobody who takes its interrupt',
      'timeout',
      '',
      longGuest(`
      ${lapicTimer(LVTT_PERIODIC | 0x40, 1)}
      sti
    sleep:
      hlt
      jmp sleep
    `),
      ['--timeout', '1'],
    ],
    [
      'rep movs with RCX = 2^63 over the NIC',
      'timeout',
      '',
      longGuest(`mov rcx, 0x8000000000000000\nmov esi, ${BAR}\nmov edi, ${BAR}\ncld\nrep movsb\n`),
      ['--timeout', '1'],
    ],
  ];
  it.each(
    guests.flatMap((guest) =>
      placements.map((placement) => {
        const [name, ...rest] = guest;
        return [`${name} (device model ${placement[0]})`, ...rest, placement] as const;
      }),
    ),
  )('%s: %s', (_name, outcome, output, guest, args, placement) => {
    const { status, stdout, stderr } = boot(guest, placement, ...args);
    expect([status, stdout]).toEqual([RUN_OUTCOMES[outcome].status, output]);
    if (outcome === 'crash') expect(stderr).toMatch(/Domain 1 \(vcpu#0\) crashed on cpu#\d:[\s\S]*RIP: /);
    expect(stderr.trim().split('\n').at(-1)).toContain(RUN_OUTCOMES[outcome].text);
  });
});

/** Loads, stores, ports and buffered writes without end. */
const busy = plainGuest(`
again:
  mov eax, [${BAR + 8}]
  mov dword [${BAR + 8}], 0x12345678
  mov edx, 0xc008
  in eax, dx
  mov dword [0xb8000], 0x07410741
  jmp again
  ${powerOff}
`);

/** Runs `busy` on threads of its own while `scribble` is called again and again with the machine's memory. */
async function scribbled(
  deviceModel: 'inline' | 'worker',
  scribble: (words: Int32Array, sync: number, ring: number, turn: number) => void,
): Promise<RunOutcome> {
  const job: MachineJob = {
    name: 'hostile',
    clock: 'host',
    deviceModel,
    seed: 1,
    capture: false,
    untilNs: 2e9,
    nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01') }],
    domain: {
      memoryMiB: MEMORY_MIB,
      vcpus: 1,
      type: 'hvm',
      kernel: { kind: 'elf', elf: readElf(busy) },
      commandLine: '',
      hpet: true,
    },
  };
  let interval: NodeJS.Timeout | undefined;
  let turn = 0;
  const begin = ({ memory, layout }: SplitMemory): void => {
    const machine = new MachineMemory(memory, layout);
    interval = setInterval(() => {
      const server = [...machine.xenheapEntries()].find(({ name }) => name === 'ioreq_server.d1');
      const words = server === undefined ? 0 : (server.base + 8) >>> 2;
      if (words === 0 || machine.u32[words + 4] === 0) return;
      for (let i = 0; i < 100; i++) scribble(machine.i32, machine.u32[words + 3]! << 10, machine.u32[words + 4]! << 10, turn++);
    }, 1);
  };
  const start: ConstructorParameters<typeof MachineRun>[1] = (part: JobPart, events) => {
    const worker = new Worker(entry, { workerData: part });
    worker.on('message', (message: JobMessage) => {
      if (message.kind === 'started') begin(message.split!);
      events.message(message);
    });
    worker.on('error', events.error);
    worker.on('exit', events.exit);
    return { send: (request) => worker.postMessage(request), terminate: () => void worker.terminate() };
  };
  try {
    return (await new MachineRun(job, start, () => {}).result).outcome;
  } finally {
    clearInterval(interval);
  }
}

describe.skipIf(lack.skip)(lack.title('ioreq pages rewritten by another thread while guest and device model run'), () => {
  const random = (turn: number): number => Math.imul(turn + 1, 0x9e3779b1) ^ (turn << 7);
  it.each([
    [
      'states, flags and types',
      (words: Int32Array, sync: number, _ring: number, turn: number): void =>
        void (words[sync + IOREQ_STATE_WORD / 4] = random(turn)),
    ],
    [
      'everything but states',
      (words: Int32Array, sync: number, _ring: number, turn: number): void =>
        void (words[sync + ((random(turn) >>> 8) % (IOREQ_STATE_WORD / 4))] = random(turn)),
    ],
    [
      'slots of vCPUs there are not',
      (words: Int32Array, sync: number, _ring: number, turn: number): void =>
        void (words[sync + (IOREQ_SIZE / 4) * (1 + (turn % 127)) + (turn % 8)] = random(turn)),
    ],
    [
      'the buffered page',
      (words: Int32Array, _sync: number, ring: number, turn: number): void =>
        void (words[ring + ((random(turn) >>> 8) % 1024)] = random(turn)),
    ],
  ] as const)('%s: the domain dies or its time runs out, both threads end', async (_what, scribble) => {
    for (const placement of ['inline', 'worker'] as const) {
      expect(['crash', 'timeout', 'halted', 'poweroff']).toContain(await scribbled(placement, scribble));
    }
  });
});
