/*
 * Multiboot entry (32-bit protected mode, flat). With LONG_MODE: identity-maps the first GiB with 2 MiB pages, turns
 * on SSE and long mode, and calls start(). Else maps all four GiB with 4 MiB pages and calls it in 32-bit mode.
 */
#include "../../../test/cpu/native/boot.inc"

  multiboot_entry stack_top
#ifdef LONG_MODE
  turn_on_long_mode pml4e, pdpte, pde, 3, 0x100 /* LME */
#else
  mov $pde, %edi
  mov $0x83, %eax /* present, writable, large */
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
  turn_on_paging
#endif
  lgdt gdtr
  ljmp $8, $1f
#ifdef LONG_MODE
  .code64
#endif
1:
  mov $0x10, %eax
  mov %eax, %fs
  mov %eax, %gs
  run_c start
  flat_gdt gdt, gdtr

  .bss
  .balign 4096
pml4e: .skip 4096
pdpte: .skip 4096
pde: .skip 4096
  .skip 65536
stack_top:
