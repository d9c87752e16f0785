/** Machines on the calling thread, with memory that is not shared: what a page without special headers has. */
import { afterEach, describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import { engineFactory } from '../machine/engine-factory.ts';
import { loadKernelImage } from '../machine/kernel.ts';
import { InlineMachine } from '../machine/machine.ts';
import { assembleTinyGuest, tinyGuestCommandLine, type TinyGuestMode } from '../machine/tiny-guest/image.ts';
import { parseMac } from '../net/frame.ts';
import { Machine } from './index-node.ts';
import { codeKernel, Hub, type IoreqEvent, type MachineOptions } from './shared-exports.ts';

const image = assembleTinyGuest();
const machines: Machine[] = [];
function machineOf(mode: TinyGuestMode, options: Partial<MachineOptions> = {}): Machine {
  const machine = new Machine({
    kernel: image,
    commandLine: tinyGuestCommandLine(mode),
    memory: 8,
    placement: 'here',
    ...options,
  });
  machines.push(machine);
  return machine;
}
afterEach(async () => {
  for (const machine of machines.splice(0)) await machine.destroy();
});

const PONG = '3 packets transmitted, 3 packets received';

describe('a machine on plain memory', () => {
  it.each(['virtual', 'host'] as const)('pings (clock %s)', async (clock) => {
    const machine = machineOf({ mode: 'ping' }, { clock });
    expect(machine.state).toBe('new');
    await machine.run();
    await machine.waitFor(PONG);
    expect((await machine.ended).outcome).toBe('poweroff');
    expect(machine.state).toBe('ended');
  });

  it('makes the records of a run without turns, to the byte, however often it was stopped and looked at', async () => {
    const parts = { trace: [] as Uint8Array[], pcap: [] as Uint8Array[], log: '' };
    new InlineMachine(
      {
        name: 'guest',
        clock: 'virtual',
        nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01') }],
        engine: engineFactory(),
        seed: 1,
        traceMask: 0x0ffff000,
        domain: {
          memoryMiB: 8,
          vcpus: 1,
          type: 'hvm',
          kernel: await loadKernelImage(image, 'tiny guest'),
          commandLine: tinyGuestCommandLine({ mode: 'ping' }),
          hpet: true,
        },
      },
      {
        trace: (bytes) => parts.trace.push(bytes.slice()),
        pcap: (bytes) => parts.pcap.push(bytes.slice()),
        log: (text) => (parts.log += text),
      },
    ).run();

    const machine = machineOf({ mode: 'ping' }, { records: { trace: true, log: true, capture: true } });
    await machine.step(1);
    for (let i = 0; i < 40; i++) {
      await machine.step(7);
      await machine.registers();
      await machine.nic().registers();
      await machine.chip('lapic');
      await machine.readMemory('gpa', 0x100000, 64);
    }
    await machine.run();
    await machine.ended;
    const { trace, log, capture } = await machine.records();
    expect(log === parts.log).toBe(true);
    expect(Buffer.compare(capture, Buffer.concat(parts.pcap))).toBe(0);
    expect(Buffer.compare(trace, Buffer.concat(parts.trace))).toBe(0);
  });

  it('steps from exit to exit and stands still in between', async () => {
    const machine = machineOf({ mode: 'ping' });
    const reasons: string[] = [];
    machine.on('exit', ({ reasonName }) => reasons.push(reasonName));
    await machine.step(5);
    expect(machine.state).toBe('paused');
    const { general, mode, flags } = await machine.registers();
    expect((await machine.registers()).general).toEqual(general);
    expect([mode, flags.includes('IF')]).toEqual(['long', false]);
    await machine.step(1);
    expect((await machine.registers()).general['rip']).not.toBe(undefined);
    await machine.run();
    await machine.ended;
    expect(reasons.length).toBeGreaterThan(100);
    expect(reasons).toContain('EPT_VIOLATION');
  });

  it('reads memory by every kind of address, and writes it', async () => {
    const machine = machineOf({ mode: 'answer', count: 1 });
    await machine.run();
    await machine.waitFor('answers echo requests');
    await machine.pause();
    const code = await machine.readMemory('gpa', 0x100000, 4096);
    // The tiny guest maps its memory one to one.
    expect(await machine.readMemory('gva', 0x100000n, 4096)).toEqual(code);
    const { control } = await machine.registers();
    expect(await machine.readMemory('gpa', control.cr3, 8)).not.toEqual(new Uint8Array(8));
    await machine.writeMemory(0x80000, Uint8Array.of(1, 2, 3));
    expect([...(await machine.readMemory('gva', 0x80000, 4))]).toEqual([1, 2, 3, 0]);
    await expect(machine.readMemory('gpa', 0xf000_0000, 4)).rejects.toThrow(/no memory at gpa 0xf0000000/);
    await expect(machine.readMemory('mfn', 0, 4)).rejects.toThrow(UserError);
    await expect(machine.readMemory('gva', 0x1_0000_0000_0000n, 4)).rejects.toThrow(/no memory at gva/);
    await expect(machine.readMemory('gpa', 0, 2 ** 30)).rejects.toThrow(/at once/);
  });

  it('shows registers of the NIC, the local APIC and the IO-APIC with names and fields', async () => {
    const machine = machineOf({ mode: 'answer', count: 1 });
    await machine.run();
    await machine.waitFor('answers echo requests');
    await machine.pause();
    const { model, mac, registers } = await machine.nic('rtl8139').state();
    expect([model, mac]).toEqual(['rtl8139', '00:16:3e:00:00:01']);
    const command = registers.find(({ name }) => name === 'ChipCmd')!;
    expect(command.fields.filter(({ value }) => value === 1).map(({ name }) => name)).toEqual([
      'RxBufEmpty',
      'CmdTxEnb',
      'CmdRxEnb',
    ]);
    const spurious = (await machine.chip('lapic')).find(({ name }) => name === 'APIC_SPIV')!;
    expect(spurious.value).toBe(0x1ff);
    const pin = (await machine.chip('ioapic')).find(({ name }) => name === 'IOREDTBL_LOW[28]')!;
    expect(pin.summary).toContain('level');
    expect(() => machine.nic('e1000')).toThrow(/the machine has rtl8139/);
  });

  it('lets frames in and out of a wire with nobody else on it, and none while the cable is out', async () => {
    const machine = machineOf({ mode: 'answer', count: 1 }, { nics: [{ model: 'rtl8139', network: 'none' }] });
    const out: Uint8Array[] = [];
    machine.on('frame', ({ direction, bytes }) => direction === 'out' && out.push(bytes));
    await machine.run();
    await machine.waitFor('answers echo requests');
    await machine.nic().setLink(false);
    await machine.injectFrame(arpRequest());
    await machine.nic().setLink(true);
    await machine.pause();
    expect(out).toEqual([]);
    await machine.run();
    const answered = new Promise<void>((done) => machine.on('frame', ({ direction }) => direction === 'out' && done()));
    await machine.injectFrame(arpRequest());
    await answered;
    expect([...out[0]!.subarray(28, 32)]).toEqual([10, 0, 2, 2]);
    await expect(machine.injectFrame(arpRequest(), 3)).rejects.toThrow(/NIC 3/);
  });

  it('talks to another one over a hub', async () => {
    const hub = new Hub();
    const on = (mac: string): Partial<MachineOptions> => ({ clock: 'host', nics: [{ model: 'rtl8139', mac, network: hub }] });
    const server = machineOf({ mode: 'answer', count: 3 }, on('00:16:3e:00:00:02'));
    const client = machineOf({ mode: 'ping' }, on('00:16:3e:00:00:03'));
    await server.run();
    await server.waitFor('answers echo requests');
    await client.run();
    await client.waitFor(PONG);
    await server.waitFor('3 echo requests answered');
  });

  it('finds the host that is attached to a hub', async () => {
    const hub = new Hub();
    hub.attachHost();
    const machine = machineOf({ mode: 'ping' }, { clock: 'host', nics: [{ model: 'rtl8139', network: hub }] });
    await machine.run();
    await machine.waitFor(PONG);
  });

  it('serves devices of the embedder by ioreqs', async () => {
    const writes: number[] = [];
    const code = [
      0x66, 0xba, 0x00, 0x50, 0xed, 0x01, 0xc0, 0x66, 0xba, 0x04, 0x50, 0xef, 0x66, 0xba, 0x04, 0xb0, 0x66, 0xb8, 0x00, 0x20,
      0x66, 0xef, 0xf4,
    ];
    const machine = machineOf(
      { mode: 'ping' },
      {
        kernel: codeKernel(Uint8Array.from(code)),
        nics: [],
        devices: [
          {
            name: 'doubler',
            ports: { base: 0x5000, size: 8 },
            read: () => 21,
            write: (_at, _size, value) => void writes.push(value),
          },
        ],
      },
    );
    const seen: IoreqEvent[] = [];
    machine.on('ioreq', (event) => seen.push(event));
    await machine.run();
    expect((await machine.ended).outcome).toBe('poweroff');
    expect(writes).toEqual([42]);
    expect(seen.map(({ address, write, data }) => [address, write, data])).toContainEqual([0x5004, true, 42n]);
  });

  it('tells the story of every packet', async () => {
    const machine = machineOf({ mode: 'ping' }, { records: { trace: true, log: true, capture: true } });
    await machine.run();
    await machine.ended;
    const stories = await machine.stories();
    expect(stories.map(({ title }) => /^Packet (\d+)/.exec(title)?.[1])).toEqual(['1', '2', '3', '4', '5', '6', '7', '8']);
    const [request] = await machine.stories(3);
    expect(request!.title).toContain('ICMP echo request');
    expect(request!.addresses.find(({ what }) => what.includes('frame buffer'))!.gpa.value).toBe('0x11e000');
    await expect(machine.stories(99)).rejects.toThrow(/--packet 99|frames 1 to 8/);
  });

  it('begins anew after a reset', async () => {
    const machine = machineOf({ mode: 'ping' });
    await machine.run();
    await machine.waitFor('seq=0');
    await machine.reset();
    await machine.waitFor(PONG);
    expect(machine.console.match(/tiny guest: long mode/g)).toHaveLength(1);
    await machine.ended;
    await machine.reset();
    expect((await machine.ended).outcome).toBe('poweroff');
  });

  it('stops where it is and hands out what it has', async () => {
    const machine = machineOf({ mode: 'answer', count: 1 }, { records: { trace: true, log: true, capture: true } });
    await machine.run();
    await machine.waitFor('answers echo requests');
    expect((await machine.stop()).outcome).toBe('interrupted');
    expect((await machine.records()).trace.length).toBeGreaterThan(1000);
    await expect(machine.run()).rejects.toThrow(/over/);
    await expect(machine.waitFor('never')).rejects.toThrow(/the machine ended: interrupted/);
  });

  it('stops while it is paused', async () => {
    const machine = machineOf({ mode: 'ping' });
    await machine.step(3);
    expect((await machine.stop()).outcome).toBe('interrupted');
  });

  it('keeps to the speed it is given', async () => {
    const started = performance.now();
    const machine = machineOf({ mode: 'ping' }, { speed: 0.01 });
    await machine.run();
    const { ns } = await machine.ended;
    // A pause between two looks at the clock may overshoot by a budget of instructions, no more.
    expect(ns).toBeLessThan((performance.now() - started) * 1e6 * 0.01 + 5e6);
  });

  it('ends when its time is up', async () => {
    const machine = machineOf({ mode: 'answer', count: 1 }, { clock: 'host', timeLimit: 0.01 });
    await machine.run();
    expect((await machine.ended).outcome).toBe('timeout');
  });

  it('says what is wrong with its options, in one line', async () => {
    const wrong = (options: Partial<MachineOptions>): string => {
      try {
        machineOf({ mode: 'ping' }, options);
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
        return (error as Error).message;
      }
      return '';
    };
    expect(wrong({ memory: 0 })).toMatch(/^memory: 0: expected/);
    expect(wrong({ nics: [{ model: 'virtio' }] })).toMatch(/^NIC model 'virtio'/);
    expect(wrong({ nics: [{ model: 'rtl8139', mac: 'x' }] })).toMatch(/^MAC address 'x'/);
    expect(wrong({ nics: [{ model: 'rtl8139', network: new Hub() }] })).toMatch(/real time/);
    expect(wrong({ placement: 'threads' })).toMatch(/real time/);
    expect(wrong({ placement: 'worker', devices: [] })).toMatch(/another thread/);
    expect(wrong({ speed: 0 })).toMatch(/^speed: 0/);
    expect(wrong({ speed: 2, clock: 'host' })).toMatch(/virtual/);
    await expect(machineOf({ mode: 'ping' }, { kernel: Uint8Array.of(1, 2, 3) }).run()).rejects.toThrow(/not a kernel image/);
    await expect(machineOf({ mode: 'ping' }, { kernel: '/nowhere/vmlinux' }).run()).rejects.toThrow(/no such file/);
    await expect(machineOf({ mode: 'ping' }).registers()).rejects.toThrow(/call run\(\) first/);
  });
});

/** Who has 10.0.2.2? From 10.0.2.99. */
function arpRequest(): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set([...Array<number>(6).fill(0xff), 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 2, 99]);
  frame.set([10, 0, 2, 2], 38);
  return frame;
}
