typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

#define KERNELS 7

struct kernel {
  const char *name;
  u32 (*run)(u32 rounds);
  u32 rounds;
};
extern const struct kernel kernels[KERNELS];

/* Generated: thousands of functions, each run once a pass. */
u32 flat_pass(u32 value);
