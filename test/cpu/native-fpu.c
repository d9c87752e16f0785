// Runs single x87, MMX and SSE instructions on the processor it is compiled for.
// Reads records from standard input, writes them back with the state after the instruction. Layout: native-fpu.ts.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct record {
  uint8_t fpu[512];
  uint8_t code[16];
  uint8_t memory[128];
  uint64_t rax, rflags;
  uint32_t signal, length;
  uint8_t pad[8];
} __attribute__((aligned(16)));

_Static_assert(sizeof(struct record) == 688, "record layout");

static struct record now;
static uint8_t *code;
static sigjmp_buf back;

static void on_signal(int number, siginfo_t *info, void *raw) {
  ucontext_t *context = raw;
  (void)info;
  memcpy(now.fpu, context->uc_mcontext.fpregs, 512);
  now.rax = context->uc_mcontext.gregs[REG_RAX];
  now.rflags = context->uc_mcontext.gregs[REG_EFL];
  now.signal = number;
  siglongjmp(back, 1);
}

void run_one(struct record *record, uint8_t *code);
__asm__(
    ".text\n.globl run_one\nrun_one:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\n"
    "mov %rdi,%r12\nmov %rsi,%r13\n"
    "fxrstor64 (%r12)\n"
    "lea 528(%r12),%rbx\nmov %rbx,%rdi\n"
    "pushq 664(%r12)\npopfq\n"
    "mov 656(%r12),%rax\n"
    "call *%r13\n"
    "pushfq\npopq 664(%r12)\n"
    "mov %rax,656(%r12)\n"
    "fxsave64 (%r12)\n"
    "cld\n"
    "pop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");

int main(void) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGFPE, &action, 0);
  sigaction(SIGSEGV, &action, 0);
  sigaction(SIGILL, &action, 0);
  sigaction(SIGBUS, &action, 0);
  code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) return 1;
  uint32_t mxcsr = 0x1f80;
  while (fread(&now, sizeof now, 1, stdin) == 1) {
    memset(code, 0xcc, 32);
    memcpy(code, now.code, now.length);
    code[now.length] = 0xc3;
    __builtin___clear_cache((char *)code, (char *)code + 32);
    now.signal = 0;
    if (!sigsetjmp(back, 0)) run_one(&now, code);
    __asm__ volatile("fninit\nldmxcsr %0" ::"m"(mxcsr));
    if (fwrite(&now, sizeof now, 1, stdout) != 1) return 1;
  }
  return 0;
}
