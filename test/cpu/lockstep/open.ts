/**
 * What a processor's choices leave open of one case: the instruction at which it ended decides. Only what a choice can
 * have changed is open; all else of the outcome is compared.
 */
import {
  Decoder,
  DecoderOptions,
  type Instruction,
  InstructionInfoFactory,
  MemorySizeExt,
  Mnemonic,
  OpKind,
  Register,
  RegisterExt,
  type UsedMemory,
} from 'iced-x86';
import type { Choices } from '../choices.ts';
import { type Case, CODE, DATA, type Mode, type Outcome, REQUEST_SIZE, fx, request, result } from './case.ts';

export interface Open {
  /** Vector, error code and CR2. */
  readonly fault: boolean;
  /** RFLAGS bits. */
  readonly flags: number;
  /** Offsets in data memory. */
  readonly memory: ReadonlySet<number>;
  /** Everything: one side faulted where the other went on. */
  readonly rest: boolean;
}

const NOTHING: Open = { fault: false, flags: 0, memory: new Set(), rest: false };
const EVERYTHING: Open = { ...NOTHING, rest: true };

const ARITHMETIC_FLAGS = 0x8d5;
const RESUME_FLAG = 0x10000;
const FSW_SUMMARY = 0x80;
const TOP = 0x1_0000_0000n;
const BOUND_RANGE_EXCEEDED = 5;
const DEBUG = 1;
const BREAKPOINT = 3;
/** #SS, #GP, #PF and #AC: an access that is not allowed. */
const accessFaults = new Set([12, 13, 14, 17]);

const named = (...names: string[]): ReadonlySet<number> => new Set(names.map((name) => Mnemonic[name as keyof typeof Mnemonic]));
const twoOperands = named('Cmpsb', 'Cmpsw', 'Cmpsd', 'Cmpsq', 'Movsb', 'Movsw', 'Movsd', 'Movsq');
const scans = named('Cmpsb', 'Cmpsw', 'Cmpsd', 'Cmpsq', 'Scasb', 'Scasw', 'Scasd', 'Scasq');
const strings = new Set([
  ...twoOperands,
  ...scans,
  ...named('Lodsb', 'Lodsw', 'Lodsd', 'Lodsq', 'Stosb', 'Stosw', 'Stosd', 'Stosq'),
]);
const x87Stores = named('Fst', 'Fstp', 'Fist', 'Fistp', 'Fbstp');
/** Images of x87 state: where their pointers stand, as [from, to). */
const fullImages = named('Fxsave', 'Fxsave64');
const environments = named('Fnstenv', 'Fnsave');

const info = new InstructionInfoFactory();

export function leftOpen(one: Case, expected: Outcome, actual: Outcome, choices: Choices): Open {
  if (choices.size === 0) return NOTHING;
  const [e, a] = [expected, actual].map(({ record }) => new DataView(record.buffer, record.byteOffset, record.byteLength)) as [
    DataView,
    DataView,
  ];
  const vector = e.getUint32(result.vector, true);
  const faulted = vector !== BREAKPOINT && vector !== DEBUG;
  const input = new DataView(one.record.buffer, one.record.byteOffset, REQUEST_SIZE);
  const offset = Number(e.getBigUint64(result.rip, true)) - CODE - input.getUint32(request.codeOffset, true);
  if (vector === DEBUG && choices.has('repeat-trap') && isRepeated(one, offset)) return { ...NOTHING, flags: RESUME_FLAG };
  // A fault leaves RIP at its instruction, a trap behind it, and INT3 one further.
  // The generator lets nothing follow what leaves memory open.
  const instruction = faulted ? at(one, offset) : endingAt(one, vector === DEBUG ? offset : offset - 1);
  if (!instruction) return NOTHING;
  try {
    const { mnemonic } = instruction;
    const mode = input.getUint32(request.mode, true) as Mode;
    if (!faulted) return { ...NOTHING, memory: openMemory(instruction, mode, e, choices) };
    const theirs = { vector, rip: e.getBigUint64(result.rip, true) };
    const ours = { vector: a.getUint32(result.vector, true), rip: a.getBigUint64(result.rip, true) };
    if (
      choices.has('store-order') &&
      x87Stores.has(mnemonic) &&
      accessFaults.has(vector) &&
      ours.rip > theirs.rip &&
      a.getUint16(result.fx + fx.fsw, true) & FSW_SUMMARY
    )
      return EVERYTHING;
    const wraps =
      choices.has('wrap') && mode === 32 && addresses(instruction, mode, e).some(({ from, size }) => from + size > TOP);
    // Without #GP at the border the access goes on at address 0, where nothing is mapped, or in the page below it.
    const bothFault = accessFaults.has(vector) && accessFaults.has(ours.vector) && ours.rip === theirs.rip;
    const eitherBound =
      choices.has('bound-order') &&
      mnemonic === Mnemonic.Bound &&
      ours.rip === theirs.rip &&
      accessFaults.has(vector) &&
      ours.vector === BOUND_RANGE_EXCEEDED;
    return {
      ...NOTHING,
      fault: eitherBound || (bothFault && (wraps || (choices.has('operand-order') && twoOperands.has(mnemonic)))),
      memory:
        choices.has('partial-store') && (mnemonic === Mnemonic.Fstp || mnemonic === Mnemonic.Fbstp)
          ? tenBytes(addresses(instruction, mode, e)[0])
          : NOTHING.memory,
      flags:
        choices.has('repeat-flags') && scans.has(mnemonic) && (instruction.hasRepPrefix || instruction.hasRepnePrefix)
          ? ARITHMETIC_FLAGS
          : 0,
    };
  } finally {
    instruction.free();
  }
}

/** Offsets of the first eight bytes of an operand of ten. */
function tenBytes(operand: { from: bigint; size: bigint } | undefined): ReadonlySet<number> {
  return operand?.size === 10n ? new Set(Array.from({ length: 8 }, (_, i) => Number(operand.from) + i - DATA)) : NOTHING.memory;
}

/** Bytes that the case's last instruction may have left one way or the other. */
function openMemory(instruction: Instruction, mode: Mode, e: DataView, choices: Choices): ReadonlySet<number> {
  const { mnemonic } = instruction;
  const open = new Set<number>();
  const add = (address: bigint, from: number, to: number): void => {
    for (let i = from; i < to; i++) open.add(Number(address) + i - DATA);
  };
  const [first] = addresses(instruction, mode, e);
  const pending = (e.getUint16(result.fx + fx.fsw, true) & FSW_SUMMARY) !== 0;
  if (
    choices.has('push-segment') &&
    mode === 32 &&
    mnemonic === Mnemonic.Push &&
    instruction.op0Kind === OpKind.Register &&
    RegisterExt.isSegmentRegister(instruction.op0Register) &&
    instruction.stackPointerIncrement === -4
  ) {
    add(e.getBigUint64(result.gpr + 4 * 8, true), 2, 4);
  } else if (first && fullImages.has(mnemonic)) {
    if (choices.has('pointers') && !pending) add(first.from, 6, 24);
    if (choices.has('mxcsr-mask')) add(first.from, 28, 32);
  } else if (first && environments.has(mnemonic) && choices.has('pointers')) {
    // FNSTENV masks all exceptions: what was pending no longer shows, and the selectors are the processor's own anyway.
    const short = first.size === 14n || first.size === 94n;
    add(first.from, short ? 6 : 12, short ? 14 : 28);
  }
  return open;
}

/** The instruction at this offset of the snippet; free() it. */
function at(one: Case, offset: number): Instruction | undefined {
  const view = new DataView(one.record.buffer, one.record.byteOffset, REQUEST_SIZE);
  const length = view.getUint32(request.codeLength, true);
  if (offset < 0 || offset >= length) return undefined;
  const decoder = new Decoder(
    view.getUint32(request.mode, true),
    one.record.subarray(request.code + offset, request.code + length),
    DecoderOptions.None,
  );
  decoder.ip = BigInt(CODE + view.getUint32(request.codeOffset, true) + offset);
  const instruction = decoder.decode();
  decoder.free();
  return instruction;
}

/** Does a string instruction that repeats stand at this offset? */
function isRepeated(one: Case, offset: number): boolean {
  const instruction = at(one, offset);
  const repeated =
    instruction !== undefined && strings.has(instruction.mnemonic) && (instruction.hasRepPrefix || instruction.hasRepnePrefix);
  instruction?.free();
  return repeated;
}

/** The instruction that ends at this offset; free() it. */
function endingAt(one: Case, end: number): Instruction | undefined {
  for (let offset = 0; offset < end; ) {
    const instruction = at(one, offset);
    if (instruction === undefined) return undefined;
    offset += instruction.length;
    if (offset === end) return instruction;
    instruction.free();
  }
  return undefined;
}

/** Memory operands by the registers of `e`: their first linear address and their size, of a repeated string that of all it still goes through. */
function addresses(instruction: Instruction, mode: Mode, e: DataView): { from: bigint; size: bigint }[] {
  const value = (register: Register): bigint => {
    if (register === Register.FS || register === Register.GS)
      return e.getBigUint64(register === Register.FS ? result.fsBase : result.gsBase, true);
    if (!RegisterExt.isGPR(register)) return 0n; // none, RIP (its displacement is an address already), a flat segment
    const whole = e.getBigUint64(result.gpr + RegisterExt.number(RegisterExt.fullRegister(register)) * 8, true);
    return BigInt.asUintN(RegisterExt.size(register) * 8, whole);
  };
  const used = info.info(instruction);
  const count =
    instruction.hasRepPrefix || instruction.hasRepnePrefix ? BigInt.asUintN(mode, e.getBigUint64(result.gpr + 8, true)) : 1n;
  const memories = used.usedMemory() as UsedMemory[];
  const found = memories.map((memory) => {
    const [register] = [memory.base, memory.index].filter((one) => RegisterExt.isGPR(one));
    const offset = BigInt.asUintN(
      register === undefined ? mode : RegisterExt.size(register) * 8,
      value(memory.base) + value(memory.index) * BigInt(memory.scale) + memory.displacement,
    );
    return {
      from: value(memory.segment) + offset,
      size: count * BigInt(Math.max(MemorySizeExt.size(memory.memorySize), MemorySizeExt.size(instruction.memorySize))),
    };
  });
  for (const memory of memories) memory.free();
  used.free();
  return found;
}
