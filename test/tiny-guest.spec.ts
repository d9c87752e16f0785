import { withoutMachineFrame } from './machine-frame.ts';
import { describe, expect, it } from 'vitest';
import { readElf } from '../src/hypervisor/domain-builder/elf.ts';
import { GuestRam } from '../src/hypervisor/domain-builder/guest-ram.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { InlineMachine, type MachineOptions, type MachineSinks } from '../src/machine/machine.ts';
import { assembleTinyGuest, tinyGuestCommandLine, type TinyGuestMode } from '../src/machine/tiny-guest/image.ts';
import { variable } from '../src/machine/tiny-guest/layout.ts';
import { parseMac } from '../src/net/frame.ts';
import { RUNSTATE_OFFLINE } from '../src/trace/events.ts';

const elf = readElf(assembleTinyGuest());

function boot(mode: TinyGuestMode, options: Partial<MachineOptions> & { type?: 'hvm' | 'pvh' } = {}, sinks: MachineSinks = {}) {
  const { type = 'hvm', ...rest } = options;
  let console = '';
  const machine = new InlineMachine(
    {
      name: 'tiny',
      clock: 'virtual',
      nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01') }],
      engine: engineFactory(),
      domain: { memoryMiB: 8, vcpus: 1, type, kernel: { kind: 'elf', elf }, commandLine: tinyGuestCommandLine(mode), hpet: true },
      ...rest,
    },
    { ...sinks, console: (bytes) => (console += Buffer.from(bytes).toString('latin1')) },
  );
  const ram = new GuestRam(machine.memory, machine.p2m);
  return {
    machine,
    console: () => console.replaceAll('\r', ''),
    progress: () => new DataView(ram.read(variable('progress'), 4).buffer).getUint32(0, true),
  };
}

describe('the tiny guest on this machine', () => {
  it.each([
    ['hvm', 'virtual'],
    ['pvh', 'virtual'],
    ['hvm', 'host'],
  ] as const)('pings (entry %s, clock %s)', (type, clock) => {
    const { machine, console } = boot({ mode: 'ping' }, { type, clock });
    expect(machine.run()).toBe('shutdown');
    expect(machine.domain.shutdownReason).toBe(0);
    expect(console()).toBe(`tiny guest: long mode
RTL8139 at 00:03.0, registers at 0xf0000000, interrupt GSI 28
PING 10.0.2.2 (10.0.2.2): 56 data bytes
64 bytes from 10.0.2.2: seq=0
64 bytes from 10.0.2.2: seq=1
64 bytes from 10.0.2.2: seq=2
3 packets transmitted, 3 packets received
`);
  });

  it('gives the same files to the byte in two runs, and the guest sees the same whatever frames it lives in', () => {
    const run = (seed: number) => {
      const parts: Buffer[][] = [[], [], []];
      const { machine, console } = boot(
        { mode: 'ping' },
        { seed },
        {
          trace: (b) => parts[0]!.push(Buffer.from(b)),
          pcap: (b) => parts[1]!.push(Buffer.from(b)),
          log: (t) => parts[2]!.push(Buffer.from(t)),
        },
      );
      machine.run();
      const [trace, pcap, log] = parts.map((p) => Buffer.concat(p));
      return { trace: trace!, pcap: pcap!, log: log!, console: console() };
    };
    const [first, again, others] = [run(1), run(1), [run(2), run(77)]];
    expect([again.trace.equals(first.trace), again.pcap.equals(first.pcap), again.log.equals(first.log), again.console]).toEqual([
      true,
      true,
      true,
      first.console,
    ]);
    for (const other of others) {
      expect(other.console).toEqual(first.console);
      expect(other.pcap.equals(first.pcap)).toBe(true);
      expect(withoutMachineFrame(`${other.log}`)).toBe(withoutMachineFrame(`${first.log}`));
      expect(other.trace.equals(first.trace)).toBe(false); // machine frames differ
    }
  });

  it('goes on writing to the VGA hole while the device model stands still, and waits at a register of the NIC and at a full ring', () => {
    const waits = (writes: number): number[] => {
      const { machine, console, progress } = boot({ mode: 'buffered', writes });
      const { deviceModel } = machine;
      const seen: number[] = [];
      // The device model sleeps through everything but a vCPU that waits for it.
      const waiting = (): boolean => machine.domain.vcpus[0]!.runstate === RUNSTATE_OFFLINE;
      const serve = deviceModel.runUntilIdle.bind(deviceModel);
      deviceModel.runUntilIdle = () => {
        if (!waiting()) return true;
        if (progress() > 0) seen.push(progress());
        return serve();
      };
      Object.defineProperty(deviceModel, 'nextDeadlineNs', { get: () => (waiting() ? 0 : Infinity) });
      expect(machine.run()).toBe('shutdown');
      expect(console()).toContain('write to the NIC done');
      return seen.filter((at) => at < 0x10000);
    };
    expect(waits(100)).toEqual([100]); // the NIC alone
    expect(waits(511)).toEqual([511]);
    expect(waits(600)).toEqual([511, 600]); // the ring holds 511; the next write takes the other way
  });

  it('leaves once for every read of a NIC register', () => {
    const exits = (reads: number): number => {
      const { machine } = boot({ mode: 'exits', reads });
      machine.run();
      return machine.clock.nowNs();
    };
    const [a, b, c] = [exits(1000), exits(2000), exits(3000)];
    expect(c - b).toBe(b - a);
    expect(b - a).toBeGreaterThan(1000 * 1000); // each costs more than a microsecond of modelled time
  });

  it('powers off when there is no NIC', () => {
    const { machine, console } = boot({ mode: 'ping' }, { nics: [] });
    expect(machine.run()).toBe('shutdown');
    expect(console()).toContain('no RTL8139 on bus 0');
  });
});
