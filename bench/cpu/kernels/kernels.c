/*
 * What the vCPU benchmark runs: the same C on every engine, freestanding, 64-bit and 32-bit. Each kernel takes a
 * number of rounds and returns a checksum, which all engines must agree on. Results depend on 32-bit arithmetic only.
 */
#include "kernels.h"

static u32 state;
static u32 next(void) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

#define SIEVE 65536
static u8 composite[SIEVE];

static u32 sieve(u32 rounds) {
  u32 primes = 0;
  while (rounds--) {
    for (u32 i = 0; i < SIEVE; i++) composite[i] = 0;
    primes = 0;
    for (u32 i = 2; i < SIEVE; i++) {
      if (composite[i]) continue;
      primes++;
      for (u32 k = i + i; k < SIEVE; k += i) composite[k] = 1;
    }
  }
  return primes;
}

#define BUFFER 32768
static u8 buffer[BUFFER + 64], copy[BUFFER + 64];
static u32 table[256];

static u32 crc(u32 rounds) {
  for (u32 i = 0; i < 256; i++) {
    u32 c = i;
    for (u32 k = 0; k < 8; k++) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  state = 1;
  for (u32 i = 0; i < BUFFER; i++) buffer[i] = (u8)next();
  u32 c = ~0u;
  while (rounds--) for (u32 i = 0; i < BUFFER; i++) c = table[(c ^ buffer[i]) & 255] ^ (c >> 8);
  return ~c;
}

#define SORT 16384
static u32 numbers[SORT];

static void quicksort_range(u32 *a, long low, long high) {
  while (low < high) {
    u32 pivot = a[(low + high) / 2];
    long i = low, k = high;
    while (i <= k) {
      while (a[i] < pivot) i++;
      while (a[k] > pivot) k--;
      if (i <= k) {
        u32 t = a[i];
        a[i++] = a[k];
        a[k--] = t;
      }
    }
    if (k - low < high - i) {
      quicksort_range(a, low, k);
      low = i;
    } else {
      quicksort_range(a, i, high);
      high = k;
    }
  }
}

static u32 quicksort(u32 rounds) {
  u32 sum = 0;
  state = 2463534242u;
  while (rounds--) {
    for (u32 i = 0; i < SORT; i++) numbers[i] = next();
    quicksort_range(numbers, 0, SORT - 1);
    for (u32 i = 0; i < SORT; i += 97) sum = sum * 31 + numbers[i];
  }
  return sum;
}

static __attribute__((noinline)) void copy_bytes(u8 *to, const u8 *from, unsigned long n) {
  while (((unsigned long)to & (sizeof(long) - 1)) && n) { *to++ = *from++; n--; }
  typedef unsigned long __attribute__((may_alias, aligned(1))) word;
  for (; n >= sizeof(long); n -= sizeof(long)) {
    *(word *)to = *(const word *)from;
    to += sizeof(long);
    from += sizeof(long);
  }
  while (n--) *to++ = *from++;
}
static __attribute__((noinline)) unsigned long length(const u8 *s) {
  const u8 *p = s;
  while (*p) p++;
  return (unsigned long)(p - s);
}

static u32 memory(u32 rounds) {
  u32 sum = 0;
  for (u32 i = 0; i < BUFFER; i++) buffer[i] = (u8)(i % 251 ? 'a' + i % 26 : 0);
  while (rounds--) {
    copy_bytes(copy, buffer + (rounds & 7), BUFFER - 8);
    for (u32 at = 0; at < BUFFER - 512;) {
      u32 n = (u32)length(copy + at);
      sum = sum * 33 + n;
      at += n + 1;
    }
  }
  return sum;
}

#define SLOTS 16384
static u32 keys[SLOTS], values[SLOTS];

static u32 hash(u32 rounds) {
  u32 sum = 0;
  state = 77;
  while (rounds--) {
    for (u32 i = 0; i < SLOTS; i++) keys[i] = 0;
    u32 seed = state;
    for (u32 pass = 0; pass < 2; pass++) {
      state = seed;
      for (u32 i = 0; i < SLOTS / 2; i++) {
        u32 key = next() | 1, at = (key * 2654435761u) >> 18;
        while (keys[at] && keys[at] != key) at = (at + 1) & (SLOTS - 1);
        if (pass) sum += values[at];
        else {
          keys[at] = key;
          values[at] = i;
        }
      }
    }
  }
  return sum;
}

/* A stack machine counting primes by trial division. */
enum { PUSH, LOAD, STORE, ADD, SUB, MOD, LESS, JUMP, JUMP_ZERO, STOP };
static const u8 program[] = {
  PUSH, 2, STORE, 0, PUSH, 0, STORE, 2,
  /* 8: first divisor of a candidate */ PUSH, 2, STORE, 1,
  /* 12: try a divisor */ LOAD, 1, LOAD, 0, LESS, JUMP_ZERO, 35, LOAD, 0, LOAD, 1, MOD, JUMP_ZERO, 42, LOAD, 1, PUSH, 1, ADD, STORE, 1, JUMP, 12,
  /* 35: a prime */ LOAD, 2, PUSH, 1, ADD, STORE, 2,
  /* 42: next candidate */ LOAD, 0, PUSH, 1, ADD, STORE, 0, STOP,
};
static u32 interpret(const u8 *text, u32 limit) {
  u32 stack[16], variable[4] = {0, 0, 0, 0}, sp = 0;
  for (const u8 *pc = text;;) {
    switch (*pc++) {
      case PUSH: stack[sp++] = *pc++; break;
      case LOAD: stack[sp++] = variable[*pc++]; break;
      case STORE: variable[*pc++] = stack[--sp]; break;
      case ADD: sp--; stack[sp - 1] += stack[sp]; break;
      case SUB: sp--; stack[sp - 1] -= stack[sp]; break;
      case MOD: sp--; stack[sp - 1] %= stack[sp]; break;
      case LESS: sp--; stack[sp - 1] = stack[sp - 1] < stack[sp]; break;
      case JUMP: pc = text + *pc; break;
      case JUMP_ZERO: pc = stack[--sp] ? pc + 1 : text + *pc; break;
      case STOP:
        if (variable[0] >= limit) return variable[2];
        pc = text + 8;
        break;
    }
  }
}

static u32 bytecode(u32 rounds) {
  u32 sum = 0;
  while (rounds--) sum = sum * 31 + interpret(program, 600);
  return sum;
}

static u32 flat(u32 rounds) {
  u32 sum = 1;
  while (rounds--) sum = flat_pass(sum);
  return sum;
}

const struct kernel kernels[KERNELS] = {
  {"sieve", sieve, 120},
  {"crc", crc, 350},
  {"quicksort", quicksort, 24},
  {"memcpy/strlen", memory, 700},
  {"hash table", hash, 220},
  {"bytecode", bytecode, 55},
  {"flat program", flat, 250},
};
