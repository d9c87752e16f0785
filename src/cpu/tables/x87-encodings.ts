/**
 * Encodings of the x87 instructions (SDM vol. 2, appendix A.5): 'd8 /0' a memory form by ModRM.reg, 'd8 c0+i' a
 * register form, 'd9 e0' a single ModRM byte; and the operation each has (fpu/x87-operations.ts). `condition`: FCMOVcc's
 * condition code. `sized`: the operation comes in four forms, by operand size and mode.
 */
export interface X87Encoding {
  readonly encoding: string;
  readonly operation: string;
  readonly condition?: number;
  readonly sized?: true;
}

const rows: X87Encoding[] = [];
const row = (encoding: string, operation: string, more: Partial<X87Encoding> = {}) => {
  rows.push({ encoding, operation, ...more });
};

const ARITHMETIC = ['fadd', 'fmul', 'fcom', 'fcomp', 'fsub', 'fsubr', 'fdiv', 'fdivr'];
const hex = (value: number) => value.toString(16);

ARITHMETIC.forEach((name, reg) => {
  const isCompare = reg === 2 || reg === 3;
  const integer = `fi${name.slice(1)}`;
  row(`d8 /${reg}`, `${name} m32fp`);
  row(`dc /${reg}`, `${name} m64fp`);
  row(`da /${reg}`, `${integer} m32int`);
  row(`de /${reg}`, `${integer} m16int`);
  const modrm = hex(0xc0 + reg * 8);
  row(`d8 ${modrm}+i`, isCompare ? `${name} sti` : `${name} st0,sti`);
  row(`dc ${modrm}+i`, isCompare ? `${name} sti` : `${name} sti,st0`);
  if (!isCompare) row(`de ${modrm}+i`, `${name}p sti,st0`);
});
row('de d0+i', 'fcomp sti'); // an alias
row('de d9', 'fcompp');

row('d9 /0', 'fld m32fp');
row('d9 /2', 'fst m32fp');
row('d9 /3', 'fstp m32fp');
row('d9 /4', 'fldenv', { sized: true });
row('d9 /5', 'fldcw m16');
row('d9 /6', 'fnstenv', { sized: true });
row('d9 /7', 'fnstcw m16');
row('d9 c0+i', 'fld sti');
row('d9 c8+i', 'fxch sti');
row('d9 d0', 'fnop');
row('d9 d8+i', 'fstpnce sti');
row('d9 e0', 'fchs');
row('d9 e1', 'fabs');
row('d9 e4', 'ftst');
row('d9 e5', 'fxam');
['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'].forEach((name, i) => row(`d9 ${hex(0xe8 + i)}`, name));
[
  'f2xm1',
  'fyl2x',
  'fptan',
  'fpatan',
  'fxtract',
  'fprem1',
  'fdecstp',
  'fincstp',
  'fprem',
  'fyl2xp1',
  'fsqrt',
  'fsincos',
  'frndint',
  'fscale',
  'fsin',
  'fcos',
].forEach((name, i) => row(`d9 ${hex(0xf0 + i)}`, name));

// FCMOVB, E, BE, U; then their opposites.
[2, 4, 6, 10].forEach((condition, i) => {
  row(`da ${hex(0xc0 + i * 8)}+i`, 'fcmov sti', { condition });
  row(`db ${hex(0xc0 + i * 8)}+i`, 'fcmov sti', { condition: condition + 1 });
});
row('da e9', 'fucompp');

row('db /0', 'fild m32int');
row('db /2', 'fist m32int');
row('db /3', 'fistp m32int');
row('db /5', 'fld m80fp');
row('db /7', 'fstp m80fp');
row('db e0', 'fnop 8087'); // FENI, FDISI and FSETPM of the 8087 and 80287
row('db e1', 'fnop 8087');
row('db e2', 'fnclex');
row('db e3', 'fninit');
row('db e4', 'fnop 8087');
row('db e8+i', 'fucomi sti');
row('db f0+i', 'fcomi sti');

row('dd /0', 'fld m64fp');
row('dd /2', 'fst m64fp');
row('dd /3', 'fstp m64fp');
row('dd /4', 'frstor', { sized: true });
row('dd /6', 'fnsave', { sized: true });
row('dd /7', 'fnstsw m16');
row('dd c0+i', 'ffree sti');
row('dd c8+i', 'fxch sti'); // an alias
row('dd d0+i', 'fst sti');
row('dd d8+i', 'fstp sti');
row('dd e0+i', 'fucom sti');
row('dd e8+i', 'fucomp sti');

row('df /0', 'fild m16int');
row('df /2', 'fist m16int');
row('df /3', 'fistp m16int');
row('df /4', 'fbld m80bcd');
row('df /5', 'fild m64int');
row('df /6', 'fbstp m80bcd');
row('df /7', 'fistp m64int');
row('df c0+i', 'ffreep sti');
row('df c8+i', 'fxch sti'); // an alias
row('df d0+i', 'fstp sti'); // aliases
row('df d8+i', 'fstp sti');
row('df e8+i', 'fucomip sti');
row('df f0+i', 'fcomip sti');

/** FNSTSW AX ('df e0') has no x87 operation: the emitter moves the status word. */
export const X87_ENCODINGS: readonly X87Encoding[] = rows;
