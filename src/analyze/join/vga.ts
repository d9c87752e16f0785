import type { IoAccess } from './io.ts';

/** Colour text memory of a VGA: 80 columns, two bytes a cell, character first (IBM VGA, mode 3). */
const TEXT = 0xb8000;
const TEXT_END = 0xc0000;
const COLUMNS = 80;
const ROWS = 25;
const CELL = 2;

/**
 * What an access to VGA text memory is about: `row 3, column 10: 'A', attribute 0x07`. The screen is taken to begin at the
 * memory's start. Undefined for another address.
 * @param width bytes, where the log tells
 */
export function vgaText(
  access: Pick<IoAccess, 'space' | 'dir' | 'addr' | 'data'>,
  width: number | undefined,
): string | undefined {
  if (access.space !== 'mmio' || access.addr < TEXT || access.addr >= TEXT_END) return undefined;
  const offset = access.addr - TEXT;
  const cell = Math.floor(offset / CELL);
  const row = Math.floor(cell / COLUMNS);
  const place = row < ROWS ? `row ${row}, column ${cell % COLUMNS}` : `offset 0x${offset.toString(16)}, below the screen`;
  if (access.data === undefined) return `VGA text ${place}`;
  const bytes: number[] = [];
  for (let i = 0; i < (width ?? 1) && i < 8; i++) bytes.push(Number((access.data >> BigInt(8 * i)) & 0xffn));
  const parts = bytes.map((byte, i) =>
    (offset + i) % CELL === 0 ? character(byte) : `attribute 0x${byte.toString(16).padStart(2, '0')}`,
  );
  return `VGA text ${place}: ${parts.join(', ')}`;
}

/** A printable character in quotes, any other by its code. */
const character = (byte: number): string =>
  byte >= 0x20 && byte < 0x7f ? `'${String.fromCharCode(byte)}'` : `character 0x${byte.toString(16).padStart(2, '0')}`;
