/*
 * Runs user-level code snippets on the processor of this machine and reports the state each one leaves.
 *
 * Freestanding (no libc), so that FS, GS, DF, AC and the floating-point state belong to the snippet alone. One
 * signal handler is the whole program: it records the interrupted snippet from its signal frame, writes the next
 * snippet's state into the same frame, and returns into it with rt_sigreturn. The formats of requests and results
 * are those of ../lockstep/native.ts.
 *
 *   gcc -O1 -static-pie -fPIE -nostdlib -ffreestanding -fno-stack-protector -mgeneral-regs-only runner.c
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define CODE 0x10000000ul
#define CODE_SIZE 0x2000ul
#define CODE_ALIAS 0x700010000000ul /* where no address of a snippet leads by chance */
#define DATA 0x20000000ul
#define DATA_SIZE 0x3000ul
#define WRITABLE 0x2000ul
#define MAX_CASES 512
#define TIMEOUT_VECTOR 0xffffu
#define SIGVTALRM 26

struct request {
  u32 mode; /* 64 or 32 */
  u32 code_offset, code_length, reserved;
  u64 gpr[16]; /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15 */
  u64 rflags, fs_base, gs_base;
  u64 reserved2;
  u8 fx[512];
  u8 code[128];
};

struct result {
  u32 vector, error_code;
  u64 cr2, rip, rflags;
  u64 gpr[16];
  u64 fs_base, gs_base;
  u16 selector[6]; /* es cs ss ds fs gs */
  u32 changes;     /* then this many of (offset << 8 | byte), u32 */
  u8 fx[512];
};

/* The kernel's signal frame (arch/x86/include/uapi/asm/sigcontext.h, ucontext.h). */
struct context {
  u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
  u16 cs, gs, fs, ss;
  u64 err, trapno, oldmask, cr2;
  u8 *fpstate;
  u64 reserved[8];
};
struct ucontext {
  u64 flags, link, stack_sp;
  u32 stack_flags, pad;
  u64 stack_size;
  struct context mc;
};

static struct request requests[MAX_CASES];
static u8 template[DATA_SIZE];
static u8 alternate_stack[65536] __attribute__((aligned(64)));
static u8 output[MAX_CASES * 4096];
static u64 output_length;
static u32 batch_count, batch_next, running, ticks_case = ~0u, sequence;

static long call6(long n, long a, long b, long c, long d, long e, long f) {
  long r;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return r;
}
static long call3(long n, long a, long b, long c) { return call6(n, a, b, c, 0, 0, 0); }
static void leave(int status) { call3(231, status, 0, 0); }

static void copy(void *to, const void *from, u64 n) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}
void *memcpy(void *to, const void *from, u64 n) { copy(to, from, n); return to; }
void *memset(void *to, int value, u64 n) {
  void *p = to;
  __asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(value) : "memory");
  return to;
}

static int take(void *to, u64 n) {
  u8 *p = to;
  while (n) {
    long got = call3(0, 0, (long)p, (long)n);
    if (got == -4) continue;
    if (got <= 0) return 0;
    p += got;
    n -= (u64)got;
  }
  return 1;
}
static void flush(void) {
  u8 *p = output;
  while (output_length) {
    long put = call3(1, 1, (long)p, (long)output_length);
    if (put == -4) continue;
    if (put <= 0) leave(3);
    p += put;
    output_length -= (u64)put;
  }
}

static void record(const struct context *c, u32 vector) {
  struct result *r = (struct result *)(output + output_length);
  r->vector = vector;
  r->error_code = (u32)c->err;
  r->cr2 = c->cr2;
  r->rip = c->rip;
  r->rflags = c->rflags;
  const u64 gpr[16] = {c->rax, c->rcx, c->rdx, c->rbx, c->rsp, c->rbp, c->rsi, c->rdi, c->r8, c->r9, c->r10, c->r11, c->r12, c->r13, c->r14, c->r15};
  copy(r->gpr, gpr, sizeof gpr);
  call3(158, 0x1003, (long)&r->fs_base, 0); /* arch_prctl ARCH_GET_FS */
  call3(158, 0x1004, (long)&r->gs_base, 0);
  u16 es, ds;
  __asm__ volatile("mov %%es, %0; mov %%ds, %1" : "=r"(es), "=r"(ds));
  r->selector[0] = es;
  r->selector[1] = c->cs;
  r->selector[2] = c->ss;
  r->selector[3] = ds;
  r->selector[4] = c->fs;
  r->selector[5] = c->gs;
  copy(r->fx, c->fpstate, 512);
  output_length += sizeof *r;
  u32 *change = (u32 *)(output + output_length);
  const u64 *now = (const u64 *)DATA, *before = (const u64 *)template;
  r->changes = 0;
  for (u32 i = 0; i < WRITABLE / 8; i++) {
    if (now[i] == before[i]) continue;
    for (u32 k = i * 8; k < i * 8 + 8; k++) {
      u8 byte = ((const volatile u8 *)DATA)[k];
      if (byte != template[k]) {
        *change++ = k << 8 | byte;
        r->changes++;
      }
    }
  }
  output_length += r->changes * 4ul;
  if (output_length > sizeof output - 40960) flush();
}

static void start(struct ucontext *u) {
  if (batch_next == batch_count) {
    flush();
    if (!take(&batch_count, 4)) leave(0);
    if (batch_count == 0 || batch_count > MAX_CASES) leave(4);
    if (!take(template, DATA_SIZE) || !take(requests, batch_count * sizeof(struct request))) leave(5);
    batch_next = 0;
    /* The third page is read-only for the snippets. */
    call3(10, DATA + WRITABLE, 0x1000, 3);
    copy((void *)(DATA + WRITABLE), template + WRITABLE, 0x1000);
    call3(10, DATA + WRITABLE, 0x1000, 1);
  }
  const struct request *q = &requests[batch_next++];
  sequence++;
  copy((void *)DATA, template, WRITABLE);
  /* The snippet sees this memory read-only and executable; it is written through a second mapping of it. */
  u8 *alias = (u8 *)(CODE_ALIAS);
  memset(alias, 0xcc, CODE_SIZE);
  copy(alias + q->code_offset, q->code, q->code_length);
  struct context *c = &u->mc;
  c->rax = q->gpr[0]; c->rcx = q->gpr[1]; c->rdx = q->gpr[2]; c->rbx = q->gpr[3];
  c->rsp = q->gpr[4]; c->rbp = q->gpr[5]; c->rsi = q->gpr[6]; c->rdi = q->gpr[7];
  c->r8 = q->gpr[8]; c->r9 = q->gpr[9]; c->r10 = q->gpr[10]; c->r11 = q->gpr[11];
  c->r12 = q->gpr[12]; c->r13 = q->gpr[13]; c->r14 = q->gpr[14]; c->r15 = q->gpr[15];
  c->rip = CODE + q->code_offset;
  c->rflags = q->rflags;
  c->cs = q->mode == 32 ? 0x23 : 0x33;
  c->ss = 0x2b;
  c->err = c->cr2 = 0;
  u16 data = q->mode == 32 ? 0x2b : 0;
  __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %1, %%fs; mov %1, %%gs" : : "r"((u32)data), "r"(0));
  call3(158, 0x1002, (long)q->fs_base, 0); /* arch_prctl ARCH_SET_FS */
  call3(158, 0x1001, (long)q->gs_base, 0);
  copy(c->fpstate, q->fx, 416); /* bytes from 464 on belong to the kernel's frame */
  if (*(u32 *)(c->fpstate + 464) == 0x46505853u) *(u64 *)(c->fpstate + 512) |= 3; /* x87 and SSE are not in init state */
  running = 1;
}

void handle(int signal, void *info, struct ucontext *u) {
  (void)info;
  if (signal == SIGVTALRM) {
    if (!running || ticks_case != sequence) {
      ticks_case = sequence;
      return;
    }
    record(&u->mc, TIMEOUT_VECTOR);
  } else if (running) {
    record(&u->mc, (u32)u->mc.trapno);
  }
  start(u);
}

/* A snippet may leave AC set (the handler's own accesses would fault), or NT or ID (the next snippet would inherit them). */
__asm__(".globl enter\nenter: pushfq\n andl $0xffdbbfff, (%rsp)\n popfq\n jmp handle\n"
        ".globl restore\nrestore: mov $15, %eax\n syscall\n"
        ".globl _start\n_start: and $-16, %rsp\n call begin\n");
void enter(void);
void restore(void);

static void *map(u64 at, u64 size, long protection, long flags, long fd) {
  long r = call6(9, (long)at, (long)size, protection, flags, fd, 0);
  if (r != (long)at) leave(6);
  return (void *)r;
}

void begin(void) {
  long fd = call3(319, (long)"code", 0, 0); /* memfd_create */
  if (fd < 0 || call3(77, fd, CODE_SIZE, 0) < 0) leave(7);
  map(CODE, CODE_SIZE, 5, 0x11, fd);
  map(CODE_ALIAS, CODE_SIZE, 3, 0x11, fd);
  map(DATA, DATA_SIZE, 3, 0x32, -1);
  struct { void *sp; int flags; u64 size; } stack = {alternate_stack, 0, sizeof alternate_stack};
  call3(131, (long)&stack, 0, 0);
  static const u8 signals[] = {4, 5, 7, 8, 11, SIGVTALRM};
  struct { void (*handler)(void); u64 flags; void (*restorer)(void); u64 mask; } action = {enter, 0x0c000004, restore, ~0ul};
  for (u32 i = 0; i < sizeof signals; i++) call6(13, signals[i], (long)&action, 0, 8, 0, 0);
  struct { long interval_s, interval_us, s, us; } timer = {0, 100000, 0, 100000};
  call3(38, 1, (long)&timer, 0); /* setitimer ITIMER_VIRTUAL: the process's own time, which other work on the machine does not change */
  __asm__ volatile("int3");
}
