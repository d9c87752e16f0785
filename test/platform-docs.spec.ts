import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { platformTables } from '../src/abi/registers/platform.ts';
import { withRegisterTable } from '../src/devices/register-doc.ts';

describe('docs/platform.md', () => {
  it.each(Object.entries(platformTables))(
    'has the register table of %s as the code has it (else: node scripts/docs.mjs)',
    (name, table) => {
      const page = readFileSync(new URL('../docs/platform.md', import.meta.url), 'utf8');
      expect(withRegisterTable(page, table, name)).toBe(page);
    },
  );

  it('declares registers in ascending order, apart, each within its reset and writable width', () => {
    for (const [name, table] of Object.entries(platformTables)) {
      let end = -1;
      for (const r of table) {
        const size = name === 'IOAPIC window' ? 1 : r.width;
        expect(r.offset, `${name} ${r.name}`).toBeGreaterThanOrEqual(end);
        end = r.offset + size;
        for (const value of [r.reset ?? 0, r.writable ?? 0])
          expect(value >>> 0, `${name} ${r.name}`).toBeLessThan(2 ** (8 * r.width));
      }
    }
  });
});
