import { describe, expect, it } from 'vitest';
import { describeFields, explainAccess, widthMask } from './registers.ts';
import { e1000Registers } from './nic/e1000/registers.ts';
import { rtl8139Registers } from './nic/rtl8139/registers.ts';
import { pciHeader } from './pci/config-space.ts';
import { uartRegisters } from './serial/registers.ts';

describe('register tables', () => {
  for (const [chip, table, size] of [
    ['rtl8139', rtl8139Registers, 256],
    ['pci header', pciHeader, 64],
  ] as const) {
    it(`${chip}: ascending, aligned, no overlap, fields inside the register`, () => {
      let end = 0;
      for (const r of table as readonly import('./registers.ts').RegisterDef[]) {
        expect(r.offset, r.name).toBeGreaterThanOrEqual(end);
        expect(r.offset % r.width, r.name).toBe(0);
        end = r.offset + r.width;
        let used = 0;
        for (const f of r.fields ?? []) {
          const mask = (f.bits === 32 ? 0xffffffff : 2 ** (f.bits ?? 1) - 1) * 2 ** f.lsb;
          expect(mask, `${r.name}.${f.name}`).toBeLessThanOrEqual(widthMask(r.width));
          expect((used & mask) >>> 0, `${r.name}.${f.name} overlaps`).toBe(0);
          used = (used | mask) >>> 0;
        }
        for (const v of [r.reset, r.powerOn, r.writable])
          if (v !== undefined) expect(v, r.name).toBeLessThanOrEqual(widthMask(r.width));
      }
      expect(end).toBeLessThanOrEqual(size);
      expect(new Set(table.map((r) => r.name)).size).toBe(table.length);
    });
  }

  it('name the register that a write goes to, where the place has one to read and one to write', () => {
    const name = (dir: 'read' | 'write', offset: number, mode?: string): string =>
      explainAccess(uartRegisters, offset, 1, 0x41, mode, dir)[0]!.name;
    expect([name('read', 0), name('write', 0), name('read', 2), name('write', 2)]).toEqual(['RBR', 'THR', 'IIR', 'FCR']);
    expect([name('read', 0, 'DLAB=1'), name('write', 0, 'DLAB=1'), name('write', 1, 'DLAB=0')]).toEqual(['DLL', 'DLL', 'IER']);
    expect(explainAccess(uartRegisters, 2, 1, 0xc7, undefined, 'write')[0]!.fields).toBe(
      'Enable ClearReceive ClearTransmit Trigger=0x3',
    );
  });

  it('explains a doorbell', () => {
    const [poll, ...rest] = explainAccess(rtl8139Registers, 0xd9, 1, 0x40, 'C+');
    expect(rest).toEqual([]);
    expect(poll!.name).toBe('TxPoll');
    expect(poll!.fields).toBe('NPQ');
  });

  it('explains an access over two registers, and one in the middle of a register', () => {
    const both = explainAccess(rtl8139Registers, 0x3c, 4, 0x0004_80ff);
    expect(both.map((e) => [e.name, e.fields])).toEqual([
      ['IntrMask', 'RxOK RxErr TxOK TxErr RxOverflow RxUnderrun RxFIFOOver TxEmpty PCIErr'],
      ['IntrStatus', 'TxOK'],
    ]);
    const [version] = explainAccess(rtl8139Registers, 0x43, 1, 0x74);
    expect(version!.name).toBe('TxConfig+3');
    expect(version!.value).toBe(0x74000000);
  });

  it('knows the C+ meaning of a place', () => {
    expect(explainAccess(rtl8139Registers, 0x20, 4, 0xd4e6c400, 'C+')[0]!.name).toBe('TxRingAddr');
    expect(explainAccess(rtl8139Registers, 0x20, 4, 0xd4e6c400)[0]!.name).toBe('TxAddr0');
    expect(explainAccess(rtl8139Registers, 0x10, 4, 0x1008, 'C+')[0]!.fields).toBe('DumpStats Addr=0x40');
    expect(explainAccess(rtl8139Registers, 0xd4 - 4, 1, 0)).toEqual([]);
  });

  it('names a register of an array, and an access in the middle of one or over two', () => {
    const names = (offset: number, size: number): string[] => explainAccess(e1000Registers, offset, size, 0).map((e) => e.name);
    expect([names(0x5200, 4), names(0x53fc, 4), names(0x5215, 1)]).toEqual([['MTA[0]'], ['MTA[127]'], ['MTA[5]+1']]);
    expect([names(0x5408, 8), names(0x547c, 4), names(0x5480, 4), names(0x51fc, 4)]).toEqual([
      ['RAL[1]', 'RAH[1]'],
      ['RAH[15]'],
      [],
      [],
    ]);
    expect(explainAccess(e1000Registers, 0x5206, 2, 0x8000)[0]).toMatchObject({ name: 'MTA[1]+2', value: 0x80000000 });
  });

  it('names values, wide fields and bits of no field', () => {
    const rxConfig = rtl8139Registers.find((r) => r.name === 'RxConfig')!;
    expect(describeFields(rxConfig.fields!, 0x0000_d70a)).toBe('AcceptMyPhys AcceptBroadcast MXDMA=0x7 RxBufLen=32K RXFTH=0x6');
    expect(describeFields(rxConfig.fields!, 0x8000_0000)).toBe('RxBufLen=8K 0x80000000');
  });
});
