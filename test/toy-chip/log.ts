import { plain, readerBehind } from '../../src/base/log-line.ts';

export const lines = {
  sends: plain('the toy chip', 'TOY: sends {bytes:d} bytes from 0x{gpa:x8}'),
} as const;

export const readLine = readerBehind('TOY: ');
