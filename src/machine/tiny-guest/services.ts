/** What the tiny guest's program is served by: PCI configuration, text on the console, its command line. */
import type { DataSymbols } from './data.ts';
import { variable } from './layout.ts';

/** 64-bit routines. */
export const services = (data: DataSymbols): string => `
pci_read:                               ; EAX = configuration address, gives EAX
  mov edx, 0xcf8
  out dx, eax
  mov edx, 0xcfc
  in eax, dx
  ret
pci_write:                              ; EAX = configuration address, ECX = value
  mov edx, 0xcf8
  out dx, eax
  mov edx, 0xcfc
  mov eax, ecx
  out dx, eax
  ret

puts:                                   ; RSI = text, ends with a zero byte
  mov al, [rsi]
  test al, al
  je puts_end
  call putc
  inc esi
  jmp puts
puts_end:
  ret

putc:                                   ; AL to COM1; when the device model is to be left alone, to port 0xe9
  cmp dword [${variable('quiet')}], 0
  jne putc_debug
  push rax
  mov edx, 0x3fd
putc_wait:
  in al, dx
  test al, 0x20                         ; transmitter empty
  je putc_wait
  pop rax
  mov edx, 0x3f8
  out dx, al
  cmp al, 10
  jne putc_end
  mov al, 13
  out dx, al
  ret
putc_debug:
  out 0xe9, al
putc_end:
  ret

put_hex:                                ; EAX, ECX bits
  sub ecx, 4
  push rax
  shr eax, cl
  and eax, 0xf
  mov al, [rax + ${data.digits}]
  call putc
  pop rax
  test ecx, ecx
  jne put_hex
  ret

put_decimal:                            ; EAX
  mov ecx, 10
  mov edx, 0
  div ecx
  push rdx
  test eax, eax
  je put_digit
  call put_decimal
put_digit:
  pop rdx
  mov al, [rdx + ${data.digits}]
  call putc
  ret

parse_command_line:                     ; [mode[=count]]; mode's first letter counts
  mov dword [${variable('mode')}], 0x70 ; 'p'
  mov dword [${variable('count')}], 3
  mov eax, [${variable('startInfo')}]
  cmp dword [rax], 0x336ec578           ; XEN_HVM_START_MAGIC_VALUE
  jne parsed
  mov esi, [rax + 24]
  test esi, esi
  je parsed
  movzx eax, byte [rsi]
  test al, al
  je parsed
  mov [${variable('mode')}], eax
  mov ecx, 64
find_equals:
  movzx eax, byte [rsi]
  inc esi
  test al, al
  je parsed
  cmp al, 0x3d                          ; '='
  je read_count
  dec ecx
  jne find_equals
  ret
read_count:
  mov edx, 0
next_digit:
  movzx eax, byte [rsi]
  inc esi
  sub eax, 0x30
  cmp eax, 9
  ja digits_done
  lea edx, [rdx + rdx*4]
  add edx, edx
  add edx, eax
  jmp next_digit
digits_done:
  test edx, edx
  je parsed
  mov [${variable('count')}], edx
parsed:
  ret
`;
