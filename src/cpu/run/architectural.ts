/** The part of a control block that software or a hypervisor can see; the rest is where the engine stands in its own work. */
import { FPU_IMAGE_SIZE } from '../fpu/state.ts';
import {
  CB_BUDGET,
  CB_EXIT_STATUS,
  CB_FPU,
  CB_FPU_TRAP,
  CB_JUMP_CACHE,
  CB_JUMP_EPOCH,
  CB_KICK,
  CB_LF_CF,
  CB_LF_KIND,
  CB_LF_OF,
  CB_LF_RESULT,
  CB_LF_SRC1,
  CB_LF_SRC2,
  CB_SEG,
  CB_SHADOW,
  CB_SHADOW_RIP,
  CB_SIZE,
  CB_SLOW_VA,
  CB_SLOW_VALUE,
  CB_TLB,
  CB_WINDOW,
} from '../memory/control-block.ts';

/** Bytes from each offset that say nothing: lazy flags (a saved block has them worked out), addresses, scratch. */
const WITHOUT_MEANING: readonly (readonly [number, number])[] = [
  [CB_LF_RESULT, 8],
  [CB_LF_SRC1, 8],
  [CB_LF_SRC2, 8],
  [CB_LF_KIND, 4],
  [CB_LF_CF, 4],
  [CB_LF_OF, 4],
  [CB_TLB, 4],
  [CB_JUMP_CACHE, 4],
  [CB_EXIT_STATUS, 4],
  [CB_SLOW_VA, 8],
  [CB_SLOW_VALUE, 16],
  [CB_WINDOW, 4],
  [CB_FPU_TRAP, 4],
  [CB_BUDGET, 4],
  [CB_KICK, 4],
  [CB_KICK + 4, CB_JUMP_EPOCH - CB_KICK - 4],
  [CB_JUMP_EPOCH, CB_SEG - CB_JUMP_EPOCH],
];
/** The FXSAVE image ends here; what lies behind it is scratch. */
const END = CB_FPU + FPU_IMAGE_SIZE;

/** A saved control block with everything zeroed that says nothing. */
export function architecturalPart(controlBlock: Uint8Array): Uint8Array {
  const out = controlBlock.slice();
  for (const [at, size] of WITHOUT_MEANING) out.fill(0, at, at + size);
  out.fill(0, END, CB_SIZE);
  // A shadow that covers no instruction is none.
  const view = new DataView(out.buffer);
  if (view.getUint32(CB_SHADOW, true) === 0) view.setBigUint64(CB_SHADOW_RIP, 0n, true);
  return out;
}
