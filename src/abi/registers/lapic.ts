/**
 * The local APIC's registers as the guest sees them at 0xfee00000 (or, in x2APIC mode, as MSRs 0x800 + offset/16).
 * Source: Intel SDM vol. 3A, chapter 10 (table 10-1), as Xen's vlapic shows them.
 */
import { type BitField, type RegisterDef, repeat } from '../../base/registers.ts';

const vector: BitField = { name: 'vector', lsb: 0, bits: 8 };
const masked: BitField = { name: 'masked', lsb: 16 };
const pending: BitField = { name: 'pending', lsb: 12 };
const deliveryMode: BitField = {
  name: 'mode',
  lsb: 8,
  bits: 3,
  values: { 0: 'fixed', 1: 'lowest', 2: 'SMI', 4: 'NMI', 5: 'INIT', 6: 'startup', 7: 'ExtINT' },
};
const lvt = [vector, deliveryMode, pending, masked];
const errors: BitField[] = [
  { name: 'send illegal vector', lsb: 5 },
  { name: 'receive illegal vector', lsb: 6 },
  { name: 'illegal register', lsb: 7 },
];
const eight = [0, 1, 2, 3, 4, 5, 6, 7] as const;
/** Eight words of 32 vectors, 16 bytes apart. */
const vectors = <N extends string>(name: N, offset: number, doc: string): RegisterDef<string>[] =>
  repeat(name, eight, { offset: 0, width: 4, access: 'ro', reset: 0, doc }).map((r, i) => ({ ...r, offset: offset + i * 16 }));

export const lapicRegisters: readonly RegisterDef[] = [
  {
    name: 'APIC_ID',
    offset: 0x20,
    width: 4,
    access: 'ro',
    fields: [{ name: 'id', lsb: 24, bits: 8 }],
    doc: 'identifier of this local APIC',
  },
  { name: 'APIC_LVR', offset: 0x30, width: 4, access: 'ro', reset: 0x00050014, doc: 'version 0x14, six LVT entries' },
  {
    name: 'APIC_TASKPRI',
    offset: 0x80,
    width: 4,
    access: 'rw',
    reset: 0,
    writable: 0xff,
    doc: 'task priority: blocks vectors of this class and below',
  },
  { name: 'APIC_ARBPRI', offset: 0x90, width: 4, access: 'ro', reset: 0, doc: 'arbitration priority, not used' },
  {
    name: 'APIC_PROCPRI',
    offset: 0xa0,
    width: 4,
    access: 'ro',
    reset: 0,
    doc: 'processor priority: the higher of task priority and the vector in service',
  },
  { name: 'APIC_EOI', offset: 0xb0, width: 4, access: 'wo', doc: 'end of interrupt: the highest vector in service is done' },
  { name: 'APIC_LDR', offset: 0xd0, width: 4, access: 'rw', reset: 0, writable: 0xff000000, doc: 'logical destination' },
  {
    name: 'APIC_DFR',
    offset: 0xe0,
    width: 4,
    access: 'rw',
    reset: 0xffffffff,
    writable: 0xf0000000,
    doc: 'destination format: flat (0xf) or cluster (0)',
  },
  {
    name: 'APIC_SPIV',
    offset: 0xf0,
    width: 4,
    access: 'rw',
    reset: 0xff,
    writable: 0x1ff,
    fields: [vector, { name: 'enabled', lsb: 8 }],
    doc: 'spurious vector and software enable',
  },
  ...vectors('APIC_ISR', 0x100, 'vectors in service'),
  ...vectors('APIC_TMR', 0x180, 'vectors requested as level-triggered'),
  ...vectors('APIC_IRR', 0x200, 'vectors requested'),
  {
    name: 'APIC_ESR',
    offset: 0x280,
    width: 4,
    access: 'rw',
    reset: 0,
    writable: 0,
    fields: errors,
    doc: 'errors collected up to the last write',
  },
  {
    name: 'APIC_ICR',
    offset: 0x300,
    width: 4,
    access: 'rw',
    reset: 0,
    writable: 0x000ccfff,
    fields: [
      vector,
      deliveryMode,
      { name: 'logical', lsb: 11 },
      pending,
      { name: 'assert', lsb: 14 },
      { name: 'level', lsb: 15 },
      { name: 'shorthand', lsb: 18, bits: 2, values: { 0: 'destination', 1: 'self', 2: 'all', 3: 'others' } },
    ],
    doc: 'interrupt command: a write sends an inter-processor interrupt',
  },
  {
    name: 'APIC_ICR2',
    offset: 0x310,
    width: 4,
    access: 'rw',
    reset: 0,
    writable: 0xff000000,
    fields: [{ name: 'destination', lsb: 24, bits: 8 }],
    doc: 'destination of the next interrupt command',
  },
  {
    name: 'APIC_LVTT',
    offset: 0x320,
    width: 4,
    access: 'rw',
    reset: 0x10000,
    writable: 0x000710ff & ~0x1000,
    fields: [
      vector,
      pending,
      masked,
      { name: 'timer', lsb: 17, bits: 2, values: { 0: 'one-shot', 1: 'periodic', 2: 'TSC-deadline' } },
    ],
    doc: 'timer interrupt',
  },
  {
    name: 'APIC_LVTTHMR',
    offset: 0x330,
    width: 4,
    access: 'rw',
    reset: 0x10000,
    writable: 0x107ff,
    fields: lvt,
    doc: 'thermal interrupt',
  },
  {
    name: 'APIC_LVTPC',
    offset: 0x340,
    width: 4,
    access: 'rw',
    reset: 0x10000,
    writable: 0x107ff,
    fields: lvt,
    doc: 'performance counter interrupt',
  },
  {
    name: 'APIC_LVT0',
    offset: 0x350,
    width: 4,
    access: 'rw',
    reset: 0x10000,
    writable: 0x1e7ff,
    fields: lvt,
    doc: 'LINT0: the 8259s in virtual-wire mode',
  },
  { name: 'APIC_LVT1', offset: 0x360, width: 4, access: 'rw', reset: 0x10000, writable: 0x1e7ff, fields: lvt, doc: 'LINT1: NMI' },
  {
    name: 'APIC_LVTERR',
    offset: 0x370,
    width: 4,
    access: 'rw',
    reset: 0x10000,
    writable: 0x100ff,
    fields: [vector, pending, masked],
    doc: 'error interrupt',
  },
  { name: 'APIC_TMICT', offset: 0x380, width: 4, access: 'rw', reset: 0, doc: 'timer initial count: a write starts the timer' },
  { name: 'APIC_TMCCT', offset: 0x390, width: 4, access: 'ro', reset: 0, doc: 'timer current count' },
  { name: 'APIC_TDCR', offset: 0x3e0, width: 4, access: 'rw', reset: 0, writable: 0xb, doc: 'timer divisor' },
];

/** In x2APIC mode alone: a write sends this vector to the CPU itself. */
export const SELF_IPI = 0x3f0;
