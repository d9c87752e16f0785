/** Causes, masks and enables of the interrupt. */
import type { DebugLog } from '../../interfaces.ts';
import { chip, lines } from './log.ts';
import {
  CSR0_CAUSES,
  CSR0_IENA,
  CSR0_INTR,
  CSR4_MASKS,
  CSR4_UINT,
  CSR4_UINTCMD,
  CSR5_ENABLES,
  CSR5_OWN_ENABLES,
  R,
} from './port.ts';

/** Is INTA# wanted? INTR in CSR0 tells of a cause whether or not IENA lets it through; a user interrupt is taken up. */
export function interruptLevel(values: Uint32Array, log: DebugLog | undefined): boolean {
  const enabled = (values[R.CSR0]! & CSR0_IENA) !== 0;
  let pending =
    (values[R.CSR0]! & ~values[R.CSR3]! & CSR0_CAUSES) !== 0 ||
    ((values[R.CSR4]! >> 1) & ~values[R.CSR4]! & CSR4_MASKS) !== 0 ||
    ((values[R.CSR5]! >> 1) & values[R.CSR5]! & CSR5_ENABLES) !== 0;
  let level = pending && enabled;
  if (values[R.CSR4]! & CSR4_UINTCMD && enabled) {
    values[R.CSR4] = (values[R.CSR4]! & ~CSR4_UINTCMD) | CSR4_UINT;
    pending = true;
    level = true;
    if (log) log(lines.userInterrupt, { chip });
  }
  if ((values[R.CSR5]! >> 1) & values[R.CSR5]! & CSR5_OWN_ENABLES) {
    pending = true;
    level = true;
  }
  if (pending) values[R.CSR0]! |= CSR0_INTR;
  else values[R.CSR0]! &= ~CSR0_INTR;
  return level;
}
