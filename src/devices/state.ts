/** What restore() of every device begins with. */
import { UserError } from '../base/errors.ts';
import type { DeviceState } from './pci/pci-device.ts';

/** Throws UserError unless `state` was written by this device in this version. */
export function checkState(state: DeviceState, device: string, version: number): void {
  if (state.device !== device || state.version !== version) {
    throw new UserError(
      `saved state of '${state.device}' version ${state.version}: expected '${device}' version ${version}; save it again with this version`,
    );
  }
}
