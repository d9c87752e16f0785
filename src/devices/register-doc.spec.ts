import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { chipsetTables } from './chipset.ts';
import { ne2kRegisters } from './nic/ne2k_pci/registers.ts';
import { pcnetRegisters } from './nic/pcnet/registers.ts';
import { e1000Tables } from './nic/e1000/tables.ts';
import { rtl8139Registers } from './nic/rtl8139/registers.ts';
import { registerTable, withRegisterTable } from './register-doc.ts';

const page = (name: string): string => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');

describe('register tables in docs', () => {
  const chips = [
    ['rtl8139.md', rtl8139Registers],
    ['ne2k_pci.md', ne2kRegisters],
    ['pcnet.md', pcnetRegisters],
  ] as const;
  for (const [name, table] of chips) {
    it(`docs/${name} is current (else: node scripts/docs.mjs)`, () => {
      expect(withRegisterTable(page(name), table)).toBe(page(name));
    });
  }

  it('a place that is written as another register tells of both', () => {
    expect(registerTable(ne2kRegisters)).toMatch(
      /EN0_TSR .*Transmit status.*Written: \*\*EN0_TPSR\*\*: Page of the frame to send/,
    );
  });

  it('docs/e1000.md is current (else: node scripts/docs.mjs)', () => {
    for (const [name, table] of Object.entries(e1000Tables)) {
      expect(withRegisterTable(page('e1000.md'), table, name)).toBe(page('e1000.md'));
    }
    expect(registerTable(e1000Tables['']!)).toContain('| 0x5200 … 0x53fc | 4 | MTA[0] … MTA[127] |');
    expect(registerTable(e1000Tables['']!)).toContain(
      '| 0x5404 … 0x547c | 4 | RAH[0] … RAH[15] |  | rw | 0x00000000 |  | Station address, last two bytes. Every 8 bytes.',
    );
  });

  it('one row for equal neighbours; modes, locks, fields and values are told', () => {
    const text = registerTable(rtl8139Registers);
    expect(text).toContain('| 0x00 … 0x05 | 1 | MAC0 … MAC5 | IDR0 … IDR5 | rw |  |  | Station address');
    expect(text).toContain('C+: **StatsAddr**: Tally counter dump');
    expect(text).toMatch(/Config3 .*Needs the Cfg9346 lock open/);
    expect(text).toMatch(/RxConfig .*`RxBufLen` 12:11 \(C mode ring size; 0 = 8K, 1 = 16K/);
    expect(() => withRegisterTable('nothing', rtl8139Registers)).toThrow(/markers/);
  });

  it('docs/device-model.md is current (else: node scripts/docs.mjs)', () => {
    const page = readFileSync(new URL('../../docs/device-model.md', import.meta.url), 'utf8');
    for (const [name, table] of Object.entries(chipsetTables)) expect(withRegisterTable(page, table, name)).toBe(page);
    expect(() => withRegisterTable(page, [], 'NE3000')).toThrow(/registers NE3000/);
  });
});
