import { describe, expect, it } from 'vitest';
import { disassemble } from './disassemble-node.ts';

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

describe('disassemble', () => {
  it('marks the instruction at the address and shows what leads up to it', () => {
    expect(disassemble(bytes('b8 10 00 00 00 8e d8 0f 0b 90'), 0x1000n, 0x1007n, 64)).toEqual([
      '  0000000000001000  b8 10 00 00 00                  mov eax,10h',
      '  0000000000001005  8e d8                           mov ds,ax',
      '> 0000000000001007  0f 0b                           ud2',
      '  0000000000001009  90                              nop',
    ]);
  });

  it('reads 16- and 32-bit code as such, and leaves out an instruction cut short', () => {
    expect(disassemble(bytes('b8 01 00 e8'), 0x10n, 0x10n, 16)).toEqual(['> 00000010  b8 01 00                        mov ax,1']);
    expect(disassemble(bytes('b8 01 00 e8'), 0x10n, 0x10n, 32)).toEqual([]);
  });

  it('says so where there is no instruction', () => {
    expect(disassemble(bytes('06 90 90'), 0n, 0n, 64)[0]).toContain('(bad)');
  });
});
