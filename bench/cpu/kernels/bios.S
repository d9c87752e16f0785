/* A 64 KiB ROM for machines that start at the reset vector and have the image at 1 MiB already: enters it in flat protected mode. */
  .code16
  .org 0xff00
reset:
  cli
  lgdtl %cs:gdtr
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmpl $8, $protected_mode + 0xf0000
  .code32
protected_mode:
  mov $16, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $ENTRY, %eax
  jmp *%eax
  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff
  .quad 0x00cf93000000ffff
gdtr:
  .word . - gdt - 1
  .long gdt + 0xf0000
  .org 0xfff0
  .code16
  ljmp $0xf000, $reset
  .org 0x10000
