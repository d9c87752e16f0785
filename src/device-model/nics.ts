/** The NICs that a guest configuration asks for (`model=` of a vif). */
import { UserError } from '../base/errors.ts';
import type { NicChipOptions, NicModel } from '../devices/nic/model.ts';
import { nicModels } from '../devices/nic/models.ts';

export interface NicOptions extends NicChipOptions {
  /** One of nicModelNames. */
  readonly model: string;
  /** PCI device number; the first is 3 when left out, as under Xen's tools. */
  readonly device?: number;
  /** `own`: a wire without the dom0 endpoint and other NICs. `dom0` when left out. */
  readonly wire?: 'dom0' | 'own';
}

/** Models that nicModel() knows. */
export const nicModelNames: readonly string[] = nicModels.map(({ name }) => name);

export function nicModel(name: string): NicModel {
  const model = nicModels.find((m) => m.name === name);
  if (!model) throw new UserError(`NIC model '${name}': expected one of ${nicModelNames.join(', ')}`);
  return model;
}
