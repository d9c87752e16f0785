/* Privileged behaviour in 32-bit protected mode: both legacy paging modes, segments, gates with a 32-bit TSS. */
#include "common.h"

#define WINDOW 0x40000000ul /* 4 KiB pages, up to the test */
#define WINDOW2 0x40400000ul /* one large page, up to the test */
#define CODE_AT (WINDOW + 0x10000)
#define STACK_AT (WINDOW + 0x20000)
#define STACK_TOP (STACK_AT + 0x1000)
#define DATA_AT (WINDOW + 0x30000)
#define TARGET (WINDOW + 0x40000)
#define FRAMES 0x800000ul
#define FRAMES2 0xc00000ul
/* The window's page through the identity mapping, which only ring 0 has. */
#define PHYSICAL(address) ((address) - WINDOW + FRAMES)

enum { P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80 };

extern u8 arrive_gate[];
static u32 directory[1024] __attribute__((aligned(4096)));
static u32 table[1024] __attribute__((aligned(4096)));
static u64 pdpt[4] __attribute__((aligned(4096)));
static u64 refused_pdpt[4] __attribute__((aligned(32)));
static u64 pae_low[512] __attribute__((aligned(4096)));
static u64 pae_directory[512] __attribute__((aligned(4096)));
static u64 pae_table[512] __attribute__((aligned(4096)));
static u64 idt[256] __attribute__((aligned(16)));
static u32 tss[26] __attribute__((aligned(128)));
static u8 stack0[4096] __attribute__((aligned(16))), stack1[4096] __attribute__((aligned(16))), stack2[4096] __attribute__((aligned(16)));
static u64 ldt[8] __attribute__((aligned(16)));
static struct state s;
static int pae;

static void gate(u32 vector, void *handler, u16 code, u8 type) {
  u32 at = (u32)handler;
  idt[vector] = (at & 0xffff) | (u64)code << 16 | (u64)type << 40 | (u64)(at >> 16) << 48;
}
static void call_gate(u32 selector, void *target, u16 code, u8 access, u8 parameters) {
  u32 at = (u32)target;
  gdt[selector / 8] = (at & 0xffff) | (u64)code << 16 | (u64)parameters << 32 | (u64)access << 40 | (u64)(at >> 16) << 48;
}
static void load_table(int interrupts, u16 limit, const void *base) {
  struct { u16 limit; u32 base; } __attribute__((packed)) r = {limit, (u32)base};
  if (interrupts) __asm__ volatile("lidt %0" : : "m"(r));
  else __asm__ volatile("lgdt %0" : : "m"(r));
}

static void tables(void) {
  gdt[KCODE / 8] = 0x00cf9b000000ffff;
  gdt[KDATA / 8] = 0x00cf93000000ffff;
  gdt[UCODE32 / 8] = 0x00cffb000000ffff;
  gdt[UDATA / 8] = 0x00cff3000000ffff;
  gdt[CODE1 / 8] = 0x00cfbb000000ffff;
  gdt[DATA1 / 8] = 0x00cfb3000000ffff;
  gdt[CODE2 / 8] = 0x00cfdb000000ffff;
  gdt[DATA2 / 8] = 0x00cfd3000000ffff;
  gdt[CONFORMING / 8] = 0x00cf9f000000ffff;
  gdt[TSS / 8] = descriptor((u32)tss, sizeof tss - 1, 0x89, 0);
  gdt[LDT / 8] = descriptor((u32)ldt, sizeof ldt - 1, 0x82, 0);
  tss[1] = (u32)stack0 + sizeof stack0;
  tss[2] = KDATA;
  tss[3] = (u32)stack1 + sizeof stack1;
  tss[4] = DATA1;
  tss[5] = (u32)stack2 + sizeof stack2;
  tss[6] = DATA2;
  tss[25] = sizeof tss << 16;
  for (u32 i = 0; i < 256; i++) gate(i, stubs + 16 * i, KCODE, i == 3 || i == 4 || i == 0x80 ? 0xee : 0x8e);
  load_table(0, sizeof gdt - 1, gdt);
  load_table(1, sizeof idt - 1, idt);
  __asm__ volatile("ltr %w0" : : "r"(TSS));
  __asm__ volatile("lldt %w0" : : "r"(LDT));
}

static void map(word address, u64 flags) {
  if (pae) pae_table[(address - WINDOW) >> 12] = PHYSICAL(address) | flags;
  else table[(address - WINDOW) >> 12] = (u32)(PHYSICAL(address) | flags);
  invlpg(address);
}
static void default_window(void) {
  memset(table, 0, sizeof table);
  memset(pae_table, 0, sizeof pae_table);
  directory[WINDOW >> 22] = (u32)table | P | RW | US;
  directory[WINDOW2 >> 22] = FRAMES2 | P | RW | US | PS;
  pae_directory[0] = (u32)pae_table | P | RW | US;
  pae_directory[2] = FRAMES2 | P | RW | US | PS;
  for (word at = WINDOW + 0x10000; at < WINDOW + 0x60000; at += 4096) map(at, P | RW | US);
  if (read_cr0() >> 31) write_cr3(read_cr3());
}
static void paging(int use_pae) {
  write_cr0(read_cr0() & ~0x80000000ul);
  pae = use_pae;
  for (u32 i = 0; i < 8; i++) directory[i] = i << 22 | P | RW | PS;
  for (u32 i = 0; i < 16; i++) pae_low[i] = i << 21 | P | RW | PS;
  pdpt[0] = (u32)pae_low | P;
  pdpt[1] = (u32)pae_directory | P;
  default_window();
  write_cr4(use_pae ? (read_cr4() & ~0x10ul) | 0x20 : (read_cr4() & ~0x20ul) | 0x10);
  wrmsr(0xc0000080, use_pae ? 0x800 : 0);
  write_cr3(use_pae ? (word)pdpt : (word)directory);
  write_cr0(read_cr0() | 0x80010000);
}

static void prepare(const u8 *begin, const u8 *end, u32 ring) {
  memset((void *)PHYSICAL(CODE_AT), 0xcc, 256);
  memcpy((void *)PHYSICAL(CODE_AT), begin, (word)(end - begin));
  memset(&s, 0, sizeof s);
  static const u16 code[4] = {KCODE, CODE1, CODE2, UCODE32}, data[4] = {KDATA, DATA1, DATA2, UDATA};
  s.ip = CODE_AT;
  s.flags = 2;
  s.gpr[SP] = STACK_TOP - 64;
  s.cs = code[ring];
  s.ss = s.ds = s.es = data[ring];
}

static const char *stack_name(word sp) {
  if (sp > (word)stack0 && sp <= (word)stack0 + sizeof stack0) return "esp0";
  if (sp > (word)stack1 && sp <= (word)stack1 + sizeof stack1) return "esp1";
  if (sp > (word)stack2 && sp <= (word)stack2 + sizeof stack2) return "esp2";
  return sp >= STACK_AT && sp <= STACK_TOP ? "same" : "?";
}

static void show_ip(word ip) {
  if (ip >= CODE_AT && ip < CODE_AT + 0x1000) { text(" ip=code+"); number(ip - CODE_AT); }
  else if (ip == (word)enter_iret) text(" ip=iret");
  else field("ip", ip);
}
#include "cases.h"

#define RUN(name_, snippet, ring) \
  do { prepare(snippet##_begin, snippet##_end, ring); s.gpr[DI] = DATA_AT; go_with_registers(name_); } while (0)

SNIPPET(read_byte, "mov (%edi), %al\n int3");
SNIPPET(write_byte, "mov %al, (%edi)\n int3");
SNIPPET(jump_there, "jmp *%edi");

static void access_case(const u8 *begin, const u8 *end, u32 ring, word address) {
  *(u8 *)(address >= WINDOW2 ? address - WINDOW2 + FRAMES2 : PHYSICAL(address)) = 0xcc;
  prepare(begin, end, ring);
  s.gpr[DI] = address;
  s.gpr[AX] = 0xcc;
  enter(&s);
  text(" ");
  number(s.vector);
  if (s.vector == 14) {
    text(":");
    number(s.error);
    if (read_cr2() != address) { text("@"); number(read_cr2()); }
  }
}

static void permissions(const char *mode) {
  for (u32 wp = 0; wp < 2; wp++) {
    write_cr0(wp ? read_cr0() | 0x10000 : read_cr0() & ~0x10000ul);
    for (u32 large = 0; large < 2; large++) {
      for (u32 m = 0; m < (pae ? 16u : 8u); m++) {
        u64 flags = (m & 1 ? P : 0) | (m & 2 ? RW : 0) | (m & 4 ? US : 0) | (m & 8 ? 1ull << 63 : 0);
        text("perm "); text(mode); text(wp ? " wp=1" : " wp=0"); text(large ? " large " : " 4k ");
        text(m & 1 ? "p" : "-"); text(m & 2 ? "w" : "-"); text(m & 4 ? "u" : "-"); text(m & 8 ? "n" : "-"); text(":");
        word address = large ? WINDOW2 + 0x12340 : TARGET + 0x234;
        for (u32 kind = 0; kind < 6; kind++) {
          u32 ring = kind < 3 ? 0 : 3;
          map(CODE_AT, ring ? P | RW | US : P | RW);
          map(STACK_AT, ring ? P | RW | US : P | RW);
          if (pae) *(large ? &pae_directory[2] : &pae_table[(TARGET - WINDOW) >> 12]) = (large ? FRAMES2 | PS : PHYSICAL(TARGET)) | flags;
          else *(large ? &directory[WINDOW2 >> 22] : &table[(TARGET - WINDOW) >> 12]) = (u32)((large ? FRAMES2 | PS : PHYSICAL(TARGET)) | flags);
          invlpg(address);
          if (kind % 3 == 0) access_case(read_byte_begin, read_byte_end, ring, address);
          else if (kind % 3 == 1) access_case(write_byte_begin, write_byte_end, ring, address);
          else access_case(jump_there_begin, jump_there_end, ring, address);
          u64 entry = pae ? (large ? pae_directory[2] : pae_table[(TARGET - WINDOW) >> 12]) : (large ? directory[WINDOW2 >> 22] : table[(TARGET - WINDOW) >> 12]);
          text(entry & A ? entry & D ? "ad" : "a" : entry & D ? "d" : "");
        }
        text("\n");
      }
      default_window();
    }
  }
}

/* --- exceptions and gates ---------------------------------------------------------------------------------- */

SNIPPET(into_, "mov $0x7fffffff, %eax\n inc %eax\n into\n int3");
SNIPPET(into_not, "xor %eax, %eax\n into\n int3");
SNIPPET(bound_, "movl $1, (%edi)\n movl $5, 4(%edi)\n mov $6, %eax\n bound %eax, (%edi)\n int3");
SNIPPET(bound_in, "movl $1, (%edi)\n movl $5, 4(%edi)\n mov $5, %eax\n bound %eax, (%edi)\n int3");
SNIPPET(daa_, "mov $0x9a, %al\n daa\n int3");
SNIPPET(aam_, "mov $0x63, %al\n aam\n int3");
SNIPPET(aam0, "aam $0\n int3");
SNIPPET(aad_, "mov $0x0905, %eax\n aad\n int3");
SNIPPET(arpl_, "mov $0x10, %eax\n mov $0x13, %ecx\n arpl %cx, %ax\n setz %bl\n int3");
SNIPPET(pusha_, "mov $1, %eax\n mov $2, %ecx\n mov $3, %edx\n mov $4, %ebx\n pushal\n pop %eax\n pop %ebx\n pop %ecx\n pop %edx\n int3");
SNIPPET(enter_, "mov %esp, %ebp\n enter $16, $2\n mov %esp, %eax\n leave\n sub %esp, %eax\n mov %eax, %ebx\n xor %eax, %eax\n int3");
SNIPPET(push_cs, "push %cs\n pop %eax\n movzwl %ax, %eax\n int3");
SNIPPET(operand16, "mov $0x12345678, %eax\n push %ax\n pop %bx\n movzwl %bx, %ebx\n data16 jmp 1f\n 1: int3");
SNIPPET(mov_cr0, "mov %cr0, %eax\n int3");
SNIPPET(in_, "mov $0x80, %dx\n in %dx, %al\n xor %eax, %eax\n int3");

static void exceptions(void) {
  default_window();
  for (u32 ring = 0; ring < 4; ring++) {
    text("ring "); number(ring); text("\n");
    RUN("divide", divide, ring);
    RUN("int 80", int80, ring);
    RUN("int 81 through a DPL 0 gate", int81, ring);
    RUN("into", into_, ring);
    RUN("into, not", into_not, ring);
    RUN("bound", bound_, ring);
    RUN("bound, inside", bound_in, ring);
    RUN("daa", daa_, ring);
    RUN("aam", aam_, ring);
    RUN("aam 0", aam0, ring);
    RUN("aad", aad_, ring);
    RUN("arpl", arpl_, ring);
    RUN("pusha", pusha_, ring);
    RUN("enter", enter_, ring);
    RUN("push cs", push_cs, ring);
    RUN("cli", cli_, ring);
    if (ring) RUN("hlt", hlt_, ring);
    if (ring) RUN("mov cr0", mov_cr0, ring);
    if (ring) RUN("clts", clts_, ring);
    RUN("in", in_, ring);
  }
  RUN("operand size 16", operand16, 3);
  u64 saved = idt[0x81];
  gate(0x81, stubs + 16 * 0x81, KCODE, 0xee);
  u64 good = idt[0x81];
  RUN("int 81", int81, 3);
  idt[0x81] = good & ~(1ull << 47);
  RUN("gate not present", int81, 3);
  gate(0x81, stubs + 16 * 0x81, 0, 0xee);
  RUN("gate to null", int81, 3);
  gate(0x81, stubs + 16 * 0x81, KDATA, 0xee);
  RUN("gate to data", int81, 3);
  gate(0x81, stubs + 16 * 0x81, 0x200, 0xee);
  RUN("gate beyond the GDT", int81, 3);
  gate(0x81, stubs + 16 * 0x81, UCODE32 & ~3, 0xee);
  RUN("gate to outer code, from ring 0", int81, 0);
  gate(0x81, stubs + 16 * 0x81, CONFORMING, 0xee);
  RUN("gate to conforming code, from ring 0", int81, 0);
  gate(0x81, stubs + 16 * 0x81, KCODE, 0xef);
  prepare(int81_begin, int81_end, 3);
  s.flags = 0x202;
  go("trap gate with IF");
  gate(0x81, stubs + 16 * 0x81, KCODE, 0xe1);
  RUN("gate of a wrong type", int81, 3);
  idt[0x81] = good;
  static const struct { const char *name; u32 ss; } stacks[] = {{"ss0 null", 0}, {"ss0 of another RPL", KDATA | 3}, {"ss0 of another DPL", UDATA}, {"ss0 code", KCODE}, {"ss0 beyond the GDT", 0x200}};
  for (u32 i = 0; i < sizeof stacks / sizeof *stacks; i++) {
    tss[2] = stacks[i].ss;
    /* #TS comes on a stack of its own through a task gate on real systems; here the fault's own handler needs ss0 too: ring 1 has another */
    prepare(int81_begin, int81_end, 0);
    go(stacks[i].name);
    tss[2] = KDATA;
  }
  load_table(1, 0x80 * 8 + 7, idt);
  RUN("vector beyond the IDT", int81, 3);
  load_table(1, sizeof idt - 1, idt);
  idt[0x81] = saved;
}

/* --- far transfers ----------------------------------------------------------------------------------------- */

SNIPPET(far_call, "lcall *(%edi)\n int3");
SNIPPET(far_jump, "ljmp *(%edi)\n int3");
SNIPPET(far_call_parameters, "push $0x1111\n push $0x2222\n lcall *(%edi)\n int3");
SNIPPET(lret_, "lret");
SNIPPET(lret_8, "lret $8");
SNIPPET(iret_, "iretl");
SNIPPET(iretw_, "iretw");

static void far_case(const char *name, int jump, u32 ring, u16 selector, word offset) {
  prepare(jump ? far_jump_begin : far_call_begin, jump ? far_jump_end : far_call_end, ring);
  *(u8 *)PHYSICAL(CODE_AT + 0x100) = 0xcc;
  *(u32 *)PHYSICAL(DATA_AT) = offset;
  *(u16 *)PHYSICAL(DATA_AT + 4) = selector;
  s.gpr[DI] = DATA_AT;
  enter(&s);
  show(name, 0);
  if (s.vector == 0x103) {
    word *stack = (word *)s.gpr[SP];
    text(" pushed");
    field("ip", stack[0] - CODE_AT);
    field("cs", stack[1] & 0xffff);
    text("\n");
  }
}

static void far_transfers(void) {
  default_window();
  word there = CODE_AT + 0x100;
  for (int jump = 0; jump < 2; jump++) {
    text(jump ? "far jump\n" : "far call\n");
    far_case(" ring 0 to ring 0", jump, 0, KCODE, there);
    far_case(" ring 3 to ring 3", jump, 3, UCODE32, there);
    far_case(" ring 3 to ring 0", jump, 3, KCODE, there);
    far_case(" ring 0 to ring 3", jump, 0, UCODE32, there);
    far_case(" ring 3 to conforming", jump, 3, CONFORMING, there);
    far_case(" to data", jump, 0, KDATA, there);
    far_case(" to null", jump, 0, 0, there);
    far_case(" beyond the GDT", jump, 0, 0x200, there);
    gdt[SCRATCH / 8] = descriptor(0, 0xfffff, 0x7b, 0xc);
    far_case(" to code not present", jump, 3, SCRATCH | 3, there);
    gdt[SCRATCH / 8] = descriptor(CODE_AT, 0xff, 0xfb, 4);
    far_case(" past the limit of the code", jump, 3, SCRATCH | 3, 0x100);
    call_gate(SCRATCH, arrive_gate, KCODE, 0xec, 0);
    far_case(" gate, DPL 3, from ring 3", jump, 3, SCRATCH | 3, 0);
    far_case(" gate, DPL 3, from ring 0", jump, 0, SCRATCH, 0);
    call_gate(SCRATCH, arrive_gate, KCODE, 0x8c, 0);
    far_case(" gate, DPL 0, from ring 3", jump, 3, SCRATCH | 3, 0);
    call_gate(SCRATCH, arrive_gate, KCODE, 0x6c, 0);
    far_case(" gate not present", jump, 3, SCRATCH | 3, 0);
    call_gate(SCRATCH, arrive_gate, 0, 0xec, 0);
    far_case(" gate to null", jump, 3, SCRATCH | 3, 0);
    call_gate(SCRATCH, arrive_gate, KDATA, 0xec, 0);
    far_case(" gate to data", jump, 3, SCRATCH | 3, 0);
  }
  call_gate(SCRATCH, arrive_gate, KCODE, 0xec, 2);
  prepare(far_call_parameters_begin, far_call_parameters_end, 3);
  *(u16 *)PHYSICAL(DATA_AT + 4) = SCRATCH | 3;
  s.gpr[DI] = DATA_AT;
  enter(&s);
  show("call gate with two parameters", 0);
  for (u32 i = 0; i < 6; i++) field(" word", ((word *)s.gpr[SP])[i] & 0xffff);
  text("\n");
  gdt[SCRATCH / 8] = 0;
  static const u16 code[4] = {KCODE, CODE1, CODE2, UCODE32}, data[4] = {KDATA, DATA1, DATA2, UDATA};
  for (u32 from = 0; from < 4; from++) {
    for (u32 to = 0; to < 4; to++) {
      for (u32 kind = 0; kind < 3; kind++) {
        if (kind == 0) prepare(lret__begin, lret__end, from);
        else if (kind == 1) prepare(lret_8_begin, lret_8_end, from);
        else prepare(iret__begin, iret__end, from);
        *(u8 *)PHYSICAL(CODE_AT + 0x100) = 0xcc;
        word *frame = (word *)PHYSICAL(STACK_TOP - 64);
        u32 n = 0;
        frame[n++] = CODE_AT + 0x100;
        frame[n++] = code[to];
        if (kind == 2) frame[n++] = 0x3202;
        if (kind == 1) n += 2;
        frame[n++] = STACK_TOP - 256;
        frame[n++] = data[to];
        text(kind == 0 ? "lret" : kind == 1 ? "lret 8" : "iret");
        text(" from "); number(from); text(" to "); number(to);
        enter(&s);
        show("", 0);
        field(" ds", s.ds);
        text("\n");
      }
    }
  }
  prepare(iretw__begin, iretw__end, 3);
  gdt[SCRATCH / 8] = descriptor(CODE_AT, 0xfff, 0xfb, 4);
  u16 *half = (u16 *)PHYSICAL(STACK_TOP - 64);
  half[0] = 0x100;
  half[1] = SCRATCH | 3;
  half[2] = 0x202;
  *(u8 *)PHYSICAL(CODE_AT + 0x100) = 0xcc;
  go("iretw");
}

/* --- segments ---------------------------------------------------------------------------------------------- */

SNIPPET(through_ds, "mov %eax, %ds\n mov (%edi), %ebx\n int3");
SNIPPET(write_ds, "mov %eax, %ds\n mov %ebx, (%edi)\n int3");
SNIPPET(stack16, "mov %eax, %ss\n mov $0xabcd0002, %esp\n push %bx\n mov %esp, %ecx\n push %bx\n mov %esp, %edx\n int3");
SNIPPET32(code16, ".code16\n mov $0x1234, %ax\n mov $0x12345678, %ebx\n push %ax\n pop %cx\n int3");

static void segments(void) {
  default_window();
  static const struct { const char *name; u64 low; } kinds[] = {
    {"data", 0x00cf93000000ffff}, {"data read-only", 0x00cf91000000ffff}, {"data expand-down", 0x00c097000000ffff}, {"code", 0x00cf9b000000ffff}, {"code execute-only", 0x00cf99000000ffff}, {"code conforming", 0x00cf9f000000ffff},
    {"not present data", 0x00cf13000000ffff}, {"not present code", 0x00cf1b000000ffff}, {"not accessed data", 0x00cf92000000ffff}, {"tss", 0x000089000000ffff}, {"ldt", 0x000082000000ffff}, {"call gate", 0x00008c000000ffff}, {"16-bit call gate", 0x000084000000ffff},
    {"task gate", 0x000085000000ffff}, {"interrupt gate", 0x00008e000000ffff}, {"16-bit tss", 0x000081000000ffff}, {"byte limit", 0x004f91000000ffff}, {"zero", 0},
  };
  for (u32 k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    for (u32 m = 0; m < 16; m++) {
      u32 dpl = m & 1 ? 3 : 0, ring = m & 2 ? 3 : m & 8 ? 1 : 0, rpl = m & 4 ? 3 : 0;
      if (m & 8 && m & 2) continue;
      u64 value = kinds[k].low | (kinds[k].low ? (u64)dpl << 45 : 0);
      text("segment "); text(kinds[k].name); text(" dpl "); number(dpl); text(" cpl "); number(ring); text(" rpl "); number(rpl); text(":");
      for (u32 what = 0; what < 4; what++) {
        gdt[SCRATCH / 8] = value;
        switch (what) {
          case 0: prepare(load_ds_begin, load_ds_end, ring); break;
          case 1: prepare(load_ss_begin, load_ss_end, ring); break;
          case 2: prepare(lar_begin, lar_end, ring); break;
          default: prepare(verify_begin, verify_end, ring); break;
        }
        s.gpr[AX] = SCRATCH | rpl;
        enter(&s);
        text(" ");
        number(s.vector);
        if (s.vector != 3) { text(":"); number(s.error); }
        else { text(" "); number(s.gpr[BX]); }
        if (what == 2) { text(" "); number(s.gpr[CX]); text(" "); number(s.gpr[DX]); }
      }
      text("\n");
    }
  }
  gdt[SCRATCH / 8] = descriptor(STACK_AT, 0xffff, 0xf3, 0); /* 16-bit stack */
  for (word at = STACK_AT; at < STACK_AT + 0x10000; at += 4096) map(at, P | RW | US);
  RUN("null", load_ds, 3);
  prepare(stack16_begin, stack16_end, 3);
  s.gpr[AX] = SCRATCH | 3;
  go_with_registers("16-bit stack wraps at 64 KiB");
  gdt[SCRATCH / 8] = descriptor(CODE_AT, 0xffff, 0xfb, 0);
  prepare(code16_begin, code16_end, 3);
  s.cs = SCRATCH | 3;
  s.ip = 0;
  go_with_registers("16-bit code");
  static const struct { const char *name; u32 limit; u8 access, flags; u32 offset; } limits[] = {
    {"inside", 0xfff, 0xf3, 4, 0xffc}, {"across the limit", 0xfff, 0xf3, 4, 0xffd}, {"past the limit", 0xfff, 0xf3, 4, 0x1000}, {"expand-down, below", 0xfff, 0xf7, 4, 0xffc}, {"expand-down, above", 0xfff, 0xf7, 4, 0x1000}, {"read-only", 0xfffff, 0xf1, 0xc, 0},
  };
  for (u32 i = 0; i < sizeof limits / sizeof *limits; i++) {
    gdt[SCRATCH / 8] = descriptor(DATA_AT, limits[i].limit, limits[i].access, limits[i].flags);
    memset((void *)PHYSICAL(DATA_AT), 0x5a, 0x1008);
    prepare(through_ds_begin, through_ds_end, 3);
    s.gpr[AX] = SCRATCH | 3;
    s.gpr[DI] = limits[i].offset;
    text("limit read: ");
    go(limits[i].name);
    prepare(write_ds_begin, write_ds_end, 3);
    s.gpr[AX] = SCRATCH | 3;
    s.gpr[DI] = limits[i].offset;
    text("limit write: ");
    go(limits[i].name);
  }
  gdt[SCRATCH / 8] = descriptor(DATA_AT, 0xfffff, 0xf3, 0xc);
  *(u32 *)PHYSICAL(DATA_AT + 0x10) = 0x13579bdf;
  prepare(through_ds_begin, through_ds_end, 3);
  s.gpr[AX] = SCRATCH | 3;
  s.gpr[DI] = 0x10;
  go_with_registers("a base counts");
  gdt[SCRATCH / 8] = 0;
}

/* --- translations ------------------------------------------------------------------------------------------- */

/* INVLPG finds its page by the segment's base, whatever the segment's limit and rights say. */
static void translations(const char *mode) {
  default_window();
  static const struct { const char *name; u8 access, flags; u32 limit; } kinds[] = {
    {"flat limit", 0x93, 0xc, 0xfffff}, {"limit below it", 0x93, 4, 1}, {"expand-down", 0x97, 4, 0xfffff}, {"read-only", 0x91, 0xc, 0xfffff},
  };
  *(u32 *)PHYSICAL(TARGET) = 0x1111;
  *(u32 *)PHYSICAL(TARGET + 0x1000) = 0x2222;
  for (u32 i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    gdt[SCRATCH / 8] = descriptor(0x5000, kinds[i].limit, kinds[i].access, kinds[i].flags);
    __asm__ volatile("mov %0, %%fs" : : "r"(SCRATCH));
    map(TARGET, P | RW | US);
    volatile u32 *p = (volatile u32 *)TARGET;
    u32 before = *p;
    if (pae) pae_table[(TARGET - WINDOW) >> 12] = PHYSICAL(TARGET + 0x1000) | P | RW | US;
    else table[(TARGET - WINDOW) >> 12] = PHYSICAL(TARGET + 0x1000) | P | RW | US;
    __asm__ volatile("invlpg %%fs:(%0)" : : "r"(TARGET - 0x5000) : "memory");
    text("invlpg by a segment's base, "); text(mode); text(", "); text(kinds[i].name);
    field("before", before);
    field("after", *p);
    text("\n");
  }
  __asm__ volatile("mov %0, %%fs" : : "r"(0));
  gdt[SCRATCH / 8] = 0;
}

/* --- fast calls -------------------------------------------------------------------------------------------- */

SNIPPET(sysexit_, "sysexit");

static void fast_calls(void) {
  default_window();
  wrmsr(0x174, KCODE);
  wrmsr(0x175, (u32)stack0 + 2048);
  wrmsr(0x176, (u32)arrive_gate);
  for (u32 ring = 0; ring < 4; ring++) {
    prepare(sysenter__begin, sysenter__end, ring);
    s.flags = 0x202;
    go("sysenter");
    prepare(sysexit__begin, sysexit__end, ring);
    *(u8 *)PHYSICAL(CODE_AT + 0x100) = 0xcc;
    s.gpr[DX] = CODE_AT + 0x100;
    s.gpr[CX] = STACK_TOP - 256;
    go("sysexit");
  }
  wrmsr(0x174, 0);
  RUN("sysenter with a null SYSENTER_CS", sysenter_, 3);
}

SNIPPET(to_cr3, "mov %eax, %cr3\n int3");
SNIPPET(to_cr4, "mov %eax, %cr4\n int3");

void begin(void) {
  mask_interrupts();
  tables();
  write_cr4(read_cr4() | 0x600);
  paging(0);
  permissions("2-level");
  exceptions();
  far_transfers();
  segments();
  fast_calls();
  translations("2-level");
  paging(1);
  permissions("pae");
  translations("pae");
  /* reserved bits of a PDPTE are looked at when CR3 is loaded */
  memcpy(refused_pdpt, pdpt, sizeof pdpt);
  refused_pdpt[1] |= RW;
  prepare(to_cr3_begin, to_cr3_end, 0);
  s.gpr[AX] = (word)refused_pdpt;
  go("cr3 with a reserved bit in a PDPTE");
  write_cr3((word)pdpt);
  pae_table[(TARGET - WINDOW) >> 12] |= 1ull << 51;
  prepare(read_byte_begin, read_byte_end, 3);
  s.gpr[DI] = TARGET;
  go("reserved bit in a PTE");
  finish();
}
