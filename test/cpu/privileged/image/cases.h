/* What both images do with a case: run it, print it; and the code of cases that are the same in both modes. The image has
   defined the state `s`, stack_name() and show_ip() before it includes this. */

/* Flags that instructions compute are not shown; RF is, where a test asks. */
#define SHOWN_FLAGS 0x003e7700ul /* TF IF DF IOPL NT VM AC VIF VIP ID */

static void show(const char *name, int registers) {
  text(name);
  field("v", s.vector);
  if (s.vector == 8 || (s.vector >= 10 && s.vector <= 14) || s.vector == 17) field("err", s.error);
  if (s.vector == 14) field("cr2", read_cr2());
  if (s.vector < 256) show_ip(s.ip);
  field("cs", s.cs);
  field("ss", s.ss);
  field("sp", s.gpr[SP] >= STACK_AT && s.gpr[SP] <= STACK_TOP ? s.gpr[SP] - STACK_AT : s.gpr[SP] >= 0x100000 && s.gpr[SP] < 0x800000 ? s.gpr[SP] & 15 : s.gpr[SP]);
  field("fl", s.flags & SHOWN_FLAGS);
  text(" on=");
  text(stack_name(s.handler_sp));
  if (registers) {
    field("ax", s.gpr[AX]);
    field("bx", s.gpr[BX]);
    field("cx", s.gpr[CX]);
    field("dx", s.gpr[DX]);
  }
  text("\n");
}

static void go(const char *name) {
  enter(&s);
  show(name, 0);
}
static void go_with_registers(const char *name) {
  enter(&s);
  show(name, 1);
}

SNIPPET(divide, "xor %ecx, %ecx\n div %ecx");
SNIPPET(int80, "int $0x80");
SNIPPET(int81, "int $0x81");
SNIPPET(cli_, "cli\n int3");
SNIPPET(hlt_, "hlt");
SNIPPET(clts_, "clts\n int3");
SNIPPET(load_ds, "mov %eax, %ds\n mov %ds, %ebx\n int3");
SNIPPET(load_ss, "mov %eax, %ss\n mov %ss, %ebx\n int3");
SNIPPET(lar, "xor %ebx, %ebx\n mov $0x5555, %ecx\n lar %eax, %ecx\n setz %bl\n mov $0x5555, %edx\n lsl %eax, %edx\n setz %bh\n int3");
SNIPPET(verify, "xor %ebx, %ebx\n verr %ax\n setz %bl\n verw %ax\n setz %bh\n int3");
SNIPPET(sysenter_, "sysenter");
