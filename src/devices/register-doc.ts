/** A register table as Markdown, for docs/. */
import { hex } from '../base/hex.ts';
import type { BitField, RegisterDef } from './registers.ts';

const shown = (value: number, digits: number): string => `0x${hex(value, digits)}`;

const fieldText = (field: BitField): string => {
  const bits = field.bits ?? 1;
  const place = bits === 1 ? `${field.lsb}` : `${field.lsb + bits - 1}:${field.lsb}`;
  const values = Object.entries(field.values ?? {})
    .map(([value, name]) => `${value} = ${name}`)
    .join(', ');
  const doc = [field.doc, values].filter(Boolean).join('; ');
  return `\`${field.name}\` ${place}${doc ? ` (${doc})` : ''}`;
};

/** Equal neighbours (MAC0 … MAC5) become one row: first and last register. */
function rows(table: readonly RegisterDef[]): [RegisterDef, RegisterDef][] {
  const out: [RegisterDef, RegisterDef][] = [];
  const stem = (r: RegisterDef): string => r.name.replace(/\d+$/, '');
  for (const register of table) {
    const last = out.at(-1);
    if (
      last &&
      stem(last[1]) === stem(register) &&
      last[1].doc === register.doc &&
      last[1].offset + last[1].width === register.offset &&
      !register.otherwise &&
      !last[1].otherwise &&
      !register.written &&
      register.count === undefined &&
      last[1].count === undefined
    )
      last[1] = register;
    else out.push([register, register]);
  }
  return out;
}

/** One row a register; its bit fields and its meaning in another mode stand in the last column. */
export function registerTable(table: readonly RegisterDef[]): string {
  const lines = [
    '| offset | bytes | name | data sheet | access | reset | writable | meaning |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
  ];
  const span = (a: string, b: string): string => (a === b ? a : `${a} … ${b}`);
  for (const [first, last] of rows(table)) {
    const digits = first.width * 2;
    const lastIndex = (last.count ?? 1) - 1;
    const lastOffset = last.offset + lastIndex * (last.stride ?? last.width);
    const element = (r: RegisterDef, i: number): string => (r.count === undefined ? r.name : `${r.name}[${i}]`);
    const reset =
      first.reset !== undefined
        ? shown(first.reset, digits)
        : first.powerOn !== undefined
          ? `(${shown(first.powerOn, digits)})`
          : '';
    const writable = first.writable !== undefined && first.access !== 'ro' ? shown(first.writable, digits) : '';
    const { otherwise, written } = first;
    const named = (other: { readonly name: string; readonly doc: string; readonly fields?: readonly BitField[] }): string =>
      `**${other.name}**: ${other.doc}${other.fields ? `: ${other.fields.map(fieldText).join(', ')}` : ''}`;
    const meaning = [
      first.mode && otherwise ? `${first.mode} mode: ${first.doc}` : first.doc,
      first.stride === undefined ? '' : `Every ${first.stride} bytes`,
      first.lock ? `Needs the ${first.lock} lock open` : '',
      (first.fields ?? []).map(fieldText).join(', '),
      written ? `Written: ${named(written)}` : '',
      otherwise ? `${otherwise.mode}: ${named(otherwise)}` : '',
    ]
      .filter(Boolean)
      .join('. ');
    lines.push(
      `| ${span(shown(first.offset, 2), shown(lastOffset, 2))} | ${first.width} | ${span(element(first, 0), element(last, lastIndex))} ` +
        `| ${span(first.dataSheet ?? '', last.dataSheet ?? '')} | ${first.access} | ${reset} | ${writable} | ${meaning} |`,
    );
  }
  return lines.join('\n');
}

const begin = (which: string): string =>
  `<!-- registers${which === '' ? '' : ` ${which}`}: made by scripts/docs.mjs from the register table -->`;
const END = '<!-- end of registers -->';

/**
 * Puts the table between the markers of a page; throws when the page has none.
 * @param which name in the opening marker, on a page with several tables
 */
export function withRegisterTable(page: string, table: readonly RegisterDef[], which = ''): string {
  const marker = begin(which);
  const from = page.indexOf(marker);
  const end = page.indexOf(END, from);
  if (from < 0 || end < 0) throw new Error(`expected the markers '${marker}' and '${END}'`);
  return `${page.slice(0, from + marker.length)}\n${registerTable(table)}\n${page.slice(end)}`;
}
