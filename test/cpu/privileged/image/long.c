/* Privileged behaviour in long mode. Every line of output is one case; what it prints is all that is compared. */
#include "common.h"

#define WINDOW 0x40000000ul /* 4 KiB pages up to the test, 2 MiB of them */
#define WINDOW2 0x40200000ul /* one 2 MiB page up to the test */
#define CODE_AT (WINDOW + 0x10000)
#define CODE2_AT (WINDOW + 0x11000)
#define STACK_AT (WINDOW + 0x20000) /* a page; stacks grow down from its end */
#define STACK_TOP (STACK_AT + 0x1000)
#define DATA_AT (WINDOW + 0x30000)
#define TARGET (WINDOW + 0x40000)
#define FRAMES 0x800000ul /* physical: page i of the window is FRAMES + i * 4096 */
#define FRAMES2 0xa00000ul

enum { P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };
#define NX (1ull << 63)

extern u64 boot_pml4e[512], boot_pdpte[512], boot_pde[512];
extern u8 arrive_syscall[], arrive_syscall32[], arrive_sysenter[], arrive_gate[];
static u64 window_pde[512] __attribute__((aligned(4096)));
static u64 window_pte[512] __attribute__((aligned(4096)));
static u64 alias_pte[512] __attribute__((aligned(4096)));
static u64 idt[512] __attribute__((aligned(16)));
static u8 tss[0x68 + 8192 + 1] __attribute__((aligned(16)));
static u8 stack0[4096] __attribute__((aligned(16))), stack1[4096] __attribute__((aligned(16))), stack2[4096] __attribute__((aligned(16)));
static u8 ist[3][4096] __attribute__((aligned(16)));
static u64 ldt[8] __attribute__((aligned(16)));

static struct state s;

static void flush(void) { write_cr3(read_cr3()); }
static u64 *pte(word address) { return &window_pte[(address - WINDOW) >> 12]; }
static void map(word address, u64 flags) {
  *pte(address) = (FRAMES + (address - WINDOW)) | flags;
  invlpg(address);
}

static void gate(u32 vector, void *handler, u8 type, u8 ist_index) {
  u64 at = (u64)handler;
  idt[vector * 2] = (at & 0xffff) | (u64)KCODE << 16 | (u64)ist_index << 32 | (u64)type << 40 | (at >> 16 & 0xffff) << 48;
  idt[vector * 2 + 1] = at >> 32;
}
static void system_descriptor(u32 selector, u64 base, u32 limit, u8 access) {
  gdt[selector / 8] = descriptor((u32)base, limit, access, 0);
  gdt[selector / 8 + 1] = base >> 32;
}
static void load_gdt(u16 limit) {
  struct { u16 limit; u64 base; } __attribute__((packed)) r = {limit, (u64)gdt};
  __asm__ volatile("lgdt %0" : : "m"(r));
}
static void load_idt(u16 limit) {
  struct { u16 limit; u64 base; } __attribute__((packed)) r = {limit, (u64)idt};
  __asm__ volatile("lidt %0" : : "m"(r));
}

static void tables(void) {
  gdt[KCODE / 8] = 0x00af9b000000ffff;
  gdt[KDATA / 8] = 0x00cf93000000ffff;
  gdt[UCODE32 / 8] = 0x00cffb000000ffff;
  gdt[UDATA / 8] = 0x00cff3000000ffff;
  gdt[UCODE / 8] = 0x00affb000000ffff;
  gdt[KCODE32 / 8] = 0x00cf9b000000ffff;
  gdt[CODE1 / 8] = 0x00afbb000000ffff;
  gdt[DATA1 / 8] = 0x00cfb3000000ffff;
  gdt[CODE2 / 8] = 0x00afdb000000ffff;
  gdt[DATA2 / 8] = 0x00cfd3000000ffff;
  gdt[CONFORMING / 8] = 0x00af9f000000ffff;
  system_descriptor(TSS, (u64)tss, 0x67, 0x89);
  system_descriptor(LDT, (u64)ldt, 8 * 8 - 1, 0x82);
  for (u32 i = SCRATCH / 8; i < 64; i++) gdt[i] = 0;
  *(u64 *)(tss + 4) = (u64)stack0 + sizeof stack0;
  *(u64 *)(tss + 12) = (u64)stack1 + sizeof stack1;
  *(u64 *)(tss + 20) = (u64)stack2 + sizeof stack2;
  for (u32 i = 0; i < 3; i++) *(u64 *)(tss + 36 + 8 * i) = (u64)ist[i] + sizeof ist[i];
  *(u16 *)(tss + 102) = 0x68;
  for (u32 i = 0; i < 256; i++) gate(i, stubs + 16 * i, i == 3 || i == 4 || i == 0x80 ? 0xee : 0x8e, i == 8 ? 1 : 0);
  load_gdt(sizeof gdt - 1);
  load_idt(sizeof idt - 1);
  __asm__ volatile("ltr %w0" : : "r"(TSS));
  __asm__ volatile("lldt %w0" : : "r"(LDT));
}

static void default_window(void) {
  for (u32 i = 0; i < 512; i++) window_pte[i] = 0;
  window_pde[0] = (u64)window_pte | P | RW | US;
  window_pde[1] = FRAMES2 | P | RW | US | PS;
  boot_pdpte[1] = (u64)window_pde | P | RW | US;
  for (word at = WINDOW + 0x10000; at < WINDOW + 0x60000; at += 4096) map(at, P | RW | US);
  flush();
}

/* Places code, prepares the state for a ring (0-3) and an operand size. */
static void prepare(const u8 *begin, const u8 *end, u32 ring, u32 bits) {
  memset((void *)(FRAMES + CODE_AT - WINDOW), 0xcc, 256); /* through a supervisor mapping: SMAP may be on */
  memcpy((void *)(FRAMES + CODE_AT - WINDOW), begin, (word)(end - begin));
  memset(&s, 0, sizeof s);
  s.ip = CODE_AT;
  s.flags = 2;
  s.gpr[SP] = STACK_TOP - 64;
  static const u16 code[4] = {KCODE, CODE1, CODE2, UCODE}, data[4] = {KDATA, DATA1, DATA2, UDATA};
  s.cs = bits == 64 ? code[ring] : ring == 0 ? KCODE32 : UCODE32;
  s.ss = data[ring];
  s.ds = s.es = bits == 64 ? 0 : data[ring];
}

static const char *stack_name(word sp) {
  if (sp > (word)stack0 && sp <= (word)stack0 + sizeof stack0) return "rsp0";
  if (sp > (word)stack1 && sp <= (word)stack1 + sizeof stack1) return "rsp1";
  if (sp > (word)stack2 && sp <= (word)stack2 + sizeof stack2) return "rsp2";
  for (u32 i = 0; i < 3; i++) if (sp > (word)ist[i] && sp <= (word)ist[i] + sizeof ist[i]) return i == 0 ? "ist1" : i == 1 ? "ist2" : "ist3";
  if (sp >= STACK_AT && sp <= STACK_TOP) return "same";
  return "?";
}

static void show_ip(word ip) {
  text(" ip=");
  if (ip >= CODE_AT && ip < CODE_AT + 0x1000) { text("code+"); number(ip - CODE_AT); }
  else if (ip == (word)enter_iret) text("iret");
  else if (ip >= 0x100000 && ip < 0x800000) text("image");
  else number(ip);
}

#include "cases.h"

/* --- paging ------------------------------------------------------------------------------------------------ */

SNIPPET(read_byte, "mov (%rdi), %al\n int3");
SNIPPET(write_byte, "mov %al, (%rdi)\n int3");
SNIPPET(jump_there, "jmp *%rdi");
SNIPPET(read_ac, "stac\n mov (%rdi), %al\n int3");
SNIPPET(write_ac, "stac\n mov %al, (%rdi)\n int3");
SNIPPET(read_two, "mov (%rdi), %rax\n int3");
SNIPPET(write_two, "mov %rax, (%rdi)\n int3");
SNIPPET(rmw, "lock incb (%rdi)\n int3");
SNIPPET(rmw_fails, "xor %eax, %eax\n lock cmpxchg %ecx, (%rdi)\n int3");

static word test_address;
/* One access in a row of cases: vector, error code, and what became of the A and D bits. */
static void access_case(const u8 *begin, const u8 *end, u32 ring, u64 *entry, u64 value) {
  *entry = value;
  invlpg(test_address);
  word address = test_address;
  prepare(begin, end, ring, 64);
  s.gpr[DI] = address;
  s.gpr[AX] = 0xcc; /* what a write leaves is the INT3 that a fetch wants */
  enter(&s);
  text(" ");
  number(s.vector);
  if (s.vector == 14) {
    text(":");
    number(s.error);
    if (read_cr2() != address) { text("@"); number(read_cr2()); }
  }
  u64 bits = *entry & (A | D);
  text(bits == (A | D) ? "ad" : bits == A ? "a" : bits == D ? "d" : "");
}

static void permissions(void) {
  static const u64 masks[16] = {0, P, RW, P | RW, US, P | US, RW | US, P | RW | US, NX, NX | P, NX | RW, NX | P | RW, NX | US, NX | P | US, NX | RW | US, NX | P | RW | US};
  /* Supervisor code runs from supervisor pages, user code from user pages, so that SMEP lets both run. */
  for (u32 control = 0; control < 5; control++) {
    word cr0 = read_cr0(), cr4 = read_cr4();
    write_cr0(control == 0 ? cr0 & ~0x10000ul : cr0 | 0x10000);
    if (control == 2) write_cr4(cr4 | 1ul << 20);
    if (control >= 3) write_cr4(cr4 | 1ul << 21);
    static const char *const names[] = {"wp=0", "wp=1", "smep", "smap", "smap+ac"};
    for (u32 large = 0; large < 2; large++) {
      test_address = large ? WINDOW2 + 0x12340 : TARGET + 0x234;
      u64 *entry = large ? &window_pde[1] : pte(TARGET);
      u64 frame = large ? FRAMES2 | PS : FRAMES + (TARGET - WINDOW);
      /* an INT3 where a fetch lands */
      *(u8 *)(large ? FRAMES2 + 0x12340 : FRAMES + (TARGET - WINDOW) + 0x234) = 0xcc;
      for (u32 m = 0; m < 16; m++) {
        text("perm "); text(names[control]); text(large ? " 2m " : " 4k ");
        text(masks[m] & P ? "p" : "-"); text(masks[m] & RW ? "w" : "-"); text(masks[m] & US ? "u" : "-"); text(masks[m] & NX ? "n" : "-");
        text(":");
        for (u32 ring = 0; ring < 4; ring += 3) {
          map(CODE_AT, ring ? P | RW | US : P | RW);
          map(STACK_AT, ring ? P | RW | US : P | RW);
          int ac = control == 4 && ring == 0;
          text(ring ? " user" : " sup");
          /* the tables' own bits are set before, so that only the access's are seen */
          access_case(ac ? read_ac_begin : read_byte_begin, ac ? read_ac_end : read_byte_end, ring, entry, frame | masks[m]);
          access_case(ac ? write_ac_begin : write_byte_begin, ac ? write_ac_end : write_byte_end, ring, entry, frame | masks[m]);
          access_case(jump_there_begin, jump_there_end, ring, entry, frame | masks[m]);
        }
        text("\n");
        /* prepare() writes through these pages with supervisor rights */
      }
    }
    write_cr0(cr0);
    write_cr4(cr4);
    default_window();
  }
}

/* Rights of a directory entry combine with those of the page's. */
static void combined(void) {
  default_window();
  window_pde[1] = (u64)alias_pte | P | RW | US;
  for (u32 m = 0; m < 32; m++) {
    u64 upper = P | (m & 1 ? RW : 0) | (m & 2 ? US : 0) | (m & 4 ? NX : 0);
    u64 lower = P | (m & 8 ? RW : 0) | (m & 16 ? US : 0);
    test_address = WINDOW2 + 0x3010;
    text("combined ");
    number(m);
    text(":");
    for (u32 kind = 0; kind < 6; kind++) {
      window_pde[1] = (u64)alias_pte | upper;
      *(u8 *)(FRAMES2 + 0x3010) = 0xcc;
      u32 ring = kind < 3 ? 0 : 3;
      map(CODE_AT, ring ? P | RW | US : P | RW);
      map(STACK_AT, ring ? P | RW | US : P | RW);
      const u8 *begin = kind % 3 == 0 ? read_byte_begin : kind % 3 == 1 ? write_byte_begin : jump_there_begin;
      const u8 *end = kind % 3 == 0 ? read_byte_end : kind % 3 == 1 ? write_byte_end : jump_there_end;
      flush();
      access_case(begin, end, ring, &alias_pte[3], (FRAMES2 + 0x3000) | lower);
      text(window_pde[1] & A ? "+" : "-");
    }
    text("\n");
  }
  default_window();
}

static void reserved_bits(void) {
  default_window();
  static const struct { const char *name; u64 bits; u32 level; } cases[] = {
    {"pte bit 51", 1ull << 51, 1}, {"pte bit 46, not present", 1ull << 51, 0}, {"large page bit 13", 1ull << 13, 2}, {"large page bit 20", 1ull << 20, 2}, {"pde bit 51", 1ull << 51, 3}, {"pdpte bit 51", 1ull << 51, 4}, {"pml4e page size", PS, 5}, {"pml4e bit 51", 1ull << 51, 5},
  };
  for (u32 i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (u32 write = 0; write < 2; write++) {
      default_window();
      word address = TARGET;
      u64 *entry = pte(TARGET);
      switch (cases[i].level) {
        case 2: address = WINDOW2; entry = &window_pde[1]; break;
        case 3: address = WINDOW2; entry = &window_pde[1]; *entry = (u64)alias_pte | P | RW | US; alias_pte[0] = FRAMES2 | P | RW | US; break;
        case 4: address = WINDOW + 0x40000000; entry = &boot_pdpte[2]; *entry = (u64)window_pde | P | RW | US; break;
        case 5: address = 1ul << 39; entry = &boot_pml4e[1]; *entry = (u64)boot_pdpte | P | RW | US; break;
      }
      if (cases[i].level == 0) *entry = 0;
      *entry |= cases[i].bits;
      flush();
      prepare(write ? write_byte_begin : read_byte_begin, write ? write_byte_end : read_byte_end, 0, 64);
      s.gpr[DI] = address;
      text(write ? "reserved write " : "reserved read ");
      go(cases[i].name);
      boot_pdpte[2] = 0;
      boot_pml4e[1] = 0;
    }
  }
  default_window();
  u64 efer = rdmsr(0xc0000080);
  wrmsr(0xc0000080, efer & ~0x800ull);
  for (u32 ring = 0; ring < 4; ring += 3) {
    *pte(TARGET) |= NX;
    flush();
    prepare(read_byte_begin, read_byte_end, ring, 64);
    s.gpr[DI] = TARGET;
    go("nx bit with EFER.NXE=0");
  }
  *pte(TARGET) &= ~NX;
  *pte(TARGET) &= ~(u64)US;
  *(u8 *)(FRAMES + TARGET - WINDOW) = 0xcc;
  flush();
  prepare(jump_there_begin, jump_there_end, 3, 64);
  s.gpr[DI] = TARGET;
  go("fetch fault with EFER.NXE=0");
  wrmsr(0xc0000080, efer);
  default_window();
}

static void crossing(void) {
  default_window();
  word first = TARGET, second = TARGET + 0x1000;
  for (u32 kind = 0; kind < 4; kind++) {
    map(first, kind & 1 ? 0 : P | RW | US);
    map(second, kind & 2 ? 0 : P | RW | US);
    memset((void *)(FRAMES + first - WINDOW + 0xff8), 0x11, 8);
    memset((void *)(FRAMES + second - WINDOW), 0x22, 8);
    prepare(read_two_begin, read_two_end, 3, 64);
    s.gpr[DI] = second - 3;
    go_with_registers("crossing read");
    prepare(write_two_begin, write_two_end, 3, 64);
    s.gpr[DI] = second - 3;
    s.gpr[AX] = 0x8877665544332211;
    enter(&s);
    show("crossing write", 0);
    text(" memory");
    for (u32 i = 0; i < 4; i++) field("", ((u8 *)(FRAMES + second - WINDOW - 4))[i]);
    for (u32 i = 0; i < 5; i++) field("", ((u8 *)(FRAMES + second - WINDOW))[i]);
    text("\n");
  }
  /* An instruction across pages. */
  map(CODE_AT + 0x1000, 0);
  prepare(read_byte_begin, read_byte_end, 3, 64);
  memcpy((void *)(CODE_AT + 0xfff), "\x8b", 1);
  s.ip = CODE_AT + 0xfff;
  go("crossing fetch");
  default_window();
  map(first, P | US);
  prepare(rmw_begin, rmw_end, 3, 64);
  s.gpr[DI] = first;
  go("locked rmw on a read-only page");
  prepare(rmw_fails_begin, rmw_fails_end, 3, 64);
  s.gpr[DI] = first;
  *(u32 *)(FRAMES + first - WINDOW) = 5;
  go("cmpxchg that does not store, on a read-only page");
  default_window();
}

SNIPPET(iret_only, "int3");
/* A data segment that the outer ring may not use becomes null; the base of FS and GS stays. */
static void nulled_segments(void) {
  default_window();
  static const u16 selectors[] = {KDATA, UDATA, 0};
  for (u32 i = 0; i < sizeof selectors / sizeof *selectors; i++) {
    __asm__ volatile("mov %0, %%gs" : : "r"((u32)selectors[i]));
    wrmsr(0xc0000101, 0x123456789000);
    prepare(iret_only_begin, iret_only_end, 3, 64);
    enter(&s);
    text("gs outside ring 0 after selector "); number(selectors[i]);
    field("selector", s.gs);
    field("base", rdmsr(0xc0000101));
    text("\n");
  }
  __asm__ volatile("mov %0, %%gs" : : "r"(0));
}

SNIPPET(touch_read, "mov (%rdi), %eax\n int3");
static void translations(void) {
  default_window();
  *(u32 *)(FRAMES + TARGET - WINDOW) = 0x1111;
  *(u32 *)(FRAMES + TARGET - WINDOW + 0x1000) = 0x2222;
  word cr4 = read_cr4();
  for (u32 global = 0; global < 2; global++) {
    for (u32 how = 0; how < 5; how++) {
      write_cr4(cr4 | 0x80);
      *pte(TARGET) = (FRAMES + TARGET - WINDOW) | P | RW | US | (global ? G : 0);
      invlpg(TARGET);
      volatile u32 *p = (volatile u32 *)TARGET;
      u32 before = *p;
      *pte(TARGET) = (FRAMES + TARGET - WINDOW + 0x1000) | P | RW | US | (global ? G : 0);
      switch (how) {
        case 0: invlpg(TARGET); break;
        case 1: write_cr3(read_cr3()); break;
        case 2: write_cr4(cr4 & ~0x80ul); break;
        case 3: write_cr0(read_cr0() & ~0x10000ul); write_cr0(read_cr0() | 0x10000); invlpg(TARGET + 0x800); break;
        case 4:
          wrmsr(0xc0000100, 0x3000);
          __asm__ volatile("invlpg %%fs:(%0)" : : "r"(TARGET - 0x3000) : "memory");
          wrmsr(0xc0000100, 0);
          break;
      }
      u32 after = *p;
      text("translation of a "); text(global ? "global" : "plain"); text(" page after ");
      text(how == 0 ? "invlpg" : how == 1 ? "mov cr3" : how == 2 ? "cr4.pge" : how == 3 ? "invlpg elsewhere in the page" : "invlpg by a segment's base");
      field("before", before);
      /* a global page may or may not survive MOV CR3 in the TLB; hardware keeps it */
      if (!(global && how == 1)) field("after", after);
      text("\n");
    }
  }
  write_cr4(cr4);
  default_window();
}

SNIPPET(modify_next, "movb $0x42, 1f+1-modify_next_begin(%rdi)\n 1: mov $0x11, %al\n int3");
SNIPPET(modify_jump, "movb $0x42, 1f+1-modify_jump_begin(%rdi)\n jmp 1f\n nop\n 1: mov $0x11, %al\n int3");
SNIPPET(modify_loop, "mov $5, %ecx\n xor %ebx, %ebx\n 2: movb $0, %al\n add %al, %bl\n incb 2b+1-modify_loop_begin(%rdi)\n dec %ecx\n jnz 2b\n int3");
SNIPPET(modify_rep, "mov $8, %ecx\n lea 1f-modify_rep_begin(%rdi), %rdi\n mov $0x90, %al\n rep stosb\n 1: ud2\n ud2\n ud2\n ud2\n int3");
SNIPPET(modify_across, "movw $0xb090, 0xfff(%rdi)\n jmp *%rbx");

static void self_modifying(void) {
  default_window();
  /* through the same address, and through another mapping of the same frame */
  map(WINDOW + 0x50000, 0);
  *pte(WINDOW + 0x50000) = (FRAMES + CODE_AT - WINDOW) | P | RW | US;
  for (u32 alias = 0; alias < 2; alias++) {
    word at = alias ? WINDOW + 0x50000 : CODE_AT;
    prepare(modify_next_begin, modify_next_end, 3, 64);
    s.gpr[DI] = at;
    /* through an alias the store need not be seen before a branch */
    if (!alias) go_with_registers("store into the next instruction");
    prepare(modify_jump_begin, modify_jump_end, 3, 64);
    s.gpr[DI] = at;
    go_with_registers(alias ? "store through an alias, jump" : "store, jump");
    prepare(modify_loop_begin, modify_loop_end, 3, 64);
    s.gpr[DI] = at;
    go_with_registers(alias ? "loop that changes itself through an alias" : "loop that changes itself");
  }
  prepare(modify_rep_begin, modify_rep_end, 3, 64);
  s.gpr[DI] = CODE_AT;
  go("rep stosb over what follows");
  /* an instruction that crosses into a page written later */
  prepare(modify_across_begin, modify_across_end, 3, 64);
  memset((void *)(CODE_AT + 0x1000), 0xcc, 16);
  *(u8 *)(CODE_AT + 0x1001) = 0x77;
  s.gpr[DI] = CODE_AT;
  s.gpr[BX] = CODE_AT + 0xfff;
  go_with_registers("store over an instruction across pages");
  /* the same address shows another frame: code must not survive */
  memcpy((void *)(FRAMES + TARGET - WINDOW), "\xb0\x01\xcc", 3);
  memcpy((void *)(FRAMES + TARGET - WINDOW + 0x1000), "\xb0\x02\xcc", 3);
  for (u32 i = 0; i < 2; i++) {
    *pte(TARGET) = (FRAMES + TARGET - WINDOW + i * 0x1000) | P | US;
    invlpg(TARGET);
    prepare(read_byte_begin, read_byte_end, 3, 64);
    s.ip = TARGET;
    enter(&s);
    text("code of another frame at the same address");
    field("ax", s.gpr[AX]);
    text("\n");
  }
  default_window();
}

/* --- exceptions -------------------------------------------------------------------------------------------- */

SNIPPET(divide_overflow, "mov $0x80000000, %eax\n cltd\n mov $-1, %ecx\n idiv %ecx");
SNIPPET(int3_, "int3");
SNIPPET(int3_long, ".byte 0xcd, 3");
SNIPPET(int4, ".byte 0xcd, 4");
SNIPPET(int_nmi, "int $2");
SNIPPET(int8, "int $8");
SNIPPET(int13, "int $13");
SNIPPET(icebp, ".byte 0xf1");
SNIPPET(ud2, "ud2");
SNIPPET(ud_lock, ".byte 0xf0, 0x01, 0xc0");
SNIPPET(ud_long, ".byte 0x06");
SNIPPET(too_long, ".byte 0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x90");
SNIPPET(too_long2, ".byte 0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x90");
SNIPPET(fpu, "fld1\n int3");
SNIPPET(wait_, "fwait\n int3");
SNIPPET(mmx, "pxor %mm0, %mm0\n int3");
SNIPPET(sse, "xorps %xmm0, %xmm0\n int3");
SNIPPET(sse_align, "movaps 1(%rdi), %xmm0");
SNIPPET(noncanonical_read, "mov $0x800000000000, %rax\n mov (%rax), %al");
SNIPPET(noncanonical_push, "mov $0x800000000004, %rsp\n push %rax");
SNIPPET(noncanonical_rbp, "mov $0x800000000000, %rbp\n mov (%rbp), %al");
SNIPPET(noncanonical_jump, "mov $0x800000000000, %rax\n jmp *%rax");
SNIPPET(noncanonical_call, "mov $0x800000000000, %rax\n call *%rax");
SNIPPET(noncanonical_ret, "mov $0x800000000000, %rax\n push %rax\n ret");
SNIPPET(noncanonical_cross, "mov $0x7fffffffffff, %rax\n mov (%rax), %eax");
SNIPPET(mf, "fldcw (%rdi)\n fld1\n fldz\n fdivrp\n nop\n fwait\n int3");
SNIPPET(xm, "ldmxcsr (%rdi)\n xorps %xmm0, %xmm0\n divps %xmm0, %xmm0\n int3");
SNIPPET(ac_word, "pushfq\n orl $0x40000, (%rsp)\n popfq\n mov 1(%rdi), %ax\n int3");
SNIPPET(ac_push, "pushfq\n orl $0x40000, (%rsp)\n popfq\n sub $1, %rsp\n push %rax\n int3");
SNIPPET(sti_, "sti\n nop\n int3");
SNIPPET(in_, "mov $0x80, %dx\n in %dx, %al\n int3");
SNIPPET(out_, "mov %al, %cl\n out %al, $0x80\n int3");
SNIPPET(out_word, "mov $0x87, %dx\n out %ax, %dx\n int3");
SNIPPET(mov_cr0, "mov %cr0, %rax\n int3");
SNIPPET(mov_dr7, "mov %dr7, %rax\n int3");
SNIPPET(rdmsr_, "mov $0xc0000080, %ecx\n rdmsr\n int3");
SNIPPET(wrmsr_, "mov $0xc0000080, %ecx\n wrmsr\n int3");
SNIPPET(lmsw_, "lmsw %ax\n int3");
SNIPPET(invlpg_, "invlpg (%rdi)\n int3");
SNIPPET(lgdt_, "lgdt (%rdi)\n int3");
SNIPPET(lidt_, "lidt (%rdi)\n int3");
SNIPPET(lldt_, "lldt %ax\n int3");
SNIPPET(ltr_, "ltr %ax\n int3");
SNIPPET(swapgs_, "swapgs\n int3");
SNIPPET(sysret_, "sysretq");
SNIPPET(sysexit_, ".byte 0x0f, 0x35");
SNIPPET(wbinvd_, "wbinvd\n int3");
SNIPPET(rdpmc_, "rdpmc\n int3");
SNIPPET(rdtsc_, "rdtsc\n xor %eax, %eax\n xor %edx, %edx\n int3");
SNIPPET(popf_, "push $0x3302\n popfq\n pushfq\n pop %rbx\n int3");
SNIPPET(popf_all, "push $0x7fd7\n popfq\n pushfq\n pop %rbx\n int3");

#define RUN(name_, snippet, ring) \
  do { prepare(snippet##_begin, snippet##_end, ring, 64); s.gpr[DI] = DATA_AT; go(name_); } while (0)

static void exceptions(void) {
  default_window();
  *(u32 *)DATA_AT = 0x0000037b; /* FCW with zero-divide unmasked */
  for (u32 ring = 0; ring < 4; ring += 3) {
    text(ring ? "user\n" : "supervisor\n");
    RUN("divide by zero", divide, ring);
    RUN("divide overflow", divide_overflow, ring);
    RUN("int3", int3_, ring);
    RUN("int 3", int3_long, ring);
    RUN("int 4", int4, ring);
    RUN("int 80", int80, ring);
    RUN("int 81 through a DPL 0 gate", int81, ring);
    RUN("int 2", int_nmi, ring);
    RUN("icebp", icebp, ring);
    RUN("ud2", ud2, ring);
    RUN("lock add reg", ud_lock, ring);
    RUN("push es", ud_long, ring);
    RUN("15 bytes", too_long, ring);
    RUN("16 bytes", too_long2, ring);
    RUN("non-canonical read", noncanonical_read, ring);
    if (ring) RUN("non-canonical push", noncanonical_push, ring);
    RUN("non-canonical through rbp", noncanonical_rbp, ring);
    RUN("non-canonical jump", noncanonical_jump, ring);
    RUN("non-canonical call", noncanonical_call, ring);
    RUN("non-canonical ret", noncanonical_ret, ring);
    RUN("across the canonical border", noncanonical_cross, ring);
    RUN("misaligned movaps", sse_align, ring);
    word cr0 = read_cr0(), cr4 = read_cr4();
    RUN("x87 fault at the next wait", mf, ring);
    __asm__ volatile("fninit");
    *(u32 *)DATA_AT = 0;
    RUN("simd fault", xm, ring);
    write_cr4(cr4 & ~0x400ul);
    RUN("simd fault without OSXMMEXCPT", xm, ring);
    write_cr4(cr4);
    *(u32 *)DATA_AT = 0x1f80;
    __asm__ volatile("ldmxcsr %0" : : "m"(*(u32 *)DATA_AT));
    *(u32 *)DATA_AT = 0x0000037b;
    for (u32 bits = 0; bits < 8; bits++) {
      write_cr0((cr0 & ~0xeul) | bits << 1);
      text("mp em ts "); number(bits); text("\n");
      RUN(" fld1", fpu, ring);
      RUN(" fwait", wait_, ring);
      RUN(" pxor mm", mmx, ring);
      RUN(" xorps", sse, ring);
    }
    write_cr0(cr0);
    __asm__ volatile("fninit");
    write_cr4(cr4 & ~0x200ul);
    RUN("xorps without OSFXSR", sse, ring);
    write_cr4(cr4);
    write_cr0(cr0 | 0x40000);
    RUN("misaligned with AC", ac_word, ring);
    RUN("misaligned push with AC", ac_push, ring);
    write_cr0(cr0);
    RUN("misaligned with AC, CR0.AM=0", ac_word, ring);
  }
  text("privileged instructions in ring 3\n");
#define REFUSED(name) do { prepare(name##_begin, name##_end, 3, 64); s.gpr[DI] = DATA_AT; go(#name); } while (0)
  REFUSED(hlt_); REFUSED(cli_); REFUSED(sti_); REFUSED(in_); REFUSED(out_); REFUSED(mov_cr0); REFUSED(mov_dr7); REFUSED(rdmsr_); REFUSED(wrmsr_); REFUSED(clts_); REFUSED(lmsw_);
  REFUSED(invlpg_); REFUSED(lgdt_); REFUSED(lidt_); REFUSED(lldt_); REFUSED(ltr_); REFUSED(swapgs_); REFUSED(sysret_); REFUSED(sysexit_); REFUSED(wbinvd_); REFUSED(rdpmc_); REFUSED(int8); REFUSED(int13);
  word cr4 = read_cr4();
  REFUSED(rdtsc_);
  write_cr4(cr4 | 4);
  REFUSED(rdtsc_);
  write_cr4(cr4);
  for (u32 iopl = 0; iopl < 4; iopl++) {
    for (u32 ring = 0; ring < 4; ring++) {
      text("iopl "); number(iopl); text(" ring "); number(ring); text("\n");
      prepare(cli__begin, cli__end, ring, 64);
      s.flags = 0x202 | iopl << 12;
      go(" cli");
      prepare(in__begin, in__end, ring, 64);
      s.flags = 2 | iopl << 12;
      go(" in");
      prepare(popf__begin, popf__end, ring, 64);
      s.flags = 2 | iopl << 12;
      enter(&s);
      show(" popf", 0);
      field(" pushed", s.gpr[BX] & 0x7700);
      text("\n");
    }
  }
  prepare(popf_all_begin, popf_all_end, 3, 64);
  go("popf with TF");
  /* The I/O bitmap of the TSS */
  system_descriptor(TSS, (u64)tss, 0x67 + 0x20, 0x89);
  __asm__ volatile("ltr %w0" : : "r"(TSS));
  memset(tss + 0x68, 0xff, 0x21);
  tss[0x68 + 0x10] = 0xfe; /* port 0x80 allowed, 0x81-0x87 not */
  REFUSED(in_);
  REFUSED(out_);
  REFUSED(out_word);
  tss[0x68 + 0x10] = 0x7f; /* 0x87 allowed, 0x88 not: a word needs both */
  REFUSED(in_);
  REFUSED(out_word);
  tss[0x68 + 0x11] = 0xfe;
  REFUSED(out_word);
  memset(tss + 0x68, 0, 0x10);
  *(u16 *)(tss + 102) = 0x90;
  REFUSED(in_); /* bitmap past the limit */
  *(u16 *)(tss + 102) = 0x68;
  system_descriptor(TSS, (u64)tss, 0x67, 0x89);
  __asm__ volatile("ltr %w0" : : "r"(TSS));
}

/* Delivery through the IDT: what goes wrong on the way. */
static void delivery(void) {
  default_window();
  gate(0x81, stubs + 16 * 0x81, 0xee, 0);
  u64 low = idt[0x81 * 2], high = idt[0x81 * 2 + 1];
  RUN("int 81", int81, 3);
  idt[0x81 * 2] = low & ~(1ull << 47);
  RUN("gate not present", int81, 3);
  idt[0x81 * 2] = (low & ~(0x1full << 40)) | 0x05ull << 40;
  RUN("gate of a wrong type", int81, 3);
  idt[0x81 * 2] = (low & ~0xffff0000ull) | (u64)0 << 16;
  RUN("gate to a null selector", int81, 3);
  idt[0x81 * 2] = (low & ~0xffff0000ull) | (u64)KDATA << 16;
  RUN("gate to data", int81, 3);
  idt[0x81 * 2] = (low & ~0xffff0000ull) | (u64)KCODE32 << 16;
  RUN("gate to 32-bit code", int81, 3);
  idt[0x81 * 2] = (low & ~0xffff0000ull) | (u64)(UCODE & ~3) << 16;
  RUN("gate to ring 3 code, from ring 0", int81, 0);
  idt[0x81 * 2] = (low & ~0xffff0000ull) | (u64)0x1f8 << 16;
  RUN("gate to an empty descriptor", int81, 3);
  idt[0x81 * 2] = (low & ~0xffff0000ull) | (u64)0x2f8 << 16;
  RUN("gate beyond the GDT", int81, 3);
  idt[0x81 * 2] = (low & ~0xffff0000ull) | (u64)CONFORMING << 16;
  RUN("gate to conforming code, from ring 0", int81, 0);
  idt[0x81 * 2] = low;
  idt[0x81 * 2 + 1] = 0x8000;
  RUN("gate to a non-canonical address", int81, 3);
  idt[0x81 * 2 + 1] = high;
  gate(0x81, stubs + 16 * 0x81, 0xef, 0);
  prepare(int81_begin, int81_end, 3, 64);
  s.flags = 0x202;
  go("trap gate, IF set");
  gate(0x81, stubs + 16 * 0x81, 0xee, 2);
  RUN("interrupt stack table 2, from ring 3", int81, 3);
  RUN("interrupt stack table 2, from ring 0", int81, 0);
  gate(0x81, stubs + 16 * 0x81, 0xee, 0);
  prepare(int81_begin, int81_end, 0, 64);
  s.gpr[SP] = STACK_TOP - 61;
  go("misaligned stack in ring 0");
  field("frame at", s.handler_sp & 0xfff);
  text("\n");
  for (u32 ring = 0; ring < 4; ring++) {
    prepare(int81_begin, int81_end, ring, 64);
    go("int 81 from each ring");
  }
  load_idt(0x80 * 16 + 15);
  RUN("vector beyond the IDT", int81, 3);
  load_idt(sizeof idt - 1);
  /* A page fault while the frame is pushed: double fault, on its own stack. */
  map(STACK_AT, P | US);
  prepare(divide_begin, divide_end, 0, 64);
  s.gpr[SP] = STACK_TOP - 64;
  go("divide error with a read-only stack");
  field("cr2", read_cr2());
  text("\n");
  default_window();
  prepare(ud2_begin, ud2_end, 0, 64);
  u64 gate6 = idt[12];
  idt[12] &= ~(1ull << 47);
  go("ud with its gate not present");
  idt[12] = gate6;
  prepare(divide_begin, divide_end, 3, 64);
  u64 gate0 = idt[0];
  idt[0] &= ~(1ull << 47);
  go("divide error with its gate not present");
  idt[0] = gate0;
  prepare(read_byte_begin, read_byte_end, 3, 64);
  u64 gate14 = idt[28];
  idt[28] &= ~(1ull << 47);
  s.gpr[DI] = TARGET + 0x20000;
  map(TARGET + 0x10000, 0);
  s.gpr[DI] = TARGET + 0x10000;
  go("page fault with its gate not present");
  idt[28] = gate14;
  u64 rsp0 = *(u64 *)(tss + 4);
  *(u64 *)(tss + 4) = 0x800000000000;
  RUN("non-canonical RSP0", int81, 3);
  RUN("divide error with a non-canonical RSP0", divide, 3);
  *(u64 *)(tss + 4) = TARGET + 0x10800;
  RUN("RSP0 not present", int81, 3);
  *(u64 *)(tss + 4) = rsp0;
}

/* --- transfers --------------------------------------------------------------------------------------------- */

SNIPPET(iretq_, "iretq");
SNIPPET(iretd_, "iretl");
SNIPPET(lret_, "lretq");
SNIPPET32(marker32, "mov %cs, %eax\n int3");

/* IRETQ in ring 0 with a frame on the test's stack. */
static void iret_case(const char *name, word cs, word ss, word flags, word ip, word sp) {
  prepare(iretq__begin, iretq__end, 0, 64);
  memcpy((void *)(CODE_AT + 0x100), "\xcc", 1);
  word *frame = (word *)(STACK_TOP - 64);
  frame[0] = ip;
  frame[1] = cs;
  frame[2] = flags;
  frame[3] = sp;
  frame[4] = ss;
  go(name);
}

static void iret_forms(void) {
  default_window();
  word ip = CODE_AT + 0x100, sp = STACK_TOP - 128;
  iret_case("iret to ring 0", KCODE, KDATA, 2, ip, sp);
  iret_case("iret to ring 0, null SS", KCODE, 0, 2, ip, sp);
  iret_case("iret to ring 1", CODE1, DATA1, 2, ip, sp);
  iret_case("iret to ring 2", CODE2, DATA2, 2, ip, sp);
  iret_case("iret to ring 3", UCODE, UDATA, 2, ip, sp);
  iret_case("iret to ring 3, IF", UCODE, UDATA, 0x202, ip, sp);
  iret_case("iret to ring 3, all flags", UCODE, UDATA, 0x243ad7, ip, sp);
  iret_case("iret to ring 3, VM", UCODE, UDATA, 0x20002, ip, sp);
  iret_case("iret to ring 3, null SS", UCODE, 0, 2, ip, sp);
  iret_case("iret to ring 2, null SS of that ring", CODE2, 2, 2, ip, sp);
  iret_case("iret to compatibility mode", UCODE32, UDATA, 2, ip, sp);
  iret_case("iret to 32-bit code in ring 0", KCODE32, KDATA, 2, ip, sp);
  iret_case("iret to a null CS", 0, KDATA, 2, ip, sp);
  iret_case("iret to a null CS, RPL 3", 3, UDATA, 2, ip, sp);
  iret_case("iret to data", KDATA, KDATA, 2, ip, sp);
  iret_case("iret to RPL 3 of ring 0 code", KCODE | 3, UDATA, 2, ip, sp);
  iret_case("iret to RPL 0 of ring 3 code", UCODE & ~3, KDATA, 2, ip, sp);
  iret_case("iret to conforming code, RPL 3", CONFORMING | 3, UDATA, 2, ip, sp);
  iret_case("iret with SS of another ring", UCODE, KDATA, 2, ip, sp);
  iret_case("iret with SS of another RPL", UCODE, UDATA & ~3, 2, ip, sp);
  iret_case("iret with SS code", UCODE, UCODE, 2, ip, sp);
  iret_case("iret beyond the GDT", 0x203, UDATA, 2, ip, sp);
  iret_case("iret with SS beyond the GDT", UCODE, 0x203, 2, ip, sp);
  iret_case("iret to a non-canonical address, ring 0", KCODE, KDATA, 2, 0x800000000000, sp);
  iret_case("iret to a non-canonical address, ring 3", UCODE, UDATA, 2, 0x800000000000, sp);
  iret_case("iret with a non-canonical stack, ring 3", UCODE, UDATA, 2, ip, 0x800000000000);
  gdt[SCRATCH / 8] = 0x00af7b000000ffff; /* DPL 3 code, not present */
  iret_case("iret to code not present", SCRATCH | 3, UDATA, 2, ip, sp);
  gdt[SCRATCH / 8] = 0x00cf73000000ffff;
  iret_case("iret with SS not present", UCODE, SCRATCH | 3, 2, ip, sp);
  gdt[SCRATCH / 8] = 0x00effb000000ffff; /* L and D */
  iret_case("iret to code with L and D", SCRATCH | 3, UDATA, 2, ip, sp);
  gdt[SCRATCH / 8] = 0x00cff1000000ffff; /* read-only data */
  iret_case("iret with a read-only SS", UCODE, SCRATCH | 3, 2, ip, sp);
  gdt[SCRATCH / 8] = 0x00affa000000ffff; /* not accessed */
  iret_case("iret to code not accessed yet", SCRATCH | 3, UDATA, 2, ip, sp);
  field("descriptor", gdt[SCRATCH / 8]);
  text("\n");
  prepare(iretq__begin, iretq__end, 0, 64);
  s.flags = 0x4002;
  go("iret with NT set");
  prepare(iretq__begin, iretq__end, 3, 64);
  word *frame = (word *)(STACK_TOP - 64);
  frame[0] = ip; frame[1] = UCODE; frame[2] = 0x3202; frame[3] = sp; frame[4] = UDATA;
  go("iret in ring 3 to itself, IOPL and IF asked for");
  prepare(iretq__begin, iretq__end, 3, 64);
  frame[1] = KCODE;
  frame[4] = KDATA;
  go("iret in ring 3 to ring 0");
  prepare(iretd__begin, iretd__end, 0, 64);
  u32 *frame32 = (u32 *)(STACK_TOP - 64);
  frame32[0] = (u32)ip; frame32[1] = UCODE; frame32[2] = 0x202; frame32[3] = (u32)sp; frame32[4] = UDATA;
  go("iretd in 64-bit mode");
  /* Data segments of a more privileged ring are nulled on the way out. */
  prepare(iretq__begin, iretq__end, 0, 64);
  frame[0] = ip; frame[1] = UCODE; frame[2] = 2; frame[3] = sp; frame[4] = UDATA;
  s.ds = KDATA;
  s.es = UDATA;
  enter(&s);
  show("iret to ring 3 with kernel DS", 0);
  field(" ds", s.ds);
  field("es", s.es);
  text("\n");
  for (u32 i = 0; i < 4; i++) {
    static const u16 code[4] = {KCODE, CODE1, CODE2, UCODE}, data[4] = {KDATA, DATA1, DATA2, UDATA};
    prepare(lret__begin, lret__end, 0, 64);
    frame[0] = ip; frame[1] = code[i]; frame[2] = sp; frame[3] = data[i];
    go("lret to each ring");
    prepare(lret__begin, lret__end, 3, 64);
    frame[0] = ip; frame[1] = code[i]; frame[2] = sp; frame[3] = data[i];
    go("lret from ring 3 to each ring");
  }
}

SNIPPET(load_fs, "mov %eax, %fs\n mov %fs, %ebx\n int3");

static void segments(void) {
  default_window();
  static const struct { const char *name; u64 low; } kinds[] = {
    {"data", 0x00cf93000000ffff}, {"data read-only", 0x00cf91000000ffff}, {"data expand-down", 0x00cf97000000ffff}, {"code", 0x00af9b000000ffff}, {"code execute-only", 0x00af99000000ffff}, {"code conforming", 0x00af9f000000ffff},
    {"code conforming execute-only", 0x00af9d000000ffff}, {"not present data", 0x00cf13000000ffff}, {"not present code", 0x00af1b000000ffff}, {"not accessed data", 0x00cf92000000ffff}, {"tss", 0x000089000000ffff}, {"busy tss", 0x00008b000000ffff}, {"ldt", 0x000082000000ffff}, {"call gate", 0x00008c000000ffff},
    {"interrupt gate", 0x00008e000000ffff}, {"trap gate", 0x00008f000000ffff}, {"16-bit tss", 0x000081000000ffff}, {"reserved system type 0", 0x000080000000ffff}, {"reserved system type 8", 0x000088000000ffff}, {"byte limit", 0x004f93000000ffff}, {"zero", 0},
  };
  for (u32 k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    for (u32 dpl = 0; dpl < 4; dpl += 3) {
      for (u32 ring = 0; ring < 4; ring += 3) {
        for (u32 rpl = 0; rpl < 4; rpl += 3) {
          u64 value = kinds[k].low | (kinds[k].low ? (u64)dpl << 45 : 0);
          text("segment "); text(kinds[k].name); text(" dpl "); number(dpl); text(" cpl "); number(ring); text(" rpl "); number(rpl); text(":");
          for (u32 what = 0; what < 5; what++) {
            gdt[SCRATCH / 8] = value;
            gdt[SCRATCH / 8 + 1] = 0;
            switch (what) {
              case 0: prepare(load_ds_begin, load_ds_end, ring, 64); break;
              case 1: prepare(load_ss_begin, load_ss_end, ring, 64); break;
              case 2: prepare(load_fs_begin, load_fs_end, ring, 64); break;
              case 3: prepare(lar_begin, lar_end, ring, 64); break;
              default: prepare(verify_begin, verify_end, ring, 64); break;
            }
            s.gpr[AX] = SCRATCH | rpl;
            enter(&s);
            text(" ");
            number(s.vector);
            if (s.vector != 3) { text(":"); number(s.error); }
            else { text(" "); number(s.gpr[BX]); }
            if (what == 3) { text(" "); number(s.gpr[CX]); text(" "); number(s.gpr[DX]); }
            if (what == 0 && gdt[SCRATCH / 8] != value) text(" accessed");
          }
          text("\n");
        }
      }
    }
  }
  gdt[SCRATCH / 8] = 0;
  static const u16 selectors[] = {0, 1, 3, 4, 7, 0x0c, 0x17, 0x1ff & ~7, 0x1fc, 0x200, 0x203, 0x204, 0xfff8, 0xffff};
  ldt[1] = 0x00cf93000000ffff;
  ldt[2] = 0x00cff3000000ffff;
  for (u32 i = 0; i < sizeof selectors / 2; i++) {
    for (u32 ring = 0; ring < 4; ring += 3) {
      text("selector "); number(selectors[i]); text(" cpl "); number(ring); text(":");
      for (u32 what = 0; what < 4; what++) {
        switch (what) {
          case 0: prepare(load_ds_begin, load_ds_end, ring, 64); break;
          case 1: prepare(load_ss_begin, load_ss_end, ring, 64); break;
          case 2: prepare(load_fs_begin, load_fs_end, ring, 64); break;
          default: prepare(lar_begin, lar_end, ring, 64); break;
        }
        s.gpr[AX] = selectors[i];
        enter(&s);
        text(" ");
        number(s.vector);
        if (s.vector != 3) { text(":"); number(s.error); }
        else { text(" "); number(s.gpr[BX]); }
      }
      text("\n");
    }
  }
  /* Bases of FS and GS count in 64-bit mode, those of DS do not. */
  gdt[SCRATCH / 8] = descriptor((u32)DATA_AT, 0xfffff, 0xf3, 0xc);
}

SNIPPET(through_fs, "mov %eax, %fs\n mov %fs:8, %rbx\n mov %fs, %ecx\n int3");
SNIPPET(through_gs, "mov %eax, %gs\n mov %gs:8, %rbx\n int3");
SNIPPET(through_ds, "mov %eax, %ds\n mov %ds:(%rdi), %rbx\n int3");
SNIPPET(null_fs, "mov %eax, %fs\n xor %edx, %edx\n mov %edx, %fs\n mov %fs:(%rdi), %rbx\n int3");

static void bases(void) {
  default_window();
  gdt[SCRATCH / 8] = descriptor((u32)DATA_AT, 0xfffff, 0xf3, 0xc);
  ((u64 *)DATA_AT)[1] = 0xfedcba9876543210;
  prepare(through_fs_begin, through_fs_end, 3, 64); s.gpr[AX] = SCRATCH | 3;
  go_with_registers("fs base from a descriptor");
  prepare(through_gs_begin, through_gs_end, 3, 64); s.gpr[AX] = SCRATCH | 3;
  go_with_registers("gs base from a descriptor");
  prepare(through_ds_begin, through_ds_end, 3, 64); s.gpr[AX] = SCRATCH | 3; s.gpr[DI] = DATA_AT + 8;
  go_with_registers("ds base does not count");
  prepare(null_fs_begin, null_fs_end, 3, 64); s.gpr[AX] = SCRATCH | 3; s.gpr[DI] = DATA_AT + 8;
  go_with_registers("fs nulled");
  wrmsr(0xc0000100, 0x123456789abc);
  field("fs base", rdmsr(0xc0000100));
  wrmsr(0xc0000101, 0xffff800000001000);
  field("gs base", rdmsr(0xc0000101));
  wrmsr(0xc0000102, 0x1000);
  __asm__ volatile("swapgs");
  field("swapped", rdmsr(0xc0000101));
  field("kernel", rdmsr(0xc0000102));
  text("\n");
}

SNIPPET(far_call, ".byte 0x48, 0xff, 0x1f\n int3" /* lcall m16:64 at (%rdi) */);
SNIPPET(far_jump, ".byte 0x48, 0xff, 0x2f\n int3" /* ljmp m16:64 */);

static void far_case(const char *name, int jump, u32 ring, u16 selector, u64 offset) {
  prepare(jump ? far_jump_begin : far_call_begin, jump ? far_jump_end : far_call_end, ring, 64);
  memset((void *)(CODE_AT + 0x100), 0xcc, 1);
  *(u64 *)DATA_AT = offset;
  *(u16 *)(DATA_AT + 8) = selector;
  s.gpr[DI] = DATA_AT;
  enter(&s);
  show(name, 0);
  if (s.vector == 0x103) {
    word *stack = (word *)s.gpr[SP];
    text(" pushed");
    field("ip", stack[0] - CODE_AT);
    field("cs", stack[1]);
    if (s.handler_sp < STACK_AT || s.handler_sp > STACK_TOP) { field("sp", stack[2] - STACK_AT); field("ss", stack[3]); }
    text("\n");
  }
}

static void call_gate(u32 selector, void *target, u16 code, u8 access) {
  u64 at = (u64)target;
  gdt[selector / 8] = (at & 0xffff) | (u64)code << 16 | (u64)access << 40 | (at >> 16 & 0xffff) << 48;
  gdt[selector / 8 + 1] = at >> 32;
}

static void far_transfers(void) {
  default_window();
  word there = CODE_AT + 0x100;
  for (u32 jump = 0; jump < 2; jump++) {
    text(jump ? "far jump\n" : "far call\n");
    far_case(" ring 0 to ring 0", (int)jump, 0, KCODE, there);
    far_case(" ring 3 to ring 3", (int)jump, 3, UCODE, there);
    far_case(" ring 3 to compatibility mode", (int)jump, 3, UCODE32, there);
    far_case(" ring 3 to ring 0", (int)jump, 3, KCODE, there);
    far_case(" ring 0 to ring 3", (int)jump, 0, UCODE, there);
    far_case(" ring 3 to conforming", (int)jump, 3, CONFORMING, there);
    far_case(" to data", (int)jump, 0, KDATA, there);
    far_case(" to null", (int)jump, 0, 0, there);
    far_case(" beyond the GDT", (int)jump, 0, 0x200, there);
    far_case(" to a non-canonical address", (int)jump, 0, KCODE, 0x800000000000);
    far_case(" to a TSS", (int)jump, 0, TSS, there);
    call_gate(SCRATCH, arrive_gate, KCODE, 0xec);
    far_case(" gate, DPL 3, from ring 3", (int)jump, 3, SCRATCH | 3, 0);
    far_case(" gate, DPL 3, from ring 0", (int)jump, 0, SCRATCH, 0);
    call_gate(SCRATCH, arrive_gate, KCODE, 0x8c);
    far_case(" gate, DPL 0, from ring 3", (int)jump, 3, SCRATCH | 3, 0);
    far_case(" gate, DPL 0, from ring 0, RPL 3", (int)jump, 0, SCRATCH | 3, 0);
    call_gate(SCRATCH, arrive_gate, KCODE, 0x6c);
    far_case(" gate not present", (int)jump, 3, SCRATCH | 3, 0);
    call_gate(SCRATCH, arrive_gate, KCODE32, 0xec);
    far_case(" gate to 32-bit code", (int)jump, 3, SCRATCH | 3, 0);
    call_gate(SCRATCH, arrive_gate, 0, 0xec);
    far_case(" gate to null", (int)jump, 3, SCRATCH | 3, 0);
    call_gate(SCRATCH, arrive_gate, KDATA, 0xec);
    far_case(" gate to data", (int)jump, 3, SCRATCH | 3, 0);
    gdt[SCRATCH / 8] = gdt[SCRATCH / 8 + 1] = 0;
  }
}

SNIPPET(syscall_, "syscall");
SNIPPET32(syscall32_, "syscall\n int3");
SNIPPET32(sysenter32_, "sysenter");
SNIPPET(sysretl_, "sysretl");
SNIPPET(sysexitq_, ".byte 0x48, 0x0f, 0x35");

static void fast_calls(void) {
  default_window();
  u64 efer = rdmsr(0xc0000080);
  wrmsr(0xc0000081, (u64)(UCODE32 & ~3) << 48 | (u64)KCODE << 32);
  wrmsr(0xc0000082, (u64)arrive_syscall);
  wrmsr(0xc0000083, (u64)arrive_syscall32);
  wrmsr(0xc0000084, 0x47700);
  wrmsr(0x174, KCODE);
  wrmsr(0x175, (u64)stack0 + 2048);
  wrmsr(0x176, (u64)arrive_sysenter);
  for (u32 ring = 0; ring < 4; ring += 3) {
    prepare(syscall__begin, syscall__end, ring, 64);
    s.flags = 0x40602;
    enter(&s);
    show("syscall", 0);
    field(" rcx", s.gpr[CX] - CODE_AT);
    field("r11", s.gpr[11] & 0x3f7700);
    text("\n");
    prepare(sysenter__begin, sysenter__end, ring, 64);
    s.flags = 0x602;
    go("sysenter");
  }
  prepare(sysenter32__begin, sysenter32__end, 3, 32);
  go("sysenter in compatibility mode");
  prepare(syscall32__begin, syscall32__end, 3, 32);
  go("syscall in compatibility mode");
  wrmsr(0xc0000080, efer & ~1ull);
  RUN("syscall without SCE", syscall_, 3);
  RUN("sysret without SCE", sysret_, 0);
  wrmsr(0xc0000080, efer);
  for (u32 kind = 0; kind < 4; kind++) {
    if (kind & 1) prepare(sysretl__begin, sysretl__end, 0, 64);
    else prepare(sysret__begin, sysret__end, 0, 64);
    memset((void *)(CODE_AT + 0x100), 0xcc, 1);
    s.gpr[CX] = CODE_AT + 0x100;
    s.gpr[11] = kind & 2 ? 0x3d7fd7 & ~0x100 : 2;
    go(kind & 1 ? "sysretl" : "sysretq");
  }
  prepare(sysret__begin, sysret__end, 0, 64);
  s.gpr[CX] = 0x800000000000;
  s.gpr[11] = 2;
  go("sysretq to a non-canonical address");
  prepare(sysexit__begin, sysexit__end, 0, 64);
  memset((void *)(CODE_AT + 0x100), 0xcc, 1);
  s.gpr[DX] = CODE_AT + 0x100;
  s.gpr[CX] = STACK_TOP - 256;
  go("sysexit");
  prepare(sysexitq__begin, sysexitq__end, 0, 64);
  memset((void *)(CODE_AT + 0x100), 0xcc, 1);
  s.gpr[DX] = CODE_AT + 0x100;
  s.gpr[CX] = STACK_TOP - 256;
  go("sysexit, 64-bit");
  wrmsr(0x174, 0);
  RUN("sysenter with a null SYSENTER_CS", sysenter_, 3);
  RUN("sysexit with a null SYSENTER_CS", sysexit_, 0);
}

/* --- debug ------------------------------------------------------------------------------------------------- */

SNIPPET(steps, "nop\n mov %ss, %eax\n mov %eax, %ss\n nop\n nop\n int3");
SNIPPET(set_tf, "pushfq\n orl $0x100, (%rsp)\n popfq\n nop\n nop\n int3");
SNIPPET(shadow_int3, "mov %ss, %eax\n mov %eax, %ss\n int3");
SNIPPET(watch, "mov (%rdi), %al\n mov %al, (%rdi)\n mov %al, 1(%rdi)\n nop\n int3");
SNIPPET(break_here, "nop\n nop\n nop\n int3");
SNIPPET(watch_rep, "mov $8, %ecx\n rep stosb\n nop\n int3");
SNIPPET(move_dr, "nop\n mov %dr0, %rax\n int3");
SNIPPET(rep_step, "mov $3, %ecx\n rep stosb\n int3");
SNIPPET(watch_io, "out %al, $0x80\n nop\n int3");

SNIPPET(dr4, ".byte 0x0f, 0x21, 0xe0\n int3");

static word wanted_dr7;
static void debug_case(const char *name) {
  write_dr6(0xffff0ff0);
  write_dr7(wanted_dr7 | 0x400); /* last: GD refuses everything after it */
  wanted_dr7 = 0;
  enter(&s);
  word dr6 = read_dr6(), dr7 = read_dr7();
  write_dr7(0x400);
  show(name, 0);
  field(" dr6", dr6);
  field("dr7", dr7);
  field("rf", s.flags >> 16 & 1);
  text("\n");
}

static void debug(void) {
  default_window();
  for (u32 ring = 0; ring < 4; ring += 3) {
    for (u32 i = 0; i < 6; i++) {
      prepare(steps_begin, steps_end, ring, 64);
      static const u8 at[] = {0, 1, 3, 5, 6, 7};
      s.ip += at[i];
      s.gpr[AX] = s.ss;
      s.flags = 0x102;
      debug_case("single step");
    }
    prepare(set_tf_begin, set_tf_end, ring, 64);
    debug_case("popf sets TF");
    prepare(divide_begin, divide_end, ring, 64);
    s.ip += 2;
    s.flags = 0x102;
    debug_case("single step over a fault");
    prepare(int3__begin, int3__end, ring, 64);
    s.flags = 0x102;
    debug_case("single step over int3");
    prepare(int80_begin, int80_end, ring, 64);
    s.flags = 0x102;
    debug_case("single step over int 80");
    prepare(rep_step_begin, rep_step_end, ring, 64);
    s.ip += 5;
    s.gpr[CX] = 3;
    s.gpr[DI] = DATA_AT;
    s.flags = 0x102;
    debug_case("single step of rep stosb");
    field("rcx", s.gpr[CX]);
    text("\n");
    prepare(icebp_begin, icebp_end, ring, 64);
    debug_case("icebp");
    /* execution */
    write_dr0(CODE_AT + 1);
    prepare(break_here_begin, break_here_end, ring, 64);
    wanted_dr7 = 0x402;
    debug_case("execution breakpoint");
    prepare(break_here_begin, break_here_end, ring, 64);
    s.ip += 1;
    s.flags = 0x10002;
    wanted_dr7 = 0x402;
    debug_case("execution breakpoint with RF");
    prepare(break_here_begin, break_here_end, ring, 64);
    wanted_dr7 = 0x400;
    debug_case("execution breakpoint not enabled");
    /* data */
    write_dr1(DATA_AT);
    prepare(watch_begin, watch_end, ring, 64);
    s.gpr[DI] = DATA_AT;
    wanted_dr7 = 0x408 | 1u << 20;
    debug_case("write watchpoint, 1 byte");
    prepare(watch_begin, watch_end, ring, 64);
    s.gpr[DI] = DATA_AT;
    wanted_dr7 = 0x408 | 3u << 20;
    debug_case("read/write watchpoint, 1 byte");
    prepare(watch_begin, watch_end, ring, 64);
    s.ip += 4;
    s.gpr[DI] = DATA_AT;
    wanted_dr7 = 0x408 | 1u << 20;
    debug_case("write beside the watchpoint");
    prepare(watch_begin, watch_end, ring, 64);
    s.ip += 4;
    s.gpr[DI] = DATA_AT + 2;
    wanted_dr7 = 0x408 | 1u << 20 | 3u << 22;
    debug_case("write inside a 4-byte watchpoint");
    prepare(watch_rep_begin, watch_rep_end, ring, 64);
    s.gpr[DI] = DATA_AT - 3;
    wanted_dr7 = 0x408 | 1u << 20;
    debug_case("rep stosb over a watchpoint");
    field("rcx", s.gpr[CX]);
    text("\n");
  }
  prepare(move_dr_begin, move_dr_end, 0, 64);
  wanted_dr7 = 0x2400;
  debug_case("general detect");
  prepare(shadow_int3_begin, shadow_int3_end, 0, 64);
  s.flags = 0x102;
  s.gpr[AX] = KDATA;
  s.ip += 2;
  debug_case("single step into int3 after mov ss");
  for (u32 i = 0; i < 2; i++) {
    word cr4 = read_cr4();
    write_cr4(i ? cr4 | 8 : cr4 & ~8ul);
    prepare(dr4_begin, dr4_end, 0, 64);
    debug_case(i ? "mov dr4 with CR4.DE" : "mov dr4 without CR4.DE");
    write_cr4(cr4);
  }
}

/* --- control registers ------------------------------------------------------------------------------------- */

SNIPPET(to_cr0, "mov %rax, %cr0\n mov %cr0, %rbx\n int3");
SNIPPET(to_cr3, "mov %rax, %cr3\n mov %cr3, %rbx\n int3");
SNIPPET(to_cr4, "mov %rax, %cr4\n mov %cr4, %rbx\n int3");
SNIPPET(to_cr8, "mov %rax, %cr8\n mov %cr8, %rbx\n int3");
SNIPPET(to_cr1, ".byte 0x0f, 0x22, 0xc8\n int3");
SNIPPET(to_msr, "wrmsr\n rdmsr\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %rbx\n xor %edx, %edx\n int3");
SNIPPET(from_msr, "rdmsr\n int3");
SNIPPET(smsw, "smsw %eax\n int3");
SNIPPET(lmsw_case, "lmsw %ax\n mov %cr0, %rbx\n int3");

static void control(void) {
  default_window();
  word cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
  static const struct { const char *name; word set, clear; } cr0_cases[] = {
    {"cr0 as it is", 0, 0}, {"cr0 NW without CD", 1ul << 29, 1ul << 30}, {"cr0 CD", 1ul << 30, 0}, {"cr0 bit 32", 1ul << 32, 0}, {"cr0 reserved bit 28", 1ul << 28, 0}, {"cr0 clear ET", 0, 0x10}, {"cr0 TS", 8, 0},
  };
  for (u32 i = 0; i < sizeof cr0_cases / sizeof *cr0_cases; i++) {
    prepare(to_cr0_begin, to_cr0_end, 0, 64);
    s.gpr[AX] = (cr0 | cr0_cases[i].set) & ~cr0_cases[i].clear;
    enter(&s);
    write_cr0(cr0);
    show(cr0_cases[i].name, 0);
    field(" cr0", s.gpr[BX]);
    text("\n");
  }
  static const struct { const char *name; word set, clear; } cr4_cases[] = {
    {"cr4 as it is", 0, 0}, {"cr4 PGE", 0x80, 0}, {"cr4 TSD DE", 0xc, 0},
  };
  for (u32 i = 0; i < sizeof cr4_cases / sizeof *cr4_cases; i++) {
    prepare(to_cr4_begin, to_cr4_end, 0, 64);
    s.gpr[AX] = (cr4 | cr4_cases[i].set) & ~cr4_cases[i].clear;
    enter(&s);
    write_cr4(cr4);
    show(cr4_cases[i].name, 0);
    field(" cr4", s.gpr[BX]);
    text("\n");
  }
  prepare(to_cr3_begin, to_cr3_end, 0, 64);
  s.gpr[AX] = cr3 | 0x18;
  enter(&s);
  write_cr3(cr3);
  show("cr3 PCD PWT", 0);
  field(" cr3", s.gpr[BX] - cr3);
  text("\n");
  for (u32 i = 0; i < 3; i++) {
    static const word value[] = {5, 0x10, 0x100};
    prepare(to_cr8_begin, to_cr8_end, 0, 64);
    s.gpr[AX] = value[i];
    go_with_registers("cr8");
    __asm__ volatile("mov %0, %%cr8" : : "r"(0ul));
  }
  RUN("cr1", to_cr1, 0);
  static const struct { const char *name; u32 index; u64 value; } msrs[] = {
    {"efer reserved bit 1", 0xc0000080, 0xd03}, {"efer LME cleared with paging", 0xc0000080, 0x801}, {"efer as it is", 0xc0000080, 0xd01}, {"fs base non-canonical", 0xc0000100, 0x800000000000}, {"gs base non-canonical", 0xc0000101, 0x800000000000}, {"lstar non-canonical", 0xc0000082, 0x800000000000},
    {"sysenter eip non-canonical", 0x176, 0x800000000000}, {"sysenter esp", 0x175, 0x1234}, {"fmask", 0xc0000084, 0x47700}, {"no such msr", 0x12345678, 0}, {"pat bad type", 0x277, 2}, {"pat", 0x277, 0x0007040600070406}, {"star", 0xc0000081, 0x0018000800000000}, {"kernel gs base", 0xc0000102, 0xffff888000000000},
  };
  for (u32 i = 0; i < sizeof msrs / sizeof *msrs; i++) {
    prepare(to_msr_begin, to_msr_end, 0, 64);
    s.gpr[CX] = msrs[i].index;
    s.gpr[AX] = (u32)msrs[i].value;
    s.gpr[DX] = msrs[i].value >> 32;
    text("wrmsr ");
    go_with_registers(msrs[i].name);
  }
  prepare(from_msr_begin, from_msr_end, 0, 64);
  s.gpr[CX] = 0x12345678;
  go("rdmsr of no such msr");
  for (u32 i = 0; i < 4; i++) {
    prepare(lmsw_case_begin, lmsw_case_end, 0, 64);
    s.gpr[AX] = i == 0 ? 0 : i == 1 ? 0xffff : i == 2 ? 8 : 2;
    enter(&s);
    write_cr0(cr0);
    show("lmsw", 0);
    field(" cr0", s.gpr[BX]);
    text("\n");
  }
  RUN("smsw", smsw, 3);
}

/* --- compatibility mode ------------------------------------------------------------------------------------ */

SNIPPET32(c_push, "push %eax\n pop %ebx\n int3");
SNIPPET32(c_wrap, "mov $-4, %edi\n mov 0x40030004(%edi), %eax\n int3");
SNIPPET32(c_inc, "mov $0x7fffffff, %eax\n inc %eax\n .byte 0x48\n int3");
SNIPPET32(c_into, "mov $0x7fffffff, %eax\n inc %eax\n into\n int3");
SNIPPET32(c_bound, "movl $1, (%edi)\n movl $5, 4(%edi)\n mov $6, %eax\n bound %eax, (%edi)\n int3");
SNIPPET32(c_daa, "mov $0x9a, %al\n daa\n int3");
SNIPPET32(c_aam, "mov $0, %al\n aam $0\n int3");
SNIPPET32(c_les, "les (%edi), %eax\n mov %es, %ebx\n int3");
SNIPPET32(c_far, "ljmp $0x2b, $0x40010040");
SNIPPET32(c_arpl, "mov $0x10, %eax\n mov $0x13, %ecx\n arpl %cx, %ax\n setz %bl\n int3");
SNIPPET32(c_limit, "mov %eax, %ds\n mov (%edi), %ebx\n int3");
SNIPPET32(c_stack_limit, "mov %eax, %ss\n mov (%esp), %ebx\n int3");
SNIPPET32(c_write, "mov %eax, %ds\n mov %ebx, (%edi)\n int3");
SNIPPET32(c_null, "mov %eax, %ds\n mov (%edi), %bl\n int3");
SNIPPET32(c_exec_read, "mov %cs:(%edi), %ebx\n int3");
SNIPPET32(c_exec_write, "mov %ebx, %cs:(%edi)\n int3");
SNIPPET32(c_addr16, "mov $0x10, %ebx\n addr16 mov (%bx,%si), %al\n int3");

#define RUN32(name_, snippet) do { prepare(snippet##_begin, snippet##_end, 3, 32); s.gpr[DI] = DATA_AT; s.gpr[AX] = SCRATCH | 3; go_with_registers(name_); } while (0)

static void compatibility(void) {
  default_window();
  *(u64 *)DATA_AT = 0x1122334455667788;
  RUN32("push and pop", c_push);
  RUN32("address wraps at 4 GiB", c_wrap);
  RUN32("one-byte inc and dec", c_inc);
  RUN32("into", c_into);
  RUN32("bound", c_bound);
  RUN32("daa", c_daa);
  RUN32("aam 0", c_aam);
  RUN32("arpl", c_arpl);
  *(u64 *)DATA_AT = 0x0000002300001234;
  RUN32("les", c_les);
  prepare(c_far_begin, c_far_end, 3, 32);
  memset((void *)(CODE_AT + 0x40), 0xcc, 1);
  go("far jump to 64-bit code");
  static const struct { const char *name; u32 base, limit; u8 access, flags; u32 offset; } limits[] = {
    {"inside a byte limit", 0, 0xfff, 0xf3, 4, 0xffc}, {"across a byte limit", 0, 0xfff, 0xf3, 4, 0xffd}, {"past a byte limit", 0, 0xfff, 0xf3, 4, 0x1000}, {"expand-down, below", 0, 0xfff, 0xf7, 4, 0xffc}, {"expand-down, across", 0, 0xfff, 0xf7, 4, 0xffd}, {"expand-down, above", 0, 0xfff, 0xf7, 4, 0x1000},
    {"16-bit expand-down, at the top", 0, 0xfff, 0xf7, 0, 0xfffd}, {"page limit", 0, 0, 0xf3, 0xc, 0xffc}, {"past a page limit", 0, 0, 0xf3, 0xc, 0x1000}, {"read-only", 0, 0xfffff, 0xf1, 0xc, 0},
  };
  for (u32 i = 0; i < sizeof limits / sizeof *limits; i++) {
    gdt[SCRATCH / 8] = descriptor((u32)DATA_AT + limits[i].base, limits[i].limit, limits[i].access, limits[i].flags);
    memset((void *)DATA_AT, 0x5a, 0x1000);
    for (u32 k = 0; k < 0x10; k++) map(DATA_AT + 0x1000 + k * 0x1000, P | RW | US);
    prepare(c_limit_begin, c_limit_end, 3, 32);
    s.gpr[AX] = SCRATCH | 3;
    s.gpr[DI] = limits[i].offset;
    text("limit read: ");
    go(limits[i].name);
    prepare(c_write_begin, c_write_end, 3, 32);
    s.gpr[AX] = SCRATCH | 3;
    s.gpr[DI] = limits[i].offset;
    text("limit write: ");
    go(limits[i].name);
  }
  prepare(c_null_begin, c_null_end, 3, 32);
  s.gpr[DI] = DATA_AT;
  go("read through a null segment");
  prepare(c_exec_read_begin, c_exec_read_end, 3, 32);
  s.gpr[DI] = CODE_AT;
  go("read through cs");
  prepare(c_exec_write_begin, c_exec_write_end, 3, 32);
  s.gpr[DI] = CODE_AT;
  go("write through cs");
  gdt[SCRATCH / 8] = descriptor((u32)STACK_AT, 0x7ff, 0xf3, 4);
  prepare(c_stack_limit_begin, c_stack_limit_end, 3, 32);
  s.gpr[AX] = SCRATCH | 3;
  s.gpr[SP] = 0x800;
  go("stack past its limit");
  gdt[SCRATCH / 8] = descriptor((u32)CODE_AT, 0x3, 0xfb, 4);
  prepare(c_push_begin, c_push_end, 3, 32);
  memset((void *)CODE_AT, 0x90, 16);
  s.cs = SCRATCH | 3;
  s.ip = 0;
  go("code past its limit");
  gdt[SCRATCH / 8] = descriptor(0, 0xfffff, 0xf9, 0xc);
  prepare(c_exec_read_begin, c_exec_read_end, 3, 32);
  s.cs = SCRATCH | 3;
  s.gpr[DI] = CODE_AT;
  go("read through execute-only cs");
  gdt[SCRATCH / 8] = 0;
}

void begin(void) {
  mask_interrupts();
  tables();
  default_window();
#if defined(TRIPLE)
  text("triple fault next\n");
  load_idt(0); /* no gate for the fault, none for what follows */
  __asm__ volatile("ud2");
#else
  permissions();
  combined();
  reserved_bits();
  crossing();
  nulled_segments();
  translations();
  self_modifying();
  exceptions();
  delivery();
  iret_forms();
  segments();
  bases();
  far_transfers();
  fast_calls();
  debug();
  control();
  compatibility();
#endif
  finish();
}
