/** What restore() of every device begins with. */
import { UserError } from '../base/errors.ts';
import { checkShape } from '../base/snapshot.ts';

/** A device's state as plain data: structured-cloneable, and JSON apart from typed arrays. */
export interface DeviceState {
  /** What wrote it, for example `rtl8139`. */
  readonly device: string;
  /** Layout version; restore() refuses one it does not know. */
  readonly version: number;
}

/**
 * The state as one of this device. `like`: what the device would save now. Throws UserError unless `state` was written by the same
 * device in the same version, and has the same form.
 */
export function checkState<T extends DeviceState>(state: DeviceState, like: T): T {
  if (state.device !== like.device || state.version !== like.version) {
    throw new UserError(
      `saved state of '${state.device}' version ${state.version}: expected '${like.device}' version ${like.version}; save it again with this version`,
    );
  }
  checkShape(state, like, like.device);
  return state as T;
}

/** Copies a saved array to the beginning of one of the device. Throws UserError when it does not fit. */
export function copyState(
  into: Uint8Array | Uint16Array | Uint32Array | Float64Array,
  from: ArrayLike<number>,
  what: string,
): void {
  if (from.length > into.length)
    throw new UserError(`saved state of '${what}': an array of ${from.length} elements where ${into.length} is the most`);
  into.set(from);
}
