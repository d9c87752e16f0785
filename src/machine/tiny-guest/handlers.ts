/** The tiny guest's interrupt and exception handlers. */
import type { DataSymbols } from './data.ts';
import { variable } from './layout.ts';

/** Handler of the NIC's interrupt: acknowledge at the NIC, then at the local APIC. */
export const nicHandler = (): string => `
  push rax
  push rbx
  mov ebx, [${variable('bar')}]
  mov ax, [rbx + 0x3e]
  mov [rbx + 0x3e], ax                  ; interrupt status: ones clear
  or [${variable('events')}], ax
  mov dword [0xfee000b0], 0             ; EOI
  pop rbx
  pop rax
  iretq
`;

/** The spurious vector asks for nothing. */
export const spuriousHandler = (): string => `
  iretq
`;

/** Any exception is the end: say so on port 0xe9. */
export const faultHandler = (data: DataSymbols): string => `
  mov esi, ${data.fault}
fault_next:
  mov al, [rsi]
  test al, al
  je fault_stop
  out 0xe9, al
  inc esi
  jmp fault_next
fault_stop:
  cli
  hlt
  jmp fault_stop
`;
