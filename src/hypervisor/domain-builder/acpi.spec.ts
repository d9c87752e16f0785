import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lackOf } from '../../../test/needs.ts';
import { gpa } from '../../base/address.ts';
import { buildAcpiTables } from './acpi.ts';
import { integer, nameString, pkg, scope } from './aml.ts';

const iasl = await lackOf('iasl');
const base = gpa(0xfc000000);
const built = buildAcpiTables({ vcpus: 2, base, hpet: true });
const table = (signature: string): Uint8Array => {
  const { address, length } = built.index.find((t) => t.signature === signature)!;
  return built.tables.slice(address - base, address - base + length);
};
const sum = (bytes: Uint8Array): number => bytes.reduce((a, b) => (a + b) & 0xff, 0);
const u32 = (bytes: Uint8Array, at: number): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);

describe('AML', () => {
  it('encodes names, integers and package lengths', () => {
    expect(nameString('\\_SB.PCI0.ISA')).toEqual([0x5c, 0x2f, 3, ...Buffer.from('_SB_PCI0ISA_')]);
    expect([integer(0), integer(1), integer(2), integer(0x1234), integer(0x12345678)]).toEqual([
      [0],
      [1],
      [0x0a, 2],
      [0x0b, 0x34, 0x12],
      [0x0c, 0x78, 0x56, 0x34, 0x12],
    ]);
    expect(scope('\\_SB')).toEqual([0x10, 6, 0x5c, 0x5f, 0x53, 0x42, 0x5f]);
    const long = pkg(...Array.from({ length: 100 }, () => integer(0xff)));
    expect(long.slice(0, 4)).toEqual([0x12, 0x4b, 0x0c, 100]); // 203 bytes, in two
    expect(long.length).toBe(0xcb + 1);
    expect(() => nameString('toolong')).toThrow('segments');
  });
});

describe('ACPI tables', () => {
  it('have good checksums, point to one another and lie apart', () => {
    expect([sum(built.rsdp.subarray(0, 20)), sum(built.rsdp)]).toEqual([0, 0]);
    expect(u32(built.rsdp, 24)).toBe(built.index.at(-1)!.address);
    let end: number = base;
    for (const { signature, address, length } of built.index) {
      expect(address).toBeGreaterThanOrEqual(end);
      end = address + length;
      expect(Buffer.from(table(signature).subarray(0, 4)).toString()).toBe(signature);
      expect(u32(table(signature), 4)).toBe(length);
      if (signature !== 'FACS') expect(sum(table(signature))).toBe(0);
    }
    const xsdt = table('XSDT');
    const pointed = Array.from({ length: (xsdt.length - 36) / 8 }, (_, i) => u32(xsdt, 36 + i * 8));
    expect(pointed).toEqual(
      built.index.filter((t) => ['FACP', 'APIC', 'HPET', 'WAET'].includes(t.signature)).map((t) => t.address),
    );
    expect(table('FACP').length).toBe(244);
    expect([u32(table('FACP'), 36), u32(table('FACP'), 40)]).toEqual([built.index[0]!.address, built.index[1]!.address]);
  });

  it('is the same bytes each time, without HPET when there is none', () => {
    expect(buildAcpiTables({ vcpus: 2, base, hpet: true })).toEqual(built);
    expect(buildAcpiTables({ vcpus: 1, base, hpet: false }).index.map((t) => t.signature)).not.toContain('HPET');
  });

  it.skipIf(iasl.skip)(iasl.title('are read by iasl, and its disassembly compiles to the same AML'), () => {
    const directory = mkdtempSync(join(tmpdir(), 'acpi-'));
    try {
      for (const { signature } of built.index) writeFileSync(join(directory, `${signature}.aml`), table(signature));
      const disassemble = (signature: string): string => {
        const run = spawnSync('iasl', ['-d', `${signature}.aml`], { cwd: directory, encoding: 'utf8' });
        expect(run.status, run.stderr).toBe(0);
        return readFileSync(join(directory, `${signature}.dsl`), 'utf8');
      };
      for (const { signature } of built.index)
        expect(disassemble(signature)).not.toMatch(/ERROR|Invalid|Incorrect checksum|Unknown/i);
      expect(disassemble('FACP')).toMatch(/SCI Interrupt : 0009/);
      expect(disassemble('FACP')).toMatch(/Century Index : 32/);
      expect(disassemble('APIC')).toMatch(/Interrupt : 00000002/);
      const dsdt = disassemble('DSDT');
      expect(dsdt).toContain('EisaId ("PNP0A03")');
      writeFileSync(join(directory, 'again.dsl'), dsdt);
      // -oa: no optimisation, so that the compiler's AML can be held against ours byte by byte (header apart).
      const compiled = spawnSync('iasl', ['-oa', '-p', 'again', 'again.dsl'], { cwd: directory, encoding: 'utf8' });
      expect(compiled.stdout + compiled.stderr).toMatch(/ 0 Errors/);
      expect(readFileSync(join(directory, 'again.aml')).subarray(36).equals(table('DSDT').subarray(36))).toBe(true);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
