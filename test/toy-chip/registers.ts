import type { RegisterDef } from '../../src/devices/registers.ts';

export const TOY_BLOCK_SIZE = 16;

export type ToyRegister = 'Address' | 'Send' | 'Cause';

/** Registers of the toy chip: it sends one buffer, and receives nothing. */
export const toyRegisters: readonly RegisterDef<ToyRegister>[] = [
  { name: 'Address', offset: 0, width: 4, access: 'rw', reset: 0, doc: 'Guest-physical address of the frame' },
  { name: 'Send', offset: 4, width: 4, access: 'cmd', doc: 'Bytes to send: the frame leaves' },
  { name: 'Cause', offset: 8, width: 4, access: 'wc', reset: 0, fields: [{ name: 'Sent', lsb: 0 }], doc: 'A frame has left' },
];
