/** System instructions, far transfers, I/O. Source: SDM vol. 2, appendix A. */
import { row, type Instruction, type InstructionAttributes } from './definition.ts';
import * as system from '../emit/system.ts';

const END: InstructionAttributes = { ends: 'system' };
const KEPT: InstructionAttributes = { flags: 'kept' };

const rows: readonly Instruction[] = [
  // Interrupts and returns
  row('CC', 'int3', '', system.call('int3'), END),
  row('CD', 'int', 'Ib', system.withValue('int'), END),
  row('CE', 'into', '', system.call('into'), { only: 'legacy', flags: 'kept' }),
  row('F1', 'int1', '', system.call('int1'), END),
  row('0F 0B', 'ud2', '', system.call('undefined'), END),
  row('0F B9', 'ud1', 'Ev', system.call('undefined'), END),
  row('0F FF', 'ud0', 'Ev', system.call('undefined'), END),
  row('CF', 'iret', '$v', system.callSized('iret'), END),
  row('0F 05', 'syscall', '', system.call('syscall'), END),
  row('0F 07', 'sysret', '$v', system.callSized('sysret'), END),
  row('0F 34', 'sysenter', '', system.call('sysenter'), END),
  row('0F 35', 'sysexit', '$v', system.callSized('sysexit'), END),

  // Far transfers: pointer in the record's disp (offset) and imm (selector), or in memory
  row('9A', 'callf', 'Ap $v', system.callSized2('callFarPointer'), { ...END, only: 'legacy' }),
  row('EA', 'jmpf', 'Ap $v', system.callSized2('jmpFarPointer'), { ...END, only: 'legacy' }),
  row('FF /3', 'callf', 'M- $v', system.withAddress('callFar'), END),
  row('FF /5', 'jmpf', 'M- $v', system.withAddress('jmpFar'), END),
  row('CB', 'retf', '$v', system.callSized('retFar'), END),
  row('CA', 'retf', '$v Iw', system.callSized('retFarImmediate'), END),

  // Segment registers
  row('8C', 'mov', 'Esv Sw', system.movFromSegment, { flags: 'kept', writes: true }),
  row('8E', 'mov', 'Sw Ew', (c, _seg, src) => system.withValue('loadSegment')(c, src!), END),
  row('07', 'pop', '$v', system.popSegment(0), { ...END, only: 'legacy' }),
  row('17', 'pop', '$v', system.popSegment(2), { ...END, only: 'legacy' }),
  row('1F', 'pop', '$v', system.popSegment(3), { ...END, only: 'legacy' }),
  row('0F A1', 'pop', '$v', system.popSegment(4), { ...END, size64: 'default' }),
  row('0F A9', 'pop', '$v', system.popSegment(5), { ...END, size64: 'default' }),
  ...(
    [
      ['C4', 0],
      ['C5', 3],
      ['0F B2', 2],
      ['0F B4', 4],
      ['0F B5', 5],
    ] as const
  ).map(([opcode, seg]) =>
    row(opcode, 'lds', 'Gv M-', system.loadFarPointer(seg), {
      ...END,
      ...(opcode.length === 2 ? { only: 'legacy' as const } : {}),
    }),
  ),
  row('0F 01 =F8', 'swapgs', '', system.call('swapgs'), { ...KEPT, only: 'long' }),
  row('F3 0F AE /0 reg', 'rdfsbase', 'Ry', system.toOperandWith('rdBase', 4), { ...KEPT, only: 'long' }),
  row('F3 0F AE /1 reg', 'rdgsbase', 'Ry', system.toOperandWith('rdBase', 5), { ...KEPT, only: 'long' }),
  row('F3 0F AE /2 reg', 'wrfsbase', 'Ry', system.withValue('wrBase', 4), { ...KEPT, only: 'long' }),
  row('F3 0F AE /3 reg', 'wrgsbase', 'Ry', system.withValue('wrBase', 5), { ...KEPT, only: 'long' }),

  // Descriptor tables and descriptors
  row('0F 01 /0 mem', 'sgdt', 'M-', system.withAddress('sgdt'), KEPT),
  row('0F 01 /1 mem', 'sidt', 'M-', system.withAddress('sidt'), KEPT),
  row('0F 01 /2 mem', 'lgdt', 'M- $v', system.withAddress('lgdt'), KEPT),
  row('0F 01 /3 mem', 'lidt', 'M- $v', system.withAddress('lidt'), KEPT),
  row('0F 01 /4', 'smsw', 'Esv', system.toOperand('smsw'), { flags: 'kept', writes: true }),
  row('0F 01 /6', 'lmsw', 'Ew', system.withValue('lmsw'), END),
  row('0F 01 /7 mem', 'invlpg', 'M-', system.withAddress('invlpg'), { ...END, addressOnly: true }),
  row('0F 00 /0', 'sldt', 'Esv', system.toOperand('sldt'), { flags: 'kept', writes: true }),
  row('0F 00 /1', 'str', 'Esv', system.toOperand('str'), { flags: 'kept', writes: true }),
  row('0F 00 /2', 'lldt', 'Ew', system.withValue('lldt'), KEPT),
  row('0F 00 /3', 'ltr', 'Ew', system.withValue('ltr'), KEPT),
  row('0F 00 /4', 'verr', 'Ew', system.withValue('verr')),
  row('0F 00 /5', 'verw', 'Ew', system.withValue('verw')),
  row('0F 02', 'lar', 'Gv Ew', system.through('lar')),
  row('0F 03', 'lsl', 'Gv Ew', system.through('lsl')),
  row('63', 'arpl', 'Ew Gw', system.arpl, { only: 'legacy', writes: true }),

  // Control and debug registers, caches
  row('0F 20', 'mov', 'Rm Cm', system.call('movFromCr'), END),
  row('0F 22', 'mov', 'Cm Rm', system.call('movToCr'), END),
  row('0F 21', 'mov', 'Rm Dm', system.call('movFromDr'), END),
  row('0F 23', 'mov', 'Dm Rm', system.call('movToDr'), END),
  row('0F 06', 'clts', '', system.call('clts'), END),
  row('0F 08', 'invd', '', system.call('invd'), END),
  row('0F 09', 'wbinvd', '', system.call('wbinvd'), END),
  row('0F AE /7 mem', 'clflush', 'Mb', (_c, operand) => system.touch(operand!), KEPT),
  row('NP 0F AE /5 reg', 'lfence', '', system.nothing, KEPT),
  row('NP 0F AE /6 reg', 'mfence', '', system.nothing, KEPT),
  row('NP 0F AE /7 reg', 'sfence', '', system.nothing, KEPT),
  row('0F 01 =CA', 'clac', '', system.call('clac'), KEPT),
  row('0F 01 =CB', 'stac', '', system.call('stac'), KEPT),

  // Exits and model-specific registers
  row('0F A2', 'cpuid', '', system.call('cpuid'), END),
  row('0F 30', 'wrmsr', '', system.call('wrmsr'), END),
  row('0F 32', 'rdmsr', '', system.call('rdmsr'), END),
  row('0F 31', 'rdtsc', '', system.timestamp('rdtsc'), KEPT),
  row('0F 01 =F9', 'rdtscp', '', system.timestamp('rdtscp'), KEPT),
  row('0F 33', 'rdpmc', '', system.call('rdpmc'), END),
  row('0F 01 =C1', 'vmcall', '', system.call('vmcall'), END),
  row('F4', 'hlt', '', system.call('hlt'), END),
  row('0F C7 /6 reg', 'rdrand', 'Rv', system.toOperand('rdrand')),

  // Port I/O
  row('E4', 'in', 'AL Ib', system.portImmediate('in', 1), END),
  row('E5', 'in', 'Ib $v', system.portImmediateSized('in'), END),
  row('E6', 'out', 'Ib AL', system.portImmediate('out', 1), END),
  row('E7', 'out', 'Ib $v', system.portImmediateSized('out'), END),
  row('EC', 'in', '', system.portDx('in', 1), END),
  row('ED', 'in', '$v', system.portDxSized('in'), END),
  row('EE', 'out', '', system.portDx('out', 1), END),
  row('EF', 'out', '$v', system.portDxSized('out'), END),
  row('6C', 'insb', '', system.call('ins', 1), { string: true, flags: 'kept' }),
  row('6D', 'ins', '$v', system.callSized('ins'), { string: true, flags: 'kept' }),
  row('6E', 'outsb', '', system.call('outs', 1), { string: true, flags: 'kept' }),
  row('6F', 'outs', '$v', system.callSized('outs'), { string: true, flags: 'kept' }),
];

export const SYSTEM: readonly Instruction[] = rows.map((one) => ({ ...one, rare: true }));
