/** The debugger's commands on a run of the tiny guest. */
import { beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../src/base/errors.ts';
import { Debugger } from '../../src/debug/commands.ts';
import { Timeline } from '../../src/debug/timeline.ts';
import type { Position } from '../../src/machine/state/machine-state.ts';
import { prepareHash, stateHash } from '../../src/machine/state/hash.ts';
import { disassemble } from '../../src/machine/disassemble-node.ts';
import { tinyOptions } from '../state/machines.ts';

let debug: Debugger;
beforeAll(async () => {
  await prepareHash();
  debug = new Debugger(await Timeline.ofMachine(tinyOptions()), disassemble);
});

const data = <T>(line: string): T => debug.execute(line).data as T;
const hash = (): string => stateHash(debug.timeline.machine);

describe('the debugger', () => {
  it('goes to an instruction or an exit, forwards and backwards, and is in the same state there', () => {
    data('goto exit 250');
    const at250 = hash();
    data('goto instruction 9000');
    const at9000 = hash();
    data('goto exit 400');
    expect(data<Position>('goto exit 250').exits).toBe(250);
    expect(hash()).toBe(at250);
    expect(data<Position>('goto instruction 9000').instructions).toBe(9000);
    expect(hash()).toBe(at9000);
    data('step 5');
    data('back 5');
    expect(hash()).toBe(at9000);
    data('step exit');
    data('back exit');
    data('run');
    expect(debug.timeline.end).toBe('shutdown');
    data('goto start');
    expect(debug.timeline.position.instructions).toBe(0);
  });

  it('steps from doorbell to doorbell and from interrupt to interrupt', () => {
    data('goto start');
    expect(debug.execute('run doorbell TxPoll').text).toMatch(/rtl8139\.0 TxPoll = 0x40 TxPoll \(NPQ\)/);
    const first = debug.timeline.position;
    data('step doorbell');
    data('step doorbell');
    data('back doorbell');
    data('back doorbell');
    expect(debug.timeline.position).toEqual(first);
    expect(debug.execute('step interrupt').text).toMatch(/interrupt: vector 0x/);
    expect(debug.execute('goto start').text).not.toBe('');
    expect(debug.execute('back doorbell').text).toMatch(/no doorbell came before/);
  });

  it('says who wrote memory and registers', () => {
    data('run doorbell TxPoll');
    data('goto exit 300');
    // The transmit descriptor: the driver gave it to the chip, which took it back while it served the doorbell.
    const tx = 0x118100;
    expect(debug.execute('who-wrote 0x118100 4').text).toMatch(
      /^device model: by DMA, serving exit \d+ \(ioreq \d+: vCPU 0 write of gpa 0xf00000d9/,
    );
    // The receive descriptor: the frame came by itself.
    expect(debug.execute('who-wrote 0x118000 4').text).toMatch(/^device model: by DMA, on its own, after exit \d+/);
    const { position } = data<{ position: Position }>(`who-wrote 0x${tx.toString(16)} 4`);
    data(`goto instruction ${position.instructions}`);
    const driver = data<{ by: string; position: Position }>(`who-wrote 0x${tx.toString(16)} 4`);
    expect(driver.by).toBe('guest');
    // Before that instruction the descriptor is still the chip's no more, behind it it is.
    data(`goto instruction ${driver.position.instructions}`);
    const before = data<string>(`xp 0x${tx.toString(16)} 4`);
    data('step');
    expect(data<string>(`xp 0x${tx.toString(16)} 4`)).not.toBe(before);
    data('goto exit 400');
    expect(debug.execute('who-wrote IntrStatus').text).toMatch(/^device model: serving exit \d+, to 0x/);
    expect(debug.execute('who-wrote 0x100000').text).toMatch(/^domain builder/);
  });

  it('shows what can be read at a stop', () => {
    data('goto exit 300');
    expect(data<Record<string, string>>('info registers')).toHaveProperty('cr3');
    expect(debug.execute('walk 0x107002').text).toMatch(/PML4E.*\n.*\n.*PS\ngpa 0x107002 → mfn 0x/);
    expect(data<unknown[]>('info events')).toHaveLength(4);
    expect(debug.execute('info ioreq').text).toMatch(/synchronous/);
    expect(debug.execute('p2m 0x100').text).toMatch(/ramRw/);
    expect(debug.execute('disassemble').text).toContain('>');
    expect(debug.execute('info log 3').text).toMatch(/\n/);
    for (const what of ['interrupts', 'mapcache', 'timers', 'console', 'states', 'nic'])
      expect(debug.execute(`info ${what}`).text).not.toBe('');
    expect(debug.execute('help').text).toMatch(/who-wrote GPA/);
  });

  it('refuses in one line what it cannot do', () => {
    for (const bad of [
      'frob',
      'goto',
      'goto exit x',
      'goto instruction -1',
      'step sideways',
      'who-wrote',
      'who-wrote Frob',
      'x zz',
      'xp 0xfffffffff000',
      'info',
      'info nic 9',
      'ring up 0',
      'run frob',
      'run reg rax',
      'p2m',
    ])
      expect(() => debug.execute(bad), bad).toThrow(UserError);
    expect(debug.execute('  # a comment').text).toBe('');
  });
});
