/** The vCPU engine as a machine takes it. */
import { maddr } from '../base/address.ts';
import { Engine, ENGINE_AREA_SIZE, type EngineOptions } from '../cpu/run/engine.ts';
import { PGC_CODE } from '../hypervisor/mm/page-alloc.ts';
import type { EngineFactory } from './machine.ts';

/**
 * @param seed of RDRAND: with the same one, a run repeats.
 * @param options what gets compiled, if not what a machine compiles; for tests.
 */
export const engineFactory = (seed = 1n, options: Pick<EngineOptions, 'compile'> = {}): EngineFactory => ({
  areaSize: ENGINE_AREA_SIZE,
  create({ memory, p2m, area, clock }) {
    return new Engine({
      memory: memory.memory,
      area: { base: maddr(area.base), size: area.size },
      nestedPaging: p2m,
      readTsc: () => clock.tsc(),
      seed,
      ...options,
      // Device models look at the frame table before they leave a frame they wrote.
      onCodeFrame(frame, holds) {
        const entry = memory.frameEntry(frame) >>> 2;
        if (holds) Atomics.or(memory.i32, entry, PGC_CODE);
        else Atomics.and(memory.i32, entry, ~PGC_CODE);
      },
    });
  },
});
