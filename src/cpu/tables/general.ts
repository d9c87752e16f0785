/** General-purpose instructions. Source: SDM vol. 2, appendix A. */
import { CB_SLOW_VALUE } from '../memory/control-block.ts';
import { hex, row, type Instruction, type InstructionAttributes } from './definition.ts';
import * as control from '../emit/control.ts';
import { CONDITION_NAMES } from '../emit/flags.ts';
import * as integer from '../emit/integer.ts';
import * as shift from '../emit/shift.ts';
import * as stack from '../emit/stack.ts';
import * as system from '../emit/system.ts';
import { seq } from '../wasm/expr.ts';

type Emit = integer.Emit;
const HOT = { hot: true } as const;
const WRITES = { writes: true } as const;

/** The eight classic operations in their nine encodings. */
function arithmetic(name: string, digit: number, emit: Emit, flags: InstructionAttributes['flags']): Instruction[] {
  const base = digit * 8;
  const stores = name !== 'cmp';
  const memory: InstructionAttributes = { flags, hot: true, ...(stores ? { lock: 'allowed', writes: true } : {}) };
  return [
    row(hex(base), name, 'Eb Gb', emit, memory),
    row(hex(base + 1), name, 'Ev Gv', emit, memory),
    row(hex(base + 2), name, 'Gb Eb', emit, { flags, hot: true }),
    row(hex(base + 3), name, 'Gv Ev', emit, { flags, hot: true }),
    row(hex(base + 4), name, 'AL Ib', emit, { flags }),
    row(hex(base + 5), name, 'rAX Iz', emit, { flags }),
    row(`80 /${digit}`, name, 'Eb Ib', emit, memory),
    row(`81 /${digit}`, name, 'Ev Iz', emit, memory),
    row(`82 /${digit}`, name, 'Eb Ib', emit, { ...memory, only: 'legacy' }),
    row(`83 /${digit}`, name, 'Ev Ibs', emit, memory),
  ];
}

function shifts(name: string, digit: number, emit: Emit): Instruction[] {
  return [
    row(`C0 /${digit}`, name, 'Eb Ib', emit, WRITES),
    row(`C1 /${digit}`, name, 'Ev Ib', emit, WRITES),
    row(`D0 /${digit}`, name, 'Eb 1', emit, WRITES),
    row(`D1 /${digit}`, name, 'Ev 1', emit, WRITES),
    row(`D2 /${digit}`, name, 'Eb CL', emit, WRITES),
    row(`D3 /${digit}`, name, 'Ev CL', emit, WRITES),
  ];
}

function bitTests(
  name: string,
  opcode: number,
  digit: number,
  emit: (byRegister: boolean) => Emit,
  stores: boolean,
): Instruction[] {
  const attributes: InstructionAttributes = stores ? { lock: 'allowed', writes: true } : {};
  return [
    // The index reaches beyond the operand: the row's memory form is an address of its own.
    row(`0F ${hex(opcode)}`, name, 'Ev Gv $a', emit(true), attributes),
    row(`0F BA /${digit}`, name, 'Ev Ib', emit(false), attributes),
  ];
}

const conditions = CONDITION_NAMES.flatMap((suffix, cc): Instruction[] => [
  ...jump(`j${suffix}`, [hex(0x70 + cc), `0F ${hex(0x80 + cc)}`], control.jcc(cc, false), branch(control.jcc(cc, true), true)),
  row(`0F ${hex(0x90 + cc)}`, `set${suffix}`, 'Eb', integer.setcc(cc), { flags: 'kept', usesFlags: true, writes: true }),
  row(`0F ${hex(0x40 + cc)}`, `cmov${suffix}`, 'Gv Ev', integer.cmovcc(cc), { flags: 'kept', usesFlags: true }),
]);

/** The short and the near encoding of a relative jump. */
function jump(name: string, [short, near]: [string, string], emit: Emit, attributes: ReturnType<typeof branch>): Instruction[] {
  return [row(short, name, 'Jb $v', emit, attributes), row(near, name, 'Jz $v', emit, attributes)];
}

function branch(emitChained: Emit, usesFlags = false): InstructionAttributes & { emitChained: Emit } {
  return { ends: 'jump', chains: true, size64: 'forced', flags: 'kept', usesFlags, emitChained };
}

const segmentPushes: Instruction[] = [
  [0x06, 0],
  [0x0e, 1],
  [0x16, 2],
  [0x1e, 3],
].map(([opcode, seg]) =>
  row(hex(opcode!), 'push', '$v', (c, sized) => stack.pushSegment(c, sized!.size as 2 | 4, system.segmentSelector(c, seg!)), {
    only: 'legacy',
    flags: 'kept',
  }),
);
const fsGs: Instruction[] = [
  [0xa0, 4],
  [0xa8, 5],
].map(([opcode, seg]) =>
  row(
    `0F ${hex(opcode!)}`,
    'push',
    '$v',
    (c, sized) => stack.pushSegment(c, sized!.size as 2 | 4 | 8, system.segmentSelector(c, seg!)),
    { size64: 'default', flags: 'kept' },
  ),
);

const NOP: Emit = () => seq();
const HINT: InstructionAttributes = { flags: 'kept', addressOnly: true, hint: true };

const rows: readonly Instruction[] = [
  ...arithmetic('add', 0, integer.add, 'add'),
  ...arithmetic('or', 1, integer.or, 'logic'),
  ...arithmetic('adc', 2, integer.adc, 'result'),
  ...arithmetic('sbb', 3, integer.sbb, 'result'),
  ...arithmetic('and', 4, integer.and, 'logic'),
  ...arithmetic('sub', 5, integer.sub, 'sub'),
  ...arithmetic('xor', 6, integer.xor, 'logic'),
  ...arithmetic('cmp', 7, integer.cmp, 'sub'),

  row('D6', 'salc', 'AL', integer.salc, { only: 'legacy', flags: 'kept', usesFlags: true }),
  row('84', 'test', 'Eb Gb', integer.test, { hot: true, flags: 'logic' }),
  row('85', 'test', 'Ev Gv', integer.test, { hot: true, flags: 'logic' }),
  row('A8', 'test', 'AL Ib', integer.test, { flags: 'logic' }),
  row('A9', 'test', 'rAX Iz', integer.test, { flags: 'logic' }),
  row('F6 /0', 'test', 'Eb Ib', integer.test, { hot: true, flags: 'logic' }),
  row('F7 /0', 'test', 'Ev Iz', integer.test, { hot: true, flags: 'logic' }),
  row('F6 /1', 'test', 'Eb Ib', integer.test, { flags: 'logic' }),
  row('F7 /1', 'test', 'Ev Iz', integer.test, { flags: 'logic' }),
  row('F6 /2', 'not', 'Eb', integer.not, { flags: 'kept', lock: 'allowed', writes: true }),
  row('F7 /2', 'not', 'Ev', integer.not, { flags: 'kept', lock: 'allowed', writes: true }),
  row('F6 /3', 'neg', 'Eb', integer.neg, { flags: 'sub', lock: 'allowed', writes: true }),
  row('F7 /3', 'neg', 'Ev', integer.neg, { flags: 'sub', lock: 'allowed', writes: true }),
  row('F6 /4', 'mul', 'Eb', integer.mul),
  row('F7 /4', 'mul', 'Ev', integer.mul),
  row('F6 /5', 'imul', 'Eb', integer.imul1),
  row('F7 /5', 'imul', 'Ev', integer.imul1),
  row('F6 /6', 'div', 'Eb', integer.div, { flags: 'kept' }),
  row('F7 /6', 'div', 'Ev', integer.div, { flags: 'kept' }),
  row('F6 /7', 'idiv', 'Eb', integer.idiv, { flags: 'kept' }),
  row('F7 /7', 'idiv', 'Ev', integer.idiv, { flags: 'kept' }),
  row('0F AF', 'imul', 'Gv Ev', integer.imul2, HOT),
  row('69', 'imul', 'Gv Ev Iz', integer.imul3),
  row('6B', 'imul', 'Gv Ev Ibs', integer.imul3),

  row('FE /0', 'inc', 'Eb', integer.inc, { flags: 'result', lock: 'allowed', writes: true }),
  row('FF /0', 'inc', 'Ev', integer.inc, { flags: 'result', hot: true, lock: 'allowed', writes: true }),
  row('FE /1', 'dec', 'Eb', integer.dec, { flags: 'result', lock: 'allowed', writes: true }),
  row('FF /1', 'dec', 'Ev', integer.dec, { flags: 'result', hot: true, lock: 'allowed', writes: true }),
  row('40+r', 'inc', 'Zv', integer.inc, { only: 'legacy' }),
  row('48+r', 'dec', 'Zv', integer.dec, { only: 'legacy' }),

  row('88', 'mov', 'Eb Gb', integer.mov, { hot: true, flags: 'kept', writes: true }),
  row('89', 'mov', 'Ev Gv', integer.mov, { hot: true, flags: 'kept', writes: true }),
  row('8A', 'mov', 'Gb Eb', integer.mov, { hot: true, flags: 'kept' }),
  row('8B', 'mov', 'Gv Ev', integer.mov, { hot: true, flags: 'kept' }),
  row('A0', 'mov', 'AL Ob', integer.mov, { flags: 'kept' }),
  row('A1', 'mov', 'rAX Ov', integer.mov, { flags: 'kept' }),
  row('A2', 'mov', 'Ob AL', integer.mov, { flags: 'kept', writes: true }),
  row('A3', 'mov', 'Ov rAX', integer.mov, { flags: 'kept', writes: true }),
  row('B0+r', 'mov', 'Zb Ib', integer.mov, { flags: 'kept' }),
  row('B8+r', 'mov', 'Zv Iv', integer.mov, { flags: 'kept' }),
  row('C6 /0', 'mov', 'Eb Ib', integer.mov, { hot: true, flags: 'kept', writes: true }),
  row('C7 /0', 'mov', 'Ev Iz', integer.mov, { hot: true, flags: 'kept', writes: true }),
  row('0F B6', 'movzx', 'Gv Eb', integer.movzx, { hot: true, flags: 'kept' }),
  row('0F B7', 'movzx', 'Gv Ew', integer.movzx, { hot: true, flags: 'kept' }),
  row('0F BE', 'movsx', 'Gv Eb', integer.movsx, { hot: true, flags: 'kept' }),
  row('0F BF', 'movsx', 'Gv Ew', integer.movsx, { hot: true, flags: 'kept' }),
  row('63', 'movsxd', 'Gv Ed', integer.movsx, { hot: true, flags: 'kept', only: 'long' }),
  row('8D', 'lea', 'Gv M-', (_c, dst, src) => dst!.write(src!.address()), { hot: true, flags: 'kept', addressOnly: true }),
  row('86', 'xchg', 'Eb Gb', integer.xchg, { flags: 'kept', lock: 'implied', writes: true }),
  row('87', 'xchg', 'Ev Gv', integer.xchg, { flags: 'kept', lock: 'implied', writes: true }),
  // 90 is NOP, not XCHG eAX, eAX (which would clear the upper half); with REX.B it is XCHG.
  row('90', 'nop', '', NOP, { flags: 'kept', noRexB: true }),
  row('F3 90', 'pause', '', NOP, { flags: 'kept', noRexB: true }),
  row('90+r', 'xchg', 'rAX Zv', integer.xchg, { flags: 'kept' }),
  row('0F 1F', 'nop', 'Ev', NOP, HINT),
  // Hint space that older processors treat as NOP (0F 18 prefetch, 0F 1E ENDBR among it).
  ...[0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e].map((op) => row(`0F ${hex(op)}`, 'nop', 'Ev', NOP, HINT)),
  row('0F 0D', 'prefetchw', 'Ev', NOP, HINT),
  row('0F C0', 'xadd', 'Eb Gb', integer.xadd, { lock: 'allowed', writes: true }),
  row('0F C1', 'xadd', 'Ev Gv', integer.xadd, { lock: 'allowed', writes: true }),
  row('0F B0', 'cmpxchg', 'Eb Gb', integer.cmpxchg, { flags: 'sub', lock: 'allowed', writes: true }),
  row('0F B1', 'cmpxchg', 'Ev Gv', integer.cmpxchg, { flags: 'sub', lock: 'allowed', writes: true }),
  row(
    '0F C7 /1',
    'cmpxchg8b',
    'Mc',
    (c, dst) => (dst!.size === 16 ? system.withAddress('cmpxchg16b')(c, dst!) : integer.cmpxchg8b(c, dst!)),
    { lock: 'allowed', writes: true },
  ),
  row('0F C8+r', 'bswap', 'Zy', integer.bswap, { flags: 'kept' }),

  row('50+r', 'push', 'Zv', stack.pushOperand, { flags: 'kept', size64: 'default' }),
  row('58+r', 'pop', 'Zv', stack.popOperand, { flags: 'kept', size64: 'default' }),
  row('FF /6', 'push', 'Ev', stack.pushOperand, { flags: 'kept', size64: 'default' }),
  row('8F /0', 'pop', 'Ev', stack.popOperand, { flags: 'kept', size64: 'default', writes: true, before: 'pop' }),
  row('68', 'push', 'Iz $v', stack.pushImmediate, { flags: 'kept', size64: 'default' }),
  row('6A', 'push', 'Ibs $v', stack.pushImmediate, { flags: 'kept', size64: 'default' }),
  ...segmentPushes,
  ...fsGs,
  row('9C', 'pushf', '$v', stack.pushf, { flags: 'kept', size64: 'default' }),
  row('9D', 'popf', '$v', stack.popf, { size64: 'default', ends: 'system' }),
  row('C9', 'leave', '$v', stack.leave, { flags: 'kept', size64: 'default' }),
  row('C8', 'enter', 'Iw Ib2 $v', (c, imm, _level, sized) => seq(system.withValue('enter', sized!.size)(c, imm!)), {
    flags: 'kept',
    size64: 'default',
  }),
  row('60', 'pusha', '$v', stack.pusha, { flags: 'kept', only: 'legacy' }),
  row('61', 'popa', '$v', stack.popa, { flags: 'kept', only: 'legacy' }),

  ...shifts('rol', 0, shift.rol),
  ...shifts('ror', 1, shift.ror),
  ...shifts('rcl', 2, shift.rcl),
  ...shifts('rcr', 3, shift.rcr),
  ...shifts('shl', 4, shift.shl),
  ...shifts('shr', 5, shift.shr),
  ...shifts('shl', 6, shift.shl),
  ...shifts('sar', 7, shift.sar),
  row('0F A4', 'shld', 'Ev Gv Ib', shift.shld, WRITES),
  row('0F A5', 'shld', 'Ev Gv CL', shift.shld, WRITES),
  row('0F AC', 'shrd', 'Ev Gv Ib', shift.shrd, WRITES),
  row('0F AD', 'shrd', 'Ev Gv CL', shift.shrd, WRITES),
  ...bitTests('bt', 0xa3, 4, integer.bt, false),
  ...bitTests('bts', 0xab, 5, integer.bts, true),
  ...bitTests('btr', 0xb3, 6, integer.btr, true),
  ...bitTests('btc', 0xbb, 7, integer.btc, true),
  row('0F BC', 'bsf', 'Gv Ev', integer.bsf),
  row('0F BD', 'bsr', 'Gv Ev', integer.bsr),

  row('98', 'cbw', 'rAX', integer.cbw, { flags: 'kept' }),
  row('99', 'cwd', 'rAX', integer.cwd, { flags: 'kept' }),
  row('F5', 'cmc', '', integer.cmc),
  row('F8', 'clc', '', integer.clc),
  row('F9', 'stc', '', integer.stc),
  row('FA', 'cli', '', system.cli, { flags: 'kept' }),
  row('FB', 'sti', '', system.sti, { flags: 'kept' }),
  row('FC', 'cld', '', system.cld, { flags: 'kept' }),
  row('FD', 'std', '', system.std, { flags: 'kept' }),
  row('9E', 'sahf', '', integer.sahf),
  row('9F', 'lahf', '', integer.lahf, { flags: 'kept' }),
  row('D7', 'xlat', '', system.call('xlat'), { string: true, flags: 'kept' }),

  ...conditions,
  ...jump('jmp', ['EB', 'E9'], control.jmp(false), branch(control.jmp(true))),
  row('E8', 'call', 'Jz $v', control.call(false), branch(control.call(true))),
  row('FF /2', 'call', 'Ev', control.callIndirect, { ends: 'jump', size64: 'forced', flags: 'kept' }),
  row('FF /4', 'jmp', 'Ev', control.jmpIndirect, { ends: 'jump', size64: 'forced', flags: 'kept' }),
  row('C3', 'ret', '$v', control.ret, { ends: 'jump', size64: 'forced', flags: 'kept' }),
  row('C2', 'ret', '$v Iw', control.retImmediate, { ends: 'jump', size64: 'forced', flags: 'kept' }),
  row('E0', 'loopne', 'Jb $v aCX', control.loopcc(5, false), branch(control.loopcc(5, true))),
  row('E1', 'loope', 'Jb $v aCX', control.loopcc(4, false), branch(control.loopcc(4, true))),
  row('E2', 'loop', 'Jb $v aCX', control.loopcc(undefined, false), branch(control.loopcc(undefined, true))),
  row('E3', 'jcxz', 'Jb $v aCX', control.jcxz(false), branch(control.jcxz(true))),

  row('A4', 'movsb', '', system.call('movs', 1), { string: true, flags: 'kept' }),
  row('A5', 'movs', '$v', system.callSized('movs'), { string: true, flags: 'kept' }),
  row('AA', 'stosb', '', system.call('stos', 1), { string: true, flags: 'kept' }),
  row('AB', 'stos', '$v', system.callSized('stos'), { string: true, flags: 'kept' }),
  row('AC', 'lodsb', '', system.call('lods', 1), { string: true, flags: 'kept' }),
  row('AD', 'lods', '$v', system.callSized('lods'), { string: true, flags: 'kept' }),
  row('A6', 'cmpsb', '', system.call('cmps', 1), { string: true }),
  row('A7', 'cmps', '$v', system.callSized('cmps'), { string: true }),
  row('AE', 'scasb', '', system.call('scas', 1), { string: true }),
  row('AF', 'scas', '$v', system.callSized('scas'), { string: true }),

  row('27', 'daa', '', system.call('daa'), { only: 'legacy' }),
  row('2F', 'das', '', system.call('das'), { only: 'legacy' }),
  row('37', 'aaa', '', system.call('aaa'), { only: 'legacy' }),
  row('3F', 'aas', '', system.call('aas'), { only: 'legacy' }),
  row('D4', 'aam', 'Ib', system.withValue('aam'), { only: 'legacy' }),
  row('D5', 'aad', 'Ib', system.withValue('aad'), { only: 'legacy' }),
  row(
    '62',
    'bound',
    'Gv M-',
    (c, index, pair) => seq(c.store64(CB_SLOW_VALUE, index!.readSigned()), system.withAddress('bound')(c, pair!, index!)),
    { only: 'legacy' },
  ),
];

/** What compilers do not emit, or seldom; what a helper does anyway; and wide multiplications and divisions, which take their time. */
const RARE = new Set([
  'rcl',
  'rcr',
  'shld',
  'shrd',
  'mul',
  'div',
  'idiv',
  'xadd',
  'cmpxchg8b',
  'salc',
  'sahf',
  'lahf',
  'enter',
  'pusha',
  'popa',
  'popf',
  'xlat',
  'bound',
  'daa',
  'das',
  'aaa',
  'aas',
  'aam',
  'aad',
  'cmc',
  'clc',
  'stc',
  'cld',
  'std',
  'loop',
  'loope',
  'loopne',
  'jcxz',
  ...['o', 'no', 'p', 'np'].flatMap((suffix) => [`j${suffix}`, `set${suffix}`, `cmov${suffix}`]),
  ...['movs', 'stos', 'lods', 'cmps', 'scas'].flatMap((name) => [name, `${name}b`]),
]);
export const GENERAL: readonly Instruction[] = rows.map((one) => (RARE.has(one.name) ? { ...one, rare: true } : one));
