/**
 * The tiny guest's program, in assembly. It is a driver in the small: finds the RTL8139 on PCI, resets it, sets up
 * C+ descriptor rings, routes its interrupt through the IO-APIC, ARPs for the host, pings it three times, powers off.
 * Registers and bits: RTL8139C+ data sheet; PCI Local Bus 3.0; Intel SDM vol. 3 (LAPIC), 82093AA (IO-APIC).
 */
import { type DataSymbols } from './data.ts';
import { NIC_VECTOR, RX_DESCRIPTORS, TinyGuest, variable } from './layout.ts';

/** 32-bit, flat, paging off, EBX = start_info: build identity page tables for 4 GiB and enter long mode. */
export const entry32 = (data: DataSymbols): string => `
  cli
  mov [${variable('startInfo')}], ebx
  mov edi, ${TinyGuest.pageTables}
  mov dword [edi], ${TinyGuest.pageTables + 0x1003}
  mov eax, ${TinyGuest.pageTables + 0x2003}
  mov ecx, 0
pdpt:                                   ; four page directories
  mov [edi + ecx*8 + 0x1000], eax
  add eax, 0x1000
  inc ecx
  cmp ecx, 4
  jne pdpt
  mov eax, 0x83                         ; present, writable, 2 MiB
  mov ecx, 0
pd:
  mov [edi + ecx*8 + 0x2000], eax
  add eax, 0x200000
  inc ecx
  cmp ecx, 2048
  jne pd
  mov cr3, edi
  mov eax, cr4
  or eax, 0x20                          ; PAE
  mov cr4, eax
  mov ecx, 0xc0000080                   ; EFER
  rdmsr
  or eax, 0x100                         ; LME
  wrmsr
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  lgdt [${data.gdtr}]
  jmp far 0x8:${TinyGuest.code}
`;

/** 64-bit program. RBX holds the NIC's registers throughout. */
export const code64 = (data: DataSymbols): string => `
  mov eax, 0x10
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov esp, ${TinyGuest.stackTop}
  lidt [${data.idtr}]
  call parse_command_line
  mov eax, [${variable('mode')}]
  cmp eax, 0x62                         ; 'b': nothing may go through the device model but what is asked for
  jne speak
  mov dword [${variable('quiet')}], 1
speak:
  mov esi, ${data.banner}
  call puts
  call find_nic
  test eax, eax
  jne have_nic
  mov esi, ${data.noNic}
  call puts
  jmp power_off
have_nic:
  mov eax, [${variable('mode')}]
  cmp eax, 0x62
  je buffered
  cmp eax, 0x65                         ; 'e'
  je exits
  call route_interrupt
  call report_nic
  call start_nic
  call ping
power_off:
  mov dword [${variable('quiet')}], 0
  mov eax, 0x80000b00                   ; 00:01.3, the PIIX4's power management function
  call pci_read
  cmp eax, 0x71138086
  mov edx, 0xb004
  jne pm1a_control
  mov eax, 0x80000b40                   ; PMBASE
  call pci_read
  and eax, 0xffc0
  je pm1a_default
  lea edx, [rax + 4]
  jmp pm1a_control
pm1a_default:
  mov edx, 0xb004
pm1a_control:
  mov eax, 0x2000                       ; SLP_EN, SLP_TYP 0: S5
  out dx, ax
stop:
  cli
  hlt
  jmp stop

; --- modes

buffered:                               ; count writes to the VGA hole, then one to a register of the NIC
  mov edi, 0xb8000
  mov ecx, [${variable('count')}]
  mov edx, 0
buffered_write:
  mov word [rdi], 0x0758                ; 'X', light grey
  add edi, 2
  cmp edi, 0xb8fa0
  jne buffered_count
  mov edi, 0xb8000
buffered_count:
  inc edx
  mov [${variable('progress')}], edx
  dec ecx
  jne buffered_write
  mov esi, ${data.bufferedDone}
  call puts
  mov byte [rbx + 0x50], 0              ; Cfg9346: normal mode, changes nothing
  or dword [${variable('progress')}], 0x10000
  mov esi, ${data.barDone}
  call puts
  jmp power_off

exits:                                  ; count reads of a register of the NIC, one exit each
  mov ecx, [${variable('count')}]
exit_read:
  mov eax, [rbx + 0x44]                 ; RxConfig
  dec ecx
  jne exit_read
  mov esi, ${data.exitsDone}
  call puts
  jmp power_off

; --- the NIC

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

; --- the network

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

; --- PCI, text, command line

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
