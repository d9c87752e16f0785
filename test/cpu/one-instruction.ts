/** One row's emitter with constant operands, as a WebAssembly module of its own. */
import { carryFlagBody, statusFlagsBody } from '../../src/cpu/emit/flags.ts';
import { EmitContext, type Site } from '../../src/cpu/emit/context.ts';
import { InstructionMap } from '../../src/cpu/decode/instruction-map.ts';
import { emitForm } from '../../src/cpu/interpreter/interpreter.ts';
import { type I32, i32, i64, nop, ret, seq } from '../../src/cpu/wasm/expr.ts';
import type { ValType } from '../../src/cpu/wasm/expr.ts';
import { FunctionBuilder, ModuleBuilder } from '../../src/cpu/wasm/module.ts';
import { CODE } from './long-mode.ts';

/** Address of the control block in the module's memory. */
export const CB = 0x1000;
const refuse = (what: string) => (): never => {
  throw new Error(`constant operands: ${what}`);
};

/** Operands that are known numbers: what code compiled for one instruction has. */
function constantSite(fields: { a: number; b: number; imm: number; rip: bigint; length: number }): Site {
  return {
    fieldA: () => i32.const(fields.a),
    fieldB: () => i32.const(fields.b),
    indexField: refuse('no index'),
    scale: () => i64.const(0),
    disp: () => i64.const(0),
    imm: () => i64.const(fields.imm),
    imm64: () => i64.const(fields.imm),
    aux: () => i32.const(0),
    length: () => i64.const(fields.length),
    rip: () => i64.const(fields.rip),
    budget: () => i32.const(1),
    record: refuse('no record'),
    next: () => nop,
    leave: refuse('nothing here leaves'),
    jumpChained: refuse('no branch'),
    jumpTo: refuse('no branch'),
    jumpComputed: refuse('no branch'),
  };
}

/**
 * Compiles the 64-bit register form of the row `name` whose operands are `operands` (as in the tables, such as 'Ev Gv').
 * `a` and `b` are byte offsets of the registers in the control block's register file.
 */
export function compileConstant(
  name: string,
  operands: string,
  fields: { a: number; b: number; imm: number },
): { bytes: Uint8Array<ArrayBuffer>; run: () => void; statusFlags: () => number; memory: DataView } {
  const forms = new InstructionMap().all.find(
    (one) => one.instruction.name === name && one.instruction.operands.map((o) => o.notation).join(' ') === operands,
  );
  if (!forms) throw new Error(`no row ${name} ${operands}`);
  const form = [...forms.forms()].find(
    (one) => one.operandSize === 8 && one.address === 'register' && one.mode === 'long' && !one.chained && !one.locked,
  );
  if (!form) throw new Error(`${name}: no 64-bit register form`);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const module = new ModuleBuilder(memory);
  const slow = module.import('slow', { params: ['i32', 'i32'], results: ['i32'] });
  const helper = module.import('helper', { params: ['i32', 'i32', 'i32'], results: ['i32'] });
  const flag = { params: [] as const, results: ['i32'] as const };
  const carryFlag = module.declare(flag, 'carryFlag');
  const statusFlags = module.declare(flag, 'statusFlags');
  const cell = {
    load32: (offset: number) => i32.load(i32.const(0), CB + offset),
    load64: (offset: number) => i64.load(i32.const(0), CB + offset),
  };
  module.define(carryFlag, new FunctionBuilder(flag), carryFlagBody(cell));
  module.define(
    statusFlags,
    new FunctionBuilder(flag),
    statusFlagsBody(cell, () => carryFlag.call('i32') as I32),
  );
  const signature = { params: [] as const, results: ['i32'] as const };
  const run = module.declare(signature, 'run');
  const fb = new FunctionBuilder(signature);
  const context = new EmitContext({
    site: constantSite({ ...fields, rip: CODE, length: 3 }),
    cb: CB,
    ...form,
    runtime: {
      slowRead: slow,
      slowWrite: slow,
      helper,
      statusFlags,
      carryFlag,
      condition: [],
      legacyAddress: slow,
      helperNumber: () => 0,
    },
    local: <T extends ValType>(type: T) => fb.local(type),
    status: fb.local('i32'),
    ea: fb.local('i64'),
  });
  module.define(run, fb, seq(emitForm(context, forms, form), ret(i32.const(0))));
  const bytes = module.finish();
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory, slow: () => 0, helper: () => 0 } });
  return {
    bytes,
    run: instance.exports.run as () => void,
    statusFlags: instance.exports.statusFlags as () => number,
    memory: new DataView(memory.buffer),
  };
}
