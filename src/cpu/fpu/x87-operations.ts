/**
 * Every x87 operation by name, apart from its encoding: the definition rows (emit/x87.ts) bind encodings to these
 * names. An operation works on X87 state and, through FPU_OPERAND, on memory that the emitter loads before or stores after.
 */
import { FPU_CONDITION, FPU_ENVIRONMENT, FPU_RFLAGS, Fsw } from './state.ts';
import { MEMORY_SIZE } from './x87.ts';
import type { MemoryType, X87 } from './x87.ts';
import {
  arithmeticMemory,
  arithmeticRegister,
  changeSign,
  compareToFlags,
  compareWith,
  examine,
  frndint,
  fscale,
  fsqrt,
  fxtract,
  partialRemainder,
  registerOrEmpty,
  test,
} from './x87-arith.ts';
import type { Arithmetic, Conditions } from './x87-arith.ts';
import {
  conditionalMove,
  exchange,
  loadConstant,
  loadMemory,
  loadRegister,
  storeMemory,
  storeRegister,
  storeRegisterNoFault,
} from './x87-transfer.ts';
import { f2xm1, fpatan, fyl2x, fyl2xp1, trigonometric } from './x87-transcendental.ts';
import { loadEnvironment, maskAll, restore, save, storeEnvironment } from './x87-control.ts';

export interface X87Operation {
  readonly name: string;
  /** i: number of the register operand. Gives condition codes (C1 among them) to set, or undefined to keep C0, C2, C3. */
  readonly run: (f: X87, i: number) => Conditions | void;
  /** Bytes read from memory before, or written after. */
  readonly load?: number;
  readonly store?: number;
  /** What a control instruction does once its store is through. */
  readonly stored?: (f: X87) => void;
  /** A control instruction: pointers stay. */
  readonly control?: true;
  /** RFLAGS status bits come back in FPU_RFLAGS. */
  readonly setsFlags?: true;
  /** A condition is expected in FPU_CONDITION. */
  readonly needsCondition?: true;
}

const CONDITION_BITS = Fsw.c0 | Fsw.c1 | Fsw.c2 | Fsw.c3;

/** Condition codes as they are, C1 too, unless a stack fault sets it. */
const keptUnlessFaulted = (f: X87): Conditions => (f.stackFaulted ? undefined : f.fsw & CONDITION_BITS);

const operations: X87Operation[] = [];
function define(name: string, run: X87Operation['run'], more: Partial<X87Operation> = {}): void {
  operations.push({ name, run, ...more });
}

const FLOATS: readonly MemoryType[] = ['m32fp', 'm64fp'];
const INTEGERS: readonly MemoryType[] = ['m16int', 'm32int'];

for (const which of ['fadd', 'fmul', 'fsub', 'fsubr', 'fdiv', 'fdivr'] as const satisfies readonly Arithmetic[]) {
  define(`${which} st0,sti`, (f, i) => arithmeticRegister(f, which, i, 0, 0));
  define(`${which} sti,st0`, (f, i) => arithmeticRegister(f, which, i, i, 0));
  define(`${which}p sti,st0`, (f, i) => arithmeticRegister(f, which, i, i, 1));
  for (const type of FLOATS)
    define(`${which} ${type}`, (f) => arithmeticMemory(f, which, f.operand(type)), { load: MEMORY_SIZE[type] });
  for (const type of INTEGERS)
    define(`fi${which.slice(1)} ${type}`, (f) => arithmeticMemory(f, which, f.operand(type)), { load: MEMORY_SIZE[type] });
}
for (const [name, pops] of [
  ['fcom', 0],
  ['fcomp', 1],
] as const) {
  define(`${name} sti`, (f, i) => compareWith(f, registerOrEmpty(f, i), true, pops));
  define(`fu${name.slice(1)} sti`, (f, i) => compareWith(f, registerOrEmpty(f, i), false, pops));
  for (const type of FLOATS)
    define(`${name} ${type}`, (f) => compareWith(f, f.operand(type), true, pops), { load: MEMORY_SIZE[type] });
  for (const type of INTEGERS)
    define(`fi${name.slice(1)} ${type}`, (f) => compareWith(f, f.operand(type), true, pops), { load: MEMORY_SIZE[type] });
}
define('fcompp', (f) => compareWith(f, registerOrEmpty(f, 1), true, 2));
define('fucompp', (f) => compareWith(f, registerOrEmpty(f, 1), false, 2));
for (const [name, signaling, pops] of [
  ['fcomi', true, 0],
  ['fcomip', true, 1],
  ['fucomi', false, 0],
  ['fucomip', false, 1],
] as const) {
  define(
    `${name} sti`,
    (f, i) => {
      f.view.setInt32(f.base + FPU_RFLAGS, compareToFlags(f, i, signaling, pops), true);
      return keptUnlessFaulted(f);
    },
    { setsFlags: true },
  );
}
define('ftst', test);
define('fxam', (f) => {
  const { conditions, negative } = examine(f);
  return conditions | (negative ? Fsw.c1 : 0);
});

define('fchs', (f) => changeSign(f, false));
define('fabs', (f) => changeSign(f, true));
define('fsqrt', fsqrt);
define('frndint', frndint);
define('fscale', fscale);
define('fxtract', fxtract);
for (const [name, nearest] of [
  ['fprem', false],
  ['fprem1', true],
] as const) {
  define(name, (f) => partialRemainder(f, nearest));
}
define('f2xm1', f2xm1);
define('fyl2x', fyl2x);
define('fyl2xp1', fyl2xp1);
define('fpatan', fpatan);
for (const name of ['fsin', 'fcos', 'fptan', 'fsincos'] as const) define(name, (f) => trigonometric(f, name));

define('fld sti', loadRegister);
define('fst sti', (f, i) => storeRegister(f, i, 0));
define('fstp sti', (f, i) => storeRegister(f, i, 1));
define('fstpnce sti', storeRegisterNoFault);
define('fxch sti', exchange);
for (const type of ['m32fp', 'm64fp', 'm80fp'] as const)
  define(`fld ${type}`, (f) => loadMemory(f, type), { load: MEMORY_SIZE[type] });
for (const type of ['m16int', 'm32int', 'm64int'] as const)
  define(`fild ${type}`, (f) => loadMemory(f, type), { load: MEMORY_SIZE[type] });
define('fbld m80bcd', (f) => loadMemory(f, 'm80bcd'), { load: 10 });
for (const type of FLOATS) define(`fst ${type}`, (f) => storeMemory(f, type, 0), { store: MEMORY_SIZE[type] });
for (const type of ['m32fp', 'm64fp', 'm80fp'] as const)
  define(`fstp ${type}`, (f) => storeMemory(f, type, 1), { store: MEMORY_SIZE[type] });
for (const type of INTEGERS) define(`fist ${type}`, (f) => storeMemory(f, type, 0), { store: MEMORY_SIZE[type] });
for (const type of ['m16int', 'm32int', 'm64int'] as const)
  define(`fistp ${type}`, (f) => storeMemory(f, type, 1), { store: MEMORY_SIZE[type] });
define('fbstp m80bcd', (f) => storeMemory(f, 'm80bcd', 1), { store: 10 });
['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'].forEach((name, index) =>
  define(name, (f) => loadConstant(f, index)),
);
define(
  'fcmov sti',
  (f, i) => {
    conditionalMove(f, i, f.view.getInt32(f.base + FPU_CONDITION, true) !== 0);
    return keptUnlessFaulted(f);
  },
  { needsCondition: true },
);

define('fnop', (f) => f.fsw & CONDITION_BITS);
define('fnop 8087', () => {}, { control: true });
define('fdecstp', (f) => {
  f.top--;
});
define('fincstp', (f) => {
  f.top++;
});
define('ffree sti', (f, i) => f.free(i));
define('ffreep sti', (f, i) => {
  f.free(i);
  f.pop();
});

define('fninit', (f) => f.initialize(), { control: true });
define(
  'fnclex',
  (f) => {
    f.fsw &= ~0x80ff;
  },
  { control: true },
);
define(
  'fldcw m16',
  (f) => {
    f.fcw = (Number(f.operandBits(2)) & 0x1f3f) | 0x40;
    f.summarize();
  },
  { control: true, load: 2 },
);
define('fnstcw m16', (f) => f.setOperandBits(BigInt(f.fcw)), { control: true, store: 2 });
define('fnstsw m16', (f) => f.setOperandBits(BigInt(f.fsw)), { control: true, store: 2 });

for (const wide of [false, true]) {
  for (const real of [false, true]) {
    const format = { wide, real };
    const suffix = `${real ? 'real' : 'protected'}${wide ? 32 : 16}`;
    const size = wide ? 28 : 14;
    define(`fnstenv ${suffix}`, (f) => storeEnvironment(f, f.view, f.base + FPU_ENVIRONMENT, format), {
      control: true,
      store: size,
      stored: maskAll,
    });
    define(`fldenv ${suffix}`, (f) => loadEnvironment(f, f.view, f.base + FPU_ENVIRONMENT, format), {
      control: true,
      load: size,
    });
    define(`fnsave ${suffix}`, (f) => save(f, f.view, f.base + FPU_ENVIRONMENT, format), {
      control: true,
      store: size + 80,
      stored: (f) => f.initialize(),
    });
    define(`frstor ${suffix}`, (f) => restore(f, f.view, f.base + FPU_ENVIRONMENT, format), { control: true, load: size + 80 });
  }
}

export const X87_OPERATIONS: readonly X87Operation[] = operations;

const numbers = new Map(operations.map((operation, index) => [operation.name, index]));
/** Index into X87_OPERATIONS. Throws on an unknown name. */
export function x87OperationNumber(name: string): number {
  const index = numbers.get(name);
  if (index === undefined) throw new Error(`x87: no operation '${name}'`);
  return index;
}

/** A pending unmasked exception is delivered before it: all but the FN… control instructions. */
export const waits = (operation: X87Operation): boolean => !operation.control || operation.load !== undefined;

/**
 * Run one operation to its end, or, for a store to memory, up to the point where memory is written; completeStore
 * does the rest. `opcode`: the 11 bits of FOP.
 */
export function execute(f: X87, operation: X87Operation, i: number, opcode: number): void {
  if (operation.control) {
    operation.run(f, i);
    return;
  }
  f.begin();
  const conditions = operation.run(f, i);
  if (operation.store === undefined) f.finish(opcode, operation.load !== undefined, conditions ?? undefined);
}

/** The memory write of a store instruction is through. */
export function completeStore(f: X87, operation: X87Operation, opcode: number): void {
  if (operation.control) operation.stored?.(f);
  else f.completeStore(opcode);
}
