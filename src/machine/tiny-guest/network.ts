/** The tiny guest's network: ARP for the host, echo requests, answers. */
import type { DataSymbols } from './data.ts';
import { variable } from './layout.ts';

/** 64-bit; sends and receives by the driver's routines. */
export const network = (data: DataSymbols): string => `
ping:
  mov esi, ${data.pingLine}
  call puts
  mov esi, ${data.arpRequest}
  mov ecx, 60
  call send
arp_wait:
  call take_frame
  mov eax, [${variable('haveMac')}]
  test eax, eax
  je arp_wait
ping_next:
  mov eax, [${variable('sequence')}]
  mov [${data.echoRequest + 41}], al
  mov word [${data.echoRequest + 36}], 0
  mov edx, 0
  mov ecx, 0
sum:                                    ; ICMP checksum over 64 bytes
  movzx eax, word [rcx + ${data.echoRequest + 34}]
  add edx, eax
  add ecx, 2
  cmp ecx, 64
  jne sum
  mov eax, edx
  shr eax, 16
  and edx, 0xffff
  add edx, eax
  mov eax, edx
  shr eax, 16
  add edx, eax
  not edx
  mov [${data.echoRequest + 36}], dx
  mov esi, ${data.echoRequest}
  mov ecx, 98
  call send
echo_wait:
  call take_frame
  mov eax, [${variable('replies')}]
  cmp eax, [${variable('sequence')}]
  jbe echo_wait
  mov esi, ${data.replyLine}
  call puts
  mov eax, [${variable('sequence')}]
  call put_decimal
  mov al, 10
  call putc
  mov eax, [${variable('sequence')}]
  inc eax
  mov [${variable('sequence')}], eax
  cmp eax, [${variable('count')}]
  jne ping_next
  call put_decimal
  mov esi, ${data.transmitted}
  call puts
  mov eax, [${variable('replies')}]
  call put_decimal
  mov esi, ${data.received}
  call puts
  ret

take_frame:                             ; look at one received frame
  call receive
  mov ax, [rsi + 12]
  cmp ax, 0x608                         ; ARP, as read by a little-endian machine
  je take_arp
  cmp ax, 0x8
  jne taken
  mov al, [rsi + 23]
  cmp al, 1                             ; ICMP
  jne taken
  mov ax, [rsi + 34]
  test al, al                           ; echo reply
  jne taken
  movzx eax, byte [rsi + 41]
  cmp eax, [${variable('sequence')}]
  jne taken
  inc eax
  mov [${variable('replies')}], eax
  jmp taken
take_arp:
  mov ax, [rsi + 20]
  cmp ax, 0x200
  je arp_reply
  mov eax, [rsi + 38]                   ; a request: for us?
  cmp eax, [${data.arpRequest + 28}]
  jne taken
  mov eax, [rsi + 22]
  mov [${data.arpAnswer}], eax
  mov [${data.arpAnswer + 32}], eax
  mov ax, [rsi + 26]
  mov [${data.arpAnswer + 4}], ax
  mov [${data.arpAnswer + 36}], ax
  mov eax, [rsi + 28]
  mov [${data.arpAnswer + 38}], eax
  mov eax, [${data.arpRequest + 6}]
  mov [${data.arpAnswer + 6}], eax
  mov [${data.arpAnswer + 22}], eax
  mov ax, [${data.arpRequest + 10}]
  mov [${data.arpAnswer + 10}], ax
  mov [${data.arpAnswer + 26}], ax
  mov esi, ${data.arpAnswer}
  mov ecx, 60
  call send
  jmp taken
arp_reply:
  mov eax, [rsi + 28]
  cmp eax, [${data.arpRequest + 38}]
  jne taken
  mov eax, [rsi + 22]
  mov [${data.echoRequest}], eax
  mov ax, [rsi + 26]
  mov [${data.echoRequest + 4}], ax
  mov dword [${variable('haveMac')}], 1
taken:
  call release
  ret
`;
