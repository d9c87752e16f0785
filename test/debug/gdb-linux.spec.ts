/** Debian's gdb at a Debian guest with its stock 8139cp: from the driver's function to the transmit descriptor, forwards and backwards. */
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Debugger } from '../../src/debug/commands.ts';
import { Timeline } from '../../src/debug/timeline.ts';
import { whoWroteMemory, whoWroteRegister } from '../../src/debug/who.ts';
import { engineFactory } from '../../src/machine/engine-factory.ts';
import { guestCommandLine } from '../../src/machine/guest.ts';
import { InlineMachine } from '../../src/machine/machine.ts';
import { prepareHash } from '../../src/machine/state/hash.ts';
import { Recorder } from '../../src/machine/state/recording.ts';
import { createFrameRing, FrameRingConsumer, FrameRingProducer } from '../../src/net/frame-ring.ts';
import { linuxGuest } from '../cpu/whole-machine.ts';
import { guestImages, lackOf } from '../needs.ts';
import { Output, tinyOptions } from '../state/machines.ts';
import { gdbAt } from './gdb.ts';

const lack = await lackOf('gdb', 'guest');
/** Where Linux maps all memory, when its addresses are not randomized. */
const DIRECT_MAP = 0xffff_8880_0000_0000n;
const OWN = 0x8000_0000;

/** A booted Debian at its shell, about to take `ping` as input, and what the shell said before: where the driver's code lies. */
async function booted(): Promise<{ timeline: Timeline; said: string }> {
  const ring = createFrameRing(1 << 17);
  const keyboard = new FrameRingProducer(ring);
  const bell = new Int32Array(new SharedArrayBuffer(8));
  const recorder = new Recorder();
  const output = new Output();
  const domain = await linuxGuest(guestImages());
  const { traceMask: _trace, logForm: _log, ...plain } = tinyOptions();
  const options = {
    ...plain,
    domain: { ...domain, commandLine: guestCommandLine({ driver: ['8139cp'], mode: 'shell' }) },
    input: { bell, console: new FrameRingConsumer(ring), record: recorder.record },
  };
  const machine = new InlineMachine(options, { console: output.sinks.console! });
  const { console: pieces } = output.parts;
  const said = (): string => Buffer.concat(pieces).toString('latin1');
  const type = (line: string): void => void keyboard.push(Buffer.from(`${line}\n`));
  const until = (text: RegExp): void => {
    const from = said().length;
    let seen = pieces.length;
    const when = (): boolean => {
      if (pieces.length === seen) return false;
      seen = pieces.length;
      return text.test(said().slice(from));
    };
    expect(recorder.run(machine, { when }, Infinity)).toBe('paused');
  };
  until(/# $/);
  // /proc/kallsyms would cost the guest as much again as its boot.
  type('cat /sys/module/8139cp/sections/.text');
  until(/\n0x[0-9a-f]{16}\r?\n.*# $/s);
  const text = said();
  const state = machine.save();
  const before = recorder.inputs.length;
  type('ping -c 1 10.0.2.2');
  until(/1 packets received[^]*# $/);
  const inputs = recorder.inputs.slice(before);
  return { timeline: await Timeline.ofState(state, { engine: engineFactory(), inputs }), said: text };
}

const value = (out: string, name: string): number => Number(new RegExp(`${name} (0x[0-9a-f]+|\\d+)`).exec(out)![1]);

describe.skipIf(lack.skip)(lack.title('GDB at a Debian guest'), () => {
  let timeline: Timeline;
  let debug: Debugger;
  /** The driver's symbols, for GDB; and the address of its function. */
  let symbols: string;
  let cpStartXmit: string;
  beforeAll(async () => {
    await prepareHash();
    const guest = await booted();
    timeline = guest.timeline;
    debug = new Debugger(timeline);
    const text = /^(0x[0-9a-f]{16})\r?$/m.exec(guest.said)![1]!;
    symbols = `add-symbol-file ${join(dirname(guestImages().vmlinux), '8139cp.ko')} ${text}`;
    const out = await gdbAt(debug, symbols, 'printf "at %#lx\\n", (long)&cp_start_xmit');
    cpStartXmit = /^at (0x[0-9a-f]{16})$/m.exec(out)![1]!;
  });

  it('goes from cp_start_xmit to the transmit descriptor, to its owner, and back to the instruction that gave it away', async () => {
    const sent = timeline.machine.deviceModel.nics[0]!.statistics()['tx_packets']!;
    const first = await gdbAt(
      debug,
      symbols,
      'break *cp_start_xmit',
      'continue',
      'printf "rip %#lx\\n", $rip',
      'monitor info nic',
    );
    expect(first).toMatch(/Breakpoint 1, /);
    expect(first).toContain(`rip ${cpStartXmit}`);
    const descriptor = value(first, 'TxAddr0 +') + 16 * (sent % 64);
    const owner = `*(unsigned int*)0x${(DIRECT_MAP + BigInt(descriptor)).toString(16)}`;
    const show = (name: string): string => `printf "${name} rip %#lx owner %#x\\n", $rip, ${owner}`;
    const out = await gdbAt(
      debug,
      `break *${cpStartXmit}`,
      'continue',
      'delete',
      show('entered'),
      `watch ${owner}`,
      'continue',
      show('given'),
      'continue',
      show('taken'),
      'reverse-continue',
      show('back'),
      'reverse-continue',
      show('before'),
      'x/i $rip',
      'stepi',
      show('again'),
    );
    const at = (name: string): { rip: bigint; owner: number } => {
      const [, rip, word] = new RegExp(`^${name} rip (0x[0-9a-f]+) owner (0x[0-9a-f]+|0)$`, 'm').exec(out) ?? [];
      return { rip: BigInt(rip ?? 0), owner: Number(word) };
    };
    const isOwned = ['entered', 'given', 'taken', 'back', 'before', 'again'].map((name) => at(name).owner >= OWN);
    expect(isOwned, out).toEqual([false, true, false, true, false, true]);
    // The instruction is the driver's, and writes memory.
    const { rip } = at('before');
    expect(rip - BigInt(cpStartXmit)).toBeGreaterThan(0n);
    expect(rip - BigInt(cpStartXmit)).toBeLessThan(0x1000n);
    expect(at('again').rip).toBe(at('given').rip);
    expect(out).toMatch(/^=> 0x[0-9a-f]+:\tmov .*,\(?.*%r/m);
  });

  it('tells who wrote a descriptor, a received frame, a register and a page table entry', () => {
    const { machine } = timeline;
    timeline.goTo(timeline.kept.positions[0]!);
    const registers = debug.execute('info nic').text;
    const sent = machine.deviceModel.nics[0]!.statistics();
    const transmit = value(registers, 'TxAddr0 +') + 16 * (sent['tx_packets']! % 64);
    const receive = value(registers, 'RxRingAddr +') + 16 * (sent['rx_packets']! % 64);
    const buffer = (at: number): number => new DataView(machine.memory.u8.buffer).getUint32(machine.p2m.ramAddress(at) + 8, true);
    const arrives = buffer(receive);
    debug.execute('run doorbell TxPoll');
    expect(whoWroteRegister(timeline, 0, 'IntrStatus')).toMatchObject({ by: 'device model' });
    expect(whoWroteMemory(timeline, transmit, 4)).toMatchObject({
      by: 'device model',
      text: expect.stringMatching(/^by DMA, serving exit \d+ \(.*0xf00000d9/) as string,
    });
    // The doorbell's instruction is not over: its first place is the one before its exit.
    debug.execute(`goto instruction ${timeline.position.instructions}`);
    const driver = whoWroteMemory(timeline, transmit, 4);
    expect(driver.by).toBe('guest');
    const into = BigInt(/0x[0-9a-f]+/.exec(driver.text)![0]) - BigInt(cpStartXmit);
    expect(into).toBeGreaterThan(0n);
    expect(into).toBeLessThan(0x1000n);
    debug.execute('run console 1 packets received');
    expect(whoWroteMemory(timeline, arrives, 14)).toMatchObject({
      by: 'device model',
      text: expect.stringContaining('by DMA') as string,
    });
    // The first entry of the last level in the page tables of `ping`, which runs: the kernel made it.
    timeline.goTo(timeline.kept.positions[0]!);
    debug.execute(`run rip ${cpStartXmit}`);
    const view = new DataView(machine.memory.u8.buffer);
    let entry = 0;
    for (let level = 4, table = Number(machine.hvm.engine.registers.cr3 & ~0xfffn); level > 0; level--) {
      const present = (at: number): boolean => (view.getUint8(machine.p2m.ramAddress(at)) & 1) === 1;
      entry = table;
      while (!present(entry)) entry += 8;
      table = Number(view.getBigUint64(machine.p2m.ramAddress(entry), true) & 0xf_ffff_ffff_f000n);
    }
    expect(whoWroteMemory(timeline, entry, 8)).toMatchObject({
      by: 'guest',
      // The kernel's own code, below the modules'.
      text: expect.stringMatching(/^the instruction at 0xffffffff[89ab]/) as string,
    });
  });
});
