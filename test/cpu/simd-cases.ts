/** Random MMX, SSE and SSE2 instructions of every row of the tables, as records for the processor and the engine. */
import type { Instruction } from '../../src/cpu/tables/definition.ts';
import { FPU_MXCSR, FPU_XMM } from '../../src/cpu/fpu/state.ts';
import { SIMD } from '../../src/cpu/tables/simd.ts';
import { RECORD } from './native-fpu.ts';
import type { Random } from './lockstep/random.ts';
import { randomFloat } from './sse-cases.ts';

const PREFIX_BYTES: Record<string, number[]> = { any: [], NP: [], 66: [0x66], F3: [0xf3], F2: [0xf2] };

/** Bytes of one random form of a row. Registers are low ones; memory is [rbx + displacement]. */
function encode(random: Random, instruction: Instruction): number[] {
  const { operands, encoding } = instruction;
  const wide = operands.some(({ scales }) => scales === 'operand') && random.below(2) === 1;
  const regOperand = operands.find(({ kind }) => kind === 'reg');
  const rmOperand = operands.find(({ kind }) => kind === 'rm' || kind === 'rmRegister' || kind === 'memory');
  const bytes = [...PREFIX_BYTES[encoding.prefix]!];
  const high = { reg: 0, rm: 0 };
  if (regOperand?.file === 'xmm' && random.below(4) === 0) high.reg = 4;
  if (rmOperand?.file === 'xmm' && random.below(4) === 0) high.rm = 1;
  const memory = rmOperand !== undefined && encoding.mod !== 'reg' && (encoding.mod === 'mem' || random.below(2) === 1);
  if (memory) high.rm = 0;
  const rex = (wide ? 8 : 0) | high.reg | high.rm;
  if (rex) bytes.push(0x40 | rex);
  bytes.push(0x0f, encoding.opcode);
  if (!encoding.hasModrm) return bytes;
  const reg = encoding.digit >= 0 ? encoding.digit : regOperand?.file === 'general' ? 0 : random.below(8);
  if (memory) {
    const displacement = random.below(6) === 0 ? 1 + random.below(15) : random.below(2) * 16;
    bytes.push(0x43 | (reg << 3), displacement);
  } else bytes.push(0xc0 | (reg << 3) | (rmOperand?.file === 'general' ? 0 : random.below(8)));
  if (operands.some(({ kind }) => kind === 'immediate')) bytes.push(random.below(4) ? random.below(256) : random.below(70));
  return bytes;
}

function fillVector(random: Random, record: DataView, at: number): void {
  const kind = random.below(5);
  for (let i = 0; i < 16; i += 4) {
    let value = random.u32();
    if (kind === 0) value = Number(randomFloat(random, false));
    else if (kind === 1) value = [0, 0x7fff8000, 0x80007fff, 0xff00ff00, 0x007f80ff, 0xffffffff][random.below(6)]!;
    record.setUint32(at + i, value, true);
  }
  if (kind === 2) for (let i = 0; i < 16; i += 8) record.setBigUint64(at + i, randomFloat(random, true), true);
  // Small numbers: shift counts.
  if (kind === 3 && random.below(2)) record.setBigUint64(at, BigInt(random.below(80)), true);
}

export function makeSimdCase(random: Random, record: DataView, rows: readonly Instruction[] = SIMD): Instruction {
  const instruction = rows[random.below(rows.length)]!;
  const code = encode(random, instruction);
  code.forEach((byte, i) => record.setUint8(RECORD.code + i, byte));
  record.setUint32(RECORD.length, code.length, true);
  record.setUint16(0, 0x37f & ~(random.below(20) === 0 ? 0x3f : 0), true);
  record.setUint16(2, (random.below(8) << 11) | (random.below(8) << 8) | (random.below(20) === 0 ? 1 : 0), true);
  record.setUint8(4, random.below(256));
  const masks = random.below(5) ? 0x3f : random.below(64);
  const mxcsr =
    (random.below(3) ? 0x20 : random.below(64)) |
    (masks << 7) |
    (random.below(4) ? 0 : random.below(4) << 13) |
    (random.below(8) ? 0 : 0x8000) |
    (random.below(8) ? 0 : 0x40);
  record.setUint32(FPU_MXCSR, mxcsr, true);
  for (let i = 0; i < 8; i++) {
    fillVector(random, record, 32 + i * 16);
    record.setUint16(40 + i * 16, random.below(3) ? 0xffff : random.u32() & 0xffff, true);
    record.setUint16(42 + i * 16, 0, true);
    record.setUint32(44 + i * 16, 0, true);
  }
  for (let i = 0; i < 16; i++) fillVector(random, record, FPU_XMM + i * 16);
  for (let i = 0; i < 128; i += 16) fillVector(random, record, RECORD.memory + i);
  if (instruction.name === 'ldmxcsr' && random.below(3)) {
    for (let i = 0; i < 32; i += 4) record.setUint32(RECORD.memory + i, random.u32() & 0xffff, true);
  }
  record.setBigUint64(RECORD.rax, random.bits(64), true);
  record.setBigUint64(RECORD.rflags, BigInt(0x202 | (random.u32() & 0x8d5)), true);
  return instruction;
}
