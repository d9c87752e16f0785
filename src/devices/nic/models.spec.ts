/** What a chip says of itself in its model, its reading and its configuration space agrees. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TestBus } from '../conformance/test-bus.ts';
import { nicModels } from './models.ts';

const root = join(import.meta.dirname, '../../..');

describe('the list of NIC models', () => {
  it('names each model, driver and PCI device once', () => {
    for (const names of [
      nicModels.map(({ name }) => name),
      nicModels.flatMap(({ drivers }) => drivers.map(({ name }) => name)),
      nicModels.flatMap(({ reading }) => reading.deviceIds.map((id) => `${reading.vendorId}:${id}`)),
      nicModels.flatMap(({ reading }) => (reading.lines === undefined ? [] : [reading.lines.prefix])),
    ])
      expect(new Set(names).size).toBe(names.length);
  });

  it.each(nicModels.map((model) => [model.name, model] as const))(
    '%s: name, drivers, registers, PCI identity, BARs and log names are those of its reading; it has a page',
    (name, { drivers, make, reading, tables }) => {
      const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
      const { chip } = new TestBus((slot, wire) => make(slot, wire, { mac }));
      expect([chip.name, reading.name]).toEqual([name, name]);
      expect(reading.drivers).toEqual(drivers.map((driver) => driver.name));
      for (const register of tables['']) expect(reading.registers).toContain(register);
      expect(chip.readConfig(0, 2)).toBe(reading.vendorId);
      expect(reading.deviceIds).toContain(chip.readConfig(2, 2));
      expect(
        chip.config.bars.map((bar) => ({
          bar: 0x10 + 4 * bar.index,
          space: bar.kind === 'io' ? 'pio' : 'mmio',
          size: bar.size,
          regions: [(bar.name ?? name).toLowerCase()],
        })),
      ).toEqual([...reading.blocks].sort((a, b) => a.bar - b.bar));
      expect(existsSync(join(root, `docs/${name}.md`))).toBe(true);
    },
  );
});
