/** The tiny guest's network: ARP, echo requests for the host, answers to those of others. */
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

answer:                                 ; be 10.0.2.2, and answer echo requests
  mov dword [${data.arpRequest + 28}], 0x0202000a
  mov dword [${data.arpAnswer + 28}], 0x0202000a
  mov esi, ${data.answering}
  call puts
answer_next:
  call take_frame
  mov eax, [${variable('answered')}]
  cmp eax, [${variable('count')}]
  jne answer_next
  call put_decimal
  mov esi, ${data.answered}
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
  cmp al, 8
  je echo_answer
  test al, al                           ; echo reply
  jne taken
  movzx eax, byte [rsi + 41]
  cmp eax, [${variable('sequence')}]
  jne taken
  inc eax
  mov [${variable('replies')}], eax
  jmp taken
echo_answer:                            ; an echo request: for us?
  mov ecx, [rsi + 30]
  cmp ecx, [${data.arpRequest + 28}]
  jne taken
  mov eax, [rsi + 26]
  mov [rsi + 30], eax
  mov [rsi + 26], ecx
  mov eax, [rsi + 6]
  mov [rsi], eax
  mov ax, [rsi + 10]
  mov [rsi + 4], ax
  mov eax, [${data.arpRequest + 6}]
  mov [rsi + 6], eax
  mov ax, [${data.arpRequest + 10}]
  mov [rsi + 10], ax
  mov byte [rsi + 34], 0
  movzx eax, word [rsi + 36]            ; the checksum without the type that was there
  add eax, 8
  mov edx, eax
  shr edx, 16
  add eax, edx
  mov [rsi + 36], ax
  movzx ecx, byte [rsi + 16]            ; bytes of the IP packet
  shl ecx, 8
  movzx eax, byte [rsi + 17]
  or ecx, eax
  add ecx, 14
  cmp ecx, 1514
  ja taken
  call send
  mov eax, [${variable('answered')}]
  inc eax
  mov [${variable('answered')}], eax
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
