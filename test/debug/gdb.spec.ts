/** The remote stub with Debian's gdb, and with packets that no gdb sends. */
import { connect } from 'node:net';
import { beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../src/base/errors.ts';
import { Debugger } from '../../src/debug/commands.ts';
import { packet, PACKET_SIZE, PacketReader } from '../../src/debug/gdb/packets.ts';
import { parseGdbAddress, serveGdb } from '../../src/debug/gdb/server-node.ts';
import { Timeline } from '../../src/debug/timeline.ts';
import { lackOf } from '../needs.ts';
import { tinyOptions } from '../state/machines.ts';
import { gdbAt } from './gdb.ts';

const noGdb = await lackOf('gdb');
let debug: Debugger;
beforeAll(async () => {
  debug = new Debugger(await Timeline.ofMachine(tinyOptions()));
});

const gdb = (...commands: string[]): Promise<string> => gdbAt(debug, ...commands);

describe('GDB', () => {
  it.skipIf(noGdb.skip)(noGdb.title('stops at breakpoints, steps and watches, forwards and backwards'), async () => {
    const out = await gdb(
      'break *0x107002',
      'continue',
      'printf "rip %#lx cs %#x rbx %#lx\\n", $rip, $cs, $rbx',
      'reverse-stepi',
      'printf "back at %#lx\\n", $rip',
      'delete',
      'watch *(int*)0x118000',
      'continue',
      'printf "behind %#lx: %#x\\n", $rip, *(int*)0x118000',
      'reverse-continue',
      'printf "before %#lx: %#x\\n", $rip, *(int*)0x118000',
      'monitor info ioreq',
      'monitor frob',
    );
    expect(out).toMatch(/Breakpoint 1, 0x0*107002/);
    expect(out).toContain('rip 0x107002 cs 0x8 rbx 0xf0000000');
    expect(out).toContain('back at 0x107001');
    // The guest's driver hands the descriptor to the chip: OWN is bit 31.
    const behind = /behind 0x([0-9a-f]+): 0x([0-9a-f]+)/.exec(out)!;
    const before = /before 0x([0-9a-f]+): 0x([0-9a-f]+)/.exec(out)!;
    expect(Number.parseInt(behind[2]!, 16) >>> 31).toBe(1);
    expect(Number.parseInt(before[2]!, 16) >>> 31).toBe(0);
    expect(Number.parseInt(behind[1]!, 16) - Number.parseInt(before[1]!, 16)).toBe(6); // mov %eax,0x118000(%rdi)
    expect(out).toMatch(/"vcpu":0/);
    expect(out).toContain("'frob' is not a command");
  });

  it.skipIf(noGdb.skip)(noGdb.title('watches reads and any access, by instructions and by DMA'), async () => {
    const show = (name: string): string => `printf "${name} rip %#lx: %#x\\n", $rip, *(int*)0x118000`;
    const out = await gdb(
      'rwatch *(int*)0x118000',
      'continue',
      show('chip'),
      'continue',
      show('driver'),
      'delete',
      'watch *(int*)0x118000',
      'reverse-continue',
      show('before the chip gave it back'),
      'reverse-continue',
      show('before the driver gave it'),
      'delete',
      'awatch *(int*)0x118000',
      'continue',
      show('given'),
      'continue',
      show('taken'),
    );
    const owned = (name: string): boolean =>
      Number.parseInt(new RegExp(`^${name} rip 0x[0-9a-f]+: 0x([0-9a-f]+)$`, 'm').exec(out)?.[1] ?? '', 16) >>> 31 === 1;
    // The chip reads the descriptor and writes it within one exit; the driver reads it in its interrupt handler. GDB also names a
    // watchpoint as it is made.
    expect(out.match(/^Hardware read watchpoint 1: /gm)).toHaveLength(1 + 2);
    expect([owned('chip'), owned('driver')], out).toEqual([false, false]);
    expect(owned('before the chip gave it back'), out).toBe(true);
    expect(owned('before the driver gave it'), out).toBe(false);
    expect(out.match(/^Hardware access \(read\/write\) watchpoint 3: /gm)).toHaveLength(1 + 2);
    expect([owned('given'), owned('taken')], out).toEqual([true, false]);
  });

  it.skipIf(noGdb.skip)(noGdb.title('changes registers and memory; the run goes on from there'), async () => {
    const out = await gdb(
      'stepi 3',
      'set var *(int*)0x200000 = 0x12345678',
      'printf "memory %#x\\n", *(int*)0x200000',
      'set var $rcx = 0x1122334455667788',
      'printf "rcx %#lx\\n", $rcx',
      'info registers xmm0',
    );
    expect(out).toContain('memory 0x12345678');
    expect(out).toContain('rcx 0x1122334455667788');
    expect(out).toContain('v4_float');
  });
});

describe('the remote protocol', () => {
  it('bounds packets, checks them and drops what is none', () => {
    const reader = new PacketReader();
    const replies: string[] = [];
    const take = (text: string): string[] =>
      [...reader.take(Buffer.from(text, 'latin1'), (reply) => replies.push(reply))].map((p) =>
        p.kind === 'packet' ? p.data : p.kind,
      );
    expect(take('+++garbage$m0,4#fd')).toEqual(['m0,4']);
    expect(take(packet('}#$*'))).toEqual(['}#$*']);
    expect(take('$abc#00')).toEqual([]);
    expect(replies.splice(0)).toEqual(['+', '+', '-']);
    expect(take(`$${'x'.repeat(PACKET_SIZE + 10)}#00`)).toEqual([]);
    expect(take('\x03')).toEqual(['interrupt']);
    expect(take(packet('?').slice(0, 2))).toEqual([]);
    expect(take(packet('?').slice(2))).toEqual(['?']);
  });

  it('answers packets that are wrong, and refuses a second client', async () => {
    const said: string[] = [];
    const server = await serveGdb(debug, parseGdbAddress(':0'), (text) => said.push(text));
    const port = Number(server.address.split(':').at(-1));
    const socket = connect(port, '127.0.0.1');
    let out = '';
    socket.on('data', (bytes) => (out += String(bytes)));
    const ask = async (data: string): Promise<string> => {
      out = '';
      socket.write(packet(data), 'latin1');
      while (!/\$.*#../s.test(out)) await new Promise((resolve) => setTimeout(resolve, 5));
      return /\$(.*)#/s.exec(out)![1]!;
    };
    expect(await ask('?')).toBe('T05thread:1;');
    for (const bad of ['m', 'mzz,4', 'Mffff,4:00', 'p9999', 'P0=zz', 'Z0', 'qRcmd,zz', 'Gzz'])
      expect(await ask(bad), bad).toMatch(/^E/);
    for (const good of ['Z3,1000,4', 'Z4,1000,4', 'z3,1000,4', 'z4,1000,4']) expect(await ask(good), good).toBe('OK');
    expect(await ask('Z5,1000,4')).toBe('E01');
    expect(await ask('vFrob')).toBe('');
    const second = connect(port, '127.0.0.1');
    await new Promise((resolve) => second.on('close', resolve));
    expect(said.join('\n')).toMatch(/a second client was refused/);
    socket.destroy();
    server.close();
    await expect(serveGdb(debug, parseGdbAddress('unix:/nowhere/at/all'), () => {})).rejects.toThrow(/cannot listen/);
    for (const bad of ['', 'localhost', ':99999', 'unix:']) expect(() => parseGdbAddress(bad), bad).toThrow(UserError);
  });
});
