/** Faults that emitters and address records find. */
import { Seg } from '../../interface.ts';
import { Status, Vector } from '../../memory/control-block.ts';
import type { HelperContext, Helpers } from './context.ts';

export function faultHelpers(c: HelperContext): Helpers<'faults'> {
  const { core } = c;
  const segmentFault = (segment: number): never => core.raise(segment === Seg.ss ? Vector.ss : Vector.gp, 0);
  return {
    undefined: () => core.raise(Vector.ud),
    tooLong: () => core.gp(0),
    divideError: () => core.raise(Vector.de),
    segmentFault,
    segmentFaultOfRecord: () => segmentFault(c.segment()),
    notCanonical: () => core.gp(0),
    ifRefused: () => core.gp(0),
    checkVm86Iopl: () => (core.iopl < 3 ? core.gp(0) : Status.next),
    stopAfter: () => c.stepOver(),
  };
}
