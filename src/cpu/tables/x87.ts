/** x87 instructions. Source: SDM vol. 2, appendix A.5. The encodings stand in x87-encodings.ts. */
import { row, type Instruction, type InstructionAttributes } from './definition.ts';
import { X87_ENCODINGS, type X87Encoding } from './x87-encodings.ts';
import * as x87 from '../emit/x87.ts';
import { waits, X87_OPERATIONS, x87OperationNumber } from '../fpu/x87-operations.ts';

const KEPT: InstructionAttributes = { flags: 'kept' };
const OPERAND_BY_SIZE: Record<number, string> = { 2: 'Mw', 4: 'Md', 8: 'Mq', 10: 'Mt' };

/** Attributes of an operation with a memory operand. */
function memory(operation: string): InstructionAttributes {
  const one = X87_OPERATIONS[x87OperationNumber(operation)]!;
  return { ...KEPT, writes: one.store !== undefined, before: waits(one) ? 'x87' : 'x87Control' };
}

function instruction({ encoding, operation, condition, sized }: X87Encoding): Instruction {
  const [escapeText, form] = encoding.toUpperCase().split(' ') as [string, string];
  const escape = parseInt(escapeText, 16);
  const name = operation.split(' ')[0]!;
  if (form.startsWith('/')) {
    const opcode = `${escapeText} ${form}`;
    if (sized) {
      const notation = /env$/.test(name) ? 'Me $v' : 'Ms $v';
      return row(opcode, name, notation, x87.environment(name as 'fnstenv', escape), memory(`${name} protected32`));
    }
    const { load, store } = X87_OPERATIONS[x87OperationNumber(operation)]!;
    const operand = OPERAND_BY_SIZE[(load ?? store)!]!;
    if (name === 'fnstcw' || name === 'fnstsw') return row(opcode, name, operand, x87[name], memory(operation));
    return row(opcode, name, operand, x87.memory(operation, escape), memory(operation));
  }
  const flags: InstructionAttributes = X87_OPERATIONS[x87OperationNumber(operation)]!.setsFlags ? {} : KEPT;
  const emit = x87.register(operation, escape, condition);
  if (form.endsWith('+I')) {
    const digit = (parseInt(form.slice(0, 2), 16) >> 3) & 7;
    return row(`${escapeText} /${digit} reg`, name, 'st', emit, condition === undefined ? flags : { ...flags, usesFlags: true });
  }
  return row(`${escapeText} =${form}`, name, '', emit, flags);
}

const rows: readonly Instruction[] = [
  ...X87_ENCODINGS.map(instruction),
  row('DF =E0', 'fnstsw', '', x87.fnstswAx, KEPT),
  row('9B', 'fwait', '', x87.fwait, KEPT),
  row('NP 0F AE /0 mem', 'fxsave', 'M- $v', x87.fxsave, { ...KEPT, writes: true, before: 'x87Control' }),
  row('NP 0F AE /1 mem', 'fxrstor', 'M- $v', x87.fxrstor, { ...KEPT, before: 'x87Control' }),
];

export const X87: readonly Instruction[] = rows.map((one) => ({ ...one, rare: true }));
