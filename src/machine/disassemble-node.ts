/** Machine code in words, for dumps of a domain that died. The library is large: it is loaded when there is something to show. */
import { createRequire } from 'node:module';

const library = (): typeof import('iced-x86') => createRequire(import.meta.url)('iced-x86') as typeof import('iced-x86');

const LINES_BEFORE = 6;
const LINES_FROM = 4;

interface Line {
  address: bigint;
  bytes: Uint8Array;
  text: string;
}

/**
 * The instructions around the one at `at`, a line each in Intel syntax; `at` itself is marked. Instructions cannot be read
 * backwards: of the ways to read the bytes before `at` that end exactly there, the longest is shown. Addresses are linear.
 */
export function disassemble(code: Uint8Array, address: bigint, at: bigint, bitness: 16 | 32 | 64): string[] {
  const offset = Number(at - address);
  const from = decode(code.subarray(offset), at, bitness);
  let before: Line[] = [];
  for (let start = 0; start < offset; start++) {
    const lines = decode(code.subarray(start, offset), address + BigInt(start), bitness);
    const end = lines.at(-1);
    if (end === undefined || lines.some((line) => line.text === '(bad)') || end.address + BigInt(end.bytes.length) !== at)
      continue;
    before = lines;
    break;
  }
  return [...before.slice(-LINES_BEFORE), ...from.slice(0, LINES_FROM)].map(
    ({ address: a, bytes, text }) =>
      `${a === at ? '>' : ' '} ${a.toString(16).padStart(bitness === 64 ? 16 : 8, '0')}  ${[...bytes]
        .map((byte) => byte.toString(16).padStart(2, '0'))
        .join(' ')
        .padEnd(30)}  ${text}`,
  );
}

/** The instructions in `code`, to the last that is whole. */
function decode(code: Uint8Array, address: bigint, bitness: 16 | 32 | 64): Line[] {
  const { Decoder, DecoderOptions, Formatter, FormatterSyntax, Instruction } = library();
  const decoder = new Decoder(bitness, code, DecoderOptions.None);
  const formatter = new Formatter(FormatterSyntax.Intel);
  const instruction = new Instruction();
  decoder.ip = address;
  const lines: Line[] = [];
  try {
    while (decoder.canDecode) {
      const start = decoder.position;
      decoder.decodeOut(instruction);
      // Cut short by the end of the bytes: nothing can be said of it.
      if (instruction.isInvalid && decoder.position >= code.length) break;
      lines.push({
        address: address + BigInt(start),
        bytes: code.slice(start, decoder.position),
        text: instruction.isInvalid ? '(bad)' : formatter.format(instruction),
      });
    }
    return lines;
  } finally {
    for (const part of [instruction, formatter, decoder]) part.free();
  }
}
