/**
 * npm run cpu:show -- NAME [OPERANDS]
 *
 * Prints the rows of one instruction and, for each, the WebAssembly text that its emitter makes for the 64-bit register form:
 * here `rax` for the r/m operand and `rbx` for the other one. Example: npm run cpu:show -- xadd 'Ev Gv'
 */
import loadWabt from 'wabt';
import { InstructionMap } from '../../src/cpu/decode/instruction-map.ts';
import type { Instruction } from '../../src/cpu/tables/definition.ts';
import { compileConstant } from './one-instruction.ts';

const notation = (instruction: Instruction): string => instruction.operands.map((operand) => operand.notation).join(' ');

const [name, operands] = process.argv.slice(2);
if (name === undefined || name.startsWith('-')) {
  console.error("usage: npm run cpu:show -- NAME [OPERANDS], for example: npm run cpu:show -- xadd 'Ev Gv'");
  process.exit(2);
}
const rows = new InstructionMap().all.filter(
  ({ instruction }) => instruction.name === name && (operands === undefined || notation(instruction) === operands),
);
if (rows.length === 0) {
  console.error(`cpu:show: ${name}${operands === undefined ? '' : ` ${operands}`}: not in the tables; see src/cpu/tables`);
  process.exit(1);
}
const wabt = await loadWabt();
for (const row of rows) {
  const list = notation(row.instruction);
  const { opcode } = row.instruction;
  console.log(`${opcode}  ${name} ${list}: ${[...row.forms()].length} forms`);
  try {
    const { bytes } = compileConstant(name, list, { a: 3 * 8, b: 0, imm: 1 });
    const module = wabt.readWasm(bytes, { readDebugNames: true, threads: true, simd: true, bulk_memory: true });
    module.applyNames();
    const text = module.toText({ foldExprs: true, inlineExport: true });
    module.destroy();
    const functions = text.split(/\n(?= {2}\()/).filter((part) => part.trimStart().startsWith('(func'));
    console.log(functions.find((part) => part.includes('(export "run")')) ?? text);
  } catch (error) {
    console.log(`  ${(error as Error).message}`);
  }
}
