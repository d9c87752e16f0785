/**
 * Names of the helpers: meanings that live in TypeScript because they are long and rare. An emitter calls one by name; each group is
 * bound by the file of its name in run/helpers.
 */
import { FPU_HELPER_NAMES } from '../fpu/helper-names.ts';

export const HELPER_GROUPS = {
  /** What emitters and address records find. */
  faults: [
    'undefined',
    'tooLong',
    'divideError',
    'segmentFault',
    'segmentFaultOfRecord',
    'targetRefused',
    'ifRefused',
    'checkVm86Iopl',
    'stopAfter',
  ],
  arithmetic: ['divide128', 'cmpxchg16b', 'daa', 'das', 'aaa', 'aas', 'aam', 'aad', 'bound', 'rdrand', 'xlat'],
  stack: ['enter', 'pusha', 'popa', 'popf', 'popfCheck'],
  strings: ['movs', 'stos', 'lods', 'cmps', 'scas', 'ins', 'outs'],
  ports: ['in', 'out'],
  transfers: [
    'int3',
    'int',
    'into',
    'int1',
    'iret',
    'syscall',
    'sysret',
    'sysenter',
    'sysexit',
    'callFarPointer',
    'jmpFarPointer',
    'callFar',
    'jmpFar',
    'retFar',
    'retFarImmediate',
  ],
  segments: ['loadSegment', 'popSegment', 'loadFarPointer', 'swapgs', 'rdBase', 'wrBase'],
  descriptors: ['sgdt', 'sidt', 'lgdt', 'lidt', 'sldt', 'str', 'lldt', 'ltr', 'verr', 'verw', 'lar', 'lsl', 'arpl'],
  fpu: FPU_HELPER_NAMES,
  control: ['smsw', 'lmsw', 'movFromCr', 'movToCr', 'movFromDr', 'movToDr', 'clts', 'invlpg', 'clac', 'stac'],
  exits: ['invd', 'wbinvd', 'cpuid', 'rdmsr', 'wrmsr', 'rdtsc', 'rdtscp', 'rdpmc', 'vmcall', 'hlt'],
} as const;

export type HelperGroup = keyof typeof HELPER_GROUPS;
export type HelperName = (typeof HELPER_GROUPS)[HelperGroup][number];

/** A helper's number is its place here. */
export const HELPER_NAMES: readonly HelperName[] = Object.values(HELPER_GROUPS).flat();
