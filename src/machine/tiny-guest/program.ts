/**
 * The tiny guest's program, in assembly. It is a driver in the small: finds the RTL8139 on PCI, resets it, sets up
 * C+ descriptor rings, routes its interrupt through the IO-APIC, ARPs for the host, pings it three times, powers off.
 * Registers and bits: RTL8139C+ data sheet; PCI Local Bus 3.0; Intel SDM vol. 3 (LAPIC), 82093AA (IO-APIC).
 */
import type { DataSymbols } from './data.ts';
import { TinyGuest, variable } from './layout.ts';
import { network } from './network.ts';
import { nicDriver } from './nic-driver.ts';
import { services } from './services.ts';

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

/** 64-bit program: modes, then driver, network and services. RBX holds the NIC's registers throughout. */
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
  mov eax, [${variable('mode')}]
  cmp eax, 0x61                         ; 'a'
  je answer_mode
  call ping
  jmp power_off
answer_mode:
  call answer
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
${nicDriver(data)}
${network(data)}
${services(data)}`;
