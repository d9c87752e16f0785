/** A whole machine under the virtual clock whose vCPU compiles what one says, and all that a run of it leaves behind. */
import { createHash, type Hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { CompilePolicy } from '../../src/cpu/compiled/hot-code.ts';
import type { Engine } from '../../src/cpu/run/engine.ts';
import { readElf } from '../../src/hypervisor/domain-builder/elf.ts';
import { engineFactory } from '../../src/machine/engine-factory.ts';
import { guestCommandLine, type GuestImages } from '../../src/machine/guest.ts';
import { loadKernelImage } from '../../src/machine/kernel.ts';
import { InlineMachine, type MachineOptions } from '../../src/machine/machine.ts';
import { assembleTinyGuest, tinyGuestCommandLine } from '../../src/machine/tiny-guest/image.ts';
import { parseMac } from '../../src/net/frame.ts';
import { TRC_ALL } from '../../src/trace/events.ts';

type Guest = MachineOptions['domain'];

export const tinyGuest = (): Guest => ({
  memoryMiB: 8,
  vcpus: 1,
  type: 'hvm',
  hpet: true,
  kernel: { kind: 'elf', elf: readElf(assembleTinyGuest()) },
  commandLine: tinyGuestCommandLine({ mode: 'ping' }),
});

export const linuxGuest = async (images: GuestImages): Promise<Guest> => ({
  memoryMiB: 128,
  vcpus: 1,
  type: 'hvm',
  hpet: true,
  kernel: await loadKernelImage(readFileSync(images.vmlinux), images.vmlinux),
  ramdisk: readFileSync(images.initrd),
  commandLine: guestCommandLine(),
});

const SINKS = ['console', 'trace', 'log', 'pcap'] as const;

export class WholeMachine {
  readonly machine: InlineMachine;
  /** Its vCPU. */
  readonly engine: Engine;
  private readonly hashes = Object.fromEntries(SINKS.map((name) => [name, createHash('sha256')])) as Record<
    (typeof SINKS)[number],
    Hash
  >;

  constructor(guest: Guest, compile: CompilePolicy | undefined) {
    const { hashes } = this;
    const factory = engineFactory(1n, compile ? { compile } : {});
    let engine: Engine | undefined;
    this.machine = new InlineMachine(
      {
        name: 'guest',
        clock: 'virtual',
        nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01') }],
        engine: { ...factory, create: (parts) => (engine = factory.create(parts) as Engine) },
        domain: guest,
        traceMask: TRC_ALL,
      },
      {
        console: (bytes) => void hashes.console.update(bytes),
        trace: (bytes) => void hashes.trace.update(bytes),
        log: (text) => void hashes.log.update(text),
        pcap: (bytes) => void hashes.pcap.update(bytes),
      },
    );
    this.engine = engine!;
  }

  /** What there is to see after a run: what was retired, the registers, and digests of the files so far. */
  state(): Record<string, string | number> {
    const { engine, hashes } = this;
    return {
      instructions: engine.instructions,
      registers: engine.dump(),
      ...Object.fromEntries(SINKS.map((name) => [name, hashes[name].copy().digest('hex')])),
    };
  }
}
