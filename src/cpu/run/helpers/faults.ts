/** Faults that emitters and address records find. */
import type { FpuHelpers } from '../../fpu/helpers.ts';
import { Seg } from '../../interface.ts';
import { Status, Vector } from '../../memory/control-block.ts';
import { BEFORE_SEGMENT, REC_AUX, REC_IMM } from '../../records/record.ts';
import { StackFrame } from '../../system/stack-frame.ts';
import type { HelperContext, Helpers } from './context.ts';

export function faultHelpers(c: HelperContext, fpu: FpuHelpers): Helpers<'faults'> {
  const { core } = c;
  const { cb } = core;
  const segmentFault = (segment: number): never => core.raise(segment === Seg.ss ? Vector.ss : Vector.gp, 0);

  /** The address record in hand was refused by its segment. Raises what the instruction itself would have found before that. */
  const before = (): void => {
    switch (cb.i32[(core.record + REC_AUX) >> 2]) {
      case BEFORE_SEGMENT.pop:
        StackFrame.current(core).pop(cb.u8[core.record + REC_IMM]!);
        break;
      case BEFORE_SEGMENT.x87:
        fpu.checkAvailable('x87');
        break;
      case BEFORE_SEGMENT.x87Control:
        fpu.checkAvailable('x87Control');
        break;
      case BEFORE_SEGMENT.mmx:
        fpu.checkAvailable('mmx');
        break;
      case BEFORE_SEGMENT.sse:
        fpu.checkAvailable('sse');
        break;
    }
  };

  return {
    undefined: () => core.raise(Vector.ud),
    tooLong: () => core.gp(0),
    divideError: () => core.raise(Vector.de),
    segmentFault,
    segmentFaultOfRecord: () => {
      before();
      return segmentFault(c.segment());
    },
    targetRefused: () => core.gp(0),
    ifRefused: () => core.gp(0),
    checkVm86Iopl: () => (core.iopl < 3 ? core.gp(0) : Status.next),
    stopAfter: () => c.stepOver(),
  };
}
