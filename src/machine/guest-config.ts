/** From a guest's configuration to what the device model takes and to the drivers that its kernel loads. */
import { UserError } from '../base/errors.ts';
import { nicModel, type NicOptions } from '../device-model/nics.ts';
import type { NicDriver } from '../devices/nic/model.ts';
import { nicModels } from '../devices/nic/models.ts';
import { parseMac } from '../net/frame.ts';
import type { XlVif } from './xl-cfg.ts';

/** Xen's own MAC prefix with a number of ours, for a vif that names none. */
const defaultMac = (index: number): string => `00:16:3e:00:00:${(index + 1).toString(16).padStart(2, '0')}`;

/** The model that a driver is for, by the driver's name. */
const modelOf = (driver: string): string => nicModels.find(({ drivers }) => drivers.some(({ name }) => name === driver))!.name;

/** A guest without a configuration: one NIC for each driver asked for. */
export const vifsFor = (drivers: readonly string[]): XlVif[] =>
  drivers.length === 0 ? [{ model: 'rtl8139' }] : drivers.map((driver) => ({ model: modelOf(driver) }));

/**
 * The driver of each NIC's model, in the order of the NICs: the one asked for, else the model's first.
 * @param asked names of guestDrivers; throws UserError where one has nothing to drive, or two want the same
 */
export function driversFor(vifs: readonly XlVif[], asked: readonly string[]): ReadonlyMap<string, NicDriver> {
  const chosen = new Map<string, NicDriver>(vifs.map(({ model }) => [model, nicModel(model).drivers[0]]));
  const models = [...chosen.keys()];
  const named = new Map<string, string>();
  for (const driver of asked) {
    const model = modelOf(driver);
    if (!chosen.has(model))
      throw new UserError(
        `--driver ${driver}: it is for the ${model}, and the guest has ${models.join(' and ') || 'no NIC'}; add 'model=${model}' to its vif`,
      );
    const other = named.get(model);
    if (other !== undefined && other !== driver)
      throw new UserError(`--driver ${other} and --driver ${driver}: both are for the ${model}; give one of them`);
    named.set(model, driver);
    chosen.set(model, nicModel(model).drivers.find(({ name }) => name === driver)!);
  }
  return chosen;
}

/** What the device model is to build. @param drivers names of guestDrivers that are asked for */
export function nicOptions(vifs: readonly XlVif[], drivers: readonly string[] = []): NicOptions[] {
  const chosen = driversFor(vifs, drivers);
  return vifs.map(({ model, mac }, i) => ({
    model,
    mac: parseMac(mac ?? defaultMac(i)),
    revision: chosen.get(model)?.revision,
  }));
}
