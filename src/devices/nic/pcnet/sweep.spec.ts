/** Every port, every register behind RAP, every width and style, against the register table. */
import { describe, expect, it } from 'vitest';
import { widthMask, type RegisterDef } from '../../registers.ts';
import { BCR_BASE, CSR_BASE, pcnetRegisters, STOP_LOCK, type PcnetRegister } from './registers.ts';
import { BSBC, EXTCTL, LED, setUp, Status, SWS, TFEAT } from './testing/set-up.ts';

const table: readonly RegisterDef<PcnetRegister>[] = pcnetRegisters;
type Machine = ReturnType<typeof setUp>;
/** Reads and writes a register through RDP or BDP. */
const get = ({ readCsrAt, readBcrAt }: Machine, r: RegisterDef): number =>
  r.offset < BCR_BASE ? readCsrAt((r.offset - CSR_BASE) / 2) : readBcrAt((r.offset - BCR_BASE) / 2);
const put = ({ writeCsrAt, writeBcrAt }: Machine, r: RegisterDef, value: number): void =>
  r.offset < BCR_BASE ? writeCsrAt((r.offset - CSR_BASE) / 2, value) : writeBcrAt((r.offset - BCR_BASE) / 2, value);
const indexed = table.filter((r) => r.offset >= CSR_BASE);

/** Values at power-on that are not the table's: from the PROM, or computed. */
const computed: Readonly<Partial<Record<PcnetRegister, number>>> = {
  CSR12: 0x5452,
  CSR13: 0x1200,
  CSR14: 0x5634,
  CSR58: 0x0200,
  BCR4: 0x80c0,
};
/** Registers whose write does more than store. */
const special = new Set<PcnetRegister>([
  'CSR0',
  'CSR4',
  'CSR5',
  'CSR16',
  'CSR17',
  'CSR58',
  'CSR76',
  'CSR78',
  'BCR4',
  'BCR5',
  'BCR6',
  'BCR7',
  'BCR18',
  'BCR20',
]);

/** Registers that have a second number. */
const twins: Readonly<Partial<Record<PcnetRegister, PcnetRegister>>> = { CSR1: 'CSR16', CSR2: 'CSR17' };

describe('pcnet register sweep', () => {
  it('power-on values are those of the table; numbers of no register read zero', () => {
    const machine = setUp();
    for (let n = 0; n < 128; n++) {
      for (const [base, read] of [
        [CSR_BASE, machine.readCsrAt],
        [BCR_BASE, machine.readBcrAt],
      ] as const) {
        const register = indexed.find((r) => r.offset === base + 2 * n);
        const want = register === undefined ? 0 : (computed[register.name] ?? register.powerOn ?? register.reset ?? 0);
        expect(read(n), register?.name ?? `${base === CSR_BASE ? 'CSR' : 'BCR'}${n}`).toBe(want);
      }
    }
  });

  it('writes of a stopped chip change the register they name, and no other', () => {
    for (const value of [0xffff, 0x5aa5]) {
      for (const register of indexed) {
        if (special.has(register.name)) continue;
        const machine = setUp();
        const before = indexed.map((r) => get(machine, r));
        put(machine, register, value);
        const changed = indexed.flatMap((r, i) => (get(machine, r) === before[i] ? [] : [r.name]));
        const twin = twins[register.name];
        expect(changed, register.name).toEqual(register.access !== 'rw' ? [] : twin ? [register.name, twin] : [register.name]);
        if (register.access === 'rw') expect(get(machine, register)).toBe(value);
      }
    }
  });

  it('numbers of no register take nothing', () => {
    const machine = setUp();
    const before = machine.chip.save();
    for (let n = 0; n < 128; n++) {
      if (!indexed.some((r) => r.offset === CSR_BASE + 2 * n)) machine.writeCsrAt(n, 0xffff);
      if (!indexed.some((r) => r.offset === BCR_BASE + 2 * n)) machine.writeBcrAt(n, 0xffff);
    }
    machine.readCsrAt(before['rap'] as number);
    expect({ ...machine.chip.save(), rap: 0 }).toEqual(before);
  });

  it('write-one-to-clear, aliases, ring lengths and software styles', () => {
    const machine = setUp();
    const { readCsr, writeCsr, readBcr, writeBcr } = machine;
    writeCsr('TFEAT', 0xffff);
    expect(readCsr('TFEAT')).toBe(0xffff & ~(TFEAT.JAB | TFEAT.TXSTRT | TFEAT.RCVCCO | TFEAT.UINT | TFEAT.MFCO));
    writeCsr('EXTCTL', 0xffff & ~EXTCTL.SPND);
    expect(readCsr('EXTCTL')).toBe(0xffff & ~(EXTCTL.SPND | EXTCTL.MPINT | EXTCTL.EXDINT | EXTCTL.SLPINT | EXTCTL.SINT));
    writeCsr('CSR16', 0x1234);
    writeCsr('CSR17', 0x5678);
    expect(readCsr('IADRL')).toBe(0x1234);
    expect(readCsr('IADRU')).toBe(0x5678);
    expect(readCsr('CSR16')).toBe(0x1234);
    expect(readCsr('CSR17')).toBe(0x5678);
    for (const name of ['RCVRL', 'XMTRL'] as const) {
      writeCsr(name, 77);
      expect(readCsr(name), name).toBe(77);
      writeCsr(name, 0);
      expect(readCsr(name), name).toBe(512);
    }
    const { SSIZE32, CSRPCNET, APERREN } = SWS;
    for (const [value, want] of [
      [0, CSRPCNET],
      [1, SSIZE32 | 1],
      [2, CSRPCNET | SSIZE32 | 2],
      [3, CSRPCNET | SSIZE32 | 3],
      [4, CSRPCNET],
      [0xff, CSRPCNET],
      [0xff02, 0xff02],
      [APERREN | CSRPCNET | SSIZE32, APERREN | CSRPCNET],
    ] as const) {
      writeBcr('SWS', value);
      expect(readBcr('SWS'), `${value}`).toBe(want);
      expect(readCsr('SWS'), `${value}`).toBe(want);
    }
    writeCsr('SWS', 3);
    expect(readBcr('SWS')).toBe(CSRPCNET | SSIZE32 | 3);
    for (const name of ['LNKST', 'LED1', 'LED2', 'LED3'] as const) {
      writeBcr(name, LED.LEDOUT | LED.COLE);
      expect(readBcr(name), name).toBe(LED.COLE);
      writeBcr(name, LED.LNKSTE | LED.COLE);
      expect(readBcr(name), name).toBe(LED.LEDOUT | LED.LNKSTE | LED.COLE);
    }
  });

  it('locked registers keep their value while the chip runs', () => {
    const machine = setUp();
    const { readCsr, writeCsr, readBcr, writeBcr, start } = machine;
    expect(table.filter((r) => r.lock === STOP_LOCK).map((r) => r.dataSheet)).toEqual(['MFC']);
    start();
    writeCsr('MFC', 9);
    writeBcr('SWS', 3);
    expect(readCsr('MFC')).toBe(0);
    expect(readBcr('SWS')).toBe(SWS.CSRPCNET | SWS.SSIZE32 | 2);
    writeCsr('EXTCTL', EXTCTL.SPND);
    writeCsr('MFC', 9);
    writeBcr('SWS', 3);
    expect(readCsr('MFC')).toBe(9);
    expect(readBcr('SWS')).toBe(SWS.CSRPCNET | SWS.SSIZE32 | 3);
  });

  it('ports: each style answers at its own width and offsets alone', () => {
    for (const dwio of [false, true]) {
      const machine = setUp();
      const { readAt } = machine;
      if (dwio) machine.dwio.write('RDP', 0);
      const answers = (size: number, offset: number): boolean =>
        offset < 0x10 ? (dwio ? size === 4 : size < 4) : dwio ? size === 4 && offset % 4 === 0 : size === 2 && offset < 0x18;
      for (const size of [1, 2, 4] as const) {
        for (let offset = 0; offset < 0x20; offset += size) {
          // The reset ports change the style.
          const reset = machine[dwio ? 'dwio' : 'wio'].offset('RESET');
          if (offset + size > reset && offset < reset + (dwio ? 4 : 2)) continue;
          const value = readAt(offset, size);
          if (!answers(size, offset))
            expect(value, `${dwio ? 'DWIO' : 'WIO'} ${size} at 0x${offset.toString(16)}`).toBe(widthMask(size));
          else expect(value).not.toBe(widthMask(size));
        }
      }
    }
  });

  it('the table names every port of both styles', () => {
    expect(table.filter((r) => r.offset >= 0x10 && r.offset < 0x20).map((r) => [r.name, r.mode, r.otherwise?.name])).toEqual([
      ['RDP', 'WIO', 'RDP'],
      ['RAP', 'WIO', undefined],
      ['RESET', 'WIO', 'RAP'],
      ['BDP', 'WIO', undefined],
      ['RESET32', 'DWIO', undefined],
      ['BDP32', 'DWIO', undefined],
    ]);
  });

  it('every access of every width and value class ends, also with the chip running', () => {
    for (const style of [0, 1, 2, 3] as const) {
      const machine = setUp();
      machine.start({ style, rlen: 7, tlen: 7 });
      for (let n = 0; n < 128; n++) {
        for (const value of [0, 1, Status.STRT | Status.IENA, 0xffff]) {
          machine.writeCsrAt(n, value);
          machine.writeBcrAt(n, value & ~BSBC.DWIO);
        }
      }
      for (const size of [1, 2, 4] as const) {
        for (let offset = -4; offset < 0x24; offset++) {
          for (const value of [0, 1, 0x80, 0xffffffff]) {
            machine.writeAt(offset, size, (value & widthMask(size)) >>> 0);
            const got = machine.readAt(offset, size);
            expect(Number.isInteger(got) && got >= 0 && got <= widthMask(size)).toBe(true);
          }
        }
      }
    }
  });
});
