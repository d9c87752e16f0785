/* What the two images share: state, tables, output. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long word; /* a register of the image's mode */

#ifdef LONG_MODE
#define REGISTERS 16
#else
#define REGISTERS 8
#endif

/* enter.S knows these offsets. */
struct state {
  word gpr[REGISTERS]; /* ax cx dx bx sp bp si di … */
  word ip, flags, cs, ss, ds, es, fs, gs;
  word vector, error, handler_sp;
};
enum { AX, CX, DX, BX, SP, BP, SI, DI };

void enter(struct state *);
extern u8 stubs[];
extern u8 enter_iret[];
extern struct state *current;

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline word read_cr0(void) { word v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static inline void write_cr0(word v) { __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
static inline word read_cr2(void) { word v; __asm__ volatile("mov %%cr2, %0" : "=r"(v)); return v; }
static inline void write_cr2(word v) { __asm__ volatile("mov %0, %%cr2" : : "r"(v)); }
static inline word read_cr3(void) { word v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
static inline void write_cr3(word v) { __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
static inline word read_cr4(void) { word v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
static inline void write_cr4(word v) { __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }
static inline word read_dr6(void) { word v; __asm__ volatile("mov %%dr6, %0" : "=r"(v)); return v; }
static inline void write_dr6(word v) { __asm__ volatile("mov %0, %%dr6" : : "r"(v)); }
static inline word read_dr7(void) { word v; __asm__ volatile("mov %%dr7, %0" : "=r"(v)); return v; }
static inline void write_dr7(word v) { __asm__ volatile("mov %0, %%dr7" : : "r"(v)); }
static inline void write_dr0(word v) { __asm__ volatile("mov %0, %%dr0" : : "r"(v)); }
static inline void write_dr1(word v) { __asm__ volatile("mov %0, %%dr1" : : "r"(v)); }
static inline void invlpg(word address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }
static inline u64 rdmsr(u32 index) { u32 low, high; __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index)); return (u64)high << 32 | low; }
static inline void wrmsr(u32 index, u64 value) { __asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32))); }

void *memset(void *to, int value, word n) {
  volatile u8 *p = to;
  while (n--) *p++ = (u8)value;
  return to;
}
void *memcpy(void *to, const void *from, word n) {
  volatile u8 *p = to;
  const u8 *q = from;
  while (n--) *p++ = *q++;
  return to;
}

/* Nothing from outside: tests set IF. */
static void mask_interrupts(void) {
  out8(0x21, 0xff);
  out8(0xa1, 0xff);
}

static void text(const char *s) { while (*s) out8(0xe9, (u8)*s++); }
static void number(u64 value) {
  char digits[17];
  u32 n = 0;
  do digits[n++] = "0123456789abcdef"[value & 15]; while (value >>= 4);
  while (n) out8(0xe9, (u8)digits[--n]);
}
static void field(const char *name, u64 value) {
  text(" ");
  text(name);
  text("=");
  number(value);
}
static void finish(void) {
  text("end\n");
  out8(0xf4, 0);
  for (;;) __asm__ volatile("hlt");
}

/* Code of a test, assembled where it stands and copied to where it runs. */
#ifdef LONG_MODE
#define CODE_BITS ".code64\n"
#else
#define CODE_BITS ".code32\n"
#endif
#define SNIPPET(name, code) \
  extern u8 name##_begin[], name##_end[]; \
  __asm__(".pushsection .text.snippets\n" CODE_BITS #name "_begin: " code "\n" #name "_end:\n" CODE_BITS ".popsection")
#define SNIPPET32(name, code) SNIPPET(name, ".code32\n" code)

static u64 gdt[64] __attribute__((aligned(16)));
enum {
  KCODE = 0x08, KDATA = 0x10, UCODE32 = 0x1b, UDATA = 0x23, UCODE = 0x2b, KCODE32 = 0x30, CODE1 = 0x39, DATA1 = 0x41, CODE2 = 0x4a, DATA2 = 0x52,
  CONFORMING = 0x58, TSS = 0x60, LDT = 0x70, SCRATCH = 0x80 /* to 0x1ff: up to the test */
};
/* A descriptor from base, limit (20 bits), access byte and flags nibble. */
static u64 descriptor(u32 base, u32 limit, u8 access, u8 flags) {
  return (u64)(limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 | (u64)(limit >> 16 & 15) << 48 | (u64)(flags & 15) << 52 | (u64)(base >> 24) << 56;
}
