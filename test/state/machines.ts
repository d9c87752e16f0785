/** Machines for tests of saved state, and runs of them that are cut in two. */
import { readElf } from '../../src/hypervisor/domain-builder/elf.ts';
import { engineFactory } from '../../src/machine/engine-factory.ts';
import type { MachineOptions, MachineSinks } from '../../src/machine/guest-side.ts';
import { InlineMachine } from '../../src/machine/machine.ts';
import { optionsOf, type MachineState } from '../../src/machine/state/machine-state.ts';
import { assembleTinyGuest, tinyGuestCommandLine, type TinyGuestMode } from '../../src/machine/tiny-guest/image.ts';
import { parseMac } from '../../src/net/frame.ts';

const MAC = parseMac('00:16:3e:00:00:01');

/** The tiny guest with every kind of output. */
export const tinyOptions = (mode: TinyGuestMode = { mode: 'ping', count: 3 }): MachineOptions => ({
  name: 'tiny',
  clock: 'virtual',
  nics: [{ model: 'rtl8139', mac: MAC }],
  domain: {
    memoryMiB: 16,
    vcpus: 1,
    type: 'hvm',
    kernel: { kind: 'elf', elf: readElf(assembleTinyGuest()) },
    commandLine: tinyGuestCommandLine(mode),
    hpet: true,
  },
  engine: engineFactory(),
  exactBudgets: true,
  traceMask: 0xffff_ffff,
  logForm: 'trace',
});

/** Everything that a machine puts out, kind by kind. */
export class Output {
  readonly parts: Record<'console' | 'trace' | 'log' | 'pcap', Buffer[]> = { console: [], trace: [], log: [], pcap: [] };
  readonly sinks: MachineSinks = {
    console: (bytes) => this.parts.console.push(Buffer.from(bytes)),
    trace: (bytes) => this.parts.trace.push(Buffer.from(bytes)),
    log: (text) => this.parts.log.push(Buffer.from(text)),
    pcap: (bytes) => this.parts.pcap.push(Buffer.from(bytes)),
  };

  /** The output as it would be in files; `before`: what came before this. */
  files(before?: Output): Record<string, Buffer> {
    return Object.fromEntries(
      (['console', 'trace', 'log', 'pcap'] as const).map((kind) => [
        kind,
        Buffer.concat([...(before?.parts[kind] ?? []), ...this.parts[kind]]),
      ]),
    );
  }
}

export function start(options: MachineOptions): { machine: InlineMachine; output: Output } {
  const output = new Output();
  return { machine: new InlineMachine(options, output.sinks), output };
}

/** A machine made of a state alone, as another process would make it. */
export function resume(state: MachineState): { machine: InlineMachine; output: Output } {
  const output = new Output();
  return { machine: new InlineMachine({ ...optionsOf(state.config), engine: engineFactory() }, output.sinks, state), output };
}
