import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import { nicModels } from '../devices/nic/models.ts';
import { Qmp } from './qmp.ts';
import { QtestMachine } from './qtest-machine.ts';
import { QtestProtocol } from './qtest-protocol.ts';
import { parseQtestArguments, runQtest } from './qtest-server.ts';
import { QtestClient, timerTest } from './testing/qtest-client.ts';

function protocol() {
  const out: string[] = [];
  const machine = new QtestMachine(16 << 20, [{ model: 'rtl8139' }]);
  const p = new QtestProtocol(machine, (line) => out.push(line));
  return { machine, ask: (line: string): string => (p.request(line), out.splice(0).join('\n')) };
}

describe('qtest protocol', () => {
  it("answers in QEMU's forms", () => {
    const { ask } = protocol();
    expect(ask('endianness')).toBe('OK little');
    expect(ask('inb 0x64')).toBe('OK 0x00ff');
    expect(ask('outl 0xcf8 0x80001002')).toBe('OK');
    expect(ask('inw 0xcfc')).toBe('OK 0x8139');
    expect(ask('writel 0x1000 0x12345678')).toBe('OK');
    expect(ask('readl 4096')).toBe('OK 0x0000000012345678');
    expect(ask('writeq 010000 0xffffffffffffffff')).toBe('OK');
    expect(ask('readq 0x1000')).toBe('OK 0xffffffffffffffff');
    expect(ask('read 0x1006 4')).toBe('OK 0xffff0000');
    expect(ask('write 0x2000 4 0xabcd')).toBe('OK');
    expect(ask('read 0x2000 4')).toBe('OK 0xabcd0000');
    expect(ask('memset 0x2001 2 0x55')).toBe('OK');
    expect(ask('memset 0x2001 0 0x77')).toBe('OK');
    expect(ask('b64read 0x2000 4')).toBe(`OK ${Buffer.from([0xab, 0x55, 0x55, 0]).toString('base64')}`);
    expect(ask('b64write 0x2000 3 AQID')).toBe('OK');
    expect(ask('read 0x2000 3')).toBe('OK 0x010203');
    expect(ask('readl 0x80000000')).toBe('OK 0x0000000000000000');
    expect(ask('clock_step 250')).toBe('OK 250');
    expect(ask('clock_set 1000')).toBe('OK 1000');
    expect(ask('clock_step')).toBe('OK 1000');
    expect(ask('module_load net x')).toMatch(/^FAIL /);
  });

  it('refuses what it cannot read, and lives on', () => {
    const { ask } = protocol();
    for (const bad of [
      'frobnicate',
      'inb',
      'inb zz',
      'inb 0x10000',
      'inq 0x10',
      'read 0 0',
      'read 0 99999999999',
      'write 0 1 123',
      'readl 0x10000000000000',
      'irq_intercept_in /machine/nic',
      'outb 1',
    ]) {
      expect(ask(bad), bad).toMatch(/^(ERR|FAIL) \S/);
    }
    expect(ask('   ')).toBe('');
    expect(ask('endianness')).toBe('OK little');
  });

  it('reaches registers and RAM in one range, cut where they meet', () => {
    const { ask } = protocol();
    ask('outl 0xcf8 0x80001014');
    ask('outl 0xcfc 0x00400000'); // the card's memory BAR in the middle of RAM
    ask('outl 0xcf8 0x80001004');
    ask('outl 0xcfc 7');
    ask('write 0x3ffffe 2 0xa1a2');
    expect(ask('read 0x3ffffe 10')).toBe('OK 0xa1a2525400123456' + '0000');
  });

  it('tells of interrupts at the I/O APIC once the link is routed', () => {
    const { ask } = protocol();
    expect(ask('irq_intercept_in ioapic')).toBe('OK');
    for (const [register, value] of [
      [0x10, 0xc000],
      [0x04, 7],
    ] as const) {
      ask(`outl 0xcf8 ${(0x80001000 | register) >>> 0}`);
      ask(`outl 0xcfc ${value}`);
    }
    ask('outw 0xc03c 0x4000');
    ask('outl 0xc054 1');
    ask('outl 0xc048 0');
    expect(ask('clock_step 1000')).toBe('OK 1000');
    ask('outl 0xcf8 0x80000860');
    expect(ask('outl 0xcfc 0x80800b0a')).toBe('OK'); // device 2 is on link C
    expect(ask('outl 0xcfc 0x800a8080')).toBe('IRQ raise 10\nOK');
    expect(ask('outw 0xc03e 0x4000')).toBe('IRQ lower 10\nOK');
    expect(ask('set_irq_in /machine/unattached/ioapic NULL 7 1')).toBe('IRQ raise 7\nOK');
  });
});

describe('qtest command line', () => {
  it("reads what QEMU's library passes", () => {
    expect(
      parseQtestArguments(
        '-qtest unix:/tmp/a -qtest-log /dev/null -chardev socket,path=/tmp/b,id=char0 -mon chardev=char0,mode=control -display none -M pc -device rtl8139,addr=04.0 -accel qtest'.split(
          ' ',
        ),
      ),
    ).toEqual({
      qtest: 'unix:/tmp/a',
      log: '/dev/null',
      monitors: ['/tmp/b'],
      devices: [{ model: 'rtl8139', at: 0x20 }],
      ramSize: 128 << 20,
      release: 7,
    });
  });

  it('reads what the library of later releases passes', () => {
    const later =
      '-qtest unix:/tmp/a -qtest-log /dev/fd/2 -chardev socket,path=/tmp/b,id=char0 -mon chardev=char0,mode=control -display none -audio none -run-with exit-with-parent=on -smp 1 -nodefaults -S -device rtl8139 -accel qtest';
    expect(parseQtestArguments(later.split(' '))).toEqual({
      qtest: 'unix:/tmp/a',
      log: '/dev/fd/2',
      monitors: ['/tmp/b'],
      devices: [{ model: 'rtl8139' }],
      ramSize: 128 << 20,
      release: 10,
    });
  });

  it('says what is wrong', () => {
    for (const [line, message] of [
      ['', /-qtest is missing/],
      ['-qtest tcp:1', /unix:PATH or stdio/],
      ['-qtest', /expected a value/],
      ['-qtest stdio -frob 1', /-frob: unknown option/],
      ['-qtest stdio -mon chardev=x,mode=control', /no -chardev/],
      ['-qtest stdio -device rtl8139,addr=99', /expected DEVICE.FUNCTION/],
      ['-qtest stdio -m 0', /-m: expected/],
    ] as const)
      expect(() => parseQtestArguments(line.split(' ').filter(Boolean)), line).toThrow(message);
    expect(() => new QtestMachine(1 << 20, [{ model: 'e1001' }])).toThrow(UserError);
    expect(() => new QtestMachine(1 << 20, [{ model: 'rtl8139', at: 8 }])).toThrow(/taken by PIIX3/);
  });
});

describe('qtest front end over its sockets', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'qtest-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  async function start(...testArgs: string[]) {
    const client = new QtestClient(folder, testArgs);
    const ended = runQtest(parseQtestArguments(client.args));
    await client.ready();
    return { client, ended };
  }

  it('passes the RTL8139 timer test: rate, wrap, interrupt', async () => {
    const { client, ended } = await start('-device', 'rtl8139');
    const { rates, wraps } = await timerTest(client);
    expect(wraps).toBe(3);
    expect(Math.max(...rates) - Math.min(...rates)).toBeLessThan(2);
    client.close();
    await ended;
  });

  /** What a read in the chip's first BAR gives after a reset: its place, width, and value. */
  const first: Readonly<Record<string, readonly [offset: number, width: 'b' | 'w' | 'l', value: number]>> = {
    // The station address, in all but the NE2000, which has it in its PROM: there the interrupt status, which says that it was reset.
    rtl8139: [0, 'l', 0x12005452],
    e1000: [0x5400, 'l', 0x12005452],
    ne2k_pci: [7, 'b', 0x80],
    pcnet: [0, 'w', 0x5452],
  };

  it.each(nicModels.map((model) => [model.name, model] as const))(
    "%s: what QEMU's graph-walking tests do with it: found at its place, BARs sized and placed, a register read, its type listed",
    async (name, { reading }) => {
      const { client, ended } = await start('-device', `${name},addr=04.0`);
      expect((await client.qmp('qom-list-types', { implements: 'device', abstract: true }))['return']).toContainEqual({ name });
      const at = await client.findPci(reading.vendorId, reading.deviceIds[0]!);
      expect(at).toBe(4 << 3);
      for (const [i, { bar, space, size }] of reading.blocks.entries()) {
        await client.configWrite(at, bar, 'l', 0xffffffff);
        const kind = space === 'pio' ? 1 : 0;
        expect(await client.configRead(at, bar, 'l')).toBe((-size | kind) >>> 0);
        await client.configWrite(at, bar, 'l', space === 'pio' ? 0xc000 + 0x100 * i : 0xe0000000 + 0x100000 * i);
      }
      await client.configWrite(at, 4, 'w', 7);
      const [offset, width, value] = first[name]!;
      const pio = reading.blocks[0]!.space === 'pio';
      expect(await client.number(`${pio ? 'in' : 'read'}${width} ${(pio ? 0xc000 : 0xe0000000) + offset}`)).toBe(value);
      client.close();
      await ended;
    },
  );

  it('gives each of several NICs a place of its own', () => {
    const devices = nicModels.flatMap(({ name }) => [{ model: name }, { model: name }]);
    const machine = new QtestMachine(1 << 20, devices);
    const ids = devices.map((_, i) => {
      machine.ports.write(0xcf8, 4, (0x80000000 | ((2 + i) << 11)) >>> 0);
      return machine.ports.read(0xcfc, 4);
    });
    expect(ids).toEqual(
      nicModels.flatMap(({ reading: r }) => Array.from({ length: 2 }, () => ((r.deviceIds[0]! << 16) | r.vendorId) >>> 0)),
    );
  });

  it('answers QMP as the graph-walking tests ask it, resets, quits', async () => {
    const { client, ended } = await start('-machine', 'none');
    const machines = (await client.qmp('query-machines'))['return'] as Record<string, unknown>[];
    for (const field of ['name', 'cpu-max', 'hotpluggable-cpus', 'numa-mem-supported', 'deprecated'])
      expect(machines[0]).toHaveProperty(field);
    expect(machines[0]!['alias']).toBe('pc');
    expect(machines[0]).not.toHaveProperty('acpi');
    expect((await client.qmp('qom-list-types', { implements: 'device', abstract: true }))['return']).toContainEqual({
      name: 'rtl8139',
    });
    expect(await client.qmp('frobnicate')).toMatchObject({ error: { class: 'CommandNotFound' } });
    await client.command('outl 0xcf8 0x80000060');
    await client.qmp('system_reset');
    expect(await client.qmpEvent()).toMatchObject({ event: 'RESET', data: { guest: false } });
    expect(await client.number('inl 0xcf8')).toBe(0);
    await client.command('outb 0xcf9 6');
    expect(await client.qmpEvent()).toMatchObject({ event: 'RESET', data: { guest: true } });
    expect(await client.qmp('quit')).toEqual({ return: {} });
    await ended;
  });

  it('outlives QMP lines that are no command', () => {
    const sent: string[] = [];
    const qmp = new Qmp({ reset: () => {}, quit: () => {} }, (line) => sent.push(line));
    for (const line of ['null', '{}', '[]', '"x"', '{"execute": true}', '{', '7']) {
      qmp.request(line);
      expect(JSON.parse(sent.pop()!), line).toMatchObject({ error: { class: 'GenericError' } });
    }
    qmp.request('{"execute": "qmp_capabilities", "id": 3}');
    expect(JSON.parse(sent.pop()!)).toEqual({ return: {}, id: 3 });
  });

  it('tells the tests of later releases what those ask of a machine', async () => {
    const { client, ended } = await start('-audio', 'none', '-machine', 'none');
    expect((await client.qmp('query-machines'))['return']).toMatchObject([{ name: 'pc-i440fx-10.0', alias: 'pc', acpi: true }]);
    expect((await client.qmp('query-version'))['return']).toMatchObject({ qemu: { major: 10 } });
    client.close();
    await ended;
  });

  it('says so when the test does not listen', async () => {
    await expect(runQtest(parseQtestArguments(['-qtest', `unix:${join(folder, 'none')}`]))).rejects.toThrow(
      /the test must listen there first/,
    );
  });
});
