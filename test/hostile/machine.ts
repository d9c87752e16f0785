/** Machines for hostile guests: the real vCPU, hypervisor and device model, with canaries in all memory that is not the guest's. */
import { expect } from 'vitest';
import { readElf } from '../../src/hypervisor/domain-builder/elf.ts';
import { DOMID_FREE, POISON } from '../../src/hypervisor/mm/page-alloc.ts';
import { disassemble } from '../../src/machine/disassemble-node.ts';
import { engineFactory } from '../../src/machine/engine-factory.ts';
import { runOutcome, type RunOutcome } from '../../src/machine/exit-status.ts';
import { InlineMachine } from '../../src/machine/machine.ts';
import { parseMac } from '../../src/net/frame.ts';
import type { Gfn, Mfn } from '../../src/base/address.ts';

/** The NIC's memory BAR, as the firmware places it. */
export const BAR = 0xf0000000;
export const MEMORY_MIB = 8;
/** First address behind the guest's RAM. */
export const RAM_END = MEMORY_MIB << 20;
/** So many poison bytes in a row are no chance. */
const POISON_RUN = 16;

export interface HostileRun {
  readonly outcome: RunOutcome;
  /** Xen's log: what the dump of a dead domain is in. */
  readonly log: string;
  readonly deviceModelLog: string;
  readonly console: string;
  readonly wire: Uint8Array;
  readonly machine: InlineMachine;
  /** A 32-bit word of guest memory. */
  word(address: number): number;
}

export interface HostileOptions {
  /** Called when everything stands, before the guest runs. */
  readonly prepare?: (machine: InlineMachine) => void;
  /** Called with every line of the device model's log, which is while a request is in service. */
  readonly onLogLine?: (machine: InlineMachine, line: string) => void;
  /** Nanoseconds of the machine's clock the guest is given; default: a second. */
  readonly untilNs?: number;
}

/**
 * Run a guest to its end. Whatever it does: no lock stays held, no frame that is not its own is changed, and nothing of one
 * is in its memory, on the wire, in the log or on the console.
 */
export function runHostile(guest: Uint8Array, options: HostileOptions = {}): HostileRun {
  const warnings: string[] = [];
  const lines: string[] = [];
  const text: number[] = [];
  const wire: number[] = [];
  let running = false;
  const machine: InlineMachine = new InlineMachine(
    {
      name: 'hostile',
      clock: 'virtual',
      nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01') }],
      engine: engineFactory(),
      domain: {
        memoryMiB: MEMORY_MIB,
        vcpus: 1,
        type: 'hvm',
        kernel: { kind: 'elf', elf: readElf(guest) },
        commandLine: '',
        hpet: true,
      },
    },
    {
      logger: { debug() {}, info() {}, warn: (line) => void warnings.push(line) },
      log: (line) => {
        lines.push(line);
        if (running) options.onLogLine?.(machine, line);
      },
      console: (bytes) => void text.push(...bytes),
      pcap: (bytes) => void wire.push(...bytes),
      disassemble,
    },
  );
  machine.flush();
  lines.length = 0;
  const canaries = new Canaries(machine);
  options.prepare?.(machine);
  running = true;
  const end = machine.run(machine.clock.nowNs() + (options.untilNs ?? 1e9));
  running = false;
  const run = {
    outcome: runOutcome(end, machine.domain.shutdownReason),
    log: warnings.join('\n'),
    deviceModelLog: lines.join(''),
    console: String.fromCharCode(...text),
    wire: Uint8Array.from(wire),
    machine,
    word: (address: number) => {
      const at = machine.p2m.ramAddress(address);
      if (at === -1) throw new Error(`no guest memory at 0x${address.toString(16)}`);
      return machine.memory.u32[at >>> 2]!;
    },
  };
  expect(machine.memory.heldLocks).toEqual([]);
  canaries.check(run);
  return run;
}

/** Poison in every frame nobody owns, and bytes that stay in dom0's. */
class Canaries {
  private readonly machine: InlineMachine;
  private readonly heap: number;

  constructor(machine: InlineMachine) {
    this.machine = machine;
    machine.domain.pcpu.pages.poisonFree();
    this.heap = machine.memory.xenheap('canary', 0x2000);
    machine.memory.u8.fill(0x5a, this.heap, this.heap + 0x2000);
  }

  check({ wire, deviceModelLog, console }: Pick<HostileRun, 'wire' | 'deviceModelLog' | 'console'>): void {
    const { memory, domain } = this.machine;
    const { pages } = domain.pcpu;
    const { firstFrame, frameCount } = memory.layout;
    const poison = Buffer.alloc(4096, POISON);
    const short = poison.subarray(0, POISON_RUN);
    const wrong: string[] = [];
    for (let frame = firstFrame as number; frame < firstFrame + frameCount; frame++) {
      const bytes = Buffer.from(memory.memory.buffer, frame * 4096, 4096);
      const owner = pages.owner(frame as Mfn);
      if (owner === DOMID_FREE && !bytes.equals(poison)) wrong.push(`free frame 0x${frame.toString(16)} was written`);
      if (owner === domain.domid && bytes.includes(short)) wrong.push(`poison in the guest's frame 0x${frame.toString(16)}`);
    }
    if (!memory.u8.subarray(this.heap, this.heap + 0x2000).every((byte) => byte === 0x5a)) wrong.push("Xen's heap was written");
    if (memory.u8.subarray(0, 4096).some((byte) => byte !== 0)) wrong.push('the guard page was written');
    if (Buffer.from(wire).includes(short)) wrong.push('poison on the wire');
    if (/(a5 ?){16}/i.test(deviceModelLog) || console.includes(String.fromCharCode(...short)))
      wrong.push('poison in the log or on the console');
    expect(wrong).toEqual([]);
  }
}

/** Machine addresses of the pages of the device model's ioreq server. */
export function ioreqPages({ memory, domain }: Pick<InlineMachine, 'memory' | 'domain'>): { sync: number; buffered: number } {
  const entry = [...memory.xenheapEntries()].find(({ name }) => name === `ioreq_server.d${domain.domid}`)!;
  // Words of the first server: frame of the synchronous page 3, of the buffered page 4.
  const words = (entry.base + 8) >>> 2;
  const [sync, buffered] = [memory.u32[words + 3]!, memory.u32[words + 4]!];
  expect(sync > 0 && buffered > 0).toBe(true);
  return { sync: sync * 4096, buffered: buffered * 4096 };
}

/** Guest frames behind which an ioreq page lies: a guest that could write one would speak for Xen. */
export function ioreqFramesInP2m(machine: Pick<InlineMachine, 'memory' | 'domain' | 'p2m'>): number[] {
  const { sync, buffered } = ioreqPages(machine);
  return [...Array(machine.p2m.maxGfn).keys()].filter((gfn) => [sync, buffered].includes(machine.p2m.getMfn(gfn as Gfn) * 4096));
}

/** Let the NIC at its registers' page work as bus master (configuration space of device 3). */
export const busMaster = `
  mov edx, 0xcf8
  mov eax, 0x80001804
  out dx, eax
  mov edx, 0xcfc
  mov eax, 7
  out dx, eax
`;
