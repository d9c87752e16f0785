/** Walks of tables built by hand, in each mode. Source of the formats: Intel SDM volume 3, chapter 4. */
import { describe, expect, it } from 'vitest';
import { Efer } from '../cpu/interface.ts';
import { type Inspected, walk } from './page-walk.ts';

const CR0_PG = 0x8000_0000;
const PSE = 1 << 4;
const PAE = 1 << 5;
const RAM = 0x10_0000;

/** A guest whose machine frames lie 0x1000 above its guest frames, and entries of its tables: 8 bytes each, or 4. */
function guest(registers: object, entries: Readonly<Record<number, bigint>>, width: 4 | 8 = 8): Inspected {
  const u8 = new Uint8Array(RAM + 0x1000);
  const view = new DataView(u8.buffer);
  for (const [gpa, value] of Object.entries(entries))
    if (width === 8) view.setBigUint64(Number(gpa) + 0x1000, value, true);
    else view.setUint32(Number(gpa) + 0x1000, Number(value), true);
  const p2m = { ramAddress: (gpa: number) => (gpa >= 0 && gpa < RAM ? gpa + 0x1000 : -1) };
  return { memory: { u8 }, p2m, registers: { cr0: 0, cr3: 0n, cr4: 0, efer: 0, ...registers } } as unknown as Inspected;
}

describe('a page walk', () => {
  it('is none without paging: the low 32 bits are the address', () => {
    expect(walk(guest({}, {}), 0x1_2345_6789n)).toEqual({ steps: [], gpa: 0x2345_6789 });
  });

  const long = { cr0: CR0_PG, cr4: PAE, efer: Efer.lma, cr3: 0x1018n };
  const tables = {
    [0x1ff8]: 0x2003n, // PML4E 511
    [0x2ff0]: 0x3007n, // PDPTE 510
    [0x3000]: 0x4003n, // PDE 0
    [0x4008]: 0x8000_0000_0000_5063n, // PTE 1
    [0x3008]: 0x60_00e3n, // PDE 1: 2 MiB
    [0x2ff8]: 0x4000_00e3n, // PDPTE 511: 1 GiB
    [0x3010]: 0x20_0000n, // PDE 2: not present
    [0x3018]: 0x4000_0003n, // PDE 3: its table is no RAM
  };
  it.each([
    ['a 4 KiB page', 0xffff_ffff_8000_1abcn, 0x5abc, ['PML4E', 'PDPTE', 'PDE', 'PTE']],
    ['a 2 MiB page', 0xffff_ffff_8021_2345n, 0x61_2345, ['PML4E', 'PDPTE', 'PDE']],
    ['a 1 GiB page', 0xffff_ffff_c123_4567n, 0x4123_4567, ['PML4E', 'PDPTE']],
    ['an entry that is not present', 0xffff_ffff_8040_0000n, undefined, ['PML4E', 'PDPTE', 'PDE']],
    ['a table outside RAM', 0xffff_ffff_8060_0000n, undefined, ['PML4E', 'PDPTE', 'PDE']],
    ['an address that is not canonical', 0x1234_ffff_8000_1abcn, undefined, []],
  ])('in long mode: %s', (_what, linear, gpa, entries) => {
    const found = walk(guest(long, tables), linear);
    expect(found.gpa).toBe(gpa);
    expect(found.steps.map(({ entry }) => entry)).toEqual(entries);
  });

  it('names the flags of an entry', () => {
    const { steps } = walk(guest(long, tables), 0xffff_ffff_8000_1abcn);
    expect(steps.map(({ flags }) => flags)).toEqual(['P RW', 'P RW US', 'P RW', 'P RW A D NX']);
    expect(steps[3]).toMatchObject({ gpa: 0x4008, value: 0x8000_0000_0000_5063n });
  });

  it('with PAE: four PDPTEs at a multiple of 32 bytes, whose bit 7 means nothing', () => {
    const pae = { cr0: CR0_PG, cr4: PAE, cr3: 0x1020n };
    const found = walk(guest(pae, { [0x1038]: 0x2081n, [0x2008]: 0x3001n, [0x3010]: 0x7001n }), 0xffff_ffff_c020_2abcn);
    expect(found.gpa).toBe(0x7abc);
    expect(found.steps.map(({ gpa }) => gpa)).toEqual([0x1038, 0x2008, 0x3010]);
  });

  it('of 32-bit tables: 4 KiB pages, and 4 MiB pages above 4 GiB (PSE-36) where CR4.PSE is set', () => {
    const entries = { [0x1004]: 0x2003n, [0x2008]: 0x5003n, [0x1008]: 0x0080_2083n };
    const legacy = { cr0: CR0_PG, cr3: 0x1000n };
    expect(walk(guest({ ...legacy, cr4: PSE }, entries, 4), 0x0040_2abcn).gpa).toBe(0x5abc);
    expect(walk(guest({ ...legacy, cr4: PSE }, entries, 4), 0x0081_2345n).gpa).toBe(0x1_0081_2345);
    // Without it, bit 7 of a PDE means nothing, and its table is no RAM here.
    expect(walk(guest(legacy, entries, 4), 0x0081_2345n).gpa).toBe(undefined);
  });
});
