/*
 * Multiboot entry (32-bit protected mode, flat). With LONG_MODE: identity-maps the first GiB with 2 MiB pages, turns
 * on SSE and long mode, and calls start(). Else maps all four GiB with 4 MiB pages and calls it in 32-bit mode.
 */
  .section .boot, "ax"
  .code32
  .globl entry
multiboot:
  .long 0x1BADB002, 0x10000, -(0x1BADB002 + 0x10000)
  .long multiboot, multiboot, _data_end, _bss_end, entry
entry:
  cli
  mov $stack_top, %esp
  mov $pde, %edi
  mov $0x83, %eax /* present, writable, large */
#ifdef LONG_MODE
  mov $512, %ecx
1: mov %eax, (%edi)
  movl $0, 4(%edi)
  add $0x200000, %eax
  add $8, %edi
  dec %ecx
  jnz 1b
  mov %cr4, %eax
  or $0x620, %eax /* PAE OSFXSR OSXMMEXCPT */
  mov %eax, %cr4
  movl $pdpte + 3, pml4e
  movl $pde + 3, pdpte
  mov $pml4e, %eax
  mov %eax, %cr3
  mov $0xC0000080, %ecx
  rdmsr
  or $0x100, %eax
  wrmsr
#else
  mov $1024, %ecx
1: mov %eax, (%edi)
  add $0x400000, %eax
  add $4, %edi
  dec %ecx
  jnz 1b
  mov %cr4, %eax
  or $0x610, %eax /* PSE OSFXSR OSXMMEXCPT */
  mov %eax, %cr4
  mov $pde, %eax
  mov %eax, %cr3
#endif
  mov %cr0, %eax
  and $~4, %eax
  or $0x80010022, %eax /* PG WP NE MP */
  mov %eax, %cr0
  lgdt gdtr
#ifdef LONG_MODE
  ljmp $8, $long_mode
  .code64
long_mode:
#else
  ljmp $8, $protected_mode
protected_mode:
#endif
  mov $16, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %eax, %fs
  mov %eax, %gs
  fninit
  call start
2: hlt
  jmp 2b

  .balign 8
gdt:
  .quad 0
#ifdef LONG_MODE
  .quad 0x00af9b000000ffff
#else
  .quad 0x00cf9b000000ffff
#endif
  .quad 0x00cf93000000ffff
gdtr:
  .word . - gdt - 1
  .long gdt
  .long 0

  .bss
  .balign 4096
pml4e: .skip 4096
pdpte: .skip 4096
pde: .skip 4096
  .skip 65536
stack_top:
