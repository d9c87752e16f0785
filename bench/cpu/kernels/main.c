/*
 * Runs every kernel once: a short warm-up, then "S<number>", the kernel, "E<number> <checksum>", each on a line of
 * its own; the reader takes the times. Output: the port PORT
 * (0xe9, or the first serial port) on bare machines, standard output under an operating system.
 */
#include "kernels.h"

#ifdef HOSTED
static long system_call(long n, long a, long b, long c) {
  long r;
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return r;
}
static void print(const char *s, u32 n) { system_call(1, 1, (long)s, n); }
static void finish(void) { system_call(60, 0, 0, 0); }
#else
static void out(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static void print(const char *s, u32 n) { while (n--) out(PORT, (u8)*s++); }
static void finish(void) {
  out(0xf4, 0); /* isa-debug-exit */
  for (;;) __asm__ volatile("cli; hlt");
}
#endif

/* gcc may turn loops into calls of these. */
void *memset(void *to, int value, unsigned long n) {
  u8 *p = to;
  while (n--) *p++ = (u8)value;
  return to;
}
void *memcpy(void *to, const void *from, unsigned long n) {
  u8 *p = to;
  const u8 *q = from;
  while (n--) *p++ = *q++;
  return to;
}

void start(void) {
  for (u32 i = 0; i < KERNELS; i++) {
    char line[16] = {0};
    kernels[i].run(kernels[i].rounds / 16 + 1);
    line[0] = 'S';
    line[1] = (char)('0' + i);
    line[2] = '\n';
    print(line, 3);
    u32 sum = kernels[i].run(kernels[i].rounds);
    line[0] = 'E';
    line[2] = ' ';
    for (u32 k = 0; k < 8; k++) line[3 + k] = "0123456789abcdef"[(sum >> (28 - 4 * k)) & 15];
    line[11] = '\n';
    print(line, 12);
  }
  finish();
}
