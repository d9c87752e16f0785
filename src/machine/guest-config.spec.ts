import { describe, expect, it } from 'vitest';
import { UserError } from '../base/errors.ts';
import { nicModels } from '../devices/nic/models.ts';
import { driversFor, nicOptions, vifsFor } from './guest-config.ts';
import { parseXlConfig } from './xl-cfg.ts';

const vifs = (...models: string[]) => models.map((model) => ({ model }));
const names = (of: ReturnType<typeof driversFor>) => [...of.values()].map(({ name }) => name);

describe('NICs of a guest configuration', () => {
  it('each model has its first driver, or the one asked for; a model is named once', () => {
    expect(names(driversFor(vifs('pcnet', 'rtl8139', 'pcnet'), []))).toEqual(['pcnet32', '8139cp']);
    expect(names(driversFor(vifs('rtl8139', 'e1000'), ['8139too']))).toEqual(['8139too', 'e1000']);
    expect(names(driversFor([], []))).toEqual([]);
  });

  it('a driver chooses the revision that it takes, of its own model alone', () => {
    const options = nicOptions(vifs('rtl8139', 'ne2k_pci'), ['8139too']);
    expect(options.map(({ model, revision }) => [model, revision])).toEqual([
      ['rtl8139', 0x10],
      ['ne2k_pci', undefined],
    ]);
  });

  it('addresses differ where none is given', () => {
    const macs = nicOptions(vifs(...nicModels.map(({ name }) => name))).map(({ mac }) => Buffer.from(mac).toString('hex'));
    expect(new Set(macs).size).toBe(nicModels.length);
  });

  it('a guest without a configuration has a NIC for each driver asked for', () => {
    expect(vifsFor([])).toEqual(vifs('rtl8139'));
    expect(vifsFor(['e1000', '8139too'])).toEqual(vifs('e1000', 'rtl8139'));
  });

  it.each([
    [['e1000'], "--driver e1000: it is for the e1000, and the guest has rtl8139; add 'model=e1000' to its vif"],
    [['8139cp', '8139too'], '--driver 8139cp and --driver 8139too: both are for the rtl8139; give one of them'],
  ])('refuses drivers %j of a guest with an RTL8139', (drivers, message) => {
    expect(() => driversFor(vifs('rtl8139'), drivers)).toThrow(new UserError(message));
  });

  it('xl.cfg takes every model in the list, and names them all for one that is not there', () => {
    for (const { name } of nicModels) expect(parseXlConfig(`vif = ['model=${name}']`, 'g.cfg').vif).toEqual(vifs(name));
    expect(() => parseXlConfig("vif = ['model=e1001']", 'g.cfg')).toThrow(
      'g.cfg:1: vif: model=e1001: expected rtl8139 or e1000 or ne2k_pci or pcnet',
    );
  });
});
