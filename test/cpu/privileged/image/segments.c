/*
 * Random instructions in ring 3 on 16-bit and 32-bit code and stack segments with bases. Cases come from segment-cases.ts, appended by
 * the assembler; a case's line says where it ended and what it left.
 */
#include "common.h"

#define CODE_AT 0x200000
#define DATA_AT 0x300000 /* stack, DS and ES, 64 KiB and a page each */
#define DATA_SIZE (3 * 0x11000)

enum { CODE = 0x83, STACK = 0x8b, DATA = 0x93, EXTRA = 0x9b };

struct segment { u32 base, big; };
struct one {
  struct segment code, stack, data, extra;
  u32 gpr[8], flags, offset, length;
  u8 bytes[64];
};
extern struct one cases[], cases_end[];
__asm__(".pushsection .rodata\n.balign 4\ncases: .incbin \"segment-cases.bin\"\ncases_end:\n.popsection");

static u64 idt[256] __attribute__((aligned(16)));
static u32 tss[26] __attribute__((aligned(128)));
static u8 stack0[4096] __attribute__((aligned(16)));
static struct state s;

static void load_table(int interrupts, u16 limit, const void *base) {
  struct { u16 limit; u32 base; } __attribute__((packed)) r = {limit, (u32)base};
  if (interrupts) __asm__ volatile("lidt %0" : : "m"(r));
  else __asm__ volatile("lgdt %0" : : "m"(r));
}

/* Limits are 4 GiB: QEMU's emulation looks at none. */
static void segment(u32 selector, struct segment one, u8 access) {
  gdt[selector / 8] = descriptor(one.base, 0xfffff, access, one.big ? 0xc : 0x8);
}

static void tables(void) {
  gdt[KCODE / 8] = 0x00cf9b000000ffff;
  gdt[KDATA / 8] = 0x00cf93000000ffff;
  gdt[TSS / 8] = descriptor((u32)tss, sizeof tss - 1, 0x89, 0);
  tss[1] = (u32)stack0 + sizeof stack0;
  tss[2] = KDATA;
  tss[25] = sizeof tss << 16;
  for (u32 i = 0; i < 256; i++) {
    u32 at = (u32)(stubs + 16 * i);
    idt[i] = (at & 0xffff) | (u64)KCODE << 16 | (u64)(i == 3 || i == 4 ? 0xee : 0x8e) << 40 | (u64)(at >> 16) << 48;
  }
  load_table(0, sizeof gdt - 1, gdt);
  load_table(1, sizeof idt - 1, idt);
  __asm__ volatile("ltr %w0" : : "r"(TSS));
}

/* What memory holds before a case, and a hash of what it changed; puts it back. */
static u32 pattern(volatile u32 *at) { return (u32)at * 0x9e3779b1; }
static void fill(void) {
  for (volatile u32 *p = (u32 *)DATA_AT; p < (u32 *)(DATA_AT + DATA_SIZE); p++) *p = pattern(p);
}
static u32 changes(void) {
  u32 hash = 0x811c9dc5;
  for (volatile u32 *p = (u32 *)DATA_AT; p < (u32 *)(DATA_AT + DATA_SIZE); p++) {
    if (*p == pattern(p)) continue;
    hash = ((hash ^ *p) * 0x01000193 ^ (u32)p) * 0x01000193;
    *p = pattern(p);
  }
  return hash;
}

void begin(void) {
  mask_interrupts();
  tables();
  fill();
  memset((void *)CODE_AT, 0xcc, 0x11000);
  for (struct one *c = cases; c < cases_end; c++) {
    segment(CODE, c->code, 0xfb);
    segment(STACK, c->stack, 0xf3);
    segment(DATA, c->data, 0xf3);
    segment(EXTRA, c->extra, 0xf3);
    memcpy((void *)(c->code.base + c->offset), c->bytes, c->length);
    for (u32 i = 0; i < 8; i++) s.gpr[i] = c->gpr[i];
    s.ip = c->offset;
    s.flags = c->flags;
    s.cs = CODE;
    s.ss = STACK;
    s.ds = DATA;
    s.es = EXTRA;
    enter(&s);
    text("case");
    field("n", (u32)(c - cases));
    field("vector", s.vector);
    field("error", s.error);
    field("ip", s.ip);
    field("cs", s.cs);
    field("ss", s.ss);
    field("ds", s.ds);
    field("es", s.es);
    field("flags", s.flags & ~0x10010u); /* AF is left open by logic instructions; RF */
    for (u32 i = 0; i < 8; i++) field("r", s.gpr[i]);
    field("memory", changes());
    text("\n");
    memset((void *)(c->code.base + c->offset), 0xcc, c->length);
  }
  finish();
}
