/** Every instruction row, by opcode: what the decoder searches. */
import { InstructionForms } from './forms.ts';
import { GENERAL } from '../tables/general.ts';
import { SIMD } from '../tables/simd.ts';
import { SYSTEM } from '../tables/system.ts';
import { X87 } from '../tables/x87.ts';

/** Rows with a mandatory prefix first, so that the first match is the right one. */
const PRIORITY = { F3: 0, F2: 0, '66': 0, NP: 1, any: 2 } as const;

export class InstructionMap {
  readonly all: readonly InstructionForms[] = [...GENERAL, ...SYSTEM, ...X87, ...SIMD].map((row) => new InstructionForms(row));
  /** Index: map × 256 + opcode. */
  private readonly byOpcode: InstructionForms[][] = Array.from({ length: 4 * 256 }, () => []);

  constructor() {
    for (const forms of this.all) {
      const { encoding } = forms;
      for (let i = 0; i < (encoding.plusRegister ? 8 : 1); i++)
        this.byOpcode[encoding.map * 256 + encoding.opcode + i]!.push(forms);
    }
    for (const list of this.byOpcode) {
      list.sort((a, b) => PRIORITY[a.encoding.prefix] - PRIORITY[b.encoding.prefix] || b.encoding.modrm - a.encoding.modrm);
    }
  }

  candidates(map: number, opcode: number): readonly InstructionForms[] {
    return this.byOpcode[map * 256 + opcode]!;
  }

  named(name: string): InstructionForms {
    const found = this.all.find((forms) => forms.instruction.name === name);
    if (!found) throw new Error(`no instruction '${name}'`);
    return found;
  }
}
