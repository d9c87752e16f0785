/** Functions over the control block and machine memory that need nothing else of the vCPU: TypeScript calls them, and so does generated code. */
import { carryFlagBody, conditionBody, CONDITION_NAMES, statusFlagsBody } from '../emit/flags.ts';
import type { Primitives } from '../memory/primitives.ts';
import { i32, i64, memoryCopy, memoryFill } from '../wasm/expr.ts';
import { FunctionBuilder, ModuleBuilder, type FunctionRef } from '../wasm/module.ts';

const FLAG_FUNCTION = { params: [] as const, results: ['i32'] as const };
const THREE = { params: ['i32', 'i32', 'i32'], results: [] } as const;

/** Name that the function for a condition code is exported by. */
export const conditionExport = (cc: number): string => `condition${cc}`;

/** The flag functions for the control block at `cb`, declared and defined in this module under their own names. */
export function defineFlagFunctions(module: ModuleBuilder, cb: number) {
  const carryFlag = module.declare(FLAG_FUNCTION, 'carryFlag');
  const statusFlags = module.declare(FLAG_FUNCTION, 'statusFlags');
  const condition: FunctionRef[] = CONDITION_NAMES.map((_name, cc) => module.declare(FLAG_FUNCTION, conditionExport(cc)));
  const cell = {
    load32: (offset: number) => i32.load(i32.const(0), cb + offset),
    load64: (offset: number) => i64.load(i32.const(0), cb + offset),
  };
  module.define(carryFlag, new FunctionBuilder(FLAG_FUNCTION), carryFlagBody(cell));
  module.define(
    statusFlags,
    new FunctionBuilder(FLAG_FUNCTION),
    statusFlagsBody(cell, () => carryFlag.call('i32')),
  );
  condition.forEach((ref, cc) => {
    const fb = new FunctionBuilder(FLAG_FUNCTION);
    module.define(
      ref,
      fb,
      conditionBody(cell, cc, () => statusFlags.call('i32'), fb),
    );
  });
  return { carryFlag, statusFlags, condition };
}

/** A module of these functions over `memory`, for the control block at machine address `cb`. */
export function makePrimitives(memory: WebAssembly.Memory, cb: number): Primitives {
  const module = new ModuleBuilder(memory);
  defineFlagFunctions(module, cb);
  for (const [name, instruction] of [
    ['fill', memoryFill],
    ['copy', memoryCopy],
  ] as const) {
    const ref = module.declare(THREE, name);
    const fb = new FunctionBuilder(THREE);
    module.define(ref, fb, instruction(fb.param('i32', 0).get, fb.param('i32', 1).get, fb.param('i32', 2).get));
  }
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory } });
  return exports as unknown as Primitives;
}
