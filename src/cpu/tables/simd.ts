/** MMX, SSE and SSE2 instructions. Source: SDM vol. 2, appendix A.3 (two-byte opcode map). */
import { hex, row, type Instruction, type InstructionAttributes } from './definition.ts';
import * as float from '../emit/vector-float.ts';
import * as integer from '../emit/vector-integer.ts';
import { SHIFTS, VECTOR, type VectorOperation } from '../emit/vector-integer.ts';
import * as move from '../emit/vector-move.ts';
import { bits, i32x4, i64x2, i8x16 } from '../emit/simd.ts';
import { type Emit, mov } from '../emit/integer.ts';

const KEPT: InstructionAttributes = { flags: 'kept' };
const HOT: InstructionAttributes = { flags: 'kept', hot: true };
/** A 16-byte memory operand must be aligned. */
const ALIGNED: InstructionAttributes = { flags: 'kept', aligned: true };
const WRITES: InstructionAttributes = { flags: 'kept', writes: true };
const HOT_ALIGNED: InstructionAttributes = { ...HOT, aligned: true };

/** The same operation in both register files. */
function both(opcode: number, name: keyof typeof VECTOR): Instruction[] {
  const operation: VectorOperation = VECTOR[name];
  // PUNPCKLBW and its like read 32 bits.
  const mmxOperands = name.startsWith('punpckl') ? 'Pq Qd' : 'Pq Qq';
  return [
    row(`NP 0F ${hex(opcode)}`, name, mmxOperands, integer.mmx(operation), KEPT),
    row(`66 0F ${hex(opcode)}`, name, 'Vx Wx', integer.sse(operation.wide), ALIGNED),
  ];
}

const INTEGER: readonly [number, keyof typeof VECTOR][] = [
  [0x61, 'punpcklwd'],
  [0x62, 'punpckldq'],
  [0x60, 'punpcklbw'],
  [0x63, 'packsswb'],
  [0x64, 'pcmpgtb'],
  [0x65, 'pcmpgtw'],
  [0x66, 'pcmpgtd'],
  [0x67, 'packuswb'],
  [0x68, 'punpckhbw'],
  [0x69, 'punpckhwd'],
  [0x6a, 'punpckhdq'],
  [0x6b, 'packssdw'],
  [0x74, 'pcmpeqb'],
  [0x75, 'pcmpeqw'],
  [0x76, 'pcmpeqd'],
  [0xd4, 'paddq'],
  [0xd5, 'pmullw'],
  [0xd8, 'psubusb'],
  [0xd9, 'psubusw'],
  [0xda, 'pminub'],
  [0xdb, 'pand'],
  [0xdc, 'paddusb'],
  [0xdd, 'paddusw'],
  [0xde, 'pmaxub'],
  [0xdf, 'pandn'],
  [0xe0, 'pavgb'],
  [0xe3, 'pavgw'],
  [0xe4, 'pmulhuw'],
  [0xe5, 'pmulhw'],
  [0xe8, 'psubsb'],
  [0xe9, 'psubsw'],
  [0xea, 'pminsw'],
  [0xeb, 'por'],
  [0xec, 'paddsb'],
  [0xed, 'paddsw'],
  [0xee, 'pmaxsw'],
  [0xef, 'pxor'],
  [0xf4, 'pmuludq'],
  [0xf5, 'pmaddwd'],
  [0xf6, 'psadbw'],
  [0xf8, 'psubb'],
  [0xf9, 'psubw'],
  [0xfa, 'psubd'],
  [0xfb, 'psubq'],
  [0xfc, 'paddb'],
  [0xfd, 'paddw'],
  [0xfe, 'paddd'],
];

/** Opcode of the register-count form; group opcode and ModRM.reg of the immediate form. */
const SHIFT_OPCODES: readonly [keyof typeof SHIFTS, number, number, number][] = [
  ['psrlw', 0xd1, 0x71, 2],
  ['psraw', 0xe1, 0x71, 4],
  ['psllw', 0xf1, 0x71, 6],
  ['psrld', 0xd2, 0x72, 2],
  ['psrad', 0xe2, 0x72, 4],
  ['pslld', 0xf2, 0x72, 6],
  ['psrlq', 0xd3, 0x73, 2],
  ['psllq', 0xf3, 0x73, 6],
];

const shifts = SHIFT_OPCODES.flatMap(([name, opcode, group, digit]): Instruction[] => {
  const shift = SHIFTS[name];
  return [
    row(`NP 0F ${hex(opcode)}`, name, 'Pq Qq', integer.mmxShift(shift, false), KEPT),
    row(`66 0F ${hex(opcode)}`, name, 'Vx Wx', integer.sseShift(shift, false), ALIGNED),
    row(`NP 0F ${hex(group)} /${digit} reg`, name, 'Nq Ib', integer.mmxShift(shift, true), KEPT),
    row(`66 0F ${hex(group)} /${digit} reg`, name, 'Ux Ib', integer.sseShift(shift, true), KEPT),
  ];
});

type Suffix = 'ps' | 'pd' | 'ss' | 'sd';
const PREFIX: Record<Suffix, string> = { ps: 'NP', pd: '66', ss: 'F3', sd: 'F2' };
const OPERANDS: Record<Suffix, string> = { ps: 'Vx Wx', pd: 'Vx Wx', ss: 'Vx Wd', sd: 'Vx Wq' };
const SUFFIXES: readonly Suffix[] = ['ps', 'pd', 'ss', 'sd'];
/** What compiled code does with doubles all the time. */
const FREQUENT = new Set(['addsd', 'subsd', 'mulsd', 'divsd']);
const attributesOf = (name: string, suffix: Suffix): InstructionAttributes =>
  FREQUENT.has(name + suffix) ? HOT : suffix === 'sd' || suffix === 'ss' ? KEPT : ALIGNED;
const everyForm = (
  opcode: number,
  name: string,
  emit: (suffix: Suffix) => Emit,
  more = '',
  suffixes: readonly Suffix[] = SUFFIXES,
): Instruction[] =>
  suffixes.map((suffix) =>
    row(`${PREFIX[suffix]} 0F ${hex(opcode)}`, name + suffix, OPERANDS[suffix] + more, emit(suffix), attributesOf(name, suffix)),
  );

const floatingPoint: Instruction[] = [
  ...everyForm(0x51, 'sqrt', (s) => float.arithmetic('sqrt', s)),
  ...everyForm(0x52, 'rsqrt', (s) => float.approximate(`rsqrt${s}`), '', ['ps', 'ss']),
  ...everyForm(0x53, 'rcp', (s) => float.approximate(`rcp${s}`), '', ['ps', 'ss']),
  ...everyForm(0x58, 'add', (s) => float.arithmetic('add', s)),
  ...everyForm(0x59, 'mul', (s) => float.arithmetic('mul', s)),
  ...everyForm(0x5c, 'sub', (s) => float.arithmetic('sub', s)),
  ...everyForm(0x5d, 'min', float.minimum),
  ...everyForm(0x5e, 'div', (s) => float.arithmetic('div', s)),
  ...everyForm(0x5f, 'max', float.maximum),
  ...everyForm(0xc2, 'cmp', float.comparePredicate, ' Ib'),
  row('NP 0F 2E', 'ucomiss', 'Vx Wd', float.compareFlags('ucomi', 'ss')),
  row('66 0F 2E', 'ucomisd', 'Vx Wq', float.compareFlags('ucomi', 'sd'), { hot: true }),
  row('NP 0F 2F', 'comiss', 'Vx Wd', float.compareFlags('comi', 'ss')),
  row('66 0F 2F', 'comisd', 'Vx Wq', float.compareFlags('comi', 'sd'), { hot: true }),

  // Bitwise
  ...(['ps', 'pd'] as const).flatMap((s): Instruction[] => [
    row(`${PREFIX[s]} 0F 54`, `and${s}`, 'Vx Wx', integer.sse(bits.and), ALIGNED),
    row(
      `${PREFIX[s]} 0F 55`,
      `andn${s}`,
      'Vx Wx',
      integer.sse((a, b) => bits.andnot(b, a)),
      ALIGNED,
    ),
    row(`${PREFIX[s]} 0F 56`, `or${s}`, 'Vx Wx', integer.sse(bits.or), ALIGNED),
    row(`${PREFIX[s]} 0F 57`, `xor${s}`, 'Vx Wx', integer.sse(bits.xor), ALIGNED),
  ]),

  // Conversions
  row('NP 0F 2A', 'cvtpi2ps', 'Vx Qq', float.cvtpi2ps, KEPT),
  row('66 0F 2A', 'cvtpi2pd', 'Vx Qq', float.cvtpi2pd, KEPT),
  row('F3 0F 2A', 'cvtsi2ss', 'Vx Ey', float.convertFromInteger('ss'), KEPT),
  row('F2 0F 2A', 'cvtsi2sd', 'Vx Ey', float.convertFromInteger('sd'), HOT),
  ...(
    [
      [0x2c, 't', true],
      [0x2d, '', false],
    ] as const
  ).flatMap(([opcode, t, truncate]): Instruction[] => [
    row(`NP 0F ${hex(opcode)}`, `cvt${t}ps2pi`, 'Pq Wq', float.convertToMmx(`cvt${t}ps2pi`), KEPT),
    row(`66 0F ${hex(opcode)}`, `cvt${t}pd2pi`, 'Pq Wx', float.convertToMmx(`cvt${t}pd2pi`), ALIGNED),
    row(`F3 0F ${hex(opcode)}`, `cvt${t}ss2si`, 'Gy Wd', float.convertToInteger('ss', truncate), KEPT),
    row(`F2 0F ${hex(opcode)}`, `cvt${t}sd2si`, 'Gy Wq', float.convertToInteger('sd', truncate), HOT),
  ]),
  row('NP 0F 5A', 'cvtps2pd', 'Vx Wq', float.cvtps2pd, KEPT),
  row('66 0F 5A', 'cvtpd2ps', 'Vx Wx', float.cvtpd2ps, ALIGNED),
  row('F3 0F 5A', 'cvtss2sd', 'Vx Wd', float.cvtss2sd, KEPT),
  row('F2 0F 5A', 'cvtsd2ss', 'Vx Wq', float.cvtsd2ss, KEPT),
  row('NP 0F 5B', 'cvtdq2ps', 'Vx Wx', float.cvtdq2ps, ALIGNED),
  row('66 0F 5B', 'cvtps2dq', 'Vx Wx', float.cvtps2dq, ALIGNED),
  row('F3 0F 5B', 'cvttps2dq', 'Vx Wx', float.cvttps2dq, ALIGNED),
  row('F3 0F E6', 'cvtdq2pd', 'Vx Wq', float.cvtdq2pd, KEPT),
  row('F2 0F E6', 'cvtpd2dq', 'Vx Wx', float.cvtpd2dq, ALIGNED),
  row('66 0F E6', 'cvttpd2dq', 'Vx Wx', float.cvttpd2dq, ALIGNED),
];

const moves: Instruction[] = [
  row('NP 0F 10', 'movups', 'Vx Wx', move.moveVector, HOT),
  row('NP 0F 11', 'movups', 'Wx Vx', move.moveVector, { ...HOT, writes: true }),
  row('66 0F 10', 'movupd', 'Vx Wx', move.moveVector, HOT),
  row('66 0F 11', 'movupd', 'Wx Vx', move.moveVector, { ...HOT, writes: true }),
  row('F3 0F 10', 'movss', 'Vx Wd', move.movScalarLoad(4), HOT),
  row('F3 0F 11', 'movss', 'Wd Vx', move.movScalarStore(4), { ...HOT, writes: true }),
  row('F2 0F 10', 'movsd', 'Vx Wq', move.movScalarLoad(8), HOT),
  row('F2 0F 11', 'movsd', 'Wq Vx', move.movScalarStore(8), { ...HOT, writes: true }),
  row('NP 0F 12', 'movlps', 'Vx Wq', move.movlpsLoad, KEPT),
  row('66 0F 12', 'movlpd', 'Vx Mq', move.loadLowHalf, KEPT),
  row('NP 0F 13', 'movlps', 'Mq Vx', move.storeLow, WRITES),
  row('66 0F 13', 'movlpd', 'Mq Vx', move.storeLow, WRITES),
  row('NP 0F 16', 'movhps', 'Vx Wq', move.loadHighHalf, KEPT),
  row('66 0F 16', 'movhpd', 'Vx Mq', move.loadHighHalf, KEPT),
  row('NP 0F 17', 'movhps', 'Mq Vx', move.storeHighHalf, WRITES),
  row('66 0F 17', 'movhpd', 'Mq Vx', move.storeHighHalf, WRITES),
  row('NP 0F 14', 'unpcklps', 'Vx Wx', move.interleave(4, [0, 4, 1, 5]), ALIGNED),
  row('66 0F 14', 'unpcklpd', 'Vx Wx', move.interleave(8, [0, 2]), ALIGNED),
  row('NP 0F 15', 'unpckhps', 'Vx Wx', move.interleave(4, [2, 6, 3, 7]), ALIGNED),
  row('66 0F 15', 'unpckhpd', 'Vx Wx', move.interleave(8, [1, 3]), ALIGNED),
  row('NP 0F 28', 'movaps', 'Vx Wx', move.moveVector, HOT_ALIGNED),
  row('NP 0F 29', 'movaps', 'Wx Vx', move.moveVector, { ...HOT_ALIGNED, writes: true }),
  row('66 0F 28', 'movapd', 'Vx Wx', move.moveVector, HOT_ALIGNED),
  row('66 0F 29', 'movapd', 'Wx Vx', move.moveVector, { ...HOT_ALIGNED, writes: true }),
  row('NP 0F 2B', 'movntps', 'Mx Vx', move.moveVector, { ...ALIGNED, writes: true }),
  row('66 0F 2B', 'movntpd', 'Mx Vx', move.moveVector, { ...ALIGNED, writes: true }),
  row('66 0F E7', 'movntdq', 'Mx Vx', move.moveVector, { ...ALIGNED, writes: true }),
  row('NP 0F E7', 'movntq', 'Mq Pq', move.storeMmx, WRITES),
  row('NP 0F C3', 'movnti', 'My Gy', mov, WRITES),
  row('66 0F 6F', 'movdqa', 'Vx Wx', move.moveVector, HOT_ALIGNED),
  row('66 0F 7F', 'movdqa', 'Wx Vx', move.moveVector, { ...HOT_ALIGNED, writes: true }),
  row('F3 0F 6F', 'movdqu', 'Vx Wx', move.moveVector, HOT),
  row('F3 0F 7F', 'movdqu', 'Wx Vx', move.moveVector, { ...HOT, writes: true }),
  row('NP 0F 6E', 'movd', 'Pq Ey', move.loadMmx, KEPT),
  row('66 0F 6E', 'movd', 'Vx Ey', move.loadLow, KEPT),
  row('NP 0F 7E', 'movd', 'Ey Pq', move.storeMmx, WRITES),
  row('66 0F 7E', 'movd', 'Ey Vx', move.storeLow, WRITES),
  row('NP 0F 6F', 'movq', 'Pq Qq', move.loadMmx, KEPT),
  row('NP 0F 7F', 'movq', 'Qq Pq', move.storeMmxRegister, WRITES),
  row('F3 0F 7E', 'movq', 'Vx Wq', move.loadLow, HOT),
  row('66 0F D6', 'movq', 'Wq Vx', move.movqStore, { ...HOT, writes: true }),
  row('F2 0F D6', 'movdq2q', 'Pq Ux', move.movdq2q, KEPT),
  row('F3 0F D6', 'movq2dq', 'Vx Nq', move.movq2dq, KEPT),
  row('66 0F F7', 'maskmovdqu', 'Vx Ux', move.maskedStore(16), { ...WRITES, string: true }),
  row('NP 0F F7', 'maskmovq', 'Pq Nq', move.maskedStore(8), { ...WRITES, string: true }),
  row('NP 0F 50', 'movmskps', 'Gd Ux', integer.signMask(i32x4.bitmask), KEPT),
  row('66 0F 50', 'movmskpd', 'Gd Ux', integer.signMask(i64x2.bitmask), KEPT),
  row('66 0F D7', 'pmovmskb', 'Gd Ux', integer.signMask(i8x16.bitmask), KEPT),
  row('NP 0F D7', 'pmovmskb', 'Gd Nq', integer.pmovmskbMmx, KEPT),

  // Lanes by number
  row('NP 0F 70', 'pshufw', 'Pq Qq Ib', integer.pshufw, KEPT),
  row('66 0F 70', 'pshufd', 'Vx Wx Ib', integer.pshufd, ALIGNED),
  row('F2 0F 70', 'pshuflw', 'Vx Wx Ib', integer.pshufWords(false), ALIGNED),
  row('F3 0F 70', 'pshufhw', 'Vx Wx Ib', integer.pshufWords(true), ALIGNED),
  row('NP 0F C6', 'shufps', 'Vx Wx Ib', integer.shufps, ALIGNED),
  row('66 0F C6', 'shufpd', 'Vx Wx Ib', integer.shufpd, ALIGNED),
  row('NP 0F C4', 'pinsrw', 'Pq Ew Ib', integer.pinsrw, KEPT),
  row('66 0F C4', 'pinsrw', 'Vx Ew Ib', integer.pinsrw, KEPT),
  row('NP 0F C5', 'pextrw', 'Gd Nq Ib', integer.pextrw, KEPT),
  row('66 0F C5', 'pextrw', 'Gd Ux Ib', integer.pextrw, KEPT),

  row('NP 0F 77', 'emms', '', move.emms, KEPT),
  row('NP 0F AE /2 mem', 'ldmxcsr', 'Md', move.ldmxcsr, { ...KEPT, before: 'sse' }),
  row('NP 0F AE /3 mem', 'stmxcsr', 'Md', move.stmxcsr, { ...WRITES, before: 'sse' }),
];

const rows: readonly Instruction[] = [
  ...INTEGER.flatMap(([opcode, name]) => both(opcode, name)),
  row('66 0F 6C', 'punpcklqdq', 'Vx Wx', integer.sse(VECTOR.punpcklqdq.wide), ALIGNED),
  row('66 0F 6D', 'punpckhqdq', 'Vx Wx', integer.sse(VECTOR.punpckhqdq.wide), ALIGNED),
  ...shifts,
  row('66 0F 73 /3 reg', 'psrldq', 'Ux Ib', integer.shiftBytes(false), KEPT),
  row('66 0F 73 /7 reg', 'pslldq', 'Ux Ib', integer.shiftBytes(true), KEPT),
  ...floatingPoint,
  ...moves,
];

/** The unit whose availability is looked at first: XMM registers make an instruction SSE's, MMX registers alone MMX's. */
function unitOf({ operands, before }: Instruction): InstructionAttributes {
  const uses = (file: string): boolean => operands.some((operand) => operand.file === file);
  if (before) return { before };
  return uses('xmm') ? { before: 'sse' } : uses('mmx') ? { before: 'mmx' } : {};
}

export const SIMD: readonly Instruction[] = rows.map((one) => ({ ...one, ...unitOf(one), ...(one.hot ? {} : { rare: true }) }));
