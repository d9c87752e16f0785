/** Every helper by its name, for the number by which generated code calls it. */
import type { FpuHelpers } from '../fpu/helpers.ts';
import { HELPER_NAMES, type HelperName } from '../emit/helpers.ts';
import type { ControlRegisters } from '../system/control-registers.ts';
import type { Core } from '../system/core.ts';
import type { Events } from '../system/events.ts';
import { FarTransfers } from '../system/far-transfers.ts';
import type { GeneralHelpers } from '../system/general-helpers.ts';
import type { Segmentation } from '../system/segmentation.ts';
import type { StringInstructions } from '../system/string-instructions.ts';
import type { TimestampCounter } from '../system/timestamp-counter.ts';
import { HelperContext, type Helper } from './helpers/context.ts';
import { controlHelpers, exitHelpers } from './helpers/control.ts';
import { faultHelpers } from './helpers/faults.ts';
import { arithmeticHelpers, portHelpers, stackHelpers, stringHelpers } from './helpers/general.ts';
import { descriptorHelpers, segmentHelpers } from './helpers/segments.ts';
import { transferHelpers } from './helpers/transfers.ts';

/** The parts of the vCPU whose work helpers do. */
export interface HelperParts {
  readonly core: Core;
  readonly segmentation: Segmentation;
  readonly events: Events;
  readonly control: ControlRegisters;
  readonly strings: StringInstructions;
  readonly general: GeneralHelpers;
  readonly fpu: FpuHelpers;
  readonly tsc: TimestampCounter;
}

/** The helpers in the order of their numbers. */
export function bindHelpers(parts: HelperParts): readonly Helper[] {
  const { core, segmentation, events, control, strings, general, fpu, tsc } = parts;
  const c = new HelperContext(core);
  const far = new FarTransfers(core, segmentation, events);
  const table: Record<HelperName, Helper> = {
    ...faultHelpers(c, fpu),
    ...arithmeticHelpers(general),
    ...stackHelpers(c, general, events),
    ...stringHelpers(c, strings),
    ...portHelpers(c, segmentation),
    ...transferHelpers(c, events, far),
    ...segmentHelpers(c, segmentation, far),
    ...descriptorHelpers(c, segmentation),
    ...fpu.table(),
    ...controlHelpers(c, control, general),
    ...exitHelpers(c, tsc),
  };
  return HELPER_NAMES.map((name) => table[name]);
}
