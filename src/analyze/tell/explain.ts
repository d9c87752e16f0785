import { chipsetTables } from '../../devices/chipset.ts';
import { nicReadings } from '../../devices/nic/readings.ts';
import { platformTables } from '../../abi/registers/platform.ts';
import type { BitField, RegisterDef } from '../../base/registers.ts';
import { findTerm, glossary } from './glossary.ts';

const hex = (n: number): string => `0x${n.toString(16)}`;

/** Every register table, by the chip's name as stories write it. */
function tables(): (readonly [string, readonly RegisterDef[]])[] {
  return [
    ...nicReadings.map((chip) => [chip.title, chip.registers] as const),
    ...Object.entries(platformTables),
    ...Object.entries(chipsetTables),
  ];
}

/** `TxOK (bit 2)`, `RxBufLen (bits 11-12)`. */
function fieldText(f: BitField): string {
  const bits = f.bits ?? 1;
  const where = bits === 1 ? `bit ${f.lsb}` : `bits ${f.lsb}-${f.lsb + bits - 1}`;
  return `${f.name} (${where}${f.doc === undefined ? '' : `: ${f.doc}`})`;
}

/** Every meaning of one register that has the name. */
function meanings(chip: string, r: RegisterDef): { name: string; line: string }[] {
  const place = `register of the ${chip} at offset ${hex(r.offset)}`;
  const size = `${r.width} byte${r.width === 1 ? '' : 's'}`;
  const fields = (list: readonly BitField[] | undefined): string =>
    list === undefined || list.length === 0 ? '' : ` Fields: ${list.map(fieldText).join(', ')}.`;
  const found = [
    {
      name: r.name,
      line: `${r.name}: ${place}, ${size}${r.mode === undefined ? '' : `, in ${r.mode} mode`}: ${r.doc}.${fields(r.fields)}`,
    },
  ];
  if (r.otherwise !== undefined)
    found.push({
      name: r.otherwise.name,
      line: `${r.otherwise.name}: ${place}, ${size}, in ${r.otherwise.mode} mode: ${r.otherwise.doc}.${fields(r.otherwise.fields)}`,
    });
  if (r.written !== undefined)
    found.push({
      name: r.written.name,
      line: `${r.written.name}: ${place}, ${size}, as a write means it: ${r.written.doc}.${fields(r.written.fields)}`,
    });
  return found;
}

/** `MTA[34]` and `TxConfig+1` are of the registers `MTA` and `TxConfig`. */
const plain = (word: string): string => word.trim().replace(/\[\d+(?:-\d+)?\]$|\+\d+$/, '');

/** Registers, and bit fields, of that name. */
function registerLines(word: string): string[] {
  const wanted = plain(word).toLowerCase();
  const lines: string[] = [];
  const inFields: string[] = [];
  for (const [chip, registers] of tables())
    for (const r of registers) {
      for (const m of meanings(chip, r)) if (m.name.toLowerCase() === wanted) lines.push(m.line);
      for (const f of [...(r.fields ?? []), ...(r.otherwise?.fields ?? []), ...(r.written?.fields ?? [])])
        if (f.name.toLowerCase() === wanted)
          inFields.push(`${f.name}: a field of ${r.name}, ${fieldText(f)}. ${chip}: ${r.doc}.`);
    }
  return [...new Set(lines.length > 0 ? lines : inFields)];
}

/** `TxStatus`: the registers TxStatus0, TxStatus1 …, by what is alike in them. */
function stemLines(word: string): string[] {
  const wanted = word.trim().toLowerCase();
  return tables().flatMap(([chip, registers]) => {
    const named = registers.filter((r) => r.name.toLowerCase().replace(/\d+$/, '') === wanted && /\d$/.test(r.name));
    const first = named[0];
    return first === undefined
      ? []
      : [
          `${named.map((r) => r.name).join(', ')}: registers of the ${chip} from offset ${hex(first.offset)} on. ${first.name}: ${first.doc}.`,
        ];
  });
}

/** A chip by its name. */
function chipLines(word: string): string[] {
  const wanted = word.trim().toLowerCase();
  return nicReadings
    .filter((chip) => chip.name === wanted || chip.title.toLowerCase() === wanted)
    .map(
      (chip) =>
        `${chip.title}: a network card whose registers are known here (PCI ${hex(chip.vendorId)}, device ${chip.deviceIds.map(hex).join(', ')}); docs/${chip.name}.md has them all.`,
    );
}

/**
 * Explains a word of a story: a term of the glossary, a chip, a register, a field of one.
 * @returns one paragraph a meaning; none where the word is not known
 */
export function explainTerm(word: string): string[] {
  const found = findTerm(word);
  const named = [...chipLines(word), ...registerLines(word)];
  return [
    ...(found === undefined
      ? []
      : [`${found.name}: ${found.text}${found.also === undefined ? '' : ` Also: ${found.also.join(', ')}.`}`]),
    ...(found === undefined && named.length === 0 ? stemLines(word) : named),
  ];
}

/** Known words that are most like one, the likest first. */
export function likeTerms(word: string, most = 4): string[] {
  const wanted = plain(word).toLowerCase();
  const names = new Set([
    ...glossary.flatMap((c) => c.terms.flatMap((t) => [t.name, ...(t.also ?? [])])),
    ...tables().flatMap(([chip, registers]) => registers.flatMap((r) => meanings(chip, r).map((m) => m.name))),
  ]);
  return [...names]
    .map((name) => ({ name, far: distance(wanted, name.toLowerCase().slice(0, MOST_COMPARED)) }))
    .filter(({ name, far }) => far <= Math.max(1, Math.floor(name.length / 3)))
    .sort((a, b) => a.far - b.far)
    .slice(0, most)
    .map(({ name }) => name);
}

const MOST_COMPARED = 40;

/** How many letters must change to make one word of the other (Levenshtein). */
function distance(a: string, b: string): number {
  const from = a.slice(0, MOST_COMPARED);
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (from[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
