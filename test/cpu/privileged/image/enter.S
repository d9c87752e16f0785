/*
 * Entry of the image, entry into a test's code and the way back from it. 64-bit with LONG_MODE, else 32-bit.
 *
 * enter(struct state *) loads every register from the state and leaves with IRET for any ring, code size and stack.
 * Whatever exception, interrupt or gate comes next stores the state it found and returns from enter().
 */
#include "../../native/boot.inc"

  multiboot_entry boot_stack_top
#ifdef LONG_MODE
  turn_on_long_mode boot_pml4e, boot_pdpte, boot_pde, 7, 0x901 /* NXE LME SCE */
#endif
  lgdt boot_gdtr
  ljmp $8, $1f
#ifdef LONG_MODE
  .code64
#endif
1:
  run_c begin
  flat_gdt boot_gdt, boot_gdtr

  .text
/* Offsets of struct state, in words of the register size. */
#ifdef LONG_MODE
#define W 8
#define IP (16 * W)
  .globl enter, enter_iret
enter:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  pushfq
  mov %rsp, saved_sp
  mov %rdi, current
  mov IP+4*W(%rdi), %eax
  mov %eax, %ds
  mov IP+5*W(%rdi), %eax
  mov %eax, %es
  pushq IP+3*W(%rdi)
  pushq 4*W(%rdi)
  pushq IP+1*W(%rdi)
  pushq IP+2*W(%rdi)
  pushq IP(%rdi)
  mov 0*W(%rdi), %rax
  mov 1*W(%rdi), %rcx
  mov 2*W(%rdi), %rdx
  mov 3*W(%rdi), %rbx
  mov 5*W(%rdi), %rbp
  mov 6*W(%rdi), %rsi
  mov 8*W(%rdi), %r8
  mov 9*W(%rdi), %r9
  mov 10*W(%rdi), %r10
  mov 11*W(%rdi), %r11
  mov 12*W(%rdi), %r12
  mov 13*W(%rdi), %r13
  mov 14*W(%rdi), %r14
  mov 15*W(%rdi), %r15
  mov 7*W(%rdi), %rdi
enter_iret:
  iretq

/* Stack: vector, error code, rip, cs, rflags, rsp, ss */
  .globl trap
trap:
  push %rdi
  mov current, %rdi
  mov %rax, 0*W(%rdi)
  mov %rcx, 1*W(%rdi)
  mov %rdx, 2*W(%rdi)
  mov %rbx, 3*W(%rdi)
  mov %rbp, 5*W(%rdi)
  mov %rsi, 6*W(%rdi)
  mov %r8, 8*W(%rdi)
  mov %r9, 9*W(%rdi)
  mov %r10, 10*W(%rdi)
  mov %r11, 11*W(%rdi)
  mov %r12, 12*W(%rdi)
  mov %r13, 13*W(%rdi)
  mov %r14, 14*W(%rdi)
  mov %r15, 15*W(%rdi)
  pop %rax
  mov %rax, 7*W(%rdi)
  mov %rsp, %rcx
  mov 0(%rsp), %rax
  mov %rax, IP+8*W(%rdi)
  mov 8(%rsp), %rax
  mov %rax, IP+9*W(%rdi)
  mov 16(%rsp), %rax
  mov %rax, IP(%rdi)
  mov 24(%rsp), %rax
  mov %rax, IP+2*W(%rdi)
  mov 32(%rsp), %rax
  mov %rax, IP+1*W(%rdi)
  mov 40(%rsp), %rax
  mov %rax, 4*W(%rdi)
  mov 48(%rsp), %rax
  mov %rax, IP+3*W(%rdi)
  mov %rcx, IP+10*W(%rdi)
leave_test:
  xor %eax, %eax
  mov %ds, %ax
  mov %rax, IP+4*W(%rdi)
  mov %es, %ax
  mov %rax, IP+5*W(%rdi)
  mov %fs, %ax
  mov %rax, IP+6*W(%rdi)
  mov %gs, %ax
  mov %rax, IP+7*W(%rdi)
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov saved_sp, %rsp
  popfq
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret

/* Arrival by SYSCALL, SYSENTER or a call gate: no frame; vector 0x100 + kind, the stack pointer as found. */
  .globl arrive_syscall, arrive_sysenter, arrive_gate, arrive_syscall32
arrive_syscall:
  mov %rsp, arrived_sp
  movl $0x100, arrived_vector
  jmp arrive
arrive_syscall32:
  mov %rsp, arrived_sp
  movl $0x101, arrived_vector
  jmp arrive
arrive_sysenter:
  mov %rsp, arrived_sp
  movl $0x102, arrived_vector
  jmp arrive
arrive_gate:
  mov %rsp, arrived_sp
  movl $0x103, arrived_vector
arrive:
  mov %rdi, arrived_di
  mov current, %rdi
  mov %rax, 0*W(%rdi)
  mov %rcx, 1*W(%rdi)
  mov %rdx, 2*W(%rdi)
  mov %rbx, 3*W(%rdi)
  mov %rbp, 5*W(%rdi)
  mov %rsi, 6*W(%rdi)
  mov %r11, 11*W(%rdi)
  mov arrived_di, %rax
  mov %rax, 7*W(%rdi)
  mov arrived_sp, %rax
  mov %rax, 4*W(%rdi)
  mov %rax, IP+10*W(%rdi)
  mov arrived_vector, %eax
  mov %rax, IP+8*W(%rdi)
  movq $0, IP+9*W(%rdi)
  movq $0, IP(%rdi)
  mov $boot_stack_top - 256, %rsp
  pushfq
  pop %rax
  mov %rax, IP+1*W(%rdi)
  xor %eax, %eax
  mov %cs, %ax
  mov %rax, IP+2*W(%rdi)
  mov %ss, %ax
  mov %rax, IP+3*W(%rdi)
  jmp leave_test
#else
#define W 4
#define IP (8 * W)
  .globl enter, enter_iret
enter:
  push %ebx
  push %ebp
  push %esi
  push %edi
  pushfl
  mov %esp, saved_sp
  mov 24(%esp), %edi
  mov %edi, current
  pushl IP+3*W(%edi)
  pushl 4*W(%edi)
  pushl IP+1*W(%edi)
  pushl IP+2*W(%edi)
  pushl IP(%edi)
  mov IP+2*W(%edi), %eax
  test $3, %al
  jnz 1f
  /* same ring: IRET takes no stack; go there with a far return on the test's own stack */
  mov 4*W(%edi), %esp
  pushl IP+1*W(%edi)
  pushl IP+2*W(%edi)
  pushl IP(%edi)
1: mov IP+5*W(%edi), %eax
  mov %eax, %es
  pushl IP+4*W(%edi)
  mov 0*W(%edi), %eax
  mov 1*W(%edi), %ecx
  mov 2*W(%edi), %edx
  mov 3*W(%edi), %ebx
  mov 5*W(%edi), %ebp
  mov 6*W(%edi), %esi
  mov 7*W(%edi), %edi
  pop %ds
enter_iret:
  iretl

/* Stack: ds, vector, error code, eip, cs, eflags, [esp, ss] */
  .globl trap
trap:
  push %ds
  push $0x10
  pop %ds
  push %edi
  mov current, %edi
  mov %eax, 0*W(%edi)
  mov %ecx, 1*W(%edi)
  mov %edx, 2*W(%edi)
  mov %ebx, 3*W(%edi)
  mov %ebp, 5*W(%edi)
  mov %esi, 6*W(%edi)
  pop %eax
  mov %eax, 7*W(%edi)
  pop %eax
  movzwl %ax, %eax
  mov %eax, IP+4*W(%edi)
  mov %ss:0(%esp), %eax
  mov %eax, IP+8*W(%edi)
  mov %ss:4(%esp), %eax
  mov %eax, IP+9*W(%edi)
  mov %ss:8(%esp), %eax
  mov %eax, IP(%edi)
  mov %ss:12(%esp), %eax
  movzwl %ax, %eax
  mov %eax, IP+2*W(%edi)
  test $3, %al
  jnz 1f
  lea 20(%esp), %edx
  mov %edx, 4*W(%edi)
  xor %edx, %edx
  mov %ss, %dx
  mov %edx, IP+3*W(%edi)
  jmp 2f
1: mov %ss:20(%esp), %edx
  mov %edx, 4*W(%edi)
  mov %ss:24(%esp), %edx
  movzwl %dx, %edx
  mov %edx, IP+3*W(%edi)
2: mov %ss:16(%esp), %eax
  mov %eax, IP+1*W(%edi)
  mov %esp, IP+10*W(%edi)
leave_test:
  xor %eax, %eax
  mov %es, %ax
  mov %eax, IP+5*W(%edi)
  mov %fs, %ax
  mov %eax, IP+6*W(%edi)
  mov %gs, %ax
  mov %eax, IP+7*W(%edi)
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov saved_sp, %esp
  popfl
  pop %edi
  pop %esi
  pop %ebp
  pop %ebx
  ret

/* Arrival through a call gate: stack as found. */
  .globl arrive_gate
arrive_gate:
  push %ds
  push $0x10
  pop %ds
  mov %edi, arrived_di
  mov current, %edi
  mov %eax, 0*W(%edi)
  mov %ecx, 1*W(%edi)
  mov %edx, 2*W(%edi)
  mov %ebx, 3*W(%edi)
  mov %ebp, 5*W(%edi)
  mov %esi, 6*W(%edi)
  mov arrived_di, %eax
  mov %eax, 7*W(%edi)
  pop %eax
  movzwl %ax, %eax
  mov %eax, IP+4*W(%edi)
  mov %esp, 4*W(%edi)
  mov %esp, IP+10*W(%edi)
  movl $0x103, IP+8*W(%edi)
  movl $0, IP+9*W(%edi)
  movl $0, IP(%edi)
  pushfl
  pop %eax
  mov %eax, IP+1*W(%edi)
  xor %eax, %eax
  mov %cs, %ax
  mov %eax, IP+2*W(%edi)
  mov %ss, %ax
  mov %eax, IP+3*W(%edi)
  jmp leave_test
#endif

  .globl stubs
  .balign 16
stubs:
  .set vector, 0
  .rept 256
  .balign 16
  .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
  push $0
  .endif
#ifdef LONG_MODE
  pushq $vector
#else
  pushl $vector
#endif
  jmp trap
  .set vector, vector + 1
  .endr

  .bss
  .balign 4096
  .globl boot_pml4e, boot_pdpte, boot_pde
boot_pml4e: .skip 4096
boot_pdpte: .skip 4096
boot_pde: .skip 4096
  .skip 16384
boot_stack_top:
saved_sp: .skip 8
  .globl current
current: .skip 8
arrived_sp: .skip 8
arrived_di: .skip 8
arrived_vector: .skip 8
