import { describe, expect, it } from 'vitest';
import { assemble } from './assembler.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('assembler', () => {
  // Expected bytes are GNU as's for the same lines.
  it.each([
    ['mov eax, 0x10', 'b810000000'],
    ['mov ds, eax', '8ed8'],
    ['mov al, [rbx + 0x37]', '8a4337'],
    ['mov byte [rbx + 0xd9], 0x40', 'c683d900000040'],
    ['mov word [rbx + 0xe0], 3', '66c783e00000000300'],
    ['mov [rcx + 0x109086], al', '888186901000'],
    ['mov dword [0xfee000b0], 0', '67c70425b000e0fe00000000'], // above 2 GiB only with 32-bit addressing
    ['mov [0x108000], ebx', '891c2500801000'],
    ['lea edx, [rdx + rdx*4]', '8d1492'],
    ['inc edx', 'ffc2'],
    ['out dx, ax', '66ef'],
    ['out 0xe9, al', 'e6e9'],
    ['and eax, -16', '83e0f0'],
    ['shr eax, cl', 'd3e8'],
    ['rep movsb', 'f3a4'],
    ['rep insw', 'f3666d'],
    ['repne scasd', 'f2af'],
    ['rep stosq', 'f348ab'],
    ['db 0x0f, 0x01, 0xc1', '0f01c1'],
    ['movdqa xmm1, [rbx]', '660f6f0b'],
    ['movups [rbx + 8], xmm0', '0f114308'],
    ['movq [rbx], xmm0', '660fd603'],
    ['fld dword [rbx]', 'd903'],
    ['fstp qword [rbx]', 'dd1b'],
    ['fild word [rbx]', 'df03'],
    ['cmpxchg8b qword [rbx]', '0fc70b'],
    ['cmpxchg16b oword [rbx]', '480fc70b'],
    ['iretq', '48cf'],
    ['push rax', '50'],
  ])('%s', (line, bytes) => {
    expect(hex(assemble(64, 0x1000, line))).toBe(bytes);
  });

  it('resolves labels both ways and keeps 32-bit forms in 32-bit mode', () => {
    expect(hex(assemble(32, 0x1000, 'top:\n inc edx ; count\n jne top\n jmp end\n nopd\nend:\n ret'))).toBe('4275fdeb0190c3');
  });

  it('names the line it cannot encode and the label it cannot find', () => {
    expect(() => assemble(64, 0, 'ret\nfrobnicate eax')).toThrow("line 2: 'frobnicate eax': no such instruction");
    expect(() => assemble(64, 0, 'jmp nowhere')).toThrow('labels without a place: nowhere');
    expect(() => assemble(64, 0, 'mov eax, [eax - 4]')).toThrow('does not belong in an address');
  });
});
