/** The tiny guest's RTL8139 driver: finds the chip on PCI, routes its interrupt, resets it, sets up its rings, sends and receives. */
import type { DataSymbols } from './data.ts';
import { NIC_VECTOR, RX_DESCRIPTORS, TinyGuest, variable } from './layout.ts';

/** 64-bit; RBX holds the NIC's registers throughout. */
export const nicDriver = (data: DataSymbols): string => `
find_nic:                               ; EAX = 0: none; else its registers are in RBX
  mov ebp, 0x80000000
find_next:
  mov eax, ebp
  call pci_read
  cmp eax, 0x813910ec
  je found_nic
  add ebp, 0x800                        ; next device
  cmp ebp, 0x80010000
  jne find_next
  mov eax, 0
  ret
found_nic:
  mov [${variable('pciAddress')}], ebp
  lea eax, [rbp + 0x4]
  call pci_read
  or eax, 0x7                           ; I/O, memory, bus master
  and eax, 0xffff                       ; status bits are cleared by ones
  mov ecx, eax
  lea eax, [rbp + 0x4]
  call pci_write
  lea eax, [rbp + 0x14]                 ; BAR1: memory
  call pci_read
  and eax, -16
  mov ebx, eax
  mov [${variable('bar')}], ebx
  mov eax, 1
  ret

start_nic:
  mov byte [rbx + 0x37], 0x10           ; reset
reset_wait:
  mov al, [rbx + 0x37]
  test al, 0x10
  jne reset_wait
  mov ecx, 0
read_mac:                               ; IDR0..5 into the frames we send
  mov al, [rbx + rcx + 0]
  mov [rcx + ${data.arpRequest + 6}], al
  mov [rcx + ${data.arpRequest + 22}], al
  mov [rcx + ${data.echoRequest + 6}], al
  inc ecx
  cmp ecx, 6
  jne read_mac
  mov edi, ${TinyGuest.rxRing}
  mov eax, ${TinyGuest.rxBuffers}
  mov ecx, 0
fill_rx:
  mov dword [rdi], 0x80000800           ; OWN, 2,048 bytes
  mov [rdi + 8], eax
  add eax, 0x800
  add edi, 16
  inc ecx
  cmp ecx, ${RX_DESCRIPTORS}
  jne fill_rx
  or dword [${TinyGuest.rxRing + (RX_DESCRIPTORS - 1) * 16}], 0x40000000
  mov word [rbx + 0xe0], 0x3            ; C+ command: transmit and receive descriptors on
  mov dword [rbx + 0x24], 0
  mov dword [rbx + 0x20], ${TinyGuest.txRing}
  mov dword [rbx + 0xe8], 0
  mov dword [rbx + 0xe4], ${TinyGuest.rxRing}
  mov byte [rbx + 0x37], 0xc            ; receiver and transmitter on
  mov dword [rbx + 0x44], 0xe70a        ; accept our address and broadcasts, no thresholds, unlimited bursts
  mov dword [rbx + 0x40], 0x3000700     ; standard gap, unlimited bursts
  mov word [rbx + 0x3c], 0x5            ; interrupts: receive and transmit done
  sti
  ret

route_interrupt:
  mov al, 0xff                          ; both 8259s masked
  out 0x21, al
  out 0xa1, al
  mov edi, 0xfee00000
  mov dword [rdi + 0xf0], 0x1ff         ; local APIC on, spurious vector 0xff
  mov dword [rdi + 0x80], 0
  mov edi, 0xfec00000
  mov dword [rdi], 1                    ; version: entries - 1 in bits 23:16
  mov ecx, [rdi + 0x10]
  shr ecx, 16
  and ecx, 0xff
  mov eax, [${variable('pciAddress')}]
  cmp ecx, 47
  jb isa_line
  shr eax, 11
  and eax, 0x1f                         ; device
  lea ecx, [rax + rax*1]
  add ecx, ecx
  shr eax, 3
  add ecx, eax
  and ecx, 0x1f
  add ecx, 16                           ; GSI of its INTA
  jmp have_gsi
isa_line:                               ; a small IO-APIC: the firmware said which line
  add eax, 0x3c
  call pci_read
  movzx ecx, al
have_gsi:
  mov [${variable('gsi')}], ecx
  mov edi, 0xfec00000
  lea edx, [rcx + rcx*1]
  add edx, 0x11
  mov [rdi], edx
  mov eax, [0xfee00020]                 ; destination: this CPU
  mov [rdi + 0x10], eax
  dec edx
  mov [rdi], edx
  mov dword [rdi + 0x10], ${0xa000 | NIC_VECTOR} ; level, active low, fixed
  ret

report_nic:
  mov esi, ${data.nicAt}
  call puts
  mov eax, [${variable('pciAddress')}]
  shr eax, 11
  and eax, 0x1f
  mov ecx, 8
  call put_hex
  mov esi, ${data.registersAt}
  call puts
  mov eax, ebx
  mov ecx, 32
  call put_hex
  mov esi, ${data.gsiIs}
  call puts
  mov eax, [${variable('gsi')}]
  call put_decimal
  mov al, 10
  call putc
  ret

send:                                   ; RSI = frame, ECX = bytes
  mov edi, ${TinyGuest.txBuffer}
  mov eax, ecx
  rep movsb
  or eax, -268435456                    ; OWN, end of ring, first and last segment
  mov dword [${TinyGuest.txRing + 8}], ${TinyGuest.txBuffer}
  mov [${TinyGuest.txRing}], eax
  mov byte [rbx + 0xd9], 0x40           ; TxPoll: the doorbell
sent_wait:
  pause
  mov eax, [${TinyGuest.txRing}]
  test eax, eax
  js sent_wait
  ret

receive:                                ; RSI = the next frame; sleeps until there is one
  cli
  mov edi, [${variable('rxNext')}]
  shl edi, 4
  mov eax, [rdi + ${TinyGuest.rxRing}]
  test eax, eax
  jns received
  sti
  hlt
  jmp receive
received:
  sti
  mov esi, [rdi + ${TinyGuest.rxRing + 8}]
  ret

release:                                ; give the frame's descriptor back
  mov edi, [${variable('rxNext')}]
  mov eax, edi
  inc eax
  and eax, ${RX_DESCRIPTORS - 1}
  mov [${variable('rxNext')}], eax
  shl edi, 4
  mov eax, [rdi + ${TinyGuest.rxRing}]
  and eax, 0x40000000
  or eax, 0x80000800
  mov [rdi + ${TinyGuest.rxRing}], eax
  ret
`;
