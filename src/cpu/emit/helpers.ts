/**
 * Names of the helpers: meanings that live in TypeScript because they are long and rare. An emitter calls one by name;
 * the engine binds each name to a function (record, argument) → Status.
 */
export const HELPER_NAMES = [
  // Faults found by emitters
  'undefined', 'tooLong', 'divideError', 'divide128', 'segmentFault', 'segmentFaultOfRecord', 'notCanonical', 'ifRefused', 'checkVm86Iopl',
  'x87NotAvailable', 'sseNotAvailable', 'stopAfter',
  // General
  'cmpxchg16b', 'popf', 'popfCheck', 'enter', 'pusha', 'popa', 'daa', 'das', 'aaa', 'aas', 'aam', 'aad', 'bound', 'rdrand', 'xlat',
  'movs', 'stos', 'lods', 'cmps', 'scas', 'ins', 'outs', 'in', 'out',
  // Interrupts, far transfers, segments
  'int3', 'int', 'into', 'int1', 'iret', 'syscall', 'sysret', 'sysenter', 'sysexit',
  'callFarPointer', 'jmpFarPointer', 'callFar', 'jmpFar', 'retFar', 'retFarImmediate',
  'loadSegment', 'popSegment', 'loadFarPointer', 'swapgs', 'rdBase', 'wrBase',
  'sgdt', 'sidt', 'lgdt', 'lidt', 'smsw', 'lmsw', 'sldt', 'str', 'lldt', 'ltr', 'verr', 'verw', 'lar', 'lsl', 'arpl',
  // x87, MMX, SSE (fpu/helpers.ts)
  'x87', 'x87Stored', 'x87Environment', 'fwait', 'fxsave', 'fxrstor', 'fxsaveMisaligned', 'mmxNotAvailable', 'sseExact', 'sseCompare', 'mxcsrReserved',
  'maskedStore',
  // Control state and exits
  'movFromCr', 'movToCr', 'movFromDr', 'movToDr', 'clts', 'invd', 'wbinvd', 'invlpg', 'clac', 'stac',
  'cpuid', 'rdmsr', 'wrmsr', 'rdtsc', 'rdtscp', 'rdpmc', 'vmcall', 'hlt',
] as const;
export type HelperName = (typeof HELPER_NAMES)[number];
