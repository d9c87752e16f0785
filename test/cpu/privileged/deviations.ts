/**
 * Where the vCPU and QEMU 7.2 (TCG) answer differently, and who is right. Both answers are part of the entry: a
 * change on either side shows. The manual is Intel's SDM.
 */
import type { Deviation } from './compare.ts';

export const deviations: readonly Deviation[] = [];
