/** The library as it is built, on threads of its own. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Machine as MachineOf, MachineOptions } from '../src/library/index-node.ts';
import { lackOf } from './needs.ts';

const lack = await lackOf('built');
const noGuest = await lackOf('guest', 'built');
type Library = typeof import('../src/library/index-node.ts');
const { Machine, tinyGuest, debianGuest } = lack.skip
  ? ({} as Library)
  : ((await import('../dist/library/index-node.js' as string)) as Library);

const machines: MachineOf[] = [];
const machineOf = (options: Partial<MachineOptions>): MachineOf => {
  const machine = new Machine({ ...tinyGuest(), ...options });
  machines.push(machine);
  return machine;
};
afterEach(async () => {
  for (const machine of machines.splice(0)) await machine.destroy();
});

describe.skipIf(lack.skip)(lack.title('a machine on threads of its own'), () => {
  it.each([
    ['worker', 'virtual'],
    ['worker', 'host'],
    ['threads', 'host'],
  ] as const)('pings, stops, is looked at and goes on (%s, clock %s)', async (placement, clock) => {
    const machine = machineOf({ placement, clock, records: { trace: true, log: true, capture: true } });
    const seen = { exit: 0, interrupt: 0, ioreq: 0, frame: 0 };
    for (const name of ['exit', 'interrupt', 'ioreq', 'frame'] as const) machine.on(name, () => void seen[name]++);
    await machine.step(10);
    const { general } = await machine.registers();
    expect((await machine.registers()).general).toEqual(general);
    await machine.readMemory('gva', general['rip']!, 1);
    expect((await machine.nic().registers()).length).toBeGreaterThan(40);
    await machine.run();
    await machine.waitFor('3 packets transmitted, 3 packets received');
    expect((await machine.ended).outcome).toBe('poweroff');
    expect(seen.frame).toBe(8);
    expect(seen.exit).toBeGreaterThan(100);
    expect(seen.ioreq).toBeGreaterThan(100);
    expect(seen.interrupt).toBeGreaterThan(0);
    expect(await machine.stories()).toHaveLength(8);
  });

  it('takes frames while the guest sleeps in real time', async () => {
    const machine = machineOf({
      ...tinyGuest({ mode: 'answer', count: 1 }),
      clock: 'host',
      nics: [{ model: 'rtl8139', network: 'none' }],
    });
    await machine.run();
    await machine.waitFor('answers echo requests');
    const answer = new Promise<Uint8Array>((done) =>
      machine.on('frame', ({ direction, bytes }) => direction === 'out' && done(bytes)),
    );
    const frame = new Uint8Array(60);
    frame.set([...Array<number>(6).fill(0xff), 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 2, 99]);
    frame.set([10, 0, 2, 2], 38);
    await machine.injectFrame(frame);
    expect([...(await answer).subarray(28, 32)]).toEqual([10, 0, 2, 2]);
    expect((await machine.stop()).outcome).toBe('interrupted');
  });

  it('imports a module of devices on the thread of the device model', async () => {
    const module = `data:text/javascript,${encodeURIComponent(
      `export default [{ name: 'word', ports: { base: 0x5000, size: 4 }, read: () => 0x58, write() {} }];`,
    )}`;
    const { codeKernel } = (await import('../dist/library/index-node.js' as string)) as Library;
    // mov dx, 0x5000; in eax, dx; out 0xe9, al; mov al, 10; out 0xe9, al; power off
    const code = [
      0x66, 0xba, 0x00, 0x50, 0xed, 0xe6, 0xe9, 0xb0, 0x0a, 0xe6, 0xe9, 0x66, 0xba, 0x04, 0xb0, 0x66, 0xb8, 0x00, 0x20, 0x66,
      0xef, 0xf4,
    ];
    const machine = machineOf({ kernel: codeKernel(Uint8Array.from(code)), nics: [], devices: module, placement: 'worker' });
    await machine.run();
    await machine.waitFor('X');
  });

  it.skipIf(noGuest.skip)(noGuest.title('runs commands in a Debian guest whose shell waits'), async () => {
    const machine = machineOf({ ...(await debianGuest({ mode: 'shell' })), memory: 128, clock: 'host' });
    await machine.run();
    await machine.waitFor('/ # ');
    expect(await machine.exec('echo one; echo two >&2; exit_with() { return 3; }; exit_with')).toEqual({
      output: 'one\ntwo\n',
      status: 3,
    });
    const { output, status } = await machine.exec('ping -c 1 10.0.2.2');
    expect([status, /1 packets received/.test(output)]).toEqual([0, true]);
    await machine.nic().setLink(false);
    await machine.exec('while [ "$(cat /sys/class/net/eth0/carrier)" != 0 ]; do usleep 10000; done');
    await machine.send('poweroff -f\n');
    expect((await machine.ended).outcome).toBe('poweroff');
  });
});
