/** Where the tiny guest's parts lie in guest-physical memory, and the values its tests watch. */
import { gpa } from '../../base/address.ts';

export const TinyGuest = {
  /** 32-bit entry (e_entry). */
  entry: gpa(0x100000),
  /** 64-bit code. */
  code: gpa(0x100800),
  /** Interrupt and exception handlers, spaced 0x80 apart. */
  handlers: gpa(0x107000),
  /** Descriptor tables, strings, frame templates and variables. */
  data: gpa(0x108000),
  dataSize: 0x2000,
  /** From here on zero at the start: page tables, rings, buffers, stack. */
  bss: gpa(0x110000),
  pageTables: gpa(0x110000),
  rxRing: gpa(0x118000),
  txRing: gpa(0x118100),
  rxBuffers: gpa(0x119000),
  txBuffer: gpa(0x11e000),
  stackTop: gpa(0x124000),
  end: gpa(0x124000),
} as const;

/** Receive descriptors, each with a buffer of 2,048 bytes. */
export const RX_DESCRIPTORS = 4;
/** Vector of the NIC's interrupt. */
export const NIC_VECTOR = 0x30;

/** Variables, u32 each, from TinyGuest.data on. */
export const variables = {
  bar: 0,
  events: 4,
  rxNext: 8,
  haveMac: 12,
  sequence: 16,
  replies: 20,
  /** `buffered` mode: writes to 0xb8000 done so far, plus 0x10000 once the BAR write is done. */
  progress: 24,
  startInfo: 28,
  quiet: 32,
  pciAddress: 36,
  gsi: 40,
  mode: 44,
  count: 48,
  /** Echo requests answered. */
  answered: 52,
} as const;

/** Guest-physical address of a variable. */
export const variable = (name: keyof typeof variables) => gpa(TinyGuest.data + variables[name]);
